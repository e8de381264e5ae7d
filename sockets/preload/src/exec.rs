//! A program that executes another one: the sockets that it leaves open go on there.
//!
//! As on Linux that are those whose descriptors are not close-on-exec, be it the process itself that executes (inetd's
//! child), a child of vfork(2), or one that posix_spawn(3) makes. What goes on is handed over (`handover`); the environment
//! says where, and names this library and the router again if the program has left them out: without them its descriptors
//! would lead nowhere.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use ipc::channel::Successor;
use nix::errno::Errno;
use sockets::{SocketError, SocketId};

use crate::control::{Control, Phase};
use crate::description::{Description, Direction, Kind};
use crate::handover::{self, Address, Body, ENVELOPE_ENV, SocketRecord};
use crate::process::{self, SOCKET_ENV, State, VR_ENV};
use crate::table::DESCRIPTIONS;
use crate::thread::Inside;
use crate::{datagram, descriptors, kernel, log, netlink};

/// What makes the loader load this library.
const LOADER_ENV: &str = "LD_PRELOAD";

/// Which descriptors the program that is executed will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inherited {
    /// Those that are not close-on-exec now.
    Open,
    /// Those, and any that a child duplicates before it executes (`posix_spawn_file_actions_adddup2`).
    OpenAndDuplicated,
}

/// What was prepared for a program that is about to be executed.
#[derive(Debug)]
pub struct Departure {
    address: Address,
    successor: Successor,
    connections: Vec<&'static Description>,
    listeners: Vec<SocketId>,
    datagrams: Vec<SocketId>,
    environment: Vec<CString>,
    /// Its addresses, and null.
    pointers: Vec<*const c_char>,
}

thread_local! {
    /// What this thread has prepared last. Here and not where it is used: a child of vfork(2) does not come back, and what it
    /// leaves in its parent's memory is given back with the next.
    static LAST: RefCell<Option<Departure>> = const { RefCell::new(None) };
}

/// Who executes, as seen from the functions that do so in place of the process.
pub fn successor() -> Successor {
    if descriptors::is_in_parents_memory() { Successor::Child } else { Successor::ThisProcess }
}

/// Hands over what goes on in a program that is executed. `None`: nothing does, and its environment is what it is.
pub fn prepare(successor: Successor, inherited: Inherited, environment: &[&CStr]) -> Option<Departure> {
    if !DESCRIPTIONS.all().any(Description::is_used) {
        return None;
    }
    let _inside = Inside::enter();
    if successor == Successor::ThisProcess && matches!(*process::state(), State::Attached(_)) {
        datagram::flush_all();
    }
    let open = open_across_exec();
    let goes_on = |description: &&'static Description| {
        let is_open = open.contains(&description.inode());
        description.is_used() && (is_open || (inherited == Inherited::OpenAndDuplicated && description.is_duplicated()))
    };
    let which: Vec<&'static Description> = DESCRIPTIONS.all().filter(goes_on).collect();
    if which.is_empty() {
        return None;
    }
    let address = Address { envelope: -1, inode: 0, sockets: Vec::new() };
    let mut departure = Departure {
        address,
        successor,
        connections: Vec::new(),
        listeners: Vec::new(),
        datagrams: Vec::new(),
        environment: Vec::new(),
        pointers: Vec::new(),
    };
    match departure.pack(&which) {
        Ok(()) => {
            if !departure.datagrams.is_empty() && matches!(*process::state(), State::Attached(_)) {
                // The service thread looks now and then at what it shares from now on.
                let _ = process::with(|_| Ok(()));
            }
            departure.environment = departure.told(environment);
            let pointers = departure.environment.iter().map(|variable| variable.as_ptr());
            departure.pointers = pointers.chain([ptr::null()]).collect();
            Some(departure)
        }
        Err(why) => {
            log::error!("sockets cannot be handed over by exec: {why}");
            departure.cancel();
            None
        }
    }
}

/// Does what executes a program, with the environment that it is to have; `None`: nothing was executed.
pub fn depart<T>(departure: Departure, execute: impl FnOnce(*const *const c_char) -> Option<T>) -> Option<T> {
    let environment = LAST.with_borrow_mut(|last| last.insert(departure).pointers.as_ptr());
    let executed = execute(environment);
    let error = Errno::last();
    if let Some(departure) = LAST.take() {
        match executed {
            Some(_) => departure.close_envelope(),
            None => departure.cancel(),
        }
    }
    error.set();
    executed
}

