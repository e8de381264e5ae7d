//! Programs of two VRs that fork: a child goes on with its parent's connections, over the channel between the VRs and
//! through the stack.
//!
//! A process that forks has one thread, so this is a program of its own and not one of the test harness. It plays red's
//! program itself; blue's is this executable once more, a server that forks for each connection.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write, copy};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use ipc::link::Link;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use sockets::Shutdown;
use sockets::blocking::{Process, TcpStream};

use testing::support::{BOTH_WAYS, Router, stop};

/// Control socket of the router, for the program that plays the server.
const SERVER: &str = "ISTHMUS_TEST_SERVER";

/// Set for the one whose children accept, and that accepts nothing itself.
const PREFORK: &str = "ISTHMUS_TEST_PREFORK";

/// Blue over the channel, and over the cable.
const WAYS: [&str; 2] = ["10.0.0.1:7000", "10.1.0.1:7000"];

/// What is done with a router and red's process in it.
type Case = fn(&Router, &Process);

const CASES: [(&str, Case); 8] = [
    ("a_server_forks_for_each_connection", a_server_forks_for_each_connection),
    ("a_child_goes_on_when_its_parent_has_closed", a_child_goes_on_when_its_parent_has_closed),
    ("a_child_reads_what_its_parent_asks_for", a_child_reads_what_its_parent_asks_for),
    ("a_child_opens_connections_of_its_own", a_child_opens_connections_of_its_own),
    ("a_killed_child_leaves_its_parent_the_connection", a_killed_child_leaves_its_parent_the_connection),
    ("a_listeners_connections_go_to_whoever_accepts", a_listeners_connections_go_to_whoever_accepts),
    ("a_listener_lives_as_long_as_one_of_its_processes", a_listener_lives_as_long_as_one_of_its_processes),
    ("a_childs_connection_stands_still_while_the_interface_is_shut", a_childs_connection_stands_still),
];

