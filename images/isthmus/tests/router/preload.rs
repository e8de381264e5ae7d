//! Programs that do not know Isthmus, on its sockets: `isthmus run --preload`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testing::namespace::{can_run, find};
use testing::preload::{Server, build_library, has, program};
use testing::support::{JOINED, Router, TWO_VRS, assert_fails, stderr, sum, wait_until};

#[test]
fn a_web_server_and_its_client_talk_over_the_channel() {
    if !has("a_web_server_and_its_client_talk_over_the_channel", &["python3", "curl"]) {
        return;
    }
    let router = Router::up("preload-web", TWO_VRS);
    let page: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_ne_bytes).collect();
    std::fs::create_dir(router.folder().join("www")).unwrap();
    std::fs::write(router.folder().join("www/page"), &page).unwrap();
    let mut command = program(&router, "blue", &["python3", "-u", "-m", "http.server", "8080", "--directory"]);
    command.arg(router.folder().join("www")).stderr(Stdio::null());
    let mut server = Server::start(command);
    let line = BufReader::new(server.0.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(line.starts_with("Serving HTTP on 0.0.0.0 port 8080"), "{line}");
    for address in ["10.0.0.1", "192.0.2.2"] {
        let url = format!("http://{address}:8080/page");
        let output = program(&router, "red", &["curl", "-sS", &url]).output().unwrap();
        assert!(output.stdout == page, "{} bytes, {}", output.stdout.len(), stderr(&output));
    }
    let nobody = program(&router, "red", &["curl", "-sS", "http://10.0.0.1:8081/"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(7), "{}", stderr(&nobody));
    let packets = sum(&router.sh("show stack counters"), "packets_received");
    // Those of the connection that was refused: SYN and RST, and each once more in the total.
    assert!(packets <= 4, "{packets} packets");
}

#[test]
fn what_a_program_says_arrives_and_so_does_its_end() {
    if !has("what_a_program_says_arrives_and_so_does_its_end", &["socat"]) {
        return;
    }
    let router = Router::up("preload-cat", TWO_VRS);
    let server = program(&router, "blue", &["socat", "TCP-LISTEN:7", "EXEC:tr a-z A-Z"]);
    let mut server = Server::start(server);
    let answer = wait_until(|| {
        let mut client = program(&router, "red", &["socat", "-t5", "-", "TCP:10.0.0.1:7"]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // A client whose connection is refused does not read.
        let _ = client.stdin.take().unwrap().write_all(b"hello");
        let output = client.wait_with_output().unwrap();
        output.status.success().then_some(output.stdout)
    });
    assert_eq!(answer.as_deref(), Some(&b"HELLO"[..]));
    assert!(server.0.wait().unwrap().success());
}

/// What a program like `programs/sockets.py` sees, asking and serving.
pub fn seen(server: Command, mut client: Command) -> [String; 2] {
    let mut server = Server::start(server);
    let mut lines = BufReader::new(server.0.stdout.take().unwrap());
    let mut ready = String::new();
    lines.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let output = client.output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    let mut served = String::new();
    lines.read_to_string(&mut served).unwrap();
    [String::from_utf8(output.stdout).unwrap(), served]
}

/// Runs a program of two sides over the kernel's loopback and over a channel, and compares what it prints.
fn sees_what_it_sees_over_the_kernels_loopback(test: &str, name: &str, script: &str) {
    if !has(test, &["python3"]) {
        return;
    }
    let script = &format!("{}/tests/router/programs/{script}", env!("CARGO_MANIFEST_DIR"));
    // A port that the kernel has just given away is not given again soon.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let kernel = |words: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["60", "python3", script]).args(words);
        command
    };
    let of_kernel = seen(kernel(&["serve", &port]), kernel(&["ask", "127.0.0.1", &port]));
    let router = Router::up(name, TWO_VRS);
    let ours =
        |vr: &str, words: &[&str]| program(&router, vr, &[&["timeout", "60", "python3", script], words].concat());
    let of_channel = seen(ours("blue", &["serve", &port]), ours("red", &["ask", "10.0.0.1", &port]));
    assert_eq!(of_channel, of_kernel);
}

#[test]
fn a_program_sees_over_a_channel_what_it_sees_over_the_kernels_loopback() {
    let test = "a_program_sees_over_a_channel_what_it_sees_over_the_kernels_loopback";
    sees_what_it_sees_over_the_kernels_loopback(test, "preload-same", "sockets.py");
}

#[test]
fn a_handler_of_a_signal_uses_the_socket_that_it_interrupts() {
    let test = "a_handler_of_a_signal_uses_the_socket_that_it_interrupts";
    sees_what_it_sees_over_the_kernels_loopback(test, "preload-signals", "signals.py");
}

#[test]
fn programs_see_the_interfaces_of_the_vr_and_nothing_of_the_host() {
    if !has("programs_see_the_interfaces_of_the_vr_and_nothing_of_the_host", &["ip"]) {
        return;
    }
    let statics = "vr red\n router static\n  address-family ipv4 unicast\n   198.51.100.0/24 10.0.0.1\n   \
                   203.0.113.0/24 Null0\n  !\n !\n!\n";
    let router = Router::up("preload-ip", &format!("{TWO_VRS}{statics}"));
    let ip = |words: &[&str]| program(&router, "red", &[&["ip"], words].concat()).output().unwrap();
    let words = |output: &Output| -> Vec<Vec<String>> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let addresses = words(&ip(&["-brief", "address"]));
    assert_eq!(addresses, [["Loopback0", "UP", "192.0.2.1/32"], ["blue", "UP", "10.0.0.0/31"]]);
    let routes = words(&ip(&["route"]));
    assert!(
        routes.iter().any(|route| route.starts_with(&["10.0.0.0/31", "dev", "blue"].map(str::to_owned))),
        "{routes:?}"
    );
    // The RIB's too.
    for line in ["198.51.100.0/24 via 10.0.0.1 dev blue proto static", "blackhole 203.0.113.0/24 proto static"] {
        assert!(routes.iter().any(|route| route.join(" ") == line), "{routes:?}");
    }
    let towards = words(&ip(&["route", "get", "198.51.100.7"]));
    assert!(towards[0].join(" ").starts_with("198.51.100.7 via 10.0.0.1 dev blue src 10.0.0.0"), "{towards:?}");
    assert_fails(&ip(&["route", "get", "203.0.113.1"]), "Network is unreachable");
    let refused = ip(&["route", "add", "198.18.0.0/15", "via", "10.0.0.1"]);
    assert_fails(&refused, "Operation not permitted");
}

/// Runs out of descriptors, then forks while a thread of it waits for a datagram and another one for a connection.
const EXHAUSTED: &str = "
import errno, os, resource, socket, sys, threading
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64 if sys.argv[1] == 'hard' else hard))
# Less that with which the list itself is read.
free = 64 - sum(int(number) < 64 for number in os.listdir('/proc/self/fd')) + 1
def fill(kind):
    sockets = []
    try:
        while True:
            sockets.append(socket.socket(socket.AF_INET, kind))
    except OSError as error:
        return error.errno == errno.EMFILE, sockets[-1].fileno(), len(sockets) == free
