//! Reading path attributes, with the revised error handling of RFC 7606: most errors cost the routes of one UPDATE,
//! not the session.

use std::net::Ipv4Addr;

use super::attributes::flags;
use super::{
    AddressFamily, Aggregator, AsPath, AsPathError, AsWidth, Attributes, Nlri, Notification, Origin, OtherAttribute,
    UpdateError, attribute, take, take_u8, take_u16, take_u32,
};

/// Whether a peer is in our AS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// Another AS: eBGP.
    External,
    /// Our AS: iBGP.
    Internal,
}

/// What must be known of a session to read attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeContext {
    /// Octets of an AS number.
    pub width: AsWidth,
    /// Internal or external.
    pub peer: PeerKind,
}

/// What is wrong with an UPDATE whose routes are to be treated as withdrawn (RFC 7606 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttributeFault {
    /// The attributes do not add up to their total length (RFC 7606 section 4).
    #[error("the attribute list ends within an attribute")]
    ListCutOff,
    /// The Optional and Transitive bits are not the type's.
    #[error("attribute {0}: wrong flags")]
    Flags(u8),
    /// The length is not the type's.
    #[error("attribute {0}: wrong length")]
    Length(u8),
    /// Neither IGP, EGP nor INCOMPLETE.
    #[error("ORIGIN {0}")]
    Origin(u8),
    /// The path cannot be read.
    #[error("AS_PATH: {0}")]
    AsPath(AsPathError),
    /// NEXT_HOP is no address of a host.
    #[error("NEXT_HOP {0}")]
    NextHop(Ipv4Addr),
    /// A mandatory attribute is missing.
    #[error("attribute {0} is missing")]
    Missing(u8),
}

impl AttributeFault {
    /// The code for the cases where the session must end all the same.
    fn error(self) -> UpdateError {
        match self {
            AttributeFault::ListCutOff => UpdateError::MalformedAttributeList,
            AttributeFault::Flags(_) => UpdateError::AttributeFlagsError,
            AttributeFault::Length(kind) if is_well_known(kind) || kind == attribute::MULTI_EXIT_DISC => {
                UpdateError::AttributeLengthError
            }
            AttributeFault::Length(_) => UpdateError::OptionalAttributeError,
            AttributeFault::Origin(_) => UpdateError::InvalidOriginAttribute,
            AttributeFault::AsPath(_) => UpdateError::MalformedAsPath,
            AttributeFault::NextHop(_) => UpdateError::InvalidNextHopAttribute,
            AttributeFault::Missing(_) => UpdateError::MissingWellKnownAttribute,
        }
    }
}

/// Routes of IPv4 unicast in the attribute MP_REACH_NLRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MpReach<'a> {
    /// Their next hop.
    pub next_hop: Ipv4Addr,
    /// Their prefixes.
    pub nlri: Nlri<'a>,
}

/// The attributes of an UPDATE, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DecodedAttributes<'a> {
    /// The attributes of the routes; their fault: treat the routes as withdrawn. `None` where there are no routes.
    pub routes: Option<Result<Attributes, AttributeFault>>,
    /// Further routes, with the same attributes but for the next hop.
    pub mp_reach: Option<MpReach<'a>>,
    /// Further withdrawn routes.
    pub mp_unreach: Nlri<'a>,
    /// Attributes that were discarded because of an error in them.
    pub discarded: u32,
}

impl<'a> DecodedAttributes<'a> {
    /// Reads the attributes of an UPDATE that has these announced prefixes in its own field. An error ends the session.
    pub fn decode(list: &'a [u8], nlri: Nlri<'a>, context: DecodeContext) -> Result<Self, Notification> {
        let mut reader = Reader::new(context);
        reader.read_list(list)?;
        reader.finish(!nlri.is_empty())
    }
}

/// One attribute, cut out of the list.
#[derive(Clone, Copy)]
struct Raw<'a> {
    flags: u8,
    kind: u8,
    value: &'a [u8],
    /// All of it, for the data of a NOTIFICATION.
    whole: &'a [u8],
}

/// An attribute that is discarded or a fault that withdraws the routes.
enum Trouble {
    Withdraw(AttributeFault),
    Discard,
    Reset(Notification),
}

impl From<AttributeFault> for Trouble {
    fn from(fault: AttributeFault) -> Self {
        Trouble::Withdraw(fault)
    }
}

