//! Random moments of three to five members and their clients. Promise P7: on the member that hears
//! it, a live client is always listed; elsewhere too, unless faults were recent. Promise P6: after
//! the faults every member lists exactly the instances of live clients. A failure prints its seed:
//! `SEED=<n> cargo test -p nacolet-registry --test distro chaos`.

use std::env;

use nacolet_model::Prng;
use nacolet_registry::ClientId;

use crate::world::{Link, Member, World};

const CLIENTS: usize = 16;
const SERVICES: usize = 3;
const FAULTY_S: u64 = 240;
/// Time for digests to find what was lost, and for silence to be noticed: beats, looks and reports.
const HEALING_S: u64 = 65;
/// This long after the last fault everybody agrees on who is alive.
const CALM_S: u64 = 45;

/// The longest partition, and what follows it.
const APART_S: u64 = 60 + CALM_S;

/// How a client is known to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tie {
    Beats,
    Connection(ClientId),
}

#[derive(Debug)]
struct Client {
    name: String,
    ip: String,
    connects: bool,
    alive: bool,
    /// The member that it talks to, and how.
    home: Option<(Member, Tie)>,
    next_s: u64,
    /// When it last changed its mind or its member.
    moved_s: u64,
}

struct Chaos {
    world: World,
    prng: Prng,
    members: usize,
    clients: Vec<Client>,
    second: u64,
    /// When a dead member starts again.
    restarts: Vec<Option<u64>>,
    fault_s: u64,
    heals_s: Option<u64>,
    /// Connections that clients gave up while their member was stopped: it notices later.
    given_up: Vec<(Member, ClientId)>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let members = 3 + usize::try_from(prng.below(3)).expect("small");
        let clients = (0..CLIENTS).map(|number| Client {
            name: format!("s{}", number % SERVICES),
            ip: format!("i{number:02}"),
            connects: number % 2 == 0,
            alive: true,
            home: None,
            next_s: prng.below(5),
            moved_s: 0,
        });
        let clients = clients.collect();
        let mut world = World::new(members, prng.next_u64());
        world.link = Link {
            delay_ms_max: [2, 50, 400][usize::try_from(prng.below(3)).expect("small")],
            lost: [0, 0, 5, 30][usize::try_from(prng.below(4)).expect("small")],
            doubled: [0, 20][usize::try_from(prng.below(2)).expect("small")],
        };
        let restarts = vec![None; members];
        Self {
            world,
            prng,
            members,
            clients,
            second: 0,
            restarts,
            fault_s: 0,
            heals_s: None,
            given_up: Vec::new(),
        }
    }

    fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.prng.below(u64::try_from(bound).expect("small"))).expect("small")
    }

    /// Members that serve clients.
    fn ready(&self) -> Vec<Member> {
        (0..self.members)
            .filter(|member| self.world.is_up(*member) && self.world.is_loaded(*member))
            .collect()
    }

    fn run_fault(&mut self) {
        let member = self.pick(self.members);
        match self.prng.below(6) {
            0 if self.world.is_up(member) && self.ready().len() > 1 => {
                self.world.kill(member);
                self.restarts[member] = Some(self.second + 1 + self.prng.below(40));
            }
            1 if self.world.is_up(member) => {
                let ms = self.prng.below(25_000);
                self.world.pause(member, ms);
                // It serves nobody meanwhile, and needs some time to hear the others again.
                self.fault_s = self.second + ms / 1_000;
                return;
            }
            2 if self.heals_s.is_none() => {
                self.world.split(&[member]);
                self.heals_s = Some(self.second + self.prng.below(60));
            }
            3 if self.heals_s.is_none() => {
                let to = self.pick(self.members);
                self.world.cut(member, to);
                self.heals_s = Some(self.second + self.prng.below(60));
            }
            4 if self.world.is_up(member) => {
                let wall_ms = self.prng.below(4_000_000_000);
                self.world.set_wall(member, wall_ms);
                return;
            }
            _ => return,
        }
        self.fault_s = self.fault_s.max(self.second);
    }

    fn mend(&mut self, all: bool) {
        for member in 0..self.members {
            if self.restarts[member].is_some_and(|at| all || at <= self.second) {
                self.world.start(member);
                self.restarts[member] = None;
                self.fault_s = self.fault_s.max(self.second);
            }
        }
        if self.heals_s.is_some_and(|at| all || at <= self.second) {
            self.world.heal();
            self.heals_s = None;
            self.fault_s = self.fault_s.max(self.second);
        }
    }

    /// One second in the life of a client.
    fn live(&mut self, number: usize) {
        let ready = self.ready();
        let Client { name, ip, connects, alive, home, next_s, .. } = &self.clients[number];
        let (name, ip, connects) = (name.clone(), ip.clone(), *connects);
        let (alive, home, due) = (*alive, *home, *next_s <= self.second);
        let is_there = home.is_some_and(|(member, _)| ready.contains(&member));
        if !alive || ready.is_empty() {
            return;
        }
        if home.is_some() && !is_there {
            // It notices, and looks for another member.
            if let Some((member, Tie::Connection(connection))) = self.clients[number].home.take() {
                self.given_up.push((member, connection));
            }
            self.clients[number].next_s = self.second + 1 + self.prng.below(4);
            return;
        }
        if !due {
            return;
        }
        let member = home.map_or_else(|| ready[self.pick(ready.len())], |(member, _)| member);
        let client = &mut self.clients[number];
        client.next_s = self.second + 5;
        if home.is_none() {
            client.moved_s = self.second;
        }
        if connects {
            if home.is_none() {
                let connection = self.world.connect(member);
                self.world.publish(member, connection, &name, &[&ip]);
                self.clients[number].home = Some((member, Tie::Connection(connection)));
            }
        } else {
            client.home = Some((member, Tie::Beats));
            // Who comes back after it said good-bye registers.
            if home.is_none() {
                self.world.register(member, &name, &ip);
            } else {
                self.world.beat(member, &name, &ip);
            }
        }
    }

    fn change_mind(&mut self) {
        let number = self.pick(CLIENTS);
        let says_so = self.prng.chance(1, 2);
        let second = self.second;
        let client = &mut self.clients[number];
        client.moved_s = second;
        client.alive = !client.alive;
        client.next_s = second;
        let home = client.home.take();
        let (name, ip, alive) = (client.name.clone(), client.ip.clone(), client.alive);
        let Some((member, tie)) = home.filter(|_| !alive) else { return };
        match tie {
            // The member notices that a connection closes, whatever the client says.
            Tie::Connection(connection) => self.given_up.push((member, connection)),
            Tie::Beats if says_so && self.world.is_up(member) => {
                self.world.deregister(member, &name, &ip);
            }
            Tie::Beats => {}
        }
    }

    fn notice_closed(&mut self) {
        for (member, connection) in std::mem::take(&mut self.given_up) {
            if self.world.is_up(member) {
                // One of an earlier life is nothing to this one.
                self.world.close(member, connection);
            } else if self.restarts[member].is_none() {
                self.given_up.push((member, connection));
            }
        }
    }

    fn check_live(&self, seed: u64) {
        let is_whole = self.world.link.lost == 0
            && self.heals_s.is_none()
            && self.restarts.iter().all(Option::is_none);
        let is_calm = is_whole && self.second > self.fault_s + CALM_S;
        for client in self.clients.iter().filter(|client| client.alive) {
            let Some((home, tie)) = client.home else { continue };
            let is_steady = self.second > client.moved_s + CALM_S;
            // Where a good-bye at one side of a partition and a return at the other are told apart
            // by clocks alone, one that beats may be missing until it beats again.
            let at_home = self.second > client.moved_s + APART_S || tie != Tie::Beats;
            for member in self.ready() {
                let is_sure = if member == home { at_home } else { is_calm && is_steady };
                if !is_sure {
                    continue;
                }
                let list = self.world.list(member, &client.name);
                let what = format!("SEED={seed} second {}: {client:?} at {member}", self.second);
                assert!(list.contains(&client.ip), "{what} lists {list:?}");
            }
        }
    }

    fn check_settled(&self, seed: u64) {
        for number in 0..SERVICES {
            let name = format!("s{number}");
            let alive = self.clients.iter().filter(|client| client.alive && client.name == name);
            let expected: Vec<&str> = alive.map(|client| client.ip.as_str()).collect();
            let wrong = self.world.wrong(&name, &expected);
            assert_eq!(wrong, [], "SEED={seed} after healing instead of {expected:?}");
        }
    }

    fn run(&mut self, seed: u64) {
        while self.second < FAULTY_S {
            if self.prng.chance(1, 8) {
                self.run_fault();
            }
            if self.prng.chance(1, 6) {
                self.change_mind();
            }
            self.mend(false);
            self.pass(seed);
        }
        self.mend(true);
        self.world.link = Link { delay_ms_max: 2, lost: 0, doubled: 0 };
        self.fault_s = self.second.max(self.fault_s);
        // The last pause ends, too.
        let until_s = self.fault_s + HEALING_S;
        while self.second < until_s {
            self.pass(seed);
        }
        self.check_settled(seed);
    }

    fn pass(&mut self, seed: u64) {
        (0..CLIENTS).for_each(|number| self.live(number));
        self.notice_closed();
        self.check_live(seed);
        self.world.run(1_000);
        self.second += 1;
        self.check_live(seed);
    }
}

#[test]
fn live_clients_are_listed_and_dead_ones_are_not() {
    let seeds = match env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..80,
    };
    for seed in seeds {
        Chaos::new(seed).run(seed);
    }
}
