//! Ctrl-C while a command runs: it ends the command, not the shell.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use ipc::channel::Channel;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const CTRL_C: Token = Token(0);
const CHANNEL: Token = Token(1);

/// SIGINT as something that can be awaited. It is blocked from here on, also while nobody looks.
pub struct Interrupts {
    signals: SignalFd,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Ctrl-C.
    Interrupted,
    /// The channel has something to say.
    Ready,
    /// The time is over.
    TimedOut,
}

impl Interrupts {
    /// Takes SIGINT from this thread, which is to be the only one.
    pub fn take() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals })
    }

    /// Whether Ctrl-C was typed since the last look.
    pub fn look(&self) -> io::Result<bool> {
        let mut seen = false;
        while self.signals.read_signal()?.is_some() {
            seen = true;
        }
        Ok(seen)
    }
}

/// Waits for a channel, for Ctrl-C, or for a time, whichever is first.
pub struct Waiter<'i> {
    poll: Poll,
    events: Events,
    interrupts: Option<&'i Interrupts>,
}

impl<'i> Waiter<'i> {
    /// A waiter for a channel. Without `interrupts`, Ctrl-C does what it does everywhere: it ends the process.
    pub fn new(channel: &mut Channel, interrupts: Option<&'i Interrupts>) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(channel, CHANNEL, Interest::READABLE)?;
        if let Some(interrupts) = interrupts {
            let descriptor = interrupts.signals.as_raw_fd();
            poll.registry().register(&mut SourceFd(&descriptor), CTRL_C, Interest::READABLE)?;
        }
        Ok(Self { poll, events: Events::with_capacity(2), interrupts })
    }

    /// Waits until `until`.
    pub fn wait(&mut self, until: Instant) -> io::Result<Woken> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut self.events, Some(left)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            if self.interrupts.map_or(Ok(false), Interrupts::look)? {
                // Behind the `^C` that the terminal shows.
                eprintln!();
                return Ok(Woken::Interrupted);
            }
            if self.events.iter().any(|event| event.token() == CHANNEL) {
                return Ok(Woken::Ready);
            }
            if left.is_zero() {
                return Ok(Woken::TimedOut);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::pthread::{pthread_kill, pthread_self};

    use super::*;

    #[test]
    fn a_wait_ends_with_ctrl_c_with_news_or_with_its_time() {
        let (mut own, mut peer) = Channel::pair().unwrap();
        let interrupts = Interrupts::take().unwrap();
        let mut waiter = Waiter::new(&mut own, Some(&interrupts)).unwrap();
        assert_eq!(waiter.wait(Instant::now()).unwrap(), Woken::TimedOut);
        let patience = || Instant::now() + Duration::from_secs(30);
        // To this thread alone: the others of the test do not block it.
        pthread_kill(pthread_self(), Signal::SIGINT).unwrap();
        assert_eq!(waiter.wait(patience()).unwrap(), Woken::Interrupted);
        assert!(!interrupts.look().unwrap(), "it was taken");
        assert!(own.arm_read().unwrap());
        assert!(peer.write_record(b"news").unwrap());
        peer.notify().unwrap();
        assert_eq!(waiter.wait(patience()).unwrap(), Woken::Ready);
    }
}
