//! UPDATE: RFC 4271 sections 4.3 and 6.3. Reading is a view; writing packs as many prefixes into a message as it takes.

use ipnet::Ipv4Net;

use super::nlri::{encode as encode_prefix, encoded_len};
use super::{HEADER_LEN, MAX_MESSAGE, MessageKind, Nlri, Notification, UpdateError, encode_message, take, take_u16};

/// The three fields of an UPDATE. The prefixes are checked, the attributes are not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    /// Withdrawn routes.
    pub withdrawn: Nlri<'a>,
    /// Path attributes of the announced routes.
    pub attributes: &'a [u8],
    /// Announced routes.
    pub nlri: Nlri<'a>,
}

/// The attributes leave no room for a prefix in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("path attributes of {0} bytes leave no room for a prefix in a message of {MAX_MESSAGE} bytes")]
pub struct TooLong(pub usize);

/// Two length fields besides the header.
const FIXED_LEN: usize = HEADER_LEN + 4;

impl<'a> Update<'a> {
    /// Cuts the body of an UPDATE into its fields.
    pub fn decode(mut body: &'a [u8]) -> Result<Self, Notification> {
        let list = || Notification::from(UpdateError::MalformedAttributeList);
        let network = |_| Notification::from(UpdateError::InvalidNetworkField);
        let length = take_u16(&mut body).ok_or_else(list)?;
        let withdrawn = take(&mut body, length.into()).ok_or_else(list)?;
        let length = take_u16(&mut body).ok_or_else(list)?;
        let attributes = take(&mut body, length.into()).ok_or_else(list)?;
        let withdrawn = Nlri::parse(withdrawn).map_err(network)?;
        Ok(Self { withdrawn, attributes, nlri: Nlri::parse(body).map_err(network)? })
    }

    /// Whether it is the End-of-RIB marker of IPv4 unicast: RFC 4724 section 2.
    pub fn is_end_of_rib(&self) -> bool {
        self.withdrawn.is_empty() && self.attributes.is_empty() && self.nlri.is_empty()
    }
}

/// Appends UPDATEs that announce prefixes with these (encoded) attributes; returns how many.
pub fn encode_announcements(attributes: &[u8], prefixes: &[Ipv4Net], into: &mut Vec<u8>) -> Result<usize, TooLong> {
    // The longest prefix takes five bytes.
    let room = MAX_MESSAGE.checked_sub(FIXED_LEN + attributes.len()).filter(|room| *room >= 5);
    let room = room.ok_or(TooLong(attributes.len()))?;
    let length = u16::try_from(attributes.len()).map_err(|_| TooLong(attributes.len()))?;
    Ok(encode_packed(prefixes, room, |part| {
        encode_message(MessageKind::Update, into, |body| {
            body.extend_from_slice(&[0, 0]);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(attributes);
            part.iter().for_each(|prefix| encode_prefix(*prefix, body));
        });
    }))
}

/// Appends UPDATEs that withdraw prefixes; returns how many.
pub fn encode_withdrawals(prefixes: &[Ipv4Net], into: &mut Vec<u8>) -> usize {
    encode_packed(prefixes, MAX_MESSAGE - FIXED_LEN, |part| {
        encode_message(MessageKind::Update, into, |body| {
            let length_at = body.len();
            body.extend_from_slice(&[0, 0]);
            part.iter().for_each(|prefix| encode_prefix(*prefix, body));
            // Fits: the packing keeps a message below 4096 bytes.
            let length = (body.len() - length_at - 2) as u16;
            body[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
            body.extend_from_slice(&[0, 0]);
        });
    })
}

/// Appends the End-of-RIB marker of IPv4 unicast.
pub fn encode_end_of_rib(into: &mut Vec<u8>) {
    encode_message(MessageKind::Update, into, |body| body.extend_from_slice(&[0; 4]));
}

/// Cuts a list into parts whose prefixes take at most `room` bytes; returns how many parts.
fn encode_packed(mut prefixes: &[Ipv4Net], room: usize, mut write: impl FnMut(&[Ipv4Net])) -> usize {
    let mut parts = 0;
    while !prefixes.is_empty() {
        let mut used = 0;
        let fits = |prefix: &&Ipv4Net| {
            used += encoded_len(**prefix);
            used <= room
        };
        let (part, rest) = prefixes.split_at(prefixes.iter().take_while(fits).count().max(1));
        write(part);
        prefixes = rest;
        parts += 1;
    }
    parts
}
