//! The whole state out, for a Raft snapshot, and in again. Where there are no users there is no
//! chunk: a snapshot without them is one that a version without them can read.
//!
//! A file and wire format: count up [`VERSION`] for a change. Golden bytes are at the end.

use alloc::boxed::Box;
use alloc::vec::Vec;

use nacolet_model::limits;
use nacolet_model::replicated::{ChunkError, ChunkReader, ChunkWriter};
use serde::{Deserialize, Serialize};

use crate::command::{Key, Name, check_hash};
use crate::resource::{Actions, Pattern, Permission};
use crate::users::{User, Users};

/// Version of the format. A loader reads its own and no other.
const VERSION: u8 = 1;
/// Items in one chunk: with the longest texts it stays below a chunk's limit.
const ITEMS_PER_CHUNK: usize = 200;
/// A name takes up to four bytes for each character.
const ITEM_BYTES_MAX: usize = limits::PERMISSION_RESOURCE_BYTES_MAX
    + limits::PASSWORD_HASH_BYTES_MAX
    + 8 * limits::USER_NAME_CHARS_MAX
    + 32;

const _: () = assert!(ITEMS_PER_CHUNK * ITEM_BYTES_MAX + 64 <= limits::SNAPSHOT_CHUNK_BYTES_MAX);

/// In the order of the variants: each needs what stands before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Item {
    Key(Key),
    User { name: Name, hash: Box<str>, since: u64 },
    Role { role: Name, user: Name },
    Permission { role: Name, resource: Pattern, actions: Actions },
}

/// The state at one moment, to be written out chunk by chunk.
#[derive(Debug)]
pub struct Capture(ChunkWriter<(), Item>);

impl Users {
    /// The whole state, which no longer needs the users.
    #[must_use]
    pub fn capture(&self) -> Capture {
        // Only names that were checked are in the state.
        let name = |text: &str| Name::new(text).ok();
        let key = self.key.iter().map(|key| Some(Item::Key(*key)));
        let users = self.users.iter().map(|(user, User { hash, since })| {
            Some(Item::User { name: name(user)?, hash: hash.clone(), since: *since })
        });
        let roles = self
            .roles()
            .map(|(role, user)| Some(Item::Role { role: name(role)?, user: name(user)? }));
        let permissions = self.permissions().map(|(role, Permission { resource, actions })| {
            let (resource, actions) = (resource.clone(), *actions);
            Some(Item::Permission { role: name(role)?, resource, actions })
        });
        let items = key.chain(users).chain(roles).chain(permissions).flatten().collect();
        Capture(ChunkWriter::new(VERSION, (), items, ITEMS_PER_CHUNK))
    }
}

impl Capture {
    /// The next chunk, `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        self.0.next_chunk()
    }
}

/// Why chunks are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Another version wrote it.
    #[error("the users have format {found}, this version reads {VERSION}")]
    Version {
        /// What it says.
        found: u8,
    },
    /// A chunk is damaged, or not where it belongs.
    #[error("the users are damaged")]
    Damaged,
}

impl From<ChunkError> for LoadError {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Version { found } => Self::Version { found },
            ChunkError::Damaged => Self::Damaged,
        }
    }
}

/// Takes chunks in order.
#[derive(Debug)]
pub struct Loader {
    users: Users,
    chunks: ChunkReader<()>,
}

impl Default for Loader {
    fn default() -> Self {
        Self { users: Users::new(), chunks: ChunkReader::new(VERSION) }
    }
}

