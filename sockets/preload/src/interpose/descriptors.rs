//! Descriptors as numbers.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

use nix::errno::Errno;

use super::success;
use crate::readiness::epoll;
use crate::table::{self, Number};
use crate::thread::Inside;
use crate::{descriptors, ioctl, kernel, original};

/// # Safety
/// As close(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    match table::look_up(fd) {
        // SAFETY: As the caller says.
        Number::Foreign => unsafe { original::close(fd) },
        Number::Internal | Number::Socket(_) | Number::Epoll(_) => success(descriptors::close(fd)),
    }
}

/// # Safety
/// As close_range(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    success(descriptors::close_range(first, last, flags))
}

/// # Safety
/// As closefrom(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn closefrom(first: c_int) {
    // It tells no error.
    let _ = descriptors::close_range(first.max(0).unsigned_abs(), c_uint::MAX, 0);
}

/// # Safety
/// As dup(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup(fd: c_int) -> c_int {
    // SAFETY: As the caller says.
    let copy = descriptors::open(|| unsafe { original::dup(fd) });
    descriptors::duplicated(fd, copy);
    copy
}

/// # Safety
/// As dup2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup2(fd: c_int, to: c_int) -> c_int {
    if let Err(error) = descriptors::before_replacing(fd, to) {
        return success(Err(error));
    }
    // SAFETY: As the caller says.
    let copy = unsafe { original::dup2(fd, to) };
    if fd != to {
        descriptors::duplicated(fd, copy);
    }
    copy
}

/// # Safety
/// As dup3(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int {
    if fd == to || flags & !libc::O_CLOEXEC != 0 {
        return success(Err(Errno::EINVAL));
    }
    if let Err(error) = descriptors::before_replacing(fd, to) {
        return success(Err(error));
    }
    // SAFETY: As the caller says.
    let copy = unsafe { original::dup3(fd, to, flags) };
    descriptors::duplicated(fd, copy);
    copy
}

/// libc's takes a variable number of arguments: the third lies where a fixed one would.
///
/// # Safety
/// As fcntl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    // SAFETY: As the caller says.
    let controlled = || unsafe { original::fcntl(fd, command, argument) };
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let copy = descriptors::open(controlled);
            descriptors::duplicated(fd, copy);
            copy
        }
        libc::F_SETFL => {
            let result = controlled();
            if result == 0 {
                descriptors::flags_set(fd, argument as c_int);
            }
            result
        }
        // This library waits for its turn with a connection that another process has too, with a lock in its hand.
        libc::F_SETLKW if Inside::is_here() => kernel::without_cancellation(controlled),
        _ => controlled(),
    }
}

/// # Safety
/// As fcntl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fcntl64(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    // SAFETY: As the caller says; both are one where a file's size has 64 bits.
    unsafe { fcntl(fd, command, argument) }
}

/// As with `fcntl`.
///
/// # Safety
/// As ioctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    let Some(held) = table::socket(fd) else {
        // SAFETY: As the caller says.
        return unsafe { original::ioctl(fd, request, argument) };
    };
    let integer = argument.cast::<c_int>();
    match request {
        libc::FIONBIO => {
            // SAFETY: As the caller says, it leads to an integer.
            let Some(on) = (unsafe { integer.as_ref() }) else { return success(Err(Errno::EFAULT)) };
            success(descriptors::set_nonblocking(fd, *on != 0))
        }
        libc::FIONREAD | libc::TIOCOUTQ => success(ioctl::count(held, request).and_then(|count| {
            // SAFETY: As the caller says, it leads to an integer.
            *unsafe { integer.as_mut() }.ok_or(Errno::EFAULT)? = count;
            Ok(())
        })),
        // SAFETY: As the caller says; the kernel knows how to set close-on-exec.
        libc::FIOCLEX | libc::FIONCLEX => unsafe { original::ioctl(fd, request, argument) },
        // SAFETY: As the caller says, it leads to an `ifconf`.
        libc::SIOCGIFCONF => success(unsafe { configuration(argument.cast()) }),
        about if ioctl::is_about_interface(about) => {
            // SAFETY: As the caller says, it leads to an `ifreq`, which has no alignment as bytes.
            let asked = unsafe { argument.cast::<[u8; ioctl::REQUEST_BYTES]>().as_mut() };
            success(asked.ok_or(Errno::EFAULT).and_then(|asked| ioctl::interface(request, asked)))
        }
        _ => {
            crate::log::not_covered(&format!("ioctl {request:#x}"));
            success(Err(Errno::ENOTTY))
        }
    }
}

