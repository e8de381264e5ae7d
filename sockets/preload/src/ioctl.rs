//! What ioctl tells of a socket, and of the VR's interfaces (netdevice(7)).

use std::net::IpAddr;

use libc::{c_int, c_ulong};
use nix::errno::Errno;
use stack_api::interface::{InterfaceKind, InterfaceState};

use crate::description::{Held, Kind};
use crate::process::{self, Process};
use crate::{address, names, raw};

/// Bytes of an `ifreq`: a name, and what is asked or told.
pub const REQUEST_BYTES: usize = 40;
/// Bytes of the name in it, with a zero behind it.
const NAME_BYTES: usize = libc::IFNAMSIZ;
/// `SIOCGIF…` and `SIOCSIF…` by number; those that set something have the even ones, but for the first two.
const ABOUT_INTERFACES: std::ops::RangeInclusive<c_ulong> = libc::SIOCGIFNAME..=libc::SIOCSIFTXQLEN;

/// What a request about interfaces tells.
type Answer = [u8; REQUEST_BYTES - NAME_BYTES];

/// Whether a request is about one interface: its argument is an `ifreq` then.
pub fn is_about_interface(request: c_ulong) -> bool {
    ABOUT_INTERFACES.contains(&request) && request != libc::SIOCGIFCONF
}

/// Answers a request about one interface, in place.
pub fn interface(request: c_ulong, asked: &mut [u8; REQUEST_BYTES]) -> Result<(), Errno> {
    let all = process::with(|process| process.interfaces())?;
    let (name, rest) = asked.split_at_mut(NAME_BYTES);
    if request == libc::SIOCGIFNAME {
        let wanted = rest.first_chunk::<4>().map_or(0, |number| u32::from_ne_bytes(*number));
        let (_, state) = all.iter().find(|(number, _)| *number == wanted).ok_or(Errno::ENODEV)?;
        name.copy_from_slice(&name_of(state));
        return Ok(());
    }
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
    let is_named = |state: &InterfaceState| name.get(..length) == Some(state.name.as_str().as_bytes());
    let (number, state) = all.iter().find(|(_, state)| is_named(state)).ok_or(Errno::ENODEV)?;
    rest.copy_from_slice(&tell(request, *number, state)?);
    Ok(())
}

/// `SIOCGIFCONF`: an `ifreq` for each interface with an IPv4 address.
pub fn configuration() -> Result<Vec<[u8; REQUEST_BYTES]>, Errno> {
    let all = process::with(|process| process.interfaces())?;
    let with_address = all.iter().filter_map(|(_, state)| Some((state, own_v4(state).ok()?.0)));
    Ok(with_address
        .map(|(state, own)| {
            let mut entry = [0; REQUEST_BYTES];
            let (name, rest) = entry.split_at_mut(NAME_BYTES);
            name.copy_from_slice(&name_of(state));
            rest.copy_from_slice(&socket_address(own));
            entry
        })
        .collect())
}

fn tell(request: c_ulong, number: u32, state: &InterfaceState) -> Result<Answer, Errno> {
    Ok(match request {
        // Flags have 16 bits here.
        libc::SIOCGIFFLAGS => begun_with(&names::flags(state).to_ne_bytes()[..2]),
        libc::SIOCGIFADDR => socket_address(own_v4(state)?.0),
        // Nothing is point to point: the peer's address is the own one, as Linux has it then.
        libc::SIOCGIFDSTADDR => socket_address(own_v4(state)?.0),
        libc::SIOCGIFNETMASK => own_v4(state).map(|(own, length)| socket_address(names::mask(own, length)))?,
        libc::SIOCGIFBRDADDR => {
            let own = own_v4(state)?.0;
            socket_address(names::broadcast(state, own).unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()))
        }
        libc::SIOCGIFMTU => begun_with(&state.mtu.to_ne_bytes()),
        libc::SIOCGIFINDEX => begun_with(&number.to_ne_bytes()),
        libc::SIOCGIFMETRIC | libc::SIOCGIFTXQLEN => begun_with(&[]),
        libc::SIOCGIFHWADDR => {
            let kind = match state.kind {
                InterfaceKind::Loopback => libc::ARPHRD_LOOPBACK,
                InterfaceKind::Port | InterfaceKind::InterVr { .. } => libc::ARPHRD_ETHER,
            };
            begun_with(&[&kind.to_ne_bytes()[..], &state.mac.unwrap_or_default()].concat())
        }
        libc::SIOCSIFNAME
        | libc::SIOCSIFFLAGS
        | libc::SIOCSIFADDR
        | libc::SIOCSIFDSTADDR
        | libc::SIOCSIFNETMASK
        | libc::SIOCSIFBRDADDR
        | libc::SIOCSIFMETRIC
        | libc::SIOCSIFMTU
        | libc::SIOCSIFHWADDR
        | libc::SIOCSIFTXQLEN => return Err(Errno::EPERM),
        other => {
            crate::log::not_covered(&format!("ioctl {other:#x}"));
            return Err(Errno::EOPNOTSUPP);
        }
    })
}

/// The first IPv4 address of an interface, and the length of its subnet.
fn own_v4(state: &InterfaceState) -> Result<(IpAddr, u8), Errno> {
    names::addresses(state).into_iter().find(|(own, _)| own.is_ipv4()).ok_or(Errno::EADDRNOTAVAIL)
}

fn name_of(state: &InterfaceState) -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    // What is longer is cut, behind it stands a zero.
    for (place, byte) in name.iter_mut().take(NAME_BYTES - 1).zip(state.name.as_str().bytes()) {
        *place = byte;
    }
    name
}

fn socket_address(own: IpAddr) -> Answer {
    let (encoded, length) = address::encode((own, 0).into(), 0);
    begun_with(encoded.get(..length).unwrap_or_default())
}

/// An answer that begins with these bytes; the rest are zeros.
fn begun_with(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    for (place, byte) in answer.iter_mut().zip(bytes) {
        *place = *byte;
    }
    answer
}

/// `FIONREAD`: bytes that can be read at once, of datagrams those of the first one. `SIOCOUTQ`: bytes that the peer has
/// not taken.
pub fn count(held: Held, request: c_ulong) -> Result<c_int, Errno> {
    if let Some(stream) = held.lock()?.as_mut() {
        let count = if request == libc::FIONREAD { stream.unread() } else { stream.unsent() };
        return Ok(c_int::try_from(count).unwrap_or(c_int::MAX));
    }
    if held.kind() == Kind::Stream || request != libc::FIONREAD {
        return Ok(0);
    }
    process::with(|process| {
        let control = process.control(held.index())?;
        let (kind, sockets) = ((control.raw, control.family), control.library_sockets());
        for socket in sockets {
            let Process { library, reactor, .. } = process;
            let next = raw::with_header(kind, &mut [], |none| library.peek_datagram(reactor, socket, none));
            if let Ok(Some(next)) = next {
                return Ok(c_int::try_from(next.length).unwrap_or(c_int::MAX));
            }
        }
        Ok(0)
    })
}
