//! A driver around a driver that loses frames, both ways, in a way that a seed repeats.

use std::os::fd::BorrowedFd;

use super::{Driver, DriverError, LinkState, Offload, PortInfo};
use crate::counters::{DropReason, DropTally};
use crate::packet::{PacketPool, Vector};

/// Which frames get lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossPattern {
    /// Every `n`th in each direction; 0 and 1 lose all.
    EveryNth(u32),
    /// Each with a probability, in thousandths.
    PerMille(u16),
}

/// Loses frames of `D`.
#[derive(Debug)]
pub struct Loss<D> {
    inner: D,
    pattern: LossPattern,
    received: Dice,
    sent: Dice,
}

impl<D: Driver> Loss<D> {
    /// Puts loss around a driver. The same seed loses the same frames.
    pub fn new(inner: D, pattern: LossPattern, seed: u64) -> Self {
        let dice = |state| Dice { state, frames: 0 };
        Loss { inner, pattern, received: dice(seed), sent: dice(!seed) }
    }

    fn count(&mut self, lost: usize) {
        if lost > 0 {
            self.inner.drops().add(DropReason::Impaired, lost as u64);
        }
    }
}

/// Decides for one direction.
#[derive(Debug)]
struct Dice {
    state: u64,
    frames: u32,
}

impl Dice {
    fn loses(&mut self, pattern: LossPattern) -> bool {
        match pattern {
            LossPattern::EveryNth(n) => {
                self.frames += 1;
                let loses = self.frames >= n;
                if loses {
                    self.frames = 0;
                }
                loses
            }
            LossPattern::PerMille(share) => self.next() % 1000 < u64::from(share),
        }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl<D: Driver> Driver for Loss<D> {
    fn port(&self) -> &PortInfo {
        self.inner.port()
    }

    fn offload(&self) -> Offload {
        self.inner.offload()
    }

    fn receive(&mut self, pool: &mut PacketPool, into: &mut Vector) -> Result<usize, DriverError> {
        // 0 would say that nothing more is there: go on where all that came was lost.
        loop {
            let before = into.len();
            if self.inner.receive(pool, into)? == 0 {
                return Ok(0);
            }
            let came = into.len();
            let mut index = 0;
            into.retain(|_| {
                index += 1;
                index <= before || !self.received.loses(self.pattern)
            });
            self.count(came - into.len());
            if into.len() > before {
                return Ok(into.len() - before);
            }
        }
    }

    /// A lost frame was taken like any other.
    fn transmit(&mut self, pool: &mut PacketPool, from: &mut Vector) -> Result<usize, DriverError> {
        let mut taken = 0;
        while let Some(packet) = from.pop_at(0) {
            if self.sent.loses(self.pattern) {
                self.count(1);
                taken += 1;
                pool.recycle(packet);
                continue;
            }
            let mut one = Vector::new();
            one.push(packet);
            let result = self.inner.transmit(pool, &mut one);
            match (result, one.pop()) {
                (Ok(_), None) => taken += 1,
                (result, Some(packet)) => {
                    // It stays the first; when it is tried again the dice decide anew.
                    from.insert(0, packet);
                    return if taken > 0 { Ok(taken) } else { result };
                }
                (Err(error), None) => return Err(error),
            }
        }
        Ok(taken)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.inner.readiness()
    }

    fn transmit_readiness(&self) -> BorrowedFd<'_> {
        self.inner.transmit_readiness()
    }

    fn link(&self) -> LinkState {
        self.inner.link()
    }

    fn drops(&mut self) -> &mut DropTally {
        self.inner.drops()
    }
}
