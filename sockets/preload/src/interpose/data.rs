//! What sockets send and receive.

use std::ffi::{c_int, c_uint, c_void};
use std::net::SocketAddr;
use std::slice;

use libc::{iovec, mmsghdr, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t, timespec};
use nix::errno::Errno;

use super::{bytes, bytes_mut, given, number, size, tell, tell_bytes};
use crate::address::Given;
use crate::description::{Held, Kind};
use crate::table::{self, Number};
use crate::thread::Inside;
use crate::{ancillary, datagram, descriptors, kernel, names, netlink, original, stream, transfer};

/// Who is to receive, and by which interface: its number, or 0.
type Receiver = (SocketAddr, u32);

/// Most parts of one call (UIO_MAXIOV).
const MOST_PARTS: usize = 1024;

/// Sends; a connection that is broken raises SIGPIPE, unless the caller says otherwise.
#[inline(always)]
fn sends(held: Held, bytes: &[u8], to: Option<Receiver>, flags: c_int) -> Result<usize, Errno> {
    // A connection goes to whom it goes.
    if held.kind() == Kind::Stream {
        return stream::send(held, bytes, flags).inspect_err(|error| {
            if *error == Errno::EPIPE && flags & libc::MSG_NOSIGNAL == 0 {
                kernel::raise(libc::SIGPIPE);
            }
        });
    }
    sends_datagram(held, bytes, to)
}

#[inline(never)]
fn sends_datagram(held: Held, bytes: &[u8], to: Option<Receiver>) -> Result<usize, Errno> {
    match to {
        _ if held.kind() == Kind::Netlink => netlink::send(held, bytes),
        Some((to, scope)) if scope != 0 => ancillary::send(held, bytes, Some(to), scope, &[]),
        to => datagram::send(held, bytes, to.map(|(to, _)| to)),
    }
}

/// Receives, and asks not from whom.
#[inline(always)]
fn receives_bytes(held: Held, into: &mut [u8], flags: c_int) -> Result<usize, Errno> {
    match held.kind() {
        Kind::Stream => stream::receive(held, into, flags),
        Kind::Datagram | Kind::Netlink => receives(held, into, flags).map(|(count, _)| count),
    }
}

/// Receives; of a datagram, from whom.
#[inline(never)]
fn receives(held: Held, into: &mut [u8], flags: c_int) -> Result<(usize, Option<SocketAddr>), Errno> {
    match held.kind() {
        Kind::Stream => stream::receive(held, into, flags).map(|count| (count, None)),
        Kind::Datagram => datagram::receive(held, into, flags).map(|(count, info)| {
            let count = if flags & libc::MSG_TRUNC != 0 { info.length } else { count };
            (count, Some(info.source))
        }),
        Kind::Netlink => netlink::receive(held, into, flags)
            .map(|(count, length)| (if flags & libc::MSG_TRUNC != 0 { length } else { count }, None)),
    }
}

/// # Safety
/// As read(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn read(fd: c_int, buffer: *mut c_void, count: size_t) -> ssize_t {
    match table::socket(fd) {
        Some(held) => {
            // SAFETY: As the caller says.
            size(unsafe { bytes_mut(buffer, count) }.and_then(|into| receives_bytes(held, into, 0)))
        }
        // SAFETY: As the caller says.
        None => unsafe { read_other(fd, buffer, count) },
    }
}

/// # Safety
/// As read(2).
#[inline(never)]
unsafe fn read_other(fd: c_int, buffer: *mut c_void, count: size_t) -> ssize_t {
    match table::look_up(fd) {
        // A bell, with a lock in the hand.
        // SAFETY: As the caller says.
        Number::Internal => kernel::without_cancellation(|| unsafe { original::read(fd, buffer, count) }),
        // SAFETY: As the caller says.
        Number::Foreign | Number::Socket(_) | Number::Epoll(_) => unsafe { original::read(fd, buffer, count) },
    }
}

/// # Safety
/// As read(2); the size of the buffer was known to the compiler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __read_chk(fd: c_int, buffer: *mut c_void, count: size_t, room: size_t) -> ssize_t {
    if count > room {
        std::process::abort();
    }
    // SAFETY: As the caller says.
    unsafe { read(fd, buffer, count) }
}