fn main() -> ExitCode {
    if let Ok(control_socket) = std::env::var(SERVER) {
        return match std::env::var(PREFORK) {
            Ok(port) => serve_from_children(Path::new(&control_socket), &port),
            Err(_) => serve(Path::new(&control_socket)),
        };
    }
    if std::env::args().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let wanted: Vec<_> = CASES.iter().filter(|(name, _)| name.contains(&filter)).collect();
    println!("\nrunning {} tests", wanted.len());
    let router = Router::up("fork", BOTH_WAYS);
    let _server = Server::start(&router);
    let red = join(&router.control_socket(), "red");
    let failed = wanted.iter().filter(|(name, case)| {
        let passed = catch_unwind(AssertUnwindSafe(|| case(&router, &red))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        !passed
    });
    let failed = failed.count();
    let (word, passed) = (if failed == 0 { "ok" } else { "FAILED" }, wanted.len() - failed);
    println!("\ntest result: {word}. {passed} passed; {failed} failed\n");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn join(control_socket: &Path, vr: &str) -> Process {
    let link = Link::attach(control_socket, Some(vr.parse().unwrap()), "program".parse().unwrap());
    Process::new(link.unwrap()).unwrap()
}

/// Blue's program.
struct Server(Child);

impl Server {
    /// Returns when it listens.
    fn start(router: &Router) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        let mut child = command.env(SERVER, router.control_socket()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends back what comes, in a process for each connection.
fn serve(control_socket: &Path) -> ExitCode {
    let blue = join(control_socket, "blue");
    let listener = blue.listen("0.0.0.0:7000".parse().unwrap(), 8).unwrap();
    println!("listening");
    for connection in listener.incoming() {
        let Ok(connection) = connection else { return ExitCode::SUCCESS };
        blue.fork(|| i32::from(copy(&mut &connection, &mut &connection).is_err())).unwrap();
    }
    ExitCode::SUCCESS
}

/// A server that forks before anybody connects, and what its children are.
struct Prefork {
    parent: Child,
    children: [Pid; 2],
    port: &'static str,
}

impl Prefork {
    /// Returns when its children are there.
    fn start(router: &Router, port: &'static str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(SERVER, router.control_socket()).env(PREFORK, port);
        let mut parent = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        let children = [(); 2].map(|()| Pid::from_raw(lines.next().unwrap().unwrap().parse().unwrap()));
        Self { parent, children, port }
    }

    /// Who answers a new connection by each way.
    fn answers(&self, red: &Process) -> Vec<Pid> {
        let answer = |way: &str| {
            let connection = connect(red, &way.replace("7000", self.port));
            let mut text = String::new();
            (&mut &connection).read_to_string(&mut text).unwrap();
            Pid::from_raw(text.parse().unwrap())
        };
        WAYS.into_iter().map(answer).collect()
    }
}

impl Drop for Prefork {
    fn drop(&mut self) {
        self.children.iter().for_each(|child| _ = kill(*child, Signal::SIGKILL));
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

/// Two children that accept, and say who they are; their parent only waits for their end.
fn serve_from_children(control_socket: &Path, port: &str) -> ExitCode {
    let blue = join(control_socket, "blue");
    let listener = blue.listen(format!("0.0.0.0:{port}").parse().unwrap(), 8).unwrap();
    for _ in 0..2 {
        let child = blue.fork(|| {
            for connection in listener.incoming() {
                let Ok(connection) = connection else { break };
                (&mut &connection).write_all(std::process::id().to_string().as_bytes()).unwrap();
            }
            0
        });
        println!("{}", child.unwrap());
    }
    let _ = nix::sys::wait::wait();
    ExitCode::SUCCESS
}

/// A connection to the server. A test that hangs is worth less than one that fails.
fn connect(red: &Process, way: &str) -> TcpStream {
    let connection = red.connect(way.parse().unwrap()).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20)));
    connection
}

fn assert_echoes(connection: &TcpStream, text: &str) {
    (&mut &*connection).write_all(text.as_bytes()).unwrap();
    let mut back = vec![0; text.len()];
    (&mut &*connection).read_exact(&mut back).unwrap();
    assert_eq!(String::from_utf8(back).unwrap(), text);
}

/// The exit code of a child that does something.
fn code_of(what: impl FnOnce()) -> i32 {
    i32::from(catch_unwind(AssertUnwindSafe(what)).is_err())
}

fn ended_well(child: i32) -> bool {
    let child = Pid::from_raw(child);
    waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0)
}

/// The byte at a position of a long stream.
fn pattern(position: usize) -> u8 {
    (position ^ (position >> 8) ^ (position >> 16)) as u8
}

fn a_server_forks_for_each_connection(_: &Router, red: &Process) {
    for way in WAYS {
        let connections: Vec<TcpStream> = (0..3).map(|_| connect(red, way)).collect();
        connections.iter().for_each(|connection| assert_echoes(connection, "hello"));
        for connection in connections {
            connection.shutdown(Shutdown::Write).unwrap();
            // The server's own copy does not hold it open.
            assert_eq!((&mut &connection).read(&mut [0; 8]).unwrap(), 0, "the end of a connection by {way}");
        }
    }
}

fn a_child_goes_on_when_its_parent_has_closed(_: &Router, red: &Process) {
    for way in WAYS {
        let connection = connect(red, way);
        assert_echoes(&connection, "of the parent");
        let (mut wait, mut go_on) = UnixStream::pair().unwrap();
        let child = red.fork(|| {
            code_of(|| {
                wait.read_exact(&mut [0]).unwrap();
                (0..1000).for_each(|n| assert_echoes(&connection, &format!("of the child {n}")));
                connection.shutdown(Shutdown::Write).unwrap();
                assert_eq!((&mut &connection).read(&mut [0; 8]).unwrap(), 0);
            })
        });
        drop(connection);
        go_on.write_all(&[1]).unwrap();
        assert!(ended_well(child.unwrap()), "by {way}");
    }
}

fn a_child_reads_what_its_parent_asks_for(_: &Router, red: &Process) {
    const BYTES: usize = 16 << 20;
    for way in WAYS {
        let connection = connect(red, way);
        let child = red.fork(|| {
            code_of(|| {
                let (mut position, mut buffer) = (0, vec![0; 100_000]);
                while position < BYTES {
                    let read = (&mut &connection).read(&mut buffer).unwrap();
                    assert!(read > 0, "the end after {position} bytes");
                    assert!((position..).zip(&buffer[..read]).all(|(at, byte)| pattern(at) == *byte), "at {position}");
                    position += read;
                }
            })
        });
        let bytes: Vec<u8> = (0..BYTES).map(pattern).collect();
        (&mut &connection).write_all(&bytes).unwrap();
        assert!(ended_well(child.unwrap()), "by {way}");
        assert_echoes(&connection, "alone again");
    }
}

fn a_child_opens_connections_of_its_own(router: &Router, red: &Process) {
    let (mut told, mut tell) = UnixStream::pair().unwrap();
    let connection = connect(red, WAYS[0]);
    let child = red.fork(|| {
        code_of(|| {
            let own = connect(red, WAYS[0]);
            assert_ne!(own.local_addr(), connection.local_addr());
            assert_echoes(&own, "own");
            // A grandchild has both.
            let grandchild = red.fork(|| {
                code_of(|| [&own, &connection].into_iter().for_each(|known| assert_echoes(known, "of the grandchild")))
            });
            assert!(ended_well(grandchild.unwrap()));
            told.read_exact(&mut [0]).unwrap();
        })
    });
    let child = child.unwrap();
    router.wait_for_row("show processes", &[("vr", "red"), ("name", "program"), ("pid", &child.to_string())]);
    tell.write_all(&[1]).unwrap();
    assert!(ended_well(child));
    assert_echoes(&connection, "still there");
}

fn a_killed_child_leaves_its_parent_the_connection(_: &Router, red: &Process) {
    for way in WAYS {
        let connection = connect(red, way);
        for round in 0..5 {
            let (mut told, mut tell) = UnixStream::pair().unwrap();
            let child = red.fork(|| {
                for n in 0u64.. {
                    // Whole messages, so that what the parent reads after it can be told apart.
                    if (&mut &connection).write_all(b"........").is_err() || n == 0 && tell.write_all(&[1]).is_err() {
                        return 1;
                    }
                }
                0
            });
            let child = child.unwrap();
            told.read_exact(&mut [0]).unwrap();
            kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
            waitpid(Pid::from_raw(child), None).unwrap();
            let text = format!("round {round}");
            (&mut &connection).write_all(text.as_bytes()).unwrap();
            // What the child has written comes first, then the parent's.
            let (mut back, mut byte) = (Vec::new(), [0]);
            while !back.ends_with(text.as_bytes()) {
                (&mut &connection).read_exact(&mut byte).unwrap();
                back.push(byte[0]);
            }
            assert!(back[..back.len() - text.len()].iter().all(|byte| *byte == b'.'));
        }
    }
}

fn a_listeners_connections_go_to_whoever_accepts(router: &Router, red: &Process) {
    let server = Prefork::start(router, "7001");
    for (stopped, serving) in [(0, 1), (1, 0)] {
        stop(server.children[stopped]);
        (0..3).for_each(|_| assert_eq!(server.answers(red), [server.children[serving]; 2]));
        kill(server.children[stopped], Signal::SIGCONT).unwrap();
    }
    // With nobody to accept they wait, and are not the parent's.
    server.children.into_iter().for_each(stop);
    let waiting: Vec<TcpStream> = WAYS.iter().map(|way| connect(red, &way.replace("7000", server.port))).collect();
    kill(server.children[1], Signal::SIGCONT).unwrap();
    for connection in waiting {
        let mut text = String::new();
        (&mut &connection).read_to_string(&mut text).unwrap();
        assert_eq!(text, server.children[1].to_string());
    }
}

fn a_listener_lives_as_long_as_one_of_its_processes(router: &Router, red: &Process) {
    let mut server = Prefork::start(router, "7002");
    let parent = server.parent.id().to_string();
    // Each of the three listens in its own name.
    router.wait_for("show inter-vr database", |table| table.to_string().matches("/ipv4/tcp/7002").count() == 3);
    server.parent.kill().unwrap();
    server.parent.wait().unwrap();
    kill(server.children[0], Signal::SIGKILL).unwrap();
    router.wait_for("show inter-vr database", |table| table.to_string().matches("/ipv4/tcp/7002").count() == 1);
    router.wait_for("show processes", |table| !table.to_string().contains(&parent));
    assert_eq!(server.answers(red), [server.children[1]; 2]);
}

fn a_childs_connection_stands_still(router: &Router, red: &Process) {
    let connection = connect(red, WAYS[0]);
    let (mut told, mut tell) = UnixStream::pair().unwrap();
    let child = red.fork(|| {
        code_of(|| {
            connection.set_read_timeout(Some(Duration::from_millis(300)));
            loop {
                (&mut &connection).write_all(b"x").unwrap();
                match (&mut &connection).read_exact(&mut [0]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            tell.write_all(&[1]).unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(20)));
            (&mut &connection).read_exact(&mut [0]).unwrap();
        })
    });
    drop(connection);
    router.sh("configure vr red; interface blue; shutdown");
    told.read_exact(&mut [0]).unwrap();
    router.sh("configure vr red; interface blue; no shutdown");
    assert!(ended_well(child.unwrap()));
}
