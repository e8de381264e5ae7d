//! The channels of one socket to those that it sends to, by what was opened and by a number of their own.

use std::collections::{HashMap, VecDeque};

use ipc::Pathname;
use ipc::channel::Channel;

use crate::hash::BySocket;

/// A publication: the pathname of a listener, and which of those that had the name.
pub(super) type PeerKey = (Pathname, u64);

/// Number of a peer of a socket, never given twice: of one that is gone it finds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

/// A channel to another process's socket.
#[derive(Debug)]
pub(super) enum Peer {
    /// procmgr was asked; records that wait for its answer.
    Opening(VecDeque<Vec<u8>>),
    Open(Channel),
}

/// All peers of a socket.
#[derive(Debug, Default)]
pub(super) struct Peers {
    places: HashMap<PeerKey, Place>,
    peers: HashMap<Place, Peer, BySocket>,
    next: u64,
}

impl Peers {
    pub fn place(&self, key: &PeerKey) -> Option<Place> {
        self.places.get(key).copied()
    }

    #[inline]
    pub fn at(&mut self, place: Place) -> Option<&mut Peer> {
        self.peers.get_mut(&place)
    }

    pub fn get_mut(&mut self, key: &PeerKey) -> Option<&mut Peer> {
        self.at(self.place(key)?)
    }

    pub fn insert(&mut self, key: PeerKey, peer: Peer) {
        let place = Place(self.next);
        self.next += 1;
        self.peers.insert(place, peer);
        if let Some(old) = self.places.insert(key, place) {
            self.peers.remove(&old);
        }
    }

    pub fn remove(&mut self, key: &PeerKey) -> Option<Peer> {
        let place = self.places.remove(key)?;
        self.peers.remove(&place)
    }

    /// Removes what stands at a place.
    pub fn remove_at(&mut self, place: Place) {
        self.peers.remove(&place);
        self.places.retain(|_, of| *of != place);
    }

    /// Removes all for which `stays` says no.
    pub fn retain(&mut self, stays: impl Fn(&PeerKey) -> bool) {
        let Self { places, peers, .. } = self;
        places.retain(|key, place| stays(key) || peers.remove(place).is_none());
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }
}
