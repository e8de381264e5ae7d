//! When bytes pass: while routes lead to the peer and back, and both sides sign and send as the other one expects. And
//! how long is waited where they do not, or where the peer takes none.

use std::time::{Duration, Instant};

use stack_api::options::KeepAlive;

use super::{Path, Stream};
use crate::mark::Mark;

/// Whether bytes pass: an inter-VR interface that is shut stops them as a cut wire does.
///
/// ```
/// use sockets::{Gate, Received};
/// # let (mut router, mut red, mut blue, socket, accepted) = sockets_testing::connected();
///
/// # router.copy_vrfibs(&red, &blue, false);
/// # router.run(&mut [&mut red, &mut blue]);
/// // The interface was shut: what is sent waits.
/// assert_eq!(red.library.gate(socket), Ok(Gate::Closed));
/// assert_eq!(red.library.send(socket, b"hello"), Ok(5));
/// assert_eq!(blue.library.receive(accepted, &mut [0; 16]), Ok(Received::NothingYet));
/// # router.copy_vrfibs(&red, &blue, true);
/// # router.run(&mut [&mut red, &mut blue]);
/// // It is up again, and nothing was lost.
/// assert_eq!(red.library.gate(socket), Ok(Gate::Open));
/// assert_eq!(blue.library.receive(accepted, &mut [0; 16]), Ok(Received::Bytes(5)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// They do.
    Open,
    /// They do not.
    Closed,
}

impl Stream {
    /// Whether bytes pass.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Whether routes lead to the peer and back. The gate is open while they do and both sides' marks suit each other.
    pub(crate) fn set_cut(&mut self, now: Instant, cut: bool) {
        self.cut = cut;
        self.move_gate(now);
    }

    /// Shows the peer what this side signs and sends with from now on.
    pub(crate) fn set_mark(&mut self, mark: Mark) {
        if mark == self.mark {
            return;
        }
        let is_change = self.mark != Mark::default();
        self.mark = mark;
        self.channel.set_mark(mark.word());
        self.peer_mark = self.channel.peer_mark();
        self.move_gate(Instant::now());
        // At the beginning both have what they were opened with, and nobody needs to be woken.
        if is_change && let Err(error) = self.channel.call() {
            log::debug!("tell a peer of another key: {error}");
        }
    }

    /// The peer may have another key, or another TTL.
    #[inline]
    pub(super) fn heed_mark(&mut self) {
        let peer_mark = self.channel.peer_mark();
        if peer_mark != self.peer_mark {
            self.peer_mark = peer_mark;
            self.move_gate(Instant::now());
        }
    }

    #[cold]
    fn move_gate(&mut self, now: Instant) {
        let passes = !self.cut && self.mark.suits(self.peer_mark);
        let gate = if passes { Gate::Open } else { Gate::Closed };
        if gate != self.gate {
            self.set_gate(now, gate);
        }
    }

    fn set_gate(&mut self, now: Instant, gate: Gate) {
        self.gate = gate;
        self.stopped_at = (gate == Gate::Closed).then_some(now);
        self.unsent_since = None;
        self.channel.set_gate(gate == Gate::Closed);
    }

    /// Whether the peer's address counts for the gate: only once the interface has led there. (A peer may be reached
    /// by an address that the manager does not list as a source.)
    pub(crate) fn still_leads(&mut self, leads_there: bool) -> bool {
        self.led_there |= leads_there;
        leads_there || !self.led_there
    }

    /// Whether time runs after what was sent: the library is to know.
    #[inline]
    pub fn keeps_time(&self) -> bool {
        self.gate == Gate::Closed || (self.is_impatient && self.is_full())
    }

    fn is_full(&self) -> bool {
        self.channel.tx.free().is_ok_and(|room| room == 0)
    }

    /// Whether its user set a user timeout, which ends what the peer does not take as well.
    pub(crate) fn set_impatient(&mut self, is_impatient: bool) {
        self.is_impatient = is_impatient;
        self.stuck = None;
    }

    /// When the connection ends behind a closed gate: as on a wire that is cut, what was sent waits for the user timeout,
    /// and an idle connection is probed in vain. Through an open one it ends where the user set a timeout, and the peer
    /// leaves no room for so long: as on Linux, where the peer's window stays closed.
    pub(crate) fn gives_up_at(
        &mut self,
        now: Instant,
        user_timeout: Duration,
        keepalive: Option<KeepAlive>,
    ) -> Option<Instant> {
        let Some(stopped_at) = self.stopped_at else {
            return self.stuck_since(now).map(|since| since + user_timeout);
        };
        if self.has_unsent() {
            return Some(*self.unsent_since.get_or_insert(now) + user_timeout);
        }
        self.unsent_since = None;
        keepalive.map(|probing| stopped_at + probing.gives_up_after())
    }

    /// Since when, as far as anybody looked, the peer has taken nothing and there is no room.
    fn stuck_since(&mut self, now: Instant) -> Option<Instant> {
        // Through the stack TCP knows the peer's window, and keeps the time.
        if !self.is_impatient || self.path == Path::Stack || !self.is_full() {
            self.stuck = None;
            return None;
        }
        let taken = self.bytes_sent.saturating_sub(self.unsent() as u64);
        let since = match self.stuck {
            Some((since, before)) if before == taken => since,
            Some(_) | None => now,
        };
        self.stuck = Some((since, taken));
        Some(since)
    }
}