print(fill(socket.SOCK_STREAM), fill(socket.SOCK_DGRAM))
listener, datagrams = socket.create_server(('10.0.0.0', 7)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(('10.0.0.0', 7))
threads = [threading.Thread(target=call) for call in (listener.accept, lambda: datagrams.recv(1))]
[thread.start() for thread in threads]
child = os.fork()
if child == 0:
    try:
        socket.create_connection(('10.0.0.1', 9))
    except OSError as error:
        os._exit(error.errno)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.ECONNREFUSED)
socket.create_connection(('10.0.0.0', 7))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.0.0.0', 7))
[thread.join() for thread in threads]
";

#[test]
fn a_program_runs_out_of_descriptors_and_forks_within_calls_of_other_threads() {
    if !has("a_program_runs_out_of_descriptors_and_forks_within_calls_of_other_threads", &["python3"]) {
        return;
    }
    let router = Router::up("preload-exhausted", JOINED);
    for limit in ["soft", "hard"] {
        let line = ["timeout", "30", "python3", "-c", EXHAUSTED, limit];
        let output = program(&router, "red", &line).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        match limit {
            // The library has its own beyond the program's limit.
            "soft" => assert_eq!(told, "(True, 63, True) (True, 63, True)\nTrue\n", "{}", stderr(&output)),
            // Both have to share.
            _ => assert!(told.starts_with("(True, 63, ") && told.ends_with("\nTrue\n"), "{told}{}", stderr(&output)),
        }
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

/// Echoes lines, to each client in a thread of its own.
const ECHO: &str = "
import socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
with socketserver.ThreadingTCPServer(('', int(sys.argv[1])), Echo) as server:
    print('ready', flush=True)
    server.serve_forever()
";

/// Talks to two servers, and goes on with the second once the first is gone.
const TWO_SERVERS: &str = "
import socket
first, second = (socket.create_connection(('10.0.0.1', port)) for port in (7, 8))
def echo(connection):
    connection.sendall(b'line\\n')
    return connection.recv(100)
print(echo(first), echo(second), flush=True)
try:
    print(first.recv(100))
except ConnectionResetError:
    print(b'')
while True:
    try:
        # A process that is about to be gone may still have its listener: whoever is taken in by it finds the end.
        with socket.create_connection(('10.0.0.1', 7)) as connection:
            assert not connection.recv(100)
    except ConnectionResetError:
        pass
    except ConnectionRefusedError:
        break
print(echo(second))
";

#[test]
fn a_killed_server_ends_its_own_connections_and_no_others() {
    if !has("a_killed_server_ends_its_own_connections_and_no_others", &["python3"]) {
        return;
    }
    let router = Router::up("preload-killed", JOINED);
    let [first, _second] = ["7", "8"].map(|port| {
        let mut server = Server::start(program(&router, "blue", &["python3", "-c", ECHO, port]));
        let line = BufReader::new(server.0.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        assert_eq!(line, "ready");
        server
    });
    let mut client = program(&router, "red", &["timeout", "30", "python3", "-c", TWO_SERVERS]);
    let mut client = client.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r"b'line\n' b'line\n'");
    // With SIGKILL.
    drop(first);
    assert_eq!(lines.map(Result::unwrap).collect::<Vec<_>>(), ["b''", r"b'line\n'"]);
    assert!(client.wait().unwrap().success());
}

/// Does what is not covered.
const NOT_COVERED: &str = "
import ctypes, os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ends = socket.socketpair()
def tried(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.strerror
for _ in range(2):
    print(tried(socket.send_fds, ends[0], [b'x'], [s.fileno()]))
    print(tried(os.splice, os.pipe()[0], s.fileno(), 1))
    libc = ctypes.CDLL(None, use_errno=True)
    print(libc.tee(os.pipe()[0], s.fileno(), 1, 0), os.strerror(ctypes.get_errno()))
    print(libc.vmsplice(s.fileno(), None, 0, 0), os.strerror(ctypes.get_errno()))
print(tried(socket.send_fds, ends[0], [b'x'], [0]))
";

#[test]
fn what_is_not_covered_is_refused_and_named_once() {
    if !has("what_is_not_covered_is_refused_and_named_once", &["python3"]) {
        return;
    }
    let router = Router::up("preload-refuses", TWO_VRS);
    let output = program(&router, "red", &["python3", "-c", NOT_COVERED]).output().unwrap();
    let refused = "Operation not supported\nInvalid argument\n-1 Invalid argument\n-1 Bad file descriptor\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{refused}{refused}None\n"), "{}", stderr(&output));
    let said = stderr(&output);
    let named = ["sendmsg with a socket of IP in SCM_RIGHTS", "splice", "tee", "vmsplice"];
    for call in named {
        assert_eq!(said.matches(&format!("isthmus: {call} is not covered")).count(), 1, "{said}");
    }
}

/// Asks by ioctl as netdevice(7) has it, and prints what is told of the interface `blue`.
const IOCTLS: &str = "
import array, fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def ask(request, name=b'blue'):
    try:
        return fcntl.ioctl(s, request, struct.pack('16s24x', name))[16:]
    except OSError as error:
        return error.strerror
address = lambda answer: socket.inet_ntoa(answer[4:8])
print('address', address(ask(0x8915)), address(ask(0x891b)))
print('up', struct.unpack('h', ask(0x8913)[:2])[0] & 1)
number = struct.unpack('i', ask(0x8933)[:4])[0]
print('name', fcntl.ioctl(s, 0x8910, struct.pack('16xi20x', number))[:16].rstrip(bytes(1)).decode())
print('host', ask(0x8913, b'lo'), '|', ask(0x8915, b'eth0'))
print('change', ask(0x8916))
room = array.array('B', bytes(4096))
used = struct.unpack('iP', fcntl.ioctl(s, 0x8912, struct.pack('iP', 4096, room.buffer_info()[0])))[0]
entries = [room[at:at + 40].tobytes() for at in range(0, used, 40)]
print('all', *((entry[:16].rstrip(bytes(1)).decode(), address(entry[16:])) for entry in entries))
";

#[test]
fn programs_ask_for_the_interfaces_of_the_vr_by_ioctl() {
    if !has("programs_ask_for_the_interfaces_of_the_vr_by_ioctl", &["python3"]) {
        return;
    }
    let router = Router::up("preload-ioctl", TWO_VRS);
    let output = program(&router, "red", &["python3", "-c", IOCTLS]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let wanted = "address 10.0.0.0 255.255.255.254\nup 1\nname blue\nhost No such device | No such device\n\
                  change Operation not permitted\nall ('Loopback0', '192.0.2.1') ('blue', '10.0.0.0')\n";
    assert_eq!(told, wanted, "{}", stderr(&output));
}

#[test]
fn a_server_with_an_event_loop_serves_a_large_page() {
    let processes = "daemon off; master_process off;";
    nginx_serves("a_server_with_an_event_loop_serves_a_large_page", "preload-nginx", processes);
}

/// They accept from their parent's listener, have cleared their environment and, where root runs this, are another user.
#[test]
fn workers_that_a_master_has_forked_serve_a_large_page() {
    let processes = "daemon off; worker_processes 2;";
    nginx_serves("workers_that_a_master_has_forked_serve_a_large_page", "preload-workers", processes);
}

/// Who has listened ends, and the workers' parent never uses the sockets that are between the two.
#[test]
fn a_daemon_serves_a_large_page() {
    nginx_serves("a_daemon_serves_a_large_page", "preload-daemon", "daemon on; worker_processes 2;");
}

/// A daemon that wrote its process ID to a file, and is ended when this is dropped.
struct Daemon(PathBuf);

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was no daemon, or never started, has none.
        let pid = std::fs::read_to_string(&self.0).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

fn nginx_serves(test: &str, name: &str, processes: &str) {
    if !has(test, &["nginx", "curl"]) {
        return;
    }
    let router = Router::up(name, TWO_VRS);
    std::fs::set_permissions(router.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    let page: Vec<u8> = (0..750_000u32).flat_map(u32::to_ne_bytes).collect();
    std::fs::write(router.folder().join("page"), &page).unwrap();
    let folder = router.folder().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {folder};\n"))
        .collect();
    let config = format!(
        "{processes} pid {folder}/pid; error_log {folder}/error;\nevents {{}}\n\
         http {{ access_log off; sendfile on; {temporary} server {{ listen 80; root {folder}; }} }}\n"
    );
    let config = router.write("nginx.conf", &config).into_os_string();
    let nginx = find("nginx").unwrap().into_os_string();
    let log = router.folder().join("error").into_os_string();
    let _daemon = Daemon(router.folder().join("pid"));
    let _server = Server::start(program(&router, "blue", &[&nginx, OsStr::new("-e"), &log, OsStr::new("-c"), &config]));
    let get = || program(&router, "red", &["curl", "-sS", "-m", "10", "http://10.0.0.1/page"]).output().unwrap();
    let got = wait_until(|| Some(get()).filter(|output| output.status.success()));
    assert!(got.is_some_and(|got| got.stdout == page));
    for _ in 0..8 {
        let output = get();
        assert!(output.stdout == page, "{}", stderr(&output));
    }
}

#[test]
fn a_database_is_used_by_many_at_once() {
    if !has("a_database_is_used_by_many_at_once", &["redis-server", "redis-cli", "redis-benchmark"]) {
        return;
    }
    let router = Router::up("preload-redis", TWO_VRS);
    let server = ["redis-server", "--save", "", "--protected-mode", "no", "--dir"].map(str::to_owned);
    let mut server = program(&router, "blue", &server);
    let _server = Server::start({
        server.arg(router.folder());
        server
    });
    let ask = |words: &[&str]| {
        let output = program(&router, "red", &[&["redis-cli", "-h", "10.0.0.1"], words].concat()).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(wait_until(|| ask(&["set", "key", "value"])).as_deref(), Some("OK"));
    // Those of connections that came too early, and were refused.
    let packets = || sum(&router.sh("show stack counters"), "packets_received");
    let before = packets();
    assert_eq!(ask(&["get", "key"]).as_deref(), Some("value"));
    let benchmark = ["redis-benchmark", "-h", "10.0.0.1", "-t", "incr", "-n", "5000", "-c", "20", "-q"];
    let output = program(&router, "red", &benchmark).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(ask(&["get", "counter:__rand_int__"]).as_deref(), Some("5000"));
    assert_eq!(packets(), before);
}

/// Of each VR: its name, AS and network, and the other's address, AS and network.
const SIDES: [[&str; 6]; 2] = [
    ["red", "64501", "198.51.100.0/24", "10.0.0.1", "64502", "203.0.113.0/24"],
    ["blue", "64502", "203.0.113.0/24", "10.0.0.0", "64501", "198.51.100.0/24"],
];

#[test]
fn bird_peers_with_bird_between_two_vrs() {
    if !has("bird_peers_with_bird_between_two_vrs", &["bird", "birdc"]) {
        return;
    }
    let router = Router::up("preload-bird", JOINED);
    let control = |vr: &str| router.folder().join(format!("{vr}.ctl"));
    let _daemons = SIDES.map(|[vr, own_as, network, peer, peer_as, _]| {
        let config = format!(
            "router id {peer};\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n\
             protocol static {{ ipv4; route {network} blackhole; }}\n\
             protocol bgp {{ local as {own_as}; neighbor {peer} as {peer_as}; connect delay time 1;\n\
             connect retry time 1; error wait time 1, 1; ipv4 {{ import all; export where source = RTS_STATIC; }}; }}\n"
        );
        let config = router.write(&format!("{vr}.conf"), &config);
        let mut command =
            program(&router, vr, &[find("bird").unwrap().as_os_str(), OsStr::new("-f"), OsStr::new("-c")]);
        Server::start({
            command.arg(config).arg("-s").arg(control(vr));
            command
        })
    });
    let ask = |vr: &str, question: &[&str]| {
        let output = Command::new(find("birdc").unwrap()).arg("-s").arg(control(vr)).args(question).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for [vr, _, _, peer, peer_as, network] in SIDES {
        let route = wait_until(|| Some(ask(vr, &["show", "route", network])).filter(|route| route.contains(peer_as)));
        let route = route.unwrap_or_else(|| panic!("{vr}: {}", ask(vr, &["show", "protocols"])));
        let interface = if vr == "red" { "blue" } else { "red" };
        assert!(route.contains(&format!("via {peer} on {interface}")), "{route}");
        let interfaces = ask(vr, &["show", "interfaces", "summary"]);
        // Its own, and a line each of greeting and heading.
        assert_eq!(interfaces.lines().count(), 3, "{interfaces}");
    }
}

#[test]
fn frrs_bgpd_peers_with_itself_between_two_vrs() {
    let Some(router) = frr_router("frrs_bgpd_peers_with_itself_between_two_vrs", "preload-frr", &["bgpd", "vtysh"])
    else {
        return;
    };
    let _daemons = SIDES.map(|side| bgpd(&router, side, &["-n", "-S"]));
    SIDES.iter().for_each(|side| assert_learned(&router, side));
}

/// Both become another user before they make a socket.
#[test]
fn frrs_zebra_and_bgpd_take_a_vr_for_their_machine() {
    let test = "frrs_zebra_and_bgpd_take_a_vr_for_their_machine";
    let Some(router) = frr_router(test, "preload-zebra", &["zebra", "bgpd", "vtysh"]) else { return };
    let _daemons = SIDES.map(|side| {
        let folder = router.folder().join(side[0]);
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
        let api = folder.join("zserv.api");
        let mut zebra = program(&router, side[0], &[find("zebra").unwrap()]);
        zebra.args(["-P", "0", "-f", "/dev/null", "-z"]).arg(&api).arg("--vty_socket").arg(&folder);
        zebra.arg("-i").arg(folder.join("zebra.pid")).stderr(Stdio::null());
        let zebra = Server::start(zebra);
        [zebra, bgpd(&router, side, &["-z", api.to_str().unwrap()])]
    });
    for side in &SIDES {
        assert_learned(&router, side);
        let [vr, _, _, peer, _, network] = *side;
        let interface = if vr == "red" { "blue" } else { "red" };
        let brief = vtysh(&router, vr, "zebra", "show interface brief");
        // Its own, and two lines of heading.
        assert!(brief.trim().lines().count() == 3 && brief.contains(&format!("\n{interface} ")), "{brief}");
        let route = format!("{network} [20/0] via {peer}, {interface}");
        let seen = wait_until(|| Some(vtysh(&router, vr, "zebra", "show ip route")).filter(|all| all.contains(&route)));
        assert!(seen.is_some(), "{}", vtysh(&router, vr, "zebra", "show ip route"));
    }
}

/// A router whose folder FRR's own user may use; `None`: it cannot run here.
fn frr_router(test: &str, name: &str, programs: &[&str]) -> Option<Router> {
    // It writes into folders of root's.
    if !has(test, programs) || !can_run(test, &["bgpd"]) {
        return None;
    }
    let router = Router::up(name, JOINED);
    std::fs::set_permissions(router.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    Some(router)
}

fn bgpd(router: &Router, [vr, own_as, network, peer, peer_as, _]: [&str; 6], args: &[&str]) -> Server {
    let config = format!(
        "router bgp {own_as}\n bgp router-id {peer}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         neighbor {peer} remote-as {peer_as}\n neighbor {peer} timers connect 1\n \
         address-family ipv4 unicast\n  network {network}\n exit-address-family\n"
    );
    let config = router.write(&format!("{vr}.conf"), &config);
    let folder = router.folder().join(vr);
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = program(router, vr, &[find("bgpd").unwrap()]);
    command.args(args).args(["-P", "0", "-f"]).arg(config).arg("--vty_socket").arg(&folder);
    command.arg("-i").arg(folder.join("pid")).stderr(Stdio::null());
    Server::start(command)
}

fn vtysh(router: &Router, vr: &str, daemon: &str, question: &str) -> String {
    let mut vtysh = Command::new(find("vtysh").unwrap());
    vtysh.arg("--vty_socket").arg(router.folder().join(vr)).args(["-d", daemon, "-c", question]);
    String::from_utf8_lossy(&vtysh.output().unwrap().stdout).into_owned()
}

fn assert_learned(router: &Router, [vr, _, _, _, peer_as, network]: &[&str; 6]) {
    let ask = || vtysh(router, vr, "bgpd", &format!("show bgp ipv4 unicast {network}"));
    let learned = wait_until(|| Some(ask()).filter(|route| route.contains(peer_as)));
    assert!(learned.is_some(), "{vr}: {}", ask());
}

#[test]
fn a_program_that_no_loader_can_preload_is_refused() {
    build_library();
    let router = Router::up("preload-refused", TWO_VRS);
    let run = |vr: &str, path: &Path| program(&router, vr, &[path]).output().unwrap();
    let mut file = std::fs::read("/proc/self/exe").unwrap();
    let setuid = router.write("setuid", "");
    std::fs::write(&setuid, &file).unwrap();
    std::fs::set_permissions(&setuid, PermissionsExt::from_mode(0o4755)).unwrap();
    assert_fails(&run("red", &setuid), "is setuid or setgid");
    // Without program headers nobody loads it but the kernel.
    file[56..58].fill(0);
    let without_loader = router.write("static", "");
    std::fs::write(&without_loader, &file).unwrap();
    assert_fails(&run("red", &without_loader), "is linked statically");
    let script = router.write("script", &format!("#!{}\n", without_loader.display()));
    assert_fails(&run("red", &script), "is linked statically");
    assert_fails(&run("red", Path::new("no-such-program")), "no such program in PATH");
    assert_fails(&run("green", Path::new("/bin/true")), "green");
}
