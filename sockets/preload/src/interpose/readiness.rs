//! Waiting for descriptors.

use std::ffi::{c_int, c_ulong};
use std::slice;
use std::time::Duration;

use libc::{epoll_event, fd_set, nfds_t, pollfd, sigset_t, size_t, timespec, timeval};
use nix::errno::Errno;

use super::{duration, milliseconds, number, success};
use crate::original;
use crate::readiness::select::{Sets, WORD_BITS};
use crate::readiness::{epoll, poll, select};

/// # Safety
/// `fds` leads to so many, which may be written; or is null.
unsafe fn polled<'a>(fds: *mut pollfd, count: nfds_t) -> &'a mut [pollfd] {
    match fds.is_null() || count == 0 || count > i32::MAX as nfds_t {
        true => &mut [],
        // SAFETY: As the caller says.
        false => unsafe { slice::from_raw_parts_mut(fds, count as usize) },
    }
}

fn counted(result: Result<usize, Errno>) -> c_int {
    number(result.map(|count| c_int::try_from(count).unwrap_or(c_int::MAX)))
}

/// # Safety
/// As poll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: As the caller says.
    let polled = unsafe { polled(fds, count) };
    match poll::has_ours(polled) {
        true => counted(poll::poll(polled, milliseconds(timeout), None)),
        // SAFETY: As the caller says.
        false => unsafe { original::poll(fds, count, timeout) },
    }
}

/// # Safety
/// As poll(2); the size of the array was known to the compiler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, bytes: size_t) -> c_int {
    if (count as usize).saturating_mul(size_of::<pollfd>()) > bytes {
        std::process::abort();
    }
    // SAFETY: As the caller says.
    unsafe { poll(fds, count, timeout) }
}

/// # Safety
/// As ppoll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: As the caller says.
    let polled = unsafe { polled(fds, count) };
    if !poll::has_ours(polled) {
        // SAFETY: As the caller says.
        return unsafe { original::ppoll(fds, count, timeout, mask) };
    }
    // SAFETY: As the caller says.
    let (timeout, mask) = unsafe { (duration(timeout), mask.as_ref()) };
    counted(timeout.and_then(|timeout| poll::poll(polled, timeout, mask)))
}

/// # Safety
/// As ppoll(2); the size of the array was known to the compiler.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __ppoll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    bytes: size_t,
) -> c_int {
    if (count as usize).saturating_mul(size_of::<pollfd>()) > bytes {
        std::process::abort();
    }
    // SAFETY: As the caller says.
    unsafe { ppoll(fds, count, timeout, mask) }
}

/// # Safety
/// Each of the sets is null, or leads to as many bits as `count` asks for, in whole words, which may be written.
unsafe fn sets<'a>(count: c_int, of: [*mut fd_set; 3]) -> (usize, Sets<'a>) {
    let count = usize::try_from(count).unwrap_or(0);
    let words = count.div_ceil(WORD_BITS);
    let one = |set: *mut fd_set| {
        // SAFETY: As the caller says.
        (!set.is_null() && words > 0).then(|| unsafe { slice::from_raw_parts_mut(set.cast::<u64>(), words) })
    };
    (count, of.map(one))
}

/// # Safety
/// As select(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: As the caller says.
    let (numbers, mut all) = unsafe { sets(count, [read, write, except]) };
    // SAFETY: As the caller says.
    let time = match unsafe { timeout.as_ref() } {
        None => Ok(None),
        Some(time) => match (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec)) {
            (Ok(seconds), Ok(micros)) => Ok(Some(Duration::from_secs(seconds) + Duration::from_micros(micros))),
            _ => Err(Errno::EINVAL),
        },
    };
    // What is there is told without a look at the clock: nothing of the time is used.
    if time.is_ok()
        && let Some(found) = select::glance(numbers, &mut all)
    {
        return counted(Ok(found));
    }
    if !select::has_ours(numbers, &all) {
        // SAFETY: As the caller says.
        return unsafe { original::select(count, read, write, except, timeout) };
    }
    let time = match time {
        Ok(time) => time,
        Err(error) => return success(Err(error)),
    };
    let begun = std::time::Instant::now();
    let result = counted(select::select(numbers, &mut all, time, None));
    // As Linux does: what is left of it.
    // SAFETY: As the caller says.
    if let (Some(left), Some(time)) = (unsafe { timeout.as_mut() }, time) {
        let rest = time.saturating_sub(begun.elapsed());
        left.tv_sec = libc::time_t::try_from(rest.as_secs()).unwrap_or(0);
        left.tv_usec = rest.subsec_micros().into();
    }
    result
}

/// # Safety
/// As pselect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: As the caller says.
    let (numbers, mut all) = unsafe { sets(count, [read, write, except]) };
    // SAFETY: As the caller says.
    let time = unsafe { duration(timeout) };
    if time.is_ok()
        && let Some(found) = select::glance(numbers, &mut all)
    {
        return counted(Ok(found));
    }
    if !select::has_ours(numbers, &all) {
        // SAFETY: As the caller says.
        return unsafe { original::pselect(count, read, write, except, timeout, mask) };
    }
    // SAFETY: As the caller says.
    let mask = unsafe { mask.as_ref() };
    counted(time.and_then(|time| select::select(numbers, &mut all, time, mask)))
}

/// # Safety
/// As epoll_ctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
    // SAFETY: As the caller says.
    let asked = unsafe { event.as_ref() }.map(|event| (event.events, event.u64));
    match epoll::control(epoll, operation, fd, asked) {
        Some(done) => success(done),
        // SAFETY: As the caller says.
        None => unsafe { original::epoll_ctl(epoll, operation, fd, event) },
    }
}

/// # Safety
/// `events` leads to so many, which may be written; or is null.
unsafe fn reported<'a>(events: *mut epoll_event, count: c_int) -> Result<&'a mut [epoll_event], Errno> {
    let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Errno::EINVAL)?;
    if events.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: As the caller says.
    Ok(unsafe { slice::from_raw_parts_mut(events, count) })
}

/// # Safety
/// As epoll_wait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
) -> c_int {
    // SAFETY: As the caller says.
    unsafe { epoll_pwait(epoll, events, count, timeout, std::ptr::null()) }
}

/// # Safety
/// As epoll_pwait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: As the caller says.
    let (room, known) = unsafe { (reported(events, count), mask.as_ref()) };
    match epoll::wait(epoll, room, milliseconds(timeout), known) {
        Some(found) => counted(found),
        // SAFETY: As the caller says.
        None => unsafe { original::epoll_pwait(epoll, events, count, timeout, mask) },
    }
}

/// # Safety
/// As epoll_pwait2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_pwait2(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: As the caller says.
    let (room, time, known) = unsafe { (reported(events, count), duration(timeout), mask.as_ref()) };
    let found = match time {
        Ok(time) => epoll::wait(epoll, room, time, known),
        Err(error) => Some(Err(error)),
    };
    let Some(found) = found else {
        let mask_bytes = (u64::BITS / 8) as c_ulong;
        // SAFETY: As the caller says; a mask of the kernel has 64 bits.
        let result = unsafe { libc::syscall(libc::SYS_epoll_pwait2, epoll, events, count, timeout, mask, mask_bytes) };
        return c_int::try_from(result).unwrap_or(-1);
    };
    counted(found)
}
