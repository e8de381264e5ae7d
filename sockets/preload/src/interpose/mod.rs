//! The functions that a program calls in place of libc's: from C and back, and no more.
//!
//! Each looks whose descriptor it is about. One of ours goes to the module of its topic, with slices in place of pointers;
//! anything else goes to libc unchanged. What the caller promises by calling libc's function (a pointer leads to as much
//! memory as the length says, and nobody else changes it meanwhile) is all that the unsafe code here relies on.
//!
//! They are `C-unwind`, and so are libc's: a thread that is canceled while it waits (pthread_cancel(3)) is unwound by libc.
#![allow(unsafe_code)]

mod data;
mod descriptors;
mod exec;
mod identity;
mod limits;
mod names;
mod readiness;
mod signals;
mod sockets;
mod splice;
mod stdio;

use std::ffi::{c_int, c_void};
use std::net::SocketAddr;
use std::slice;
use std::time::Duration;

use libc::{sockaddr, socklen_t, ssize_t, timespec};
use nix::errno::Errno;

use crate::address;

/// Most bytes that one call moves (Linux's MAX_RW_COUNT).
const MOST_BYTES: usize = 0x7fff_f000;

/// A result as C has it: -1 and errno for an error.
fn number(result: Result<c_int, Errno>) -> c_int {
    result.unwrap_or_else(|error| {
        error.set();
        -1
    })
}

/// The same for a call that only succeeds or fails.
fn success(result: Result<(), Errno>) -> c_int {
    number(result.map(|()| 0))
}

/// The same for a number of bytes.
fn size(result: Result<usize, Errno>) -> ssize_t {
    match result {
        // Limited by MOST_BYTES where it is a length.
        Ok(count) => ssize_t::try_from(count).unwrap_or(ssize_t::MAX),
        Err(error) => {
            error.set();
            -1
        }
    }
}

/// What the caller wants to have written.
///
/// # Safety
/// `from` leads to `length` bytes, or is null.
unsafe fn bytes<'a>(from: *const c_void, length: usize) -> Result<&'a [u8], Errno> {
    match (from.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Errno::EFAULT),
        // SAFETY: As the caller says; the length is below `isize::MAX`.
        (false, _) => Ok(unsafe { slice::from_raw_parts(from.cast(), length.min(MOST_BYTES)) }),
    }
}

/// Where the caller wants to have something.
///
/// # Safety
/// `into` leads to `length` bytes that may be written and that nobody else uses meanwhile, or is null.
unsafe fn bytes_mut<'a>(into: *mut c_void, length: usize) -> Result<&'a mut [u8], Errno> {
    match (into.is_null(), length) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(Errno::EFAULT),
        // SAFETY: As the caller says; the length is below `isize::MAX`.
        (false, _) => Ok(unsafe { slice::from_raw_parts_mut(into.cast(), length.min(MOST_BYTES)) }),
    }
}

/// An address that the caller gives.
///
/// # Safety
/// `from` leads to `length` bytes, or is null.
unsafe fn given(from: *const sockaddr, length: socklen_t) -> Result<address::Given, Errno> {
    // No address of any family is longer (`sockaddr_storage`).
    if length > 128 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: As the caller says.
    address::decode(unsafe { bytes(from.cast(), length as usize) }?)
}

/// Tells the caller an address: as much as there is room for, and its whole length.
///
/// # Safety
/// `into` leads to as many bytes as `length` says, and both may be written; or `into` is null.
unsafe fn tell(found: SocketAddr, scope: u32, into: *mut sockaddr, length: *mut socklen_t) -> Result<(), Errno> {
    if into.is_null() {
        return Ok(());
    }
    let (encoded, count) = address::encode(found, scope);
    // SAFETY: As the caller says.
    unsafe { tell_bytes(&encoded[..count], into, length) }
}

/// The same for an address as it stands.
///
/// # Safety
/// As [`tell`].
unsafe fn tell_bytes(encoded: &[u8], into: *mut sockaddr, length: *mut socklen_t) -> Result<(), Errno> {
    // SAFETY: As the caller says.
    let length = unsafe { length.as_mut() }.ok_or(Errno::EFAULT)?;
    if *length > i32::MAX as socklen_t {
        return Err(Errno::EINVAL);
    }
    // SAFETY: As the caller says.
    let room = unsafe { bytes_mut(into.cast(), *length as usize) }?;
    let fits = encoded.len().min(room.len());
    room[..fits].copy_from_slice(&encoded[..fits]);
    // Addresses are short.
    *length = encoded.len() as socklen_t;
    Ok(())
}

/// A time that the caller gives; `None`: as long as it takes.
///
/// # Safety
/// `time` leads to one, or is null.
unsafe fn duration(time: *const timespec) -> Result<Option<Duration>, Errno> {
    // SAFETY: As the caller says.
    let Some(time) = (unsafe { time.as_ref() }) else { return Ok(None) };
    let seconds = u64::try_from(time.tv_sec).map_err(|_| Errno::EINVAL)?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok().filter(|ns| *ns < 1_000_000_000).ok_or(Errno::EINVAL)?;
    Ok(Some(Duration::new(seconds, nanoseconds)))
}

/// A time in milliseconds; a negative one: as long as it takes.
fn milliseconds(timeout: c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}
