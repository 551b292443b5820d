//! One promise each, told step by step.

use nacolet_model::Duration;
use nacolet_registry::{Input, Owner, Request};

use crate::testing::service_key;
use crate::world::{World, id};

#[test]
fn a_registration_is_on_every_member_after_one_message() {
    let mut world = World::new(3, 1);
    world.register(0, "orders", "a");
    world.run(3);
    assert_eq!(world.wrong("orders", &["a"]), []);
    world.deregister(1, "orders", "a");
    world.run(3);
    assert_eq!(world.wrong("orders", &[]), []);
}

#[test]
fn a_batch_of_one_turn_is_one_message_to_each() {
    let mut world = World::new(3, 1);
    let client = world.connect(0);
    let before = world.messages;
    world.publish(0, client, "orders", &["a", "b", "c"]);
    assert_eq!(world.messages - before, 2);
    world.run(3);
    assert_eq!(world.wrong("orders", &["a", "b", "c"]), []);
}

#[test]
fn beats_to_any_member_keep_an_instance_everywhere() {
    let mut world = World::new(3, 1);
    world.register(0, "orders", "a");
    world.run(10);
    for round in 0..60 {
        assert_eq!(world.wrong("orders", &["a"]), [], "round {round}");
        world.beat(round % 3, "orders", "a");
        world.run(5_000);
    }
}

#[test]
fn the_responsible_member_learns_of_beats_that_come_elsewhere() {
    let mut world = World::new(3, 1);
    let name = world.service_of(2);
    world.register(0, &name, "a");
    world.run(10_000);
    world.beat(0, &name, "a");
    world.run(2_500);
    let silence = world.silence(2, &name, "a");
    assert!(silence < Duration::from_millis(2_600), "{silence:?}");
}

#[test]
fn silence_ends_an_instance_on_every_member_at_once() {
    let mut world = World::new(3, 1);
    world.register(0, "orders", "a");
    world.run(14_900);
    assert_eq!(world.wrong("orders", &["a"]), []);
    world.run(1_000);
    assert_eq!(world.wrong("orders", &["-a"]), []);
    world.beat(1, "orders", "a");
    world.run(100);
    assert_eq!(world.wrong("orders", &["a"]), [], "it came back");
    world.run(29_900);
    assert_eq!(world.wrong("orders", &["-a"]), []);
    world.run(3_000);
    assert_eq!(world.wrong("orders", &[]), []);
}

/// Found by the simulator: each took the copies that came late for signs of life, and told the
/// others.
#[test]
fn members_do_not_assure_each_other_of_what_none_of_them_hears() {
    for seed in 0..20 {
        let mut world = World::new(7, seed);
        let name = world.service_of(0);
        world.link.delay_ms_max = 4_000;
        world.register(0, &name, "a");
        world.run(40_000);
        assert_eq!(world.wrong(&name, &[]), [], "seed {seed}");
    }
}

#[test]
fn what_a_connection_published_goes_with_it_and_not_before() {
    let mut world = World::new(3, 1);
    let (one, other) = (world.connect(0), world.connect(1));
    world.publish(0, one, "orders", &["a", "b"]);
    world.publish(1, other, "orders", &["c"]);
    world.run(600_000);
    assert_eq!(world.wrong("orders", &["a", "b", "c"]), []);
    world.publish(0, one, "orders", &["b"]);
    world.run(10);
    assert_eq!(world.wrong("orders", &["b", "c"]), []);
    world.close(0, one);
    world.run(10);
    assert_eq!(world.wrong("orders", &["c"]), []);
}

