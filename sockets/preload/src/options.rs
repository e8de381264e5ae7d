//! getsockopt and setsockopt: each option of Linux that has a meaning here is a field of the library's options; some
//! have none, and are remembered and told back; the others fail as unknown ones do, and the log names them.

use std::time::Duration;

use ipc::{Family, InterfaceName};
use nix::errno::Errno;
use sockets::{Options, errno};

use crate::control::{Control, Kept, Phase};
use crate::description::{Direction, Held, Kind};
use crate::process::{self, Process};
use crate::{log, names};

/// `SO_DOMAIN` and others that the libc crate has, and those that it lacks.
const IP_MTU_DISCOVER: i32 = 10;
const IP_RECVERR: i32 = 11;
const IPV6_RECVERR: i32 = 25;
const IPV6_MTU_DISCOVER: i32 = 23;
const TCP_WINDOW_CLAMP: i32 = 10;
const TCP_MD5SIG: i32 = 14;
const IP_MINTTL: i32 = 21;
const IPV6_MINHOPCOUNT: i32 = 73;
const IP_MULTICAST_ALL: i32 = 49;
const IPV6_MULTICAST_ALL: i32 = 29;
/// The most of TCP_KEEPIDLE and TCP_KEEPINTVL, and of TCP_KEEPCNT.
const MOST_SECONDS: u32 = 32_767;
const MOST_PROBES: u32 = 127;
/// `struct tcp_info` up to `tcpi_total_retrans`: all that programs of this century read by position.
const TCP_INFO_BYTES: usize = 104;
/// TCP's state in it.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
/// What a segment carries over an inter-VR interface, or a usual port.
const MSS: i32 = 1460;

/// Options without a meaning on our sockets: whatever they are set to is told back.
const REMEMBERED: [(i32, i32); 28] = [
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_BROADCAST),
    (libc::SOL_SOCKET, libc::SO_DONTROUTE),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE),
    (libc::SOL_SOCKET, libc::SO_PRIORITY),
    (libc::SOL_SOCKET, libc::SO_MARK),
    (libc::SOL_SOCKET, libc::SO_TIMESTAMP),
    (libc::SOL_SOCKET, libc::SO_BUSY_POLL),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT),
    (libc::SOL_SOCKET, libc::SO_INCOMING_CPU),
    (libc::SOL_SOCKET, libc::SO_ZEROCOPY),
    (libc::IPPROTO_IP, IP_MTU_DISCOVER),
    (libc::IPPROTO_IP, IP_RECVERR),
    (libc::IPPROTO_IP, libc::IP_FREEBIND),
    (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT),
    // A socket hears the groups that it has joined itself.
    (libc::IPPROTO_IP, IP_MULTICAST_ALL),
    (libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL),
    (libc::IPPROTO_IPV6, IPV6_RECVERR),
    (libc::IPPROTO_IPV6, IPV6_MTU_DISCOVER),
    (libc::IPPROTO_IPV6, libc::IPV6_FLOWINFO),
    (libc::IPPROTO_TCP, libc::TCP_CORK),
    (libc::IPPROTO_TCP, libc::TCP_QUICKACK),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
    (libc::IPPROTO_TCP, TCP_WINDOW_CLAMP),
];

fn integer(value: &[u8]) -> Result<i32, Errno> {
    if let Some(bytes) = value.get(..4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) {
        return Ok(i32::from_ne_bytes(bytes));
    }
    Err(Errno::EINVAL)
}

/// Options of IP may be a single byte.
fn small(value: &[u8]) -> Result<i32, Errno> {
    integer(value).or_else(|_| value.first().map(|byte| i32::from(*byte)).ok_or(Errno::EINVAL))
}

fn byte(value: i32) -> Result<u8, Errno> {
    u8::try_from(value).map_err(|_| Errno::EINVAL)
}

fn pair(value: &[u8]) -> Result<(i64, i64), Errno> {
    let half =
        |at: usize| value.get(at..at + 8).and_then(|half| <[u8; 8]>::try_from(half).ok()).map(i64::from_ne_bytes);
    half(0).zip(half(8)).ok_or(Errno::EINVAL)
}

