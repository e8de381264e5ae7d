//! Each step of the decision, with all earlier ones level.

use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::loc_rib::Peer;
use crate::packet::{AsPath, Attributes, Origin};

/// A path from neighbor 10.0.0.`last` of AS 65001 with this path of ASs.
fn path(last: u8, kind: PeerKind, change: impl FnOnce(&mut Attributes)) -> Path {
    let mut attributes = Attributes {
        as_path: AsPath::sequence(&[65001, 65009]),
        next_hop: Ipv4Addr::new(10, 0, 0, last),
        med: None,
        ..Attributes::originated(0)
    };
    change(&mut attributes);
    let address = Ipv4Addr::new(10, 0, 0, last);
    let peer = Peer { address: address.into(), remote_as: 65001, router_id: address, kind };
    Path { attributes: Arc::new(attributes), source: Source::Peer(Arc::new(peer)), accepted: true }
}

fn external(last: u8, change: impl FnOnce(&mut Attributes)) -> Path {
    path(last, PeerKind::External, change)
}

/// Asserts that the second of two paths is the best, in whatever order they came.
fn assert_second_wins(first: Path, second: Path) {
    assert_eq!(best(&[first.clone(), second.clone()], |_| Some(0)), Some(1));
    assert_eq!(best(&[second, first], |_| Some(0)), Some(0));
}

#[test]
fn an_own_route_goes_before_learned_ones() {
    let own = Path { attributes: Arc::new(Attributes::originated(0)), source: Source::Local, accepted: true };
    assert_second_wins(external(1, |attributes| attributes.local_pref = Some(500)), own);
}

#[test]
fn the_highest_local_pref_wins_and_none_counts_as_100() {
    let longer = AsPath::sequence(&[65001, 65002, 65003]);
    assert_second_wins(
        external(1, |_| {}),
        external(2, |attributes| {
            attributes.local_pref = Some(101);
            attributes.as_path = longer;
        }),
    );
    assert_second_wins(external(1, |attributes| attributes.local_pref = Some(99)), external(2, |_| {}));
}

#[test]
fn then_the_shortest_as_path() {
    assert_second_wins(
        external(1, |_| {}),
        external(2, |attributes| {
            attributes.as_path = AsPath::sequence(&[65002]);
            attributes.origin = Origin::Incomplete;
        }),
    );
}

#[test]
fn then_the_lowest_origin() {
    assert_second_wins(
        external(1, |attributes| attributes.origin = Origin::Egp),
        external(2, |attributes| {
            attributes.med = Some(9);
        }),
    );
}

#[test]
fn then_the_lowest_med_but_only_among_paths_from_the_same_as() {
    assert_second_wins(external(1, |attributes| attributes.med = Some(10)), external(2, |_| {}));
    let other_as = external(2, |attributes| attributes.as_path = AsPath::sequence(&[65002, 65009]));
    assert_second_wins(other_as, external(1, |attributes| attributes.med = Some(10)));
}

#[test]
fn then_external_before_internal() {
    assert_second_wins(path(1, PeerKind::Internal, |_| {}), path(2, PeerKind::External, |_| {}));
}

#[test]
fn then_the_nearest_next_hop() {
    let paths = [external(1, |_| {}), external(2, |_| {})];
    let metric = |path: &Path| Some(if path.attributes.next_hop.octets()[3] == 2 { 5 } else { 6 });
    assert_eq!(best(&paths, metric), Some(1));
}

#[test]
fn then_the_lowest_router_id_where_an_originator_counts_for_its_reflector() {
    assert_second_wins(external(2, |_| {}), external(1, |_| {}));
    let reflected =
        path(9, PeerKind::Internal, |attributes| attributes.originator_id = Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_second_wins(path(2, PeerKind::Internal, |_| {}), reflected);
}

#[test]
fn then_the_lowest_neighbor_address() {
    let same_id = |last: u8| {
        let mut path = external(last, |_| {});
        let peer = Peer { router_id: Ipv4Addr::LOCALHOST, ..path.peer().unwrap().clone() };
        path.source = Source::Peer(Arc::new(peer));
        path
    };
    assert_second_wins(same_id(2), same_id(1));
}

#[test]
fn a_path_without_a_reachable_next_hop_is_no_candidate() {
    let paths = [external(1, |_| {}), external(2, |_| {})];
    let metric = |path: &Path| (path.attributes.next_hop.octets()[3] == 2).then_some(0);
    assert_eq!(best(&paths, metric), Some(1));
    assert_eq!(best(&paths, |_| None), None);
    assert_eq!(best(&paths[..1], |_| None), None);
    assert_eq!(best(&[], |_| Some(0)), None);
}

proptest! {
    /// MED is not compared across ASs, so that a chain of pairwise comparisons would depend on the order.
    #[test]
    fn the_best_path_does_not_depend_on_the_order_of_arrival(
        paths in prop::collection::vec((1..4u32, 0..3u32, any::<bool>()), 1..6),
        order in any::<prop::sample::Index>(),
    ) {
        let paths: Vec<Path> = paths.iter().enumerate().map(|(index, (from, med, external))| {
            let kind = if *external { PeerKind::External } else { PeerKind::Internal };
            path(index as u8 + 1, kind, |attributes| {
                attributes.as_path = AsPath::sequence(&[65000 + from]);
                attributes.med = Some(*med);
            })
        }).collect();
        let mut turned = paths.clone();
        turned.rotate_left(order.index(paths.len()));
        let winner = |paths: &[Path]| paths[best(paths, |_| Some(0)).unwrap()].from();
        prop_assert_eq!(winner(&paths), winner(&turned));
        turned.reverse();
        prop_assert_eq!(winner(&paths), winner(&turned));
    }
}