#[test]
fn members_know_whose_connection_an_instance_hangs_on() {
    let mut world = World::new(3, 1);
    let client = world.connect(0);
    world.publish(0, client, "orders", &["a"]);
    world.register(1, "orders", "b");
    world.run(10);
    let key = service_key("orders");
    for member in 0..3 {
        let registry = world.registry(member);
        let found = registry.service("public", key.group.as_str(), "orders").expect("there");
        let owner = |ip: &str| registry.owner(found.find(ip, 80, None).expect("there"));
        assert_eq!(owner("a"), Owner::Connection { node: Some(id(0)), client });
        assert_eq!(owner("b"), Owner::Beats);
    }
}

#[test]
fn a_client_that_moves_to_another_member_is_never_missing() {
    let mut world = World::new(3, 1);
    let old = world.connect(0);
    world.publish(0, old, "orders", &["a"]);
    world.run(10);
    let new = world.connect(1);
    world.publish(1, new, "orders", &["a"]);
    world.run(10);
    // The old connection is noticed late, and takes nothing with it.
    world.close(0, old);
    world.run(60_000);
    assert_eq!(world.wrong("orders", &["a"]), []);
    world.close(1, new);
    world.run(10);
    assert_eq!(world.wrong("orders", &[]), []);
}

#[test]
fn a_close_that_crosses_the_new_registration_takes_nothing_with_it() {
    let mut world = World::new(3, 1);
    // The wall clock of the member with the old connection is far ahead.
    world.set_wall(0, 500_000_000);
    let old = world.connect(0);
    world.publish(0, old, "orders", &["a"]);
    world.run(10);
    let new = world.connect(1);
    world.publish(1, new, "orders", &["a"]);
    world.close(0, old);
    world.run(60_000);
    assert_eq!(world.wrong("orders", &["a"]), []);
}

#[test]
fn the_death_of_a_member_removes_its_dead_clients_after_35_s_and_nobody_else() {
    for victim in 0..3 {
        let mut world = World::new(3, 1);
        let name = world.service_of(victim);
        let (alive, other) = ((victim + 1) % 3, (victim + 2) % 3);
        let gone = world.connect(victim);
        let moves = world.connect(victim);
        world.publish(victim, gone, &name, &["gone"]);
        world.publish(victim, moves, &name, &["moves"]);
        world.register(victim, &name, "beats");
        world.register(victim, &name, "silent");
        world.run(5_000);
        world.beat(victim, &name, "beats");
        world.beat(victim, &name, "silent");
        world.kill(victim);
        let listed = |world: &World, ip: &str| {
            [alive, other].map(|member| world.list(member, &name).iter().any(|one| one == ip))
        };
        for second in 1..=40 {
            assert!(second > 36 || listed(&world, "gone") == [true; 2], "{second} of {victim}");
            world.run(1_000);
            if second % 5 == 0 {
                world.beat(alive, &name, "beats");
            }
            if second == 10 {
                let client = world.connect(other);
                world.publish(other, client, &name, &["moves"]);
            }
            assert_eq!(listed(&world, "beats"), [true, true], "second {second} of {victim}");
            assert_eq!(listed(&world, "moves"), [true, true], "second {second} of {victim}");
        }
        assert_eq!(world.wrong(&name, &["beats", "moves"]), [], "{victim}");
    }
}

#[test]
fn the_restart_of_a_member_is_not_the_death_of_its_clients() {
    let mut world = World::new(3, 1);
    let client = world.connect(0);
    world.publish(0, client, "orders", &["a"]);
    world.run(1_000);
    world.kill(0);
    world.run(500);
    world.start(0);
    for _ in 0..8 {
        world.run(1_000);
        let missing = [1, 2].map(|member| world.list(member, "orders").is_empty());
        assert_eq!(missing, [false, false]);
    }
    assert!(world.is_loaded(0));
    let again = world.connect(0);
    world.publish(0, again, "orders", &["a"]);
    world.run(60_000);
    assert_eq!(world.wrong("orders", &["a"]), []);
}

