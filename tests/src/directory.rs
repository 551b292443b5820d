//! A directory with files, and what a power cut leaves of both. A name that was created, moved or
//! removed is safe once the directory is synced; until then the power cut may undo it, newest
//! first. The bytes of a file are safe once the file is synced; until then they may be cut or
//! zeroed.

use std::collections::BTreeMap;
use std::rc::Rc;

use nacolet_model::Prng;

type Inode = u64;
type Names = BTreeMap<String, Inode>;

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Rc<Vec<u8>>,
    synced_bytes: usize,
}

/// Names and files.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    files: BTreeMap<Inode, File>,
    names: Names,
    /// The states of `names` since the last sync, the synced one first.
    past: Vec<Names>,
    last_inode: Inode,
}

impl Directory {
    /// Creates an empty file in place of whatever has this name.
    pub(crate) fn create(&mut self, name: &str) {
        self.last_inode += 1;
        self.files.insert(self.last_inode, File::default());
        let inode = self.last_inode;
        self.change(|names| {
            names.insert(name.to_owned(), inode);
        });
    }

    /// Appends to a file; whether it is there.
    pub(crate) fn append(&mut self, name: &str, bytes: &[u8]) -> bool {
        let file = self.names.get(name).and_then(|inode| self.files.get_mut(inode));
        file.map(|file| Rc::make_mut(&mut file.bytes).extend_from_slice(bytes)).is_some()
    }

    /// Makes the bytes of a file durable.
    pub(crate) fn sync_file(&mut self, name: &str) {
        if let Some(file) = self.names.get(name).and_then(|inode| self.files.get_mut(inode)) {
            file.synced_bytes = file.bytes.len();
        }
    }

    /// Gives a file another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        self.change(|names| {
            if let Some(inode) = names.remove(from) {
                names.insert(to.to_owned(), inode);
            }
        });
    }

    /// Removes a name.
    pub(crate) fn remove(&mut self, name: &str) {
        self.change(|names| {
            names.remove(name);
        });
    }

    /// Makes all names durable.
    pub(crate) fn sync(&mut self) {
        self.past.clear();
        let Self { files, names, .. } = self;
        files.retain(|inode, _| names.values().any(|named| named == inode));
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, name: &str) -> Option<Rc<Vec<u8>>> {
        let file = self.names.get(name).and_then(|inode| self.files.get(inode));
        file.map(|file| Rc::clone(&file.bytes))
    }

    fn change(&mut self, change: impl FnOnce(&mut Names)) {
        self.past.push(self.names.clone());
        change(&mut self.names);
    }

    /// The power goes. With `mixed` something unsynced may survive, else nothing does.
    pub(crate) fn crash(&mut self, prng: &mut Prng, mixed: bool) {
        if !self.past.is_empty() {
            let choices = self.past.len() as u64 + 1;
            let chosen = if mixed { prng.below(choices) } else { 0 };
            let chosen = usize::try_from(chosen).unwrap_or(0);
            if let Some(names) = self.past.get(chosen) {
                self.names.clone_from(names);
            }
        }
        for file in self.files.values_mut() {
            let unsynced = (file.bytes.len() - file.synced_bytes) as u64;
            let kept = if mixed { prng.below(unsynced + 1) } else { 0 };
            let end = file.synced_bytes + usize::try_from(kept).unwrap_or(0);
            let bytes = Rc::make_mut(&mut file.bytes);
            if mixed && prng.chance(1, 2) {
                bytes[end..].fill(0);
            } else {
                bytes.truncate(end);
            }
            file.synced_bytes = bytes.len();
        }
        self.sync();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crashed(seed: u64, build: impl Fn(&mut Directory)) -> Directory {
        let mut directory = Directory::default();
        build(&mut directory);
        directory.crash(&mut Prng::new(seed), !seed.is_multiple_of(3));
        directory
    }

    #[test]
    fn what_was_synced_survives() {
        for seed in 0..100 {
            let directory = crashed(seed, |directory| {
                directory.create("a");
                directory.append("a", b"12");
                directory.sync_file("a");
                directory.rename("a", "b");
                directory.sync();
                directory.append("b", b"34");
            });
            assert_eq!(directory.names().collect::<Vec<_>>(), ["b"]);
            assert!(directory.bytes("b").unwrap().starts_with(b"12"));
        }
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_lost_and_may_not() {
        let survivors = |name: &str| {
            (0..100)
                .filter(|seed| {
                    let directory = crashed(*seed, |directory| {
                        directory.create("a");
                        directory.sync();
                        directory.rename("a", "b");
                    });
                    directory.names().any(|known| known == name)
                })
                .count()
        };
        assert_eq!(survivors("a") + survivors("b"), 100);
        assert!(survivors("a") > 10 && survivors("b") > 10);
    }
}
