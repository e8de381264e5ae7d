//! What a publication asks of the terms of an open: bytes that procmgr compares without knowing what they mean.
//!
//! So a listener need not run for a connection to be refused in silence, as a wire does it: what a clause does not admit
//! waits until the listener asks for something else, or its opener gives up.

use serde::{Deserialize, Serialize};

/// Largest `terms` of an open, in bytes: they wait in procmgr's memory for the listener to take them.
pub const MAX_TERMS: usize = 1024;

/// Clauses that one publication may have.
pub const MAX_CLAUSES: usize = 1024;

/// Tests of one clause, on each of its sides.
pub const MAX_TESTS: usize = 8;

/// A secret of the router, the same for all its processes and for as long as it runs. A digest that is made with it
/// compares equal within this router only.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Salt(pub [u8; 32]);

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// A look at the terms of an open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// These bytes stand at this offset.
    Equal {
        /// Offset of the first.
        at: u16,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The byte at this offset is not less.
    AtLeast {
        /// Its offset.
        at: u16,
        /// The least that passes.
        least: u8,
    },
    /// The byte at this offset is not more.
    AtMost {
        /// Its offset.
        at: u16,
        /// The most that passes.
        most: u8,
    },
}

impl std::fmt::Debug for Test {
    /// Without the bytes: they may be the digest of a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Test::Equal { at, bytes } => write!(f, "{} bytes at {at}", bytes.len()),
            Test::AtLeast { at, least } => write!(f, "at least {least} at {at}"),
            Test::AtMost { at, most } => write!(f, "at most {most} at {at}"),
        }
    }
}

impl Test {
    fn passes(&self, terms: &[u8]) -> bool {
        match self {
            Test::Equal { at, bytes } => terms.get(usize::from(*at)..).is_some_and(|rest| rest.starts_with(bytes)),
            Test::AtLeast { at, least } => terms.get(usize::from(*at)).is_some_and(|found| found >= least),
            Test::AtMost { at, most } => terms.get(usize::from(*at)).is_some_and(|found| found <= most),
        }
    }

    fn is_sane(&self) -> bool {
        match self {
            Test::Equal { bytes, .. } => bytes.len() <= MAX_TERMS,
            Test::AtLeast { .. } | Test::AtMost { .. } => true,
        }
    }
}

/// One thing that a publication asks of some of its openers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clause {
    /// Whom it is about: opens whose terms pass all of these.
    pub of: Vec<Test>,
    /// What it asks of them: to pass all of these as well.
    pub asks: Vec<Test>,
}

/// Whether clauses admit these terms. The first clause that is about them decides; where none is, nothing is asked.
pub fn admit(clauses: &[Clause], terms: &[u8]) -> bool {
    let all_pass = |tests: &[Test]| tests.iter().all(|test| test.passes(terms));
    clauses.iter().find(|clause| all_pass(&clause.of)).is_none_or(|clause| all_pass(&clause.asks))
}

/// Whether clauses are few and small enough to be kept.
pub fn are_sane(clauses: &[Clause]) -> bool {
    let sane = |tests: &[Test]| tests.len() <= MAX_TESTS && tests.iter().all(Test::is_sane);
    clauses.len() <= MAX_CLAUSES && clauses.iter().all(|clause| sane(&clause.of) && sane(&clause.asks))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn equal(at: u16, bytes: &[u8]) -> Test {
        Test::Equal { at, bytes: bytes.to_vec() }
    }

    #[test]
    fn the_first_clause_about_an_open_decides() {
        let clauses = [
            Clause { of: vec![equal(0, b"alice")], asks: vec![equal(5, b"1"), Test::AtLeast { at: 6, least: 10 }] },
            Clause { of: vec![equal(0, b"al")], asks: vec![equal(2, b"never")] },
            Clause { of: vec![equal(0, b"bob")], asks: vec![Test::AtMost { at: 3, most: 4 }] },
        ];
        for (terms, admitted) in [
            (&b"alice1\x0a"[..], true),
            (b"alice1\x09", false),
            (b"alice2\xff", false),
            (b"alice1", false),
            (b"alan", false),
            (b"bob\x04", true),
            (b"bob\x05", false),
            (b"bob", false),
            (b"carol", true),
            (b"", true),
        ] {
            assert_eq!(admit(&clauses, terms), admitted, "{terms:?}");
        }
    }

    #[test]
    fn a_digest_is_not_printed() {
        assert_eq!(format!("{:?} {:?}", equal(3, &[0xAB; 16]), Salt([7; 32])), "16 bytes at 3 Salt(..)");
    }

    fn any_test() -> impl Strategy<Value = Test> {
        let bytes = proptest::collection::vec(0..3u8, 0..3);
        prop_oneof![
            (0..6u16, bytes).prop_map(|(at, bytes)| Test::Equal { at, bytes }),
            (0..6u16, 0..3u8).prop_map(|(at, least)| Test::AtLeast { at, least }),
            (any::<u16>(), 0..3u8).prop_map(|(at, most)| Test::AtMost { at, most }),
        ]
    }

    proptest! {
        #[test]
        fn any_clauses_and_terms_are_compared_without_harm(
            clauses in proptest::collection::vec(
                (proptest::collection::vec(any_test(), 0..3), proptest::collection::vec(any_test(), 0..3)), 0..4),
            terms in proptest::collection::vec(0..3u8, 0..8),
        ) {
            let clauses: Vec<Clause> = clauses.into_iter().map(|(of, asks)| Clause { of, asks }).collect();
            prop_assert!(are_sane(&clauses));
            // What a clause that asks for nothing stands before is admitted.
            let open = [vec![Clause { of: vec![], asks: vec![] }], clauses].concat();
            prop_assert!(admit(&open, &terms));
        }
    }
}
