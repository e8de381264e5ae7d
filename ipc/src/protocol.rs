//! What a process and procmgr say to each other on the process's link.
//!
//! The link is a SOCK_SEQPACKET socket: one message a packet, descriptors beside it, and the kernel attests who sent
//! it. It carries no data of the processes; those open channels over it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{ServiceName, VrName};
use crate::pathname::{Pathname, Pid, VrId};
use crate::terms::{Clause, MAX_CLAUSES, MAX_TERMS, Salt};

/// Version of this protocol; a process of another version is refused.
pub const VERSION: u16 = 4;

/// Largest message on a link, in bytes. Longer answers come in several.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Longest reason why the router cannot be started, in characters.
pub const MAX_REASON: usize = 8 * 1024;

/// Ends handed to a process that it has not yet taken: descriptors in flight are counted per user by the kernel.
pub const MAX_UNTAKEN: u32 = 64;

/// Descriptor that a process inherits its link on, while it starts: the one descriptor that `exec` passes without
/// clearing a flag in the parent.
pub const LINK_FD: i32 = 0;

/// Set in the environment of a process that has a link on [`LINK_FD`]; its value is [`VERSION`].
pub const LINK_ENV: &str = "ISTHMUS_LINK";

/// Who a process is, as procmgr says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its VR.
    pub vr: VrId,
    /// The VR's name; `None` for the router itself.
    pub vr_name: Option<VrName>,
    /// The process.
    pub pid: Pid,
    /// Its class, or the name it attached under.
    pub name: ServiceName,
    /// Who started it.
    pub origin: Origin,
}

/// Who started a process, and so whether somebody starts it again when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// procmgr, by its class.
    Supervised,
    /// Somebody else: it attached.
    Attached,
}

impl std::fmt::Display for Identity {
    /// `red/bgp`, or `stack` for a process of the router.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.vr_name {
            Some(vr) => write!(f, "{vr}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// Number of a request, given by the process, repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u32);

/// Number of a publication. A later one under the same pathname has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// From a process to procmgr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First message of a process that procmgr did not start, on the router's control socket.
    Attach {
        /// [`VERSION`].
        version: u16,
        /// Which VR to join; `None`: the router, for an operator.
        vr: Option<VrName>,
        /// Under which name.
        name: ServiceName,
    },
    /// Everything that this process needs to work is there.
    Ready,
    /// Publish a service of the own VR. Answered by `Done` or `Refused`.
    Publish {
        /// Comes back in the answer.
        ticket: Ticket,
        /// Name of the service.
        name: ServiceName,
    },
    /// This process listens no longer under an endpoint of its own: opens are refused from now on, also those that the
    /// VR connection manager has not heard of yet. Not answered.
    Withdraw {
        /// The endpoint.
        pathname: Pathname,
    },
    /// Open a pathname. Answered by `Opened` or `Refused`. The open of a service that is not there yet waits for it;
    /// that of an endpoint is refused at once.
    Open {
        /// Comes back in the answer.
        ticket: Ticket,
        /// What to open.
        pathname: Pathname,
        /// Which publication is meant; `None`: the present one.
        generation: Option<Generation>,
        /// For the other side to read; at most [`MAX_TERMS`] bytes.
        terms: Vec<u8>,
    },
    /// An open that is no longer wanted.
    Cancel {
        /// Of the open.
        ticket: Ticket,
    },
    /// So many ends of `Incoming` were taken from the link. Those of an endpoint are in its backlog until `Accepted`.
    Taken {
        /// How many.
        count: u32,
    },
    /// A channel that came by an endpoint of this process has left its backlog: there is room for one more.
    Accepted {
        /// The endpoint.
        pathname: Pathname,
        /// As in `Taken`, so that one message says both.
        taken: u32,
    },
    /// What comes for an endpoint of this process goes into the queue whose giving end comes along, instead of onto the link
    /// ([`Queue`](crate::queue::Queue)): at most [`MAX_UNTAKEN`] at a time, whatever its backlog. Answered by `Done` or
    /// `Refused`. Processes that gave ends of the same queue may say `Accepted` for each other's endpoints.
    Queue {
        /// Comes back in the answer.
        ticket: Ticket,
        /// The endpoint; it need not be published yet.
        pathname: Pathname,
    },
    /// A question or an order about the router. Answered by one or more `Answer`, or by `Refused`.
    Ask {
        /// Comes back in the answers.
        ticket: Ticket,
        /// What is asked.
        question: Question,
    },
    /// An order of the VR connection manager, refused to everyone else. Answered by `Done` or `Refused`.
    Manage {
        /// Comes back in the answer.
        ticket: Ticket,
        /// What is ordered.
        order: Order,
    },
    /// The router cannot be started with what it was given. Heeded from a process of the router before all are ready.
    FailStart {
        /// For who starts it; at most [`MAX_REASON`] characters.
        reason: String,
    },
}

/// What an operator's process may ask or order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// All processes.
    Processes,
    /// All virtual routers.
    Vrs,
    /// The last lines of the log.
    Log {
        /// How many at most.
        lines: u32,
    },
    /// All published pathnames.
    Publications,
    /// All channels that stand, found by who maps them.
    Channels,
    /// Stop the router in order; the machine whose first process it is goes off.
    Shutdown,
    /// Stop the router in order and start the machine anew, whose first process it is.
    Reload,
    /// Whether a process has published something. Answered, by [`Answer::Accepted`], as soon as it has, which may be never:
    /// also one that is not there is waited for. Who asks again waits for the latter one only.
    Published {
        /// The process.
        pid: Pid,
    },
}