impl Loader {
    /// For a new state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), LoadError> {
        let ((), items) = self.chunks.read::<Item>(chunk)?;
        items.into_iter().try_for_each(|item| self.take(item))
    }

    fn take(&mut self, item: Item) -> Result<(), LoadError> {
        let users = &mut self.users;
        match item {
            Item::Key(key) if users.key.is_none() => users.key = Some(key),
            Item::User { name, hash, since } => {
                check(name.check())?;
                check(check_hash(&hash))?;
                let is_new = users.users.insert(name.as_str().into(), User { hash, since });
                if is_new.is_some() || users.users.len() > limits::USERS_MAX {
                    return Err(LoadError::Damaged);
                }
            }
            Item::Role { role, user } if users.users.contains_key(user.as_str()) => {
                check(role.check())?;
                let known = users.roles.entry(role.as_str().into()).or_default();
                if !known.insert(user.as_str().into()) {
                    return Err(LoadError::Damaged);
                }
            }
            Item::Permission { role, resource, actions }
                if users.roles.contains_key(role.as_str()) =>
            {
                check(resource.check())?;
                let known = users.permissions.entry(role.as_str().into()).or_default();
                if !known.insert(Permission { resource, actions }) {
                    return Err(LoadError::Damaged);
                }
            }
            Item::Key(_) | Item::Role { .. } | Item::Permission { .. } => {
                return Err(LoadError::Damaged);
            }
        }
        Ok(())
    }

    /// The state.
    ///
    /// # Errors
    /// A chunk is missing, or what is there is no state.
    pub fn finish(self) -> Result<Users, LoadError> {
        let users = self.users;
        let is_state = users.roles().count() <= limits::USER_ROLES_MAX
            && users.permissions().count() <= limits::PERMISSIONS_MAX
            && users.users.len() + users.reserved() <= limits::USERS_MAX
            && (!users.is_empty() || users.users.is_empty());
        if self.chunks.is_whole() && is_state { Ok(users) } else { Err(LoadError::Damaged) }
    }
}

