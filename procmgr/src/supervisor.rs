//! The life of one supervised process, without input or output: events and the time in, one action out.
//!
//! ```text
//!            needs met             said ready
//!   Waiting ───────────▶ Starting ────────────▶ Ready
//!      ▲  ▲                │  ▲                   │
//!      │  │          ended │  │ pause over        │ ended
//!      │  │                ▼  │                   ▼
//!      │  │               Backoff ◀───────────────┘
//!      │  │ start again
//!      │  └───────────── Stopping ◀── stop, in Starting and Ready
//!      │ start              │ ended
//!      └───── Stopped ◀─────┘ (and on stop, in Waiting and Backoff)
//! ```

use std::time::{Duration, Instant};

use ipc::protocol::ProcessState;

use crate::class::ClassSpec;

/// Where a process stands. A time says when [`Event::TimedOut`] is due; `None`: it was killed and must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// For what it needs.
    Waiting,
    /// Runs, is not ready.
    Starting { until: Option<Instant> },
    /// Works.
    Ready,
    /// Ended, and starts again.
    Backoff { until: Instant },
    /// Was told to stop. `again`: to be started once more as soon as it ended.
    Stopping { until: Option<Instant>, again: bool },
    /// Does not run and is not to run.
    Stopped,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// All that it needs is ready.
    NeedsMet,
    /// It said that it is ready.
    SaidReady,
    /// It ended, or could not be started.
    Ended,
    /// It shall not run any longer.
    Stop,
    /// It shall run again.
    Start,
    /// [`Supervisor::deadline`] has passed.
    TimedOut,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    Nothing,
    /// Look whether its needs are met.
    CheckNeeds,
    /// Start it.
    Spawn,
    /// Ask it to stop in order.
    AskToStop,
    /// End it at once: it took too long.
    Kill,
}

/// The machine.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    state: State,
    since: Instant,
    failures: u32,
    restarts: u32,
    first_delay: Duration,
    longest_delay: Duration,
    forgiven_after: Duration,
    start_timeout: Duration,
    stop_timeout: Duration,
}

impl Supervisor {
    /// Of a process that has not run yet.
    pub(crate) fn new(class: &ClassSpec, now: Instant) -> Self {
        Self {
            state: State::Waiting,
            since: now,
            failures: 0,
            restarts: 0,
            first_delay: class.restart.first_delay,
            longest_delay: class.restart.longest_delay,
            forgiven_after: class.restart.forgiven_after,
            start_timeout: class.start_timeout,
            stop_timeout: class.stop_timeout,
        }
    }

    /// Takes one step.
    pub(crate) fn handle(&mut self, now: Instant, event: Event) -> Action {
        if event == Event::Ended {
            self.count_failure(now);
        }
        let (state, action) = self.next(now, event);
        if std::mem::discriminant(&state) != std::mem::discriminant(&self.state) {
            self.since = now;
        }
        if let (State::Backoff { .. }, State::Starting { .. }) = (self.state, state) {
            self.restarts = self.restarts.saturating_add(1);
        }
        self.state = state;
        action
    }

    fn next(&self, now: Instant, event: Event) -> (State, Action) {
        let starting = State::Starting { until: Some(now + self.start_timeout) };
        let stopping = State::Stopping { until: Some(now + self.stop_timeout), again: false };
        let backoff = State::Backoff { until: now + self.delay() };
        match (self.state, event) {
            (State::Waiting, Event::NeedsMet) => (starting, Action::Spawn),
            (State::Waiting, Event::Stop) => (State::Stopped, Action::Nothing),

            (State::Starting { .. }, Event::SaidReady) => (State::Ready, Action::Nothing),
            (State::Starting { .. }, Event::Ended) => (backoff, Action::Nothing),
            (State::Starting { .. }, Event::Stop) => (stopping, Action::AskToStop),
            (State::Starting { .. }, Event::TimedOut) => (State::Starting { until: None }, Action::Kill),

            (State::Ready, Event::Ended) => (backoff, Action::Nothing),
            (State::Ready, Event::Stop) => (stopping, Action::AskToStop),

            (State::Backoff { .. }, Event::TimedOut) => (starting, Action::Spawn),
            (State::Backoff { .. }, Event::Stop) => (State::Stopped, Action::Nothing),

            (State::Stopping { again: true, .. }, Event::Ended) => (State::Waiting, Action::CheckNeeds),
            (State::Stopping { again: false, .. }, Event::Ended) => (State::Stopped, Action::Nothing),
            (State::Stopping { until, .. }, Event::Start) => (State::Stopping { until, again: true }, Action::Nothing),
            (State::Stopping { until, .. }, Event::Stop) => (State::Stopping { until, again: false }, Action::Nothing),
            (State::Stopping { again, .. }, Event::TimedOut) => (State::Stopping { until: None, again }, Action::Kill),

            (State::Stopped, Event::Start) => (State::Waiting, Action::CheckNeeds),

            (State::Waiting, Event::SaidReady | Event::Ended | Event::Start | Event::TimedOut)
            | (State::Starting { .. }, Event::NeedsMet | Event::Start)
            | (State::Ready, Event::NeedsMet | Event::SaidReady | Event::Start | Event::TimedOut)
            | (State::Backoff { .. }, Event::NeedsMet | Event::SaidReady | Event::Ended | Event::Start)
            | (State::Stopping { .. }, Event::NeedsMet | Event::SaidReady)
            | (State::Stopped, Event::NeedsMet | Event::SaidReady | Event::Ended | Event::Stop | Event::TimedOut) => {
                (self.state, Action::Nothing)
            }
        }
    }

    fn count_failure(&mut self, now: Instant) {
        let forgiven = self.state == State::Ready && now.duration_since(self.since) >= self.forgiven_after;
        self.failures = if forgiven { 1 } else { self.failures.saturating_add(1) };
    }

    /// Pause before the next start: doubled with each failure.
    fn delay(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(20);
        self.first_delay.saturating_mul(1 << doublings).min(self.longest_delay)
    }

    /// When [`Event::TimedOut`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting | State::Ready | State::Stopped => None,
            State::Starting { until } | State::Stopping { until, .. } => until,
            State::Backoff { until } => Some(until),
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// As `show processes` calls it: who waits for what it needs is starting.
    pub(crate) fn shown_state(&self) -> ProcessState {
        match self.state {
            State::Waiting | State::Starting { .. } => ProcessState::Starting,
            State::Ready | State::Stopping { .. } => ProcessState::Ready,
            State::Backoff { .. } => ProcessState::Backoff,
            State::Stopped => ProcessState::Stopped,
        }
    }

    /// When it came into this state.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// How often it was started again.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How often it ended since it last worked for a while.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests;
