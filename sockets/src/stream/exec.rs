//! A connection that goes on in another program: one that its process executes, or that a child of it does.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use ipc::InterfaceName;
use ipc::channel::{Channel, EndRecord, Successor};
use ipc::error::ChannelError;
use serde::{Deserialize, Serialize};
use stack_api::socket::Addresses;

use super::end::Failure;
use super::{Path, Stream};
use crate::mark::Mark;

/// What of a connection is said to the program that goes on with it, beside the descriptors of its channel's end.
///
/// ```
/// use ipc::channel::{Successor, expect_exec};
/// use sockets::{Received, Stream, hand_over};
///
/// expect_exec()?;
/// # use std::sync::Mutex;
/// # use sockets::Borrower;
/// # #[derive(Debug)]
/// # struct Place(Mutex<Option<Stream>>);
/// # impl Borrower for Place {
/// #     fn with(&self, what: &mut dyn FnMut(&mut Stream)) {
/// #         self.0.lock().unwrap().iter_mut().for_each(what);
/// #     }
/// #     fn take_back(&self) -> Option<Stream> {
/// #         self.0.lock().unwrap().take()
/// #     }
/// # }
/// # static PLACE: Place = Place(Mutex::new(None));
/// # let (_router, mut red, mut blue, socket, accepted) = sockets_testing::connected();
/// # blue.library.lend(&mut blue.reactor, accepted, &PLACE, |stream| *PLACE.0.lock().unwrap() = Some(stream))?;
/// # let mut stream = PLACE.take_back().expect("it was lent");
/// // The program that executes sends these two...
/// let (record, descriptors) = hand_over(&mut stream, Successor::ThisProcess)?;
/// # std::mem::forget(stream);
/// // ... and the one that is executed goes on.
/// let mut stream = Stream::take_over(record, descriptors)?;
/// red.library.send(socket, b"hello")?;
/// assert_eq!(stream.receive(&mut [0; 16]), Ok(Received::Bytes(5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    end: EndRecord,
    addresses: Addresses,
    /// `None`: through the stack.
    inter_vr: Option<InterfaceName>,
    mark: Mark,
    peer_mark: u64,
    cut: bool,
    led_there: bool,
    read_shut: bool,
    write_shut: bool,
    peer_died: bool,
    failure: Option<Failure>,
}

impl Stream {
    /// What another program needs to [take the connection over](Self::take_over), once channels
    /// [may go on](ipc::channel::expect_exec). If it is not executed after all, call [`take_back`](Self::take_back).
    pub fn hand_over(&mut self, to: Successor) -> Result<(StreamRecord, [BorrowedFd<'_>; 4]), ChannelError> {
        let (end, fds) = self.channel.hand_over(to)?;
        let record = StreamRecord {
            end,
            addresses: self.addresses,
            inter_vr: match &self.path {
                Path::InterVr(interface) => Some(interface.clone()),
                Path::Stack => None,
            },
            mark: self.mark,
            peer_mark: self.peer_mark,
            cut: self.cut,
            led_there: self.led_there,
            read_shut: self.read_shut,
            write_shut: self.write_shut,
            peer_died: self.peer_died,
            failure: self.failure,
        };
        Ok((record, fds))
    }

    /// The program that was to go on with it was not executed.
    pub fn take_back(&mut self, from: Successor) {
        self.channel.take_back(from);
    }

    /// Goes on with a connection that another program has handed over.
    pub fn take_over(record: StreamRecord, fds: [OwnedFd; 4]) -> Result<Self, ChannelError> {
        let path = record.inter_vr.map_or(Path::Stack, Path::InterVr);
        let mut stream = Self::new(Channel::take_over(record.end, fds)?, record.addresses, path);
        (stream.mark, stream.peer_mark) = (record.mark, record.peer_mark);
        stream.led_there = record.led_there;
        (stream.read_shut, stream.write_shut) = (record.read_shut, record.write_shut);
        stream.peer_died = record.peer_died;
        stream.failure = record.failure;
        stream.set_cut(Instant::now(), record.cut);
        Ok(stream)
    }
}