/// What came from a file or a peer is what a command may bring, or it is damaged.
fn check<E>(checked: Result<(), E>) -> Result<(), LoadError> {
    checked.ok().ok_or(LoadError::Damaged)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use nacolet_model::Prng;

    use super::*;
    use crate::{Begin, Command};

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn state(count: usize) -> Users {
        let mut users = Users::new();
        let begin = Begin { user: name("n"), hash: "h".into(), key: [9; 32] };
        users.apply(1, Command::Begin(begin)).expect("the first");
        for number in 0..count {
            let (user, role) = (name(&format!("u{number}")), name(&format!("r{}", number % 9)));
            let create = Command::CreateUser { user: user.clone(), hash: "h".into() };
            users.apply(300, create).expect("new");
            users.apply(3, Command::AddRole { role: role.clone(), user }).expect("new");
            let resource = Pattern::new(&format!("a:b:{number}")).expect("a resource");
            let permit = Command::Permit { role, resource, actions: Actions::Both };
            users.apply(4, permit).expect("new");
        }
        users
    }

    fn chunks(users: &Users) -> Vec<Vec<u8>> {
        let mut capture = users.capture();
        core::iter::from_fn(|| capture.next_chunk()).collect()
    }

    fn load(chunks: &[Vec<u8>]) -> Result<Users, LoadError> {
        let mut loader = Loader::new();
        chunks.iter().try_for_each(|chunk| loader.push(chunk))?;
        loader.finish()
    }

    #[test]
    fn chunks_keep_their_bytes() {
        let rest = b"\x01\x01n\x01h\x01\x01\x02u0\x01h\xac\x02\
            \x02\x0aROLE_ADMIN\x01n\x02\x02r0\x02u0\x03\x02r0\x05a:b:0\x02";
        let golden = [[1, 0, 0, 6, 0].as_slice(), &[9; 32], rest].concat();
        assert_eq!(chunks(&state(1)), [golden]);
        assert!(chunks(&Users::new()).is_empty());
    }

    #[test]
    fn what_goes_out_comes_in_again() {
        for count in [0, 1, 65, 66, 67, 400] {
            let users = state(count);
            let chunks = chunks(&users);
            assert_eq!(chunks.len(), (3 + 3 * count).div_ceil(ITEMS_PER_CHUNK));
            let loaded = load(&chunks).expect("whole");
            loaded.invariants();
            assert!(loaded == users);
        }
        assert!(load(&[]).expect("nobody").is_empty());
    }

    #[test]
    fn a_key_without_an_administrator_is_a_state() {
        let mut users = Users::new();
        users.apply(1, Command::Open { key: [9; 32] }).expect("the first");
        assert!(load(&chunks(&users)).is_ok_and(|loaded| loaded == users));
        users.apply(2, Command::CreateUser { user: name("u"), hash: "h".into() }).expect("new");
        assert!(load(&chunks(&users)).is_ok_and(|loaded| loaded == users));
        users.key = None;
        assert_eq!(load(&chunks(&users)).err(), Some(LoadError::Damaged));
    }

    #[test]
    fn what_is_missing_twice_or_of_another_version_is_refused() {
        let whole = chunks(&state(150));
        let [first, second, third] = whole.as_slice() else { panic!("three chunks") };
        for wrong in [&whole[..2], &whole[1..], &[first.clone(), third.clone()]] {
            assert_eq!(load(wrong).err(), Some(LoadError::Damaged));
        }
        let twice = [first.clone(), second.clone(), second.clone()];
        assert_eq!(load(&twice).err(), Some(LoadError::Damaged));
        let newer = [[2].as_slice(), &first[1..]].concat();
        assert_eq!(load(&[newer]).err(), Some(LoadError::Version { found: 2 }));
        let mut longer = chunks(&state(1)).remove(0);
        longer.push(0);
        assert_eq!(load(&[longer]).err(), Some(LoadError::Damaged));
    }

    /// A value as it may be decoded, checked or not.
    fn decoded<T: serde::de::DeserializeOwned>(text: &str) -> T {
        postcard::from_bytes(&postcard::to_allocvec(text).expect("encodes")).expect("a text")
    }

    fn any(random: &mut Prng) -> Command {
        let mut text = |texts: &[&str], long: usize| -> alloc::string::String {
            let at = random.below(texts.len() as u64 + 1);
            let text = usize::try_from(at).ok().and_then(|at| texts.get(at).copied());
            text.map_or_else(|| "ü".repeat(long), Into::into)
        };
        let names = ["", " ", "a b", "n", "u1", "u2"];
        let long = limits::USER_NAME_CHARS_MAX;
        let user: Name = decoded(&text(&names, long + 1));
        let role: Name = decoded(&text(&["", "r 1", "r1", "r2", "ROLE_ADMIN"], long + 1));
        let patterns = ["", ":b:c", "a", "a:b", "a:b:c d", "a:b:c", "a:b:*"];
        let resource: Pattern = decoded(&text(&patterns, limits::PERMISSION_RESOURCE_BYTES_MAX));
        let hash: Box<str> = text(&["", "h", "$2b$10$x"], limits::PASSWORD_HASH_BYTES_MAX).into();
        let actions = Actions::Both;
        match random.below(10) {
            8 => Command::Open { key: [2; 32] },
            0 => Command::Begin(Begin { user, hash, key: [1; 32] }),
            1 | 2 => Command::CreateUser { user, hash },
            3 => Command::SetPassword { user, hash },
            4 => Command::RemoveUser { user },
            5 => Command::AddRole { role, user },
            6 => Command::RemoveRole { role, user: Some(user) },
            7 => Command::Permit { role, resource, actions },
            _ => Command::Forbid { role, resource, actions },
        }
    }

    #[test]
    fn whatever_was_applied_can_be_loaded() {
        let mut random = Prng::new(43);
        let (mut valid, mut invalid) = (0, 0);
        for round in 0..500 {
            let mut users = if round % 2 == 0 { Users::new() } else { state(2) };
            for index in 400..440 {
                let command = any(&mut random);
                let before = users.clone();
                let is_valid = command.check().is_ok();
                let words = format!("{command:?}");
                let answer = users.apply_logged(index, command);
                if answer.is_err() {
                    assert!(users == before, "{words}");
                }
                let refused = matches!(answer, Err(crate::ApplyError::Invalid(_)));
                assert_eq!(refused, !is_valid, "{words}");
                *(if is_valid { &mut valid } else { &mut invalid }) += 1;
                users.invariants();
                assert!(load(&chunks(&users)).is_ok_and(|loaded| loaded == users), "{words}");
            }
        }
        assert!(valid > 1_000 && invalid > 1_000, "{valid} {invalid}");
    }

    #[test]
    fn random_bytes_never_panic_and_never_break_the_invariants() {
        let mut random = Prng::new(5);
        let golden = chunks(&state(3)).remove(0);
        for _ in 0..20_000 {
            let mut chunk = golden.clone();
            for _ in 0..=random.below(2) {
                let at = random.index(golden.len());
                chunk[at] = u8::try_from(random.below(256)).expect("a byte");
            }
            if let Ok(users) = load(&[chunk]) {
                users.invariants();
            }
        }
    }
}