/// A child that was forked only to execute another program gives back what does not go on there: its parent's connections
/// are the parent's alone again, and as fast as before. (A child of vfork(2) has its parent's memory, and nothing to give.)
pub fn give_back_others(departure: Option<&Departure>) {
    let _inside = Inside::enter();
    match &mut *process::state() {
        State::Orphan(process) => {
            let kept = departure.map(|departure| departure.datagrams.as_slice()).unwrap_or_default();
            process.library.give_back_datagrams(kept);
        }
        State::Executed(_) => {}
        State::Unattached | State::Attached(_) => return,
    }
    let goes_on = |description: &Description| {
        departure.is_some_and(|departure| departure.connections.iter().any(|known| ptr::eq(*known, description)))
    };
    for description in DESCRIPTIONS.all().filter(|description| !goes_on(description)) {
        let mut stream = description.lock();
        if let Some(stream) = stream.take_if(|stream| stream.is_shared()) {
            stream.close();
        }
    }
}

/// Inodes of the kernel's sockets that are not close-on-exec.
fn open_across_exec() -> HashSet<u64> {
    let stays = |fd: RawFd| kernel::fcntl(fd, libc::F_GETFD, 0).is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0);
    descriptors::kernels_sockets().into_iter().filter(|(fd, _)| stays(*fd)).map(|(_, inode)| inode).collect()
}

