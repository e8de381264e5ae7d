//! Handlers of signals.

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;

use libc::{sigaction as Action, sighandler_t, siginfo_t, ucontext_t};
use nix::errno::Errno;

use crate::signals::{self, handler};
use crate::{kernel, original};

/// Flags that the kernel is not told as the program says them: ours always takes what SA_SIGINFO brings, and is never
/// reset, since it may be called twice for one signal.
const OWN_FLAGS: c_int = libc::SA_SIGINFO | libc::SA_RESETHAND;

/// What the kernel calls in place of the program's.
unsafe extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let error = Errno::last();
    // SAFETY: The kernel gives both, for SA_SIGINFO.
    let (Some(told), Some(interrupted)) = (unsafe { (info.as_ref(), context.cast::<ucontext_t>().as_mut()) }) else {
        return;
    };
    let Some(known) = handler(signal) else { return };
    if signals::put_off(signal, told, &mut interrupted.uc_sigmask) {
        return error.set();
    }
    let (address, flags) = known.get();
    // SAFETY: Zeros are an action.
    let mut now: Action = unsafe { mem::zeroed() };
    // SAFETY: Only asks; `now` may be written.
    let restarts =
        unsafe { original::sigaction(signal, ptr::null(), &raw mut now) } == 0 && now.sa_flags & libc::SA_RESTART != 0;
    if flags & libc::SA_RESETHAND != 0 {
        now.sa_sigaction = libc::SIG_DFL;
        // SAFETY: `now` is an action.
        unsafe { original::sigaction(signal, &raw const now, ptr::null_mut()) };
    }
    error.set();
    signals::run(restarts, || {
        if flags & libc::SA_SIGINFO != 0 {
            // SAFETY: The program has given a function of this kind, with SA_SIGINFO.
            let own: unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = unsafe { mem::transmute(address) };
            // SAFETY: As the kernel would call it.
            unsafe { own(signal, info, context) };
        } else {
            // SAFETY: The program has given a function of this kind, without SA_SIGINFO.
            let own: unsafe extern "C" fn(c_int) = unsafe { mem::transmute(address) };
            // SAFETY: As the kernel would call it.
            unsafe { own(signal) };
        }
    });
}

/// The address of `handle`, as the kernel has it.
fn own_address() -> sighandler_t {
    handle as *const () as sighandler_t
}

/// # Safety
/// As sigaction(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sigaction(signal: c_int, action: *const Action, before: *mut Action) -> c_int {
    let Some(known) = handler(signal) else {
        // SAFETY: As the caller says.
        return unsafe { original::sigaction(signal, action, before) };
    };
    let (address, flags) = known.get();
    // SAFETY: As the caller says.
    let mut wanted = unsafe { action.as_ref() }.copied();
    if let Some(wanted) = &mut wanted
        && ![libc::SIG_DFL, libc::SIG_IGN, own_address()].contains(&wanted.sa_sigaction)
    {
        known.set(wanted.sa_sigaction, wanted.sa_flags & OWN_FLAGS);
        wanted.sa_sigaction = own_address();
        wanted.sa_flags = (wanted.sa_flags & !OWN_FLAGS) | libc::SA_SIGINFO;
    }
    let given = wanted.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `given` is null or leads to a copy of the caller's; `before` is as the caller says.
    let result = unsafe { original::sigaction(signal, given, before) };
    if result != 0 {
        known.set(address, flags);
        return result;
    }
    // SAFETY: As the caller says; the kernel has written it.
    if let Some(before) = unsafe { before.as_mut() }
        && before.sa_sigaction == own_address()
    {
        before.sa_sigaction = address;
        before.sa_flags = (before.sa_flags & !OWN_FLAGS) | flags;
    }
    result
}

/// # Safety
/// As signal(2).
unsafe fn set(signal: c_int, to: sighandler_t, flags: c_int, mask: &[c_int]) -> sighandler_t {
    // SAFETY: Zeros are an action.
    let (mut action, mut before) = unsafe { mem::zeroed::<[Action; 2]>() }.into();
    action.sa_sigaction = to;
    action.sa_flags = flags;
    action.sa_mask = kernel::signals(mask);
    // SAFETY: Both are actions, and `before` may be written.
    match unsafe { sigaction(signal, &raw const action, &raw mut before) } {
        0 => before.sa_sigaction,
        _ => libc::SIG_ERR,
    }
}

/// # Safety
/// As signal(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn signal(signal: c_int, to: sighandler_t) -> sighandler_t {
    let flags = if signals::restarts(signal) { libc::SA_RESTART } else { 0 };
    // SAFETY: As the caller says.
    unsafe { set(signal, to, flags, &[signal]) }
}

/// # Safety
/// As bsd_signal(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bsd_signal(number: c_int, to: sighandler_t) -> sighandler_t {
    // SAFETY: As the caller says.
    unsafe { signal(number, to) }
}

/// # Safety
/// As ssignal(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ssignal(number: c_int, to: sighandler_t) -> sighandler_t {
    // SAFETY: As the caller says.
    unsafe { signal(number, to) }
}

/// # Safety
/// As sysv_signal(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sysv_signal(signal: c_int, to: sighandler_t) -> sighandler_t {
    // SAFETY: As the caller says.
    unsafe { set(signal, to, libc::SA_RESETHAND | libc::SA_NODEFER, &[]) }
}

/// What signal(3) becomes where a program is compiled for System V.
///
/// # Safety
/// As sysv_signal(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __sysv_signal(signal: c_int, to: sighandler_t) -> sighandler_t {
    // SAFETY: As the caller says.
    unsafe { sysv_signal(signal, to) }
}

/// # Safety
/// As siginterrupt(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn siginterrupt(signal: c_int, interrupts: c_int) -> c_int {
    // SAFETY: Zeros are an action.
    let mut action: Action = unsafe { mem::zeroed() };
    // SAFETY: Only asks; `action` may be written.
    let result = unsafe { sigaction(signal, ptr::null(), &raw mut action) };
    if result != 0 {
        return result;
    }
    signals::set_restarts(signal, interrupts == 0);
    match interrupts {
        0 => action.sa_flags |= libc::SA_RESTART,
        _ => action.sa_flags &= !libc::SA_RESTART,
    }
    // SAFETY: `action` was filled in above.
    unsafe { sigaction(signal, &raw const action, ptr::null_mut()) }
}
