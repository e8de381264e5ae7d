//! Why a command failed.

use std::io;

use ipc::error::{LinkError, MessageError};
use ipc::protocol::Refusal;

use super::grammar::Diagnosis;

/// What the operator is told.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The line is no command; where, and what would be one.
    #[error("{0}")]
    Line(Box<Diagnosis>),
    /// A value is not of its type.
    #[error("{0:?} has the wrong type")]
    Value(String),
    /// A virtual router is named that does not exist.
    #[error("there is no virtual router {0}; `show vr` lists them")]
    NoVr(ipc::VrName),
    /// The router, or its procmgr, cannot be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// procmgr refused.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The other side broke off.
    #[error("{service}: {error}")]
    Message {
        /// Who.
        service: String,
        /// How.
        error: MessageError,
    },
    /// The other side does not answer.
    #[error("{service} does not answer; `show processes` says how it is")]
    Silent {
        /// Who.
        service: String,
    },
    /// The process answered with an error.
    #[error("{0}")]
    Answer(String),
    /// Several failed, each said so; the rest was printed.
    #[error("{0}")]
    Partial(String),
    /// A ping without an answer.
    #[error("no reply from {0}")]
    NoReply(std::net::IpAddr),
    /// The terminal.
    #[error("terminal: {0}")]
    Terminal(#[from] io::Error),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] ipc::NameError),
    /// A document could not be written.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A message could not be encoded.
    #[error("message: {0}")]
    Encode(#[from] postcard::Error),
}
