use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::*;
use crate::ids::IfIndex;

const RED: TableId = TableId(1);
const BLUE: TableId = TableId(2);

/// A FIB with two tables and `count` groups of one next hop each.
fn fib(count: u32) -> (FibWriter, Vec<GroupId>) {
    let mut fib = FibWriter::new();
    fib.apply(&[FibChange::CreateTable(RED), FibChange::CreateTable(BLUE)]).unwrap();
    let groups = (0..count).map(|index| {
        let adjacency = fib.create_adjacency(Adjacency::Glean { interface: IfIndex(index) });
        fib.create_group(&[NextHop { adjacency }]).unwrap()
    });
    let groups = groups.collect();
    (fib, groups)
}

fn set(table: TableId, prefix: &str, group: GroupId) -> FibChange {
    FibChange::SetRoute { table, prefix: prefix.parse().unwrap(), group }
}

fn lookup(fib: &FibWriter, table: TableId, to: &str) -> GroupId {
    fib.snapshot().lookup(table, to.parse().unwrap())
}

#[test]
fn the_longest_match_wins_and_vrs_are_apart() {
    let (mut fib, g) = fib(4);
    let routes = [
        set(RED, "0.0.0.0/0", g[0]),
        set(RED, "10.0.0.0/8", g[1]),
        set(RED, "10.1.128.0/17", g[2]),
        set(RED, "10.1.128.1/32", g[3]),
        set(BLUE, "10.1.0.0/16", g[3]),
        set(RED, "2001:db8::/32", g[1]),
        set(RED, "2001:db8::1/128", g[2]),
    ];
    fib.apply(&routes).unwrap();
    assert_eq!(lookup(&fib, RED, "192.0.2.1"), g[0]);
    assert_eq!(lookup(&fib, RED, "10.1.127.255"), g[1]);
    assert_eq!(lookup(&fib, RED, "10.1.128.2"), g[2]);
    assert_eq!(lookup(&fib, RED, "10.1.128.1"), g[3]);
    assert_eq!(lookup(&fib, BLUE, "10.2.0.1"), GroupId::NO_ROUTE);
    assert_eq!(lookup(&fib, TableId(9), "10.2.0.1"), GroupId::NO_ROUTE);
    assert_eq!(lookup(&fib, RED, "2001:db8::1"), g[2]);
    assert_eq!(lookup(&fib, RED, "2001:db8::2"), g[1]);
    assert_eq!(lookup(&fib, RED, "2001:db9::2"), GroupId::NO_ROUTE);
}

#[test]
fn a_batch_with_one_bad_change_changes_nothing() {
    let (mut fib, g) = fib(2);
    let first = fib.apply(&[set(RED, "10.0.0.0/8", g[0])]).unwrap();
    let unknown = GroupId(77);
    let bad = [set(RED, "10.0.0.0/8", g[1]), set(RED, "10.9.0.0/16", unknown)];
    assert!(matches!(fib.apply(&bad), Err(FibError::UnknownGroup { group, .. }) if group == unknown));
    let bad = [set(RED, "10.0.0.0/8", g[1]), set(TableId(9), "10.0.0.0/8", g[1])];
    assert_eq!(fib.apply(&bad), Err(FibError::UnknownTable(TableId(9))));
    assert_eq!(lookup(&fib, RED, "10.0.0.1"), g[0]);
    assert_eq!(fib.reader().view().generation(), first);
    assert_eq!(fib.delete_group(g[0]), Err(FibError::GroupInUse { group: g[0], routes: 1 }));
    assert_eq!(fib.delete_group(g[1]), Ok(()));
}

#[test]
fn a_reader_keeps_its_version_while_the_writer_goes_on() {
    let (mut fib, g) = fib(2);
    fib.apply(&[set(RED, "10.0.0.0/8", g[0])]).unwrap();
    let reader = fib.reader();
    let before = reader.view();
    fib.apply(&[set(RED, "10.0.0.0/8", g[1]), set(RED, "10.0.0.0/9", g[1])]).unwrap();
    let to = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    assert_eq!((before.lookup(RED, to), before.route_count(RED)), (g[0], 1));
    assert_eq!((reader.view().lookup(RED, to), reader.view().route_count(RED)), (g[1], 2));
}

