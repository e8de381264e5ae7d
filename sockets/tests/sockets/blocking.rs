//! The calls that wait, in threads of their own; the test's thread is the router.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use ipc::IpProtocol;
use mio::{Events, Interest, Poll, Token};
use sockets::blocking::{Process, TcpStream, UdpSocket};
use sockets::{Options, Shutdown, SocketError};

use crate::harness::{Router, at};

/// Until the server listens this is a miss, and the stack of this test refuses.
fn connect(process: &Process, to: &str) -> TcpStream {
    loop {
        match process.connect(at(to)) {
            Ok(connection) => return connection,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        }
    }
}

#[test]
fn a_megabyte_is_echoed_between_two_programs_that_wait() {
    let mut router = Router::new();
    router.joins = Some((1, 2));
    let (red, blue) = (router.link(1), router.link(2));
    let server = thread::spawn(move || {
        let listener = Process::new(blue).unwrap().listen(at("0.0.0.0:7"), 4).unwrap();
        let mut connection = listener.accept().unwrap();
        assert_eq!(connection.peer_addr().ip(), at("10.0.0.1:0").ip());
        let mut buffer = [0; 5000];
        loop {
            match connection.read(&mut buffer).unwrap() {
                0 => return,
                read => connection.write_all(&buffer[..read]).unwrap(),
            }
        }
    });
    let client = thread::spawn(move || {
        let process = Process::new(red).unwrap();
        let mut connection = connect(&process, "10.0.0.2:7");
        let sent: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
        let mut got = vec![0; sent.len()];
        for (sent, got) in sent.chunks(100_000).zip(got.chunks_mut(100_000)) {
            connection.write_all(sent).unwrap();
            connection.read_exact(got).unwrap();
        }
        assert!(got == sent);
        connection.shutdown(Shutdown::Write).unwrap();
        assert_eq!(connection.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(connection.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
    router.run_beside(|| client.is_finished() && server.is_finished());
    client.join().unwrap();
    server.join().unwrap();
}

/// Asks until it is answered: until the server is bound, a question goes to the stack of this test, which is silent.
fn ask(socket: &UdpSocket, to: &str, question: &[u8], answer: &mut [u8]) -> usize {
    socket.set_read_timeout(Some(Duration::from_millis(20)));
    loop {
        assert_eq!(socket.send_to(question, at(to)).unwrap(), question.len());
        match socket.recv_from(answer) {
            Ok((length, from)) => {
                assert_eq!(from, at(to));
                return length;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn datagrams_are_answered_between_two_programs_that_wait() {
    let mut router = Router::new();
    router.joins = Some((1, 2));
    let (red, blue) = (router.link(1), router.link(2));
    let server = thread::spawn(move || {
        let socket = Process::new(blue).unwrap().udp(at("0.0.0.0:7")).unwrap();
        assert_eq!(socket.local_addr().unwrap(), at("0.0.0.0:7"));
        loop {
            let question = socket.receive().unwrap();
            assert_eq!((question.ttl, question.tos), (3, 0xb8));
            let is_last = question.payload == b"bye";
            socket.send_message(question.answer(question.payload.clone())).unwrap();
            if is_last {
                return;
            }
        }
    });
    let client = thread::spawn(move || {
        let options = Options { ttl: Some(3), tos: 0xb8, ..Options::default() };
        let socket = Process::new(red).unwrap().udp_with(at("0.0.0.0:0"), None, options).unwrap();
        assert_eq!((socket.ttl().unwrap(), socket.peer_addr().unwrap_err().kind()), (3, ErrorKind::NotConnected));
        let mut buffer = [0; 16];
        assert_eq!(ask(&socket, "10.0.0.2:7", b"hello", &mut buffer), 5);
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(
            socket.send(b"to whom?").unwrap_err().raw_os_error(),
            Some(sockets::errno(SocketError::DestinationRequired) as i32)
        );
        let too_long = socket.send_to(&vec![0; 65_508], at("10.0.0.2:7")).unwrap_err();
        assert_eq!(too_long.raw_os_error(), Some(sockets::errno(SocketError::MessageSize) as i32));

        socket.set_read_timeout(None);
        socket.send_to(&[9; 100], at("10.0.0.2:7")).unwrap();
        let mut info = socket.recv_msg(&mut buffer).unwrap();
        while info.length == 5 {
            // An answer to a question that was asked once more.
            info = socket.recv_msg(&mut buffer).unwrap();
        }
        assert_eq!((info.length, info.truncated, info.destination.ip()), (100, true, at("10.0.0.1:0").ip()));
        assert_eq!((info.ttl, info.interface), (64, Some("vr2".parse().unwrap())));

        socket.set_nonblocking(true);
        assert_eq!(socket.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        // The last words of a socket that is dropped arrive.
        socket.send_to(b"bye", at("10.0.0.2:7")).unwrap();
    });
    router.run_beside(|| client.is_finished() && server.is_finished());
    client.join().unwrap();
    server.join().unwrap();
}

#[test]
fn a_mio_loop_waits_for_sockets_that_do_not() {
    let mut router = Router::new();
    router.joins = Some((1, 2));
    let (red, blue) = (router.link(1), router.link(2));
    let server = thread::spawn(move || {
        let mut process = Process::new(blue).unwrap();
        let mut poll = Poll::new().unwrap();
        poll.registry().register(&mut process, Token(0), Interest::READABLE).unwrap();
        let (raw, listener) = (process.raw(IpProtocol::OSPF).unwrap(), process.listen(at("0.0.0.0:7"), 4).unwrap());
        listener.set_nonblocking(true);
        raw.set_nonblocking(true);
        let (mut events, mut told) = (Events::with_capacity(8), BTreeSet::new());
        let (mut connection, mut hello) = (None, None);
        let mut wait = || {
            poll.poll(&mut events, process.poll_timeout()).unwrap();
            process.turn().unwrap()
        };
        while connection.is_none() || hello.is_none() {
            let accepted = listener.accept();
            let heard = raw.receive();
            for kind in [accepted.as_ref().err().map(|e| e.kind()), heard.as_ref().err().map(|e| e.kind())] {
                assert!(kind.is_none_or(|kind| kind == ErrorKind::WouldBlock), "{kind:?}");
            }
            if accepted.is_err() && heard.is_err() {
                told.extend(wait());
            }
            connection = accepted.ok().or(connection);
            hello = heard.ok().or(hello);
        }
        assert_eq!(hello.unwrap().payload, b"hello");
        assert!(told.contains(&listener.id()) && told.contains(&raw.id()), "the process says which");
        let mut connection = connection.unwrap();
        connection.set_nonblocking(true);
        let mut got = 0;
        loop {
            match connection.read(&mut [0; 64]) {
                Ok(0) => return assert_eq!(got, 100_000),
                Ok(read) => got += read,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    wait();
                }
            }
        }
    });
    let client = thread::spawn(move || {
        let process = Process::new(red).unwrap();
        let mut connection = connect(&process, "10.0.0.2:7");
        connection.set_read_timeout(Some(Duration::from_millis(1)));
        assert_eq!(connection.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let raw = process.raw(IpProtocol::OSPF).unwrap();
        // The server was bound before it listened.
        raw.send_to(b"hello", at("10.0.0.2:0").ip()).unwrap();
        connection.write_all(&[7; 100_000]).unwrap();
    });
    router.run_beside(|| client.is_finished() && server.is_finished());
    client.join().unwrap();
    server.join().unwrap();
}
