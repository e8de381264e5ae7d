//! One of the two processes between which is measured: it joins a VR of the benchmark's router and does what it is told.
//!
//! Orders come on standard input, replies go to standard output, a line of JSON each. The end of the input is the end.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ipc::link::Link;
use ipc::{ServiceName, VrName};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use sockets::blocking::Process;

use super::transport::{Listener, Subject, connect};
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
        /// The one CPU to run on.
        cpu: Option<usize>,
    },
    /// Listen.
    Listen {
        /// By which way.
        subject: Subject,
        /// Where; port 0 is any.
        address: String,
    },
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
    /// To [`Order::Listen`].
    Listening {
        /// Where to connect to.
        address: String,
    },
    /// To [`Order::Serve`], when the connection is over.
    Served,
    /// To [`Order::Drive`].
    Measured(Measurement),
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
}

fn obey(endpoint: &mut Option<Endpoint>, order: Order) -> Result<Reply> {
    if let Order::Join { control_socket, vr, cpu } = &order {
        if let Some(cpu) = cpu {
            pin(*cpu)?;
        }
        let link = Link::attach(control_socket, Some(VrName::new(vr)?), ServiceName::new("bench")?)?;
        *endpoint = Some(Endpoint { process: Process::new(link)?, listeners: BTreeMap::new() });
        return Ok(Reply::Joined);
    }
    let Some(Endpoint { process, listeners }) = endpoint else { bail!("an order before any VR was joined") };
    match order {
        Order::Join { .. } => Ok(Reply::Joined),
        Order::Listen { subject, address } => {
            let (listener, address) = Listener::bind(process, subject, &address)?;
            listeners.insert(subject, listener);
            Ok(Reply::Listening { address })
        }
        Order::Serve { subject, workload } => {
            let listener = listeners.get(&subject).with_context(|| format!("nothing listens for {subject}"))?;
            workload.serve(&mut *listener.accept()?).with_context(|| format!("serve {subject}"))?;
            Ok(Reply::Served)
        }
        Order::Drive { subject, address, workload } => {
            let mut connection = connect(process, subject, &address)?;
            let measurement = workload.drive(&mut *connection).with_context(|| format!("measure {subject}"))?;
            Ok(Reply::Measured(measurement))
        }
    }
}

/// Keeps the calling thread, and those that it starts, on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("run on CPU {cpu} only"))
}
