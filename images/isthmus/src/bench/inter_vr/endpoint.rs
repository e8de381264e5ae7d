//! One of the two processes between which is measured: it joins a VR of the benchmark's router and does what it is told.
//!
//! Orders come on standard input, replies go to standard output, a line of JSON each. The end of the input is the end.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ipc::link::Link;
use ipc::{ServiceName, VrName};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};
use sockets::blocking::Process;

use crate::bench::footprint::Footprint;
use crate::bench::machine::pin;

use super::datagram::DatagramEnd;
use super::transport::{Connection, Listener, Subject, Waiting, connect};
use super::workload::{Measurement, Workload};

/// What an endpoint is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// First of all: become a process of a VR.
    Join {
        /// Of the router.
        control_socket: PathBuf,
        /// Which VR.
        vr: String,
    },
    /// Nothing, but answer.
    Nothing,
    /// Run on one CPU only from now on.
    Pin {
        /// Which one.
        cpu: usize,
    },
    /// Listen.
    Listen {
        /// By which way.
        subject: Subject,
        /// Where; port 0 is any.
        address: String,
    },
    /// Open connections and keep them to the end.
    HoldOpened {
        /// By which way.
        subject: Subject,
        /// The other endpoint's.
        address: String,
        /// How many.
        connections: usize,
    },
    /// Accept connections and keep them to the end.
    HoldAccepted {
        /// By which way.
        subject: Subject,
        /// How many.
        connections: usize,
    },
    /// Tell what this process holds.
    Footprint,
    /// Accept a connection and serve it.
    Serve {
        /// By which way.
        subject: Subject,
        /// What is done over it.
        workload: Workload,
    },
    /// Connect and measure.
    Drive {
        /// By which way.
        subject: Subject,
        /// The other endpoint's.
        address: String,
        /// What is done over it.
        workload: Workload,
    },
}

/// What an endpoint answers: one reply an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Order::Join`].
    Joined,
    /// To [`Order::Nothing`], [`Order::Pin`], [`Order::HoldOpened`] and [`Order::HoldAccepted`].
    Done,
    /// To [`Order::Footprint`].
    Footprint(Footprint),
    /// To [`Order::Listen`].
    Listening {
        /// Where to connect to.
        address: String,
    },
    /// To [`Order::Serve`], when the workload is over.
    Served {
        /// Of [`Workload::Datagrams`]: so many came in a second.
        datagrams_per_second: Option<f64>,
        /// What this process used for it.
        cpu_seconds: f64,
    },
    /// To [`Order::Drive`].
    Measured {
        /// What was found.
        measurement: Measurement,
        /// What this process used for it.
        cpu_seconds: f64,
    },
    /// To any.
    Failed {
        /// What was tried, and why it failed.
        error: String,
    },
}

