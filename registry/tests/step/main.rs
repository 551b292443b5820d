//! One registry alone, from outside: what a step and a command of the Raft log do. `scenario` plays
//! stories, `model` plays chance, `limits` goes one beyond every bound, `commands` tries what no
//! door lets through.

mod commands;
mod limits;
mod model;
mod scenario;
#[path = "../../src/testing.rs"]
mod testing;
