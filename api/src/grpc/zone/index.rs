//! Who on one thread listens to which config, subscribes to which service and watches which
//! pattern.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nacolet_model::{ConfigKey, ServiceKey, limits};
use nacolet_registry::ClientId;

use crate::grpc::client::Subscription;
use crate::grpc::client::pattern::Pattern;

/// Who subscribes to one service.
pub(crate) type Subscribers = BTreeSet<(ClientId, Rc<Subscription>)>;

/// Interest by what it is in.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) configs: RefCell<BTreeMap<Rc<ConfigKey>, BTreeSet<ClientId>>>,
    pub(crate) services: RefCell<BTreeMap<Rc<ServiceKey>, Subscribers>>,
}

/// One pattern on this thread.
#[derive(Debug, Default)]
pub(crate) struct PatternNames {
    /// The names it means, at most `limits::FUZZY_MATCHES_MAX`.
    pub(crate) matched: BTreeSet<Rc<str>>,
    /// Names may have been left out.
    pub(crate) was_full: bool,
    /// All names were looked at.
    pub(crate) is_complete: bool,
    pub(crate) clients: BTreeSet<ClientId>,
    /// Clients that will watch it once all names are looked at.
    pub(crate) lookers: usize,
}

impl PatternNames {
    pub(crate) fn is_full(&self) -> bool {
        self.matched.len() >= limits::FUZZY_MATCHES_MAX
    }
}

/// The patterns that are watched on this thread.
#[derive(Debug, Default)]
pub(crate) struct Patterns(pub(crate) RefCell<BTreeMap<Rc<Pattern>, PatternNames>>);
