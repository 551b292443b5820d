//! Who may do what over HTTP, in process: the route matrix (docs/reliability.md, "Attacks"),
//! tokens, passwords, and the administration of users.

mod administration;
mod credentials;
mod first;
mod hostile;
mod ids;
mod login;
mod matrix;
mod world;
