//! The families of paths that read and write the registry, and those about the node itself.

use crate::router::Routes;
use crate::{beat, instance, list};

pub(crate) fn routes(routes: &mut Routes) {
    instance::routes(routes);
    list::routes(routes);
    beat::routes(routes);
}
