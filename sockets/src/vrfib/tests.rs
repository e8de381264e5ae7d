use std::num::NonZeroU16;

use ipc::{Pid, VrName};
use proptest::prelude::*;

use super::*;

fn interface(peer: u16, up: bool) -> InterVrInterface {
    InterVrInterface {
        name: InterfaceName::new(&format!("vr{peer}")).unwrap(),
        peer_vr: VrId(peer),
        peer_name: VrName::new(&format!("vr{peer}")).unwrap(),
        addresses: vec![address(0)],
        own_addresses: vec![address(0)],
        peer_addresses: vec![address(peer as u8)],
        lost: vec![],
        lost_from: vec![],
        up,
    }
}

fn address(host: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, host])
}

fn tcp(port: u16) -> Criteria {
    Criteria::Tcp(Family::Ipv4, NonZeroU16::new(port).unwrap())
}

fn entry(peer: u16, pid: u32, port: u16, generation: u64) -> VrFibEntry {
    VrFibEntry {
        to: address(peer as u8),
        listener: Pathname::endpoint(VrId(peer), Pid(pid), tcp(port)),
        generation,
        interface: InterfaceName::new(&format!("vr{peer}")).unwrap(),
        source: address(0),
    }
}

fn snapshot(entries: Vec<VrFibEntry>) -> VrFibUpdate {
    VrFibUpdate::Snapshot { interfaces: vec![interface(1, true), interface(2, true)], entries }
}

fn with(entries: Vec<VrFibEntry>) -> VrFib {
    let mut vrfib = VrFib::default();
    vrfib.apply(snapshot(entries)).unwrap();
    vrfib
}

fn change(interfaces: Vec<InterVrInterface>, added: Vec<VrFibEntry>, removed: &[&VrFibEntry]) -> VrFibUpdate {
    let removed = removed.iter().map(|entry| (entry.to, entry.listener.clone())).collect();
    VrFibUpdate::Change { interfaces, added, removed }
}

#[test]
fn a_listener_is_found_by_address_and_criteria_together() {
    let vrfib = with(vec![entry(1, 7, 179, 1)]);
    assert_eq!(*vrfib.lookup(&Local::default(), address(1), &tcp(179)).unwrap(), entry(1, 7, 179, 1));
    assert!(vrfib.lookup(&Local::default(), address(1), &tcp(180)).is_none());
    assert!(vrfib.lookup(&Local::default(), address(2), &tcp(179)).is_none());
    let udp = Criteria::Udp(Family::Ipv4, NonZeroU16::new(179).unwrap());
    assert!(vrfib.lookup(&Local::default(), address(1), &udp).is_none());
}

#[test]
fn a_shut_interface_misses_and_hits_again_when_it_is_back() {
    let mut vrfib = with(vec![entry(1, 7, 179, 1)]);
    vrfib.apply(change(vec![interface(1, false)], vec![], &[])).unwrap();
    assert!(vrfib.lookup(&Local::default(), address(1), &tcp(179)).is_none());
    vrfib.apply(change(vec![interface(1, true)], vec![], &[])).unwrap();
    assert!(vrfib.lookup(&Local::default(), address(1), &tcp(179)).is_some());
}

#[test]
fn a_socket_bound_to_another_interface_or_family_misses() {
    let vrfib = with(vec![entry(1, 7, 179, 1)]);
    let bound = |name: &str| Local { interface: Some(InterfaceName::new(name).unwrap()), address: None };
    assert!(vrfib.lookup(&bound("vr1"), address(1), &tcp(179)).is_some());
    assert!(vrfib.lookup(&bound("vr2"), address(1), &tcp(179)).is_none());
    let v6 = Local { address: Some("2001:db8::1".parse().unwrap()), interface: None };
    assert!(vrfib.lookup(&v6, address(1), &tcp(179)).is_none());
}

#[test]
fn hits_and_misses_count_per_interface_and_foreign_addresses_do_not() {
    let vrfib = with(vec![entry(1, 7, 179, 1)]);
    let vr1 = InterfaceName::new("vr1").unwrap();
    vrfib.lookup(&Local::default(), address(1), &tcp(179));
    vrfib.lookup(&Local::default(), address(1), &tcp(179));
    vrfib.lookup(&Local::default(), address(1), &tcp(22));
    vrfib.lookup(&Local::default(), address(99), &tcp(22));
    assert_eq!(vrfib.lookups(&vr1), Lookups { hits: 2, misses: 1 });
    assert_eq!(of_entries(&vrfib), [(2, 0)]);
    assert_eq!(vrfib.unmatched(), 2, "no entry was meant");
}

fn of_entries(vrfib: &VrFib) -> Vec<(u64, u64)> {
    vrfib.entries().map(|(_, lookups)| (lookups.hits, lookups.misses)).collect()
}

fn of_withdrawn(vrfib: &VrFib) -> Vec<(u64, u64)> {
    vrfib.withdrawn().map(|(_, lookups)| (lookups.hits, lookups.misses)).collect()
}