/// What has been read so far.
struct Reader<'a> {
    context: DecodeContext,
    origin: Option<Origin>,
    as_path: Option<AsPath>,
    as4_path: Option<AsPath>,
    next_hop: Option<Ipv4Addr>,
    med: Option<u32>,
    local_pref: Option<u32>,
    atomic_aggregate: bool,
    aggregator: Option<Aggregator>,
    as4_aggregator: Option<Aggregator>,
    originator_id: Option<Ipv4Addr>,
    others: Vec<OtherAttribute>,
    mp_reach: Option<MpReach<'a>>,
    mp_unreach: Nlri<'a>,
    seen: [bool; 256],
    fault: Option<(AttributeFault, &'a [u8])>,
    discarded: u32,
}

impl<'a> Reader<'a> {
    fn new(context: DecodeContext) -> Self {
        Self {
            context,
            origin: None,
            as_path: None,
            as4_path: None,
            next_hop: None,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            as4_aggregator: None,
            originator_id: None,
            others: Vec::new(),
            mp_reach: None,
            mp_unreach: Nlri::default(),
            seen: [false; 256],
            fault: None,
            discarded: 0,
        }
    }

    fn read_list(&mut self, mut list: &'a [u8]) -> Result<(), Notification> {
        while !list.is_empty() {
            let Some(raw) = take_attribute(&mut list) else {
                self.fault.get_or_insert((AttributeFault::ListCutOff, &[]));
                return Ok(());
            };
            // RFC 7606 section 3 (g): the first of several counts; two of MP_REACH or MP_UNREACH end the session.
            if std::mem::replace(&mut self.seen[usize::from(raw.kind)], true) {
                if matches!(raw.kind, attribute::MP_REACH_NLRI | attribute::MP_UNREACH_NLRI) {
                    return Err(UpdateError::MalformedAttributeList.into());
                }
                self.discarded += 1;
                continue;
            }
            match self.read(raw) {
                Ok(()) => {}
                Err(Trouble::Withdraw(fault)) => {
                    self.fault.get_or_insert((fault, raw.whole));
                }
                Err(Trouble::Discard) => self.discarded += 1,
                Err(Trouble::Reset(notification)) => return Err(notification),
            }
        }
        Ok(())
    }

