//! Moving pages between descriptors: there are none behind a socket of ours, and programs that are told so copy.

use std::ffi::{c_int, c_uint};

use libc::{iovec, off64_t, size_t, ssize_t};
use nix::errno::Errno;

use super::size;
use crate::{log, original, table};

/// EINVAL is what a file without splicing says: programs copy then.
///
/// # Safety
/// As splice(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn splice(
    from: c_int,
    offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    count: size_t,
    flags: c_uint,
) -> ssize_t {
    if table::socket(from).is_some() || table::socket(to).is_some() {
        log::not_covered("splice");
        return size(Err(Errno::EINVAL));
    }
    // SAFETY: As the caller says.
    unsafe { original::splice(from, offset, to, to_offset, count, flags) }
}

/// On Linux too only pipes can be duplicated.
///
/// # Safety
/// As tee(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn tee(from: c_int, to: c_int, count: size_t, flags: c_uint) -> ssize_t {
    if table::socket(from).is_some() || table::socket(to).is_some() {
        log::not_covered("tee");
        return size(Err(Errno::EINVAL));
    }
    // SAFETY: As the caller says.
    unsafe { original::tee(from, to, count, flags) }
}

/// On Linux too pages go into pipes alone.
///
/// # Safety
/// As vmsplice(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn vmsplice(fd: c_int, vector: *const iovec, count: size_t, flags: c_uint) -> ssize_t {
    if table::socket(fd).is_some() {
        log::not_covered("vmsplice");
        return size(Err(Errno::EBADF));
    }
    // SAFETY: As the caller says.
    unsafe { original::vmsplice(fd, vector, count, flags) }
}
