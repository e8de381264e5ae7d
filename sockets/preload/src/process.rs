//! The process as one of a VR: its link, its library, and the thread that turns their loop.
//!
//! A process attaches when it makes its first socket, by what `isthmus run` left in its environment. From then on a
//! service thread waits for the loop: listeners, handshakes, datagrams and the vrFIB go on while the program computes. It
//! sleeps when nothing happens, and takes no part in what an established connection sends and receives.

use std::collections::HashMap;
use std::env;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ipc::link::{Link, LinkEvent};
use ipc::reactor::{Event, Reactor};
use ipc::{ServiceName, VrName};
use nix::errno::Errno;
use sockets::{Library, LibraryEvent, Readiness, SocketId};

use crate::control::{Control, Phase};
use crate::interfaces::Interfaces;
use crate::lock::{self, Taken};
use crate::routes::Routes;
use crate::table::DESCRIPTIONS;
use crate::thread::{Inside, become_service};
use crate::{datagram, descriptors, fork, kernel, log, wait};

/// Where the router's control socket is.
pub const SOCKET_ENV: &str = "ISTHMUS_PRELOAD_SOCKET";
/// The VR.
pub const VR_ENV: &str = "ISTHMUS_PRELOAD_VR";

/// How long a program's first socket waits for a stack that is about to start again.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process as one of a VR.
#[derive(Debug)]
pub struct Process {
    /// Its loop.
    pub reactor: Reactor,
    /// Its library.
    pub library: Library,
    /// Sockets of the library, by the description that has them.
    pub by_socket: HashMap<SocketId, u32>,
    /// What is known of each description.
    pub controls: HashMap<u32, Control>,
    /// What is known of the VR's interfaces, once somebody asked.
    pub interfaces: Interfaces,
    /// The question about the VR's routes, once somebody asked.
    pub routes: Routes,
    /// Closed by a child before it became a process of its own; the library is told once it has.
    pub closed_early: Vec<SocketId>,
    /// Wakes the service thread.
    alarm: OwnedFd,
    /// Until when the service thread sleeps at most.
    sleeps_until: Option<Instant>,
}

/// The loop's descriptor, and whether a thread listens to it beside the service thread.
static LOOP: AtomicI32 = AtomicI32::new(-1);
static LISTENED_TO: AtomicBool = AtomicBool::new(false);

/// A thread that waits for what the loop brings (a datagram, a connection, the end of a handshake) listens to it itself.
/// Woken by the service thread it would come a second waking later, which is longer than a peer looks out for an answer:
/// both sides of a conversation would fall asleep again and again. One thread at a time: a loop wakes all that listen.
#[derive(Debug)]
pub struct Listener(RawFd);

impl Listener {
    /// `None`: another thread listens, or there is no loop.
    pub fn new() -> Option<Self> {
        let is_free = !LISTENED_TO.swap(true, Ordering::AcqRel);
        is_free.then(|| Self(LOOP.load(Ordering::Acquire)))
    }

    /// What it polls.
    pub fn as_raw_fd(&self) -> RawFd {
        self.0
    }

    /// Turns the loop, which has something.
    pub fn turn(&self) {
        let _inside = Inside::enter();
        let mut state = state();
        let State::Attached(process) = &mut *state else { return };
        let turned = kernel::without_cancellation(|| process.turn_within(Duration::ZERO));
        process.set_alarm();
        drop(state);
        if let Err(why) = turned {
            log::warn!("{why}");
            kernel::terminate();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        LISTENED_TO.store(false, Ordering::Release);
    }
}

/// How this process stands to the router.
#[derive(Debug)]
pub enum State {
    /// It has made no socket yet.
    Unattached,
    /// It was executed with sockets, of which this is known, and has needed the library for none yet.
    Executed(HashMap<u32, Control>),
    /// It is one of a VR.
    Attached(Box<Process>),
    /// It is a child whose parent was.
    Orphan(Box<Process>),
}

static STATE: Mutex<State> = Mutex::new(State::Unattached);

/// Its lock: the process's.
pub fn state() -> Taken<'static, State> {
    lock::take(&STATE)
}

