//! The VR's routes, as its RIB shows them: asked for when a program wants to see them, and not kept.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipc::message::Schema;
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ServiceClient};
use ipc::{Pathname, ServiceName};
use ipnet::IpNet;
use nix::errno::Errno;
use vr_api::show::{Row, SCHEMA, ShowReply, ShowRequest, TERMS, Value};

use crate::log;
use crate::process::Process;

/// How long an answer is waited for, where the RIB is away or has a long table.
const PATIENCE: Duration = Duration::from_secs(10);

/// A route in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub prefix: IpNet,
    /// Who offers it: `static`, `ospf`.
    pub protocol: String,
    /// The protocol's metric.
    pub metric: u32,
    /// Where to. None: packets are dropped.
    pub hops: Vec<Hop>,
}

/// One way of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The neighbor; `None`: destinations are neighbors themselves.
    pub gateway: Option<IpAddr>,
    /// The interface's name.
    pub interface: String,
}

/// The conversation with the RIB.
#[derive(Debug, Default)]
pub struct Routes {
    client: Option<ServiceClient<ShowRequest, ShowReply>>,
    question: Option<ShowRequest>,
    rows: Vec<Row>,
    end: Option<Result<(), String>>,
}

impl Routes {
    /// Takes an event if it is about routes.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        let Some(client) = &mut self.client else { return Some(event) };
        let left = client.handle(reactor, event);
        while let Some(news) = client.poll(reactor) {
            match news {
                ClientEvent::Up => {
                    // A RIB that came back meanwhile is asked from the beginning.
                    self.rows.clear();
                    if let Some(question) = &self.question {
                        client.send(question);
                    }
                }
                ClientEvent::Down => {}
                ClientEvent::Message(ShowReply::Rows(rows)) => self.rows.extend(rows),
                ClientEvent::Message(ShowReply::End) => self.end = Some(Ok(())),
                ClientEvent::Message(ShowReply::Error(why)) => self.end = Some(Err(why)),
            }
        }
        left
    }

    fn ask(&mut self, reactor: &mut Reactor, vr: ipc::VrId, argument: Option<IpAddr>) -> Result<(), Errno> {
        let arguments = argument.iter().map(IpAddr::to_string).collect();
        let question = ShowRequest::Table { table: "route".to_owned(), arguments };
        (self.rows, self.end) = (Vec::new(), None);
        match &mut self.client {
            Some(client) => drop(client.send(&question)),
            None => {
                let name = ServiceName::new("rib").map_err(|_| Errno::EINVAL)?;
                let mut client = ServiceClient::new(Pathname::service(vr, name), TERMS.to_vec(), Schema::new(SCHEMA));
                client.start(reactor).map_err(|_| Errno::ENETDOWN)?;
                self.client = Some(client);
            }
        }
        self.question = Some(question);
        Ok(())
    }
}

impl Process {
    /// The VR's routes; or the one that leads to an address.
    pub fn routes(&mut self, towards: Option<IpAddr>) -> Result<Vec<Route>, Errno> {
        let vr = self.reactor.link.identity().vr;
        self.routes.ask(&mut self.reactor, vr, towards)?;
        let until = Instant::now() + PATIENCE;
        while self.routes.end.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.turn_within(left).map_err(|_| Errno::ENETDOWN)?;
        }
        self.routes.question = None;
        let rows = std::mem::take(&mut self.routes.rows);
        match self.routes.end.take() {
            Some(Ok(())) => Ok(rows.iter().filter_map(|row| route(row)).collect()),
            Some(Err(why)) => {
                log::warn!("the VR's routes are not shown: {why}");
                Err(Errno::EIO)
            }
            None => Err(Errno::ENETDOWN),
        }
    }
}

/// A row of `show route`: VR, prefix, protocol, distance, metric, next hops, and what else there may be.
fn route(row: &[Value]) -> Option<Route> {
    let [_, Value::Text(prefix), Value::Text(protocol), _, Value::Number(metric), Value::List(hops), ..] = row else {
        return None;
    };
    let hops = hops.iter().filter_map(hop).filter(|hop| hop.interface != vr_api::interface::NULL);
    Some(Route {
        prefix: prefix.parse().ok()?,
        protocol: protocol.clone(),
        metric: u32::try_from(*metric).unwrap_or(u32::MAX),
        hops: hops.collect(),
    })
}

fn hop(value: &Value) -> Option<Hop> {
    let Value::Object(fields) = value else { return None };
    let text = |wanted: &str| {
        fields.iter().find_map(|(key, value)| match value {
            Value::Text(text) if key == wanted => Some(text.as_str()),
            _ => None,
        })
    };
    Some(Hop {
        gateway: text("address").and_then(|address| address.parse().ok()),
        interface: text("interface")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_rib_is_a_route_and_what_leads_to_null_has_no_hops() {
        let row = |interface: &str| {
            let hop = vec![("address".to_owned(), Value::Null), ("interface".to_owned(), interface.into())];
            let texts = ["red", "198.51.100.0/24", "static"].map(Value::from);
            [texts.as_slice(), &[1u32.into(), 7u32.into(), Value::List(vec![Value::Object(hop)])]].concat()
        };
        let hops = |row: &[Value]| route(row).map(|route| (route.metric, route.hops.len()));
        assert_eq!((hops(&row("blue")), hops(&row("Null0"))), (Some((7, 1)), Some((7, 0))));
        assert_eq!(hops(&row("blue")[..4]), None);
    }
}