/// What only the VR connection manager may order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// A virtual router exists, and these classes run in it. Once more with other classes: some are started, others
    /// stopped.
    Vr {
        /// Its number.
        vr: VrId,
        /// Its name.
        name: VrName,
        /// What runs in it.
        classes: Vec<ServiceName>,
    },
    /// It exists no longer: its processes are stopped.
    RemoveVr {
        /// Its number.
        vr: VrId,
    },
    /// Processes of the two may open each other's endpoints, or no longer.
    Join {
        /// One VR.
        a: VrId,
        /// The other.
        b: VrId,
        /// `false`: no longer.
        joined: bool,
    },
    /// A process listens: put its endpoint into the directory.
    PublishEndpoint {
        /// `/VrID/PID/L3/L4[/port]`: both IDs must be of a living process.
        pathname: Pathname,
        /// Which publication: later ones have higher numbers.
        generation: Generation,
        /// Opened ends that may wait for the listener.
        backlog: u16,
        /// What the listener asks of the terms of opens. Once more with other clauses under the same generation: opens
        /// that were kept waiting by the earlier ones are looked at again.
        clauses: Vec<Clause>,
    },
    /// It listens no longer.
    WithdrawEndpoint {
        /// As it was published.
        pathname: Pathname,
    },
}

/// From procmgr to a process. Descriptors of a channel end come with `Opened` and `Incoming`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// First message on every link.
    Welcome(Identity),
    /// An open succeeded.
    Opened {
        /// From the request.
        ticket: Ticket,
        /// Who holds the other end.
        peer: Identity,
    },
    /// Follows `Welcome`: the router's secret, for digests that procmgr compares.
    Salt(Salt),
    /// Somebody opened a pathname of this process.
    Incoming {
        /// Which pathname.
        pathname: Pathname,
        /// Who opened it.
        peer: Identity,
        /// What it said.
        terms: Vec<u8>,
    },
    /// A request was carried out.
    Done {
        /// From the request.
        ticket: Ticket,
    },
    /// A request was refused.
    Refused {
        /// From the request.
        ticket: Ticket,
        /// Why.
        refusal: Refusal,
    },
    /// Part of an answer.
    Answer {
        /// From the question.
        ticket: Ticket,
        /// The part.
        answer: Answer,
        /// Whether it is the last part.
        last: bool,
    },
    /// All processes of the starting configuration are ready: connections may be opened.
    Go,
    /// Stop in order; the process is killed if it takes longer than its class allows.
    Stop,
}

