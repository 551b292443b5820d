//! Where members run. Without root all share the loopback: each listens on 127.0.0.1 and is known
//! as 127.0.1.N. With root each has a network namespace of its own and a cable to this process,
//! which may be pulled:
//!
//! ```text
//! this process                      namespace of member N
//!   10.77.N.1, relay to N ── cable ── 10.77.N.2, everything of the others by way of 10.77.N.1
//! ```
//!
//! Namespaces end with this process and with the members.

use std::fs::File;
use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::disk::run;
use crate::http::Http;

const NAMESPACES: &str = "/run/netns";

/// The addresses of all members.
pub(crate) struct Net {
    own_namespaces: bool,
    members: usize,
}

fn octet(member: usize) -> u8 {
    u8::try_from(member + 1).unwrap_or(u8::MAX)
}

fn namespace(member: usize) -> PathBuf {
    Path::new(NAMESPACES).join(format!("m{member}"))
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<()> {
    run("ip", &words.split(' ').collect::<Vec<_>>())
}

impl Net {
    /// Lays the cables, where every member has a namespace.
    pub(crate) fn new(own_namespaces: bool, members: usize) -> Result<Self> {
        if own_namespaces {
            run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
            ip("link set lo up")?;
            for member in 0..members {
                let (n, subnet) = (member, format!("10.77.{}", octet(member)));
                ip(&format!("netns add m{n}"))?;
                ip(&format!("link add cable{n} type veth peer name eth0 netns m{n}"))?;
                ip(&format!("addr add {subnet}.1/24 dev cable{n}"))?;
                ip(&format!("link set cable{n} up"))?;
                ip(&format!("-n m{n} addr add {subnet}.2/24 dev eth0"))?;
                ip(&format!("-n m{n} link set lo up"))?;
                ip(&format!("-n m{n} link set eth0 up"))?;
                ip(&format!("-n m{n} route add default via {subnet}.1"))?;
            }
        }
        Ok(Self { own_namespaces, members })
    }

    /// Where a member listens.
    pub(crate) fn listens(&self, member: usize) -> Ipv4Addr {
        if self.own_namespaces {
            Ipv4Addr::new(10, 77, octet(member), 2)
        } else {
            Ipv4Addr::LOCALHOST
        }
    }

    /// How it is known to the others: its relay is there.
    pub(crate) fn known_as(&self, member: usize) -> Ipv4Addr {
        if self.own_namespaces {
            Ipv4Addr::new(10, 77, octet(member), 1)
        } else {
            Ipv4Addr::new(127, 0, 1, octet(member))
        }
    }

    /// A port that is free on all addresses here that members need; never one that the system hands
    /// out.
    pub(crate) fn free_port(&self, seed: &mut u16) -> u16 {
        loop {
            *seed = if *seed >= 31_000 { 10_000 } else { *seed + 1 };
            let is_free = |ip: Ipv4Addr| TcpListener::bind((ip, *seed)).is_ok();
            let known = (0..self.members).all(|member| is_free(self.known_as(member)));
            if known && is_free(Ipv4Addr::LOCALHOST) {
                return *seed;
            }
        }
    }

    /// A program as a member of the net.
    pub(crate) fn command(&self, binary: &Path, member: usize) -> Command {
        if !self.own_namespaces {
            return Command::new(binary);
        }
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace(member).display())).arg(binary);
        command
    }

    /// A connection to a member from its own host.
    pub(crate) fn connect_inside(
        &self,
        member: usize,
        port: u16,
        patience: Duration,
    ) -> Result<Http> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if !self.own_namespaces {
            return Http::connect(address, patience);
        }
        let entered = thread::spawn(move || {
            let namespace = File::open(namespace(member))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Http::connect(address, patience)
        });
        entered.join().map_err(|_panic| Error::other("a thread panicked"))?
    }

    /// Pulls a member's cable, or plugs it in again. Nobody is told, and no connection breaks.
    pub(crate) fn plug(&self, member: usize, is_in: bool) -> Result<()> {
        ip(&format!("link set cable{member} {}", if is_in { "up" } else { "down" }))
    }
}
