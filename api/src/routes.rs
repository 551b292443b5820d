//! The families of paths.

use crate::route::table::Routes;

/// Registers every route.
pub(crate) fn register(routes: &mut Routes) {
    crate::node::routes(routes);
    crate::config::routes(routes);
    crate::naming::routes(routes);
}