    fn read(&mut self, raw: Raw<'a>) -> Result<(), Trouble> {
        check_flags(raw)?;
        match raw.kind {
            attribute::ORIGIN => {
                let [code] = fixed(raw)?;
                self.origin = Some(Origin::from_code(code).ok_or(AttributeFault::Origin(code))?);
            }
            attribute::AS_PATH => {
                let path = AsPath::decode(raw.value, self.context.width).map_err(AttributeFault::AsPath)?;
                self.as_path = Some(path);
            }
            attribute::NEXT_HOP => self.next_hop = Some(host(Ipv4Addr::from(fixed(raw)?))?),
            attribute::MULTI_EXIT_DISC => self.med = Some(u32::from_be_bytes(fixed(raw)?)),
            attribute::LOCAL_PREF => {
                self.internal_only()?;
                self.local_pref = Some(u32::from_be_bytes(fixed(raw)?));
            }
            attribute::ATOMIC_AGGREGATE if raw.value.is_empty() => self.atomic_aggregate = true,
            attribute::ATOMIC_AGGREGATE => return Err(Trouble::Discard),
            attribute::AGGREGATOR => self.aggregator = Some(aggregator(raw.value, self.context.width)?),
            attribute::ORIGINATOR_ID => {
                self.internal_only()?;
                self.originator_id = Some(Ipv4Addr::from(fixed(raw)?));
            }
            attribute::CLUSTER_LIST => {
                self.internal_only()?;
                multiple_of(4, raw)?;
            }
            attribute::COMMUNITIES => self.keep(raw, 4)?,
            attribute::EXTENDED_COMMUNITIES => self.keep(raw, 8)?,
            attribute::LARGE_COMMUNITIES => self.keep(raw, 12)?,
            attribute::MP_REACH_NLRI => self.mp_reach = mp_reach(raw).map_err(Trouble::Reset)?,
            attribute::MP_UNREACH_NLRI => self.mp_unreach = mp_unreach(raw).map_err(Trouble::Reset)?,
            attribute::AS4_PATH if self.context.width == AsWidth::Two => {
                self.as4_path = Some(AsPath::decode(raw.value, AsWidth::Four).map_err(|_| Trouble::Discard)?);
            }
            attribute::AS4_AGGREGATOR if self.context.width == AsWidth::Two => {
                self.as4_aggregator = Some(aggregator(raw.value, AsWidth::Four)?);
            }
            // A new speaker does not send these to a new one (RFC 6793 section 6).
            attribute::AS4_PATH | attribute::AS4_AGGREGATOR => return Err(Trouble::Discard),
            _ if raw.flags & flags::OPTIONAL == 0 => {
                let error = UpdateError::UnrecognizedWellKnownAttribute;
                return Err(Trouble::Reset(Notification::new(error, raw.whole)));
            }
            // RFC 4271 section 5: unknown transitive attributes are passed on, marked as partial; others end here.
            kind if raw.flags & flags::TRANSITIVE != 0 => {
                self.others.push(OtherAttribute { kind, partial: true, value: raw.value.into() });
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 7606 sections 7.5, 7.9 and 7.10: from an external peer these are discarded unread.
    fn internal_only(&self) -> Result<(), Trouble> {
        match self.context.peer {
            PeerKind::Internal => Ok(()),
            PeerKind::External => Err(Trouble::Discard),
        }
    }

    fn keep(&mut self, raw: Raw<'a>, unit: usize) -> Result<(), AttributeFault> {
        multiple_of(unit, raw)?;
        let partial = raw.flags & flags::PARTIAL != 0;
        self.others.push(OtherAttribute { kind: raw.kind, partial, value: raw.value.into() });
        Ok(())
    }

    fn finish(mut self, has_nlri: bool) -> Result<DecodedAttributes<'a>, Notification> {
        let has_routes = has_nlri || self.mp_reach.is_some();
        let mut routes = None;
        if has_routes {
            routes = Some(match self.fault {
                Some((fault, _)) => Err(fault),
                None => self.take_attributes(has_nlri),
            });
        } else if let Some((fault, whole)) = self.fault {
            // RFC 7606 section 5.2: no routes were named that could be treated as withdrawn.
            return Err(Notification::new(fault.error(), whole));
        }
        let Self { mp_reach, mp_unreach, discarded, .. } = self;
        Ok(DecodedAttributes { routes, mp_reach, mp_unreach, discarded })
    }

    fn take_attributes(&mut self, has_nlri: bool) -> Result<Attributes, AttributeFault> {
        let origin = self.origin.ok_or(AttributeFault::Missing(attribute::ORIGIN))?;
        let mut as_path = self.as_path.take().ok_or(AttributeFault::Missing(attribute::AS_PATH))?;
        let next_hop = match (has_nlri, &self.mp_reach) {
            (false, Some(reach)) => Some(reach.next_hop),
            _ => self.next_hop,
        };
        let next_hop = next_hop.ok_or(AttributeFault::Missing(attribute::NEXT_HOP))?;
        if self.context.peer == PeerKind::Internal && self.local_pref.is_none() {
            return Err(AttributeFault::Missing(attribute::LOCAL_PREF));
        }
        // RFC 6793 section 4.2.3: an AGGREGATOR that is not AS_TRANS says that an old speaker aggregated afterwards.
        let aggregated_by_old = self.aggregator.is_some_and(|found| found.as_number != super::AS_TRANS.into());
        if self.as4_aggregator.is_some() && self.aggregator.is_some() && !aggregated_by_old {
            self.aggregator = self.as4_aggregator;
        }
        if let Some(as4_path) = self.as4_path.take().filter(|_| self.as4_aggregator.is_none() || !aggregated_by_old) {
            as_path = as_path.merge_as4_path(&as4_path);
        }
        self.others.sort_by_key(|other| other.kind);
        Ok(Attributes {
            origin,
            as_path,
            next_hop,
            med: self.med,
            local_pref: self.local_pref,
            atomic_aggregate: self.atomic_aggregate,
            aggregator: self.aggregator,
            originator_id: self.originator_id,
            others: std::mem::take(&mut self.others).into(),
        })
    }
}

/// Cuts the next attribute off the list; `None`: it is not all there.
fn take_attribute<'a>(list: &mut &'a [u8]) -> Option<Raw<'a>> {
    let start = *list;
    let flags = take_u8(list)?;
    let kind = take_u8(list)?;
    let length = match flags & flags::EXTENDED_LENGTH {
        0 => take_u8(list)?.into(),
        _ => take_u16(list)?.into(),
    };
    let value = take(list, length)?;
    let whole = start.get(..start.len() - list.len())?;
    Some(Raw { flags, kind, value, whole })
}

fn is_well_known(kind: u8) -> bool {
    use attribute::*;
    matches!(kind, ORIGIN | AS_PATH | NEXT_HOP | LOCAL_PREF | ATOMIC_AGGREGATE)
}

