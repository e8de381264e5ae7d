//! Equal routes: packets to one prefix leave by several next hops.

use super::*;

const PREFIX: &str = "203.0.113.0/24";

fn world() -> World {
    World::settled(&["blue 10.0.0.0/31", "green 10.0.1.0/31"])
}

#[test]
fn two_static_next_hops_of_equal_distance_are_both_in_the_fib_and_the_other_stays_when_one_is_withdrawn() {
    let mut world = world();
    world.statics(&["203.0.113.0/24 10.0.0.1", "203.0.113.0/24 10.0.1.1"]);
    assert_eq!(world.hops(PREFIX).unwrap(), "blue:10.0.0.1 green:10.0.1.1");
    world.statics(&["203.0.113.0/24 10.0.1.1"]);
    assert_eq!(world.hops(PREFIX).unwrap(), "green:10.0.1.1");
    // Of another distance it is a backup, no equal.
    world.statics(&["203.0.113.0/24 10.0.0.1 200", "203.0.113.0/24 10.0.1.1"]);
    assert_eq!(world.hops(PREFIX).unwrap(), "green:10.0.1.1");
}

#[test]
fn a_next_hop_whose_interface_goes_down_leaves_the_others_and_comes_back() {
    let mut world = world();
    world.add(OSPF, "203.0.113.0/24 110 blue@10.0.0.1 green@10.0.1.1");
    assert_eq!(world.hops(PREFIX).unwrap(), "blue:10.0.0.1 green:10.0.1.1");
    world.interface("blue 10.0.0.0/31", false);
    assert_eq!(world.hops(PREFIX).unwrap(), "green:10.0.1.1");
    world.interface("blue 10.0.0.0/31", true);
    assert_eq!(world.hops(PREFIX).unwrap(), "blue:10.0.0.1 green:10.0.1.1");
    world.add(OSPF, "203.0.113.0/24 110 blue@10.0.0.1");
    assert_eq!(world.hops(PREFIX).unwrap(), "blue:10.0.0.1");
}

#[test]
fn next_hops_that_lead_the_same_way_are_one_path_and_recursive_ones_bring_all_of_theirs() {
    let mut world = world();
    world.add(OSPF, "192.0.2.1/32 110 blue@10.0.0.1 green@10.0.1.1");
    world.add(OSPF, "192.0.2.2/32 110 green@10.0.1.1");
    world.add(BGP, "203.0.113.0/24 200 192.0.2.1 192.0.2.2");
    assert_eq!(world.hops(PREFIX).unwrap(), "blue:10.0.0.1 green:10.0.1.1");
    world.remove(OSPF, "192.0.2.1/32");
    assert_eq!(world.hops(PREFIX).unwrap(), "green:10.0.1.1");
}
