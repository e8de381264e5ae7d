//! What goes wrong between processes.

use std::io;
use std::path::PathBuf;

use crate::protocol::{MAX_MESSAGE, Refusal, VERSION};
use crate::terms::MAX_TERMS;

/// A lie in shared memory: something that no correct peer writes. The channel is to be closed; the peer is hostile or
/// damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// The writer's index went backwards.
    #[error("the peer's tail went back from {seen} to {found}")]
    TailWentBack {
        /// Last one seen.
        seen: u64,
        /// Now.
        found: u64,
    },
    /// The writer claims more bytes than a window holds.
    #[error("the peer's tail {found} is more than a window of {window_bytes} bytes past {base}")]
    TailBeyondWindow {
        /// First byte of the window that is not consumed.
        base: u64,
        /// The tail.
        found: u64,
        /// Size of the window.
        window_bytes: u64,
    },
    /// The reader's index went backwards.
    #[error("the peer's head went back from {seen} to {found}")]
    HeadWentBack {
        /// Last one seen.
        seen: u64,
        /// Now.
        found: u64,
    },
    /// The reader claims bytes that were not written.
    #[error("the peer's head {found} is past the tail {tail}")]
    HeadBeyondTail {
        /// What was written.
        tail: u64,
        /// The head.
        found: u64,
    },
    /// A switch of windows at a position already passed, or further away than the present window reaches.
    #[error("the peer switches windows at {position}, which lies outside {earliest}..={latest}")]
    SwitchOutOfRange {
        /// Where.
        position: u64,
        /// Earliest position that can be.
        earliest: u64,
        /// Latest position that can be.
        latest: u64,
    },
    /// A second switch of windows while the first is not passed.
    #[error("the peer switches windows again before position {pending} of its last switch was passed")]
    SwitchPending {
        /// Position of the first.
        pending: u64,
    },
    /// A switch to a window that does not exist or is not larger than the present one.
    #[error("the peer switches to window {window}, which does not exist or is not larger")]
    SwitchToWindow {
        /// Its index.
        window: u64,
    },
    /// A record that does not start as one, such as the zeros of a page taken away.
    #[error("the peer's record starts with {found:#010x}, which no record does")]
    RecordTag {
        /// The word that was found.
        found: u32,
    },
    /// A record longer than any can be.
    #[error("the peer's record has {length} bytes; at most {limit} are accepted")]
    RecordLength {
        /// Its length.
        length: usize,
        /// The largest.
        limit: usize,
    },
    /// A record of which only a part was published.
    #[error("the peer's record needs {needed} bytes, {available} are there")]
    RecordTruncated {
        /// Bytes of the record.
        needed: usize,
        /// Bytes published.
        available: usize,
    },
    /// The peer rings on while its ringing is silenced.
    #[error("the peer rang {rings} times while its bell was silenced; at most {limit} are accepted")]
    RingsWithoutEnd {
        /// How often.
        rings: usize,
        /// The most.
        limit: usize,
    },
    /// The peer rings without writing, reading or closing anything.
    #[error("the peer rang {rings} times without any progress")]
    RingsWithoutProgress {
        /// How often.
        rings: u32,
    },
}

/// A record that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It never fits.
    #[error("record of {size} bytes; at most {limit} fit")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The largest size.
        limit: usize,
    },
    /// The peer lies.
    #[error(transparent)]
    Fault(#[from] PeerFault),
}

/// Memory that cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Whoever made it could still shrink it under our feet.
    #[error("shared memory has seals {found:#x}; {wanted:#x} are needed")]
    Unsealed {
        /// Seals it has.
        found: i32,
        /// Seals it needs.
        wanted: i32,
    },
    /// It is of another size than agreed.
    #[error("shared memory has {found} bytes; exactly {wanted} are accepted")]
    Size {
        /// Its size.
        found: u64,
        /// The right size.
        wanted: u64,
    },
    /// No slot of a channel's end lies there.
    #[error("no slot of a channel's end begins at byte {offset} of its area")]
    NoSlot {
        /// Where one was said to be.
        offset: usize,
    },
    /// The kernel refused.
    #[error("{what}: {error}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

