//! Typed messages: any bytes are a message or an error, and what was read is written again with the same meaning. Both as
//! bytes, and as records of a channel after a hello. The header of a datagram is written again byte by byte.
#![no_main]

use ipc::channel::Channel;
use ipc::message::{MessageChannel, Schema};
use ipc::protocol::{Notice, Request};
use libfuzzer_sys::fuzz_target;
use sdk::rib::{RibRequest, RibUpdate};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stack_api::datagram::{DatagramReply, DatagramRequest};
use stack_api::datagram_header::{DatagramHeader, MAX_HEADER};
use stack_api::socket::{Addresses, ConnectResult, OpenTerms, SocketReply, SocketRequest};
use vr_api::command::Declaration;
use vr_api::manager::{LibraryRequest, LibraryUpdate, RibAnswer, RibQuestion};
use vr_api::show::{ShowReply, ShowRequest};

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 20 {
        0 => reads_back::<Request>(bytes),
        1 => reads_back::<Notice>(bytes),
        2 => reads_back::<LibraryRequest>(bytes),
        3 => reads_back::<LibraryUpdate>(bytes),
        4 => reads_back::<SocketRequest>(bytes),
        5 => reads_back::<SocketReply>(bytes),
        6 => reads_back::<ConnectResult>(bytes),
        7 => {
            reads_back::<Addresses>(bytes);
            reads_back::<OpenTerms>(bytes);
        }
        8 => reads_back::<stack_api::Terms>(bytes),
        9 => reads_back::<RibQuestion>(bytes),
        10 => reads_back::<RibAnswer>(bytes),
        11 => reads_back::<DatagramRequest>(bytes),
        12 => reads_back::<DatagramReply>(bytes),
        13 => datagram(bytes),
        14 => reads_back::<RibRequest>(bytes),
        15 => reads_back::<RibUpdate>(bytes),
        16 => table(bytes),
        17 => reads_back::<ShowRequest>(bytes),
        18 => reads_back::<Declaration>(bytes),
        _ => over_a_channel(bytes),
    }
});

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(message) = postcard::from_bytes::<T>(bytes) else { return };
    let written = postcard::to_stdvec(&message).expect("what was read can be written");
    assert_eq!(postcard::from_bytes::<T>(&written).as_ref(), Ok(&message));
}

/// Rows of a table. A number in them may be none, which equals nothing: compared are the bytes.
fn table(bytes: &[u8]) {
    let Ok(reply) = postcard::from_bytes::<ShowReply>(bytes) else { return };
    let written = postcard::to_stdvec(&reply).expect("what was read can be written");
    let again: ShowReply = postcard::from_bytes(&written).expect("what was written can be read");
    assert_eq!(postcard::to_stdvec(&again).as_ref(), Ok(&written));
}

/// A record that claims a length of its own: what was read of its beginning is what stands there.
fn datagram(bytes: &[u8]) {
    let Some((claimed, record)) = bytes.split_first_chunk::<3>() else { return };
    let claimed = claimed.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    for record_bytes in [record.len(), claimed] {
        let start = &record[..record.len().min(MAX_HEADER)];
        let Ok((header, length)) = DatagramHeader::decode(start, record_bytes) else { continue };
        assert!(length <= record_bytes && DatagramHeader::is_claimed(start));
        let written = header.encode().expect("what was read can be written");
        assert_eq!(written.as_bytes(), &record[..length]);
        assert!(written.begins(start));
    }
}

/// Records of any lengths and bytes, after a right hello or without one.
fn over_a_channel(bytes: &[u8]) {
    let (mut peer, own) = Channel::pair().expect("descriptors are left");
    let schema = Schema::new("fuzz");
    let mut messages: MessageChannel<LibraryRequest, LibraryUpdate> = MessageChannel::new(own, schema);
    let (greets, mut rest) = bytes.split_first().map_or((true, bytes), |(first, rest)| (first % 2 == 0, rest));
    let mut hello = Vec::new();
    if greets && peer.read_record(&mut hello).expect("the hello is a record") {
        peer.write_record(&hello).expect("an empty ring has room");
    }
    while let [length, after @ ..] = rest {
        let (record, after) = after.split_at(after.len().min((*length).into()));
        if !matches!(peer.write_record(record), Ok(true)) {
            break;
        }
        rest = after;
    }
    while let Ok(Some(_)) = messages.receive() {}
}
