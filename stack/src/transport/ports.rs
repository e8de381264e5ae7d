//! The port space of a VR, one for TCP and one for UDP.
//!
//! ```text
//!   1 ............ 32767 | 32768 ........... 49151 | 49152 ................ 65535
//!   explicit binds       | ephemeral, one by one,  | ephemeral, leased to processes in
//!   (allowed everywhere) | for connections through | blocks of 64 for connections that
//!                        | the stack               | do not pass the stack
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipc::{Family, InterfaceName, Pid};
use thiserror::Error;

/// Ephemeral ports of connections through the stack. It begins where Linux's range does.
pub const STACK_PORTS: RangeInclusive<u16> = 32768..=49151;
/// Ephemeral ports that are leased: the dynamic range of RFC 6335.
pub const LEASED_PORTS: RangeInclusive<u16> = 49152..=65535;
/// Ports of a block.
pub const BLOCK_PORTS: u16 = 64;

const BLOCKS: usize = 16384 / BLOCK_PORTS as usize;

/// Why a port cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PortError {
    /// Another socket has it, on this address or on all.
    #[error("port {port} is in use by process {holder}")]
    InUse {
        /// The port.
        port: u16,
        /// Who has it.
        holder: Pid,
    },
    /// Port 0 cannot be bound: ask for an ephemeral one.
    #[error("port 0 cannot be bound")]
    Zero,
    /// Every ephemeral port is taken.
    #[error("no ephemeral port is free between {} and {}", STACK_PORTS.start(), STACK_PORTS.end())]
    NoneFree,
    /// Every block is leased.
    #[error("no block of ports is free between {} and {}", LEASED_PORTS.start(), LEASED_PORTS.end())]
    NoBlockFree,
    /// Not the first port of a block.
    #[error("port {first} does not begin a block of {BLOCK_PORTS} ports")]
    NotABlock {
        /// The port.
        first: u16,
    },
}

/// One explicit bind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bind {
    owner: Pid,
    family: Family,
    /// `None`: all addresses.
    local: Option<IpAddr>,
    /// `None`: all interfaces.
    interface: Option<InterfaceName>,
    sharing: Sharing,
}

/// Whether a bind lets others have the same port on the same address, who must let it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// It does (`SO_REUSEADDR` on UDP).
    Shared,
    /// It does, with sockets of the same family of forked processes.
    Family(u64),
    /// A TCP socket that does not listen yet keeps its port: its process may connect from there, and it may listen there,
    /// with the same number. With `reuse` (`SO_REUSEADDR`) others that do not listen yet may keep it too.
    Reserved {
        /// The family's number.
        number: u64,
        /// Whether others may keep it too.
        reuse: bool,
    },
    /// It does not.
    Alone,
}

impl Bind {
    /// As on Linux without `SO_REUSEADDR`: the wildcard clashes with everything of its family, an address with itself, and
    /// so it is with interfaces. The two families have nothing to do with each other (`IPV6_V6ONLY`).
    fn clashes(&self, other: &Bind) -> bool {
        let Bind { owner, family, local, ref interface, sharing } = *other;
        let both_share = match (self.sharing, sharing) {
            (Sharing::Shared, Sharing::Shared) => true,
            (Sharing::Family(one), Sharing::Family(other)) => one == other && self.local == local,
            (Sharing::Family(one), Sharing::Reserved { number, .. }) => one == number,
            // Of several that keep it the first to listen has it.
            (Sharing::Reserved { number, reuse }, Sharing::Family(other)) => reuse || number == other,
            (Sharing::Reserved { number, reuse }, Sharing::Reserved { number: other, reuse: too }) => {
                number == other || (reuse && too)
            }
            (Sharing::Reserved { reuse, .. }, Sharing::Alone) => reuse || self.owner == owner,
            (Sharing::Shared | Sharing::Family(_) | Sharing::Alone | Sharing::Reserved { .. }, _) => false,
        };
        let meet = self.local.is_none() || local.is_none() || self.local == local;
        let meet = meet && (self.interface.is_none() || interface.is_none() || self.interface == *interface);
        self.family == family && !both_share && meet
    }
}

