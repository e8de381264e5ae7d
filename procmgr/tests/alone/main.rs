//! procmgr alone, with classes from its arguments: what the tests of this folder drive.
//!
//! `procmgr-alone RUNTIME_DIR STATE_DIR CLASS...`, each class a text as [`class`] reads it. As a role of itself it is
//! one of the small processes in [`roles`]. `procmgr-alone knock SOCKET` attaches to a running router.

mod roles;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ipc::link::Link;
use procmgr::class::{ClassSpec, ReadyWhen, Scope};
use procmgr::{RunOptions, role, run};

fn main() -> ExitCode {
    if let Some(role) = role::from_environment() {
        return roles::play(&role);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, socket] = &args[..]
        && word == "knock"
    {
        return knock(socket.as_ref());
    }
    let [runtime_dir, state_dir, classes @ ..] = &args[..] else {
        eprintln!("usage: procmgr-alone RUNTIME_DIR STATE_DIR CLASS...");
        return ExitCode::from(2);
    };
    let result = run(RunOptions {
        name: "test".to_owned(),
        runtime_dir: PathBuf::from(runtime_dir),
        state_dir: Some(PathBuf::from(state_dir)),
        classes: classes.iter().map(|text| class(text)).collect(),
        executable: None,
        ephemeral: false,
        console: true,
        ready_fd: None,
        machine: None,
        service_manager: None,
    });
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Attaches to a running router as an operator, and says what came of it.
fn knock(control_socket: &Path) -> ExitCode {
    match Link::attach(control_socket, None, "visitor".parse().expect("a name")) {
        Ok(_) => println!("let in"),
        Err(error) => println!("{error}"),
    }
    ExitCode::SUCCESS
}

/// `NAME OPTION... : role ROLE ARGS...`, `NAME OPTION... : sh SCRIPT`, or `... : run PATH`. Options: `per-vr`, `needs=A`, `manage`,
/// `says-ready`, `start-timeout=MS`, `stop-timeout=MS`. Panics on anything else: it is given by a test.
fn class(text: &str) -> ClassSpec {
    let (head, program) = text.split_once(" : ").expect("a class has a program");
    let mut options = head.split(' ');
    let name = options.next().expect("a class has a name").parse().expect("it is one");
    let mut spec = match program.split_once(' ').expect("a program has arguments") {
        ("sh", script) => {
            let args = vec!["-c".to_owned(), script.to_owned()];
            ClassSpec::executable(name, Scope::Router, PathBuf::from("/bin/sh"), args)
        }
        ("role", role) => {
            let mut args = role.split(" / ").map(str::to_owned);
            let role = args.next().expect("a role has a name");
            ClassSpec { args: args.collect(), ..ClassSpec::role(name, Scope::Router) }.with_role(role)
        }
        ("run", path) => ClassSpec::executable(name, Scope::Router, PathBuf::from(path), Vec::new()),
        (other, _) => panic!("no program {other}"),
    };
    for option in options {
        let (option, value) = option.split_once('=').unwrap_or((option, ""));
        let milliseconds = || Duration::from_millis(value.parse().expect("milliseconds"));
        match option {
            "per-vr" => spec.scope = Scope::PerVr,
            "needs" => spec.needs.push(value.parse().expect("a class")),
            "manage" => spec.privileges.manage = true,
            "says-ready" => spec.ready_when = ReadyWhen::Said,
            "start-timeout" => spec.start_timeout = milliseconds(),
            "stop-timeout" => spec.stop_timeout = milliseconds(),
            other => panic!("no option {other}"),
        }
    }
    spec
}

/// Gives a class another role than its name.
trait WithRole {
    fn with_role(self, role: String) -> Self;
}

impl WithRole for ClassSpec {
    fn with_role(self, role: String) -> Self {
        Self { program: procmgr::class::Program::Role(role), ..self }
    }
}