/// Why procmgr refused a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Nothing is published under this pathname, or a later publication is.
    #[error("{0}: nothing is published there")]
    NotPublished(Pathname),
    /// Another process published it and still lives.
    #[error("{0}: already published by PID {1}")]
    Taken(Pathname, Pid),
    /// The caller's VR may not.
    #[error("{pathname}: a process of VR {caller} may not open it")]
    Access {
        /// What was asked for.
        pathname: Pathname,
        /// By whom.
        caller: VrId,
    },
    /// The pathname names another VR or PID than the process has.
    #[error("publish {pathname}: this process is VR {vr}, PID {pid}")]
    NotYours {
        /// What was asked for.
        pathname: Pathname,
        /// The caller's VR.
        vr: VrId,
        /// The caller's PID.
        pid: Pid,
    },
    /// No living process has this pathname.
    #[error("{0}: no such process")]
    NoProcess(Pathname),
    /// The listener does not take its ends fast enough.
    #[error("{0}: its backlog is full")]
    Backlog(Pathname),
    /// Only an operator or the VR connection manager may.
    #[error("not permitted to {0}")]
    NotPermitted(Identity),
    /// The VR is unknown.
    #[error("no virtual router {0:?}")]
    NoVr(String),
    /// Larger than procmgr keeps.
    #[error("terms of {0} bytes; at most {MAX_TERMS} are accepted")]
    Terms(usize),
    /// No queue came along, or the process has too many.
    #[error("{0}: no socket came for its queue, or it is one too many")]
    Queue(Pathname),
    /// More clauses than procmgr keeps, or larger ones.
    #[error("{pathname}: {count} clauses; at most {MAX_CLAUSES} small ones are accepted")]
    Clauses {
        /// What they were published for.
        pathname: Pathname,
        /// How many.
        count: usize,
    },
    /// procmgr has no descriptors or memory left for a channel.
    #[error("no channel can be made: {0}")]
    Resources(String),
    /// Another version of this protocol.
    #[error("link protocol version {0}; this router speaks {VERSION}")]
    Version(u16),
    /// A VR's number and name belong to each other already.
    #[error("virtual router {vr} is {name:?} already")]
    VrConflict {
        /// The number.
        vr: VrId,
        /// The name.
        name: VrName,
    },
    /// No class that runs in a VR has this name.
    #[error("no process class {0:?} runs in a virtual router")]
    NoClass(ServiceName),
    /// The name is that of a class, whose processes procmgr starts.
    #[error("{0} is a process class of this router; a program attaches under another name")]
    ClassName(ServiceName),
    /// A process has one link to its router in a VR.
    #[error("PID {0} has a link to this router already")]
    HasLink(Pid),
    /// The router runs on somebody's machine.
    #[error(
        "this router is not the first process of its machine, and cannot start the machine anew; `shutdown` stops it"
    )]
    NoMachine,
}

/// Part of an answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Processes.
    Processes(Vec<ProcessRow>),
    /// Virtual routers.
    Vrs(Vec<VrRow>),
    /// Log lines, oldest first.
    Log(Vec<LogLine>),
    /// Publications.
    Publications(Vec<PublicationRow>),
    /// Channels.
    Channels(Vec<ChannelRow>),
    /// The order is being carried out; what was waited for has happened.
    Accepted,
}

/// State of a supervised process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessState {
    /// Runs, has not said that it is ready.
    Starting,
    /// Works.
    Ready,
    /// Died, and is started again after a while.
    Backoff,
    /// Was stopped, or ended and is not to be restarted.
    Stopped,
}

impl std::fmt::Display for ProcessState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ProcessState::Starting => "starting",
            ProcessState::Ready => "ready",
            ProcessState::Backoff => "backoff",
            ProcessState::Stopped => "stopped",
        })
    }
}

/// A process, for `show processes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Its VR; `None` for the router.
    pub vr: Option<VrName>,
    /// Its class or name.
    pub name: ServiceName,
    /// Kernel's process ID; `None` while it does not run.
    pub pid: Option<Pid>,
    /// What it does.
    pub state: ProcessState,
    /// How often it was restarted.
    pub restarts: u32,
    /// Since it is in this state.
    pub since: Duration,
    /// How it last ended: `killed by SIGKILL`, `exit code 1`.
    pub last_exit: Option<String>,
    /// The last lines it wrote before it last ended.
    pub last_words: Vec<String>,
}

/// A virtual router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrRow {
    /// Its number.
    pub vr: VrId,
    /// Its name.
    pub name: VrName,
    /// What runs in it.
    pub classes: Vec<ServiceName>,
    /// Which VRs it is joined with.
    pub joined: Vec<VrId>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Since the Unix epoch.
    pub time: Duration,
    /// VR of the process; `None` for the router.
    pub vr: Option<VrName>,
    /// Its class or name.
    pub process: ServiceName,
    /// Which process.
    pub pid: Pid,
    /// What it wrote.
    pub text: String,
}

/// A published pathname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationRow {
    /// The pathname.
    pub pathname: Pathname,
    /// Which publication.
    pub generation: Generation,
    /// Who published it.
    pub owner: Identity,
    /// How often it was opened.
    pub opened: u64,
}

/// A channel that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRow {
    /// Pathname that was opened.
    pub pathname: Pathname,
    /// Processes that hold an end, as procmgr knows them.
    pub holders: Vec<Identity>,
    /// Memory that it has touched, in bytes.
    pub memory_bytes: u64,
}
