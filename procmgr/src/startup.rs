//! When the router is up: every process of the starting configuration is ready.
//!
//! The starting configuration is the router's own classes and what the VR connection manager ordered before the last
//! of those was ready. A process that keeps failing, and what waits for it, holds nobody up.

use std::collections::{HashMap, HashSet};

use crate::class::Scope;
use crate::processes::ProcessKey;
use crate::supervisor::{State, Supervisor};

/// A process that ended so often before it was ever ready holds nobody up.
const PATIENCE: u32 = 2;

/// What the start still waits for.
#[derive(Debug, Default)]
pub(crate) struct Startup {
    members: HashMap<ProcessKey, Scope>,
    router: HashSet<ProcessKey>,
    vrs: HashSet<ProcessKey>,
    closed: bool,
    up: bool,
}

impl Startup {
    /// A process was added.
    pub(crate) fn add(&mut self, key: ProcessKey, scope: Scope) {
        if !self.closed {
            self.members.insert(key, scope);
        }
    }

    /// A process changed its state.
    pub(crate) fn update(&mut self, key: ProcessKey, supervisor: &Supervisor) {
        let set = match self.members.get(&key) {
            Some(Scope::Router) => &mut self.router,
            Some(Scope::PerVr) => &mut self.vrs,
            None => return,
        };
        if is_progressing(supervisor) {
            set.insert(key);
        } else {
            set.remove(&key);
        }
    }

    /// A process was removed.
    pub(crate) fn remove(&mut self, key: ProcessKey) {
        self.members.remove(&key);
        self.router.remove(&key);
        self.vrs.remove(&key);
    }

    /// Asked when everything that could be started has been. `true` once: the router is up now.
    pub(crate) fn comes_up(&mut self) -> bool {
        self.closed |= self.router.is_empty();
        let comes_up = !self.up && self.closed && self.vrs.is_empty();
        self.up |= comes_up;
        comes_up
    }

    /// Whether the router is up.
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }
}

/// Whether a process may yet become ready of its own. One that waits may too, but then another one is progressing.
fn is_progressing(supervisor: &Supervisor) -> bool {
    match supervisor.state() {
        State::Starting { .. } | State::Backoff { .. } => supervisor.failures() < PATIENCE,
        State::Waiting | State::Ready | State::Stopping { .. } | State::Stopped => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::class::ClassSpec;
    use crate::supervisor::Event;

    /// A startup and the supervisors of its processes, by key.
    struct Scene {
        startup: Startup,
        supervisors: Vec<Supervisor>,
    }

    impl Scene {
        fn new() -> Self {
            Self { startup: Startup::default(), supervisors: vec![] }
        }

        fn add(&mut self, scope: Scope) -> usize {
            let number = self.supervisors.len();
            self.supervisors.push(Supervisor::new(&ClassSpec::role("x".parse().unwrap(), scope), Instant::now()));
            self.startup.add(ProcessKey(number as u64), scope);
            self.happens(number, Event::NeedsMet);
            number
        }

        fn happens(&mut self, number: usize, event: Event) {
            self.supervisors[number].handle(Instant::now(), event);
            self.startup.update(ProcessKey(number as u64), &self.supervisors[number]);
        }
    }

    #[test]
    fn the_router_is_up_when_all_that_was_ordered_in_time_is_ready() {
        let mut scene = Scene::new();
        let manager = scene.add(Scope::Router);
        let early = scene.add(Scope::PerVr);
        assert!(!scene.startup.comes_up());
        scene.happens(manager, Event::SaidReady);
        assert!(!scene.startup.comes_up());
        scene.add(Scope::PerVr);
        scene.happens(early, Event::SaidReady);
        assert!(scene.startup.comes_up(), "the late one is not waited for");
        assert!(!scene.startup.comes_up() && scene.startup.is_up());
    }

    #[test]
    fn a_process_that_keeps_failing_holds_nobody_up() {
        let mut scene = Scene::new();
        let failing = scene.add(Scope::Router);
        scene.happens(failing, Event::Ended);
        assert!(!scene.startup.comes_up(), "once may happen");
        scene.happens(failing, Event::TimedOut);
        scene.happens(failing, Event::Ended);
        assert!(scene.startup.comes_up());
    }

    #[test]
    fn a_router_without_processes_is_up() {
        assert!(Startup::default().comes_up());
    }
}
