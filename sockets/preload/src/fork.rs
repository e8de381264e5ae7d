//! A program that forks: its child goes on with its connections and listeners.
//!
//! What another thread does at the moment of a fork is cut off in the child, in the middle. So the thread that forks takes
//! all locks first: then nothing is in the middle. Connections are shared from then on (`ipc::channel`); the child becomes
//! a process of the VR when it makes its first call that needs the library.

use std::cell::RefCell;
use std::sync::Once;

use nix::errno::Errno;
use sockets::{SocketError, Stream};

use crate::control::Phase;
use crate::description::{Description, Waiters};
use crate::lock::{Guard, Taken};
use crate::process::{self, Process, State};
use crate::readiness::epoll::{self, EpollSet};
use crate::table::{DESCRIPTIONS, EPOLL_SETS};
use crate::thread::Inside;
use crate::{descriptors, kernel, limit, log, signals, wait};

/// Everything that a fork must not find in the middle of something, in the order of locks.
struct Locked {
    sets: Vec<epoll::Locked>,
    state: Taken<'static, State>,
    streams: Vec<(&'static Description, Guard<'static, Option<Stream>>)>,
    waiters: Vec<Taken<'static, Waiters>>,
    limit: Option<Taken<'static, ()>>,
    _inside: Inside,
}

thread_local! {
    static LOCKED: RefCell<Option<Locked>> = const { RefCell::new(None) };
}

/// Takes part in the forks of this process from now on.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| kernel::at_fork(before, in_parent, in_child));
}

extern "C" fn before() {
    let inside = Inside::enter();
    let sets: Vec<&'static EpollSet> = EPOLL_SETS.all().collect();
    let sets = sets.into_iter().map(EpollSet::lock_for_fork).collect();
    let mut state = process::state();
    match &mut *state {
        State::Attached(process) => process.share_with_child(),
        State::Orphan(process) => process.share_with_grandchild(),
        State::Unattached | State::Executed(_) => {}
    }
    let mut streams = Vec::new();
    let mut waiters = Vec::new();
    if !matches!(*state, State::Unattached) {
        for description in DESCRIPTIONS.all() {
            let mut stream = description.lock_for_fork();
            if let Some(stream) = stream.as_mut()
                && let Err(error) = stream.channel().share()
            {
                log::error!("share a connection with a child: {error}");
            }
            streams.push((description, stream));
            waiters.push(description.waiters());
        }
    }
    LOCKED.set(Some(Locked { sets, state, streams, waiters, limit: Some(limit::settled()), _inside: inside }));
}

extern "C" fn in_parent() {
    // A fork that failed leaves the connections shared with nobody: they are used in turn, which costs time and nothing else.
    LOCKED.take();
}

extern "C" fn in_child() {
    descriptors::own_memory();
    let Some(mut locked) = LOCKED.take() else { return };
    drop(locked.limit.take());
    // Other threads are the parent's.
    locked.waiters.iter_mut().for_each(|waiters| waiters.forget_threads());
    for (description, stream) in &mut locked.streams {
        if let Some(stream) = stream.as_mut() {
            stream.adopt();
        }
        description.forget_calm();
    }
    locked.state.become_orphan();
    let sets = locked.sets.iter_mut().map(epoll::Locked::renew).collect::<Result<Vec<()>, Errno>>();
    if let Err(error) = sets {
        log::error!("an epoll instance of a forked child: {error}");
    }
    wait::renew_bell();
    signals::forget_put_off();
}

/// Closes a socket of a process that has done nothing else yet, a child's or a program's that was executed with it: many
/// close what they have from their parent and execute another program. `false`: it is not such a process.
pub fn close_early(index: u32) -> bool {
    let _inside = Inside::enter();
    let mut state = process::state();
    if matches!(*state, State::Unattached | State::Attached(_)) {
        return false;
    }
    if let Some(description) = DESCRIPTIONS.get(index) {
        if let Some(stream) = description.lock().take() {
            stream.close();
        }
        description.end();
    }
    match &mut *state {
        State::Executed(controls) => _ = controls.remove(&index),
        State::Orphan(process) => process.note_closed(index),
        State::Unattached | State::Attached(_) => {}
    }
    DESCRIPTIONS.give_back(index);
    true
}

impl Process {
    /// A socket was closed of which the library is still to be told.
    fn note_closed(&mut self, index: u32) {
        let Some(control) = self.controls.remove(&index) else { return };
        let sockets = [control.library_sockets(), control.reservations].concat();
        sockets.iter().for_each(|socket| _ = self.by_socket.remove(socket));
        self.closed_early.extend(sockets);
    }

    /// Becomes a process of its own, around a loop of its own.
    pub fn become_child(&mut self) -> Result<(), Errno> {
        self.library.after_fork_in_child(&mut self.reactor).map_err(|error| {
            log::error!("a forked child cannot join its parent's router: {error}");
            Errno::ENETDOWN
        })?;
        let closed = std::mem::take(&mut self.closed_early);
        self.close_all(&closed);
        self.end_opening();
        Ok(())
    }

    /// What connected at the fork is the parent's alone. The child is told so as of a connection that was broken, and may
    /// connect anew.
    fn end_opening(&mut self) {
        let mut ended = Vec::new();
        for control in self.controls.values_mut() {
            if let Phase::Opening(socket) = control.phase {
                (control.phase, control.error) = (Phase::Idle, Some(SocketError::ConnectionReset));
                ended.push(socket);
            }
        }
        if !ended.is_empty() {
            log::warn!("fork while a connect is in progress: the child's is ECONNRESET, the parent's goes on");
        }
        ended.iter().for_each(|socket| _ = self.by_socket.remove(socket));
        self.close_all(&ended);
    }
}
