//! The lines between members. Where a member is known to be a relay waits; it reads who calls from
//! the hello, which is not secret, and treats every directed pair on its own. A member calls each
//! peer on a connection of its own, so a cut line is a one-way partition.

use std::collections::BTreeMap;
use std::io::{Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// From one member to another, by number.
pub(crate) type Pair = (usize, usize);

/// What a line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Open,
    /// Everything arrives later.
    Delay(Duration),
    /// Connections stay and nothing arrives.
    Hold,
    /// Connections break and none comes about.
    Cut,
}

#[derive(Default)]
struct Lines {
    lines: BTreeMap<Pair, Line>,
    members: BTreeMap<u64, usize>,
    live: Vec<(Pair, TcpStream)>,
    relayed: u64,
}

/// All relays; clones are the same ones.
#[derive(Clone, Default)]
pub(crate) struct Relays(Arc<Mutex<Lines>>);

impl Relays {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for calls to a member, for the rest of the process's life.
    pub(crate) fn serve(&self, to: usize, known_as: SocketAddr, listens: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(known_as)?;
        let relays = self.clone();
        spawn(move || {
            for caller in listener.incoming().flatten() {
                let relays = relays.clone();
                // A connection that breaks is what connections do.
                spawn(move || relays.connect(caller, to, listens));
            }
        });
        Ok(())
    }

    /// From now on a call with this node id is one of this member.
    pub(crate) fn name(&self, node: u64, member: usize) {
        self.lines().members.insert(node, member);
    }

    /// Makes a line do something.
    pub(crate) fn set(&self, pair: Pair, line: Line) {
        let mut lines = self.lines();
        lines.lines.insert(pair, line);
        if line == Line::Cut {
            for (_, stream) in lines.live.extract_if(.., |(of, _)| *of == pair) {
                // It may be closed already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// All lines are well.
    pub(crate) fn heal(&self) {
        self.lines().lines.clear();
    }

    /// Bytes that arrived so far.
    pub(crate) fn relayed(&self) -> u64 {
        self.lines().relayed
    }

    fn line(&self, pair: Pair) -> Line {
        self.lines().lines.get(&pair).copied().unwrap_or(Line::Open)
    }

    fn connect(&self, mut caller: TcpStream, to: usize, listens: SocketAddr) -> Result<()> {
        let mut hello = [0; 64];
        caller.read_exact(&mut hello)?;
        let node = u64::from_le_bytes(hello[16..24].try_into().unwrap_or_default());
        // A node that is not known yet joins.
        let from = self.lines().members.get(&node).copied();
        let pair = from.map(|from| (from, to));
        if pair.is_some_and(|pair| self.line(pair) == Line::Cut) {
            return Ok(());
        }
        let mut called = TcpStream::connect(listens)?;
        caller.set_nodelay(true)?;
        called.set_nodelay(true)?;
        called.write_all(&hello)?;
        if let Some(pair) = pair {
            let mut lines = self.lines();
            lines.live.retain(|(_, stream)| stream.peer_addr().is_ok());
            lines.live.push((pair, caller.try_clone()?));
            lines.live.push((pair, called.try_clone()?));
        }
        let (relays, back) = (self.clone(), (called.try_clone()?, caller.try_clone()?));
        spawn(move || relays.pump(back.0, back.1, pair));
        self.pump(caller, called, pair);
        Ok(())
    }

    /// Carries bytes until one side closes.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, pair: Option<Pair>) {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            loop {
                match pair.map_or(Line::Open, |pair| self.line(pair)) {
                    Line::Open => break,
                    Line::Delay(time) => {
                        sleep(time);
                        break;
                    }
                    Line::Hold => sleep(Duration::from_millis(5)),
                    Line::Cut => return,
                }
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
            self.lines().relayed += count as u64;
        }
        // One of them is closed already.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
