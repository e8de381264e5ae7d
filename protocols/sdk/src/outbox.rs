//! What a core wants done, in order, with its routes for the RIB in batches.
//!
//! A core pushes here and answers [`poll_output`](crate::core::ProtocolCore::poll_output) with [`Outbox::pop`]. Its routes
//! it says as a whole ([`install`](Outbox::install)), and only what is different goes out; or, where there are many, one
//! by one. Until the RIB has been seen nothing is kept for it: a new RIB gets everything.
//!
//! ```
//! use isthmus_sdk::core::Output;
//! use isthmus_sdk::ipnet::IpNet;
//! use isthmus_sdk::outbox::Outbox;
//! use isthmus_sdk::rib::{NextHop, RibRequest, Route, RouteChange};
//!
//! let prefix: IpNet = "203.0.113.0/24".parse()?;
//! let route = Route::new(prefix, 250, 1, vec![NextHop::Discard]);
//! let mut outbox = Outbox::default();
//! outbox.rib_restarted();
//! outbox.install([route.clone()]);
//! outbox.install([route.clone()]);
//! assert_eq!(outbox.pop(), Some(Output::Rib(RibRequest::Routes(vec![RouteChange::Add(route)]))));
//! outbox.install([]);
//! assert_eq!(outbox.pop(), Some(Output::Rib(RibRequest::Routes(vec![RouteChange::Remove(prefix)]))));
//! assert_eq!(outbox.pop(), None);
//! # Ok::<(), isthmus_sdk::ipnet::AddrParseError>(())
//! ```

use std::collections::{BTreeMap, VecDeque};

use ipnet::IpNet;

use crate::core::{DatagramCommand, DatagramSocket, Output};
use crate::rib::{RibRequest, RibUpdate, Route, RouteChange, UnusedRoute};

/// Changes that one message to the RIB carries at most.
const ROUTES_PER_REQUEST: usize = 1000;

/// Whether the RIB has been seen yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RibLink {
    /// Not yet.
    #[default]
    Never,
    /// It is there, or was and will announce itself when it is back.
    Seen,
}

/// The queue of outputs.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: VecDeque<Output>,
    /// Whether there is a RIB that listens.
    pub rib: RibLink,
    changes: Vec<RouteChange>,
    /// What the RIB has by [`install`](Self::install).
    installed: BTreeMap<IpNet, Route>,
}

