//! The demo: two virtual routers joined on this machine, and a shell to look at them.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::launch::{Launch, Waiting};
use crate::paths::Places;
use crate::{classes, shell};

/// Stands for the demo's configuration where the file of one is expected.
pub const CONFIG: &str = "demo:two-vrs";

const TEXT: &str = include_str!("../../examples/two-vrs.conf");

const HINT: &str = "
Two virtual routers, red and blue, each with its own rib and bgp. Try:
  show processes           who runs
  show bgp summary         the session between red and blue, as soon as it is Established
  show route vr red        routes of red, those of blue among them
  ping vr red 192.0.2.2    from red to an address that it learned from blue
  show stack counters      what that cost: the ping's packets, and none for the session
  show inter-vr            what went from one process to the other without the stack
  help                     everything else";

/// Writes the demo's configuration into the router's runtime folder, which vanishes with the router.
pub fn write_config(runtime: &Path) -> Result<PathBuf> {
    let path = runtime.join("two-vrs.conf");
    std::fs::write(&path, TEXT).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}

/// Runs the demo: on a terminal until the shell ends, else until a signal.
pub fn run(places: Places) -> Result<ExitCode> {
    let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut signals = Signals::block()?;
    let (mut child, waiting) = Launch::ephemeral(places.clone(), CONFIG.to_owned()).child()?;
    if !await_up(&mut signals, &child, waiting)? {
        // Asked to stop before it was up.
        return end(&mut child);
    }
    println!("{HINT}");
    if !on_terminal {
        println!("\nStop with Ctrl-C; meanwhile `isthmus sh` in another terminal is its shell.");
        return run_until_signal(&mut signals, &mut child, &places);
    }
    println!("  exit                     ends the demo; nothing of it stays\n");
    signals.leave_to_shell()?;
    let shell = vr::shell::interactive(&classes::shell_options(&places, false)?, "demo");
    stop(&child);
    let code = end(&mut child)?;
    match shell {
        Ok(()) => Ok(code),
        Err(error) => Ok(shell::report(&places, &error)),
    }
}

/// Waits until the router is up. `false`: a signal came first, and was passed on.
fn await_up(signals: &mut Signals, child: &Child, waiting: Waiting) -> Result<bool> {
    loop {
        let mut sources =
            [PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN), PollFd::new(waiting.as_fd(), PollFlags::POLLIN)];
        poll(&mut sources, PollTimeout::NONE).context("wait for the router")?;
        let [signal, news] = sources.map(|source| source.any().unwrap_or(false));
        if news {
            return waiting.wait().map(|()| true);
        }
        if signal && signals.read()?.stop {
            stop(child);
            return Ok(false);
        }
    }
}

fn run_until_signal(signals: &mut Signals, child: &mut Child, places: &Places) -> Result<ExitCode> {
    loop {
        let mut source = [PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut source, PollTimeout::NONE).context("wait for a signal")?;
        let said = signals.read()?;
        if said.stop {
            stop(child);
        }
        if said.child
            && let Some(status) = child.try_wait().context("wait for procmgr")?
        {
            return match status.success() {
                true => Ok(ExitCode::SUCCESS),
                false => bail!("procmgr of router {} ended: {status}", places.name),
            };
        }
    }
}

/// Asks procmgr to stop in order. It was not reaped, so the number is still its own.
fn stop(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id())
        && let Err(error) = signal::kill(Pid::from_raw(pid), Signal::SIGTERM)
    {
        eprintln!("isthmus: stop procmgr: {error}");
    }
}

fn end(child: &mut Child) -> Result<ExitCode> {
    let status = child.wait().context("wait for procmgr")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The signals that end the demo, and the one that says that procmgr has ended.
struct Signals {
    mask: SigSet,
    fd: SignalFd,
}

/// What signals said.
#[derive(Default)]
struct Said {
    stop: bool,
    child: bool,
}

impl Signals {
    fn block() -> Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
            mask.add(signal);
        }
        mask.thread_block().context("block signals")?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")?;
        Ok(Self { mask, fd })
    }

    fn read(&mut self) -> Result<Said> {
        let mut said = Said::default();
        while let Some(info) = self.fd.read_signal().context("signalfd")? {
            let child = i32::try_from(info.ssi_signo) == Ok(Signal::SIGCHLD as i32);
            said.child |= child;
            said.stop |= !child;
        }
        Ok(said)
    }

    /// While the shell has the terminal, Ctrl-C is an empty line; any other signal ends this process at once, and the
    /// kernel then asks procmgr to stop in order.
    fn leave_to_shell(&mut self) -> Result<()> {
        let mut rest = self.mask;
        rest.remove(Signal::SIGINT);
        rest.thread_unblock().context("unblock signals")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_demo_is_a_valid_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = super::write_config(folder.path()).unwrap();
        let summary = crate::check::check_file(&path).unwrap();
        assert_eq!(summary, "2 VRs (red: rib, bgp; blue: rib, bgp), 1 connection, no ports");
    }
}
