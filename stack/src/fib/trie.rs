//! Longest-prefix match: a multibit trie with strides of 8 bits, its nodes shared between versions.
//!
//! A node answers for one byte of the address. The prefixes that end in it are kept as a list, from which its answers
//! are made as runs: equal answers for neighboring byte values are stored once, found by counting bits. So a node with
//! one prefix takes about 200 bytes, not 256 entries, and one with 256 different ones no more than those. A change
//! copies the nodes on its way; readers of an older version keep theirs.
//!
//! A node's runs are made once a batch ([`Trie::commit`]), not once a prefix.

use std::sync::Arc;

use super::GroupId;

/// A set of byte values, ordered, with rank.
#[derive(Debug, Clone, Copy, Default)]
struct ByteSet([u64; 4]);

impl ByteSet {
    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    /// How many members are below `byte`.
    fn rank(&self, byte: u8) -> usize {
        let word = usize::from(byte >> 6);
        let below: u32 = self.0[..word].iter().map(|w| w.count_ones()).sum();
        let within = self.0[word] & ((1 << (byte & 63)) - 1);
        (below + within.count_ones()) as usize
    }
}

/// A prefix that ends in a node: the first `length` bits of the node's byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    length: u8,
    bits: u8,
    group: GroupId,
}

/// Answers for one byte of the address.
#[derive(Debug, Clone, Default)]
struct Node {
    /// Byte values at which another answer begins; always has 0 once committed.
    starts: ByteSet,
    /// The answers, one a start. `NO_ROUTE`: what the nodes above said.
    runs: Box<[GroupId]>,
    /// Byte values that have a child.
    branches: ByteSet,
    children: Vec<Arc<Node>>,
    /// Sorted by length, then bits: painted in this order, the longest match stays on top.
    entries: Vec<Entry>,
    /// This node's runs are older than its entries, or a node below is so.
    stale: bool,
}

impl Node {
    fn answer(&self, byte: u8) -> GroupId {
        // The run that `byte` lies in begins at the last start at or below it.
        let run = self.starts.rank(byte) + usize::from(self.starts.contains(byte));
        run.checked_sub(1).and_then(|run| self.runs.get(run)).copied().unwrap_or(GroupId::NO_ROUTE)
    }

    fn child(&self, byte: u8) -> Option<&Arc<Node>> {
        if !self.branches.contains(byte) {
            return None;
        }
        self.children.get(self.branches.rank(byte))
    }

    fn child_mut(&mut self, byte: u8) -> &mut Node {
        let at = self.branches.rank(byte);
        if !self.branches.contains(byte) {
            self.branches.insert(byte);
            self.children.insert(at, Arc::default());
        }
        Arc::make_mut(&mut self.children[at])
    }

    fn find(&self, length: u8, bits: u8) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&(length, bits), |entry| (entry.length, entry.bits))
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.children.is_empty()
    }

    fn commit(&mut self) {
        if !self.stale {
            return;
        }
        self.stale = false;
        for child in &mut self.children {
            // A stale child was made this writer's own when it became stale: nothing is copied here.
            if child.stale {
                Arc::make_mut(child).commit();
            }
        }
        let mut answers = [GroupId::NO_ROUTE; 256];
        for entry in &self.entries {
            let first = usize::from(entry.bits);
            let last = first | (0xff_usize >> entry.length);
            answers[first..=last].fill(entry.group);
        }
        let mut runs = vec![answers[0]];
        self.starts = ByteSet::default();
        self.starts.insert(0);
        for byte in 1..=255_u8 {
            let answer = answers[usize::from(byte)];
            if answer != answers[usize::from(byte) - 1] {
                self.starts.insert(byte);
                runs.push(answer);
            }
        }
        if *self.runs != *runs {
            self.runs = runs.into_boxed_slice();
        }
    }
}

/// Where in the trie a prefix of `BYTES` bytes ends: bytes to walk, then the first `length` bits of `bits`.
struct Place<'a> {
    walk: &'a [u8],
    length: u8,
    bits: u8,
}

impl<'a> Place<'a> {
    fn of<const BYTES: usize>(address: &'a [u8; BYTES], prefix_length: u8) -> Option<Self> {
        let depth = usize::from(prefix_length.saturating_sub(1) / 8);
        let byte = *address.get(depth)?;
        // 0..=8: a prefix ends in the byte that holds its last bit, the default route in the first.
        let length = prefix_length.checked_sub(depth as u8 * 8).filter(|length| *length <= 8)?;
        let mask = !(0xff_u16 >> length) as u8;
        Some(Place { walk: &address[..depth], length, bits: byte & mask })
    }
}