/// # Safety
/// As write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn write(fd: c_int, buffer: *const c_void, count: size_t) -> ssize_t {
    match table::look_up(fd) {
        // SAFETY: As the caller says.
        Number::Socket(held) => size(unsafe { bytes(buffer, count) }.and_then(|bytes| sends(held, bytes, None, 0))),
        // SAFETY: As the caller says.
        Number::Internal => unsafe { ring(fd, buffer, count) },
        // SAFETY: As the caller says.
        Number::Foreign | Number::Epoll(_) => unsafe { original::write(fd, buffer, count) },
    }
}

/// Rings a bell, with a lock in the hand. Of one whose listener is gone the program's handlers know nothing.
///
/// # Safety
/// As write(2).
#[cold]
#[inline(never)]
unsafe fn ring(bell: c_int, buffer: *const c_void, count: size_t) -> ssize_t {
    kernel::without_cancellation(|| {
        // SAFETY: As the caller says.
        kernel::without_sigpipe(|| unsafe { original::write(bell, buffer, count) })
    })
}

/// # Safety
/// As recv(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    match table::socket(fd) {
        Some(held) => {
            // SAFETY: As the caller says.
            size(unsafe { bytes_mut(buffer, length) }.and_then(|into| receives_bytes(held, into, flags)))
        }
        // SAFETY: As the caller says.
        None => unsafe { original::recv(fd, buffer, length, flags) },
    }
}

/// # Safety
/// As recv(2); the size of the buffer was known to the compiler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    if length > room {
        std::process::abort();
    }
    // SAFETY: As the caller says.
    unsafe { recv(fd, buffer, length, flags) }
}

/// # Safety
/// As send(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    match table::socket(fd) {
        // SAFETY: As the caller says.
        Some(held) => size(unsafe { bytes(buffer, length) }.and_then(|bytes| sends(held, bytes, None, flags))),
        // SAFETY: As the caller says.
        None => unsafe { original::send(fd, buffer, length, flags) },
    }
}

/// # Safety
/// As recvfrom(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::recvfrom(fd, buffer, length, flags, address, address_length) };
    };
    // SAFETY: As the caller says.
    size(unsafe { bytes_mut(buffer, length) }.and_then(|into| {
        let (count, source) = receives(held, into, flags)?;
        match source {
            // SAFETY: As the caller says.
            Some(source) => unsafe { tell(source, names::scope_of(held, source.ip()), address, address_length) }?,
            // Of a connection Linux tells no address.
            None => {
                // SAFETY: As the caller says.
                if let Some(length) = unsafe { address_length.as_mut() }.filter(|_| !address.is_null()) {
                    *length = 0;
                }
            }
        }
        Ok(count)
    }))
}

/// # Safety
/// As recvfrom(2); the size of the buffer was known to the compiler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    room: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    if length > room {
        std::process::abort();
    }
    // SAFETY: As the caller says.
    unsafe { recvfrom(fd, buffer, length, flags, address, address_length) }
}

/// # Safety
/// As sendto(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sendto(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> ssize_t {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::sendto(fd, buffer, length, flags, address, address_length) };
    };
    // SAFETY: As the caller says.
    size(unsafe { bytes(buffer, length) }.and_then(|bytes| {
        // SAFETY: As the caller says.
        let to = unsafe { receiver(held, address, address_length) }?;
        sends(held, bytes, to, flags)
    }))
}

/// Who is to receive.
///
/// # Safety
/// `address` leads to so many bytes, or is null.
unsafe fn receiver(held: Held, address: *const sockaddr, length: socklen_t) -> Result<Option<Receiver>, Errno> {
    if address.is_null() || held.kind() != Kind::Datagram {
        return Ok(None);
    }
    // SAFETY: As the caller says.
    match unsafe { given(address, length) }? {
        Given::Internet(to, scope) => Ok(Some((to, scope))),
        Given::Unspecified => Ok(None),
    }
}

/// The parts of a message.
///
/// # Safety
/// `parts` leads to so many, or is null.
unsafe fn parts<'a>(parts: *const iovec, count: usize) -> Result<&'a [iovec], Errno> {
    match (parts.is_null(), count) {
        (_, 0) => Ok(&[]),
        (_, more) if more > MOST_PARTS => Err(Errno::EINVAL),
        (true, _) => Err(Errno::EFAULT),
        // SAFETY: As the caller says.
        (false, _) => Ok(unsafe { slice::from_raw_parts(parts, count) }),
    }
}

