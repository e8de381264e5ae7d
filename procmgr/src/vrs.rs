//! The virtual routers as the VR connection manager ordered them: their names, what runs in them, who is joined.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipc::protocol::{Refusal, VrRow};
use ipc::{Pathname, ServiceName, VrId, VrName};

/// One virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Vr {
    name: VrName,
    classes: Vec<ServiceName>,
    joined: BTreeSet<VrId>,
}

/// What an order changed in a VR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Classes to start.
    pub(crate) start: Vec<ServiceName>,
    /// Classes to stop.
    pub(crate) stop: Vec<ServiceName>,
}

/// All virtual routers.
#[derive(Debug, Default)]
pub(crate) struct Vrs {
    vrs: BTreeMap<VrId, Vr>,
    names: HashMap<VrName, VrId>,
}

impl Vrs {
    /// A VR exists with these classes. A number keeps its name, and a name its number, until the VR is removed.
    pub(crate) fn set(&mut self, id: VrId, name: VrName, mut classes: Vec<ServiceName>) -> Result<Change, Refusal> {
        let conflict = |vr: VrId, other: &VrName| Refusal::VrConflict { vr, name: other.clone() };
        if id == VrId::ROUTER {
            return Err(Refusal::NoVr(id.to_string()));
        }
        if let Some(vr) = self.vrs.get(&id).filter(|vr| vr.name != name) {
            return Err(conflict(id, &vr.name));
        }
        if let Some(other) = self.names.get(&name).filter(|other| **other != id) {
            return Err(conflict(*other, &name));
        }
        classes.sort();
        classes.dedup();
        self.names.insert(name.clone(), id);
        let vr = self.vrs.entry(id).or_insert_with(|| Vr { name, classes: Vec::new(), joined: BTreeSet::new() });
        let before = std::mem::replace(&mut vr.classes, classes);
        let not_in = |all: &[ServiceName], class: &ServiceName| all.binary_search(class).is_err();
        Ok(Change {
            start: vr.classes.iter().filter(|class| not_in(&before, class)).cloned().collect(),
            stop: before.iter().filter(|class| not_in(&vr.classes, class)).cloned().collect(),
        })
    }

    /// A VR exists no longer. Returns what ran in it.
    pub(crate) fn remove(&mut self, id: VrId) -> Result<Vec<ServiceName>, Refusal> {
        let vr = self.vrs.remove(&id).ok_or_else(|| Refusal::NoVr(id.to_string()))?;
        self.names.remove(&vr.name);
        for other in &vr.joined {
            if let Some(other) = self.vrs.get_mut(other) {
                other.joined.remove(&id);
            }
        }
        Ok(vr.classes)
    }

    /// Joins two VRs, or separates them.
    pub(crate) fn join(&mut self, a: VrId, b: VrId, joined: bool) -> Result<(), Refusal> {
        for id in [a, b] {
            if !self.vrs.contains_key(&id) {
                return Err(Refusal::NoVr(id.to_string()));
            }
        }
        for (id, other) in [(a, b), (b, a)] {
            let Some(vr) = self.vrs.get_mut(&id) else { continue };
            if joined && a != b {
                vr.joined.insert(other);
            } else {
                vr.joined.remove(&other);
            }
        }
        Ok(())
    }

    /// Whether a process of `caller` may open `pathname`. A VR's own processes may open all of it; the router's own
    /// may open everything, and everybody the router's services; those of a joined VR may open its endpoints.
    pub(crate) fn may_open(&self, caller: VrId, pathname: &Pathname) -> bool {
        let vr = pathname.vr();
        if caller == vr || caller == VrId::ROUTER || vr == VrId::ROUTER {
            return true;
        }
        match pathname {
            Pathname::Service { .. } => false,
            Pathname::Endpoint { .. } => self.vrs.get(&caller).is_some_and(|own| own.joined.contains(&vr)),
        }
    }

    /// A VR's number by name.
    pub(crate) fn id(&self, name: &VrName) -> Option<VrId> {
        self.names.get(name).copied()
    }

    /// For `show vr`.
    pub(crate) fn rows(&self) -> Vec<VrRow> {
        let row = |(id, vr): (&VrId, &Vr)| VrRow {
            vr: *id,
            name: vr.name.clone(),
            classes: vr.classes.clone(),
            joined: vr.joined.iter().copied().collect(),
        };
        self.vrs.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vrs() -> Vrs {
        let mut vrs = Vrs::default();
        for (id, name) in [(1, "red"), (2, "blue"), (3, "green")] {
            vrs.set(VrId(id), name.parse().unwrap(), vec!["rib".parse().unwrap()]).unwrap();
        }
        vrs
    }

    fn may_open(vrs: &Vrs, caller: u16, pathname: &str) -> bool {
        vrs.may_open(VrId(caller), &pathname.parse().unwrap())
    }

    #[test]
    fn only_joined_vrs_open_each_others_endpoints_and_never_their_services() {
        let mut vrs = vrs();
        assert!(!may_open(&vrs, 1, "/2/417/ipv4/tcp/179"));
        vrs.join(VrId(2), VrId(1), true).unwrap();
        assert!(may_open(&vrs, 1, "/2/417/ipv4/tcp/179"));
        assert!(may_open(&vrs, 2, "/1/9/ipv4/tcp/179"));
        assert!(!may_open(&vrs, 3, "/2/417/ipv4/tcp/179"));
        assert!(!may_open(&vrs, 1, "/2/rib"));
        vrs.join(VrId(1), VrId(2), false).unwrap();
        assert!(!may_open(&vrs, 2, "/1/9/ipv4/tcp/179"));
    }

    #[test]
    fn the_router_opens_all_and_is_open_to_all() {
        let vrs = vrs();
        assert!(may_open(&vrs, 0, "/2/rib"));
        assert!(may_open(&vrs, 3, "/0/stack"));
        assert!(may_open(&vrs, 3, "/3/rib"));
    }

    #[test]
    fn a_changed_order_says_what_to_start_and_what_to_stop() {
        let class = |text: &str| text.parse::<ServiceName>().unwrap();
        let mut vrs = vrs();
        let change = vrs.set(VrId(1), "red".parse().unwrap(), vec![class("bgp"), class("bgp")]).unwrap();
        assert_eq!(change, Change { start: vec![class("bgp")], stop: vec![class("rib")] });
        assert_eq!(vrs.remove(VrId(1)).unwrap(), [class("bgp")]);
        assert_eq!(vrs.remove(VrId(1)), Err(Refusal::NoVr("1".into())));
    }

    #[test]
    fn numbers_and_names_belong_together_until_removed() {
        let mut vrs = vrs();
        let conflict = |vr, name: &str| Err(Refusal::VrConflict { vr: VrId(vr), name: name.parse().unwrap() });
        assert_eq!(vrs.set(VrId(1), "blue".parse().unwrap(), vec![]), conflict(1, "red"));
        assert_eq!(vrs.set(VrId(4), "blue".parse().unwrap(), vec![]), conflict(2, "blue"));
        assert!(vrs.set(VrId::ROUTER, "x".parse().unwrap(), vec![]).is_err());
        vrs.join(VrId(1), VrId(2), true).unwrap();
        vrs.remove(VrId(2)).unwrap();
        vrs.set(VrId(4), "blue".parse().unwrap(), vec![]).unwrap();
        assert!(!may_open(&vrs, 1, "/2/417/ipv4/tcp/179"), "a removed VR is joined with nobody");
        assert_eq!(vrs.id(&"blue".parse().unwrap()), Some(VrId(4)));
    }
}
