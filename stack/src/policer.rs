//! What the control side is protected by: a token bucket for each class of punted packets.
//!
//! Established sessions have a class of their own, so that a flood of anything else cannot starve them. The policer
//! only polices what comes from wires; each worker has one of its own.

use crate::counters::DropReason;
use crate::time::Time;

/// What a punted packet is, as far as its rate is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicerClass {
    /// ARP and neighbor discovery.
    Arp,
    /// A session that both sides agreed on.
    Established,
    /// New to a listener.
    Listener,
    /// For a UDP socket of a process. There are no sessions that would tell friend from stranger, and a protocol may live
    /// on them (BFD, RIP): far more of them pass than newcomers to a listener, and fewer than one core can take in.
    Datagram,
    /// A protocol of the router itself, such as ICMP.
    Protocol,
    /// For us, but nobody listens.
    Unclaimed,
    /// A fragment for us.
    Fragment,
    /// Needs an ICMP error.
    Exception,
    /// Waits for a neighbor's link address.
    Resolve,
}

impl PolicerClass {
    /// All of them.
    pub const ALL: [PolicerClass; 9] = [
        PolicerClass::Arp,
        PolicerClass::Established,
        PolicerClass::Listener,
        PolicerClass::Datagram,
        PolicerClass::Protocol,
        PolicerClass::Unclaimed,
        PolicerClass::Fragment,
        PolicerClass::Exception,
        PolicerClass::Resolve,
    ];

    /// The reason that its drops are counted under.
    pub fn drop_reason(self) -> DropReason {
        match self {
            PolicerClass::Arp => DropReason::PolicedArp,
            PolicerClass::Established => DropReason::PolicedEstablished,
            PolicerClass::Listener => DropReason::PolicedListener,
            PolicerClass::Datagram => DropReason::PolicedDatagram,
            PolicerClass::Protocol => DropReason::PolicedProtocol,
            PolicerClass::Unclaimed => DropReason::PolicedUnclaimed,
            PolicerClass::Fragment => DropReason::PolicedFragment,
            PolicerClass::Exception => DropReason::PolicedException,
            PolicerClass::Resolve => DropReason::PolicedResolve,
        }
    }
}

/// Rate and burst of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Packets a second in the long run.
    pub packets_per_second: u32,
    /// Packets at once after a pause.
    pub burst: u32,
}

/// Rates of all classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicerConfig {
    rates: [Option<Rate>; PolicerClass::ALL.len()],
}

impl Default for PolicerConfig {
    /// Established sessions get more than one core can take in; the others together leave most of the punt queue free.
    fn default() -> Self {
        let rate = |class| match class {
            PolicerClass::Established => (1_000_000, 100_000),
            PolicerClass::Datagram => (50_000, 1_000),
            PolicerClass::Arp | PolicerClass::Listener | PolicerClass::Protocol => (2_000, 500),
            PolicerClass::Fragment | PolicerClass::Exception | PolicerClass::Resolve => (1_000, 250),
            PolicerClass::Unclaimed => (500, 100),
        };
        let rate = |class| {
            let (packets_per_second, burst) = rate(class);
            Some(Rate { packets_per_second, burst })
        };
        PolicerConfig { rates: PolicerClass::ALL.map(rate) }
    }
}

impl PolicerConfig {
    /// Polices nothing: for what this router sends to itself.
    pub fn unlimited() -> Self {
        PolicerConfig { rates: [None; PolicerClass::ALL.len()] }
    }

    /// The same with another rate for one class.
    #[must_use]
    pub fn with(mut self, class: PolicerClass, rate: Rate) -> Self {
        self.rates[class as usize] = Some(rate);
        self
    }
}

/// One bucket: tokens are counted in nanoseconds of the rate, so that no fraction is lost.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Nanoseconds that one packet costs.
    cost: u64,
    /// Most that the bucket holds.
    capacity: u64,
    tokens: u64,
    filled: Time,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        let cost = 1_000_000_000 / u64::from(rate.packets_per_second.max(1));
        let capacity = cost.saturating_mul(u64::from(rate.burst.max(1)));
        Bucket { cost, capacity, tokens: capacity, filled: Time::ZERO }
    }

    fn take(&mut self, now: Time) -> bool {
        let passed = now.since(self.filled).as_nanos();
        self.filled = self.filled.max(now);
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(passed).min(self.capacity);
        match self.tokens.checked_sub(self.cost) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }
}

/// The buckets of one worker. Time is an argument.
#[derive(Debug, Clone)]
pub struct Policer {
    buckets: [Option<Bucket>; PolicerClass::ALL.len()],
}

impl Policer {
    /// Full buckets.
    pub fn new(config: &PolicerConfig) -> Self {
        Policer { buckets: config.rates.map(|rate| rate.map(Bucket::new)) }
    }

    /// Whether one more packet of the class may pass at `now`.
    pub fn admit(&mut self, now: Time, class: PolicerClass) -> bool {
        self.buckets[class as usize].as_mut().is_none_or(|bucket| bucket.take(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_passes_its_burst_and_then_its_rate() {
        let rate = Rate { packets_per_second: 100, burst: 10 };
        let mut policer = Policer::new(&PolicerConfig::unlimited().with(PolicerClass::Unclaimed, rate));
        let mut passed = |from: u64, to: u64| {
            (from..to).filter(|ms| policer.admit(Time::from_millis(*ms), PolicerClass::Unclaimed)).count()
        };
        assert_eq!(passed(0, 9), 9);
        assert_eq!(passed(1000, 2000), 109);
    }

    #[test]
    fn a_flood_of_one_class_leaves_the_others_alone() {
        let mut policer = Policer::new(&PolicerConfig::default());
        let now = Time::from_millis(1000);
        let flood = (0..100_000).filter(|_| policer.admit(now, PolicerClass::Unclaimed)).count();
        assert_eq!(flood, 100);
        assert!(policer.admit(now, PolicerClass::Established));
        let datagrams = (0..100_000).filter(|_| policer.admit(now, PolicerClass::Datagram)).count();
        assert_eq!(datagrams, 1000, "a quarter of the punt queue");
        assert!(policer.admit(now, PolicerClass::Listener) && policer.admit(now, PolicerClass::Protocol));
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_gives_nothing() {
        let rate = Rate { packets_per_second: 1, burst: 1 };
        let mut policer = Policer::new(&PolicerConfig::unlimited().with(PolicerClass::Arp, rate));
        let second = Time::from_millis(1000);
        assert!(policer.admit(second, PolicerClass::Arp));
        assert!(!policer.admit(second, PolicerClass::Arp));
        assert!(!policer.admit(Time::ZERO, PolicerClass::Arp));
    }
}
