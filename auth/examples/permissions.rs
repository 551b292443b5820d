//! Users, roles and permissions: the first administrator, a user with a role, and what it may do.
//!
//! `cargo run -p nacolet-auth --example permissions`
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use nacolet_auth::{Action, Actions, Begin, Command, Kind, Name, Pattern, Resource, Users};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut users = Users::new();
    let (root, dev) = (Name::new("nacos")?, Name::new("dev")?);
    // Hashing passwords is the caller's business, and so is chance: the key signs tokens.
    let begin = Begin { user: root, hash: "$2b$10$root".into(), key: [7; 32] };
    let role = Name::new("readers")?;
    let resource = Pattern::new("public:DEFAULT_GROUP:config/*")?;
    let commands = [
        Command::Begin(begin),
        Command::CreateUser { user: dev.clone(), hash: "$2b$10$dev".into() },
        Command::AddRole { role: role.clone(), user: dev },
        Command::Permit { role, resource, actions: Actions::Read },
    ];
    for (index, command) in (1..).zip(commands) {
        // As a member does with what is in the log, whoever put it there.
        users.apply_logged(index, command)?;
    }
    let (namespace, group, name) = ("public", "DEFAULT_GROUP", "app.yaml");
    let config = Resource { namespace, group, kind: Kind::Config, name };
    for user in ["nacos", "dev", "stranger"] {
        for action in [Action::Read, Action::Write] {
            println!("{user} {action:?}: {}", users.permits(user, action, &config));
        }
    }
    Ok(())
}
