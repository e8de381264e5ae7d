//! What an end of a channel consists of before it is mapped: descriptors, which are passed to whoever is to hold it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Side;
use crate::doorbell::make_bell;
use crate::error::ChannelError;
use crate::memory;
use crate::ring::CHANNEL_BYTES;

/// The descriptors of one end, as they are passed to its holder.
#[derive(Debug)]
pub struct ChannelParts {
    /// The sealed memfd.
    pub memory: OwnedFd,
    /// The own bell, to listen on.
    pub bell_in: OwnedFd,
    /// The peer's bell, to ring.
    pub bell_out: OwnedFd,
    /// Which end.
    pub side: Side,
}

impl ChannelParts {
    /// Makes a channel's descriptors: the opener's end and the listener's.
    pub fn pair() -> Result<(Self, Self), ChannelError> {
        Self::pair_named("isthmus-channel")
    }

    /// The same, with a name that `/proc/PID/maps` of both holders shows: the pathname that was opened.
    pub fn pair_named(name: &str) -> Result<(Self, Self), ChannelError> {
        let kernel = |what| move |error| ChannelError::Kernel { what, error };
        let memory = memory::create_sealed_named(name, CHANNEL_BYTES)?;
        let copy = memory.try_clone().map_err(kernel("duplicate a memfd"))?;
        let (opener_in, listener_out) = make_bell().map_err(kernel("make a doorbell"))?;
        let (listener_in, opener_out) = make_bell().map_err(kernel("make a doorbell"))?;
        Ok((
            Self { memory, bell_in: opener_in, bell_out: opener_out, side: Side::Opener },
            Self { memory: copy, bell_in: listener_in, bell_out: listener_out, side: Side::Listener },
        ))
    }

    /// Descriptors in the order in which they are passed: memory, own bell, peer's bell.
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.memory.as_fd(), self.bell_in.as_fd(), self.bell_out.as_fd()]
    }

    /// An end from descriptors in that order.
    pub fn from_fds(fds: Vec<OwnedFd>, side: Side) -> Result<Self, ChannelError> {
        let fds: Result<[OwnedFd; 3], _> = fds.try_into();
        let [memory, bell_in, bell_out] =
            fds.map_err(|fds: Vec<_>| ChannelError::Descriptors { found: fds.len(), wanted: 3 })?;
        Ok(Self { memory, bell_in, bell_out, side })
    }
}
