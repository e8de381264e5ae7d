//! Standard I/O over a socket of ours.
//!
//! glibc's streams of descriptors call its own `read` and `write` by names that nobody stands in front of. So `fdopen` of
//! a socket makes a stream with functions of its own (fopencookie(3)), which call ours; `fileno` knows it again.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{FILE, size_t, ssize_t};

use super::{data, descriptors};
use crate::original::StreamFunctions;
use crate::{lock, original, table};

/// A socket has no position: without `seek` the stream says ESPIPE.
const FUNCTIONS: StreamFunctions =
    StreamFunctions { read: Some(receive), write: Some(send), seek: None, close: Some(close) };

/// Streams over sockets, by the address of their `FILE`, with their descriptors.
static STREAMS: Mutex<Vec<(usize, RawFd)>> = Mutex::new(Vec::new());
/// How many: a program without any pays one load.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn change(what: impl FnOnce(&mut Vec<(usize, RawFd)>)) {
    let mut streams = lock::take(&STREAMS);
    what(&mut streams);
    COUNT.store(streams.len(), Ordering::Relaxed);
}

/// The cookie is the descriptor itself.
fn descriptor(cookie: *mut c_void) -> RawFd {
    // It was made of one.
    cookie.addr() as RawFd
}

unsafe extern "C-unwind" fn receive(cookie: *mut c_void, buffer: *mut c_char, length: size_t) -> ssize_t {
    // SAFETY: glibc gives a buffer of so many bytes.
    unsafe { data::read(descriptor(cookie), buffer.cast(), length) }
}

unsafe extern "C-unwind" fn send(cookie: *mut c_void, buffer: *const c_char, length: size_t) -> ssize_t {
    // SAFETY: glibc gives so many bytes. It takes 0, and nothing below, for an error.
    unsafe { data::write(descriptor(cookie), buffer.cast(), length) }.max(0)
}

unsafe extern "C-unwind" fn close(cookie: *mut c_void) -> c_int {
    let fd = descriptor(cookie);
    change(|streams| streams.retain(|(_, of)| *of != fd));
    // SAFETY: The stream owned it.
    unsafe { descriptors::close(fd) }
}

/// # Safety
/// As fdopen(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE {
    if table::socket(fd).is_none() {
        // SAFETY: As the caller says.
        return unsafe { original::fdopen(fd, mode) };
    }
    // A number, and not the address of anything.
    let cookie = ptr::without_provenance_mut(fd as usize);
    // SAFETY: The functions take such a cookie; `mode` is as the caller says.
    let stream = unsafe { original::fopencookie(cookie, mode, FUNCTIONS) };
    if !stream.is_null() {
        change(|streams| streams.push((stream.addr(), fd)));
    }
    stream
}

unsafe extern "C" {
    static mut stdin: *mut FILE;
    static mut stdout: *mut FILE;
    static mut stderr: *mut FILE;
}

/// The standard streams of a program that was executed with a socket as one of its first three descriptors are streams over
/// that socket. Called before the program has used them.
pub fn take_standard_streams() {
    let open = |fd: RawFd, mode: &CStr| {
        let is_ours = table::socket(fd).is_some();
        // SAFETY: `mode` ends with a zero byte.
        let stream = if is_ours { unsafe { fdopen(fd, mode.as_ptr()) } } else { ptr::null_mut() };
        Some(stream).filter(|stream| !stream.is_null())
    };
    if let Some(stream) = open(libc::STDIN_FILENO, c"r") {
        // SAFETY: libc lets programs assign them, and no other thread is there.
        unsafe { stdin = stream };
    }
    if let Some(stream) = open(libc::STDOUT_FILENO, c"w") {
        // SAFETY: As above.
        unsafe { stdout = stream };
    }
    if let Some(stream) = open(libc::STDERR_FILENO, c"w") {
        // SAFETY: `stream` is one; standard error has no buffer.
        unsafe { libc::setvbuf(stream, ptr::null_mut(), libc::_IONBF, 0) };
        // SAFETY: As above.
        unsafe { stderr = stream };
    }
}

/// # Safety
/// As fileno(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fileno(stream: *mut FILE) -> c_int {
    if COUNT.load(Ordering::Relaxed) > 0 {
        let streams = lock::take(&STREAMS);
        if let Some((_, fd)) = streams.iter().find(|(of, _)| *of == stream.addr()) {
            return *fd;
        }
    }
    // SAFETY: As the caller says.
    unsafe { original::fileno(stream) }
}

/// # Safety
/// As fileno_unlocked(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fileno_unlocked(stream: *mut FILE) -> c_int {
    // SAFETY: As the caller says.
    unsafe { fileno(stream) }
}
