//! How a connection ends, and what its user is told of that: each reason once, as the kernel's sockets tell it.

use ipc::error::ChannelError;
use serde::{Deserialize, Serialize};
use stack_api::socket::{Addresses, SocketError};

use super::{Gate, Path, Received, Stream};

/// Why a connection is over, and whether its user knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failure {
    /// As errno does, the first call that fails says why.
    Untold(SocketError),
    Told,
}

impl Stream {
    /// What is told where nothing more comes. As on Linux: behind an end of file there is nothing, whatever became of the
    /// other direction; an error is told once, and is an end of file from then on.
    pub(super) fn end_of_receiving(&mut self) -> Result<Received, SocketError> {
        match self.failure {
            Some(Failure::Untold(error)) if !self.peer_ended() && !self.read_shut => {
                (self.failure, self.told) = (Some(Failure::Told), Some(error));
                Err(error)
            }
            Some(Failure::Untold(_) | Failure::Told) | None => Ok(Received::EndOfFile),
        }
    }

    /// The connection is over for a reason of this side.
    pub(crate) fn fail(&mut self, error: SocketError) {
        self.failure = Some(Failure::Untold(error));
        self.channel.reset(SocketError::ConnectionReset.code());
    }

    /// Why the connection is over, if it is and nobody was told.
    pub fn take_error(&mut self) -> Option<SocketError> {
        self.notice_end();
        match self.failure {
            Some(Failure::Untold(error)) => {
                self.failure = Some(Failure::Told);
                Some(error)
            }
            Some(Failure::Told) | None => None,
        }
    }

    /// Whether the peer sends no more: it said so, or its kernel would have said so for it.
    pub(super) fn peer_ended(&self) -> bool {
        self.gate == Gate::Open && (self.channel.rx.peer_closed() || self.peer_died)
    }

    /// Takes note if the connection is over for a reason that lies in the channel.
    pub(super) fn notice_end(&mut self) {
        if self.failure.is_some() || self.gate == Gate::Closed {
            return;
        }
        // In this order: who resets and then dies has reset.
        let gone = self.channel.peer_closed();
        let reset = self.channel.rx.reset_by_peer().or(self.channel.tx.reset_by_peer());
        let error = match (reset, &self.path) {
            (Some(code), _) => SocketError::from_code(code),
            (None, Path::Stack) if gone && !self.channel.rx.peer_closed() => SocketError::NetworkDown,
            (None, Path::InterVr(_)) if gone && self.has_unsent() => SocketError::ConnectionReset,
            (None, Path::InterVr(_)) => {
                self.peer_died |= gone;
                return;
            }
            (None, Path::Stack) => return,
        };
        self.failure = Some(Failure::Untold(error));
    }

    /// Tells why the connection is over, once; from then on that it is.
    #[inline]
    pub(super) fn tell_failure(&mut self) -> Result<(), SocketError> {
        match self.failure {
            None => Ok(()),
            Some(Failure::Untold(error)) => {
                (self.failure, self.told) = (Some(Failure::Told), Some(error));
                Err(error)
            }
            Some(Failure::Told) => Err(SocketError::BrokenPipe),
        }
    }

    /// For a caller that was just told why the connection is over, and cannot say so: a part of what it was to send or
    /// receive went before. The next call is told again, as on Linux.
    pub fn tell_again(&mut self) {
        if let Some(error) = self.told.take() {
            self.failure = Some(Failure::Untold(error));
        }
    }

    /// The channel ended before all of `wanted` bytes were sent. What goes to a peer that has closed, or died, is lost on
    /// the way. Else the part that went is said, and the next call says the error.
    #[cold]
    pub(super) fn failed_sending(
        &mut self,
        error: &ChannelError,
        sent: usize,
        wanted: usize,
    ) -> Result<usize, SocketError> {
        self.notice_end();
        match error {
            ChannelError::PeerGone | ChannelError::PeerClosedReading if self.failure.is_none() => {
                self.failure = Some(Failure::Untold(SocketError::BrokenPipe));
                return Ok(wanted);
            }
            // Another process that has the connection too has shut it for both.
            ChannelError::Closed if self.failure.is_none() => {
                self.write_shut = true;
                return if sent > 0 { Ok(sent) } else { Err(SocketError::BrokenPipe) };
            }
            ChannelError::PeerGone | ChannelError::PeerClosedReading | ChannelError::Closed => {
                self.failure.get_or_insert(Failure::Untold(SocketError::BrokenPipe));
            }
            other => self.break_off(other),
        }
        if sent > 0 { Ok(sent) } else { self.tell_failure().map(|()| sent) }
    }

    /// A channel that lies or fails is broken off.
    pub(super) fn break_off(&mut self, error: &ChannelError) {
        if self.failure.is_some() {
            return;
        }
        let Addresses { source, destination } = self.addresses;
        log::warn!("connection {source} to {destination} broken off: {error}");
        self.channel.reset(SocketError::ConnectionReset.code());
        self.failure = Some(Failure::Untold(SocketError::ConnectionReset));
    }
}
