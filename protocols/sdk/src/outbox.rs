//! What a core wants done, in order, with its routes for the RIB in batches.
//!
//! A core pushes here and answers [`poll_output`](crate::core::ProtocolCore::poll_output) with [`Outbox::pop`]. Until
//! the RIB has been seen nothing is kept for it: a new RIB gets everything.
//!
//! ```
//! use isthmus_sdk::core::Output;
//! use isthmus_sdk::outbox::{Outbox, RibLink};
//! use isthmus_sdk::rib::RibRequest;
//!
//! let mut outbox = Outbox::default();
//! outbox.remove_route("203.0.113.0/24".parse::<ipnet::IpNet>().unwrap());
//! outbox.flush_routes();
//! assert_eq!(outbox.pop(), None);
//! outbox.rib = RibLink::Seen;
//! outbox.rib(RibRequest::EndOfRoutes);
//! assert_eq!(outbox.pop(), Some(Output::Rib(RibRequest::EndOfRoutes)));
//! ```

use std::collections::VecDeque;

use ipnet::IpNet;

use crate::core::{DatagramCommand, DatagramSocket, Output};
use crate::rib::{RibRequest, Route, RouteChange};

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
}

impl Outbox {
    /// Adds an output.
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The next output.
    pub fn pop(&mut self) -> Option<Output> {
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

    /// A route for the RIB.
    pub fn add_route(&mut self, route: Route) {
        self.change(RouteChange::Add(route));
    }

    /// A route that the RIB is to forget.
    pub fn remove_route(&mut self, prefix: impl Into<IpNet>) {
        self.change(RouteChange::Remove(prefix.into()));
    }

    /// Sends the routes that were collected. To be called at the end of everything that may have changed some.
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
    fn before_the_rib_is_seen_nothing_is_kept_for_it() {
        let mut outbox = Outbox::default();
        outbox.remove_route(prefix(1));
        outbox.rib(RibRequest::Leave);
        outbox.rib = RibLink::Seen;
        outbox.flush_routes();
        assert_eq!(outbox.pop(), None);
    }
}