#[test]
fn a_member_holds_everything_when_it_says_so() {
    let mut world = World::new(3, 1);
    let ips: Vec<String> = (0..3_000).map(|number| format!("i{number:04}")).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let client = world.connect(0);
    for service in 0..3 {
        world.publish(0, client, &format!("s{service}"), &ips);
    }
    world.run(100);
    world.kill(2);
    world.run(5_000);
    world.start(2);
    while !world.is_loaded(2) {
        world.run(1);
    }
    for service in 0..3 {
        assert_eq!(world.list(2, &format!("s{service}")), ips);
    }
}

/// Found by the simulator: it took a good-bye for an instance that it had not been told of yet.
#[test]
fn a_member_that_was_once_alone_loads_all_the_same() {
    let mut world = World::new(2, 1);
    world.register(0, "orders", "a");
    world.run(10);
    world.kill(1);
    world.start_with(1, &[&[1], &[0, 1]]);
    assert!(!world.is_loaded(1), "it was alone long ago");
    world.run(3_000);
    assert!(world.is_loaded(1));
    assert_eq!(world.wrong("orders", &["a"]), []);
}

#[test]
fn a_cluster_that_starts_anew_is_ready_soon() {
    let mut world = World::empty(3, 1);
    (0..3).for_each(|member| world.start(member));
    world.run(1_500);
    assert!((0..3).all(|member| world.is_loaded(member)), "there is nothing to load");
    let mut lonely = World::empty(3, 1);
    lonely.start(1);
    lonely.run(4_000);
    assert!(!lonely.is_loaded(1), "somebody might have something");
    lonely.run(2_500);
    assert!(lonely.is_loaded(1), "nobody comes");
}

#[test]
fn what_was_lost_on_the_way_is_found_and_repaired() {
    let mut world = World::new(3, 1);
    let client = world.connect(0);
    world.publish(0, client, "old", &["x"]);
    world.run(10);
    world.cut(0, 1);
    world.register(0, "orders", "a");
    world.publish(0, client, "old", &[]);
    world.run(10);
    world.heal();
    assert_eq!(world.list(1, "orders"), [""; 0]);
    assert_eq!(world.list(1, "old"), ["x"]);
    world.run(12_000);
    assert_eq!(world.wrong("orders", &["a"]), []);
    assert_eq!(world.wrong("old", &[]), []);
    assert!(world.registry(1).distro().counts.repaired > 0);
}

#[test]
fn what_was_lost_in_a_busy_bucket_is_found_as_soon() {
    let mut world = World::new(3, 1);
    world.cut(0, 1);
    world.register(0, "orders", "a");
    world.run(10);
    world.heal();
    for round in 0..12 {
        world.register(2, "orders", &format!("z{round}"));
        world.run(1_000);
    }
    assert!(world.list(1, "orders").contains(&"a".to_owned()));
}

#[test]
fn beats_tell_the_responsible_member_what_it_lost() {
    let mut world = World::new(3, 1);
    let name = world.service_of(1);
    world.cut(0, 1);
    world.register(0, &name, "a");
    world.run(10);
    world.heal();
    world.beat(0, &name, "a");
    world.run(2_100);
    assert_eq!(world.wrong(&name, &["a"]), []);
}

#[test]
fn members_at_rest_do_not_repair_anything() {
    let mut world = World::new(3, 1);
    world.register(0, "orders", "a");
    let client = world.connect(1);
    world.publish(1, client, "orders", &["b"]);
    world.run(10);
    let (bytes, counts) = (world.bytes, world.registry(0).distro().counts);
    for _ in 0..12 {
        world.beat(0, "orders", "a");
        world.run(5_000);
    }
    assert_eq!(world.registry(0).distro().counts, counts);
    let per_second = (world.bytes - bytes) / 60 / 6;
    assert!(per_second < 1_024, "{per_second} bytes a second from one member to another");
}