/// # Safety
/// Each part leads to as many bytes as it says.
unsafe fn gather(of: &[iovec], held: Held, to: Option<Receiver>, flags: c_int, control: &[u8]) -> Result<usize, Errno> {
    let total = of.iter().fold(0, |total: usize, part| total.saturating_add(part.iov_len));
    // As the kernel hands over what fits a segment: a reader that is as fast does not find the first part alone.
    let is_segment = of.len() > 1 && total <= transfer::PIECE;
    if is_segment || held.kind() != Kind::Stream {
        let mut whole = Vec::new();
        for part in of {
            // SAFETY: As the caller says.
            whole.extend_from_slice(unsafe { bytes(part.iov_base, part.iov_len) }?);
        }
        return match held.kind() {
            Kind::Datagram if !control.is_empty() => {
                ancillary::send(held, &whole, to.map(|(to, _)| to), to.map_or(0, |(_, scope)| scope), control)
            }
            Kind::Datagram | Kind::Netlink | Kind::Stream => sends(held, &whole, to, flags),
        };
    }
    let mut sent = 0;
    for part in of {
        // SAFETY: As the caller says.
        let part = unsafe { bytes(part.iov_base, part.iov_len) }?;
        if part.is_empty() {
            continue;
        }
        match sends(held, part, to, flags) {
            Ok(count) => {
                sent += count;
                if count < part.len() {
                    break;
                }
            }
            Err(_) if sent > 0 => {
                stream::leave_error(held);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Receives into the parts of a connection one after the other.
///
/// # Safety
/// Each part leads to as many bytes as it says, which may be written.
unsafe fn scatter(of: &[iovec], held: Held, flags: c_int) -> Result<usize, Errno> {
    if flags & libc::MSG_PEEK != 0 && of.len() > 1 {
        let room = of.iter().map(|part| part.iov_len).sum::<usize>().min(transfer::PIECE);
        let mut whole = vec![0; room];
        let count = stream::receive(held, &mut whole, flags)?;
        // SAFETY: As the caller says.
        unsafe { spread(of, &whole[..count]) }?;
        return Ok(count);
    }
    let mut received = 0;
    for part in of {
        // SAFETY: As the caller says.
        let part = unsafe { bytes_mut(part.iov_base, part.iov_len) }?;
        if part.is_empty() {
            continue;
        }
        // Only the first waits, unless all is asked for.
        let waits = if received > 0 && flags & libc::MSG_WAITALL == 0 { libc::MSG_DONTWAIT } else { 0 };
        match stream::receive(held, part, flags | waits) {
            Ok(count) => {
                received += count;
                if count < part.len() {
                    break;
                }
            }
            Err(_) if received > 0 => {
                stream::leave_error(held);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(received)
}

/// Copies into parts; what does not fit is left out.
///
/// # Safety
/// Each part leads to as many bytes as it says, which may be written.
unsafe fn spread(of: &[iovec], mut from: &[u8]) -> Result<usize, Errno> {
    let mut copied = 0;
    for part in of {
        // SAFETY: As the caller says.
        let part = unsafe { bytes_mut(part.iov_base, part.iov_len) }?;
        let fits = part.len().min(from.len());
        part[..fits].copy_from_slice(&from[..fits]);
        from = &from[fits..];
        copied += fits;
    }
    Ok(copied)
}

/// # Safety
/// As readv(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn readv(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::readv(fd, vector, count) };
    };
    let mut message = plain_message(vector, count);
    // SAFETY: As the caller says.
    size(unsafe { receive_message(held, &mut message, 0) })
}

/// # Safety
/// As writev(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn writev(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::writev(fd, vector, count) };
    };
    // SAFETY: As the caller says.
    size(unsafe { send_message(held, &plain_message(vector, count), 0) })
}

/// A message of parts alone.
fn plain_message(vector: *const iovec, count: c_int) -> msghdr {
    // SAFETY: Zeros are a message without anything.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vector.cast_mut();
    // A negative number is refused as too many.
    message.msg_iovlen = usize::try_from(count).unwrap_or(usize::MAX) as _;
    message
}

/// # Safety
/// As sendmsg(2).
unsafe fn send_message(held: Held, message: &msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: As the caller says.
    let (vector, to) = unsafe {
        (parts(message.msg_iov, message.msg_iovlen)?, receiver(held, message.msg_name.cast(), message.msg_namelen)?)
    };
    // SAFETY: As the caller says.
    let control = unsafe { bytes(message.msg_control, message.msg_controllen) }?;
    // SAFETY: As the caller says.
    unsafe { gather(vector, held, to, flags, control) }
}

/// # Safety
/// As recvmsg(2).
unsafe fn receive_message(held: Held, message: &mut msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: As the caller says.
    let vector = unsafe { parts(message.msg_iov, message.msg_iovlen) }?;
    message.msg_flags = 0;
    if held.kind() == Kind::Stream {
        // SAFETY: As the caller says.
        let count = unsafe { scatter(vector, held, flags) }?;
        (message.msg_namelen, message.msg_controllen) = (0, 0);
        return Ok(count);
    }
    if held.kind() == Kind::Netlink {
        let mut whole = vec![0; vector.iter().map(|part| part.iov_len).sum::<usize>().min(transfer::PIECE)];
        let (count, length) = netlink::receive(held, &mut whole, flags)?;
        // SAFETY: As the caller says.
        unsafe { spread(vector, &whole[..count]) }?;
        if count < length {
            message.msg_flags |= libc::MSG_TRUNC;
        }
        message.msg_controllen = 0;
        if !message.msg_name.is_null() {
            // Of the kernel.
            // SAFETY: As the caller says.
            unsafe { tell_bytes(&netlink::encode(0), message.msg_name.cast(), &raw mut message.msg_namelen) }?;
        }
        return Ok(if flags & libc::MSG_TRUNC != 0 { length } else { count });
    }
    let (count, info) = match vector {
        [one] => {
            // SAFETY: As the caller says.
            let into = unsafe { bytes_mut(one.iov_base, one.iov_len) }?;
            datagram::receive(held, into, flags)?
        }
        several => {
            let mut whole = vec![0; several.iter().map(|part| part.iov_len).sum::<usize>().min(transfer::PIECE)];
            let (count, info) = datagram::receive(held, &mut whole, flags)?;
            // SAFETY: As the caller says.
            (unsafe { spread(several, &whole[..count]) }?, info)
        }
    };
    if info.truncated {
        message.msg_flags |= libc::MSG_TRUNC;
    }
    let scope = names::scope_of(held, info.source.ip());
    // SAFETY: As the caller says.
    unsafe { tell(info.source, scope, message.msg_name.cast(), &raw mut message.msg_namelen) }?;
    // SAFETY: As the caller says.
    let room = unsafe { bytes_mut(message.msg_control, message.msg_controllen) }?;
    let (used, cut) = ancillary::tell(held, &info, room);
    message.msg_controllen = used as _;
    if cut {
        message.msg_flags |= libc::MSG_CTRUNC;
    }
    Ok(if flags & libc::MSG_TRUNC != 0 { info.length } else { count })
}

/// # Safety
/// As recvmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    if let Some(held) = table::socket(fd) {
        // SAFETY: As the caller says.
        let Some(message) = (unsafe { message.as_mut() }) else { return size(Err(Errno::EFAULT)) };
        // SAFETY: As the caller says.
        return size(unsafe { receive_message(held, message, flags) });
    }
    descriptors::open_several(|keep| {
        // SAFETY: As the caller says.
        let result = unsafe { original::recvmsg(fd, message, flags) };
        if result >= 0 && Inside::is_here() {
            // SAFETY: The kernel has filled it in.
            unsafe { keep_passed(message, keep) };
        }
        result
    })
}

/// Descriptors that were passed to this library are its own.
///
/// # Safety
/// `message` was filled in by the kernel.
unsafe fn keep_passed(message: *mut msghdr, keep: &dyn Fn(c_int) -> c_int) {
    // SAFETY: As the caller says.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: `next` is null or leads to a header within the control buffer.
    while let Some(header) = unsafe { next.as_ref() } {
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: Only computes a length.
            let header_bytes = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = header.cmsg_len.saturating_sub(header_bytes) / size_of::<c_int>();
            // SAFETY: The data lie behind the header.
            let data = unsafe { libc::CMSG_DATA(next) }.cast::<c_int>();
            for at in 0..count {
                // SAFETY: The kernel has written that many descriptors; they need not be aligned.
                unsafe { data.add(at).write_unaligned(keep(data.add(at).read_unaligned())) };
            }
        }
        // SAFETY: Both belong together.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}

/// # Safety
/// As sendmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        if unsafe { message.as_ref() }.is_some_and(|message| unsafe { passes_ours(message) }) {
            crate::log::not_covered("sendmsg with a socket of IP in SCM_RIGHTS");
            return size(Err(Errno::EOPNOTSUPP));
        }
        // SAFETY: As the caller says.
        return unsafe { original::sendmsg(fd, message, flags) };
    };
    // SAFETY: As the caller says.
    let Some(message) = (unsafe { message.as_ref() }) else { return size(Err(Errno::EFAULT)) };
    // SAFETY: As the caller says.
    size(unsafe { send_message(held, message, flags) })
}

