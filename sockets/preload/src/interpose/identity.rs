//! Becoming another user: a daemon that gives up root before it makes its first socket would find the router closed to it.

use std::ffi::c_int;

use libc::uid_t;

use crate::{original, process};

/// # Safety
/// As setuid(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn setuid(user: uid_t) -> c_int {
    process::attach_as_this_user();
    // SAFETY: As the caller says.
    unsafe { original::setuid(user) }
}

/// # Safety
/// As seteuid(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn seteuid(user: uid_t) -> c_int {
    process::attach_as_this_user();
    // SAFETY: As the caller says.
    unsafe { original::seteuid(user) }
}

/// # Safety
/// As setreuid(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn setreuid(real: uid_t, effective: uid_t) -> c_int {
    process::attach_as_this_user();
    // SAFETY: As the caller says.
    unsafe { original::setreuid(real, effective) }
}

/// # Safety
/// As setresuid(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int {
    process::attach_as_this_user();
    // SAFETY: As the caller says.
    unsafe { original::setresuid(real, effective, saved) }
}