#[test]
fn a_late_copy_does_not_bring_anybody_back() {
    let mut world = World::new(3, 1);
    world.register(0, "orders", "a");
    world.run(10);
    // Member 2 does not hear that it went, and says what it has to member 1, which did.
    world.cut(0, 2);
    world.cut(1, 2);
    world.deregister(0, "orders", "a");
    world.run(2_000);
    world.heal();
    for _ in 0..200 {
        world.run(100);
        assert_eq!(world.list(0, "orders"), [""; 0]);
        assert_eq!(world.list(1, "orders"), [""; 0]);
    }
    assert_eq!(world.wrong("orders", &[]), []);
}

#[test]
fn a_member_that_starts_anew_does_not_believe_one_that_was_cut_off() {
    let mut world = World::new(3, 1);
    world.register(0, "orders", "a");
    world.register(0, "web", "b");
    world.run(10);
    world.split(&[2]);
    world.deregister(0, "orders", "a");
    world.run(10);
    world.kill(1);
    world.start(1);
    world.run(2_000);
    assert!(world.is_loaded(1), "from member 0");
    // Member 2 comes back, to member 1 first.
    world.heal();
    world.cut(0, 2);
    world.cut(2, 0);
    for _ in 0..200 {
        world.run(100);
        world.beat(0, "web", "b");
        assert_eq!(world.list(1, "orders"), [""; 0]);
    }
    assert_eq!(world.wrong("orders", &[]), []);
}

#[test]
fn what_closed_connections_published_does_not_come_back_from_who_missed_their_end() {
    let mut world = World::new(3, 1);
    let first = world.connect(1);
    world.publish(1, first, "orders", &["a"]);
    world.run(10);
    // Member 2 does not hear that the client moved to member 0, member 1 not that it left.
    world.split(&[2]);
    let second = world.connect(0);
    world.publish(0, second, "orders", &["a"]);
    world.run(10);
    world.split(&[1]);
    world.close(1, first);
    world.close(0, second);
    // Member 0 forgets what is gone, and hears from the others one after the other.
    world.step(0, Input::Members(vec![id(0)]));
    world.step(0, Input::Members(vec![id(0), id(1), id(2)]));
    world.heal();
    world.split(&[1]);
    world.run(20_000);
    assert_eq!(world.list(0, "orders"), ["a"], "what member 1 has heard nobody else knows");
    world.heal();
    world.run(20_000);
    assert_eq!(world.wrong("orders", &[]), []);
}

#[test]
fn what_is_deregistered_where_it_is_not_known_goes_where_it_is() {
    let mut world = World::new(3, 1);
    world.split(&[1]);
    world.register(0, "orders", "a");
    world.register(0, "orders", "b");
    world.run(10);
    world.heal();
    world.deregister(1, "orders", "a");
    world.run(10);
    assert_eq!(world.list(0, "orders"), ["b"]);
    world.run(8_000);
    assert_eq!(world.wrong("orders", &["b"]), []);
    world.register(2, "orders", "a");
    world.run(10);
    assert_eq!(world.wrong("orders", &["a", "b"]), []);
}

#[test]
fn a_minority_removes_nobody_for_three_minutes() {
    let mut world = World::new(3, 1);
    let client = world.connect(1);
    world.publish(1, client, "orders", &["a"]);
    world.register(1, "orders", "b");
    world.run(10);
    world.split(&[0]);
    for _ in 0..34 {
        world.run(5_000);
        world.beat(2, "orders", "b");
        assert_eq!(world.list(0, "orders"), ["a", "b"]);
    }
    world.heal();
    world.run(12_000);
    assert_eq!(world.wrong("orders", &["a", "b"]), []);
}

