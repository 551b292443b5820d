//! Your first replicated service: from an application with one method to three members that lose
//! their leader. Every piece of code on this page is compiled and run by `cargo test`.
//!
//! # 1. The application
//!
//! Raft makes several machines apply the same commands in the same order. What a command does is
//! yours: implement [`Application`] for a value that is the whole state.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use nacolet_raft::{Application, LogIndex};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
//! struct Bank(BTreeMap<String, u64>);
//!
//! #[derive(Clone, Debug, Serialize, Deserialize)]
//! enum Command {
//!     Deposit { to: String, amount: u64 },
//!     Transfer { from: String, to: String, amount: u64 },
//! }
//!
//! #[derive(Clone, Debug, PartialEq)]
//! enum Refused {
//!     NotEnough { balance: u64 },
//!     TooMuch,
//! }
//!
//! impl Application for Bank {
//!     type Command = Command;
//!     type Response = u64; // the new balance of the one who receives
//!     type Error = Refused;
//!
//!     fn apply(&mut self, _: LogIndex, command: Command) -> Result<u64, Refused> {
//!         let (to, amount) = match command {
//!             Command::Deposit { to, amount } => (to, amount),
//!             Command::Transfer { from, to, amount } => {
//!                 let balance = self.0.get(&from).copied().unwrap_or(0);
//!                 let rest = balance.checked_sub(amount).ok_or(Refused::NotEnough { balance })?;
//!                 self.0.insert(from, rest);
//!                 (to, amount)
//!             }
//!         };
//!         let balance = self.0.entry(to).or_default();
//!         *balance = balance.checked_add(amount).ok_or(Refused::TooMuch)?;
//!         Ok(*balance)
//!     }
//! }
//!
//! let mut bank = Bank::default();
//! let deposit = Command::Deposit { to: "ann".into(), amount: 5 };
//! assert_eq!(bank.apply(LogIndex(1), deposit), Ok(5));
//! let transfer = Command::Transfer { from: "ann".into(), to: "bob".into(), amount: 9 };
//! assert_eq!(bank.apply(LogIndex(2), transfer), Err(Refused::NotEnough { balance: 5 }));
//! ```
//!
//! Three rules make it the same on every member:
//!
//! - `apply` looks at nothing but the state and the command. A clock, a random number or a hash map
//!   with random order would make members differ. Put the time or the random number *into the
//!   command*, where it is proposed; `raft/examples/kv` does so for keys that expire.
//! - A refusal is an answer. It is computed by each member like any other answer.
//! - Commands and state are stored and sent in [postcard](https://postcard.jamesmunns.com): append
//!   variants, do not reorder them.
//!
//! An application whose state is too large to be encoded in one piece implements
//! [`RaftStateMachine`](crate::RaftStateMachine) instead and writes its snapshots piece by piece.
//!
//! # 2. One node
//!
//! A node is made of five parts: settings, a log, a state machine, a network and a clock.
//! [`Raft::new`] connects them and returns a handle and the futures that are the node. It never
//! spawns: run [`Tasks::run`] wherever you like, on one thread.
//!
//! ```
//! # use nacolet_raft::{Application, LogIndex};
//! # #[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
//! # struct Sum(u64);
//! # impl Application for Sum {
//! #     type Command = u64;
//! #     type Response = u64;
//! #     type Error = &'static str;
//! #     fn apply(&mut self, _: LogIndex, amount: u64) -> Result<u64, &'static str> {
//! #         self.0 = self.0.checked_add(amount).ok_or("full")?;
//! #         Ok(self.0)
//! #     }
//! # }
//! use nacolet_model::{Duration, NodeId};
//! use nacolet_raft::testing::{Crew, ManualTimer};
//! use nacolet_raft::{
//!     ClientWriteError, Config, Membership, NoNetwork, Outcome, Raft, RamLog, RamSnapshots,
//!     Replica, engine,
//! };
//!
//! // An executor of one thread and a clock that is moved by hand; see part 5 for real ones.
//! let (mut crew, timer) = (Crew::default(), ManualTimer::default());
//!
//! let id = NodeId(1);
//! let seed = 42; // random, so that two nodes do not choose the same election timeouts
//! let config = Config::new(engine::EngineConfig::new(id, seed))
//!     .bootstrap(Membership::of_voters([(id, "127.0.0.1:7000".into())]));
//! let replica = Replica::new(Sum(0), RamSnapshots::default());
//! let state = replica.state();
//! let (raft, tasks) = Raft::new(config, RamLog::default(), replica, NoNetwork, timer.clone())?;
//! crew.spawn(tasks.run());
//! crew.pass(&timer, Duration::from_secs(2)); // time for an election
//! assert!(raft.is_leader());
//!
//! let writing = crew.spawn({
//!     let raft = raft.clone();
//!     async move {
//!         // Resolves when the command is durable on a majority and applied here.
//!         assert_eq!(raft.client_write(&40).await, Ok(40));
//!         let refused = raft.client_write(&u64::MAX).await;
//!         assert_eq!(refused, Err(ClientWriteError::Rejected("full")));
//!         // A read that sees every write acknowledged before it, by any node:
//!         raft.read_index().await.expect("this node leads");
//!         raft.shutdown().await;
//!         raft.client_write(&1).await
//!     }
//! });
//! crew.run();
//! assert_eq!(state.read(|sum| sum.0), 40);
//! let after_the_end = writing.take().expect("it is done").expect_err("the node has stopped");
//! assert_eq!(after_the_end.outcome(), Outcome::Refused);
//! # Ok::<(), nacolet_raft::StartError>(())
//! ```
//!
//! Each error tells what a caller has to know: [`ClientWriteError::outcome`] says whether the
//! command certainly had no effect or whether nobody knows, and [`ClientWriteError::leader`] where
//! to go instead. A command whose outcome is unknown may be applied twice when it is sent again, so
//! give it a number of your own if that would matter.
//!
//! # 3. Three members
//!
//! A network is two small traits: a factory that is asked for a connection to each member, and the
//! connection. Messages may be lost, doubled and late; what must not happen is that a message is
//! handed over in the name of a member who did not send it. Here every member has the handles of
//! the others; over TCP the bytes are `postcard::to_allocvec(&message)`.
//!
//! ```
//! # use nacolet_raft::{Application, LogIndex};
//! # #[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
//! # struct Sum(u64);
//! # impl Application for Sum {
//! #     type Command = u64;
//! #     type Response = u64;
//! #     type Error = &'static str;
//! #     fn apply(&mut self, _: LogIndex, amount: u64) -> Result<u64, &'static str> {
//! #         self.0 = self.0.checked_add(amount).ok_or("full")?;
//! #         Ok(self.0)
//! #     }
//! # }
//! use std::cell::RefCell;
//! use std::collections::BTreeMap;
//! use std::rc::Rc;
//!
//! use nacolet_model::{Duration, NodeId};
//! use nacolet_raft::testing::{Crew, ManualTimer};
//! use nacolet_raft::{
//!     Config, LocalBoxFuture, Membership, Message, Raft, RaftNetwork, RaftNetworkFactory, RamLog,
//!     RamSnapshots, Replica, SnapshotChunk, SnapshotMeta, Term, Unreachable, engine,
//! };
//!
//! type Member = Replica<Sum, RamSnapshots>;
//! type Handles = Rc<RefCell<BTreeMap<NodeId, Raft<Member>>>>;
//!
//! struct Network { me: NodeId, handles: Handles }
//! struct Connection { me: NodeId, to: NodeId, handles: Handles }
//!
//! impl RaftNetworkFactory for Network {
//!     type Network = Connection;
//!     fn connect(&mut self, to: NodeId, _address: &str) -> Connection {
//!         Connection { me: self.me, to, handles: self.handles.clone() }
//!     }
//! }
//!
//! impl Connection {
//!     fn peer(&self) -> Result<Raft<Member>, Unreachable> {
//!         self.handles.borrow().get(&self.to).cloned().ok_or(Unreachable)
//!     }
//! }
//!
//! impl RaftNetwork for Connection {
//!     fn send(&mut self, message: Message) -> LocalBoxFuture<'_, Result<(), Unreachable>> {
//!         Box::pin(async move { self.peer()?.receive(self.me, message).map_err(|_| Unreachable) })
//!     }
//!
//!     fn send_chunk(
//!         &mut self,
//!         term: Term,
//!         meta: &SnapshotMeta,
//!         offset: u64,
//!         chunk: SnapshotChunk,
//!     ) -> LocalBoxFuture<'_, Result<u64, Unreachable>> {
//!         let meta = meta.clone();
//!         Box::pin(async move {
//!             let held = self.peer()?.receive_chunk(self.me, term, meta, offset, chunk).await;
//!             held.map_err(|_| Unreachable)
//!         })
//!     }
//! }
//!
//! let (mut crew, timer) = (Crew::default(), ManualTimer::default());
//! let handles = Handles::default();
//! let members: Vec<NodeId> = (1..=3).map(NodeId).collect();
//! let mut nodes = BTreeMap::new();
//! for id in &members {
//!     let all = members.iter().map(|id| (*id, format!("10.0.0.{}:7000", id.0)));
//!     let config = Config::new(engine::EngineConfig::new(*id, 42));
//!     let config = config.bootstrap(Membership::of_voters(all));
//!     let replica = Replica::new(Sum(0), RamSnapshots::default());
//!     let state = replica.state();
//!     let network = Network { me: *id, handles: handles.clone() };
//!     let (raft, tasks) = Raft::new(config, RamLog::default(), replica, network, timer.clone())?;
//!     handles.borrow_mut().insert(*id, raft);
//!     nodes.insert(*id, (state, crew.spawn(tasks.run())));
//! }
//! crew.pass(&timer, Duration::from_secs(3));
//! let leader = |handles: &Handles| {
//!     let handles = handles.borrow();
//!     handles.values().find(|raft| raft.is_leader()).cloned().expect("somebody leads")
//! };
//!
//! let first = leader(&handles);
//! let id = first.id();
//! let written = crew.spawn(async move { first.client_write(&40).await });
//! crew.run();
//! assert_eq!(written.take(), Some(Ok(40)));
//!
//! // The leader dies without a word. The others elect another one, and nothing is lost.
//! handles.borrow_mut().remove(&id);
//! let (_, task) = nodes.remove(&id).expect("it ran");
//! crew.kill(&task);
//! crew.pass(&timer, Duration::from_secs(5));
//! let second = leader(&handles);
//! let written = crew.spawn(async move { second.client_write(&2).await });
//! crew.run();
//! assert_eq!(written.take(), Some(Ok(42)));
//! crew.pass(&timer, Duration::from_secs(1));
//! assert!(nodes.values().all(|(state, _)| state.read(|sum| sum.0) == 42));
//! # Ok::<(), nacolet_raft::StartError>(())
//! ```
//!
//! # 4. Who belongs to it
//!
//! [`Config::bootstrap`] begins a cluster; every first member is given the same membership, and a
//! node that has a log ignores it. A node without it waits until it is added: start it, then on the
//! leader [`Raft::add_learner`], which sends it everything, and
//! [`MembershipChange::Promote`](crate::MembershipChange::Promote), which is refused until it has
//! caught up. [`MembershipChange::Remove`](crate::MembershipChange::Remove) takes one out, the
//! leader too. Every change of voters goes through the joint step of Raft paper §6 and is answered
//! when it is over.
//!
//! A member whose log is lost has forgotten its votes and its promises. It must come back under
//! another [`NodeId`](nacolet_model::NodeId), as a new member.
//!
//! # 5. Where it runs
//!
//! | | log | snapshots | network | clock |
//! |---|---|---|---|---|
//! | server (smol) | `nacolet-storage`: `LogStore` | `nacolet-storage`: `SnapshotStore` | `nacolet-transport` | `SmolTimer` there |
//! | microcontroller (embassy) | [`RamLog`] | [`RamSnapshots`] | `raft/examples/embassy` | ten lines there |
//! | tests | [`RamLog`], `testing::MemoryLog` | [`RamSnapshots`] | `testing::Switchboard` | `testing::ManualTimer` |
//!
//! A log of your own implements [`RaftLogStorage`](crate::RaftLogStorage). Its contract is short
//! and strict: report a write only when it is durable, keep the order, and end the process when an
//! fsync fails. A clock is [`Timer`](crate::Timer):
//!
//! ```
//! use nacolet_model::Instant;
//! use nacolet_raft::{LocalBoxFuture, Timer};
//!
//! /// The clock of the standard library, and a thread for each alarm: simple and not cheap.
//! #[derive(Clone)]
//! struct ThreadTimer(std::time::Instant);
//!
//! impl Timer for ThreadTimer {
//!     fn now(&self) -> Instant {
//!         Instant::from_micros(self.0.elapsed().as_micros() as u64)
//!     }
//!
//!     fn until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
//!         let (rings, rung) = futures_channel::oneshot::channel();
//!         let left = deadline - self.now(); // never negative
//!         std::thread::spawn(move || {
//!             std::thread::sleep(left);
//!             rings.send(())
//!         });
//!         Box::pin(async {
//!             rung.await.expect("the thread ends by sending");
//!         })
//!     }
//! }
//!
//! let timer = ThreadTimer(std::time::Instant::now());
//! let soon = timer.now() + std::time::Duration::from_millis(2);
//! futures_lite::future::block_on(timer.until(soon));
//! assert!(timer.now() >= soon);
//! ```
//!
//! # 6. What it may take
//!
//! Nothing grows without a bound. The defaults of [`Config`] and [`engine::EngineConfig`] are for
//! servers: 16 MiB of commands that are not applied yet, 1,024 entries and 1 MiB of log in memory,
//! a snapshot after 10,000 entries. `raft/examples/embassy/src/member.rs` has settings with which
//! three members and all that surrounds them take less than 64 KiB.
//!
//! ```
//! use nacolet_model::NodeId;
//! use nacolet_raft::{Config, engine};
//!
//! let mut engine = engine::EngineConfig::new(NodeId(1), 42);
//! engine.tail_entries_max = 64;
//! engine.tail_bytes_max = 8 << 10;
//! engine.snapshot_every_entries = 64;
//! engine.uncommitted_bytes_max = 4 << 10;
//! assert!(engine.is_valid());
//! let mut config = Config::new(engine);
//! config.requests_max = 8; // more are answered `Overloaded`
//! config.chunk_bytes = 512; // of a snapshot, between two heartbeats
//! ```
//!
//! A request that finds no room is refused at once and says so; nobody waits for ever, also when
//! the node stops, when the disk fills up and when leadership is lost.
//!
//! [`Application`]: crate::Application
//! [`ClientWriteError::leader`]: crate::ClientWriteError::leader
//! [`ClientWriteError::outcome`]: crate::ClientWriteError::outcome
//! [`Config`]: crate::Config
//! [`Config::bootstrap`]: crate::Config::bootstrap
//! [`Raft::add_learner`]: crate::Raft::add_learner
//! [`Raft::new`]: crate::Raft::new
//! [`RamLog`]: crate::RamLog
//! [`RamSnapshots`]: crate::RamSnapshots
//! [`Tasks::run`]: crate::Tasks::run
//! [`engine::EngineConfig`]: crate::engine::EngineConfig
