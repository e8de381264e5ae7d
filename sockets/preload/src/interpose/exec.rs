//! Executing other programs, in place of this one or by a child.
//!
//! A program that cannot be executed is not prepared for: libc says why, and nothing has changed. (What the kernel itself
//! refuses, a file that is no program, costs a forked child those of its parent's connections that are close-on-exec.)

use std::env;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use ipc::channel::Successor;
use libc::{pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

use super::stdio;
use crate::exec::{self, Inherited};
use crate::{inherit, kernel, limit, original, table};

type Strings = *const *const c_char;

unsafe extern "C" {
    static mut environ: Strings;
}

/// Called by the loader before the program begins.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    inherit::take_over();
    stdio::take_standard_streams();
}

/// The environment of this process.
fn present() -> Strings {
    // SAFETY: Read as any program of C does.
    unsafe { environ }
}

/// # Safety
/// `list` leads to strings, behind the last of which null stands; or is null.
unsafe fn strings<'a>(list: Strings) -> Vec<&'a CStr> {
    let mut found = Vec::new();
    let mut at = list;
    // SAFETY: As the caller says: null stands before the end.
    while let Some(string) = unsafe { at.as_ref() }.filter(|string| !string.is_null()) {
        // SAFETY: As the caller says.
        found.push(unsafe { CStr::from_ptr(*string) });
        // SAFETY: What `at` leads to is not the end.
        at = unsafe { at.add(1) };
    }
    found
}

/// Whether libc will find something to execute; `searches`: in the folders of PATH, if the name has no slash.
fn can_be_executed(name: &CStr, searches: bool) -> bool {
    if !searches || name.to_bytes().contains(&b'/') {
        return kernel::may_execute(name);
    }
    // What libc takes where there is none (confstr(3)).
    let folders = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let is_there = |folder: std::path::PathBuf| {
        let path = folder.join(OsStr::from_bytes(name.to_bytes()));
        CString::new(path.into_os_string().as_encoded_bytes()).is_ok_and(|path| kernel::may_execute(&path))
    };
    env::split_paths(&folders).any(is_there)
}

/// Executes a program in place of this one; returns if that fails.
///
/// # Safety
/// `name` is a string or null, and `environment` as [`strings`] wants it.
unsafe fn execute(
    name: *const c_char,
    searches: bool,
    environment: Strings,
    call: impl FnOnce(Strings) -> c_int,
) -> c_int {
    // SAFETY: As the caller says.
    let is_there = !name.is_null() && can_be_executed(unsafe { CStr::from_ptr(name) }, searches);
    if !is_there {
        return call(environment);
    }
    // SAFETY: As the caller says.
    unsafe { execute_what_is_there(environment, call) }
}

/// # Safety
/// `environment` is as [`strings`] wants it.
unsafe fn execute_what_is_there(environment: Strings, call: impl FnOnce(Strings) -> c_int) -> c_int {
    let successor = exec::successor();
    // A child of vfork(2) that does not come back would keep its parent from what it has.
    let call = |environment| {
        let _settled = (successor == Successor::ThisProcess).then(limit::settled);
        call(environment)
    };
    // SAFETY: As the caller says.
    let departure = exec::prepare(successor, Inherited::Open, &unsafe { strings(environment) });
    if successor == Successor::ThisProcess {
        exec::give_back_others(departure.as_ref());
    }
    let Some(departure) = departure else { return call(environment) };
    let mut result = -1;
    exec::depart(departure, |environment| {
        result = call(environment);
        None::<()>
    });
    result
}

/// # Safety
/// As execve(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: As the caller says.
    unsafe { execute(path, false, environment, |environment| original::execve(path, arguments, environment)) }
}

/// # Safety
/// As execv(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn execv(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: As the caller says.
    unsafe { execve(path, arguments, present()) }
}

/// # Safety
/// As execvpe(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn execvpe(file: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: As the caller says.
    unsafe { execute(file, true, environment, |environment| original::execvpe(file, arguments, environment)) }
}

/// # Safety
/// As execvp(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn execvp(file: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: As the caller says.
    unsafe { execvpe(file, arguments, present()) }
}

/// # Safety
/// As fexecve(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fexecve(fd: c_int, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: As the caller says.
    unsafe { execute_what_is_there(environment, |environment| original::fexecve(fd, arguments, environment)) }
}

