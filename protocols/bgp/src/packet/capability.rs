//! Capabilities: what a speaker can beyond RFC 4271. RFC 5492.

use super::{Notification, OpenError, take, take_u8};

/// Address family and subsequent address family: RFC 4760.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressFamily {
    /// 1 is IPv4.
    pub afi: u16,
    /// 1 is unicast.
    pub safi: u8,
}

impl AddressFamily {
    /// IPv4 unicast.
    pub const IPV4_UNICAST: AddressFamily = AddressFamily { afi: 1, safi: 1 };
}

/// One capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// 1, RFC 4760: routes of this family may be sent.
    Multiprotocol(AddressFamily),
    /// 2, RFC 2918.
    RouteRefresh,
    /// 65, RFC 6793: the speaker's AS number in four octets.
    FourOctetAs(u32),
    /// One that we do not use; ignored, as RFC 5492 section 4 wants.
    Unknown {
        /// Its code.
        code: u8,
        /// Its value.
        value: Vec<u8>,
    },
}

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const FOUR_OCTET_AS: u8 = 65;

impl Capability {
    /// Reads the value of a Capabilities optional parameter.
    pub(super) fn decode_all(mut bytes: &[u8], into: &mut Vec<Capability>) -> Result<(), Notification> {
        while !bytes.is_empty() {
            let value = take_u8(&mut bytes).zip(take_u8(&mut bytes));
            let value = value.and_then(|(code, length)| Some((code, take(&mut bytes, length.into())?)));
            let Some((code, value)) = value else { return Err(OpenError::Unspecific.into()) };
            into.push(Self::decode(code, value).ok_or(OpenError::Unspecific)?);
        }
        Ok(())
    }

    /// `None`: the length is not the code's.
    fn decode(code: u8, value: &[u8]) -> Option<Self> {
        Some(match (code, value) {
            (MULTIPROTOCOL, &[afi_high, afi_low, _, safi]) => {
                Capability::Multiprotocol(AddressFamily { afi: u16::from_be_bytes([afi_high, afi_low]), safi })
            }
            (ROUTE_REFRESH, []) => Capability::RouteRefresh,
            (FOUR_OCTET_AS, &[a, b, c, d]) => Capability::FourOctetAs(u32::from_be_bytes([a, b, c, d])),
            (MULTIPROTOCOL | ROUTE_REFRESH | FOUR_OCTET_AS, _) => return None,
            _ => Capability::Unknown { code, value: value.to_vec() },
        })
    }

    /// Appends code, length and value. A value is at most 255 bytes long because it was read so, or is our own.
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Capability::Multiprotocol(family) => {
                into.extend_from_slice(&[MULTIPROTOCOL, 4]);
                into.extend_from_slice(&family.afi.to_be_bytes());
                into.extend_from_slice(&[0, family.safi]);
            }
            Capability::RouteRefresh => into.extend_from_slice(&[ROUTE_REFRESH, 0]),
            Capability::FourOctetAs(number) => {
                into.extend_from_slice(&[FOUR_OCTET_AS, 4]);
                into.extend_from_slice(&number.to_be_bytes());
            }
            Capability::Unknown { code, value } => {
                let value = &value[..value.len().min(255)];
                into.extend_from_slice(&[*code, value.len() as u8]);
                into.extend_from_slice(value);
            }
        }
    }
}