#[test]
fn both_sides_of_a_partition_take_writes_and_agree_after_it() {
    let mut world = World::new(3, 1);
    let (mine, theirs) = (world.connect(0), world.connect(1));
    world.publish(0, mine, "orders", &["a"]);
    world.publish(1, theirs, "orders", &["b"]);
    world.run(10);
    world.split(&[0]);
    world.run(5_000);
    world.publish(0, mine, "orders", &["a", "c"]);
    world.publish(1, theirs, "orders", &["d"]);
    world.run(60_000);
    assert_eq!(world.list(0, "orders"), ["a", "b", "c"], "the minority removes nobody");
    assert_eq!(world.list(1, "orders"), ["d"], "the majority believes that member 0 died");
    world.heal();
    world.run(12_000);
    assert_eq!(world.wrong("orders", &["a", "c", "d"]), [], "a was never gone");
}

#[test]
fn whoever_hears_an_instance_keeps_it_when_another_member_ran_out_of_patience() {
    let mut world = World::new(3, 1);
    let name = world.service_of(2);
    world.register(0, &name, "a");
    world.run(10);
    // The responsible member is heard, and hears nothing.
    world.cut(0, 2);
    for _ in 0..20 {
        world.run(5_000);
        world.beat(0, &name, "a");
        assert_eq!(world.list(0, &name), ["a"]);
    }
    world.heal();
    world.run(12_000);
    assert_eq!(world.wrong(&name, &["a"]), []);
}

/// A member is stopped that holds the connection of `a` and watches the service, in which `b` beats
/// elsewhere: the service, and whom `b` beats to.
fn stop(world: &mut World, stopped: usize, ms: u64) -> (String, usize) {
    let name = world.service_of(stopped);
    let client = world.connect(stopped);
    world.publish(stopped, client, &name, &["a"]);
    world.register(1, &name, "b");
    world.run(1_000);
    world.pause(stopped, ms);
    (name, (stopped + 1) % 3)
}

#[test]
fn a_stop_of_30_s_removes_nobody() {
    for stopped in 0..3 {
        let mut world = World::new(3, 1);
        let (name, beats_to) = stop(&mut world, stopped, 20_000);
        for _ in 0..12 {
            world.beat(beats_to, &name, "b");
            world.run(5_000);
            assert_eq!(world.wrong(&name, &["a", "b"]), [], "stopped {stopped}");
        }
    }
}

#[test]
fn a_stop_of_two_minutes_removes_nobody_who_beats() {
    for stopped in 0..3 {
        let mut world = World::new(3, 1);
        let (name, beats_to) = stop(&mut world, stopped, 120_000);
        for _ in 0..36 {
            world.beat(beats_to, &name, "b");
            for _ in 0..50 {
                world.run(100);
                let lists = (0..3).map(|member| world.list(member, &name));
                let all = lists.clone().all(|list| list.contains(&"b".to_owned()));
                assert!(all, "{stopped} stopped: {:?}", lists.collect::<Vec<_>>());
            }
        }
        assert_eq!(world.wrong(&name, &["a", "b"]), [], "its connection woke with it");
    }
}

#[test]
fn a_member_that_was_away_for_an_hour_brings_nobody_back() {
    let mut world = World::new(3, 1);
    let client = world.connect(1);
    world.publish(1, client, "orders", &["a", "b"]);
    let own = world.connect(0);
    world.publish(0, own, "orders", &["own"]);
    world.run(1_000);
    world.pause(0, 3_600_000);
    world.run(10_000);
    world.publish(1, client, "orders", &["b"]);
    world.run(3_589_500);
    for _ in 0..300 {
        world.run(100);
        for member in [1, 2] {
            assert!(!world.list(member, "orders").contains(&"a".to_owned()), "member {member}");
        }
    }
    assert_eq!(world.wrong("orders", &["b", "own"]), [], "its own connection is still there");
}

#[test]
fn a_service_is_removed_where_its_last_instance_goes_later() {
    let mut world = World::new(2, 1);
    world.register(0, "orders", "a");
    world.run(100);
    world.deregister(0, "orders", "a");
    world.ask(0, Request::RemoveService { service: service_key("orders") });
    world.run(100);
    for member in 0..2 {
        assert_eq!(world.registry(member).all_services().count(), 0, "member {member}");
    }
}