/// The ports of one VR and one protocol.
#[derive(Debug)]
pub struct PortSpace {
    binds: BTreeMap<u16, Vec<Bind>>,
    ephemeral: HashMap<u16, Pid>,
    /// Where the search for a free ephemeral port goes on: a freed port is used again last.
    next_ephemeral: u16,
    leases: [Option<Pid>; BLOCKS],
    next_block: usize,
}

impl PortSpace {
    /// An empty space. `seed` decides where ephemeral ports begin, so that a stranger cannot guess them (RFC 6056).
    pub fn new(seed: u64) -> Self {
        let span = u64::from(STACK_PORTS.end() - STACK_PORTS.start()) + 1;
        // Both remainders are within their ranges.
        let next_ephemeral = STACK_PORTS.start() + (seed % span) as u16;
        let next_block = (seed / span % BLOCKS as u64) as usize;
        PortSpace {
            binds: BTreeMap::new(),
            ephemeral: HashMap::new(),
            next_ephemeral,
            leases: [None; BLOCKS],
            next_block,
        }
    }

    /// Takes `port` on one address or on all (`None`), for a listener or a connection with a port of its choice.
    pub fn bind(&mut self, owner: Pid, family: Family, local: Option<IpAddr>, port: u16) -> Result<(), PortError> {
        self.bind_sharing(owner, family, local, port, Sharing::Alone)
    }

    /// The same for a socket that may share its port.
    pub fn bind_sharing(
        &mut self,
        owner: Pid,
        family: Family,
        local: Option<IpAddr>,
        port: u16,
        sharing: Sharing,
    ) -> Result<(), PortError> {
        self.bind_on(owner, family, (local, None), port, sharing)
    }

    /// The same for a socket that is bound to an interface, and has the port on that one alone.
    pub fn bind_on(
        &mut self,
        owner: Pid,
        family: Family,
        (local, interface): (Option<IpAddr>, Option<InterfaceName>),
        port: u16,
        sharing: Sharing,
    ) -> Result<(), PortError> {
        if port == 0 {
            return Err(PortError::Zero);
        }
        let wanted = Bind { owner, family, local, interface, sharing };
        let bound = self.binds.get(&port).into_iter().flatten().find(|bind| bind.clashes(&wanted));
        // A process that leased a block picks from it what it likes.
        let leased = self.lease_of(port).filter(|holder| *holder != owner);
        let holder = bound.map(|bind| bind.owner).or(self.ephemeral.get(&port).copied()).or(leased);
        if let Some(holder) = holder {
            return Err(PortError::InUse { port, holder });
        }
        self.binds.entry(port).or_default().push(wanted);
        Ok(())
    }

    /// Gives a bound port back; `false` where this process did not have it.
    pub fn unbind(&mut self, owner: Pid, family: Family, local: Option<IpAddr>, port: u16) -> bool {
        self.unbind_from(owner, family, (local, None), port)
    }

    /// The same where it was bound to an interface.
    pub fn unbind_from(
        &mut self,
        owner: Pid,
        family: Family,
        (local, interface): (Option<IpAddr>, Option<&InterfaceName>),
        port: u16,
    ) -> bool {
        let Some(binds) = self.binds.get_mut(&port) else { return false };
        // One of them, where a process has shared a port with itself.
        let is_reserved = |bind: &Bind| matches!(bind.sharing, Sharing::Reserved { .. });
        let is_its = |bind: &Bind| (bind.owner, bind.family, bind.local) == (owner, family, local);
        let given = |bind: &Bind| is_its(bind) && bind.interface.as_ref() == interface && !is_reserved(bind);
        let place = binds.iter().position(given);
        let found = place.map(|place| binds.swap_remove(place)).is_some();
        if binds.is_empty() {
            self.binds.remove(&port);
        }
        found
    }