/// Does something with the process's library. Attaches first, if that was not done.
pub fn with<T>(what: impl FnOnce(&mut Process) -> Result<T, Errno>) -> Result<T, Errno> {
    kernel::without_cancellation(|| with_library(what))
}

fn with_library<T>(what: impl FnOnce(&mut Process) -> Result<T, Errno>) -> Result<T, Errno> {
    let _inside = Inside::enter();
    let mut state = state();
    if !matches!(*state, State::Attached(_)) {
        attach(&mut state)?;
    }
    let State::Attached(process) = &mut *state else { return Err(Errno::ENETDOWN) };
    let result = what(process);
    process.take_news();
    process.set_alarm();
    result
}

/// Looks at what is known of a description. Other than [`with`] it needs no router: a process that was executed with a
/// connection may be another user's than the router takes.
pub fn look<T>(index: u32, what: impl FnOnce(&Control) -> Result<T, Errno>) -> Result<T, Errno> {
    let state = state();
    what(state.controls().and_then(|controls| controls.get(&index)).ok_or(Errno::EBADF)?)
}

/// Becomes a process of the VR.
fn attach(state: &mut State) -> Result<(), Errno> {
    descriptors::own_memory();
    log::start();
    fork::watch();
    watch_end();
    if let Err(error) = ipc::channel::expect_exec() {
        log::error!("sockets will not go on in programs that are executed: {error}");
    }
    // Said once: a program may try for ever.
    static SAID: Once = Once::new();
    let link = open_link().inspect_err(|why| SAID.call_once(|| log::error!("not attached to a router: {why}")));
    let reactor = link.and_then(|link| Reactor::new(link).map_err(|error| error.to_string()));
    let reactor = reactor.map_err(|_| Errno::ENETDOWN)?;
    let alarm = wait::make_bell()?;
    let process = match std::mem::replace(state, State::Unattached) {
        State::Unattached => Box::new(Process::new(reactor, alarm)?),
        State::Executed(controls) => match Process::new(reactor, alarm) {
            Ok(mut process) => {
                process.enter_inherited(controls);
                Box::new(process)
            }
            Err(error) => {
                *state = State::Executed(controls);
                return Err(error);
            }
        },
        State::Attached(process) => process,
        State::Orphan(mut process) => {
            process.reactor = reactor;
            process.alarm = alarm;
            process.become_child()?;
            process
        }
    };
    let (loop_fd, alarm) = (process.reactor.as_raw_fd(), process.alarm.as_raw_fd());
    LOOP.store(loop_fd, Ordering::Release);
    LISTENED_TO.store(false, Ordering::Release);
    *state = State::Attached(process);
    // The program's signals are for the program's threads.
    let mask = kernel::block_signals();
    let started =
        thread::Builder::new().name("isthmus".to_owned()).stack_size(256 << 10).spawn(move || serve(loop_fd, alarm));
    kernel::set_signals(&mask);
    started.map(drop).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN)))
}

/// Where the router is, and the VR, or which variable does not say it: as the environment said when the process first asked. Programs clear theirs, and a
/// child that they fork after that has sockets too.
static PLACE: OnceLock<(PathBuf, VrName)> = OnceLock::new();

pub fn place() -> Result<&'static (PathBuf, VrName), String> {
    if let Some(known) = PLACE.get() {
        return Ok(known);
    }
    let variable = |key: &str| env::var_os(key).ok_or_else(|| format!("{key} is not set: use `isthmus run --preload`"));
    let (control_socket, vr) = (PathBuf::from(variable(SOCKET_ENV)?), variable(VR_ENV)?);
    let vr = VrName::new(&vr.to_string_lossy()).map_err(|error| error.to_string())?;
    Ok(PLACE.get_or_init(|| (control_socket, vr)))
}

