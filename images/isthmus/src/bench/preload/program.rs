//! The programs that are measured: servers that are waited for and end with their round, clients that end by themselves.

use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a server may take until it says that it serves.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take, in seconds: redis-benchmark, for one, now and then turns for ever, on the kernel's sockets too.
const CLIENT_SECONDS: &str = "20";
/// timeout(1) says so that the time was over.
const TIME_IS_OVER: i32 = 124;

/// A program that serves. Dropped, it is dead, with all that it has started.
pub struct Server {
    child: Child,
    /// What it says. The end of it is that of the last process that it has started.
    lines: Receiver<String>,
}

impl Server {
    /// Starts it, and waits until a line of its output contains `ready`.
    pub fn start(words: &[String], ready: &str) -> Result<Self> {
        let shown = words.join(" ");
        let (output, input) = std::io::pipe().context("a pipe")?;
        let child = {
            // Should this process be killed, so is the server. (The command is dropped here, and its end of the pipe with it.)
            let mut command = command(&["setpriv", "--pdeathsig", "KILL", "--"], words)?;
            command.process_group(0).stdout(input.try_clone()?).stderr(input);
            command.spawn().with_context(|| shown.clone())?
        };
        let server = Self { child, lines: read_lines(output) };
        let until = Instant::now() + PATIENCE;
        let mut said = "nothing".to_owned();
        loop {
            match server.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(ready) => return Ok(server),
                Ok(line) => said = line,
                Err(RecvTimeoutError::Timeout) => bail!("{shown}: does not serve after {PATIENCE:?}; it says: {said}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{shown}: ended before it served; it said: {said}"),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It was not reaped, so the number is still its own. One that has served its only client may have ended already.
        let Ok(group) = i32::try_from(self.child.id()) else { return };
        let killed = killpg(Pid::from_raw(group), Signal::SIGKILL).map_err(Into::into).and_then(|()| self.child.wait());
        if let Err(error) = killed {
            eprintln!("isthmus: end a server: {error}");
        }
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
    }
}

/// The lines of a server, until it ends: read for as long as it writes, so that it is never kept waiting.
fn read_lines(output: PipeReader) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Whoever waits for its end takes them.
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Runs a client to its end; what it printed.
pub fn client(words: &[String]) -> Result<String> {
    let shown = words.join(" ");
    let output = command(&["timeout", "-k", "1", CLIENT_SECONDS], words)?.output().with_context(|| shown.clone())?;
    if output.status.code() == Some(TIME_IS_OVER) {
        bail!("{shown}: has not ended after {CLIENT_SECONDS} s");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let said = error.lines().chain(text.lines()).next_back().unwrap_or("it says nothing");
        bail!("{shown}: {}: {said}", output.status);
    }
    Ok(text)
}

/// A program, under others that run it.
fn command(under: &[&str], words: &[String]) -> Result<Command> {
    let [program, args @ ..] = under else { bail!("no program") };
    let mut command = Command::new(program);
    command.args(args).args(words).stdin(Stdio::null());
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().copied().map(str::to_owned).collect()
    }

    #[test]
    fn a_server_is_waited_for_and_dead_with_its_children_once_it_is_dropped() {
        let server = Server::start(&words(&["sh", "-c", "sleep 1000 & echo serving; wait"]), "serving").unwrap();
        let pid = server.child.id();
        let child = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        // It may have yet to become `sleep`.
        assert!(!state().is_empty(), "it runs");
        drop(server);
        assert!(!state().contains(") S "), "{}", state());
    }

    #[test]
    fn a_server_that_ends_before_it_serves_is_told_of_with_its_last_words() {
        let error = Server::start(&words(&["sh", "-c", "echo port taken >&2"]), "serving").map(drop).unwrap_err();
        assert!(error.to_string().contains("ended before it served; it said: port taken"), "{error}");
    }

    #[test]
    fn a_client_that_fails_says_why() {
        let error = client(&words(&["sh", "-c", "echo refused >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("exit status: 3: refused"), "{error}");
        assert_eq!(client(&words(&["echo", "done"])).unwrap(), "done\n");
    }
}
