//! Sockets from their making to their end, and their options.

use std::ffi::{c_int, c_void};

use ipc::{Family, IpProtocol};
use libc::{sockaddr, socklen_t};
use nix::errno::Errno;

use super::{bytes, bytes_mut, given, number, success, tell, tell_bytes};
use crate::address::Given;
use crate::description::Kind;
use crate::thread::Inside;
use crate::{bind, close, connect, control, descriptors, names, netlink, options, original, table};

/// # Safety
/// As socket(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let family = match domain {
        libc::AF_INET => Family::Ipv4,
        libc::AF_INET6 => Family::Ipv6,
        libc::AF_NETLINK if !Inside::is_here() => {
            let flags = kind & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
            return match protocol {
                libc::NETLINK_ROUTE => number(control::create_netlink(flags)),
                _ => number(Err(Errno::EPROTONOSUPPORT)),
            };
        }
        // SAFETY: As the caller says.
        _ => return descriptors::open(|| unsafe { original::socket(domain, kind, protocol) }),
    };
    if Inside::is_here() {
        // SAFETY: As the caller says.
        return descriptors::open(|| unsafe { original::socket(domain, kind, protocol) });
    }
    let flags = kind & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let made = match (kind & !flags, protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => control::create(family, Kind::Stream, None, flags),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => control::create(family, Kind::Datagram, None, flags),
        (libc::SOCK_RAW, protocol) => {
            let protocol = u8::try_from(protocol).ok().and_then(IpProtocol::new);
            protocol.map_or(Err(Errno::EPROTONOSUPPORT), |protocol| {
                control::create(family, Kind::Datagram, Some(protocol), flags)
            })
        }
        (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    };
    number(made)
}

/// # Safety
/// As bind(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::bind(fd, address, length) };
    };
    if held.kind() == Kind::Netlink {
        // SAFETY: As the caller says.
        let port = unsafe { bytes(address.cast(), (length as usize).min(128)) }.and_then(netlink::decode);
        return success(port.map(|port| netlink::bind(held, port)));
    }
    // SAFETY: As the caller says.
    success(unsafe { given(address, length) }.and_then(|address| match address {
        Given::Internet(address, scope) => bind::bind(held, address, scope),
        Given::Unspecified => Err(Errno::EAFNOSUPPORT),
    }))
}

/// # Safety
/// As listen(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn listen(fd: c_int, backlog: c_int) -> c_int {
    match table::socket(fd) {
        Some(held) => success(control::listen(held, backlog)),
        // SAFETY: As the caller says.
        None => unsafe { original::listen(fd, backlog) },
    }
}

/// # Safety
/// As connect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::connect(fd, address, length) };
    };
    if held.kind() == Kind::Netlink {
        return success(Ok(()));
    }
    // SAFETY: As the caller says.
    success(unsafe { given(address, length) }.and_then(|address| match address {
        Given::Internet(address, scope) => connect::connect(held, Some(address), scope),
        Given::Unspecified => connect::connect(held, None, 0),
    }))
}

/// # Safety
/// As accept(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    if table::socket(fd).is_none() {
        // SAFETY: As the caller says.
        return unsafe { original::accept(fd, address, length) };
    }
    // SAFETY: As the caller says.
    unsafe { accept4(fd, address, length, 0) }
}

/// # Safety
/// As accept4(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::accept4(fd, address, length, flags) };
    };
    number(control::accept(held, flags).and_then(|(accepted, peer)| {
        let scope = names::scope_of(held, peer.ip());
        // SAFETY: As the caller says.
        unsafe { tell(peer, scope, address, length) }?;
        Ok(accepted)
    }))
}

/// # Safety
/// As shutdown(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn shutdown(fd: c_int, how: c_int) -> c_int {
    match table::socket(fd) {
        Some(held) => success(close::shutdown(held, how)),
        // SAFETY: As the caller says.
        None => unsafe { original::shutdown(fd, how) },
    }
}

/// # Safety
/// As getsockname(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::getsockname(fd, address, length) };
    };
    if held.kind() == Kind::Netlink {
        // SAFETY: As the caller says.
        return success(unsafe { tell_bytes(&netlink::own(held), address, length) });
    }
    success(control::own_name(held).and_then(|own| {
        let scope = names::scope_of(held, own.ip());
        // SAFETY: As the caller says.
        unsafe { tell(own, scope, address, length) }
    }))
}

/// # Safety
/// As getpeername(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::getpeername(fd, address, length) };
    };
    success(control::peer_name(held).and_then(|peer| {
        let scope = names::scope_of(held, peer.ip());
        // SAFETY: As the caller says.
        unsafe { tell(peer, scope, address, length) }
    }))
}

/// # Safety
/// As setsockopt(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::setsockopt(fd, level, name, value, length) };
    };
    if length > i32::MAX as socklen_t {
        return success(Err(Errno::EINVAL));
    }
    // SAFETY: As the caller says.
    success(unsafe { bytes(value, length as usize) }.and_then(|value| options::set(held, level, name, value)))
}

/// # Safety
/// As getsockopt(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::getsockopt(fd, level, name, value, length) };
    };
    // SAFETY: As the caller says.
    let Some(length) = (unsafe { length.as_mut() }) else { return success(Err(Errno::EFAULT)) };
    if *length > i32::MAX as socklen_t {
        return success(Err(Errno::EINVAL));
    }
    success(options::get(held, level, name).and_then(|found| {
        // SAFETY: As the caller says.
        let room = unsafe { bytes_mut(value, *length as usize) }?;
        let fits = found.len().min(room.len());
        room[..fits].copy_from_slice(&found[..fits]);
        *length = fits as socklen_t;
        Ok(())
    }))
}
