//! Programs that do not know Isthmus, on its sockets: `isthmus run --preload`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use crate::namespace::find;
use crate::support::{Router, TWO_VRS, assert_fails, stderr, sum, wait_until};

/// Makes the library, beside the executable: cargo builds no other package's for a test.
fn build_library() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "-p", "isthmus-preload"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if Path::new(env!("CARGO_BIN_EXE_isthmus")).parent().is_some_and(|folder| folder.ends_with("release")) {
            cargo.arg("--release");
        }
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    });
}

/// Whether the programs are installed; else says which test does not run.
fn has(test: &str, programs: &[&str]) -> bool {
    build_library();
    match programs.iter().find(|program| find(program).is_none()) {
        Some(missing) => {
            eprintln!("SKIPPED {test}: {missing} is not installed");
            false
        }
        None => true,
    }
}

/// A program in a VR.
fn program<S: AsRef<OsStr>>(router: &Router, vr: &str, line: &[S]) -> Command {
    let mut command = router.command(["run", "--name", router.name(), "--vr", vr, "--preload", "--"]);
    command.args(line);
    command
}

/// One that serves until it is dropped.
struct Server(Child);

impl Server {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
        let _ = std::io::Write::write_all(&mut client.stdin.take().unwrap(), b"hello");
        let output = client.wait_with_output().unwrap();
        output.status.success().then_some(output.stdout)
    });
    assert_eq!(answer.as_deref(), Some(&b"HELLO"[..]));
    assert!(server.0.wait().unwrap().success());
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
