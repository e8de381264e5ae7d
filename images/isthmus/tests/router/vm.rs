//! A router in a virtual machine, seen over its serial console as an operator sees it. No test waits for time to pass:
//! each waits for a text, or for the machine's end.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use crate::namespace::find;
use crate::support::stderr;

/// How long a text may take to appear. Only a broken machine needs it: a boot without hardware virtualisation takes
/// some seconds, and more on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether a test that boots a machine can run here. `check` counts the lines that say why not.
pub fn can_boot(test: &str) -> bool {
    let reason = if find("qemu-system-x86_64").is_none() {
        "qemu-system-x86_64 is not installed"
    } else if !geteuid().is_root() && !has_kernel() {
        "no kernel: root fetches one with apt"
    } else {
        return true;
    };
    // Not `eprintln`: the test harness swallows what a passing test prints with it.
    let mut terminal = std::io::stderr();
    writeln!(terminal, "SKIPPED {test}: {reason}").unwrap();
    false
}

/// Packages stay over runs.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

fn has_kernel() -> bool {
    fs::read_dir(cache().join("isthmus")).is_ok_and(|files| files.count() > 0)
}

/// `isthmus image` with arguments.
pub fn image_command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    command.arg("image").args(args).env("XDG_CACHE_HOME", cache()).stdin(Stdio::null());
    command.output().unwrap()
}

/// Builds an image with the locked kernel. Where apt offers that one no longer, with the one that it does: what these
/// tests show does not depend on a version of the kernel.
pub fn build(folder: &Path, more: &[&str]) {
    let folder = folder.to_str().unwrap();
    let mut args = vec!["qemu", "-o", folder];
    args.extend(more);
    let output = image_command(&args);
    if output.status.success() {
        return;
    }
    assert!(stderr(&output).contains("isthmus image lock"), "{}", stderr(&output));
    let lock = image_command(["lock"]);
    assert!(lock.status.success(), "{}", stderr(&lock));
    let lock = String::from_utf8(lock.stdout).unwrap();
    let value = |word: &str| lock.lines().find_map(|line| line.strip_prefix(word)).unwrap().trim().to_owned();
    let package = cache().join("isthmus").join(format!("{}_{}.deb", value("package"), value("sha256")));
    args.extend(["--kernel", package.to_str().unwrap()]);
    let output = image_command(&args);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// The image of the demo, built once for all tests of this process.
pub fn demo_image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
        build(&folder, &[]);
        folder
    })
}

/// A disk in a folder; what `isthmus image disk` said.
pub fn make_disk(folder: &Path, more: &[&str]) -> PathBuf {
    let disk = folder.join("disk.img");
    let mut args = vec!["disk", "--force", "-o", disk.to_str().unwrap()];
    args.extend(more);
    let output = image_command(args);
    assert!(output.status.success(), "{}", stderr(&output));
    disk
}

/// What came over the serial line so far, without the sequences of a terminal.
#[derive(Debug, Default)]
struct Seen {
    text: String,
    ended: bool,
}

/// A running machine; killed when it is dropped.
pub struct Vm {
    child: Child,
    keyboard: ChildStdin,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    /// How much of it was looked at.
    read: usize,
    folder: tempfile::TempDir,
}

