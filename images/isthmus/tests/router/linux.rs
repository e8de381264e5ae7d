//! Calls of a program on its own sockets, in a VR and on Linux: `programs/linux.py` prints the same.

use std::process::Command;

use testing::namespace::can_run;
use testing::preload::{has, program};
use testing::support::{BOTH_WAYS, Router, TWO_VRS, stderr};

use crate::preload::seen;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/linux.py");

/// Runs a section of the script on both; what it said, and how often the library had something to say.
fn is_as_on_linux(test: &str, section: &str) {
    if !has(test, &["python3"]) {
        return;
    }
    let router = Router::up(&format!("linux-{section}"), TWO_VRS);
    let line = ["python3", SCRIPT, section];
    let mut on_linux = Command::new(line[0]);
    on_linux.args(&line[1..]);
    let [on_linux, in_a_vr] = [on_linux, program(&router, "red", &line)].map(|mut command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(in_a_vr, on_linux);
}

/// Another process asks, which Python starts by vfork(2) and exec.
#[test]
fn a_port_that_another_process_has_is_refused_at_bind() {
    is_as_on_linux("a_port_that_another_process_has_is_refused_at_bind", "ports");
}

#[test]
fn select_and_poll_wait_for_descriptors_above_1024() {
    is_as_on_linux("select_and_poll_wait_for_descriptors_above_1024", "high");
}

#[test]
fn an_epoll_instance_in_another_one_is_as_on_linux() {
    is_as_on_linux("an_epoll_instance_in_another_one_is_as_on_linux", "nested");
}

#[test]
fn a_thread_that_sleeps_at_an_epoll_instance_hears_of_its_first_socket() {
    is_as_on_linux("a_thread_that_sleeps_at_an_epoll_instance_hears_of_its_first_socket", "late");
}

#[test]
fn options_take_and_tell_what_they_do_on_linux() {
    is_as_on_linux("options_take_and_tell_what_they_do_on_linux", "options");
}

#[test]
fn a_thread_is_canceled_in_standard_io_over_a_connection_and_leaves_it_to_others() {
    is_as_on_linux("a_thread_is_canceled_in_standard_io_over_a_connection_and_leaves_it_to_others", "canceled");
}

#[test]
fn a_program_that_runs_out_of_descriptors_sees_what_it_does_on_linux() {
    is_as_on_linux("a_program_that_runs_out_of_descriptors_sees_what_it_does_on_linux", "limits");
}

/// Forks while a connect waits for a listener whose backlog is full; prints what parent and child see of it.
const FORKED_OPENING: &str = "
import errno, os, select, socket
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen(1)
def connect(one):
    return errno.errorcode.get(one.connect_ex(listener.getsockname()), 'ok')
def is_writable(one, patience):
    return len(select.select([], [one], [], patience)[1])
opening = []
while not opening or is_writable(opening[-1], 0.5):
    opening.append(socket.socket())
    opening[-1].setblocking(False)
    connect(opening[-1])
last = opening[-1]
child = os.fork()
if child == 0:
    error = is_writable(last, 5) and last.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    print('child', errno.errorcode.get(error, error), connect(last), flush=True)
    os._exit(0)
print('child', os.waitpid(child, 0)[1])
print('parent', connect(last))
for _ in opening:
    select.select([listener], [], [], 10)
    listener.accept()
print('parent', is_writable(last, 10), last.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), last.send(b'x'))
";

#[test]
fn a_connect_in_progress_at_a_fork_is_broken_in_the_child_and_goes_on_in_the_parent() {
    if !has("a_connect_in_progress_at_a_fork", &["python3"]) {
        return;
    }
    let router = Router::up("linux-opening", TWO_VRS);
    let output = program(&router, "red", &["timeout", "60", "python3", "-c", FORKED_OPENING]).output().unwrap();
    let wanted = "child ECONNRESET EINPROGRESS\nchild 0\nparent EALREADY\nparent 1 0 1\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), wanted, "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("fork while a connect is in progress").count(), 1, "{}", stderr(&output));
}

/// Listens and ends; of its child, which does nothing but wait, a child accepts.
const DAEMON: &str = "
import os, socket
listener = socket.socket()
listener.bind(('', 7000))
listener.listen(8)
if os.fork():
    os._exit(0)
if child := os.fork():
    os.waitpid(child, 0)
    os._exit(0)
for number in range(3):
    one, _ = listener.accept()
    one.sendall(b'number %d' % number)
    one.close()
";

/// Asks until it is answered, then twice more.
const ASKS: &str = "
import socket, time
def ask():
    with socket.create_connection(('10.0.0.1', 7000), 10) as one:
        print(one.recv(99).decode(), flush=True)
for _ in range(1000):
    try:
        ask()
        break
    except ConnectionRefusedError:
        time.sleep(0.01)
ask()
ask()
";

#[test]
fn who_was_forked_twice_accepts_though_who_listened_has_ended() {
    if !has("who_was_forked_twice_accepts_though_who_listened_has_ended", &["python3"]) {
        return;
    }
    let router = Router::up("linux-daemon", TWO_VRS);
    assert!(program(&router, "blue", &["python3", "-c", DAEMON]).status().unwrap().success());
    let output = program(&router, "red", &["timeout", "60", "python3", "-c", ASKS]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "number 0\nnumber 1\nnumber 2\n", "{}", stderr(&output));
}

const FORKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/forked_datagrams.py");

#[test]
fn a_forked_child_goes_on_with_its_parents_udp_socket() {
    if !has("a_forked_child_goes_on_with_its_parents_udp_socket", &["python3"]) {
        return;
    }
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let on_linux = ["serve", "ask"].map(|role| {
        let mut command = Command::new("python3");
        command.args([FORKED, role]).args((role == "ask").then_some("127.0.0.1")).arg(&port);
        command
    });
    let [server, client] = on_linux;
    let on_linux = seen(server, client);
    let router = Router::up("linux-forked", BOTH_WAYS);
    for address in ["10.0.0.1", "10.1.0.1"] {
        let server = program(&router, "blue", &["python3", FORKED, "serve", &port]);
        let client = program(&router, "red", &["python3", FORKED, "ask", address, &port]);
        assert_eq!(seen(server, client), on_linux, "{address}");
    }
}

const FORKED_RAW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/forked_raw.py");

#[test]
fn a_forked_child_goes_on_with_its_parents_raw_socket() {
    if !has("a_forked_child_goes_on_with_its_parents_raw_socket", &["python3"]) {
        return;
    }
    let router = Router::up("linux-raw", BOTH_WAYS);
    let ours = |addresses: [&str; 2]| {
        let [red, blue] = addresses;
        let server = program(&router, "blue", &["python3", FORKED_RAW, "serve", blue]);
        seen(server, program(&router, "red", &["python3", FORKED_RAW, "ask", red, blue]))
    };
    let over_the_channel = ours(["10.0.0.0", "10.0.0.1"]);
    assert_eq!(ours(["10.1.0.0", "10.1.0.1"]), over_the_channel);
    if can_run("a_forked_child_goes_on_with_its_parents_raw_socket", &["python3"]) {
        let on_linux = [&["serve", "127.0.0.2"][..], &["ask", "127.0.0.1", "127.0.0.2"]].map(|words| {
            let mut command = Command::new("python3");
            command.arg(FORKED_RAW).args(words);
            command
        });
        let [server, client] = on_linux;
        assert_eq!(over_the_channel, seen(server, client));
    }
}
