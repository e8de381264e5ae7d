//! What `show route`, `show route unused`, `show route summary` and `show route download` print.

use std::net::IpAddr;

use ipc::InterfaceName;
use ipnet::IpNet;
use sdk::core::Time;
use sdk::rib::{NextHop, Unreached};
use stack_api::fib::FibNextHop;
use vr_api::interface::NULL;
use vr_api::show::{Row, ShowTable, Value};

use crate::instance::Rib;
use crate::table::{Candidate, Entry};

/// The tables.
pub fn tables() -> Vec<ShowTable> {
    vec![
        ShowTable::new(
            "route",
            "Best routes; of a prefix, or the one that an address matches",
            &["vr", "prefix", "protocol", "distance", "metric", "next_hops", "age", "tag"],
        )
        .with_arguments("[PREFIX|ADDRESS]"),
        ShowTable::new(
            "route unused",
            "Routes that are offered and lead nowhere now, and why",
            &["vr", "prefix", "protocol", "distance", "metric", "next_hops", "reason"],
        ),
        ShowTable::new("route summary", "Best routes of each protocol", &["vr", "protocol", "routes"]),
        ShowTable::new(
            "route download",
            "How far the FIB is: prefixes and batches that wait, and how long ago it last changed",
            &["vr", "acknowledged", "prefixes_waiting", "batches_unanswered", "last_change"],
        ),
    ]
}

/// Why a table cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShowError {
    /// Not one of [`tables`].
    #[error("no table `{0}`")]
    NoTable(String),
    /// Not what the table takes.
    #[error("`{0}` is neither a prefix nor an address")]
    Argument(String),
    /// More than the table takes.
    #[error("`{0}` is one word too many")]
    Extra(String),
}

/// A table being shown, in parts, so that a million routes are never held as rows at once. Routes that come and go
/// meanwhile are shown as they are when their turn comes.
#[derive(Debug)]
pub struct Cursor(State);

#[derive(Debug)]
enum State {
    Rows(Vec<Row>),
    /// Best routes from this prefix on.
    Best(Option<IpNet>),
    /// Unused ones.
    Unused(Option<IpNet>),
}

impl Rib {
    /// Begins to show a table. Rows have no column `vr`.
    pub fn show(&self, now: Time, table: &str, arguments: &[String]) -> Result<Cursor, ShowError> {
        let most = usize::from(table == "route");
        if let Some(extra) = arguments.get(most) {
            return Err(ShowError::Extra(extra.clone()));
        }
        let state = match (table, arguments) {
            ("route", []) => State::Best(FIRST.parse().ok()),
            ("route", [argument, ..]) => State::Rows(self.matching(now, argument)?.into_iter().collect()),
            ("route unused", _) => State::Unused(FIRST.parse().ok()),
            ("route summary", _) => State::Rows(self.summary()),
            ("route download", _) => State::Rows(vec![self.download_row(now)]),
            (other, _) => return Err(ShowError::NoTable(other.to_owned())),
        };
        Ok(Cursor(state))
    }

    /// At most `count` more rows; none: the table is done.
    pub fn show_more(&self, now: Time, cursor: &mut Cursor, count: usize) -> Vec<Row> {
        match &mut cursor.0 {
            State::Rows(rows) => rows.drain(..count.min(rows.len())).collect(),
            State::Best(start) => {
                let Some(first) = start.take() else { return Vec::new() };
                let mut rest = self.table().from(first).filter(|(_, entry)| entry.best.is_some());
                let rows =
                    rest.by_ref().take(count).filter_map(|(prefix, entry)| self.row(now, prefix, entry)).collect();
                *start = rest.next().map(|(prefix, _)| prefix);
                rows
            }
            State::Unused(start) => {
                let mut rows = Vec::new();
                // All of a prefix in one part, few as they are.
                while rows.len() < count
                    && let Some(first) = start.take()
                {
                    let mut rest = self.table().from(first);
                    rows.extend(rest.by_ref().take(count).flat_map(|(prefix, entry)| self.unused_rows(prefix, entry)));
                    *start = rest.next().map(|(prefix, _)| prefix);
                }
                rows
            }
        }
    }