/// Runs an endpoint until its orders end.
pub fn run() -> Result<()> {
    let mut endpoint = None;
    let mut replies = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let order = serde_json::from_str(&line?).context("an order")?;
        let reply = obey(&mut endpoint, order).unwrap_or_else(|error| Reply::Failed { error: format!("{error:#}") });
        let line = serde_json::to_string(&reply)? + "\n";
        match replies.write_all(line.as_bytes()).and_then(|()| replies.flush()) {
            // Who gave the order was interrupted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    Ok(())
}

/// An endpoint that has joined its VR.
struct Endpoint {
    process: Process,
    listeners: BTreeMap<Subject, Listener>,
    /// Beside the listeners.
    datagrams: BTreeMap<Subject, DatagramEnd>,
    held: Vec<Box<dyn Connection>>,
}

fn obey(endpoint: &mut Option<Endpoint>, order: Order) -> Result<Reply> {
    if let Order::Join { control_socket, vr } = &order {
        let link = Link::attach(control_socket, Some(VrName::new(vr)?), ServiceName::new("bench")?)?;
        let (listeners, datagrams) = (BTreeMap::new(), BTreeMap::new());
        *endpoint = Some(Endpoint { process: Process::new(link)?, listeners, datagrams, held: Vec::new() });
        return Ok(Reply::Joined);
    }
    let Some(Endpoint { process, listeners, datagrams, held }) = endpoint else {
        bail!("an order before any VR was joined")
    };
    match order {
        Order::Join { .. } => Ok(Reply::Joined),
        Order::Nothing => Ok(Reply::Done),
        Order::Pin { cpu } => pin(cpu).map(|()| Reply::Done),
        Order::Listen { subject, address } => {
            let (listener, address) = Listener::bind(process, subject, &address)?;
            listeners.insert(subject, listener);
            let end = DatagramEnd::bind(process, subject, &address).with_context(|| format!("datagrams, {subject}"))?;
            datagrams.extend(end.map(|end| (subject, end)));
            Ok(Reply::Listening { address })
        }
        Order::HoldOpened { subject, address, connections } => {
            raise_descriptor_limit(held.len() + connections)?;
            for _ in 0..connections {
                held.push(connect(process, subject, &address, Waiting::Spinning)?);
            }
            Ok(Reply::Done)
        }
        Order::HoldAccepted { subject, connections } => {
            raise_descriptor_limit(held.len() + connections)?;
            let listener = listener(listeners, subject)?;
            for _ in 0..connections {
                held.push(listener.accept(Waiting::Spinning)?);
            }
            Ok(Reply::Done)
        }
        Order::Footprint => Ok(Reply::Footprint(Footprint::own()?)),
        Order::Serve { subject, workload: Workload::Datagrams { message_bytes, .. } } => {
            let end = datagrams.get(&subject).with_context(|| format!("no datagrams of {subject}"))?;
            let before = cpu_seconds()?;
            let datagrams_per_second = Some(end.serve(message_bytes).with_context(|| format!("serve {subject}"))?);
            Ok(Reply::Served { datagrams_per_second, cpu_seconds: cpu_seconds()? - before })
        }
        Order::Drive { subject, address, workload: Workload::Datagrams { message_bytes, duration } } => {
            let failed = || format!("measure {subject}");
            let before = cpu_seconds()?;
            let end = DatagramEnd::connect(process, subject, &address).with_context(failed)?;
            let measurement = Measurement::Sent(end.drive(message_bytes, duration).with_context(failed)?);
            Ok(Reply::Measured { measurement, cpu_seconds: cpu_seconds()? - before })
        }
        Order::Serve { subject, workload } => {
            let listener = listener(listeners, subject)?;
            let before = cpu_seconds()?;
            let accept = || listener.accept(workload.waiting());
            workload.serve(accept).with_context(|| format!("serve {subject}"))?;
            Ok(Reply::Served { datagrams_per_second: None, cpu_seconds: cpu_seconds()? - before })
        }
        Order::Drive { subject, address, workload } => {
            let before = cpu_seconds()?;
            let connect = || connect(process, subject, &address, workload.waiting());
            let measurement = workload.drive(connect).with_context(|| format!("measure {subject}"))?;
            Ok(Reply::Measured { measurement, cpu_seconds: cpu_seconds()? - before })
        }
    }
}

fn listener(listeners: &BTreeMap<Subject, Listener>, subject: Subject) -> Result<&Listener> {
    listeners.get(&subject).with_context(|| format!("nothing listens for {subject}"))
}

/// Descriptors of one connection at most, and of everything else.
const DESCRIPTORS: (usize, usize) = (4, 1024);

/// Makes room for so many connections in this process and those that it starts. For how many there is: a user who may not
/// raise the limit gets as far as it lets them.
pub fn raise_descriptor_limit(connections: usize) -> Result<usize> {
    let (each, others) = DESCRIPTORS;
    let wanted = (connections * each + others) as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted.max(soft), wanted.max(hard)).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let room = (usize::try_from(soft)?.saturating_sub(others) / each).min(connections);
    if room == 0 { bail!("a limit of {soft} descriptors leaves no room for a connection") } else { Ok(room) }
}

/// Processor time that this process has used so far, its own and the kernel's for it.
fn cpu_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}