/// A list of arguments behind the first one, as a function of a variable number has it: those in registers are put below
/// those on the stack, so that they are an array.
#[cfg(target_arch = "x86_64")]
macro_rules! with_list {
    ($($name:ident => $inner:ident;)*) => {
        $(
            /// # Safety
            /// As the function of this name in exec(3).
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name() {
                core::arch::naked_asm!(
                    "pop rax", // The way back.
                    "push r9",
                    "push r8",
                    "push rcx",
                    "push rdx",
                    "push rsi",
                    "mov rsi, rsp",
                    "push rax",
                    "call {inner}",
                    "pop rcx",
                    "add rsp, 40",
                    "push rcx",
                    "ret",
                    inner = sym $inner,
                )
            }
        )*
    };
}

#[cfg(target_arch = "x86_64")]
with_list! {
    execl => execute_list;
    execlp => execute_list_searching;
    execle => execute_list_with_environment;
}

/// # Safety
/// As execv(3).
#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn execute_list(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: As the caller says.
    unsafe { execve(path, arguments, present()) }
}

/// # Safety
/// As execvp(3).
#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn execute_list_searching(file: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: As the caller says.
    unsafe { execvpe(file, arguments, present()) }
}

/// # Safety
/// As execv(3); the environment stands behind the null that ends the arguments.
#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn execute_list_with_environment(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: As the caller says.
    let count = unsafe { strings(arguments) }.len();
    // SAFETY: As the caller says: one more stands behind the null.
    let environment = unsafe { arguments.add(count + 1).cast::<Strings>().read() };
    // SAFETY: As the caller says.
    unsafe { execve(path, arguments, environment) }
}

/// Makes a child that executes a program.
///
/// # Safety
/// `environment` is as [`strings`] wants it.
unsafe fn spawn(
    actions: *const posix_spawn_file_actions_t,
    environment: Strings,
    call: impl FnOnce(Strings) -> c_int,
) -> c_int {
    let inherited = if actions.is_null() { Inherited::Open } else { Inherited::OpenAndDuplicated };
    // SAFETY: As the caller says.
    let departure = exec::prepare(Successor::Child, inherited, &unsafe { strings(environment) });
    let call = |environment| {
        let _settled = limit::settled();
        call(environment)
    };
    let Some(departure) = departure else { return call(environment) };
    let mut result = -1;
    exec::depart(departure, |environment| {
        result = call(environment);
        (result == 0).then_some(())
    });
    result
}

/// # Safety
/// As posix_spawn(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn posix_spawn(
    process: *mut pid_t,
    path: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    arguments: Strings,
    environment: Strings,
) -> c_int {
    // SAFETY: As the caller says.
    unsafe {
        spawn(actions, environment, |environment| {
            original::posix_spawn(process, path, actions, attributes, arguments, environment)
        })
    }
}

/// # Safety
/// As posix_spawnp(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn posix_spawnp(
    process: *mut pid_t,
    file: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    arguments: Strings,
    environment: Strings,
) -> c_int {
    // SAFETY: As the caller says.
    unsafe {
        spawn(actions, environment, |environment| {
            original::posix_spawnp(process, file, actions, attributes, arguments, environment)
        })
    }
}

/// # Safety
/// As posix_spawn_file_actions_adddup2(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn posix_spawn_file_actions_adddup2(
    actions: *mut posix_spawn_file_actions_t,
    fd: c_int,
    to: c_int,
) -> c_int {
    if let Some(held) = table::socket(fd) {
        held.description().set_duplicated();
    }
    // SAFETY: As the caller says.
    unsafe { original::posix_spawn_file_actions_adddup2(actions, fd, to) }
}

/// Calls what executes a shell by itself, with the environment of this process: it has another one meanwhile.
fn with_shell<T>(call: impl FnOnce() -> Option<T>) -> Option<T> {
    let before = present();
    // SAFETY: The environment is as libc keeps it.
    let departure = exec::prepare(Successor::Child, Inherited::Open, &unsafe { strings(before) });
    let Some(departure) = departure else { return call() };
    exec::depart(departure, |environment| {
        // SAFETY: Both are environments, and `environment` stays as long as the call.
        unsafe { environ = environment };
        let result = call();
        // Another thread may have set a variable, and with that made another environment.
        if present() == environment {
            // SAFETY: As above.
            unsafe { environ = before };
        }
        result
    })
}

/// # Safety
/// As popen(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn popen(line: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: As the caller says.
    let call = || ptr::NonNull::new(unsafe { original::popen(line, mode) });
    with_shell(call).map_or(ptr::null_mut(), ptr::NonNull::as_ptr)
}

/// # Safety
/// As system(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn system(line: *const c_char) -> c_int {
    let mut result = -1;
    with_shell(|| {
        // SAFETY: As the caller says.
        result = unsafe { original::system(line) };
        (result != -1).then_some(())
    });
    result
}
