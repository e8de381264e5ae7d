//! The functions that this library stands in front of.
//!
//! Each is looked up once, at its first call (`dlsym(RTLD_NEXT)`, which finds the next definition behind this library's),
//! and called through a pointer from then on.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{
    addrinfo, epoll_event, fd_set, iovec, mmsghdr, msghdr, off_t, off64_t, pid_t, pollfd, posix_spawn_file_actions_t,
    posix_spawnattr_t, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec, timeval, uid_t,
};

/// The address of the next definition of a function.
fn find(name: &CStr, known: &AtomicPtr<c_void>) -> *mut c_void {
    let address = known.load(Ordering::Acquire);
    if !address.is_null() {
        return address;
    }
    // SAFETY: `name` ends with a zero byte.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if address.is_null() {
        // A libc without the function has no caller of it either; whoever made one up learns it at once.
        std::process::abort();
    }
    known.store(address, Ordering::Release);
    address
}

macro_rules! originals {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $of:ty),* $(,)?) -> $returns:ty;)*) => {
        $(
            $(#[$meta])*
            ///
            /// # Safety
            /// As the function of this name in libc.
            #[inline]
            pub unsafe fn $name($($argument: $of),*) -> $returns {
                static KNOWN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
                const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a name ends with one zero byte"),
                };
                let address = find(NAME, &KNOWN);
                // SAFETY: libc's function of this name has this signature.
                let original: unsafe extern "C-unwind" fn($($of),*) -> $returns = unsafe { mem::transmute(address) };
                // SAFETY: The caller keeps to the function's contract.
                unsafe { original($($argument),*) }
            }
        )*
    };
}

/// `cookie_io_functions_t`: what a stream calls. A thread that is canceled in one is unwound through it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StreamFunctions {
    /// Reads.
    pub read: Option<unsafe extern "C-unwind" fn(*mut c_void, *mut c_char, size_t) -> ssize_t>,
    /// Writes.
    pub write: Option<unsafe extern "C-unwind" fn(*mut c_void, *const c_char, size_t) -> ssize_t>,
    /// Moves.
    pub seek: Option<unsafe extern "C-unwind" fn(*mut c_void, *mut off64_t, c_int) -> c_int>,
    /// Closes.
    pub close: Option<unsafe extern "C-unwind" fn(*mut c_void) -> c_int>,
}

