//! The power button, as ACPI and the kernel's input layer report it.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// How the kernel names it.
const NAME: &str = "Power Button";
/// Type of an event that is a key (linux/input-event-codes.h).
const EV_KEY: u16 = 1;
/// The key.
const KEY_POWER: u16 = 116;
/// Its value when it goes down.
const PRESSED: i32 = 1;
/// Size of an event, and where its type stands: behind the time (linux/input.h).
const EVENT_BYTES: usize = size_of::<libc::input_event>();
const TIME_BYTES: usize = size_of::<libc::timeval>();

/// All buttons that switch the machine off.
#[derive(Debug, Default)]
pub struct Buttons(Vec<File>);

impl Buttons {
    /// Those that the machine has.
    pub fn find() -> Self {
        let devices = fs::read_dir("/sys/class/input").into_iter().flatten().flatten();
        let power = devices.filter(|device| {
            fs::read_to_string(device.path().join("device/name")).is_ok_and(|name| name.trim() == NAME)
        });
        let open = |name: std::ffi::OsString| {
            let path = Path::new("/dev/input").join(name);
            OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).ok()
        };
        Self(power.filter_map(|device| open(device.file_name())).collect())
    }

    /// For the event loop.
    pub(crate) fn raw_fds(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(AsRawFd::as_raw_fd)
    }

    /// Takes all events; whether one was pressed.
    pub(crate) fn pressed(&mut self) -> bool {
        let mut pressed = false;
        let mut events = [0; 16 * EVENT_BYTES];
        for button in &mut self.0 {
            // `WouldBlock`: that was all. Any other error is a button that is gone.
            while let Ok(length @ 1..) = button.read(&mut events) {
                pressed |= events[..length].chunks_exact(EVENT_BYTES).any(is_press);
            }
        }
        pressed
    }
}

fn is_press(event: &[u8]) -> bool {
    let Some([t0, t1, c0, c1, value @ ..]) = event.get(TIME_BYTES..) else { return false };
    let (kind, code) = (u16::from_ne_bytes([*t0, *t1]), u16::from_ne_bytes([*c0, *c1]));
    kind == EV_KEY && code == KEY_POWER && value == PRESSED.to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let time = [7; TIME_BYTES];
        [&time[..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    #[test]
    fn only_the_power_key_going_down_counts() {
        let pressed = |events: &[Vec<u8>]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&events.concat()).unwrap();
            file.rewind().unwrap();
            Buttons(vec![file]).pressed()
        };
        assert!(pressed(&[event(0, 0, 0), event(EV_KEY, KEY_POWER, 1)]));
        assert!(!pressed(&[event(EV_KEY, KEY_POWER, 0)]), "it goes up");
        assert!(!pressed(&[event(EV_KEY, 30, 1)]), "another key");
        assert!(!pressed(&[event(EV_KEY, KEY_POWER, 1)[..20].to_vec()]), "half an event");
    }
}
