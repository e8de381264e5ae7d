//! Programs that do not know Isthmus, in a VR: `isthmus run --preload`.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use crate::namespace::find;
use crate::support::{Router, executable, stderr};

/// Makes the library, beside the executable: cargo builds no other package's for a test.
pub fn build_library() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "-p", "isthmus-preload"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if executable().parent().is_some_and(|folder| folder.ends_with("release")) {
            cargo.arg("--release");
        }
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    });
}

/// Whether the library and these programs are there; else says which test does not run.
pub fn has(test: &str, programs: &[&str]) -> bool {
    build_library();
    match programs.iter().find(|program| find(program).is_none()) {
        Some(missing) => {
            // Not `eprintln`: the test harness swallows what a passing test prints with it.
            let mut terminal = std::io::stderr();
            writeln!(terminal, "SKIPPED {test}: {missing} is not installed").unwrap();
            false
        }
        None => true,
    }
}

/// A program in a VR.
pub fn program<S: AsRef<OsStr>>(router: &Router, vr: &str, line: &[S]) -> Command {
    let mut command = router.command(["run", "--name", router.name(), "--vr", vr, "--preload", "--"]);
    command.args(line);
    command
}

/// A program that serves until it is dropped.
#[derive(Debug)]
pub struct Server(pub Child);

impl Server {
    /// Starts it; what it says can be read from its standard output.
    pub fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
