//! What clients see of time: reference times, and what stays when much time has passed.

use crate::world::World;

#[test]
fn the_wall_clock_of_a_member_does_not_matter() {
    let mut world = World::new(3, 1);
    world.set_wall(0, 0);
    world.set_wall(1, 90_000_000_000);
    world.register(0, "orders", "a");
    world.run(10);
    world.set_wall(0, 90_000_000_000);
    world.set_wall(1, 0);
    for round in 0..24 {
        world.beat(round % 3, "orders", "a");
        world.run(5_000);
        assert_eq!(world.wrong("orders", &["a"]), []);
    }
}

/// Seed 653043.
#[test]
fn what_is_shown_while_the_disk_hangs_is_not_shown_again_by_a_later_life() {
    let mut world = World::new(2, 1);
    world.set_wall(1, 500_000_000);
    world.register(1, "elsewhere", "z");
    world.disks_hang();
    world.register(1, "orders", "a");
    world.run(100);
    assert_eq!(world.list(0, "orders"), ["a"]);
    let shown = world.ref_time(0, "orders");
    world.kill(0);
    world.disks_go_on();
    world.split(&[0]);
    world.start(0);
    world.register(0, "orders", "b");
    assert_eq!(world.list(0, "orders"), ["b"]);
    let later = world.ref_time(0, "orders");
    assert!(later > shown, "{later} after {shown}");
}

#[test]
fn what_was_held_back_is_shown_when_the_disk_goes_on() {
    let mut world = World::new(2, 1);
    world.set_wall(1, 500_000_000);
    world.register(1, "elsewhere", "z");
    world.disks_hang();
    world.register(1, "orders", "a");
    world.run(100);
    let (held_back, there) = (world.ref_time(0, "orders"), world.ref_time(1, "orders"));
    assert!(held_back < there, "{held_back} where {there} is not safe yet");
    world.disks_go_on();
    let shown = world.ref_time(0, "orders");
    assert!(shown >= there, "{shown} where the others show {there}");
}

#[test]
fn lists_of_all_members_become_newer_in_one_order() {
    let mut world = World::new(3, 1);
    world.set_wall(1, 900_000_000);
    let (mut shown, mut last) = (Vec::new(), 0);
    for round in 0..200_usize {
        let writer = round % 3;
        if round % 2 == 0 {
            world.register(writer, "orders", &format!("i{}", round % 14));
        } else {
            world.deregister(writer, "orders", &format!("i{}", round % 7));
        }
        world.run(2_000);
        let reader = round % 2 * 2;
        let list = world.list(reader, "orders");
        let ref_time = world.ref_time(reader, "orders");
        if list != shown {
            assert!(ref_time > last, "round {round}: {ref_time} after {last}");
            (shown, last) = (list, ref_time);
        }
    }
}

/// What each member holds: services, instances, deadlines, bytes of texts, tombs.
fn sizes(world: &World) -> Vec<[usize; 5]> {
    let of = |member| {
        let registry = world.registry(member);
        let counts = registry.counts();
        let tombs = registry.distro().tombs;
        [counts.services, counts.instances, counts.deadlines, counts.text_bytes, tombs]
    };
    (0..3).map(of).collect()
}

/// A deployment every three hours, of a new service every day, for 30 days, each pressed into a
/// minute: half of what it replaces says goodbye, the other half is silent.
#[test]
fn thirty_days_of_churn_leave_nothing_behind() {
    let mut world = World::new(3, 1);
    let mut by_day = Vec::new();
    for day in 0..30 {
        let name = format!("orders{day}");
        let mut most = [0; 5];
        for hour in 0..8 {
            for pod in 0..10 {
                let ip = |hour: usize| format!("h{hour}p{pod}");
                world.register(pod % 3, &name, &ip(hour));
                if pod % 2 == 0 && hour > 0 {
                    world.deregister(hour % 3, &name, &ip(hour - 1));
                }
            }
            for _ in 0..6 {
                world.run(10_000);
                (0..10).for_each(|pod| world.beat(pod % 3, &name, &format!("h{hour}p{pod}")));
            }
            for sizes in sizes(&world) {
                most.iter_mut().zip(sizes).for_each(|(most, size)| *most = size.max(*most));
            }
        }
        by_day.push(most);
    }
    assert!(by_day[29].iter().all(|size| *size > 0), "there is churn: {by_day:?}");
    for day in 10..30 {
        for (size, early) in by_day[day].iter().zip(by_day[5]) {
            assert!(*size <= early + early / 10, "day {day}: {by_day:?}");
        }
    }
    world.run(3_600_000);
    assert_eq!(sizes(&world), [[0, 0, 1, 0, 0]; 3], "an hour after the last one");
}

/// Some clients drop a list whose time is not strictly newer than what another member told them.
#[test]
fn what_several_members_took_at_once_is_newer_than_what_each_showed_of_it() {
    for seed in 0..50 {
        let mut world = World::new(3, seed);
        world.register(0, "orders", "z");
        world.run(1_000);
        let mut newest = 0;
        for member in 0..3 {
            let wall_ms = 2_000_000 + world.prng.below(3);
            world.set_wall(member, wall_ms);
            world.register(member, "orders", &format!("m{member}"));
            newest = newest.max(world.ref_time(member, "orders"));
        }
        world.run(1_000);
        for member in 0..3 {
            assert_eq!(world.list(member, "orders"), ["m0", "m1", "m2", "z"]);
            let ref_time = world.ref_time(member, "orders");
            assert!(ref_time > newest, "seed {seed}, member {member}: {ref_time} after {newest}");
        }
    }
}

/// A list that is shown with a later time than before is the same list.
#[test]
fn what_was_held_back_is_not_told_again() {
    let mut world = World::new(2, 1);
    world.set_wall(1, 500_000_000);
    world.disks_hang();
    world.register(1, "orders", "a");
    world.run(100);
    let told = world.told;
    world.disks_go_on();
    world.run(100);
    assert!(world.ref_time(0, "orders") >= world.ref_time(1, "orders"));
    assert_eq!(world.told, told);
}
