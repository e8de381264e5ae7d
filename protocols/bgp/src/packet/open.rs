//! OPEN: RFC 4271 sections 4.2 and 6.2, with the capabilities of RFC 5492 and the long parameters of RFC 9072.

use std::net::Ipv4Addr;

use super::{
    AddressFamily, Capability, MessageKind, Notification, OpenError, encode_message, take, take_u8, take_u16, take_u32,
};

/// Stands for an AS number that does not fit two octets: RFC 6793.
pub const AS_TRANS: u16 = 23456;

const VERSION: u8 = 4;
const PARAMETER_CAPABILITIES: u8 = 2;
/// RFC 9072: parameter type that says that parameter lengths have two octets.
const PARAMETER_EXTENDED: u8 = 255;

/// An OPEN message whose fields are right in themselves; whether they are the expected ones is the session's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The field of two octets; [`Open::as_number`] is the number that counts.
    pub my_as: u16,
    /// Proposed hold time in seconds: 0, or at least 3.
    pub hold_time_seconds: u16,
    /// BGP Identifier, not zero.
    pub router_id: Ipv4Addr,
    /// All capabilities, in order.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// Our OPEN: IPv4 unicast, route refresh, four-octet AS number.
    pub fn ours(as_number: u32, hold_time_seconds: u16, router_id: Ipv4Addr) -> Self {
        Self {
            my_as: u16::try_from(as_number).unwrap_or(AS_TRANS),
            hold_time_seconds,
            router_id,
            capabilities: vec![
                Capability::Multiprotocol(AddressFamily::IPV4_UNICAST),
                Capability::RouteRefresh,
                Capability::FourOctetAs(as_number),
            ],
        }
    }

    /// The sender's AS number: that of the four-octet capability where there is one.
    pub fn as_number(&self) -> u32 {
        self.four_octet_as().unwrap_or(self.my_as.into())
    }

    /// The AS number of the four-octet capability.
    pub fn four_octet_as(&self) -> Option<u32> {
        self.capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(number) => Some(*number),
            Capability::Multiprotocol(_) | Capability::RouteRefresh | Capability::Unknown { .. } => None,
        })
    }

    /// Whether the sender takes IPv4 unicast routes: it says so, or it names no family at all (RFC 4760 section 8).
    pub fn takes_ipv4_unicast(&self) -> bool {
        let mut families =
            self.capabilities.iter().filter(|capability| matches!(capability, Capability::Multiprotocol(_))).peekable();
        families.peek().is_none()
            || families.any(|family| *family == Capability::Multiprotocol(AddressFamily::IPV4_UNICAST))
    }

    /// Reads the body of an OPEN.
    pub fn decode(mut body: &[u8]) -> Result<Self, Notification> {
        // The header's length check left at least ten bytes; a caller without one gets an error all the same.
        let cut = || Notification::from(OpenError::Unspecific);
        let version = take_u8(&mut body).ok_or_else(cut)?;
        if version != VERSION {
            let ours = u16::from(VERSION).to_be_bytes();
            return Err(Notification::new(OpenError::UnsupportedVersionNumber, &ours));
        }
        let my_as = take_u16(&mut body).ok_or_else(cut)?;
        let hold_time_seconds = take_u16(&mut body).ok_or_else(cut)?;
        let router_id = take_u32(&mut body).map(Ipv4Addr::from).ok_or_else(cut)?;
        let capabilities = decode_parameters(body)?;
        let open = Self { my_as, hold_time_seconds, router_id, capabilities };
        if my_as == 0 || open.as_number() == 0 {
            return Err(OpenError::BadPeerAs.into());
        }
        if matches!(hold_time_seconds, 1 | 2) {
            return Err(OpenError::UnacceptableHoldTime.into());
        }
        if router_id.is_unspecified() {
            return Err(OpenError::BadBgpIdentifier.into());
        }
        Ok(open)
    }

    /// The capabilities alone, for the data of a NOTIFICATION.
    pub fn encoded_capabilities(&self) -> Vec<u8> {
        let mut capabilities = Vec::new();
        self.capabilities.iter().for_each(|capability| capability.encode(&mut capabilities));
        capabilities
    }

    /// Appends the whole message. Capabilities that need more than 255 bytes take the form of RFC 9072.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let capabilities = self.encoded_capabilities();
        encode_message(MessageKind::Open, into, |body| {
            body.push(VERSION);
            body.extend_from_slice(&self.my_as.to_be_bytes());
            body.extend_from_slice(&self.hold_time_seconds.to_be_bytes());
            body.extend_from_slice(&self.router_id.octets());
            match u8::try_from(capabilities.len()) {
                Ok(0) => body.push(0),
                // 253: the parameter's own type and length count into the length of all parameters.
                Ok(length @ ..=253) => body.extend_from_slice(&[length + 2, PARAMETER_CAPABILITIES, length]),
                _ => {
                    let length = u16::try_from(capabilities.len()).unwrap_or(u16::MAX);
                    body.extend_from_slice(&[PARAMETER_EXTENDED, PARAMETER_EXTENDED]);
                    body.extend_from_slice(&length.saturating_add(3).to_be_bytes());
                    body.push(PARAMETER_CAPABILITIES);
                    body.extend_from_slice(&length.to_be_bytes());
                }
            }
            body.extend_from_slice(&capabilities);
        });
    }
}

/// Reads the optional parameters with their length. One that we do not know ends the session (RFC 4271 section 6.2).
fn decode_parameters(mut bytes: &[u8]) -> Result<Vec<Capability>, Notification> {
    let cut = || Notification::from(OpenError::Unspecific);
    let mut length = usize::from(take_u8(&mut bytes).ok_or_else(cut)?);
    let extended = length != 0 && bytes.first() == Some(&PARAMETER_EXTENDED);
    if extended {
        take(&mut bytes, 1).ok_or_else(cut)?;
        length = take_u16(&mut bytes).ok_or_else(cut)?.into();
    }
    if length != bytes.len() {
        return Err(cut());
    }
    let mut capabilities = Vec::new();
    while !bytes.is_empty() {
        let kind = take_u8(&mut bytes).ok_or_else(cut)?;
        let length = match extended {
            true => take_u16(&mut bytes).ok_or_else(cut)?.into(),
            false => take_u8(&mut bytes).ok_or_else(cut)?.into(),
        };
        let value = take(&mut bytes, length).ok_or_else(cut)?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(OpenError::UnsupportedOptionalParameter.into());
        }
        Capability::decode_all(value, &mut capabilities)?;
    }
    Ok(capabilities)
}
