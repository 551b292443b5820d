//! How many locks are held or waited for by one account and over one connection.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use nacolet_model::limits;

use crate::owner::account_of;

/// The counts; nothing is counted that is zero.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    accounts: BTreeMap<Box<str>, usize>,
    /// All but 0, which is the connection of nobody.
    connections: BTreeMap<u64, usize>,
}

impl Shares {
    /// Whether this owner may hold or wait for one more.
    pub(crate) fn has_room(&self, owner: &str, connection: u64) -> bool {
        let account = account_of(owner).and_then(|account| self.accounts.get(account));
        let of_connection = self.connections.get(&connection);
        account.is_none_or(|count| *count < limits::LOCKS_PER_ACCOUNT_MAX)
            && of_connection.is_none_or(|count| *count < limits::LOCKS_PER_CONNECTION_MAX)
    }

    /// Whether nobody has more than may be.
    pub(crate) fn is_bounded(&self) -> bool {
        self.accounts.values().all(|count| *count <= limits::LOCKS_PER_ACCOUNT_MAX)
            && self.connections.values().all(|count| *count <= limits::LOCKS_PER_CONNECTION_MAX)
    }

    /// An owner holds or waits for one more.
    pub(crate) fn enter(&mut self, owner: &str, connection: u64) {
        if let Some(account) = account_of(owner) {
            match self.accounts.get_mut(account) {
                Some(count) => *count += 1,
                None => _ = self.accounts.insert(account.into(), 1),
            }
        }
        if connection != 0 {
            *self.connections.entry(connection).or_default() += 1;
        }
    }

    /// And one less.
    pub(crate) fn leave(&mut self, owner: &str, connection: u64) {
        if let Some(account) = account_of(owner)
            && let Some(count) = self.accounts.get_mut(account)
        {
            *count -= 1;
            if *count == 0 {
                self.accounts.remove(account);
            }
        }
        if let Some(count) = self.connections.get_mut(&connection) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&connection);
            }
        }
    }
}
