//! Rendered lists, kept until the service changes, so that polling costs a lookup and no rendering.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use nacolet_model::limits;
use nacolet_registry::ListQuery;

use crate::http::listed::Listed;

/// What identifies a list: the query as one text. Control characters are in none of its parts.
fn shelf_key(query: &ListQuery<'_>) -> String {
    let ListQuery { namespace, group, name, clusters, healthy_only } = query;
    let mut key = String::with_capacity(namespace.len() + group.len() + name.len() + 8);
    // Writing to a String cannot fail.
    let _ = write!(key, "{namespace}\n{group}\n{name}\n{clusters}\n{healthy_only}");
    key
}

/// Rendered lists, as long as they are true.
#[derive(Debug)]
pub(crate) struct Shelf {
    bytes_max: usize,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    by_query: BTreeMap<Box<str>, Rendered>,
    bytes: usize,
}

#[derive(Debug)]
struct Rendered {
    revision: u64,
    list: Listed,
}

impl Shelf {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, lists: Mutex::default() }
    }

    /// The list that is asked for: the kept one if it is of this revision, else a new one. Revision
    /// 0 is that of what is not there, and is not kept.
    ///
    /// # Errors
    /// A new one cannot be made.
    pub(crate) fn list<E>(
        &self,
        revision: u64,
        query: &ListQuery<'_>,
        render: impl FnOnce() -> Result<Listed, E>,
    ) -> Result<Listed, E> {
        if revision == 0 {
            return render();
        }
        let key = shelf_key(query);
        if let Some(list) = self.find(&key, revision) {
            return Ok(list);
        }
        let list = render()?;
        self.keep(key, revision, list.clone());
        Ok(list)
    }

    fn find(&self, key: &str, revision: u64) -> Option<Listed> {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lists.by_query.get(key)?;
        (kept.revision == revision).then(|| kept.list.clone())
    }

    fn keep(&self, key: String, revision: u64, list: Listed) {
        let bytes = key.len() + list.bytes;
        if bytes > self.bytes_max / 2 {
            return;
        }
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.bytes + bytes > self.bytes_max
            || lists.by_query.len() >= limits::LIST_SHELF_LISTS_MAX
        {
            *lists = Lists::default();
        }
        let key_bytes = key.len();
        let rendered = Rendered { revision, list };
        lists.bytes += bytes;
        if let Some(old) = lists.by_query.insert(key.into(), rendered) {
            lists.bytes -= key_bytes + old.list.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const QUERY: ListQuery<'_> =
        ListQuery { namespace: "public", group: "g", name: "s", clusters: "", healthy_only: false };

    fn list(revision: u64) -> impl FnOnce() -> Result<Listed, Infallible> {
        move || Ok(told(revision))
    }

    fn told(revision: u64) -> Listed {
        let text = format!("list {revision}");
        Listed { bytes: text.len(), chunks: vec![text.into()] }
    }

    #[test]
    fn a_list_is_kept_while_its_revision_stands() {
        let shelf = Shelf::new(limits::LIST_SHELF_BYTES_MAX);
        let never = || -> Result<Listed, Infallible> { panic!("it is kept") };
        assert_eq!(shelf.list(1, &QUERY, list(1)), Ok(told(1)));
        assert_eq!(shelf.list(1, &QUERY, never), Ok(told(1)));
        assert_eq!(shelf.list(2, &QUERY, list(2)), Ok(told(2)));
        let lists = shelf.lists.lock().expect("no panic before");
        assert_eq!(lists.by_query.len(), 1);
        assert_eq!(lists.bytes, shelf_key(&QUERY).len() + "list 2".len());
    }

    #[test]
    fn the_shelf_is_bounded_whatever_is_asked() {
        let shelf = Shelf::new(limits::LIST_SHELF_BYTES_MAX);
        for number in 0..=limits::LIST_SHELF_LISTS_MAX {
            let clusters = format!("c{number}");
            let query = ListQuery { clusters: &clusters, ..QUERY };
            assert_eq!(shelf.list(1, &query, list(1)), Ok(told(1)));
        }
        let lists = shelf.lists.lock().expect("no panic before");
        assert_eq!(lists.by_query.len(), 1, "the shelf began anew");
        assert!(lists.bytes < 1_000, "{}", lists.bytes);
    }

    #[test]
    fn a_service_that_is_not_there_takes_no_room() {
        let shelf = Shelf::new(limits::LIST_SHELF_BYTES_MAX);
        assert_eq!(shelf.list(0, &QUERY, list(0)), Ok(told(0)));
        assert!(shelf.lists.lock().expect("no panic before").by_query.is_empty());
    }
}
