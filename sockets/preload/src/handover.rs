//! Sockets on their way from a program to the one that is executed in its place, or by a child.
//!
//! What survives exec are descriptors. Each socket has one of the kernel's that holds its number, and those survive as on
//! Linux: as they were duplicated, unless they are close-on-exec. So nothing is said about numbers. What a socket *is* goes
//! in an envelope: a socket of the kernel's, already closed at the other end, in whose queue lie a table and the descriptors
//! that the table's sockets need. One descriptor more survives; its number and inode stand in the environment, and the inodes
//! of the sockets, whose descriptors are closed if the envelope turns out to be none.
//!
//! ```text
//!   ISTHMUS_PRELOAD_HANDOVER=1024:48813:48790 ──▶ envelope ─┬─ table (memfd), file of turns, log
//!                                                           ├─ per connection: memory, own bell, peer's bell, cursors
//!                                                           ├─ per listener: its queue, and connections that wait
//!                                                           └─ per datagram socket: its queue, and its channels
//!   descriptors 0, 1 ──▶ a socket with inode 48790 ──▶ the table's entry 48790
//! ```
//!
//! The program that was not executed after all closes the envelope, and has everything that it had.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use ipc::fd::{MAX_FDS, receive_with_fds, send_now_with_fds, seqpacket_pair, set_nonblocking};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use sockets::{DatagramRecord, ListenerRecord, STREAM_FDS, StreamRecord};

use crate::control::Control;
use crate::description::Kind;
use crate::kernel;
use crate::netlink::Netlink;

/// Where the envelope is: its descriptor, its inode, and those of the sockets in it.
pub const ENVELOPE_ENV: &str = "ISTHMUS_PRELOAD_HANDOVER";

/// Of another library, which the program that is executed may have, another table.
const VERSION: u32 = 2;

/// A table that is longer is none: so many sockets have no descriptors.
const MOST_BYTES: u64 = 64 << 20;

/// All that is handed over.
#[derive(Debug, Serialize, Deserialize)]
struct Table {
    version: u32,
    sockets: Vec<SocketRecord>,
}

/// One socket.
#[derive(Debug, Serialize, Deserialize)]
pub struct SocketRecord {
    /// The inode of the kernel's socket that holds its numbers.
    pub inode: u64,
    /// What kind it is.
    pub kind: Kind,
    /// SO_RCVTIMEO.
    pub receive_timeout: Option<Duration>,
    /// SO_SNDTIMEO.
    pub send_timeout: Option<Duration>,
    /// What is known beside.
    pub control: Option<Control>,
    /// What it is.
    pub body: Body,
}

/// What a socket is.
#[derive(Debug, Serialize, Deserialize)]
pub enum Body {
    /// Neither connected nor listening.
    Idle,
    /// Connected; its descriptors are the next [`STREAM_FDS`].
    Connected(Box<StreamRecord>),
    /// It listens, as one or two sockets, whose descriptors are the next.
    Listening(Vec<ListenerRecord>),
    /// A datagram socket, as one or two sockets, whose descriptors are the next.
    Datagram(Vec<DatagramRecord>),
    /// A socket of netlink.
    Netlink(Netlink),
    /// It does not go on: its numbers are to be closed.
    Lost,
}

impl Body {
    /// How many descriptors belong to it.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Connected(_) => STREAM_FDS,
            Self::Listening(listeners) => listeners.iter().map(ListenerRecord::descriptors).sum(),
            Self::Datagram(sockets) => sockets.iter().map(DatagramRecord::descriptors).sum(),
            Self::Idle | Self::Netlink(_) | Self::Lost => 0,
        }
    }
}

/// What came in an envelope.
#[derive(Debug)]
pub struct Contents {
    /// The sockets.
    pub sockets: Vec<SocketRecord>,
    /// Their descriptors, in order.
    pub fds: VecDeque<OwnedFd>,
    /// The file of turns.
    pub turns: OwnedFd,
    /// Where the program before logs to.
    pub log: OwnedFd,
}

/// Makes an envelope. It is close-on-exec still.
pub fn seal(
    sockets: Vec<SocketRecord>,
    fds: &[OwnedFd],
    turns: BorrowedFd<'_>,
    log: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let table = postcard::to_stdvec(&Table { version: VERSION, sockets }).map_err(io::Error::other)?;
    let mut file = File::from(memfd_create("isthmus-handover", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&table)?;
    file.rewind()?;
    let (give, envelope) = seqpacket_pair()?;
    send_now_with_fds(give.as_fd(), b"t", &[file.as_fd(), turns, log])?;
    let all: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    all.chunks(MAX_FDS).try_for_each(|some| send_now_with_fds(give.as_fd(), b"d", some))?;
    Ok(envelope)
}

/// Where an envelope is, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its descriptor.
    pub envelope: RawFd,
    /// Its inode.
    pub inode: u64,
    /// Inodes of the sockets.
    pub sockets: Vec<u64>,
}