/// Whether a message passes one of our sockets to another process, for which its number would mean nothing.
///
/// # Safety
/// As sendmsg(2).
unsafe fn passes_ours(message: &msghdr) -> bool {
    // SAFETY: As the caller says.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: `next` is null or leads to a header within the control buffer.
    while let Some(header) = unsafe { next.as_ref() } {
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: Only computes a length.
            let header_bytes = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = header.cmsg_len.saturating_sub(header_bytes) / size_of::<c_int>();
            // SAFETY: The data lie behind the header; they need not be aligned.
            let passed = |at| unsafe { libc::CMSG_DATA(next).cast::<c_int>().add(at).read_unaligned() };
            if (0..count).any(|at| table::socket(passed(at)).is_some()) {
                return true;
            }
        }
        // SAFETY: Both belong together.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    false
}

/// # Safety
/// As recvmmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::recvmmsg(fd, messages, count, flags, timeout) };
    };
    // SAFETY: As the caller says.
    let all = unsafe { several(messages, count) };
    let mut done = 0;
    for one in all {
        let waits = if done > 0 && flags & libc::MSG_WAITFORONE != 0 { libc::MSG_DONTWAIT } else { 0 };
        // SAFETY: As the caller says.
        match unsafe { receive_message(held, &mut one.msg_hdr, (flags & !libc::MSG_WAITFORONE) | waits) } {
            Ok(length) => one.msg_len = c_uint::try_from(length).unwrap_or(c_uint::MAX),
            Err(error) if done == 0 => return number(Err(error)),
            Err(_) => break,
        }
        done += 1;
    }
    done
}

