//! `ping` and `traceroute`: probes of the stack, one at a time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipc::Pathname;
use ipc::message::Schema;
use serde_json::json;
use stack_api::probe::{self, Outcome, Probe, ProbeResult};

use super::command::Target;
use super::render::{print_document, print_text};
use super::session::{Conversation, Session};
use super::{ShellError, ShellOptions};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// A probe a second, as `ping` does it; the answer of the last is awaited and no more.
const INTERVAL: Duration = Duration::from_secs(1);
const MAX_HOPS: u8 = 30;

/// Sends echo requests and says what came back.
pub fn ping(session: &mut Session, options: &ShellOptions, target: &Target) -> Result<(), ShellError> {
    let mut probes = open(session)?;
    let mut round_trips = Vec::new();
    let mut documents = Vec::new();
    for number in 0..target.count {
        let begun = Instant::now();
        let result = exchange(&mut probes, target, number, 64)?;
        match options.json {
            true => documents.push(document(&result)),
            false => print_text(&line(&result))?,
        }
        if let Outcome::Reply { .. } = result.outcome {
            round_trips.push(result.round_trip_ns);
        }
        if number + 1 < target.count {
            wait_until(begun + INTERVAL);
        }
    }
    let (sent, received) = (u64::from(target.count), round_trips.len() as u64);
    match options.json {
        true => print_document(&json!({
            "vr": target.vr.as_str(), "to": target.to, "sent": sent, "received": received, "probes": documents,
        }))?,
        false => print_text(&summary(sent, &round_trips))?,
    }
    if round_trips.is_empty() { Err(ShellError::NoReply(target.to)) } else { Ok(()) }
}

/// Sends echo requests with growing TTL until the destination answers.
pub fn traceroute(session: &mut Session, options: &ShellOptions, target: &Target) -> Result<(), ShellError> {
    let mut probes = open(session)?;
    let mut documents = Vec::new();
    let mut arrived = false;
    for ttl in 1..=MAX_HOPS {
        let result = exchange(&mut probes, target, u32::from(ttl), ttl)?;
        match options.json {
            true => {
                let mut hop = document(&result);
                hop["hop"] = ttl.into();
                documents.push(hop);
            }
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

fn exchange(probes: &mut Probes, target: &Target, number: u32, ttl: u8) -> Result<ProbeResult, ShellError> {
    let (vr, to, from, size) = (target.vr.clone(), target.to, target.from, target.size);
    let interface = target.interface.clone();
    let timeout_ms = u32::try_from(PROBE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    probes.say(&Probe { number, vr, to, from, interface, ttl, size, timeout_ms })?;
    let result = probes.hear(PROBE_TIMEOUT + Duration::from_secs(1))?;
    match result.outcome {
        Outcome::NotSent(reason) => Err(ShellError::Answer(reason)),
        _ => Ok(result),
    }
}

fn wait_until(at: Instant) {
    // Waiting is the work: a probe a second. There is no event to wait for.
    std::thread::park_timeout(at.saturating_duration_since(Instant::now()));
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn line(result: &ProbeResult) -> String {
    let (number, time) = (result.number + 1, milliseconds(result.round_trip_ns));
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
