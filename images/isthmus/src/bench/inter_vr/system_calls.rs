//! Counting another process's system calls: it is stopped at each of them, by ptrace(2), which any user may do to its
//! own children. That slows each call by some microseconds, so the count is taken in a run of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Counts the system calls of a child of one thread, until it is told to stop.
#[derive(Debug)]
pub struct Counter {
    stop: Arc<AtomicBool>,
    counting: JoinHandle<Result<u64>>,
}

impl Counter {
    /// Begins. Returns once every further system call of the process is counted.
    pub fn start(process: Pid) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (attached, is_attached) = channel();
        let told = stop.clone();
        // Of all threads only the one that attached may say how the process goes on.
        let counting = thread::spawn(move || count(process, &attached, &told));
        if is_attached.recv().is_err() {
            let failed = counting.join().map_err(|_| anyhow!("a thread that counts panicked"))?;
            bail!("count the system calls of process {process}: {:#}", failed.err().context("it ended at once")?);
        }
        Ok(Self { stop, counting })
    }

    /// From now on nothing is counted; but the process must make one more system call before [`count`](Self::count)
    /// returns.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// How many there were.
    pub fn count(self) -> Result<u64> {
        self.counting.join().map_err(|_| anyhow!("a thread that counts panicked"))?
    }
}

fn count(process: Pid, attached: &Sender<()>, stop: &AtomicBool) -> Result<u64> {
    ptrace::seize(process, ptrace::Options::PTRACE_O_TRACESYSGOOD).context("ptrace")?;
    ptrace::interrupt(process).context("stop it")?;
    let mut announced = false;
    // Each call stops the process twice: before it and behind it.
    let mut stops = 0_u64;
    loop {
        let status = waitpid(process, Some(WaitPidFlag::__WALL)).context("wait for it")?;
        if stop.load(Ordering::Acquire) {
            ptrace::detach(process, None).context("let it go")?;
            return Ok(stops / 2);
        }
        let signal = match status {
            WaitStatus::PtraceSyscall(_) => {
                stops += 1;
                None
            }
            WaitStatus::PtraceEvent(..) => None,
            WaitStatus::Stopped(_, signal) => Some(signal),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => bail!("process {process} ended: {status:?}"),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => continue,
        };
        ptrace::syscall(process, signal).context("let it go on")?;
        if !std::mem::replace(&mut announced, true) {
            // Nobody waits any longer if this fails.
            attached.send(()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn each_system_call_is_counted() {
        // Copies byte by byte: a read and a write each.
        let mut child = Command::new("dd")
            .args(["bs=1", "count=502", "status=none"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        // Once the first byte is through, its start is behind it, which takes calls too.
        input.write_all(&[0]).unwrap();
        output.read_exact(&mut [0]).unwrap();
        let counter = Counter::start(Pid::from_raw(child.id() as i32)).unwrap();
        input.write_all(&[0; 500]).unwrap();
        output.read_exact(&mut [0; 500]).unwrap();
        counter.stop();
        input.write_all(&[0]).unwrap();
        let count = counter.count().unwrap();
        // The call that it was in may be counted or not, at either end.
        assert!((998..=1002).contains(&count), "{count}");
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        child.wait().unwrap();
        let error = format!("{:#}", Counter::start(pid).unwrap_err());
        assert!(error.contains("ptrace"), "{error}");
    }
}
