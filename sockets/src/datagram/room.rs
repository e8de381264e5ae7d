//! Where a caller of the receiving calls wants a payload.

use ipc::channel::Record;
use stack_api::socket::Addresses;

use super::DatagramInfo;
use crate::message::ProcessMessage;

/// Where a caller wants a payload.
pub(super) enum Room<'a> {
    /// What does not fit is lost.
    Buffer(&'a mut [u8]),
    /// The same for a caller who does not ask for the interface: a name costs as much as a small payload.
    Payload(&'a mut [u8]),
    Whole(&'a mut Vec<u8>),
}

impl Room<'_> {
    /// Takes the payload of a record, which begins at byte `at`; returns how much there was room for.
    #[inline]
    pub(super) fn fill(&mut self, record: &Record<'_>, at: usize) -> usize {
        match self {
            Room::Buffer(buffer) | Room::Payload(buffer) => record.copy(at, buffer),
            Room::Whole(payload) => {
                payload.resize(record.length().saturating_sub(at), 0);
                record.copy(at, payload)
            }
        }
    }

    /// Takes a payload that was read before.
    pub(super) fn take(&mut self, payload: Vec<u8>) -> usize {
        match self {
            Room::Buffer(buffer) | Room::Payload(buffer) => {
                let count = payload.len().min(buffer.len());
                if let (Some(buffer), Some(payload)) = (buffer.get_mut(..count), payload.get(..count)) {
                    buffer.copy_from_slice(payload);
                }
                count
            }
            Room::Whole(whole) => {
                **whole = payload;
                whole.len()
            }
        }
    }
}

/// What was read before.
pub(super) fn taken(message: ProcessMessage, room: &mut Room<'_>) -> DatagramInfo {
    let ProcessMessage { addresses, ttl, tos, interface, payload } = message;
    let Addresses { source, destination } = addresses;
    let length = payload.len();
    let truncated = room.take(payload) < length;
    DatagramInfo { length, truncated, source, destination, ttl, tos, interface }
}