originals! {
    /// Makes a socket.
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    /// Binds a socket.
    fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int;
    /// Lets a socket listen.
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    /// Connects a socket.
    fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int;
    /// Accepts a connection.
    fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int;
    /// Accepts a connection.
    fn accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int;
    /// Ends a direction.
    fn shutdown(fd: c_int, how: c_int) -> c_int;
    /// Own address.
    fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int;
    /// The peer's address.
    fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int;
    /// An option.
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut socklen_t) -> c_int;
    /// Sets an option.
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: socklen_t) -> c_int;

    /// Reads.
    fn read(fd: c_int, buffer: *mut c_void, count: size_t) -> ssize_t;
    /// Writes.
    fn write(fd: c_int, buffer: *const c_void, count: size_t) -> ssize_t;
    /// Reads into parts.
    fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    /// Writes parts.
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    /// Receives.
    fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t;
    /// Sends.
    fn send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t;
    /// Receives, and tells from whom.
    fn recvfrom(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int, address: *mut sockaddr, address_length: *mut socklen_t) -> ssize_t;
    /// Sends to somebody.
    fn sendto(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int, address: *const sockaddr, address_length: socklen_t) -> ssize_t;
    /// Receives with all that comes beside.
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
    /// Sends with all that goes beside.
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
    /// Receives several messages.
    fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int;
    /// Sends several messages.
    fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int;
    /// Moves from or to a pipe.
    fn splice(from: c_int, offset: *mut off64_t, to: c_int, to_offset: *mut off64_t, count: size_t, flags: c_uint) -> ssize_t;
    /// Duplicates what lies in a pipe.
    fn tee(from: c_int, to: c_int, count: size_t, flags: c_uint) -> ssize_t;
    /// Puts pages into a pipe.
    fn vmsplice(fd: c_int, vector: *const iovec, count: size_t, flags: c_uint) -> ssize_t;
    /// Copies from a file.
    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;

    /// Becomes another user.
    fn setuid(user: uid_t) -> c_int;
    /// Becomes another user for what is done.
    fn seteuid(user: uid_t) -> c_int;
    /// Becomes another user.
    fn setreuid(real: uid_t, effective: uid_t) -> c_int;
    /// Becomes another user.
    fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int;

    /// Executes a program.
    fn execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    /// Executes a program that is looked for, with an environment.
    fn execvpe(file: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    /// Executes an open file.
    fn fexecve(fd: c_int, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    /// Makes a process that executes a program.
    fn posix_spawn(process: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t, attributes: *const posix_spawnattr_t, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    /// Makes a process that executes a program that is looked for.
    fn posix_spawnp(process: *mut pid_t, file: *const c_char, actions: *const posix_spawn_file_actions_t, attributes: *const posix_spawnattr_t, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    /// Lets a process that is made duplicate a descriptor.
    fn posix_spawn_file_actions_adddup2(actions: *mut posix_spawn_file_actions_t, fd: c_int, to: c_int) -> c_int;
    /// Has a shell execute a line, and waits for it.
    fn system(line: *const c_char) -> c_int;
    /// Has a shell execute a line beside this process.
    fn popen(line: *const c_char, mode: *const c_char) -> *mut libc::FILE;

    /// The limits of a resource.
    fn getrlimit(resource: libc::__rlimit_resource_t, limits: *mut libc::rlimit) -> c_int;
    /// Sets the limits of a resource.
    fn setrlimit(resource: libc::__rlimit_resource_t, limits: *const libc::rlimit) -> c_int;
    /// Sets and tells limits of a process.
    fn prlimit(process: pid_t, resource: libc::__rlimit_resource_t, limits: *const libc::rlimit, before: *mut libc::rlimit) -> c_int;

    /// Says what a signal does.
    fn sigaction(signal: c_int, action: *const libc::sigaction, before: *mut libc::sigaction) -> c_int;

    /// Closes a descriptor.
    fn close(fd: c_int) -> c_int;
    /// Closes a range of descriptors.
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    /// Another number of a descriptor.
    fn dup(fd: c_int) -> c_int;
    /// Another number of a descriptor, which is named.
    fn dup2(fd: c_int, to: c_int) -> c_int;
    /// Another number of a descriptor, which is named.
    fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int;
    /// Controls a descriptor.
    fn fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int;
    /// Controls a device.
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
    /// Makes a pipe.
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    /// Makes two joined sockets.
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int;
    /// Makes a file without a name.
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    /// Makes a counter.
    fn eventfd(count: c_uint, flags: c_int) -> c_int;

    /// Waits for descriptors.
    fn poll(fds: *mut pollfd, count: libc::nfds_t, timeout: c_int) -> c_int;
    /// Waits for descriptors with a mask of signals.
    fn ppoll(fds: *mut pollfd, count: libc::nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    /// Waits for descriptors.
    fn select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, timeout: *mut timeval) -> c_int;
    /// Waits for descriptors with a mask of signals.
    fn pselect(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    /// Addresses of a name.
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, found: *mut *mut addrinfo) -> c_int;
    /// The name of an address.
    fn getnameinfo(of: *const sockaddr, length: socklen_t, host: *mut c_char, host_length: socklen_t, service: *mut c_char, service_length: socklen_t, flags: c_int) -> c_int;
    /// Makes a stream over a descriptor.
    fn fdopen(fd: c_int, mode: *const c_char) -> *mut libc::FILE;
    /// Makes a stream of functions.
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: StreamFunctions) -> *mut libc::FILE;
    /// The descriptor of a stream.
    fn fileno(stream: *mut libc::FILE) -> c_int;
    /// Makes an epoll instance.
    fn epoll_create1(flags: c_int) -> c_int;
    /// Changes an epoll instance.
    fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int;
    /// Waits for an epoll instance with a mask of signals.
    fn epoll_pwait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int, mask: *const sigset_t) -> c_int;

}
