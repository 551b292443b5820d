//! The families of paths about the node itself: its members and users, what operators look at and
//! change, and the console.

pub(crate) mod absent;
pub(crate) mod first;
pub(crate) mod loader;
pub(crate) mod login;
pub(crate) mod members;
pub(crate) mod metrics;
pub(crate) mod operate;
pub(crate) mod page;
pub(crate) mod probes;
pub(crate) mod upkeep;
pub(crate) mod users;

use crate::route::table::Routes;

pub(crate) fn routes(routes: &mut Routes) {
    page::routes(routes);
    first::routes(routes);
    login::routes(routes);
    users::routes(routes);
    operate::routes(routes);
    probes::routes(routes);
    members::routes(routes);
    metrics::routes(routes);
    loader::routes(routes);
    upkeep::routes(routes);
    absent::routes(routes);
}
