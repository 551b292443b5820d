//! The short way to a node: an application with one method, on a log and snapshots in memory. What
//! is stored outlives a node, and a member that was away long is brought up by a snapshot.

use std::collections::BTreeMap;

use futures_lite::future::block_on;
use nacolet_model::{Duration, NodeId};
use nacolet_raft::testing::{Crew, ManualTimer, Pending, Switchboard};
use nacolet_raft::{
    Application, Config, Fatal, LogIndex, Membership, Raft, RaftStateMachine, RamLog, RamSnapshots,
    Replica, SnapshotChunk, SnapshotError, SnapshotMeta, SnapshotStorage, State, engine,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Scores(BTreeMap<String, u64>);

impl Application for Scores {
    type Command = (String, u64);
    type Response = u64;
    type Error = &'static str;

    fn apply(&mut self, _: LogIndex, (name, points): (String, u64)) -> Result<u64, &'static str> {
        let score = self.0.entry(name).or_default();
        *score = score.checked_add(points).ok_or("too much")?;
        Ok(*score)
    }
}

type Member = Replica<Scores, RamSnapshots>;

/// What one member leaves behind when it stops.
#[derive(Default)]
struct Kept {
    log: RamLog,
    snapshots: RamSnapshots,
}

struct Node {
    raft: Raft<Member>,
    state: State<Scores>,
    task: Pending<Result<(), Fatal>>,
}

struct Rig {
    crew: Crew,
    timer: ManualTimer,
    board: Switchboard<Member>,
    kept: [Kept; 3],
}

impl Rig {
    fn start(&mut self, number: usize) -> Node {
        let id = NodeId(number as u64);
        let mut engine = engine::EngineConfig::new(id, 5);
        engine.tail_entries_max = 4;
        engine.snapshot_every_entries = 4;
        engine.held_tail_entries_max = 4;
        let members = (0..3).map(|id| (NodeId(id), id.to_string()));
        let config = Config::new(engine).bootstrap(Membership::of_voters(members));
        let kept = &self.kept[number];
        let replica = Replica::new(Scores::default(), kept.snapshots.clone());
        let (state, wires) = (replica.state(), self.board.wires(id));
        let (raft, tasks) = Raft::new(config, kept.log.clone(), replica, wires, self.timer.clone())
            .expect("it fits together");
        self.board.plug(&raft);
        let task = self.crew.spawn(tasks.run());
        Node { raft, state, task }
    }

    fn stop(&mut self, node: &Node) {
        self.crew.kill(&node.task);
        self.board.unplug(node.raft.id());
    }

    fn pass(&mut self) {
        self.crew.pass(&self.timer, Duration::from_secs(4));
    }

    fn write(&mut self, nodes: &[Node], name: &str, points: u64) -> Result<u64, String> {
        let leader = nodes.iter().find(|node| node.raft.is_leader()).expect("somebody leads");
        let (raft, command) = (leader.raft.clone(), (name.to_owned(), points));
        let answer = self.crew.spawn(async move { raft.client_write(&command).await });
        self.crew.run();
        answer.take().expect("answered at once").map_err(|error| error.to_string())
    }
}

#[test]
fn a_state_that_goes_on_behind_its_end_is_refused() {
    let meta = SnapshotMeta { id: 1, ..SnapshotMeta::default() };
    let mut snapshots = RamSnapshots::default();
    // No scores, and one byte more.
    block_on(snapshots.write(meta.clone(), vec![0, 0])).expect("it is in memory");
    let mut replica = Replica::new(Scores::default(), snapshots.clone());
    assert!(replica.recover().is_err());
    let chunk = SnapshotChunk { bytes: vec![0, 0], last: true };
    block_on(replica.write_snapshot(&meta, 0, chunk)).expect("it is in memory");
    assert_eq!(block_on(replica.install_snapshot(&meta)), Err(SnapshotError::Damaged));
    block_on(snapshots.write(meta.clone(), vec![0])).expect("it is in memory");
    assert_eq!(replica.recover(), Ok(Some(meta)));
}

#[test]
fn a_member_that_was_away_gets_the_state_and_keeps_it() {
    let kept = std::array::from_fn(|_| Kept::default());
    let (crew, timer) = (Crew::default(), ManualTimer::default());
    let mut rig = Rig { crew, timer, board: Switchboard::default(), kept };
    let mut nodes: Vec<Node> = (0..3).map(|number| rig.start(number)).collect();
    rig.pass();
    assert_eq!(rig.write(&nodes, "ann", 1), Ok(1));
    assert_eq!(
        rig.write(&nodes, "ann", u64::MAX),
        Err("the application refused the command".into())
    );

    let at = nodes.iter().position(|node| !node.raft.is_leader()).expect("two follow");
    let away = nodes.remove(at);
    let number = usize::try_from(away.raft.id().0).expect("it is small");
    rig.stop(&away);
    for points in 1..=20 {
        rig.write(&nodes, "bob", points).expect("it is written");
    }
    rig.pass();
    assert_eq!(rig.board.delivered().1, 0, "nobody needed a snapshot so far");
    nodes.push(rig.start(number));
    rig.pass();
    let back = nodes.last().expect("it was started");
    let scores = back.state.read(Scores::clone);
    assert_eq!(scores.0, BTreeMap::from([("ann".to_owned(), 1), ("bob".to_owned(), 210)]));
    assert!(rig.board.delivered().1 > 0, "a snapshot was sent");
    let installed = rig.kept[number].snapshots.meta().expect("a snapshot was installed");
    assert!(installed.last.index >= LogIndex(16));
    assert!(rig.kept.iter().all(|kept| kept.log.len() < 16), "logs are cut behind snapshots");

    // Everybody stops; what was stored is enough.
    for node in &nodes {
        rig.stop(node);
    }
    let nodes: Vec<Node> = (0..3).map(|number| rig.start(number)).collect();
    rig.pass();
    assert_eq!(rig.write(&nodes, "ann", 1), Ok(2));
    assert!(nodes.iter().all(|node| node.state.read(|scores| scores.0["bob"]) == 210));
}