/// # Safety
/// As sendmmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        if unsafe { several(messages, count) }.iter().any(|one| unsafe { passes_ours(&one.msg_hdr) }) {
            crate::log::not_covered("sendmmsg with a socket of IP in SCM_RIGHTS");
            return number(Err(Errno::EOPNOTSUPP));
        }
        // SAFETY: As the caller says.
        return unsafe { original::sendmmsg(fd, messages, count, flags) };
    };
    // SAFETY: As the caller says.
    let all = unsafe { several(messages, count) };
    let mut done = 0;
    for one in all {
        // SAFETY: As the caller says.
        match unsafe { send_message(held, &one.msg_hdr, flags) } {
            Ok(length) => one.msg_len = c_uint::try_from(length).unwrap_or(c_uint::MAX),
            Err(error) if done == 0 => return number(Err(error)),
            Err(_) => break,
        }
        done += 1;
    }
    done
}

/// # Safety
/// `messages` leads to so many, which may be written; or is null.
unsafe fn several<'a>(messages: *mut mmsghdr, count: c_uint) -> &'a mut [mmsghdr] {
    match messages.is_null() {
        true => &mut [],
        // SAFETY: As the caller says; Linux takes no more than this many.
        false => unsafe { slice::from_raw_parts_mut(messages, (count as usize).min(MOST_PARTS)) },
    }
}

/// # Safety
/// As sendfile(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sendfile(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    let Some(held) = table::socket(to) else {
        // SAFETY: As the caller says.
        return unsafe { original::sendfile(to, from, offset, count) };
    };
    // SAFETY: As the caller says.
    size(transfer::send_file(held, from, unsafe { offset.as_mut() }, count.min(super::MOST_BYTES)))
}

/// # Safety
/// As sendfile(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sendfile64(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    // SAFETY: As the caller says; both are one where a file's size has 64 bits.
    unsafe { sendfile(to, from, offset, count) }
}
