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
    assert_eq!(vrfib.lookups(&vr1), (2, 1));
    assert_eq!(vrfib.entries().map(|(_, hits)| hits).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_snapshot_replaces_content_and_keeps_counters() {
    let mut vrfib = with(vec![entry(1, 7, 179, 1), entry(2, 8, 179, 1)]);
    vrfib.lookup(&Local::default(), address(1), &tcp(179));
    vrfib.apply(snapshot(vec![entry(1, 7, 179, 1)])).unwrap();
    assert!(vrfib.lookup(&Local::default(), address(2), &tcp(179)).is_none());
    assert_eq!(vrfib.lookups(&InterfaceName::new("vr1").unwrap()), (1, 0));
    assert_eq!(vrfib.entries().map(|(_, hits)| hits).collect::<Vec<_>>(), [1]);
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
