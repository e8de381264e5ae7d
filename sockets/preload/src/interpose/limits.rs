//! The limit of descriptors, as the program has set it.

use std::ffi::c_int;

use libc::{__rlimit_resource_t, pid_t, rlimit};

use crate::limit::settled;
use crate::lock::Taken;
use crate::original;

/// This library raises the limit of descriptors now and then.
fn settled_if(resource: __rlimit_resource_t) -> Option<Taken<'static, ()>> {
    (resource == libc::RLIMIT_NOFILE).then(settled)
}

/// # Safety
/// As getrlimit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getrlimit(resource: __rlimit_resource_t, limits: *mut rlimit) -> c_int {
    let _settled = settled_if(resource);
    // SAFETY: As the caller says.
    unsafe { original::getrlimit(resource, limits) }
}

/// # Safety
/// As getrlimit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getrlimit64(resource: __rlimit_resource_t, limits: *mut rlimit) -> c_int {
    // SAFETY: As the caller says; both are one where a limit has 64 bits.
    unsafe { getrlimit(resource, limits) }
}

/// # Safety
/// As setrlimit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn setrlimit(resource: __rlimit_resource_t, limits: *const rlimit) -> c_int {
    let _settled = settled_if(resource);
    // SAFETY: As the caller says.
    unsafe { original::setrlimit(resource, limits) }
}

/// # Safety
/// As setrlimit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn setrlimit64(resource: __rlimit_resource_t, limits: *const rlimit) -> c_int {
    // SAFETY: As the caller says; both are one where a limit has 64 bits.
    unsafe { setrlimit(resource, limits) }
}

/// # Safety
/// As prlimit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn prlimit(
    process: pid_t,
    resource: __rlimit_resource_t,
    limits: *const rlimit,
    before: *mut rlimit,
) -> c_int {
    let _settled = settled_if(resource);
    // SAFETY: As the caller says.
    unsafe { original::prlimit(process, resource, limits, before) }
}

/// # Safety
/// As prlimit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn prlimit64(
    process: pid_t,
    resource: __rlimit_resource_t,
    limits: *const rlimit,
    before: *mut rlimit,
) -> c_int {
    // SAFETY: As the caller says; both are one where a limit has 64 bits.
    unsafe { prlimit(process, resource, limits, before) }
}