    /// A socket that was to listen is closed: gives back what was bound as [`Sharing::Reserved`].
    pub fn release_reserved(&mut self, owner: Pid, released: u64) {
        let is_left = |bind: &Bind| {
            bind.owner == owner && matches!(bind.sharing, Sharing::Reserved { number, .. } if number == released)
        };
        self.binds.retain(|_, binds| {
            binds.retain(|bind| !is_left(bind));
            !binds.is_empty()
        });
    }

    /// An ephemeral port for a connection through the stack. It stays taken until [`PortSpace::release`], which is the
    /// connection's end, not the process's: TIME-WAIT outlives its process.
    pub fn allocate(&mut self, owner: Pid) -> Result<u16, PortError> {
        let port = self.free()?;
        self.ephemeral.insert(port, owner);
        Ok(port)
    }

    /// Binds to an ephemeral port, for a socket of its own: the same process may bind to it in the other family.
    pub fn bind_any(
        &mut self,
        owner: Pid,
        family: Family,
        at: (Option<IpAddr>, Option<InterfaceName>),
        sharing: Sharing,
    ) -> Result<u16, PortError> {
        let port = self.free()?;
        self.bind_on(owner, family, at, port, sharing)?;
        Ok(port)
    }

    /// The next ephemeral port that nobody has.
    fn free(&mut self) -> Result<u16, PortError> {
        for _ in STACK_PORTS {
            let port = self.next_ephemeral;
            self.next_ephemeral = if port == *STACK_PORTS.end() { *STACK_PORTS.start() } else { port + 1 };
            if !self.ephemeral.contains_key(&port) && !self.binds.contains_key(&port) {
                return Ok(port);
            }
        }
        Err(PortError::NoneFree)
    }

    /// A connection with an ephemeral port ended.
    pub fn release(&mut self, port: u16) {
        self.ephemeral.remove(&port);
    }

    /// Leases a block to a process; returns its first port.
    pub fn lease(&mut self, owner: Pid) -> Result<u16, PortError> {
        for _ in 0..BLOCKS {
            let block = self.next_block;
            self.next_block = (block + 1) % BLOCKS;
            if self.is_free(block) {
                self.leases[block] = Some(owner);
                return Ok(first_of(block));
            }
        }
        Err(PortError::NoBlockFree)
    }

    /// After a restart of the stack: a process tells which block it has.
    pub fn hold(&mut self, owner: Pid, first: u16) -> Result<(), PortError> {
        let block = block_of(first).filter(|block| first_of(*block) == first).ok_or(PortError::NotABlock { first })?;
        match self.leases[block] {
            Some(holder) if holder != owner => Err(PortError::InUse { port: first, holder }),
            Some(_) | None => {
                self.leases[block] = Some(owner);
                Ok(())
            }
        }
    }

    /// Who leases the block that `port` lies in.
    pub fn lease_of(&self, port: u16) -> Option<Pid> {
        self.leases[block_of(port)?]
    }

    /// A process died: its binds and leases are free.
    pub fn release_process(&mut self, owner: Pid) {
        self.binds.retain(|_, binds| {
            binds.retain(|bind| bind.owner != owner);
            !binds.is_empty()
        });
        for lease in self.leases.iter_mut().filter(|lease| **lease == Some(owner)) {
            *lease = None;
        }
    }

    fn is_free(&self, block: usize) -> bool {
        let first = first_of(block);
        self.leases[block].is_none() && self.binds.range(first..=first + (BLOCK_PORTS - 1)).next().is_none()
    }
}

/// The block of a port; `None` below the leased range. Always below `BLOCKS`.
fn block_of(port: u16) -> Option<usize> {
    port.checked_sub(*LEASED_PORTS.start()).map(|offset| usize::from(offset / BLOCK_PORTS))
}

