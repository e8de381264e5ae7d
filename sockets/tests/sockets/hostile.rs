//! A peer that lies in the memory that it shares with a process: its connection breaks, and nothing else does.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use ipc::channel::Channel;
use sockets::{LibraryEvent, Received, SocketError, SocketId};
use stack_api::socket::Addresses;

use crate::harness::{Process, Router, at, joined, tcp};

/// Where the ring that the opener writes has its tail, and the one that it reads its head.
const TAIL: u64 = 0;
const HEAD: u64 = 512 + 128;

/// A peer's end of a connection to blue: what it shares, the bell that blue hears, and an honest end, which it holds.
fn liar(router: &mut Router, red: &Process, blue: &mut Process, listener: SocketId) -> (File, File, Channel, SocketId) {
    let addresses = Addresses { source: at("10.0.0.1:4000"), destination: at("10.0.0.2:179") };
    let terms = postcard::to_stdvec(&addresses).unwrap();
    let parts = router.open_parts(blue.index, tcp(179), router.identity(red.index), terms);
    let (memory, bell) = (parts.memory.try_clone().unwrap(), parts.bell_out.try_clone().unwrap());
    let channel = Channel::from_parts(parts).unwrap();
    router.run(&mut [blue]);
    let accepted = blue.accept(listener).expect("the liar's connection").socket;
    router.run(&mut [blue]);
    blue.take_events();
    (memory.into(), bell.into(), channel, accepted)
}

#[test]
fn a_lie_in_the_ring_resets_its_connection_once_and_the_other_connections_of_the_process_go_on() {
    // Far beyond the window, and before what has been read.
    for (word, lie) in [(TAIL, 1 << 40), (TAIL, u64::MAX), (TAIL, 1), (HEAD, 1 << 40)] {
        let (mut router, mut red, mut blue, listener) = joined();
        let socket = red.open("10.0.0.2:179");
        router.run(&mut [&mut red, &mut blue]);
        let accepted = blue.accept(listener).unwrap().socket;
        let (memory, mut bell, mut channel, victim) = liar(&mut router, &red, &mut blue, listener);
        assert_eq!(channel.write(b"hello").unwrap(), 5);
        assert_eq!(blue.read(victim), (b"hello".to_vec(), Ok(Received::NothingYet)));
        memory.write_all_at(&lie.to_le_bytes(), word).unwrap();
        bell.write_all(&[1]).unwrap();
        router.run(&mut [&mut red, &mut blue]);
        // A head is looked at when there is need of room.
        let sent = (0..1000).filter(|_| word == HEAD).find_map(|_| blue.library.send(victim, &[0; 4096]).err());
        let mut receive = || blue.library.receive(victim, &mut [0; 8]);
        let told = [sent.map_or_else(&mut receive, Err), receive()];
        assert_eq!(told, [Err(SocketError::ConnectionReset), Ok(Received::EndOfFile)], "{word}: {lie:#x}");
        assert_eq!(blue.library.send(victim, b"x"), Err(SocketError::BrokenPipe));

        red.library.send(socket, b"still").unwrap();
        router.run(&mut [&mut red, &mut blue]);
        assert!(blue.take_events().contains(&LibraryEvent::Readable { socket: accepted }));
        assert_eq!(blue.read(accepted).0, b"still");
        blue.library.send(accepted, b"there").unwrap();
        router.run(&mut [&mut red, &mut blue]);
        assert_eq!(red.read(socket).0, b"there");
    }
}