impl Address {
    /// As it stands in the environment; `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (envelope, inode) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let sockets = parts.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { envelope, inode, sockets })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.envelope, self.inode)?;
        self.sockets.iter().try_for_each(|inode| write!(f, ":{inode}"))
    }
}

/// Opens the envelope at an address. What somebody else has put there is refused, if it is no envelope.
pub fn open(address: &Address) -> io::Result<Contents> {
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    if kernel::socket_inode(address.envelope) != Some(address.inode) {
        return Err(invalid("their envelope was closed by the program before, or by one in between"));
    }
    let envelope = kernel::own(address.envelope);
    set_nonblocking(envelope.as_fd())?;
    let mut fds = VecDeque::new();
    loop {
        let mut word = [0; 1];
        let received = receive_with_fds(envelope.as_fd(), &mut word)?;
        if received.length == 0 {
            break;
        }
        fds.extend(received.fds);
    }
    let [Some(table), Some(turns), Some(log)] = [fds.pop_front(), fds.pop_front(), fds.pop_front()] else {
        return Err(invalid("their envelope is empty"));
    };
    let table = File::from(table);
    let length = table.metadata()?.len();
    if length > MOST_BYTES {
        return Err(invalid("their table is too long"));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    table.read_exact_at(&mut bytes, 0)?;
    let table: Table =
        postcard::from_bytes(&bytes).map_err(|_| invalid("their table is none, or another version's"))?;
    if table.version != VERSION {
        return Err(invalid("their table is another version's"));
    }
    Ok(Contents { sockets: table.sockets, fds, turns, log })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    fn socket(inode: u64) -> SocketRecord {
        let (receive_timeout, send_timeout) = (Some(Duration::from_secs(7)), None);
        SocketRecord { inode, kind: Kind::Stream, receive_timeout, send_timeout, control: None, body: Body::Idle }
    }

    fn address(envelope: OwnedFd) -> Address {
        let envelope = std::os::fd::IntoRawFd::into_raw_fd(envelope);
        Address { envelope, inode: kernel::socket_inode(envelope).unwrap(), sockets: vec![1, 2] }
    }

    #[test]
    fn what_was_sealed_is_found_however_much_it_is() {
        let fds: Vec<OwnedFd> = (0..2 * MAX_FDS + 1).map(|_| null()).collect();
        let envelope = seal((0..5000).map(socket).collect(), &fds, null().as_fd(), null().as_fd()).unwrap();
        let contents = open(&address(envelope)).unwrap();
        assert_eq!(contents.fds.len(), fds.len());
        assert!(contents.sockets.iter().map(|socket| socket.inode).eq(0..5000));
        assert_eq!(contents.sockets[7].receive_timeout, Some(Duration::from_secs(7)));
    }

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let address = Address { envelope: 1024, inode: 48_813, sockets: vec![48_790, 48_791] };
        assert_eq!(address.to_string(), "1024:48813:48790:48791");
        assert_eq!(Address::parse(&address.to_string()), Some(address));
        for nonsense in ["", ":", "x:1", "1", "1:2:", "1:-2", "99999999999:1", "1:2:three"] {
            assert_eq!(Address::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let elsewhere = Address { envelope: 0, inode: 1, sockets: Vec::new() };
        let why = |address: &Address| open(address).unwrap_err().to_string();
        assert!(why(&elsewhere).contains("was closed"), "{}", why(&elsewhere));
        let (give, empty) = seqpacket_pair().unwrap();
        let empty = address(empty);
        // Whoever waits for what never comes would keep the program from beginning.
        assert_eq!(open(&empty).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(give);
        let (give, garbled) = seqpacket_pair().unwrap();
        send_now_with_fds(give.as_fd(), b"t", &[null().as_fd(), null().as_fd(), null().as_fd()]).unwrap();
        drop(give);
        let why_garbled = why(&address(garbled));
        assert!(why_garbled.contains("table"), "{why_garbled}");
        let (give, short) = seqpacket_pair().unwrap();
        send_now_with_fds(give.as_fd(), b"t", &[null().as_fd()]).unwrap();
        drop(give);
        let why_short = why(&address(short));
        assert!(why_short.contains("is empty"), "{why_short}");
    }
}