/// The first port of a block below `BLOCKS`: at most 65472.
fn first_of(block: usize) -> u16 {
    LEASED_PORTS.start() + block as u16 * BLOCK_PORTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Pid = Pid(101);
    const B: Pid = Pid(102);
    const ONE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));
    const TWO: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)));

    #[test]
    fn a_wildcard_clashes_with_every_address_and_addresses_only_with_themselves() {
        // taken first, asked for then, granted?
        for (first, second, granted) in
            [(None, None, false), (None, ONE, false), (ONE, None, false), (ONE, ONE, false), (ONE, TWO, true)]
        {
            let mut ports = PortSpace::new(0);
            ports.bind(A, Family::Ipv4, first, 179).unwrap();
            let expected = if granted { Ok(()) } else { Err(PortError::InUse { port: 179, holder: A }) };
            assert_eq!(ports.bind(B, Family::Ipv4, second, 179), expected, "{first:?} then {second:?}");
            assert_eq!(ports.bind(B, Family::Ipv6, None, 179), Ok(()));
        }
    }

    #[test]
    fn interfaces_have_a_port_each_and_none_beside_one_that_is_bound_to_all() {
        let [one, two] = ["blue", "Port0/0/0"].map(|name| Some(name.parse::<InterfaceName>().unwrap()));
        for (first, second, granted) in
            [(&one, &two, true), (&one, &one, false), (&one, &None, false), (&None, &one, false)]
        {
            let mut ports = PortSpace::new(0);
            let mut bind = |owner, on: &Option<InterfaceName>| {
                ports.bind_on(owner, Family::Ipv4, (None, on.clone()), 520, Sharing::Alone)
            };
            assert_eq!(bind(A, first), Ok(()));
            assert_eq!(bind(B, second).is_ok(), granted, "{first:?} then {second:?}");
            let mut unbind = |on: &Option<InterfaceName>| ports.unbind_from(A, Family::Ipv4, (None, on.as_ref()), 520);
            let elsewhere = if *first == two { &one } else { &two };
            assert!(!unbind(elsewhere), "{first:?} is not {elsewhere:?}");
            assert!(unbind(first));
        }
    }

    #[test]
    fn a_port_is_shared_by_those_who_all_agree_to_it_and_given_back_one_by_one() {
        let mut ports = PortSpace::new(0);
        let mut bind = |owner, sharing| ports.bind_sharing(owner, Family::Ipv4, None, 520, sharing);
        let in_use = Err(PortError::InUse { port: 520, holder: A });
        assert_eq!(bind(A, Sharing::Shared), Ok(()));
        assert_eq!(bind(B, Sharing::Alone), in_use);
        assert_eq!((bind(B, Sharing::Shared), bind(A, Sharing::Shared)), (Ok(()), Ok(())));
        for (owner, is_free) in [(A, false), (B, false), (A, true)] {
            assert!(ports.unbind(owner, Family::Ipv4, None, 520));
            assert_eq!(ports.bind(B, Family::Ipv4, None, 520).is_ok(), is_free);
        }
    }

    #[test]
    fn a_port_that_is_reserved_is_its_keepers_to_listen_at_and_to_connect_from() {
        let reserved = |number, reuse| Sharing::Reserved { number, reuse };
        // reserved first, asked for then, by whom, granted?
        for (first, second, who, granted) in [
            (reserved(1, false), reserved(2, false), A, false),
            (reserved(1, false), reserved(2, true), B, false),
            (reserved(1, true), reserved(2, true), B, true),
            (reserved(1, false), reserved(1, false), B, true), // a forked child
            (reserved(1, false), Sharing::Family(1), B, true),
            (reserved(1, false), Sharing::Family(2), A, false),
            (reserved(1, true), Sharing::Family(2), B, true),
            (Sharing::Family(1), reserved(1, false), B, true),
            (Sharing::Family(1), reserved(2, true), B, false),
            (reserved(1, false), Sharing::Alone, A, true),
            (reserved(1, false), Sharing::Alone, B, false),
        ] {
            let mut ports = PortSpace::new(0);
            ports.bind_sharing(A, Family::Ipv4, None, 80, first).unwrap();
            let got = ports.bind_sharing(who, Family::Ipv4, None, 80, second);
            assert_eq!(got.is_ok(), granted, "{first:?} then {second:?}");
        }
        let mut ports = PortSpace::new(0);
        ports.bind_sharing(A, Family::Ipv4, None, 80, reserved(1, false)).unwrap();
        assert!(!ports.unbind(A, Family::Ipv4, None, 80), "what is reserved is released, and not unbound");
        ports.release_reserved(B, 1);
        assert!(ports.bind(B, Family::Ipv4, None, 80).is_err());
        ports.release_reserved(A, 1);
        assert_eq!(ports.bind(B, Family::Ipv4, None, 80), Ok(()));
    }

    #[test]
    fn a_port_is_free_again_after_unbind_and_after_its_process_died() {
        let mut ports = PortSpace::new(0);
        ports.bind(A, Family::Ipv4, None, 179).unwrap();
        assert!(!ports.unbind(B, Family::Ipv4, None, 179));
        assert!(ports.unbind(A, Family::Ipv4, None, 179));
        ports.bind(A, Family::Ipv4, None, 179).unwrap();
        let block = ports.lease(A).unwrap();
        ports.release_process(A);
        assert_eq!(ports.bind(B, Family::Ipv4, None, 179), Ok(()));
        assert_eq!(ports.lease_of(block), None);
        assert_eq!(ports.bind(B, Family::Ipv4, None, 0), Err(PortError::Zero));
    }

    #[test]
    fn an_ephemeral_port_of_a_bind_is_free_in_the_other_family() {
        let mut ports = PortSpace::new(7);
        let port = ports.bind_any(A, Family::Ipv6, (None, None), Sharing::Alone).unwrap();
        assert!(ports.bind(A, Family::Ipv6, None, port).is_err());
        ports.bind(A, Family::Ipv4, None, port).unwrap();
        assert!(ports.unbind(A, Family::Ipv6, None, port));
        assert_ne!(
            ports.bind_any(B, Family::Ipv6, (None, None), Sharing::Alone),
            Ok(port),
            "the other family has it still"
        );
    }

    #[test]
    fn ephemeral_ports_are_distinct_skip_binds_and_run_out() {
        let mut ports = PortSpace::new(12_345);
        ports.bind(A, Family::Ipv4, None, 40_000).unwrap();
        let mut seen = std::collections::HashSet::new();
        while let Ok(port) = ports.allocate(B) {
            assert!(STACK_PORTS.contains(&port) && port != 40_000 && seen.insert(port));
        }
        assert_eq!(seen.len(), STACK_PORTS.len() - 1);
        assert_eq!(ports.allocate(B), Err(PortError::NoneFree));
        assert_eq!(ports.bind(A, Family::Ipv4, None, 32_768), Err(PortError::InUse { port: 32_768, holder: B }));
        ports.release(33_000);
        assert_eq!(ports.allocate(B), Ok(33_000));
    }

    #[test]
    fn blocks_are_distinct_skip_binds_and_run_out() {
        let mut ports = PortSpace::new(u64::MAX);
        ports.bind(A, Family::Ipv4, None, 65_535).unwrap();
        let mut seen = std::collections::HashSet::new();
        while let Ok(first) = ports.lease(B) {
            assert!(LEASED_PORTS.contains(&first) && first % BLOCK_PORTS == 0 && seen.insert(first));
        }
        assert_eq!(seen.len(), BLOCKS - 1);
        assert!(!seen.contains(&65_472));
        assert_eq!(ports.bind(A, Family::Ipv4, None, 50_000), Err(PortError::InUse { port: 50_000, holder: B }));
        assert_eq!(ports.bind(B, Family::Ipv4, None, 50_000), Ok(()));
    }

    #[test]
    fn after_a_restart_processes_hold_their_blocks_and_nobody_elses() {
        let mut ports = PortSpace::new(0);
        assert_eq!(ports.hold(A, 49_152), Ok(()));
        assert_eq!(ports.hold(A, 49_152), Ok(()));
        assert_eq!(ports.hold(B, 49_152), Err(PortError::InUse { port: 49_152, holder: A }));
        assert_eq!(ports.hold(B, 49_153), Err(PortError::NotABlock { first: 49_153 }));
        assert_eq!(ports.hold(B, 179), Err(PortError::NotABlock { first: 179 }));
        assert_ne!(ports.lease(B), Ok(49_152));
    }
}