impl Departure {
    fn pack(&mut self, which: &[&'static Description]) -> Result<(), String> {
        let turns = ipc::channel::turns().ok_or("no connection of this process can be")?;
        let log = log::output().map_err(|error| error.to_string())?;
        let mut state = process::state();
        let (mut records, mut fds) = (Vec::new(), Vec::new());
        for description in which {
            let control = state.controls().and_then(|controls| controls.get(&description.index())).cloned();
            records.push(self.record(&mut state, description, control, &mut fds)?);
        }
        let envelope = handover::seal(records, &fds, turns, log.as_fd()).map_err(|error| error.to_string())?;
        drop(state);
        let envelope = descriptors::open_across_exec(envelope.as_raw_fd()).map_err(|error| error.to_string())?;
        self.address.envelope = envelope;
        self.address.inode = kernel::socket_inode(envelope).ok_or("their envelope is no socket")?;
        self.address.sockets = which.iter().map(|description| description.inode()).collect();
        Ok(())
    }

    fn record(
        &mut self,
        state: &mut State,
        description: &'static Description,
        mut control: Option<Control>,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<SocketRecord, String> {
        let kind = description.hold().kind();
        let handed_over = description.lock().as_mut().map(|stream| sockets::hand_over(stream, self.successor));
        let body = match (handed_over, control.as_mut()) {
            (Some(handed_over), _) => {
                let (record, parts) = handed_over.map_err(|error| error.to_string())?;
                self.connections.push(description);
                fds.extend(parts);
                Body::Connected(Box::new(record))
            }
            (None, Some(Control { phase: Phase::Listening(listeners, _), .. })) => {
                self.hand_over_listeners(state, listeners, fds)
            }
            (None, Some(Control { phase: Phase::Datagram(sockets, _), .. })) => {
                self.hand_over_datagrams(state, sockets, fds)
            }
            (None, Some(control)) if kind == Kind::Stream => idle(control),
            (None, Some(_)) if kind == Kind::Netlink => Body::Netlink(netlink::hand_over(description.index())),
            (None, _) => lost(kind),
        };
        Ok(SocketRecord {
            inode: description.inode(),
            kind,
            receive_timeout: description.timeout(Direction::Receive),
            send_timeout: description.timeout(Direction::Send),
            control,
            body,
        })
    }

    /// As with a listener, what others open from then on comes into a queue. A child of vfork(2) can share no bell with its
    /// parent, which silences it.
    fn hand_over_datagrams(&mut self, state: &mut State, sockets: &[SocketId], fds: &mut Vec<OwnedFd>) -> Body {
        if descriptors::is_in_parents_memory() {
            return lost(Kind::Datagram);
        }
        let (library, mut reactor) = match state {
            State::Attached(process) => (&mut process.library, Some(&mut process.reactor)),
            State::Orphan(process) => (&mut process.library, None),
            State::Unattached | State::Executed(_) => return lost(Kind::Datagram),
        };
        let mut records = Vec::new();
        for socket in sockets {
            match library.hand_over_datagram(reactor.as_deref_mut(), *socket, self.successor) {
                Ok((record, parts)) => {
                    self.datagrams.push(*socket);
                    fds.extend(parts);
                    records.push(record);
                }
                Err(error) => {
                    log::error!("a datagram socket cannot be handed over by exec: {error}");
                    return Body::Lost;
                }
            }
        }
        Body::Datagram(records)
    }

    /// What comes for a listener goes into a queue, which a process can hand over and procmgr makes for it; but a child of
    /// vfork(2) cannot ask procmgr in its parent's name.
    fn hand_over_listeners(&mut self, state: &mut State, listeners: &[SocketId], fds: &mut Vec<OwnedFd>) -> Body {
        let is_childs = descriptors::is_in_parents_memory();
        let (library, mut reactor) = match state {
            State::Attached(process) => (&mut process.library, Some(&mut process.reactor).filter(|_| !is_childs)),
            // Their parent has made the queues.
            State::Orphan(process) => (&mut process.library, None),
            State::Unattached | State::Executed(_) => return lost(Kind::Stream),
        };
        let mut records = Vec::new();
        for listener in listeners {
            match library.hand_over_listener(reactor.as_deref_mut(), *listener, self.successor) {
                Ok((record, parts)) => {
                    self.listeners.push(*listener);
                    fds.extend(parts);
                    records.push(record);
                }
                Err(error) => {
                    log::error!("a listener cannot be handed over by exec: {error}");
                    return Body::Lost;
                }
            }
        }
        Body::Listening(records)
    }

    /// The environment that the program has given, and what it needs beside to go on.
    fn told(&self, given: &[&CStr]) -> Vec<CString> {
        let value = |name: &str| {
            let mut all = given.iter().map(|variable| variable.to_bytes());
            let found = all.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            found.filter(|value| !value.is_empty())
        };
        let mut ours = vec![(ENVELOPE_ENV, self.address.to_string().into_bytes())];
        let own = kernel::own_file().map(CStr::to_bytes).unwrap_or_default();
        let is_own = |path: &[u8]| path == own;
        match value(LOADER_ENV) {
            Some(others) if others.split(|byte| *byte == b':' || *byte == b' ').any(is_own) => {}
            Some(others) => ours.push((LOADER_ENV, [own, b":", others].concat())),
            None => ours.push((LOADER_ENV, own.to_vec())),
        }
        if let Ok((socket, vr)) = process::place() {
            let socket = socket.as_os_str().as_bytes();
            for (name, known) in [(SOCKET_ENV, socket), (VR_ENV, vr.as_str().as_bytes())] {
                if value(name).is_none() {
                    ours.push((name, known.to_vec()));
                }
            }
        }
        let is_replaced = |variable: &CStr| {
            let name = variable.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
            ours.iter().any(|(of, _)| of.as_bytes() == name)
        };
        let kept = given.iter().filter(|variable| !is_replaced(variable)).map(|variable| CString::from(*variable));
        let kept: Vec<CString> = kept.collect();
        let ours =
            ours.into_iter().filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", &value].concat()).ok());
        kept.into_iter().chain(ours).collect()
    }

    /// The program was not executed: this process goes on.
    fn cancel(self) {
        let _inside = Inside::enter();
        for description in &self.connections {
            if let Some(stream) = description.lock().as_mut() {
                stream.take_back(self.successor);
            }
        }
        match &mut *process::state() {
            State::Attached(process) | State::Orphan(process) => {
                self.listeners.iter().for_each(|of| process.library.take_listener_back(*of, self.successor));
                self.datagrams.iter().for_each(|of| process.library.take_datagram_back(*of, self.successor));
            }
            State::Unattached | State::Executed(_) => {}
        }
        self.close_envelope();
    }

    /// A child that executes it has a copy.
    fn close_envelope(&self) {
        if self.address.envelope >= 0 {
            let _ = kernel::close(self.address.envelope);
        }
    }
}

/// A TCP socket without a connection: it goes on as far as it has come.
fn idle(control: &mut Control) -> Body {
    match control.phase {
        Phase::Idle => Body::Idle,
        Phase::Opening(_) => {
            log::warn!("exec while a connect is in progress: it is ECONNRESET in the program that is executed");
            control.error = Some(SocketError::ConnectionReset);
            Body::Idle
        }
        Phase::Connected(_) | Phase::Listening(..) | Phase::Datagram(..) => lost(Kind::Stream),
    }
}

fn lost(kind: Kind) -> Body {
    log::not_covered(match kind {
        Kind::Stream | Kind::Netlink => "exec with a socket that is about to be closed",
        Kind::Datagram => {
            "exec with a datagram socket by a child of vfork, or by a process that has no way to the router"
        }
    });
    Body::Lost
}
