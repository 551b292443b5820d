//! The families of paths that read and write the registry, and those about the node itself.

use crate::router::Routes;
use crate::{
    beat, catalog, client, cluster, console, health, instance, list, members, operator, prometheus,
    service,
};

pub(crate) fn routes(routes: &mut Routes) {
    instance::routes(routes);
    list::routes(routes);
    beat::routes(routes);
    service::routes(routes);
    catalog::routes(routes);
    cluster::routes(routes);
    health::routes(routes);
    client::routes(routes);
    operator::routes(routes);
    console::routes(routes);
    members::routes(routes);
    prometheus::routes(routes);
}