fn look(vrfib: &VrFib) -> bool {
    vrfib.lookup(&Local::default(), address(1), &tcp(179)).is_some()
}

#[test]
fn an_entry_counts_who_was_meant_for_it_while_its_interface_is_shut_or_no_route_leads_back() {
    let mut vrfib = with(vec![entry(1, 7, 179, 1)]);
    vrfib.apply(change(vec![interface(1, false)], vec![], &[])).unwrap();
    assert!(!look(&vrfib));
    let no_way_back = InterVrInterface { lost_from: vec![address(0)], ..interface(1, true) };
    vrfib.apply(change(vec![no_way_back], vec![], &[])).unwrap();
    assert!(!look(&vrfib));
    // A socket that is bound elsewhere was not meant for it.
    let bound = Local { interface: Some(InterfaceName::new("vr2").unwrap()), address: None };
    assert!(vrfib.lookup(&bound, address(1), &tcp(179)).is_none());
    assert_eq!((of_entries(&vrfib), vrfib.unmatched()), (vec![(0, 2)], 1));
    vrfib.apply(change(vec![interface(1, true)], vec![], &[])).unwrap();
    assert!(look(&vrfib));
    assert_eq!(of_entries(&vrfib), [(1, 2)]);
}

#[test]
fn an_entry_that_was_withdrawn_counts_who_looks_for_it_and_goes_on_when_it_is_back() {
    let present = entry(1, 7, 179, 1);
    let mut vrfib = with(vec![present.clone()]);
    assert!(look(&vrfib));
    // The interface is shut, or short circuits are off: the manager takes the entry away.
    vrfib.apply(change(vec![], vec![], &[&present])).unwrap();
    assert!(!look(&vrfib));
    assert_eq!((of_entries(&vrfib), of_withdrawn(&vrfib), vrfib.unmatched()), (vec![], vec![(1, 1)], 0));
    vrfib.apply(change(vec![], vec![present.clone()], &[])).unwrap();
    assert!(look(&vrfib));
    assert_eq!((of_entries(&vrfib), of_withdrawn(&vrfib)), (vec![(2, 1)], vec![]));
    // The manager restarts, knows nothing first, then all.
    vrfib.apply(snapshot(vec![])).unwrap();
    assert!(!look(&vrfib));
    vrfib.apply(snapshot(vec![present])).unwrap();
    assert_eq!(of_entries(&vrfib), [(2, 2)]);
}

#[test]
fn another_publication_takes_the_place_of_one_that_was_withdrawn_and_counts_from_zero() {
    let old = entry(1, 7, 179, 1);
    let mut vrfib = with(vec![old.clone()]);
    vrfib.apply(change(vec![], vec![], &[&old])).unwrap();
    assert!(!look(&vrfib));
    vrfib.apply(change(vec![], vec![entry(1, 8, 179, 2)], &[])).unwrap();
    assert!(look(&vrfib));
    assert_eq!((of_entries(&vrfib), of_withdrawn(&vrfib)), (vec![(1, 0)], vec![]));
}

#[test]
fn of_what_was_withdrawn_the_last_thousand_places_are_remembered() {
    let mut vrfib = with(vec![entry(1, 7, 179, 1)]);
    vrfib.apply(change(vec![], vec![], &[&entry(1, 7, 179, 1)])).unwrap();
    for port in 1000..1000 + 1024 {
        vrfib.apply(change(vec![], vec![entry(1, 7, port, 1)], &[])).unwrap();
        vrfib.apply(change(vec![], vec![], &[&entry(1, 7, port, 1)])).unwrap();
    }
    assert!(!look(&vrfib));
    assert_eq!((vrfib.withdrawn().count(), vrfib.unmatched()), (1024, 1));
}

#[test]
fn a_snapshot_replaces_content_and_keeps_counters() {
    let mut vrfib = with(vec![entry(1, 7, 179, 1), entry(2, 8, 179, 1)]);
    vrfib.lookup(&Local::default(), address(1), &tcp(179));
    vrfib.apply(snapshot(vec![entry(1, 7, 179, 1)])).unwrap();
    assert!(vrfib.lookup(&Local::default(), address(2), &tcp(179)).is_none());
    assert_eq!(vrfib.lookups(&InterfaceName::new("vr1").unwrap()), Lookups { hits: 1, misses: 0 });
    assert_eq!(of_entries(&vrfib), [(1, 0)]);
}