/// RFC 7606 section 3 (c), and sections 7.6, 7.7 and RFC 6793 section 6 for those that are discarded instead.
fn check_flags(raw: Raw<'_>) -> Result<(), Trouble> {
    use attribute::*;
    let expected = match raw.kind {
        ORIGIN | AS_PATH | NEXT_HOP | LOCAL_PREF | ATOMIC_AGGREGATE => flags::TRANSITIVE,
        MULTI_EXIT_DISC | ORIGINATOR_ID | CLUSTER_LIST | MP_REACH_NLRI | MP_UNREACH_NLRI => flags::OPTIONAL,
        AGGREGATOR | COMMUNITIES | EXTENDED_COMMUNITIES | AS4_PATH | AS4_AGGREGATOR | LARGE_COMMUNITIES => {
            flags::OPTIONAL | flags::TRANSITIVE
        }
        _ => return Ok(()),
    };
    if raw.flags & (flags::OPTIONAL | flags::TRANSITIVE) == expected {
        return Ok(());
    }
    match raw.kind {
        AS4_PATH | AS4_AGGREGATOR => Err(Trouble::Discard),
        kind => Err(AttributeFault::Flags(kind).into()),
    }
}

fn fixed<const LENGTH: usize>(raw: Raw<'_>) -> Result<[u8; LENGTH], AttributeFault> {
    raw.value.try_into().map_err(|_| AttributeFault::Length(raw.kind))
}

fn multiple_of(unit: usize, raw: Raw<'_>) -> Result<(), AttributeFault> {
    match raw.value.len() {
        length if length > 0 && length.is_multiple_of(unit) => Ok(()),
        _ => Err(AttributeFault::Length(raw.kind)),
    }
}

/// RFC 4271 section 6.3: a syntactically correct next hop is the address of a host.
fn host(address: Ipv4Addr) -> Result<Ipv4Addr, AttributeFault> {
    let first = address.octets()[0];
    match first == 0 || first == 127 || first >= 224 {
        true => Err(AttributeFault::NextHop(address)),
        false => Ok(address),
    }
}

/// RFC 7606 section 7.7: of a wrong length it is discarded.
fn aggregator(value: &[u8], width: AsWidth) -> Result<Aggregator, Trouble> {
    let mut rest = value;
    let as_number = match width {
        AsWidth::Two => take_u16(&mut rest).map(u32::from),
        AsWidth::Four => take_u32(&mut rest),
    };
    match (as_number, take_u32(&mut rest), rest) {
        (Some(as_number), Some(id), []) => Ok(Aggregator { as_number, router_id: id.into() }),
        _ => Err(Trouble::Discard),
    }
}

/// MP_REACH_NLRI: RFC 4760 section 3. Families other than IPv4 unicast were not agreed on and are ignored.
fn mp_reach(raw: Raw<'_>) -> Result<Option<MpReach<'_>>, Notification> {
    let wrong = || Notification::new(UpdateError::OptionalAttributeError, raw.whole);
    let mut value = raw.value;
    let family = take_family(&mut value).ok_or_else(wrong)?;
    let length = take_u8(&mut value).ok_or_else(wrong)?;
    let next_hop = take(&mut value, length.into()).ok_or_else(wrong)?;
    take_u8(&mut value).ok_or_else(wrong)?;
    if family != AddressFamily::IPV4_UNICAST {
        return Ok(None);
    }
    // RFC 7606 section 7.11: with a wrong length of the next hop, what follows cannot be found.
    let next_hop: [u8; 4] = next_hop.try_into().map_err(|_| wrong())?;
    let next_hop = host(next_hop.into()).map_err(|_| wrong())?;
    Ok(Some(MpReach { next_hop, nlri: Nlri::parse(value).map_err(|_| wrong())? }))
}

/// MP_UNREACH_NLRI: RFC 4760 section 4.
fn mp_unreach(raw: Raw<'_>) -> Result<Nlri<'_>, Notification> {
    let wrong = || Notification::new(UpdateError::OptionalAttributeError, raw.whole);
    let mut value = raw.value;
    let family = take_family(&mut value).ok_or_else(wrong)?;
    match family == AddressFamily::IPV4_UNICAST {
        true => Nlri::parse(value).map_err(|_| wrong()),
        false => Ok(Nlri::default()),
    }
}

fn take_family(value: &mut &[u8]) -> Option<AddressFamily> {
    Some(AddressFamily { afi: take_u16(value)?, safi: take_u8(value)? })
}
