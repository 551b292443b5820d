//! Names as they come from a client: checked once, at the door, and known to be right from then on.
//!
//! `cargo run -p nacolet-model --example names -- dev DEFAULT_GROUP app.yaml`
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use nacolet_model::{ConfigKey, DataId, Group, IdError, Namespace};

fn main() -> Result<(), IdError> {
    let mut given = std::env::args().skip(1);
    let mut next = |default: &str| given.next().unwrap_or_else(|| default.to_owned());
    let namespace = Namespace::parse(&next("public"))?;
    let (group, data_id) = (Group::new(&next("DEFAULT_GROUP"))?, DataId::new(&next("app.yaml"))?);
    println!("{:?}", ConfigKey { namespace, group, data_id });
    // Two spellings of the default namespace are one namespace.
    assert_eq!(Namespace::parse("")?, Namespace::parse("public")?);
    // What no client may send never becomes a name.
    if let Err(error) = Group::new("a b") {
        println!("a b: {error}");
    }
    Ok(())
}
