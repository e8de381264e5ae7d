//! A neighbor and the conversation with it: RFC 2328 section 10.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use linkstate::RetransmissionList;
use sdk::core::Time;

use crate::election::Candidate;
use crate::fsm::NeighborState;
use crate::packet::{DescriptionFlags, LsaHeader, LsaKey, Options, Recency, RouterId};

/// Who leads the exchange of descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This router.
    Master,
    /// The neighbor.
    Slave,
}

/// What identifies the last description that came: RFC 2328 section 10.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastDescription {
    /// Flags.
    pub flags: DescriptionFlags,
    /// Options.
    pub options: Options,
    /// Number.
    pub sequence: u32,
}

/// A neighbor on an interface.
#[derive(Debug)]
pub struct Neighbor {
    /// Its number.
    pub router: RouterId,
    /// Its address.
    pub address: Ipv4Addr,
    /// State of the conversation.
    pub state: NeighborState,
    /// Its priority.
    pub priority: u8,
    /// Its options, from its hellos.
    pub options: Options,
    /// Whom it declares designated router: an address.
    pub designated: Ipv4Addr,
    /// Whom it declares backup.
    pub backup: Ipv4Addr,
    /// When it counts as gone.
    pub inactive_at: Time,
    /// While it restarts and its forwarding goes on, until when this router helps it: RFC 3623.
    pub grace_until: Option<Time>,
    /// Since when its state is what it is.
    pub since: Time,
    /// How often the state changed.
    pub events: u64,
    /// Number of its last packet with a digest.
    pub auth_sequence: Option<u32>,
    /// Key of its last packet with a digest.
    pub auth_key: Option<u8>,
    /// The exchange of descriptions.
    pub exchange: Exchange,
    /// What is to be asked for, with the instance that it said it has.
    pub requests: BTreeMap<LsaKey, LsaHeader>,
    /// The last request: what of it has not come.
    pub requested: Vec<LsaKey>,
    /// When the last request is repeated.
    pub request_at: Option<Time>,
    /// What it has not acknowledged.
    pub retransmissions: RetransmissionList<LsaKey, LsaHeader>,
}

/// The exchange of descriptions.
#[derive(Debug)]
pub struct Exchange {
    /// Who leads.
    pub role: Role,
    /// Number of the last description that we sent, as master, or answered, as slave.
    pub sequence: u32,
    /// What is still to be described.
    pub summary: VecDeque<LsaHeader>,
    /// What the last description of ours contained, for its repetition.
    pub sent: Vec<LsaHeader>,
    /// Its flags.
    pub sent_flags: DescriptionFlags,
    /// The last that came.
    pub last: Option<LastDescription>,
    /// When the master repeats its description, and who does not know yet who that is.
    pub repeat_at: Option<Time>,
}

impl Neighbor {
    /// One that was heard for the first time.
    pub fn new(now: Time, router: RouterId, address: Ipv4Addr) -> Self {
        Self {
            router,
            address,
            state: NeighborState::Down,
            priority: 0,
            options: Options::default(),
            designated: Ipv4Addr::UNSPECIFIED,
            backup: Ipv4Addr::UNSPECIFIED,
            inactive_at: now,
            grace_until: None,
            since: now,
            events: 0,
            auth_sequence: None,
            auth_key: None,
            exchange: Exchange {
                role: Role::Master,
                // "An attempt should be made to have it be unique": the time of day of RFC 2328 section 10.8.
                sequence: (now.as_nanos() >> 10) as u32,
                summary: VecDeque::new(),
                sent: Vec::new(),
                sent_flags: DescriptionFlags::default(),
                last: None,
                repeat_at: None,
            },
            requests: BTreeMap::new(),
            requested: Vec::new(),
            request_at: None,
            retransmissions: RetransmissionList::default(),
        }
    }

    /// As it stands for election.
    pub fn candidate(&self) -> Candidate {
        Candidate {
            router: self.router,
            address: self.address,
            priority: self.priority,
            designated: self.designated,
            backup: self.backup,
        }
    }

    /// Whether it gets what is flooded.
    pub fn is_flooded_to(&self) -> bool {
        self.state >= NeighborState::Exchange
    }

    /// Whether databases are being brought to the same: LSAs at MaxAge must stay meanwhile.
    pub fn is_synchronizing(&self) -> bool {
        matches!(self.state, NeighborState::Exchange | NeighborState::Loading)
    }

    /// Whether others are told of the adjacency.
    pub fn is_adjacent(&self) -> bool {
        self.state == NeighborState::Full || self.grace_until.is_some()
    }

    /// Whether it counts in elections.
    pub fn is_candidate(&self) -> bool {
        self.state >= NeighborState::TwoWay || self.grace_until.is_some()
    }

    /// Forgets the exchange: RFC 2328 section 10.3, what KillNbr, 1-Way and a mismatch clear.
    pub fn clear_lists(&mut self) {
        self.exchange.summary.clear();
        self.exchange.repeat_at = None;
        self.exchange.last = None;
        self.requests.clear();
        self.requested.clear();
        self.request_at = None;
        self.retransmissions.clear();
    }

    /// It is known to have this instance or a newer one, or it has been asked for nothing like it any more.
    pub fn forget_request(&mut self, key: &LsaKey) {
        self.requests.remove(key);
        self.requested.retain(|requested| requested != key);
    }

    /// Whether an instance is to be flooded to it, as far as it said what it has: RFC 2328 section 13.3 step 1 (b). What it
    /// has, or what is newer, is not asked for any longer.
    pub fn wants(&mut self, header: &LsaHeader) -> bool {
        let Some(asked_for) = self.requests.get(&header.key) else { return true };
        let recency = header.recency(asked_for);
        if recency != Recency::Older {
            self.forget_request(&header.key);
        }
        recency == Recency::Newer
    }

    /// When something is to be done.
    pub fn poll_timeout(&self) -> Option<Time> {
        let gone = self.grace_until.map_or(self.inactive_at, |until| until.max(self.inactive_at));
        let timers = [Some(gone), self.grace_until, self.exchange.repeat_at, self.request_at];
        timers.into_iter().flatten().chain(self.retransmissions.poll_timeout()).min()
    }
}
