//! Executing other programs. (Those with a list of arguments, `execl` and its like, go to libc as they are: the parent's
//! connections stay shared then, which costs time and nothing else.)

use std::ffi::{c_char, c_int};

use crate::{fork, original};

type Strings = *const *const c_char;

/// # Safety
/// As execve(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    fork::before_exec();
    // SAFETY: As the caller says.
    unsafe { original::execve(path, arguments, environment) }
}

/// # Safety
/// As execv(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn execv(path: *const c_char, arguments: Strings) -> c_int {
    fork::before_exec();
    // SAFETY: As the caller says.
    unsafe { original::execv(path, arguments) }
}

/// # Safety
/// As execvp(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn execvp(file: *const c_char, arguments: Strings) -> c_int {
    fork::before_exec();
    // SAFETY: As the caller says.
    unsafe { original::execvp(file, arguments) }
}

/// # Safety
/// As execvpe(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn execvpe(file: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    fork::before_exec();
    // SAFETY: As the caller says.
    unsafe { original::execvpe(file, arguments, environment) }
}
