//! A virtual machine that is measured from outside: over its serial line, and by QEMU's monitor.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use qemu::machine::{Machine, QEMU, QEMU_PACKAGE};
use serde_json::{Value, json};

use super::{PATIENCE, neighbor};

/// The device by which a guest says how much memory it has in use.
const BALLOON: &str = "virtio-balloon-pci,id=balloon";
const BALLOON_PATH: &str = "/machine/peripheral/balloon";
/// Between two looks at the guest's answer: QEMU has no event for it.
const PAUSE: Duration = Duration::from_millis(50);

/// The first line of the first process.
pub struct FirstProcess {
    /// When it came.
    pub seen: Instant,
    /// How long the kernel had run, by its own clock, which the line says.
    pub since_kernel_start: Duration,
}

/// A running machine; killed when dropped.
pub struct Vm {
    child: Child,
    /// Kept open: at its end QEMU would still run, but a shell in it would end.
    _keyboard: Option<ChildStdin>,
    arrivals: Receiver<(Instant, Vec<u8>)>,
    /// What came, and when, by the length of the text so far.
    text: String,
    times: Vec<(usize, Instant)>,
    monitor: PathBuf,
}

impl Vm {
    /// Starts the image in `image`, on the cable and with the files in `folder`.
    pub fn start(image: &Path, folder: &Path, memory_mib: u32) -> Result<Self> {
        let monitor = folder.join("monitor.sock");
        let machine = Machine {
            image: image.to_owned(),
            disk: None,
            plugs: vec![neighbor::cable(folder)],
            memory_mib,
            management: None,
            accelerator: "tcg".to_owned(),
            append: Vec::new(),
            more: ["-device", BALLOON, "-qmp", &format!("unix:{},server,nowait", monitor.display())]
                .map(Into::into)
                .to_vec(),
        };
        let mut command = machine.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("{QEMU}, which is in the Debian package {QEMU_PACKAGE}"))?;
        let (keyboard, screen) = (child.stdin.take(), child.stdout.take().context("no serial line")?);
        let arrivals = read_in_a_thread(screen);
        Ok(Self { child, _keyboard: keyboard, arrivals, text: String::new(), times: Vec::new(), monitor })
    }

    /// Waits for the first line of the first process: `[seconds] ...`.
    pub fn first_process(&mut self) -> Result<FirstProcess> {
        let seen = self.await_text("\n")?;
        let line = self.text.lines().next().unwrap_or_default();
        let since_kernel_start = seconds_of(line).with_context(|| format!("no time in the first line: {line:?}"))?;
        Ok(FirstProcess { seen, since_kernel_start })
    }

    /// Waits until a text has come; when it did.
    pub fn await_text(&mut self, wanted: &str) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(wanted) {
                let end = at + wanted.len();
                let came = self.times.iter().find(|(length, _)| *length >= end);
                return Ok(came.context("a text that came at no time")?.1);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no {wanted:?} within {} s:\n{}", PATIENCE.as_secs(), self.text);
            }
            self.await_more(left)?;
        }
    }

    /// What stands on its console.
    pub fn console(&mut self) -> String {
        while let Ok((when, bytes)) = self.arrivals.try_recv() {
            self.take(when, &bytes);
        }
        format!("the console:\n{}", self.text)
    }

    fn take(&mut self, when: Instant, bytes: &[u8]) {
        self.text.push_str(&String::from_utf8_lossy(bytes));
        self.times.push((self.text.len(), when));
    }

    /// Bytes of memory that the guest's kernel could not give to anybody: what it has, without what is available.
    ///
    /// The first that it told stems from the moment when its driver was loaded, before anything ran, and is not taken.
    pub fn memory_in_use(&mut self) -> Result<u64> {
        let mut monitor = Monitor::connect(&self.monitor).context("QEMU's monitor")?;
        let stats = json!({ "path": BALLOON_PATH, "property": "guest-stats" });
        let first = update(&monitor.execute("qom-get", &stats)?);
        let interval = json!({ "path": BALLOON_PATH, "property": "guest-stats-polling-interval", "value": 1 });
        monitor.execute("qom-set", &interval)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let answer = monitor.execute("qom-get", &stats)?;
            if update(&answer) != first
                && let Some(bytes) = in_use(&answer)
            {
                return Ok(bytes);
            }
            self.await_more(PAUSE)?;
        }
        bail!("the guest does not say how much memory it has in use")
    }

    /// Waits for something to come, for so long at most.
    fn await_more(&mut self, patience: Duration) -> Result<()> {
        match self.arrivals.recv_timeout(patience) {
            Ok((when, bytes)) => self.take(when, &bytes),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("QEMU ended:\n{}", self.text),
        }
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_in_a_thread(mut screen: ChildStdout) -> Receiver<(Instant, Vec<u8>)> {
    let (sender, arrivals) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = screen.read(&mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            if sender.send((Instant::now(), bytes)).is_err() {
                return;
            }
        }
    });
    arrivals
}

/// Of a line that begins with `[seconds]`.
fn seconds_of(line: &str) -> Option<Duration> {
    let (seconds, _) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()
}

/// When the guest told what is known of it, in seconds; 0: never.
fn update(stats: &Value) -> Option<u64> {
    stats.get("last-update")?.as_u64()
}

/// `None`: the guest does not say.
fn in_use(stats: &Value) -> Option<u64> {
    let value = |key: &str| stats.get("stats")?.get(key)?.as_u64();
    value("stat-total-memory")?.checked_sub(value("stat-available-memory")?)
}

/// QEMU's monitor: a JSON document a line, events between the answers.
struct Monitor {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(path: &Path) -> Result<Self> {
        let to = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        let from = BufReader::new(to.try_clone()?);
        let mut monitor = Self { to, from };
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        writeln!(self.to, "{}", json!({ "execute": command, "arguments": arguments })).context(command.to_owned())?;
        let mut line = String::new();
        while self.from.read_line(&mut line)? > 0 {
            let mut answer: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            line.clear();
        }
        bail!("{command}: QEMU ended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_how_long_the_kernel_ran() {
        assert_eq!(seconds_of("[   1.619] isthmus 0.1.0\r"), Some(Duration::from_millis(1619)));
        assert_eq!(seconds_of("[1.58] init"), Some(Duration::from_millis(1580)));
        assert_eq!(seconds_of("isthmus"), None);
        assert_eq!(seconds_of("[-1] x"), None);
    }

    #[test]
    fn memory_in_use_is_what_there_is_without_what_is_available() {
        let stats = |update: u64, available: u64| json!({ "last-update": update, "stats": { "stat-total-memory": 100, "stat-available-memory": available } });
        assert_eq!((update(&stats(7, 60)), in_use(&stats(7, 60))), (Some(7), Some(40)));
        assert_eq!(in_use(&stats(7, u64::MAX)), None, "the guest does not say");
    }
}