#[test]
fn an_update_with_one_bad_entry_changes_nothing() {
    let mut vrfib = with(vec![entry(1, 7, 179, 1)]);
    let bad = VrFibEntry { interface: InterfaceName::new("elsewhere").unwrap(), ..entry(2, 8, 179, 1) };
    let update = change(vec![interface(1, false)], vec![entry(2, 9, 22, 1), bad], &[&entry(1, 7, 179, 1)]);
    assert!(matches!(vrfib.apply(update), Err(VrFibError::NoInterface { .. })));
    assert!(vrfib.lookup(&Local::default(), address(1), &tcp(179)).is_some());
    assert!(vrfib.lookup(&Local::default(), address(2), &tcp(22)).is_none());

    let v6_source = VrFibEntry { source: "2001:db8::1".parse().unwrap(), ..entry(2, 8, 179, 1) };
    assert!(matches!(vrfib.apply(snapshot(vec![v6_source])), Err(VrFibError::Family { .. })));
    let service = VrFibEntry { listener: Pathname::router("stack").unwrap(), ..entry(2, 8, 179, 1) };
    assert!(matches!(vrfib.apply(snapshot(vec![service])), Err(VrFibError::NotAnEndpoint { .. })));
    assert!(vrfib.lookup(&Local::default(), address(1), &tcp(179)).is_some());
}

#[test]
fn of_two_listeners_the_first_answers_until_it_is_gone() {
    let mut vrfib = with(vec![entry(1, 7, 179, 1), entry(1, 8, 179, 1)]);
    let found = |vrfib: &VrFib| vrfib.lookup(&Local::default(), address(1), &tcp(179)).unwrap().listener.clone();
    assert_eq!(found(&vrfib), entry(1, 7, 179, 1).listener);
    vrfib.apply(change(vec![], vec![], &[&entry(1, 7, 179, 1)])).unwrap();
    assert_eq!(found(&vrfib), entry(1, 8, 179, 1).listener);
}

/// What a reader would write without thought for speed.
#[derive(Default)]
struct Naive {
    interfaces: Vec<InterVrInterface>,
    entries: Vec<VrFibEntry>,
}

impl Naive {
    fn apply(&mut self, update: VrFibUpdate) {
        match update {
            VrFibUpdate::Snapshot { interfaces, entries } => {
                *self = Naive { interfaces, entries: vec![] };
                entries.into_iter().for_each(|entry| self.add(entry));
            }
            VrFibUpdate::Change { interfaces, added, removed } => {
                for interface in interfaces {
                    self.interfaces.retain(|known| known.name != interface.name);
                    self.interfaces.push(interface);
                }
                self.entries.retain(|known| !removed.contains(&(known.to, known.listener.clone())));
                added.into_iter().for_each(|entry| self.add(entry));
            }
        }
    }

    fn add(&mut self, entry: VrFibEntry) {
        match self.entries.iter_mut().find(|known| known.to == entry.to && known.listener == entry.listener) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    fn lookup(&self, from: &Local, to: IpAddr, criteria: &Criteria) -> Option<&VrFibEntry> {
        self.entries.iter().find(|entry| {
            let wanted = matches!(&entry.listener, Pathname::Endpoint { criteria: c, .. } if c == criteria);
            let up = self.interfaces.iter().any(|interface| interface.name == entry.interface && interface.up);
            let bound = from.interface.as_ref().is_none_or(|bound| *bound == entry.interface);
            entry.to == to && wanted && up && bound
        })
    }
}

fn any_entry() -> impl Strategy<Value = VrFibEntry> {
    (1..4u16, 1..3u32, 1..3u16, 0..3u64).prop_map(|(peer, pid, port, generation)| entry(peer, pid, port, generation))
}

fn any_update() -> impl Strategy<Value = VrFibUpdate> {
    let entries = || prop::collection::vec(any_entry(), 0..6);
    let all = |ups: [bool; 3]| (1..4).zip(ups).map(|(peer, up)| interface(peer, up)).collect::<Vec<_>>();
    prop_oneof![
        (any::<[bool; 3]>(), entries())
            .prop_map(move |(ups, entries)| VrFibUpdate::Snapshot { interfaces: all(ups), entries }),
        (1..4u16, any::<bool>(), entries(), entries()).prop_map(|(peer, up, added, removed)| change(
            vec![interface(peer, up)],
            added,
            &removed.iter().collect::<Vec<_>>()
        )),
    ]
}

proptest! {
    #[test]
    fn it_answers_like_a_list_that_is_searched(updates in prop::collection::vec(any_update(), 1..12)) {
        let (mut vrfib, mut naive) = (VrFib::default(), Naive::default());
        let start = VrFibUpdate::Snapshot { interfaces: (1..4).map(|p| interface(p, true)).collect(), entries: vec![] };
        for update in std::iter::once(start).chain(updates) {
            vrfib.apply(update.clone()).unwrap();
            naive.apply(update);
            let bounds = [None, Some("vr1"), Some("vr2")].map(|b| b.map(|b| InterfaceName::new(b).unwrap()));
            for (peer, port, interface) in
                (0..5).flat_map(|peer| (1..4).flat_map(move |port| (0..3).map(move |b| (peer, port, b))))
            {
                let from = Local { address: None, interface: bounds[interface].clone() };
                let found = vrfib.lookup(&from, address(peer), &tcp(port));
                prop_assert_eq!(found.as_deref(), naive.lookup(&from, address(peer), &tcp(port)));
            }
            prop_assert_eq!(vrfib.entries().count(), naive.entries.len());
        }
    }
}