    fn unused_rows(&self, prefix: IpNet, entry: &Entry) -> Vec<Row> {
        let row = |(candidate, because): (&Candidate, Unreached)| {
            let set = self.table().hop_sets.get(candidate.hops);
            let hops = set.into_iter().flat_map(|set| set.hops.iter()).map(|hop| match hop {
                NextHop::Address(address) => Value::Object(fields(Some(*address), Value::Null)),
                NextHop::OnInterface(interface, address) => next_hop(Some(*address), interface.as_str()),
                NextHop::Interface(interface) => next_hop(None, interface.as_str()),
                NextHop::Discard => next_hop(None, NULL),
            });
            vec![
                Value::text(prefix),
                self.protocols().name(candidate.source.protocol).into(),
                u32::from(candidate.distance).into(),
                candidate.metric.into(),
                Value::List(hops.collect()),
                Value::text(because),
            ]
        };
        self.routes().unused_at(prefix, entry).map(row).collect()
    }

    fn download_row(&self, now: Time) -> Row {
        let download = self.download();
        let (prefixes, batches) = download.waiting();
        let last = download.last_change().map_or(Value::Null, |at| now.since(at).as_secs_f64().into());
        vec![download.is_acknowledged().into(), prefixes.into(), batches.into(), last]
    }

    fn matching(&self, now: Time, argument: &str) -> Result<Option<Row>, ShowError> {
        if let Ok(address) = argument.parse::<IpAddr>() {
            let mut covering = self.table().covering(address);
            return Ok(covering.find_map(|(prefix, entry)| self.row(now, prefix, entry)));
        }
        let prefix: IpNet = argument.parse().map_err(|_| ShowError::Argument(argument.to_owned()))?;
        Ok(self.table().get(prefix.trunc()).and_then(|entry| self.row(now, prefix.trunc(), entry)))
    }

    fn row(&self, now: Time, prefix: IpNet, entry: &Entry) -> Option<Row> {
        let (candidate, _) = entry.selected()?;
        Some(vec![
            Value::text(prefix),
            self.protocols().name(candidate.source.protocol).into(),
            u32::from(candidate.distance).into(),
            candidate.metric.into(),
            Value::List(self.next_hops(prefix, candidate)),
            now.since(candidate.since).as_secs().into(),
            candidate.tag.into(),
        ])
    }

    /// The next hops as the protocol gave them, those that are reached, with the interface that they are reached by.
    fn next_hops(&self, prefix: IpNet, candidate: &Candidate) -> Vec<Value> {
        let Some(set) = self.table().hop_sets.get(candidate.hops) else { return Vec::new() };
        let shown = set.hops.iter().filter_map(|hop| match hop {
            NextHop::Address(address) => {
                let reached = self.reached_for(*address, prefix)?;
                let interface = match reached.hops.first()? {
                    FibNextHop::Via { interface, .. } => interface.as_str(),
                    FibNextHop::Discard => NULL,
                };
                Some(next_hop(Some(*address), interface))
            }
            NextHop::OnInterface(interface, address) => {
                self.up(interface).then(|| next_hop(Some(*address), interface.as_str()))
            }
            NextHop::Interface(interface) => self.up(interface).then(|| next_hop(None, interface.as_str())),
            NextHop::Discard => Some(next_hop(None, NULL)),
        });
        shown.collect()
    }

    fn up(&self, interface: &InterfaceName) -> bool {
        self.interfaces().is_up(interface)
    }

    fn summary(&self) -> Vec<Row> {
        let mut counts = std::collections::BTreeMap::new();
        for (_, entry) in self.table().iter() {
            if let Some(best) = &entry.best {
                *counts.entry(best.source.protocol).or_insert(0usize) += 1;
            }
        }
        counts
            .into_iter()
            .map(|(protocol, routes)| vec![self.protocols().name(protocol).into(), routes.into()])
            .collect()
    }
}

/// The first prefix of all, in their order.
const FIRST: &str = "0.0.0.0/0";

fn next_hop(address: Option<IpAddr>, interface: &str) -> Value {
    Value::Object(fields(address, interface.into()))
}

fn fields(address: Option<IpAddr>, interface: Value) -> Vec<(String, Value)> {
    vec![("address".to_owned(), address.map_or(Value::Null, Value::text)), ("interface".to_owned(), interface)]
}
