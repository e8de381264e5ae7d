//! The timers of a connection and their deadlines.

use crate::time::Time;

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// What is in flight was not acknowledged in time (RFC 6298).
    Retransmit,
    /// An acknowledgment waited long enough.
    DelayedAck,
    /// The peer's window is closed: probe it (RFC 9293 section 3.8.6.1).
    Persist,
    /// TIME-WAIT, or an orphan's FIN-WAIT-2, ends.
    TimeWait,
    /// No progress for too long: give up (RFC 9293 section 3.8.3).
    UserTimeout,
    /// The connection has been idle: probe the peer.
    KeepAlive,
}

impl Timer {
    const ALL: [Timer; 6] =
        [Timer::Retransmit, Timer::DelayedAck, Timer::Persist, Timer::TimeWait, Timer::UserTimeout, Timer::KeepAlive];
}

/// One deadline a timer.
#[derive(Debug, Clone, Default)]
pub struct Timers {
    deadlines: [Option<Time>; Timer::ALL.len()],
}

impl Timers {
    /// Sets or moves a deadline.
    pub fn set(&mut self, timer: Timer, at: Time) {
        self.deadlines[timer as usize] = Some(at);
    }

    /// Sets a deadline unless it is set.
    pub fn set_once(&mut self, timer: Timer, at: Time) {
        self.deadlines[timer as usize].get_or_insert(at);
    }

    /// Stops a timer.
    pub fn stop(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    /// Stops all.
    pub fn stop_all(&mut self) {
        *self = Timers::default();
    }

    /// Whether a timer runs.
    pub fn runs(&self, timer: Timer) -> bool {
        self.deadlines[timer as usize].is_some()
    }

    /// The next deadline.
    pub fn next(&self) -> Option<Time> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Takes a timer that is due.
    pub fn expire(&mut self, now: Time) -> Option<Timer> {
        let due = Timer::ALL.into_iter().find(|timer| self.deadlines[*timer as usize].is_some_and(|at| at <= now))?;
        self.stop(due);
        Some(due)
    }
}
