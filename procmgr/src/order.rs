//! In which order processes start and stop: what a class needs is there before it, and goes after it.

use std::collections::{HashMap, HashSet};

use ipc::{ServiceName, VrId};

use crate::class::{ClassSpec, ClassTable, Scope};
use crate::processes::ProcessKey;

/// A process by its place: there is one of a class in a VR, or in the router.
pub(crate) type Place = (VrId, ServiceName);

/// Where the process of `class` is that serves `vr`.
pub(crate) fn place(vr: VrId, class: &ClassSpec) -> Place {
    match class.scope {
        Scope::Router => (VrId::ROUTER, class.name.clone()),
        Scope::PerVr => (vr, class.name.clone()),
    }
}

/// Who waits for whom at start.
#[derive(Debug, Default)]
pub(crate) struct StartOrder {
    waiting: HashMap<Place, Vec<ProcessKey>>,
    unmet: HashMap<ProcessKey, usize>,
}

impl StartOrder {
    /// `key` waits until each of `places` is ready. `true`: nothing to wait for.
    pub(crate) fn wait(&mut self, key: ProcessKey, places: Vec<Place>) -> bool {
        if places.is_empty() {
            return true;
        }
        self.unmet.insert(key, places.len());
        for place in places {
            self.waiting.entry(place).or_default().push(key);
        }
        false
    }

    /// A process is ready. Returns who waits for nothing any longer.
    pub(crate) fn ready(&mut self, place: &Place) -> Vec<ProcessKey> {
        let mut free = Vec::new();
        for key in self.waiting.remove(place).unwrap_or_default() {
            let Some(unmet) = self.unmet.get_mut(&key) else { continue };
            *unmet = unmet.saturating_sub(1);
            if *unmet == 0 {
                self.unmet.remove(&key);
                free.push(key);
            }
        }
        free
    }

    /// A process waits no longer: it was removed.
    pub(crate) fn forget(&mut self, key: ProcessKey) {
        if self.unmet.remove(&key).is_some() {
            for waiting in self.waiting.values_mut() {
                waiting.retain(|waiting| *waiting != key);
            }
        }
    }
}

/// Who is to stop, and has not yet.
#[derive(Debug, Default)]
pub(crate) struct StopOrder {
    doomed: HashSet<Place>,
    by_class: HashMap<ServiceName, usize>,
}

impl StopOrder {
    /// A process is to stop when its turn comes.
    pub(crate) fn add(&mut self, place: Place) {
        let class = place.1.clone();
        if self.doomed.insert(place) {
            *self.by_class.entry(class).or_default() += 1;
        }
    }

    /// A process has stopped, or may stay after all. Returns whose turn it may be now.
    pub(crate) fn remove(&mut self, classes: &ClassTable, place: &Place) -> Vec<Place> {
        if !self.doomed.remove(place) {
            return Vec::new();
        }
        if let Some(count) = self.by_class.get_mut(&place.1) {
            *count = count.saturating_sub(1);
        }
        let needs = classes.get(place.1.as_str()).map_or(&[][..], |class| class.needs.as_slice());
        let needed = needs.iter().filter_map(|need| classes.get(need.as_str())).map(|need| self::place(place.0, need));
        needed.filter(|needed| self.doomed.contains(needed) && self.is_turn(classes, needed)).collect()
    }

    /// Whether nobody that needs this process is still to stop.
    pub(crate) fn is_turn(&self, classes: &ClassTable, place: &Place) -> bool {
        let router_wide = classes.get(place.1.as_str()).is_some_and(|class| class.scope == Scope::Router);
        let waits_for = |dependent: &ServiceName| {
            let Some(class) = classes.get(dependent.as_str()) else { return false };
            match class.scope {
                Scope::PerVr if router_wide => self.by_class.get(dependent).is_some_and(|count| *count > 0),
                Scope::PerVr | Scope::Router => self.doomed.contains(&self::place(place.0, class)),
            }
        };
        !classes.dependents(place.1.as_str()).iter().any(waits_for)
    }

    /// Whether this process is to stop.
    pub(crate) fn contains(&self, place: &Place) -> bool {
        self.doomed.contains(place)
    }

    /// Whether everything that was to stop has.
    pub(crate) fn is_empty(&self) -> bool {
        self.doomed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> ClassTable {
        let class = |name: &str, scope, needs: &[&str]| ClassSpec {
            needs: needs.iter().map(|need| need.parse().unwrap()).collect(),
            ..ClassSpec::role(name.parse().unwrap(), scope)
        };
        ClassTable::new(vec![
            class("stack", Scope::Router, &[]),
            class("vrmgr", Scope::Router, &["stack"]),
            class("rib", Scope::PerVr, &["stack"]),
            class("bgp", Scope::PerVr, &["stack", "rib"]),
        ])
        .unwrap()
    }

    fn at(vr: u16, class: &str) -> Place {
        (VrId(vr), class.parse().unwrap())
    }

    #[test]
    fn a_process_starts_when_the_last_of_its_needs_is_ready() {
        let mut order = StartOrder::default();
        let (rib, bgp) = (ProcessKey(1), ProcessKey(2));
        assert!(!order.wait(rib, vec![at(0, "stack")]));
        assert!(!order.wait(bgp, vec![at(0, "stack"), at(1, "rib")]));
        assert!(order.wait(ProcessKey(3), vec![]));
        assert_eq!(order.ready(&at(0, "stack")), [rib]);
        assert_eq!(order.ready(&at(2, "rib")), []);
        assert_eq!(order.ready(&at(1, "rib")), [bgp]);
        assert_eq!(order.ready(&at(1, "rib")), []);
    }

    #[test]
    fn everything_stops_before_what_it_needs_in_all_vrs() {
        let classes = classes();
        let mut order = StopOrder::default();
        let all = [at(0, "stack"), at(0, "vrmgr"), at(1, "rib"), at(1, "bgp"), at(2, "rib"), at(2, "bgp")];
        all.iter().for_each(|place| order.add(place.clone()));
        let turn = |order: &StopOrder| all.iter().filter(|p| order.contains(p) && order.is_turn(&classes, p)).count();
        assert_eq!(turn(&order), 3, "vrmgr and both bgp");
        assert_eq!(order.remove(&classes, &at(1, "bgp")), [at(1, "rib")]);
        assert_eq!(order.remove(&classes, &at(1, "rib")), []);
        assert_eq!(order.remove(&classes, &at(0, "vrmgr")), []);
        assert_eq!(order.remove(&classes, &at(2, "bgp")), [at(2, "rib")]);
        assert_eq!(order.remove(&classes, &at(2, "rib")), [at(0, "stack")]);
        assert_eq!(order.remove(&classes, &at(2, "rib")), []);
        order.remove(&classes, &at(0, "stack"));
        assert!(order.is_empty());
    }

    #[test]
    fn one_vr_stops_without_waiting_for_another() {
        let classes = classes();
        let mut order = StopOrder::default();
        order.add(at(1, "rib"));
        assert!(order.is_turn(&classes, &at(1, "rib")), "blue's bgp stays, and red's rib does not wait for it");
    }
}