/// A table of prefixes of addresses of `BYTES` bytes. Cloning shares everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie<const BYTES: usize> {
    root: Arc<Node>,
    prefixes: usize,
}

impl<const BYTES: usize> Trie<BYTES> {
    /// Longest match. Sees what the last [`Trie::commit`] saw.
    pub(crate) fn lookup(&self, address: &[u8; BYTES]) -> GroupId {
        let mut best = GroupId::NO_ROUTE;
        let mut node = &self.root;
        for &byte in address {
            let answer = node.answer(byte);
            if answer != GroupId::NO_ROUTE {
                best = answer;
            }
            match node.child(byte) {
                Some(child) => node = child,
                None => break,
            }
        }
        best
    }

    /// Number of prefixes.
    pub(crate) fn len(&self) -> usize {
        self.prefixes
    }

    /// What stands at exactly this prefix.
    pub(crate) fn get(&self, address: &[u8; BYTES], prefix_length: u8) -> Option<GroupId> {
        let place = Place::of(address, prefix_length)?;
        let mut node = &self.root;
        for &byte in place.walk {
            node = node.child(byte)?;
        }
        let at = node.find(place.length, place.bits).ok()?;
        Some(node.entries[at].group)
    }

    /// Sets a prefix; returns what stood there.
    pub(crate) fn insert(&mut self, address: &[u8; BYTES], prefix_length: u8, group: GroupId) -> Option<GroupId> {
        let place = Place::of(address, prefix_length)?;
        let mut node = Arc::make_mut(&mut self.root);
        for &byte in place.walk {
            node.stale = true;
            node = node.child_mut(byte);
        }
        node.stale = true;
        match node.find(place.length, place.bits) {
            Ok(at) => Some(std::mem::replace(&mut node.entries[at].group, group)),
            Err(at) => {
                node.entries.insert(at, Entry { length: place.length, bits: place.bits, group });
                self.prefixes += 1;
                None
            }
        }
    }

    /// Removes a prefix; returns what stood there.
    pub(crate) fn remove(&mut self, address: &[u8; BYTES], prefix_length: u8) -> Option<GroupId> {
        // Looked at first: a missing prefix must not copy or make nodes.
        self.get(address, prefix_length)?;
        let place = Place::of(address, prefix_length)?;
        let removed = remove_below(Arc::make_mut(&mut self.root), &place, place.walk);
        self.prefixes -= usize::from(removed.is_some());
        removed
    }

    /// Whether [`Trie::commit`] has something to do.
    pub(crate) fn is_stale(&self) -> bool {
        self.root.stale
    }

    /// Makes the answers of all changed nodes.
    pub(crate) fn commit(&mut self) {
        if self.root.stale {
            Arc::make_mut(&mut self.root).commit();
        }
    }

    /// Calls `each` with every prefix, its length and group, in no useful order.
    pub(crate) fn for_each(&self, each: &mut dyn FnMut([u8; BYTES], u8, GroupId)) {
        walk(&self.root, [0; BYTES], 0, each);
    }
}

fn remove_below(node: &mut Node, place: &Place<'_>, walk: &[u8]) -> Option<GroupId> {
    node.stale = true;
    let Some((&byte, rest)) = walk.split_first() else {
        let at = node.find(place.length, place.bits).ok()?;
        return Some(node.entries.remove(at).group);
    };
    let child = node.child_mut(byte);
    let removed = remove_below(child, place, rest);
    if child.is_empty() {
        let at = node.branches.rank(byte);
        node.children.remove(at);
        node.branches.remove(byte);
    }
    removed
}

fn walk<const BYTES: usize>(
    node: &Node,
    above: [u8; BYTES],
    depth: usize,
    each: &mut dyn FnMut([u8; BYTES], u8, GroupId),
) {
    for entry in &node.entries {
        let mut address = above;
        address[depth] = entry.bits;
        each(address, depth as u8 * 8 + entry.length, entry.group);
    }
    for byte in 0..=255 {
        if let Some(child) = node.child(byte) {
            let mut address = above;
            address[depth] = byte;
            walk(child, address, depth + 1, each);
        }
    }
}