fn open_link() -> Result<Link, String> {
    let (control_socket, vr) = place()?;
    Link::attach(control_socket, Some(vr.clone()), own_name()).map_err(|error| error.to_string())
}

/// Attaches while the process still is a user that the router takes, if a router was named. (A child that its parent's
/// user forks, and that becomes another one, is such a process too.) Where that fails the first socket says so.
pub fn attach_as_this_user() {
    if !Inside::is_here() && place().is_ok() {
        let _ = with(|_| Ok(()));
    }
}

/// Says the last words of a program that ends without closing its sockets.
fn watch_end() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| kernel::at_exit(at_end));
}

extern "C" fn at_end() {
    // A child that never used a socket has nothing to say.
    if matches!(*state(), State::Attached(_)) {
        datagram::flush_all();
    }
}

/// The program's file name, as procmgr can list it.
fn own_name() -> ServiceName {
    let program = env::current_exe().ok();
    let name = program.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap_or_default();
    // Cannot fail the second time: letters are a name.
    ServiceName::new(name).unwrap_or_else(|_| ServiceName::new("program").expect("letters are a name"))
}

/// The service thread: turns the loop as long as the process lives.
fn serve(loop_fd: i32, alarm: i32) {
    become_service();
    let _inside = Inside::enter();
    let mut timeout = None;
    loop {
        let mut fds = [wait::watch(loop_fd), wait::watch(alarm)];
        if kernel::ppoll(&mut fds, timeout, None).is_err() {
            continue;
        }
        if fds[1].revents != 0 {
            wait::silence(alarm);
        }
        let mut state = state();
        let State::Attached(process) = &mut *state else { return };
        match process.turn() {
            Ok(next) => timeout = next,
            Err(why) => {
                drop(state);
                log::warn!("{why}");
                return kernel::terminate();
            }
        }
    }
}

impl State {
    /// This process is a forked child: what it has is its parent's.
    pub fn become_orphan(&mut self) {
        *self = match std::mem::replace(self, State::Unattached) {
            State::Attached(mut process) | State::Orphan(mut process) => {
                process.library.leave_services_to_parent();
                (process.interfaces, process.routes) = (Interfaces::default(), Routes::default());
                State::Orphan(process)
            }
            // Their library is still to be made.
            is_unattached @ (State::Unattached | State::Executed(_)) => is_unattached,
        };
    }

    /// What is known of each description.
    pub fn controls(&self) -> Option<&HashMap<u32, Control>> {
        match self {
            State::Unattached => None,
            State::Executed(controls) => Some(controls),
            State::Attached(process) | State::Orphan(process) => Some(&process.controls),
        }
    }
}

impl Process {
    fn new(mut reactor: Reactor, alarm: OwnedFd) -> Result<Self, Errno> {
        let library = Library::new(&mut reactor).map_err(|error| {
            log::error!("{error}");
            Errno::ENETDOWN
        })?;
        let mut process = Self {
            reactor,
            library,
            by_socket: HashMap::new(),
            controls: HashMap::new(),
            interfaces: Interfaces::default(),
            routes: Routes::default(),
            closed_early: Vec::new(),
            alarm,
            sleeps_until: None,
        };
        process.meet_authorities();
        Ok(process)
    }

    /// Waits for the channels to the manager and the stack: a program that takes all descriptors that it may have at once
    /// would leave none for them.
    fn meet_authorities(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.library.has_authorities() {
            let left = until.saturating_duration_since(Instant::now());
            // What fails here fails again in the service thread, which says so.
            if left.is_zero() || self.turn_within(left).is_err() {
                return;
            }
        }
    }

    /// A child is about to be forked that will have the listeners too.
    pub fn share_with_child(&mut self) {
        if let Err(error) = self.library.before_fork(&mut self.reactor) {
            log::error!("share listeners with a child: {error}");
        }
        self.take_news();
        // What else came meanwhile is the service thread's to fetch.
        wait::ring(self.alarm.as_raw_fd());
    }

