//! Who holds a lock or waits for it, in one text: the account it counts for, the connection it goes
//! with and what the client calls itself. The shell writes the first two, so that what a client
//! says of itself makes it nobody else. Texts of another form are of no account.

use alloc::boxed::Box;
use alloc::format;

/// Between the parts; neither names of users nor addresses have it.
const BETWEEN: char = '\n';

/// The text for whoever says that it is `name`, over this connection; 0 for one that nobody misses.
#[must_use]
pub fn owner(account: &str, connection: u64, name: &str) -> Box<str> {
    format!("{account}{BETWEEN}{connection:x}{BETWEEN}{name}").into()
}

/// What the client says that it is.
#[must_use]
pub fn name_of(owner: &str) -> &str {
    owner.splitn(3, BETWEEN).nth(2).unwrap_or(owner)
}

/// The account that it counts for.
pub(crate) fn account_of(owner: &str) -> Option<&str> {
    owner.split_once(BETWEEN).map(|(account, _)| account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_makes_it_nobody_else() {
        let mine = owner("u", 0x1f, "c:1");
        assert_eq!(&*mine, "u\n1f\nc:1");
        assert_eq!((account_of(&mine), name_of(&mine)), (Some("u"), "c:1"));
        let other = owner("v", 2, &mine);
        assert_eq!((account_of(&other), name_of(&other)), (Some("v"), &*mine));
        assert_ne!(other, mine);
        assert_eq!((account_of("c:1"), name_of("c:1")), (None, "c:1"));
    }
}
