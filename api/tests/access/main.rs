//! Who may do what over HTTP, in process: the route matrix of reliability B6, tokens, passwords, and the
//! administration of users.

mod administration;
mod hostile;
mod login;
mod matrix;
mod world;
