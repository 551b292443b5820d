//! What a registry holds, and what every rule may do to it. Nothing here decides what a request, a
//! command, a message or a deadline means.
//!
//! Read `registry` first: the whole as one value; then `service` and `instance`, what it is about;
//! then `change`, `deadlines` and `room`, through which every rule changes them, and `invariants`,
//! what holds after every change. `catalog` finds services, `timetable` and `health` know
//! deadlines, `distro` remembers the other members, `clients` and `subscribers` those who publish
//! over connections and those who listen on UDP ports.

pub(crate) mod catalog;
mod change;
pub(crate) mod clients;
mod deadlines;
pub(crate) mod distro;
pub(crate) mod durable;
pub(crate) mod hash;
pub(crate) mod health;
pub(crate) mod instance;
mod invariants;
pub(crate) mod ref_time;
pub(crate) mod registry;
mod room;
pub(crate) mod service;
pub(crate) mod subscribers;
pub(crate) mod timetable;
pub(crate) mod tombs;
