//! The wire format of BGP-4: RFC 4271 section 4.
//!
//! ```text
//!  bytes ──▶ next_frame ──▶ Frame { kind, body } ──▶ Message::decode
//!            header errors                           open.rs     RFC 4271 4.2, 6.2; capability.rs RFC 5492
//!            (6.1)                                   update.rs   4.3, 6.3; nlri.rs, attributes.rs, RFC 7606
//!                                                    notification.rs  4.5
//! ```
//!
//! Whatever the bytes are, nothing here panics. What cannot be read is a [`Notification`]: the very message that the
//! peer is to get, so that every check names its code, subcode and data at the place where it is made.

mod as_path;
mod attributes;
mod capability;
mod decode;
mod nlri;
mod notification;
mod open;
mod update;

#[cfg(test)]
mod tests;

pub use as_path::{AsPath, AsPathError, AsWidth, Segment, SegmentKind};
pub use attributes::{Aggregator, Attributes, Origin, OtherAttribute, attribute};
pub use capability::{AddressFamily, Capability};
pub use decode::{AttributeFault, DecodeContext, DecodedAttributes, PeerKind};
pub use nlri::{Nlri, NlriError};
pub use notification::{Cease, ErrorCode, FsmError, HeaderError, Notification, OpenError, UpdateError};
pub use open::{AS_TRANS, Open};
pub use update::{TooLong, Update, encode_announcements, encode_end_of_rib, encode_withdrawals};

/// Bytes of the message header: marker, length, type.
pub const HEADER_LEN: usize = 19;
/// Largest message: RFC 4271 section 4.1.
pub const MAX_MESSAGE: usize = 4096;

const MARKER: [u8; 16] = [0xff; 16];

/// Type of a message: RFC 4271 section 4.1, RFC 2918.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Opens the session.
    Open,
    /// Routes.
    Update,
    /// An error, which ends the session.
    Notification,
    /// Nothing, in time.
    Keepalive,
    /// Send all routes again.
    RouteRefresh,
}

impl MessageKind {
    fn code(self) -> u8 {
        match self {
            MessageKind::Open => 1,
            MessageKind::Update => 2,
            MessageKind::Notification => 3,
            MessageKind::Keepalive => 4,
            MessageKind::RouteRefresh => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Open, Self::Update, Self::Notification, Self::Keepalive, Self::RouteRefresh]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    /// Whether a whole message may have this length: RFC 4271 section 6.1.
    fn accepts_length(self, length: usize) -> bool {
        match self {
            MessageKind::Open => length >= 29,
            MessageKind::Update => length >= 23,
            MessageKind::Notification => length >= 21,
            MessageKind::Keepalive => length == HEADER_LEN,
            MessageKind::RouteRefresh => length == 23,
        }
    }
}

/// A whole message, its header checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: MessageKind,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Takes the first message from a byte stream: the message and what follows it, or `None` while it is not all there.
/// A wrong header is told as soon as its bytes have arrived.
pub fn next_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, Notification> {
    let seen = bytes.len().min(MARKER.len());
    if bytes.iter().zip(MARKER).any(|(found, expected)| *found != expected) {
        return Err(HeaderError::ConnectionNotSynchronized.into());
    }
    let (Some(length_field), Some(&code), true) = (bytes.get(16..18), bytes.get(18), seen == MARKER.len()) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([length_field[0], length_field[1]]));
    let bad_length = || Notification::new(HeaderError::BadMessageLength, length_field);
    if !(HEADER_LEN..=MAX_MESSAGE).contains(&length) {
        return Err(bad_length());
    }
    let Some(kind) = MessageKind::from_code(code) else {
        return Err(Notification::new(HeaderError::BadMessageType, &[code]));
    };
    if !kind.accepts_length(length) {
        return Err(bad_length());
    }
    let Some(body) = bytes.get(HEADER_LEN..length) else { return Ok(None) };
    Ok(Some((Frame { kind, body }, bytes.get(length..).unwrap_or_default())))
}

/// A message, as far as it can be read without knowing the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Opens the session.
    Open(Open),
    /// Routes; the attributes are read by [`DecodedAttributes::decode`], which knows the session.
    Update(Update<'a>),
    /// The peer ends the session.
    Notification(Notification),
    /// The peer is alive.
    Keepalive,
    /// The peer wants all routes of a family again.
    RouteRefresh(AddressFamily),
}

impl<'a> Message<'a> {
    /// Reads a message.
    pub fn decode(frame: Frame<'a>) -> Result<Self, Notification> {
        Ok(match frame.kind {
            MessageKind::Open => Message::Open(Open::decode(frame.body)?),
            MessageKind::Update => Message::Update(Update::decode(frame.body)?),
            MessageKind::Notification => Message::Notification(Notification::decode(frame.body)),
            MessageKind::Keepalive => Message::Keepalive,
            MessageKind::RouteRefresh => match *frame.body {
                [afi_high, afi_low, _, safi] => {
                    Message::RouteRefresh(AddressFamily { afi: u16::from_be_bytes([afi_high, afi_low]), safi })
                }
                _ => {
                    let length = u16::try_from(HEADER_LEN + frame.body.len()).unwrap_or(u16::MAX);
                    return Err(Notification::new(HeaderError::BadMessageLength, &length.to_be_bytes()));
                }
            },
        })
    }
}

/// Appends a message whose body `write` appends. If the body is too long for a message, nothing is appended.
fn encode_message(kind: MessageKind, into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = into.len();
    into.extend_from_slice(&MARKER);
    into.extend_from_slice(&[0, 0, kind.code()]);
    write(into);
    let length = into.len() - start;
    match u16::try_from(length) {
        Ok(field) if length <= MAX_MESSAGE => {
            into[start + 16..start + 18].copy_from_slice(&field.to_be_bytes());
            true
        }
        _ => {
            into.truncate(start);
            false
        }
    }
}

/// Appends a KEEPALIVE.
pub fn encode_keepalive(into: &mut Vec<u8>) {
    encode_message(MessageKind::Keepalive, into, |_| {});
}

/// Appends a ROUTE-REFRESH.
pub fn encode_route_refresh(family: AddressFamily, into: &mut Vec<u8>) {
    encode_message(MessageKind::RouteRefresh, into, |body| {
        body.extend_from_slice(&family.afi.to_be_bytes());
        body.extend_from_slice(&[0, family.safi]);
    });
}

/// Splits the first `count` bytes off, or `None` if there are fewer.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

/// Splits a number of one byte off.
fn take_u8(bytes: &mut &[u8]) -> Option<u8> {
    take(bytes, 1).map(|byte| byte[0])
}

/// Splits a number of two bytes off.
fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes, 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

/// Splits a number of four bytes off.
fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes, 4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}
