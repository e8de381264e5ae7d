//! Many routes behind one next hop.

use super::*;

const MANY: u32 = 20_000;

fn many(range: std::ops::Range<u32>, hop: &str) -> Input {
    let changes = range.map(|n| {
        let prefix = IpNet::new(IpAddr::from((0x1400_0000 | n << 8).to_be_bytes()), 24).unwrap();
        RouteChange::Add(Route::new(prefix, 200, 0, vec![self::hop(hop)]))
    });
    Input::Request(BGP, RibRequest::Routes(changes.collect()))
}

#[test]
fn all_routes_behind_a_next_hop_move_with_it_and_others_are_not_touched() {
    let mut world = World::settled(&["blue 10.0.0.0/31", "green 10.0.1.0/31"]);
    world.add(OSPF, "192.0.2.2/32 110 blue@10.0.0.1");
    world.add(OSPF, "192.0.2.3/32 110 blue@10.0.0.1");
    world.input(many(0..MANY, "192.0.2.2"));
    world.input(many(MANY..2 * MANY, "192.0.2.3"));
    assert_eq!(world.rib.table().hop_sets.len(), 5, "two connected, one of OSPF, two of BGP");
    world.downloads.clear();
    world.add(OSPF, "192.0.2.2/32 110 green@10.0.1.1");
    let moved: usize = world
        .downloads
        .iter()
        .map(|request| match request {
            FibRequest::Batch { changes, .. } => changes.len(),
            FibRequest::Begin | FibRequest::End => 0,
        })
        .sum();
    assert_eq!(moved, MANY as usize + 1);
    assert_eq!(world.hops("20.0.7.0/24").unwrap(), "green:10.0.1.1");
    world.remove(OSPF, "192.0.2.2/32");
    assert_eq!(world.fib.len(), MANY as usize + 3);
}
