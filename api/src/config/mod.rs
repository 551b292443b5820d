//! The families of paths about configs: publish, read, search, listen, history, archives,
//! namespaces.
//!
//! Reading order: `words` and `shown` are what all share, then `v1`; the others stand alone.

pub(crate) mod archive;
pub(crate) mod capacity;
pub(crate) mod gray;
pub(crate) mod history;
pub(crate) mod listener;
pub(crate) mod namespace;
pub(crate) mod operate;
pub(crate) mod search;
pub(crate) mod shapes;
pub(crate) mod shown;
pub(crate) mod v1;
pub(crate) mod v2;
pub(crate) mod v3;
pub(crate) mod words;

use crate::route::table::Routes;

pub(crate) fn routes(routes: &mut Routes) {
    v1::routes(routes);
    listener::routes(routes);
    history::routes(routes);
    capacity::routes(routes);
    operate::routes(routes);
    v2::routes(routes);
    v3::routes(routes);
    namespace::routes(routes);
}