/// `ifconf` of netdevice(7): room for entries, of which it is told how much was needed or used.
#[repr(C)]
struct InterfaceConfiguration {
    bytes: c_int,
    entries: *mut [u8; ioctl::REQUEST_BYTES],
}

/// # Safety
/// `asked` is null or leads to an `ifconf`, whose entries are null or lead to as many bytes as it says.
unsafe fn configuration(asked: *mut InterfaceConfiguration) -> Result<(), Errno> {
    // SAFETY: As the caller says.
    let asked = unsafe { asked.as_mut() }.ok_or(Errno::EFAULT)?;
    let found = ioctl::configuration()?;
    let room = usize::try_from(asked.bytes).map_err(|_| Errno::EINVAL)? / ioctl::REQUEST_BYTES;
    let told = if asked.entries.is_null() { found.len() } else { found.len().min(room) };
    if !asked.entries.is_null() {
        for (at, entry) in found.iter().take(told).enumerate() {
            // SAFETY: There is room for `told` of them, as the caller says.
            unsafe { asked.entries.add(at).write(*entry) };
        }
    }
    asked.bytes = c_int::try_from(told * ioctl::REQUEST_BYTES).map_err(|_| Errno::EINVAL)?;
    Ok(())
}

/// # Safety
/// As pipe2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pipe2(fds: *mut c_int, flags: c_int) -> c_int {
    // SAFETY: As the caller says: `fds` leads to two numbers.
    unsafe { open_both(fds, || original::pipe2(fds, flags)) }
}

/// # Safety
/// `fds` leads to two numbers, which `open` writes if it returns 0.
unsafe fn open_both(fds: *mut c_int, open: impl FnOnce() -> c_int) -> c_int {
    descriptors::open_several(|keep| {
        let result = open();
        for at in 0..2 {
            // SAFETY: As the caller says.
            if let (0, Some(fd)) = (result, unsafe { fds.add(at).as_mut() }) {
                *fd = keep(*fd);
            }
        }
        result
    })
}

/// # Safety
/// As socketpair(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int {
    // SAFETY: As the caller says: `fds` leads to two numbers.
    unsafe { open_both(fds, || original::socketpair(domain, kind, protocol, fds)) }
}

/// # Safety
/// As memfd_create(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn memfd_create(name: *const c_char, flags: c_uint) -> c_int {
    // SAFETY: As the caller says.
    descriptors::open(|| unsafe { original::memfd_create(name, flags) })
}

/// # Safety
/// As eventfd(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn eventfd(count: c_uint, flags: c_int) -> c_int {
    // SAFETY: As the caller says.
    descriptors::open(|| unsafe { original::eventfd(count, flags) })
}

/// # Safety
/// As epoll_create1(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_create1(flags: c_int) -> c_int {
    // SAFETY: As the caller says.
    epoll::made(descriptors::open(|| unsafe { original::epoll_create1(flags) }))
}

/// # Safety
/// As epoll_create(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_create(size: c_int) -> c_int {
    match size {
        // A number that has meant nothing since Linux 2.6.8, but must be one.
        // SAFETY: As the caller says.
        1.. => unsafe { epoll_create1(0) },
        ..=0 => success(Err(Errno::EINVAL)),
    }
}
