//! The process `stack`: the socket server, the control side and the line cards, joined to their channels.

mod ports;
mod process;
mod show;

use std::io;

use ipc::link::{Link, LinkEvent};
use ipc::reactor::{Event, Reactor};

pub use show::tables;
use vr_api::config::{Node, Objection};

use crate::control::config::{self, StackConfigError};
use crate::fib::FibError;
use crate::linecard::LineCardError;
use crate::media::DriverError;

/// Why the process ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The link to procmgr failed.
    #[error(transparent)]
    Link(#[from] ipc::error::LinkError),
    /// The event loop failed.
    #[error(transparent)]
    Reactor(#[from] ipc::reactor::ReactorError),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] ipc::NameError),
    /// A message that cannot be encoded.
    #[error("message: {0}")]
    Encode(#[from] postcard::Error),
    /// The FIB refused what the control side itself wrote.
    #[error(transparent)]
    Fib(#[from] FibError),
    /// A line card's events cannot be awaited.
    #[error("line card {name}: {error}")]
    Wait {
        /// The line card.
        name: String,
        /// Why.
        error: io::Error,
    },
}

/// Why a configuration cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum RefusedConfig {
    /// Its lines.
    #[error(transparent)]
    Lines(#[from] StackConfigError),
    /// A port's medium cannot be opened.
    #[error("port {port}: {error}")]
    Driver {
        /// The port.
        port: String,
        /// Why.
        error: DriverError,
    },
    /// A line card cannot be started.
    #[error(transparent)]
    LineCard(#[from] LineCardError),
}

impl RefusedConfig {
    /// What the operator is told, and about which of the lines.
    fn objection(&self, blocks: &[Node]) -> Objection {
        match self {
            RefusedConfig::Lines(error) => error.objection(),
            RefusedConfig::Driver { port, .. } => {
                let line = config::driver_line(blocks, port);
                Objection { reason: self.to_string(), statement: line.map(|line| line.statement) }
            }
            RefusedConfig::LineCard(_) => Objection { reason: self.to_string(), statement: None },
        }
    }
}

/// Runs the stack until procmgr stops it.
pub fn run(link: Link) -> Result<(), RunError> {
    let mut reactor = Reactor::new(link)?;
    let mut process = process::Process::new(&mut reactor)?;
    loop {
        reactor.wait(process.timeout())?;
        while let Some(event) = reactor.next_event()? {
            if matches!(event, Event::Link(LinkEvent::Stop)) {
                return Ok(());
            }
            process.handle(&mut reactor, event)?;
        }
        process.handle_timeout(&mut reactor);
    }
}