/// setsockopt(2).
pub fn set(held: Held, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    if held.kind() == Kind::Netlink {
        // Buffers, groups, filters: there is nothing that they would change.
        return Ok(());
    }
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
            let (seconds, microseconds) = pair(value)?;
            if !(0..1_000_000).contains(&microseconds) {
                return Err(Errno::EDOM);
            }
            let seconds = u64::try_from(seconds).unwrap_or(0);
            let timeout = Duration::from_secs(seconds) + Duration::from_micros(microseconds.unsigned_abs());
            let direction = if name == libc::SO_RCVTIMEO { Direction::Receive } else { Direction::Send };
            held.description().set_timeout(direction, Some(timeout).filter(|timeout| !timeout.is_zero()));
            Ok(())
        }
        _ => process::with(|process| process.set_option(held, level, name, value)),
    }
}

impl Process {
    fn set_option(&mut self, held: Held, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let control = self.control(held.index())?;
        match (level, name) {
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => {
                if control.bound.is_some() || control.family == Family::Ipv4 {
                    return Err(Errno::EINVAL);
                }
                control.v6_only = integer(value)? != 0;
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => return self.bind_to_device(held, value),
            (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP) => {
                return self.membership(held, name == libc::IP_ADD_MEMBERSHIP, value);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) => {
                return self.membership_v6(held, name == libc::IPV6_ADD_MEMBERSHIP, value);
            }
            (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => {
                let interface = self.interface_of_v4(value)?;
                return self.change(held, |options| {
                    options.multicast_interface = interface;
                    Ok(())
                });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) => {
                let number = integer(value)?;
                let interface = names::interface_of(self, u32::try_from(number).unwrap_or(0));
                return self.change(held, |options| {
                    options.multicast_interface = interface;
                    Ok(())
                });
            }
            _ => {}
        }
        if REMEMBERED.contains(&(level, name)) {
            let value = small(value)?;
            control.remembered.retain(|(known, _)| *known != (level, name));
            control.remembered.push(((level, name), value));
            return Ok(());
        }
        if is_received_with(level, name) {
            let value = small(value)?;
            control.remembered.retain(|(known, _)| *known != (level, name));
            if value != 0 {
                control.remembered.push(((level, name), 1));
            }
            return Ok(());
        }
        if (level, name) == (libc::IPPROTO_TCP, libc::TCP_CONGESTION) {
            let wanted = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return if matches!(wanted, b"cubic" | b"reno") { Ok(()) } else { Err(Errno::ENOENT) };
        }
        let is_tcp = held.kind() == Kind::Stream;
        let mut kept = control.kept;
        self.change(held, |options| set_field(options, &mut kept, level, name, value, is_tcp))?;
        self.control(held.index())?.kept = kept;
        Ok(())
    }

    /// Changes a socket's options, all of its library's sockets likewise.
    fn change(&mut self, held: Held, change: impl FnOnce(&mut Options) -> Result<(), Errno>) -> Result<(), Errno> {
        let control = self.control(held.index())?;
        let mut options = control.options.clone();
        change(&mut options)?;
        options.check().map_err(errno)?;
        control.options = options.clone();
        for socket in control.library_sockets() {
            match self.library.set_options(socket, options.clone()) {
                Ok(()) => {}
                // One that is just failing is none of the library's any longer.
                Err(sockets::SocketError::InvalidArgument) => {}
                Err(error) => return Err(errno(error)),
            }
        }
        Ok(())
    }

    fn bind_to_device(&mut self, held: Held, value: &[u8]) -> Result<(), Errno> {
        let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
        let interface = match name {
            "" => None,
            name if names::number_of(self, name) == 0 => return Err(Errno::ENODEV),
            name => Some(InterfaceName::new(name).map_err(|_| Errno::ENODEV)?),
        };
        self.control(held.index())?.interface = interface;
        Ok(())
    }

    /// `ip_mreq`, `ip_mreqn` or an address.
    fn interface_of_v4(&mut self, value: &[u8]) -> Result<Option<InterfaceName>, Errno> {
        let quad = |at: usize| value.get(at..at + 4).and_then(|quad| <[u8; 4]>::try_from(quad).ok());
        if let Some(number) = quad(8).map(u32::from_ne_bytes).filter(|number| *number != 0) {
            return names::interface_of(self, number).map(Some).ok_or(Errno::ENODEV);
        }
        let own = quad(if value.len() >= 8 { 4 } else { 0 }).ok_or(Errno::EINVAL)?;
        let own = std::net::IpAddr::from(own);
        if own.is_unspecified() {
            return Ok(None);
        }
        let has = |known: &&vr_api::manager::InterVrInterface| known.addresses.contains(&own);
        let found = self.library.vrfib().interfaces().find(has).map(|known| known.name.clone());
        found.map(Some).ok_or(Errno::EADDRNOTAVAIL)
    }

    fn membership(&mut self, held: Held, join: bool, value: &[u8]) -> Result<(), Errno> {
        let group = value.get(..4).and_then(|group| <[u8; 4]>::try_from(group).ok()).ok_or(Errno::EINVAL)?;
        let interface = self.interface_of_v4(value)?;
        self.join(held, join, group.into(), interface)
    }

    fn membership_v6(&mut self, held: Held, join: bool, value: &[u8]) -> Result<(), Errno> {
        let group = value.get(..16).and_then(|group| <[u8; 16]>::try_from(group).ok()).ok_or(Errno::EINVAL)?;
        let number = value.get(16..).map_or(Ok(0), integer)?;
        let interface = names::interface_of(self, u32::try_from(number).unwrap_or(0));
        self.join(held, join, group.into(), interface)
    }

    fn join(
        &mut self,
        held: Held,
        join: bool,
        group: std::net::IpAddr,
        interface: Option<InterfaceName>,
    ) -> Result<(), Errno> {
        // As Linux without a route to groups: an interface that is there.
        let interface = match interface {
            Some(interface) => interface,
            None => names::interface_of(self, 1).ok_or(Errno::ENODEV)?,
        };
        let control = self.control(held.index())?;
        let socket = control.library_sockets().first().copied().ok_or(Errno::EINVAL)?;
        let done = match join {
            true => self.library.join(socket, group, &interface),
            false => self.library.leave(socket, group, &interface),
        };
        done.map_err(errno)
    }
}

/// Options that let something come with each datagram.
pub fn is_received_with(level: i32, name: i32) -> bool {
    match level {
        libc::IPPROTO_IP => matches!(name, libc::IP_PKTINFO | libc::IP_RECVTTL | libc::IP_RECVTOS),
        libc::IPPROTO_IPV6 => {
            matches!(name, libc::IPV6_RECVPKTINFO | libc::IPV6_RECVHOPLIMIT | libc::IPV6_RECVTCLASS)
        }
        _ => false,
    }
}

fn set_field(
    options: &mut Options,
    kept: &mut Kept,
    level: i32,
    name: i32,
    value: &[u8],
    is_tcp: bool,
) -> Result<(), Errno> {
    let up_to = |most: u32| {
        let asked = u32::try_from(integer(value)?).ok();
        asked.filter(|asked| (1..=most).contains(asked)).ok_or(Errno::EINVAL)
    };
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => options.reuse_address = integer(value)? != 0,
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => {
            options.keepalive = (integer(value)? != 0).then_some(kept.probing);
        }
        // Linux tells twice what was asked for; so does `get`.
        (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => {
            options.send_buffer_bytes = u32::try_from(integer(value)?).unwrap_or(u32::MAX).saturating_mul(2);
        }
        (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => {
            options.receive_buffer_bytes = u32::try_from(integer(value)?).unwrap_or(u32::MAX).saturating_mul(2);
        }
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let on = integer(value)?;
            let time = integer(value.get(4..).unwrap_or_default())?;
            if on != 0 {
                kept.linger = Duration::from_secs(u64::try_from(time).unwrap_or(0));
            }
            options.linger = (on != 0).then_some(kept.linger);
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
            options.ttl = match small(value)? {
                -1 => None,
                ttl => Some(byte(ttl).and_then(|ttl| if ttl == 0 { Err(Errno::EINVAL) } else { Ok(ttl) })?),
            };
        }
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            options.tos = byte(small(value)?.max(0) & 0xff)?;
        }
        (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) if !is_tcp => {
            options.multicast_ttl = match small(value)? {
                -1 => 1,
                ttl => byte(ttl)?,
            };
        }
        (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP) | (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP) => {
            options.multicast_loop = small(value)? != 0;
        }
        (libc::IPPROTO_IP, IP_MINTTL) | (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT) => {
            options.minimum_ttl = Some(byte(small(value)?)?).filter(|ttl| *ttl > 0);
        }
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) if is_tcp => options.nodelay = integer(value)? != 0,
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) if is_tcp => drop(integer(value)?),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) if is_tcp => {
            let milliseconds = u64::try_from(integer(value)?).map_err(|_| Errno::EINVAL)?;
            options.user_timeout = (milliseconds > 0).then(|| Duration::from_millis(milliseconds));
        }
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL | libc::TCP_KEEPCNT) if is_tcp => {
            match name {
                libc::TCP_KEEPIDLE => kept.probing.idle = Duration::from_secs(up_to(MOST_SECONDS)?.into()),
                libc::TCP_KEEPINTVL => kept.probing.interval = Duration::from_secs(up_to(MOST_SECONDS)?.into()),
                _ => kept.probing.probes = up_to(MOST_PROBES)?,
            }
            // They do not turn it on.
            options.keepalive = options.keepalive.map(|_| kept.probing);
        }
        (libc::IPPROTO_TCP, TCP_MD5SIG) if is_tcp => return set_key(options, value),
        _ => {
            log::not_covered(&format!("setsockopt of option {name} at level {level}"));
            return Err(Errno::ENOPROTOOPT);
        }
    }
    Ok(())
}

