//! `ping` and `traceroute`: probes of the stack, one at a time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipc::Pathname;
use ipc::message::Schema;
use serde_json::json;
use stack_api::probe::{self, Outcome, Probe, ProbeResult};

use super::command::Target;
use super::interrupt::{Interrupts, Waiter, Woken};
use super::render::{print_document, print_text};
use super::session::{Conversation, Session};
use super::{ShellError, ShellOptions};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// A probe a second, as `ping` does it; the answer of the last is awaited and no more.
const INTERVAL: Duration = Duration::from_secs(1);
const MAX_HOPS: u8 = 30;
/// TTL of a ping, as RFC 1700 recommends for what an IP host sends.
const TTL: u8 = 64;

/// Sends echo requests and says what came back. Ctrl-C ends it; what was sent until then is summed up.
pub fn ping(session: &mut Session, options: &ShellOptions, target: &Target) -> Result<(), ShellError> {
    let mut conversation = open(session)?;
    let interrupts = session.interrupts();
    let mut prober = Prober::new(&mut conversation, target, interrupts.as_deref())?;
    let mut round_trips = Vec::new();
    let mut documents = Vec::new();
    let mut sent = 0;
    for number in 1..=target.count {
        let begun = Instant::now();
        sent = u64::from(number);
        let Some(result) = prober.exchange(number, TTL)? else { break };
        match options.json {
            true => documents.push(document(&result)),
            false => print_text(&line(&result))?,
        }
        if let Outcome::Reply { .. } = result.outcome {
            round_trips.push(result.round_trip_ns);
        }
        if number < target.count && prober.rest_until(begun + INTERVAL)? == Woken::Interrupted {
            break;
        }
    }
    let received = round_trips.len() as u64;
    match options.json {
        true => print_document(&json!({
            "vr": target.vr.as_str(), "to": target.to, "sent": sent, "received": received, "probes": documents,
        }))?,
        false => print_text(&summary(sent, &round_trips))?,
    }
    if round_trips.is_empty() { Err(ShellError::NoReply(target.to)) } else { Ok(()) }
}

/// Sends echo requests with growing TTL until the destination answers. Ctrl-C ends it.
pub fn traceroute(session: &mut Session, options: &ShellOptions, target: &Target) -> Result<(), ShellError> {
    let mut conversation = open(session)?;
    let interrupts = session.interrupts();
    let mut prober = Prober::new(&mut conversation, target, interrupts.as_deref())?;
    let mut documents = Vec::new();
    let mut arrived = false;
    for ttl in 1..=MAX_HOPS {
        let Some(result) = prober.exchange(u32::from(ttl), ttl)? else { break };
        match options.json {
            true => documents.push(document_of_hop(ttl, &result)),
            false => print_text(&format!("{ttl:>2}  {}", hop(&result)))?,
        }
        arrived = matches!(result.outcome, Outcome::Reply { .. });
        if !matches!(result.outcome, Outcome::TimeExceeded { .. } | Outcome::TimedOut) {
            break;
        }
    }
    if options.json {
        print_document(&json!({ "vr": target.vr.as_str(), "to": target.to, "hops": documents }))?;
    }
    if arrived { Ok(()) } else { Err(ShellError::NoReply(target.to)) }
}

type Probes = Conversation<Probe, ProbeResult>;

fn open(session: &mut Session) -> Result<Probes, ShellError> {
    let terms = postcard::to_stdvec(&stack_api::Terms::Probe)?;
    session.open(&Pathname::router("stack")?, &terms, Schema::new(probe::SCHEMA))
}

/// Sends probes to one target, one at a time.
struct Prober<'p> {
    probes: &'p mut Probes,
    target: &'p Target,
    waiter: Waiter<'p>,
}

impl<'p> Prober<'p> {
    fn new(probes: &'p mut Probes, target: &'p Target, interrupts: Option<&'p Interrupts>) -> Result<Self, ShellError> {
        let waiter = Waiter::new(probes.channel_mut(), interrupts)?;
        Ok(Self { probes, target, waiter })
    }

