//! Users, roles, permissions and the key of the tokens.

use nacolet_auth::{Action, Actions, Begin, Command, Kind, Loader, Name, Pattern, Resource, Users};

use crate::replica::Replica;
use crate::source::Source;

impl Replica for Users {
    type Command = Command;

    fn empty() -> Self {
        Self::new()
    }

    fn made(&self, source: &mut Source<'_>) -> Option<Command> {
        let kind = source.choice(9);
        let user = name(source, &["root", "u", "v"]);
        let role = name(source, &["r", "ROLE_ADMIN", "s"]);
        let hash = || "hash".into();
        Some(match kind {
            0 => Command::Begin(Begin { user: user?, hash: hash(), key: [source.byte(); 32] }),
            1 => Command::CreateUser { user: user?, hash: hash() },
            2 => Command::SetPassword { user: user?, hash: hash() },
            3 => Command::RemoveUser { user: user? },
            4 => Command::AddRole { role: role?, user: user? },
            5 => Command::RemoveRole { role: role?, user: user.filter(|_| source.flag()) },
            8 => Command::Open { key: [source.byte(); 32] },
            _ => {
                let resource = match source.choice(3) {
                    0 => Pattern::new(&source.text()),
                    1 => Pattern::new(":G:config/*"),
                    _ => Pattern::new("dev:*:*"),
                };
                let actions = source.pick(&[Actions::Read, Actions::Write, Actions::Both]);
                let (role, resource) = (role?, resource.ok()?);
                match kind {
                    6 => Command::Permit { role, resource, actions },
                    _ => Command::Forbid { role, resource, actions },
                }
            }
        })
    }

    fn is_valid(command: &Command) -> bool {
        command.check().is_ok()
    }

    fn apply(&mut self, index: u64, command: Command) -> String {
        format!("{:?}", self.apply_logged(index, command))
    }

    fn capture(&self) -> Vec<Vec<u8>> {
        let mut capture = Self::capture(self);
        std::iter::from_fn(|| capture.next_chunk()).collect()
    }

    fn load(_old: Option<Self>, chunks: &[Vec<u8>]) -> Option<Self> {
        let mut loader = Loader::new();
        chunks.iter().try_for_each(|chunk| loader.push(chunk)).ok()?;
        loader.finish().ok()
    }

    fn invariants(&self) {
        Self::invariants(self);
        let asked = Resource { namespace: "dev", group: "G", kind: Kind::Config, name: "a" };
        for name in self.names() {
            assert!(!self.is_admin(name) || self.permits(name, Action::Write, &asked));
        }
        assert!(!self.permits("nobody of this name", Action::Read, &asked));
    }

    fn assert_alike(&self, other: &Self) {
        assert!(self == other, "the same users, roles, permissions and key");
    }
}

fn name(source: &mut Source<'_>, known: &[&str]) -> Option<Name> {
    match source.choice(5) {
        0 => Name::new(&source.text()).ok(),
        _ => Name::new(source.pick(known)).ok(),
    }
}
