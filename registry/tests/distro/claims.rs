//! Several clients say that the same address is there: nobody's end takes away what another one
//! says. The rules on one member are the story `step/scenarios/publications.txt`.

use nacolet_model::ClusterName;
use nacolet_registry::{InstanceSpec, Request};

use crate::testing::service_key;
use crate::world::World;

/// Each has a publication of its own: nobody waits for the other to come back.
#[test]
fn what_two_clients_publish_is_there_without_a_blink_until_both_are_gone() {
    for homes in [[0, 0], [0, 1], [1, 0]] {
        for ahead in 0..3 {
            let mut world = World::new(3, 1);
            world.set_wall(ahead, 500_000_000);
            let [first, second] = homes.map(|home| world.connect(home));
            world.publish(homes[0], first, "orders", &["a"]);
            world.run(10);
            world.publish(homes[1], second, "orders", &["a"]);
            world.run(10);
            world.close(homes[1], second);
            for _ in 0..2_000 {
                assert_eq!(world.wrong("orders", &["a"]), [], "{homes:?}, {ahead} is ahead");
                world.run(1);
            }
            world.close(homes[0], first);
            world.run(10);
            assert_eq!(world.wrong("orders", &[]), [], "{homes:?}, {ahead} is ahead");
        }
    }
}

#[test]
fn who_beats_and_a_connection_do_not_take_each_other_with_them() {
    for (beats_at, connected_at) in [(0, 0), (0, 1), (2, 1)] {
        let mut world = World::new(3, 1);
        let client = world.connect(connected_at);
        world.publish(connected_at, client, "orders", &["a", "b", "c"]);
        world.run(10);
        for ip in ["a", "b", "c"] {
            world.register(beats_at, "orders", ip);
        }
        world.run(10);
        // One leaves, one falls silent, one goes on.
        world.deregister(beats_at, "orders", "b");
        for _ in 0..90 {
            world.run(500);
            world.beat(beats_at, "orders", "a");
            assert_eq!(world.wrong("orders", &["a", "b", "c"]), [], "{beats_at} {connected_at}");
        }
        world.close(connected_at, client);
        world.run(10);
        assert_eq!(world.wrong("orders", &["a"]), [], "{beats_at} {connected_at}");
    }
}

/// An orphan waits for its client, and not for one that came back.
#[test]
fn who_came_back_from_a_member_that_died_goes_when_it_goes() {
    for back_after_ms in [100, 10_000] {
        for closes_after_ms in [4_000, 15_000] {
            let mut world = World::new(3, 1);
            let old = world.connect(1);
            world.publish(1, old, "orders", &["a", "b"]);
            world.run(10);
            world.kill(1);
            world.run(back_after_ms);
            let new = world.connect(2);
            world.publish(2, new, "orders", &["a"]);
            world.run(closes_after_ms);
            assert_eq!(world.wrong("orders", &["a", "b"]), []);
            world.close(2, new);
            world.run(4_000);
            assert_eq!(world.wrong("orders", &["b"]), [], "{back_after_ms} {closes_after_ms}");
        }
    }
}

/// Both sides of a cut believe that the other one is gone.
#[test]
fn what_each_side_of_a_cut_keeps_alive_is_on_both_when_it_heals() {
    let mut world = World::new(3, 1);
    let (one, other) = (world.connect(0), world.connect(1));
    world.publish(0, one, "orders", &["a"]);
    world.run(10);
    world.split(&[0]);
    world.run(10_000);
    world.publish(1, other, "orders", &["a"]);
    world.run(60_000);
    world.heal();
    world.run(20_000);
    world.close(1, other);
    for _ in 0..2_000 {
        assert_eq!(world.wrong("orders", &["a"]), [], "the first one is there all the time");
        world.run(1);
    }
    world.close(0, one);
    world.run(10);
    assert_eq!(world.wrong("orders", &[]), []);
}

#[test]
fn who_registers_in_another_cluster_is_there_once_on_every_member() {
    for crossing in [false, true] {
        let mut world = World::new(3, 1);
        let register = |world: &mut World, member, cluster: &str| {
            let mut instance = InstanceSpec::new("a", 80);
            instance.cluster = ClusterName::new(cluster).expect("a name");
            world.ask(member, Request::Register { service: service_key("orders"), instance });
        };
        if crossing {
            world.split(&[0]);
        }
        register(&mut world, 0, "A");
        world.run(5);
        register(&mut world, 1, "B");
        world.heal();
        world.run(if crossing { 10_000 } else { 5 });
        assert_eq!(world.wrong("orders", &["a"]), [], "crossing: {crossing}");
        world.deregister(2, "orders", "a");
        world.run(12_000);
        assert_eq!(world.wrong("orders", &[]), [], "crossing: {crossing}");
    }
}