impl Outbox {
    /// Adds an output.
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The next output. Routes that were collected come last.
    pub fn pop(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.flush_routes();
        }
        self.outputs.pop_front()
    }

    /// A line for the log.
    pub fn log(&mut self, level: log::Level, text: String) {
        self.push(Output::Log { level, text });
    }

    /// Something about a datagram socket.
    pub fn datagram(&mut self, socket: DatagramSocket, command: DatagramCommand) {
        self.push(Output::Datagram { socket, command });
    }

    /// A message to the RIB, behind the routes that were collected.
    pub fn rib(&mut self, request: RibRequest) {
        if self.rib == RibLink::Seen {
            self.flush_routes();
            self.push(Output::Rib(request));
        }
    }

    /// The RIB is new and has nothing of this protocol. Then come all routes, and [`RibRequest::EndOfRoutes`].
    pub fn rib_restarted(&mut self) {
        self.rib = RibLink::Seen;
        self.changes.clear();
        self.installed.clear();
    }

    /// All routes of this protocol from now on. Only what is different from what was said last goes to the RIB.
    pub fn install(&mut self, routes: impl IntoIterator<Item = Route>) {
        if self.rib == RibLink::Never {
            return;
        }
        let wanted: BTreeMap<IpNet, Route> = routes.into_iter().map(|route| (route.prefix, route)).collect();
        let had = std::mem::replace(&mut self.installed, wanted.clone());
        for prefix in had.keys().filter(|prefix| !wanted.contains_key(prefix)) {
            self.remove_route(*prefix);
        }
        for (prefix, route) in wanted {
            if had.get(&prefix) != Some(&route) {
                self.add_route(route);
            }
        }
    }

    /// Logs a word of the RIB about what it does not do; what else it says is the core's business.
    pub fn warn_of(&mut self, update: &RibUpdate) {
        match update {
            RibUpdate::Refused { prefix, reason } => {
                self.log(log::Level::Warn, format!("route {prefix} refused by the RIB: {reason}"));
            }
            RibUpdate::Unused(routes) => {
                for UnusedRoute { prefix, because } in routes {
                    self.log(log::Level::Warn, format!("route {prefix} is not used: {because}"));
                }
            }
            RibUpdate::Denied { reason } => self.log(log::Level::Warn, format!("denied by the RIB: {reason}")),
            RibUpdate::NextHop { .. }
            | RibUpdate::Prefix { .. }
            | RibUpdate::Redistributed(_)
            | RibUpdate::RedistributionComplete => {}
        }
    }

    /// A route for the RIB, whatever was said of the prefix before.
    pub fn add_route(&mut self, route: Route) {
        self.change(RouteChange::Add(route));
    }

    /// A route that the RIB is to forget.
    pub fn remove_route(&mut self, prefix: impl Into<IpNet>) {
        self.change(RouteChange::Remove(prefix.into()));
    }

    /// Sends the routes that were collected, before the outputs that follow.
    pub fn flush_routes(&mut self) {
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.push(Output::Rib(RibRequest::Routes(changes)));
        }
    }

    fn change(&mut self, change: RouteChange) {
        if self.rib == RibLink::Seen {
            self.changes.push(change);
            if self.changes.len() >= ROUTES_PER_REQUEST {
                self.flush_routes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rib::NextHop;

    fn prefix(n: u32) -> IpNet {
        IpNet::new(std::net::Ipv4Addr::from(n << 8).into(), 24).unwrap()
    }

    #[test]
    fn routes_go_in_batches_before_what_is_said_after_them() {
        let mut outbox = Outbox { rib: RibLink::Seen, ..Outbox::default() };
        (0..1001).for_each(|n| outbox.remove_route(prefix(n)));
        outbox.rib(RibRequest::EndOfRoutes);
        let mut batches = Vec::new();
        while let Some(Output::Rib(request)) = outbox.pop() {
            batches.push(request);
        }
        let [RibRequest::Routes(first), RibRequest::Routes(rest), RibRequest::EndOfRoutes] = &batches[..] else {
            panic!("{batches:?}")
        };
        assert_eq!((first.len(), rest), (1000, &vec![RouteChange::Remove(prefix(1000))]));
    }

    #[test]
    fn what_is_installed_goes_out_once_and_to_a_new_rib_again() {
        let route = |n: u32, metric: u32| Route::new(prefix(n), 120, metric, vec![NextHop::Discard]);
        let mut outbox = Outbox::default();
        let changes = |outbox: &mut Outbox| match outbox.pop() {
            Some(Output::Rib(RibRequest::Routes(changes))) => changes,
            None => Vec::new(),
            other => panic!("{other:?}"),
        };
        outbox.install([route(1, 1)]);
        assert_eq!(changes(&mut outbox), [], "there is no RIB");
        outbox.rib_restarted();
        outbox.install([route(1, 1), route(2, 1)]);
        assert_eq!(changes(&mut outbox), [RouteChange::Add(route(1, 1)), RouteChange::Add(route(2, 1))]);
        outbox.install([route(2, 3)]);
        assert_eq!(changes(&mut outbox), [RouteChange::Remove(prefix(1)), RouteChange::Add(route(2, 3))]);
        outbox.install([route(2, 3)]);
        assert_eq!(changes(&mut outbox), []);
        outbox.rib_restarted();
        outbox.install([route(2, 3)]);
        assert_eq!(changes(&mut outbox), [RouteChange::Add(route(2, 3))]);
    }

    #[test]
    fn before_the_rib_is_seen_nothing_is_kept_for_it() {
        let mut outbox = Outbox::default();
        outbox.remove_route(prefix(1));
        outbox.rib(RibRequest::Leave);
        outbox.rib = RibLink::Seen;
        outbox.flush_routes();
        assert_eq!(outbox.pop(), None);
    }
}