/// `struct tcp_md5sig`: an address in 128 bytes, two of flags and length, then the key.
fn set_key(options: &mut Options, value: &[u8]) -> Result<(), Errno> {
    let crate::address::Given::Internet(peer, _) = crate::address::decode(value)? else { return Err(Errno::EINVAL) };
    let length = value.get(130..132).and_then(|length| <[u8; 2]>::try_from(length).ok()).map(u16::from_ne_bytes);
    let length = usize::from(length.ok_or(Errno::EINVAL)?);
    let key = value.get(136..136 + length).ok_or(Errno::EINVAL)?;
    let peer = peer.ip().to_canonical();
    if !options.peers.iter().any(|known| known.peer == peer) {
        options.peers.push(sockets::PeerOptions::new(peer));
    }
    if let Some(of_peer) = options.peers.iter_mut().find(|known| known.peer == peer) {
        of_peer.key = if key.is_empty() { None } else { Some(sockets::Secret::new(key).ok_or(Errno::EINVAL)?) };
    }
    Ok(())
}

/// getsockopt(2): the value's bytes.
pub fn get(held: Held, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    if level == libc::SOL_SOCKET && matches!(name, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) {
        let direction = if name == libc::SO_RCVTIMEO { Direction::Receive } else { Direction::Send };
        let timeout = held.description().timeout(direction).unwrap_or_default();
        let parts = [timeout.as_secs() as i64, i64::from(timeout.subsec_micros())];
        return Ok(parts.iter().flat_map(|part| part.to_ne_bytes()).collect());
    }
    if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR) {
        return take_error(held).map(|error| error.to_ne_bytes().to_vec());
    }
    process::look(held.index(), |control| get_field(held.kind(), control, level, name))
}

