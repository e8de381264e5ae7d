//! The calls that wait, in threads of their own; the test's thread is the router.

use std::io::{ErrorKind, Read, Write};
use std::thread;

use sockets::Shutdown;
use sockets::blocking::Process;

use crate::harness::{Router, at};

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
        let mut connection = loop {
            match process.connect(at("10.0.0.2:7")) {
                Ok(connection) => break connection,
                // Until the server listens this is a miss, and the stack of this test refuses.
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            }
        };
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