    /// The same in a child that was forked and has needed the router for nothing yet.
    pub fn share_with_grandchild(&mut self) {
        if let Err(error) = self.library.before_fork_of_orphan() {
            log::error!("share sockets with a child: {error}");
        }
    }

    /// One turn of the loop, without waiting; how long until the next one at most.
    fn turn(&mut self) -> Result<Option<Duration>, String> {
        self.turn_within(Duration::ZERO)?;
        self.sleeps_until = self.library.poll_timeout();
        let left = |due: Instant| due.saturating_duration_since(Instant::now());
        Ok(self.sleeps_until.map(left))
    }

    /// One turn, which waits for something to happen, at most for so long. All others wait meanwhile.
    pub fn turn_within(&mut self, limit: Duration) -> Result<(), String> {
        let mut stopping = false;
        self.reactor.wait(Some(limit)).map_err(|error| error.to_string())?;
        while let Some(event) = self.reactor.next_event().map_err(|error| error.to_string())? {
            let Some(event) = self.interfaces.handle(&mut self.reactor, event) else { continue };
            let Some(event) = self.routes.handle(&mut self.reactor, event) else { continue };
            stopping |= matches!(self.library.handle(&mut self.reactor, event), Some(Event::Link(LinkEvent::Stop)));
        }
        self.library.handle_timeout(&mut self.reactor, Instant::now());
        self.take_news();
        if stopping { Err("the router stops".to_owned()) } else { Ok(()) }
    }

    /// The service thread sleeps no longer than the library allows.
    fn set_alarm(&mut self) {
        let due = self.library.poll_timeout();
        if due.is_some_and(|due| self.sleeps_until.is_none_or(|until| due < until)) {
            self.sleeps_until = due;
            wait::ring(self.alarm.as_raw_fd());
        }
    }

    /// Takes in what has happened to sockets, and tells those who wait for it.
    pub fn take_news(&mut self) {
        while let Some(event) = self.library.poll(&mut self.reactor) {
            let (LibraryEvent::Listening { listener: socket }
            | LibraryEvent::ListenFailed { listener: socket, .. }
            | LibraryEvent::Incoming { listener: socket }
            | LibraryEvent::Connected { socket }
            | LibraryEvent::ConnectFailed { socket, .. }
            | LibraryEvent::Readable { socket }
            | LibraryEvent::Writable { socket }
            | LibraryEvent::PortAnswered { reservation: socket }) = event;
            let Some(index) = self.by_socket.get(&socket).copied() else { continue };
            self.note(index, event);
            if let Some(description) = DESCRIPTIONS.get(index) {
                description.kick(None);
            }
        }
    }

    /// What is known of a description.
    pub fn control(&mut self, index: u32) -> Result<&mut Control, Errno> {
        self.controls.get_mut(&index).ok_or(Errno::EBADF)
    }

    /// What a socket allows that has no connection of its own to look at.
    pub fn readiness(&mut self, index: u32) -> Result<Readiness, Errno> {
        let Some(control) = self.controls.get(&index) else { return Err(Errno::EBADF) };
        let mut all = Readiness::default();
        for socket in control.library_sockets() {
            let one = self.library.readiness(&mut self.reactor, socket).map_err(sockets::errno)?;
            all.readable |= one.readable;
            all.writable |= one.writable;
            all.failed |= one.failed;
            all.read_closed |= one.read_closed;
            all.hung_up |= one.hung_up;
        }
        let control = self.control(index)?;
        let all = control.adjust(all);
        // The phases that end by what the library tells, or by a call that kicks.
        if matches!(control.phase, Phase::Listening(_, 0) | Phase::Datagram(_, 0))
            && let Some(description) = DESCRIPTIONS.get(index)
        {
            description.set_calm(all);
        }
        Ok(all)
    }
}