/// A channel that cannot be used, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer lies: close the channel.
    #[error("the peer broke the channel's rules: {0}")]
    Fault(#[from] PeerFault),
    /// The peer ended without saying that it would, and everything it wrote was read.
    #[error("the peer is gone")]
    PeerGone,
    /// The peer broke the channel off, with a number of its own.
    #[error("the peer reset the channel (code {0})")]
    Reset(u32),
    /// The peer reads no longer.
    #[error("the peer reads no longer")]
    PeerClosedReading,
    /// This side closed its writing direction before.
    #[error("write after the own side was closed")]
    Closed,
    /// A record that never fits.
    #[error("record of {size} bytes; at most {limit} fit")]
    RecordTooLarge {
        /// Its size.
        size: usize,
        /// The largest size.
        limit: usize,
    },
    /// A channel's end consists of another number of descriptors.
    #[error("a channel's end came with {found} descriptors; it has {wanted}")]
    Descriptors {
        /// How many came.
        found: usize,
        /// How many it has.
        wanted: usize,
    },
    /// The shared memory is not as it must be.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The kernel refused.
    #[error("{what}: {error}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl From<RecordError> for ChannelError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::TooLarge { size, limit } => ChannelError::RecordTooLarge { size, limit },
            RecordError::Fault(fault) => ChannelError::Fault(fault),
        }
    }
}

/// Messages that cannot be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The peer is gone, or has closed, and everything it sent was received.
    #[error("the other side is gone")]
    Closed,
    /// The channel below failed.
    #[error(transparent)]
    Channel(ChannelError),
    /// The peer takes no messages, and the queue is full.
    #[error("{queued_bytes} bytes wait for the other side to read; at most {limit_bytes} are queued")]
    Overflow {
        /// Bytes waiting.
        queued_bytes: usize,
        /// Most that may wait.
        limit_bytes: usize,
    },
    /// A message that never fits.
    #[error("message of {size} bytes; at most {limit} are accepted")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The largest size.
        limit: usize,
    },
    /// The peer's first record is not a hello.
    #[error("the other side does not speak typed messages")]
    NoHello,
    /// The peer speaks something else.
    #[error("the other side speaks {theirs}; this side speaks {ours}")]
    Schema {
        /// What this side speaks: name and version.
        ours: String,
        /// What the peer speaks.
        theirs: String,
    },
    /// A message cannot be written in postcard's format.
    #[error("encode a message: {0}")]
    Encode(postcard::Error),
    /// The peer sent a record that is no message.
    #[error("decode a message of {size} bytes: {error}")]
    Decode {
        /// Size of the record.
        size: usize,
        /// What is wrong with it.
        error: postcard::Error,
    },
}

impl From<ChannelError> for MessageError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::PeerGone
            | ChannelError::PeerClosedReading
            | ChannelError::Closed
            | ChannelError::Reset(_) => MessageError::Closed,
            ChannelError::RecordTooLarge { size, limit } => MessageError::TooLarge { size, limit },
            ChannelError::Fault(_)
            | ChannelError::Descriptors { .. }
            | ChannelError::Memory(_)
            | ChannelError::Kernel { .. } => MessageError::Channel(error),
        }
    }
}

/// The link to procmgr cannot be used, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no link to inherit.
    #[error("this process was not started by a router's procmgr")]
    NotStartedByProcmgr,
    /// A child's link is opened the way that its parent came, which was another one.
    #[error("a process that procmgr started has no children of its own in the router")]
    NotAttached,
    /// procmgr speaks another version of the link's protocol.
    #[error("procmgr speaks version {0} of the link's protocol; this process speaks {VERSION}")]
    Version(String),
    /// The control socket does not answer.
    #[error("connect to {}: {error}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The first message was not a welcome.
    #[error("procmgr did not say who this process is")]
    NoWelcome,
    /// procmgr refused the process.
    #[error("procmgr refused: {0}")]
    Refused(Refusal),
    /// procmgr is gone, and the router with it.
    #[error("procmgr is gone")]
    ProcmgrGone,
    /// The terms of an open are too long.
    #[error("terms of {0} bytes; at most {MAX_TERMS} are accepted")]
    Terms(usize),
    /// procmgr does not read its requests.
    #[error("procmgr does not read this process's requests")]
    Overflow,
    /// A request too large for the link.
    #[error("message of {0} bytes; at most {MAX_MESSAGE} fit")]
    TooLarge(usize),
    /// A request cannot be written.
    #[error("encode a request: {0}")]
    Encode(postcard::Error),
    /// procmgr sent something that is no notice.
    #[error("decode a notice: {0}")]
    Decode(postcard::Error),
    /// The socket failed.
    #[error("link to procmgr: {0}")]
    Socket(io::Error),
    /// The end of a channel that came over the link cannot be used.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}