#[test]
fn one_write_moves_every_prefix_behind_a_group() {
    let (mut fib, g) = fib(1);
    let blue = fib.create_adjacency(Adjacency::InterVr { interface: IfIndex(9) });
    fib.set_next_hops(g[0], &[NextHop { adjacency: blue }]).unwrap();
    let (id, adjacency) = fib.snapshot().resolve(g[0], 5).unwrap();
    assert_eq!((id, adjacency), (blue, Adjacency::InterVr { interface: IfIndex(9) }));
    assert_eq!(fib.delete_adjacency(blue), Err(FibError::AdjacencyInUse { adjacency: blue, group: g[0] }));
    fib.set_next_hops(g[0], &[]).unwrap();
    assert_eq!(fib.snapshot().resolve(g[0], 5), None);
    assert_eq!(fib.delete_adjacency(blue), Ok(()));
    assert_eq!(fib.set_next_hops(GroupId::RECEIVE, &[]), Err(FibError::BuiltIn));
}

#[test]
fn flows_spread_over_equal_next_hops_and_stay_on_theirs() {
    let (mut fib, _) = fib(0);
    let ways = [1, 2, 3].map(|index| fib.create_adjacency(Adjacency::Glean { interface: IfIndex(index) }));
    let group = fib.create_group(&ways.map(|adjacency| NextHop { adjacency })).unwrap();
    let way = |hash: u32| fib.snapshot().resolve(group, hash).unwrap().0;
    let mut flows = BTreeMap::new();
    for flow in 0..3000_u32 {
        let hash = flow.wrapping_mul(0x9e37_79b9);
        assert_eq!(way(hash), way(hash));
        *flows.entry(way(hash)).or_insert(0) += 1;
    }
    assert!(flows.len() == 3 && flows.values().all(|flows| *flows > 900), "{flows:?}");
}

#[test]
fn deleting_a_table_frees_its_groups() {
    let (mut fib, g) = fib(1);
    fib.apply(&[set(RED, "10.0.0.0/8", g[0]), set(RED, "2001:db8::/32", g[0])]).unwrap();
    fib.apply(&[FibChange::DeleteTable(RED)]).unwrap();
    assert_eq!(fib.delete_group(g[0]), Ok(()));
    assert!(!fib.snapshot().has_table(RED));
}

/// Prefixes close to each other, so that they cover one another often.
fn v4_prefix() -> impl Strategy<Value = IpNet> {
    let lengths = prop_oneof![0..=32_u8, 6..=10_u8, 14..=18_u8, 22..=26_u8];
    ((0..4_u8), (0..4_u8), (0..8_u8), any::<u8>(), lengths)
        .prop_map(|(a, b, c, d, length)| IpNet::V4(Ipv4Net::new([a, b, c << 5, d].into(), length).unwrap().trunc()))
}

fn v6_prefix() -> impl Strategy<Value = IpNet> {
    ((0..3_u16), (0..3_u16), (0..3_u16), 0..=128_u8).prop_map(|(a, b, c, length)| {
        IpNet::V6(Ipv6Net::new(Ipv6Addr::new(0x2001, a, b << 13, 0, 0, 0, 0, c), length).unwrap().trunc())
    })
}

/// Longest match by looking at every route.
fn naive(routes: &BTreeMap<IpNet, GroupId>, to: IpAddr) -> GroupId {
    let covering = routes.iter().filter(|(prefix, _)| prefix.contains(&to));
    covering.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(GroupId::NO_ROUTE, |(_, group)| *group)
}

proptest! {
    #[test]
    fn answers_equal_those_of_a_naive_table(
        batches in prop::collection::vec(
            prop::collection::vec((prop_oneof![v4_prefix(), v6_prefix()], 0..6_usize), 1..20), 1..12),
    ) {
        let (mut fib, g) = fib(5);
        let mut model = BTreeMap::new();
        for batch in &batches {
            let mut changes = Vec::new();
            for &(prefix, choice) in batch {
                match g.get(choice) {
                    Some(&group) => {
                        model.insert(prefix, group);
                        changes.push(FibChange::SetRoute { table: RED, prefix, group });
                    }
                    None => {
                        model.remove(&prefix);
                        changes.push(FibChange::DeleteRoute { table: RED, prefix });
                    }
                }
            }
            fib.apply(&changes).unwrap();
            for (prefix, _) in batches.iter().flatten() {
                for to in [prefix.network(), prefix.broadcast()] {
                    prop_assert_eq!(fib.snapshot().lookup(RED, to), naive(&model, to), "{}", to);
                }
            }
            prop_assert_eq!(fib.snapshot().routes(RED), model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(fib.snapshot().route_count(RED), model.len());
        }
    }
}
