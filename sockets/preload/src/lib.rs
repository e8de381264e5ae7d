//! The socket library behind libc's calls, for programs that do not know it.
//!
//! `isthmus run --vr red --preload -- PROGRAM` puts this library in front of a program's libc (`LD_PRELOAD`). Its sockets
//! of IP are then those of a virtual router; files, pipes and Unix sockets stay the kernel's.
//!
//! ```text
//!   program ── connect, send, poll … ──▶ interpose ─┬─ a descriptor of ours ──▶ control, stream, datagram, options,
//!                                                   │                           readiness ──▶ the socket library
//!                                                   └─ any other ──▶ libc, unchanged
//! ```
//!
//! It has no socket logic of its own: what a call means is decided by the socket library. What is added is what C and
//! Linux want: numbers (`table`, `description`, `descriptors`), sleeping threads (`wait`), readiness over a mix of ours and
//! the kernel's (`readiness`), a process that becomes one of a VR when it makes its first socket (`process`), handlers of
//! signals that find no call in the middle (`signals`), sockets that outlive fork and exec (`fork`; `exec`, `handover`,
//! `inherit`).
//!
//! Locks are taken in this order, and each may be left out: an epoll instance's, the process's, a connection's, that of
//! its waiters. An established connection needs its own lock only (`lock`).
//!
//! `unsafe` stands in `interpose` (C's pointers), `original` (libc's functions), `kernel` (system calls) and `lock`, each of
//! which has a safe face.

#![cfg_attr(test, allow(dead_code))] // Its callers are the interposed functions.

mod address;
mod ancillary;
mod bind;
mod close;
mod connect;
mod control;
mod datagram;
mod description;
mod descriptors;
mod exec;
mod fork;
mod handover;
mod inherit;
mod interfaces;
// A test's own program keeps its libc.
#[cfg(not(test))]
mod interpose;
mod ioctl;
mod kernel;
mod limit;
mod lock;
mod log;
mod names;
mod netlink;
mod options;
mod original;
mod process;
mod raw;
mod readiness;
mod routes;
mod signals;
mod stream;
mod table;
mod thread;
mod transfer;
mod wait;