/// SO_ERROR: told once.
fn take_error(held: Held) -> Result<i32, Errno> {
    if let Some(stream) = held.lock()?.as_mut() {
        return Ok(stream.take_error().map_or(0, |error| errno(error) as i32));
    }
    process::with(|process| {
        let control = process.control(held.index())?;
        if let Some(error) = control.error.take() {
            return Ok(errno(error) as i32);
        }
        for socket in control.library_sockets() {
            if let Ok(Some(error)) = process.library.take_error(&mut process.reactor, socket) {
                return Ok(errno(error) as i32);
            }
        }
        Ok(0)
    })
}

fn get_field(kind: Kind, control: &Control, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    let is_tcp = kind == Kind::Stream;
    let options = &control.options;
    let remembered = control.remembered.iter().find(|(known, _)| *known == (level, name)).map(|(_, value)| *value);
    if REMEMBERED.contains(&(level, name)) || is_received_with(level, name) {
        return Ok(remembered.unwrap_or(0).to_ne_bytes().to_vec());
    }
    let probing = control.kept.probing;
    let whole_seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
    let value = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_DOMAIN) if kind == Kind::Netlink => libc::AF_NETLINK,
        (libc::SOL_SOCKET, libc::SO_TYPE) => {
            if is_tcp {
                libc::SOCK_STREAM
            } else if control.raw.is_some() {
                libc::SOCK_RAW
            } else {
                libc::SOCK_DGRAM
            }
        }
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => {
            if is_tcp {
                libc::IPPROTO_TCP
            } else {
                control.raw.map_or(libc::IPPROTO_UDP, |protocol| protocol.number().into())
            }
        }
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => match control.family {
            Family::Ipv4 => libc::AF_INET,
            Family::Ipv6 => libc::AF_INET6,
        },
        (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => matches!(control.phase, Phase::Listening(..)).into(),
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => options.reuse_address.into(),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => options.keepalive.is_some().into(),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => i32::try_from(options.send_buffer()).unwrap_or(i32::MAX),
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => i32::try_from(options.receive_buffer()).unwrap_or(i32::MAX),
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let on = i32::from(options.linger.is_some());
            let time = whole_seconds(control.kept.linger);
            return Ok([on.to_ne_bytes(), time.to_ne_bytes()].concat());
        }
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => {
            let Some(name) = &control.interface else { return Ok(Vec::new()) };
            return Ok([name.as_str().as_bytes(), &[0]].concat());
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
            options.unicast_ttl().into()
        }
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => options.tos.into(),
        (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) => {
            options.multicast_ttl.into()
        }
        (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP) | (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP) => {
            options.multicast_loop.into()
        }
        (libc::IPPROTO_IP, IP_MINTTL) | (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT) => {
            options.minimum_ttl.unwrap_or(0).into()
        }
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => control.v6_only.into(),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) if is_tcp => options.nodelay.into(),
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) if is_tcp => MSS,
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) if is_tcp => {
            i32::try_from(options.user_timeout.unwrap_or_default().as_millis()).unwrap_or(i32::MAX)
        }
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) if is_tcp => whole_seconds(probing.idle),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) if is_tcp => whole_seconds(probing.interval),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) if is_tcp => i32::try_from(probing.probes).unwrap_or(i32::MAX),
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) if is_tcp => return Ok(b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        (libc::IPPROTO_TCP, libc::TCP_INFO) if is_tcp => return Ok(tcp_info(control)),
        _ => {
            log::not_covered(&format!("getsockopt of option {name} at level {level}"));
            return Err(Errno::ENOPROTOOPT);
        }
    };
    Ok(value.to_ne_bytes().to_vec())
}

/// `struct tcp_info`: the state and the MSS; the counters of segments are 0, since there are none.
fn tcp_info(control: &Control) -> Vec<u8> {
    let mut info = vec![0; TCP_INFO_BYTES];
    info[0] = match control.phase {
        Phase::Connected(_) => ESTABLISHED,
        Phase::Listening(..) => LISTEN,
        Phase::Idle | Phase::Opening(_) | Phase::Datagram(..) => CLOSE,
    };
    let mut put = |at: usize, value: i32| info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    put(16, MSS); // tcpi_snd_mss
    put(20, MSS); // tcpi_rcv_mss
    put(76, i32::MAX); // tcpi_snd_ssthresh: never left slow start
    put(80, 10); // tcpi_snd_cwnd, in segments
    put(84, MSS); // tcpi_advmss
    info
}