impl Vm {
    /// Starts a machine with the image and arguments of `isthmus image run`.
    pub fn start<S: AsRef<OsStr>>(image: &Path, args: impl IntoIterator<Item = S>) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_isthmus")), image, args)
    }

    /// The same by a command that runs `isthmus` elsewhere.
    pub fn spawn<S: AsRef<OsStr>>(mut command: Command, image: &Path, args: impl IntoIterator<Item = S>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = format!("unix:{},server,nowait", folder.path().join("qmp").display());
        command.args(["image", "run"]).arg(image).args(args).args(["--", "-qmp", &control]);
        Self::of_command(command, folder)
    }

    /// The same by the line for a shell that `image run --print` prints, changed by hand.
    pub fn by_hand(image: &Path, change: impl FnOnce(&str) -> String) -> Self {
        let output = image_command(["run".as_ref(), image.as_os_str(), "--print".as_ref()]);
        let line = String::from_utf8(output.stdout).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {}", change(&line))]);
        Self::of_command(command, tempfile::tempdir().unwrap())
    }

    fn of_command(mut command: Command, folder: tempfile::TempDir) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let writer = Arc::clone(&seen);
        std::thread::spawn(move || {
            let (mut buffer, mut terminal) = ([0; 4096], Terminal::default());
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                let text = terminal.plain(&buffer[..length]);
                writer.0.lock().unwrap().text.push_str(&text);
                writer.1.notify_all();
            }
            writer.0.lock().unwrap().ended = true;
            writer.1.notify_all();
        });
        Self { child, keyboard, seen, read: 0, folder }
    }

    /// Waits until a text appears that was not there before; all that came until then. Panics with what is on the console
    /// if it never does.
    pub fn expect(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap();
        loop {
            if let Some(at) = seen.text[self.read..].find(wanted) {
                let end = self.read + at + wanted.len();
                let text = seen.text[self.read..end].to_owned();
                self.read = end;
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                let text = seen.text.clone();
                // Not while the lock is held, which the reader takes too.
                drop(seen);
                panic!("{wanted:?} did not come; the console:\n{text}");
            }
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Waits for a prompt: the router is up.
    pub fn expect_prompt(&mut self, host: &str) -> String {
        self.expect(&format!("{host}# "))
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.type_keys(&format!("{line}\r"));
    }

    /// Types keys.
    pub fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a command; what it printed.
    pub fn command(&mut self, host: &str, line: &str) -> String {
        self.type_line(line);
        // The end of the echo, then what is printed, then the next prompt.
        self.expect("\n");
        self.expect_prompt(host)
    }

    /// Repeats a command until what it prints is as wanted.
    pub fn command_until(&mut self, host: &str, line: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.command(host, line);
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{line}: never as wanted, last:\n{text}");
        }
    }

    /// All that came over the console.
    pub fn console(&self) -> String {
        self.seen.0.lock().unwrap().text.clone()
    }

    /// Waits for the machine's end: it went off.
    pub fn wait_off(mut self) -> (ExitStatus, String) {
        let mut seen = self.seen.0.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !seen.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it does not go off; the console:\n{}", seen.text);
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
        let text = seen.text.clone();
        drop(seen);
        (self.child.wait().unwrap(), text)
    }

    /// Cuts the power at a moment between now and the appearance of a text, which no event tells.
    pub fn kill_between(self, delay: Duration, text: &str) {
        let seen = self.seen.0.lock().unwrap();
        let not_yet = |seen: &mut Seen| !seen.ended && !seen.text[self.read..].contains(text);
        drop(self.seen.1.wait_timeout_while(seen, delay, not_yet).unwrap());
        self.kill();
    }

    /// Cuts the power.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Presses the power button.
    pub fn press_power(&self) {
        let mut monitor = UnixStream::connect(self.folder.path().join("qmp")).unwrap();
        let mut answers = BufReader::new(monitor.try_clone().unwrap()).lines();
        for command in ["qmp_capabilities", "system_powerdown"] {
            writeln!(monitor, r#"{{"execute":"{command}"}}"#).unwrap();
            let done = |line: &std::io::Result<String>| line.as_ref().unwrap().contains(r#""return""#);
            assert!(answers.any(|line| done(&line)), "{command}");
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes the sequences of a terminal out of a stream of bytes.
#[derive(Debug, Default)]
enum Terminal {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// Inside `ESC [ ... letter`.
    Sequence,
}

impl Terminal {
    fn plain(&mut self, bytes: &[u8]) -> String {
        let mut text = Vec::new();
        for byte in bytes {
            *self = match (&self, byte) {
                (Self::Text, 0x1b) => Self::Escape,
                (Self::Text, b'\r') => Self::Text,
                (Self::Text, byte) => {
                    text.push(*byte);
                    Self::Text
                }
                (Self::Escape, b'[') => Self::Sequence,
                (Self::Escape, _) => Self::Text,
                (Self::Sequence, b'@'..=b'~') => Self::Text,
                (Self::Sequence, _) => Self::Sequence,
            };
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
