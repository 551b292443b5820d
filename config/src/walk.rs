//! A walk over many configs in steps, so that nobody holds the store for longer than one step
//! takes. What is written meanwhile is seen where the walk has not come yet.

use core::ops::{Bound, ControlFlow};

use crate::entry::Config;
use crate::key::{KeyRef, KeyText};
use crate::store::Store;

/// How far a walk has come. Begins in front of the first config.
#[derive(Clone, Default)]
pub struct Walk(Option<KeyText>);

impl Store {
    /// Visits the configs of one namespace, or of all, that come next in the order of keys, until
    /// `visit` breaks off; the config that it broke off at was visited. True when there are no
    /// more.
    pub fn walk(
        &self,
        namespace: Option<&str>,
        walk: &mut Walk,
        mut visit: impl FnMut(KeyRef<'_>, &Config) -> ControlFlow<()>,
    ) -> bool {
        self.walk_keys(namespace, walk, |key, config| visit(key.parts(), config))
    }

    /// As [`Self::walk`], with the keys as they are stored, which are cheap to keep.
    pub fn walk_keys(
        &self,
        namespace: Option<&str>,
        walk: &mut Walk,
        mut visit: impl FnMut(&KeyText, &Config) -> ControlFlow<()>,
    ) -> bool {
        let first = walk.0.take();
        let after = first.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        for (key, config) in self.behind(namespace, after) {
            if visit(key, config).is_break() {
                walk.0 = Some(key.clone());
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use nacolet_model::{ConfigKey, DataId, Group, Namespace, WallTime};

    use super::*;
    use crate::{Operator, Publish};

    fn store() -> Store {
        let mut store = Store::new();
        let mut index = 0;
        for namespace in ["a", "ab", "b"] {
            for name in ["x", "y", "z"] {
                index += 1;
                let key = ConfigKey {
                    namespace: Namespace::parse(namespace).expect("one"),
                    group: Group::new("g").expect("one"),
                    data_id: DataId::new(name).expect("one"),
                };
                let operator = Operator { user: "u".into(), ip: "1.1.1.1".into() };
                let publish = Publish::new(key, name.into(), operator, WallTime(1)).expect("valid");
                store.apply(index, publish.into(), &mut Vec::new()).expect("it fits");
            }
        }
        store
    }

    #[test]
    fn a_walk_in_steps_sees_what_one_look_sees() {
        let store = store();
        for namespace in [None, Some("a"), Some("ab"), Some("b"), Some("none")] {
            let expected: Vec<String> = store
                .configs()
                .filter(|(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace))
                .map(|(key, _)| alloc::format!("{}:{}", key.namespace, key.data_id))
                .collect();
            for step in 1..5 {
                let (mut seen, mut walk) = (Vec::new(), Walk::default());
                for turns in 0.. {
                    assert!(turns < 20, "a walk ends");
                    let mut left = step;
                    let is_done = store.walk(namespace, &mut walk, |key, config| {
                        assert_eq!(key.data_id, config.content.to_string());
                        seen.push(alloc::format!("{}:{}", key.namespace, key.data_id));
                        left -= 1;
                        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    });
                    if is_done {
                        break;
                    }
                }
                assert_eq!(seen, expected, "{namespace:?} in steps of {step}");
            }
        }
    }
}
