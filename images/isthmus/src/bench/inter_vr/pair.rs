//! The two processes between which is measured, as their starter sees them.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::ENDPOINT;
use super::child::Endpoint;
use super::endpoint::{Order, Reply};
use super::router::Router;
use super::system_calls::Counter;
use super::transport::{BACKLOG, Subject};
use super::workload::{Measurement, Workload};
use crate::bench::footprint::Footprint;

/// One that connects and measures, in VR a, and one that listens, in VR b. Both end when dropped.
pub struct Pair {
    drives: Endpoint,
    serves: Endpoint,
}

impl Pair {
    /// Starts both and lets them join their VRs.
    pub fn join(router: &Router) -> Result<Self> {
        let join = |vr: &'static str| -> Result<Endpoint> {
            let mut command = Command::new("/proc/self/exe");
            command.arg0(format!("isthmus: bench {vr}")).args(["bench", ENDPOINT]);
            let mut endpoint = Endpoint::start(vr, command)?;
            endpoint.order(&Order::Join { control_socket: router.control_socket(), vr: vr.to_owned() })?;
            endpoint.reply()?;
            Ok(endpoint)
        };
        Ok(Self { drives: join("a")?, serves: join("b")? })
    }

    /// Keeps each on one CPU.
    pub fn pin(&mut self, (near, far): (usize, usize)) -> Result<()> {
        self.both(Order::Pin { cpu: near }, Order::Pin { cpu: far })?;
        Ok(())
    }

    /// Lets one listen; returns where the other one connects to.
    pub fn listen(&mut self, subject: Subject, address: String) -> Result<String> {
        self.serves.order(&Order::Listen { subject, address })?;
        match self.serves.reply()? {
            Reply::Listening { address } => Ok(address),
            other => bail!("an endpoint was told to listen and said {other:?}"),
        }
    }

    /// Opens connections that stand until both end; no more at once than any listener's backlog holds.
    pub fn hold(&mut self, subject: Subject, address: &str, connections: usize) -> Result<()> {
        let mut left = connections;
        while left > 0 {
            let connections = left.min(usize::from(BACKLOG));
            let open = Order::HoldOpened { subject, address: address.to_owned(), connections };
            self.both(open, Order::HoldAccepted { subject, connections })?;
            left -= connections;
        }
        Ok(())
    }

    /// What each of the two holds.
    pub fn footprints(&mut self) -> Result<[Footprint; 2]> {
        match self.both(Order::Footprint, Order::Footprint)? {
            (Reply::Footprint(drives), Reply::Footprint(serves)) => Ok([drives, serves]),
            other => bail!("two endpoints were asked what they hold and said {other:?}"),
        }
    }

    /// One workload over connections of its own: what was found, and the processor seconds of both.
    pub fn run(&mut self, subject: Subject, address: &str, workload: Workload) -> Result<(Measurement, f64)> {
        let drive = Order::Drive { subject, address: address.to_owned(), workload };
        let replies = self.both(drive, Order::Serve { subject, workload });
        match replies.with_context(|| format!("{subject}, {workload:?}"))? {
            (
                Reply::Measured { measurement, cpu_seconds },
                Reply::Served { datagrams_per_second, cpu_seconds: theirs },
            ) => {
                let measurement = datagrams_per_second.map_or(measurement, Measurement::Datagrams);
                Ok((measurement, cpu_seconds + theirs))
            }
            other => bail!("two endpoints were told to measure and said {other:?}"),
        }
    }

    /// As [`run`](Self::run): what was found, and the system calls of both.
    pub fn run_counted(&mut self, subject: Subject, address: &str, workload: Workload) -> Result<(Measurement, u64)> {
        let counters = [Counter::start(self.drives.pid()?)?, Counter::start(self.serves.pid()?)?];
        let ran = self.run(subject, address, workload);
        counters.iter().for_each(Counter::stop);
        // To make them move once more.
        self.both(Order::Nothing, Order::Nothing)?;
        let counts: Result<Vec<u64>> = counters.into_iter().map(Counter::count).collect();
        Ok((ran?.0, counts?.iter().sum()))
    }

    /// Orders to the driving and to the serving side, and what they reply.
    fn both(&mut self, drives: Order, serves: Order) -> Result<(Reply, Reply)> {
        self.serves.order(&serves)?;
        self.drives.order(&drives)?;
        Ok((self.drives.reply()?, self.serves.reply()?))
    }
}