    /// Sends a probe and waits for what becomes of it; `None`: Ctrl-C.
    fn exchange(&mut self, number: u32, ttl: u8) -> Result<Option<ProbeResult>, ShellError> {
        let Target { vr, to, from, interface, size, .. } = self.target.clone();
        let timeout_ms = u32::try_from(PROBE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        self.probes.say(&Probe { number, vr, to, from, interface, ttl, size, timeout_ms })?;
        // The stack says so itself when the time is over.
        let until = Instant::now() + PROBE_TIMEOUT + Duration::from_secs(1);
        loop {
            match self.probes.hear_now()? {
                Some(ProbeResult { outcome: Outcome::NotSent(reason), .. }) => return Err(ShellError::Answer(reason)),
                Some(result) => return Ok(Some(result)),
                None => {}
            }
            match self.waiter.wait(until)? {
                Woken::Ready => {}
                Woken::Interrupted => return Ok(None),
                Woken::TimedOut => return Err(self.probes.silent()),
            }
        }
    }

    /// Waits for a time: nothing is expected until then. A stack that ends meanwhile is noticed with the next probe.
    fn rest_until(&mut self, at: Instant) -> Result<Woken, ShellError> {
        loop {
            match self.waiter.wait(at)? {
                Woken::Ready => {}
                woken => return Ok(woken),
            }
        }
    }
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn line(result: &ProbeResult) -> String {
    let (number, time) = (result.number, milliseconds(result.round_trip_ns));
    match &result.outcome {
        Outcome::Reply { from, ttl } => format!("reply from {from}: seq={number} ttl={ttl} time={time:.3} ms"),
        Outcome::TimeExceeded { from } => format!("from {from}: seq={number} time to live exceeded"),
        Outcome::Unreachable { from, code } => format!("from {from}: seq={number} {}", unreachable(*code)),
        Outcome::TimedOut => format!("no answer: seq={number}"),
        Outcome::NotSent(reason) => format!("not sent: {reason}"),
    }
}

fn hop(result: &ProbeResult) -> String {
    let time = milliseconds(result.round_trip_ns);
    match &result.outcome {
        Outcome::Reply { from, .. } | Outcome::TimeExceeded { from } => format!("{from}  {time:.3} ms"),
        Outcome::Unreachable { from, code } => format!("{from}  {time:.3} ms  {}", unreachable(*code)),
        Outcome::TimedOut => "*".to_owned(),
        Outcome::NotSent(reason) => reason.clone(),
    }
}

/// RFC 792 and RFC 1812 section 5.2.7.1.
fn unreachable(code: u8) -> String {
    match code {
        0 => "network unreachable".to_owned(),
        1 => "host unreachable".to_owned(),
        2 => "protocol unreachable".to_owned(),
        3 => "port unreachable".to_owned(),
        4 => "too big for the next link".to_owned(),
        13 => "communication administratively prohibited".to_owned(),
        code => format!("unreachable, code {code}"),
    }
}

fn document(result: &ProbeResult) -> serde_json::Value {
    let (outcome, from): (&str, Option<IpAddr>) = match &result.outcome {
        Outcome::Reply { from, .. } => ("reply", Some(*from)),
        Outcome::TimeExceeded { from } => ("time_exceeded", Some(*from)),
        Outcome::Unreachable { from, .. } => ("unreachable", Some(*from)),
        Outcome::TimedOut => ("timed_out", None),
        Outcome::NotSent(_) => ("not_sent", None),
    };
    let seconds = from.map(|_| result.round_trip_ns as f64 / 1e9);
    json!({ "seq": result.number, "outcome": outcome, "from": from, "round_trip": seconds })
}

/// A hop of a route: its number is its TTL.
fn document_of_hop(ttl: u8, result: &ProbeResult) -> serde_json::Value {
    let mut hop = document(result);
    if let Some(fields) = hop.as_object_mut() {
        fields.remove("seq");
        fields.insert("hop".to_owned(), ttl.into());
    }
    hop
}

fn summary(sent: u64, round_trips: &[u64]) -> String {
    let received = round_trips.len() as u64;
    let lost = sent.saturating_sub(received);
    let mut text = format!("{sent} sent, {received} received, {}% lost", lost * 100 / sent.max(1));
    let times = || round_trips.iter().map(|ns| milliseconds(*ns));
    if received > 0 {
        let average = times().sum::<f64>() / received as f64;
        let (min, max) = times().fold((f64::MAX, 0.0_f64), |(min, max), t| (min.min(t), max.max(t)));
        text += &format!("; round trip min/avg/max {min:.3}/{average:.3}/{max:.3} ms");
    }
    text
}
