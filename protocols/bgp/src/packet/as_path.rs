//! AS_PATH and AS4_PATH: RFC 4271 section 4.3, RFC 6793, RFC 7606 section 7.2.

use std::fmt;

use super::open::AS_TRANS;
use super::{take, take_u8};

/// How many octets an AS number has on a session: four if both speakers said that they can (RFC 6793).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsWidth {
    /// An old speaker.
    Two,
    /// A new one.
    Four,
}

impl AsWidth {
    fn octets(self) -> usize {
        match self {
            AsWidth::Two => 2,
            AsWidth::Four => 4,
        }
    }
}

/// Kind of a segment. Those of confederations are malformed outside of one (RFC 5065 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// AS_SET: the order says nothing; counts as one.
    Set,
    /// AS_SEQUENCE.
    Sequence,
}

impl SegmentKind {
    fn code(self) -> u8 {
        match self {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => 2,
        }
    }
}

/// Why an AS_PATH cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AsPathError {
    /// Neither AS_SET nor AS_SEQUENCE.
    #[error("segment type {0}")]
    SegmentType(u8),
    /// RFC 7606 section 7.2.
    #[error("a segment without AS numbers")]
    EmptySegment,
    /// The attribute ends within a segment.
    #[error("the attribute ends within a segment")]
    CutOff,
}

/// A checked AS_PATH: segments in the wire's form with four octets an AS number. One allocation, quick to hash and
/// compare, since paths are what most routes share.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct AsPath(Box<[u8]>);

/// A segment of an [`AsPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its kind.
    pub kind: SegmentKind,
    numbers: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Its AS numbers.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + use<'a> {
        self.numbers.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
    }
}

/// A segment holds at most 255 AS numbers.
const MAX_SEGMENT: usize = 255;

impl AsPath {
    /// A path of one sequence; empty for a route of our own AS.
    pub fn sequence(numbers: &[u32]) -> Self {
        let mut path = Vec::new();
        for part in numbers.chunks(MAX_SEGMENT) {
            push_segment(&mut path, SegmentKind::Sequence, part.iter().copied());
        }
        Self(path.into())
    }

    /// Reads the attribute's value.
    pub fn decode(mut value: &[u8], width: AsWidth) -> Result<Self, AsPathError> {
        let mut path = Vec::with_capacity(value.len() * 4 / width.octets());
        while let Some(code) = take_u8(&mut value) {
            if !matches!(code, 1 | 2) {
                return Err(AsPathError::SegmentType(code));
            }
            let count = take_u8(&mut value).ok_or(AsPathError::CutOff)?;
            if count == 0 {
                return Err(AsPathError::EmptySegment);
            }
            let numbers = take(&mut value, usize::from(count) * width.octets()).ok_or(AsPathError::CutOff)?;
            path.extend_from_slice(&[code, count]);
            match width {
                AsWidth::Four => path.extend_from_slice(numbers),
                AsWidth::Two => {
                    numbers.chunks_exact(2).for_each(|two| path.extend_from_slice(&[0, 0, two[0], two[1]]));
                }
            }
        }
        Ok(Self(path.into()))
    }

    /// Appends the attribute's value. AS numbers that do not fit are [`AS_TRANS`].
    pub fn encode(&self, width: AsWidth, into: &mut Vec<u8>) {
        match width {
            AsWidth::Four => into.extend_from_slice(&self.0),
            AsWidth::Two => {
                for segment in self.segments() {
                    into.extend_from_slice(&[segment.kind.code(), segment.numbers().len() as u8]);
                    for number in segment.numbers() {
                        into.extend_from_slice(&u16::try_from(number).unwrap_or(AS_TRANS).to_be_bytes());
                    }
                }
            }
        }
    }

    /// Its segments, the nearest AS first.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let kind = match take_u8(&mut rest)? {
                1 => SegmentKind::Set,
                _ => SegmentKind::Sequence,
            };
            let count = take_u8(&mut rest)?;
            Some(Segment { kind, numbers: take(&mut rest, usize::from(count) * 4)? })
        })
    }

    /// Length for the comparison of routes: a set counts as one (RFC 4271 section 9.1.2.2).
    pub fn length(&self) -> usize {
        self.segments()
            .map(|segment| match segment.kind {
                SegmentKind::Set => 1,
                SegmentKind::Sequence => segment.numbers().len(),
            })
            .sum()
    }

    /// Whether the route passed an AS.
    pub fn contains(&self, number: u32) -> bool {
        self.segments().any(|segment| segment.numbers().any(|other| other == number))
    }

    /// The AS that the route came from: the first of the path if it begins with a sequence.
    pub fn first(&self) -> Option<u32> {
        let segment = self.segments().next().filter(|segment| segment.kind == SegmentKind::Sequence)?;
        segment.numbers().next()
    }

    /// Whether some AS number needs four octets.
    pub fn needs_four_octets(&self) -> bool {
        self.segments().any(|segment| segment.numbers().any(|number| number > u16::MAX.into()))
    }

    /// The path with an AS put before it: RFC 4271 section 5.1.2.
    pub fn prepend(&self, number: u32) -> Self {
        let mut path = Vec::with_capacity(self.0.len() + 6);
        let rest = match *self.0 {
            [code, count, ref rest @ ..]
                if code == SegmentKind::Sequence.code() && usize::from(count) < MAX_SEGMENT =>
            {
                path.extend_from_slice(&[code, count + 1]);
                rest
            }
            _ => {
                path.extend_from_slice(&[SegmentKind::Sequence.code(), 1]);
                &self.0
            }
        };
        path.extend_from_slice(&number.to_be_bytes());
        path.extend_from_slice(rest);
        Self(path.into())
    }

    /// The true path behind an AS_PATH of an old speaker and its AS4_PATH: as many leading AS numbers of the first as
    /// it has more, then the second. An AS4_PATH longer than the AS_PATH is ignored (RFC 6793 section 4.2.3).
    pub fn merge_as4_path(&self, as4_path: &AsPath) -> Self {
        let Some(mut missing) = self.length().checked_sub(as4_path.length()) else { return self.clone() };
        let mut path = Vec::new();
        for segment in self.segments() {
            if missing == 0 {
                break;
            }
            match segment.kind {
                SegmentKind::Set => {
                    push_segment(&mut path, SegmentKind::Set, segment.numbers());
                    missing -= 1;
                }
                SegmentKind::Sequence => {
                    let taken = missing.min(segment.numbers().len());
                    push_segment(&mut path, SegmentKind::Sequence, segment.numbers().take(taken));
                    missing -= taken;
                }
            }
        }
        path.extend_from_slice(&as4_path.0);
        Self(path.into())
    }
}

/// Appends a segment of at most 255 numbers.
fn push_segment(path: &mut Vec<u8>, kind: SegmentKind, numbers: impl ExactSizeIterator<Item = u32>) {
    path.extend_from_slice(&[kind.code(), numbers.len() as u8]);
    numbers.for_each(|number| path.extend_from_slice(&number.to_be_bytes()));
}

impl fmt::Display for AsPath {
    /// As operators write it: `64501 64502 {64510,64511}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let (open, between, close) = match segment.kind {
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::Sequence => ("", " ", ""),
            };
            f.write_str(open)?;
            for (index, number) in segment.numbers().enumerate() {
                if index > 0 {
                    f.write_str(between)?;
                }
                write!(f, "{number}")?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

impl fmt::Debug for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}
