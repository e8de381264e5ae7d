//! What a service manager is told that started the router (sd_notify(3)): that it is up, that procmgr's loop still turns,
//! and that it stops.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Where a service manager says how it is reached. procmgr's children do not inherit it.
const ENV: &str = "NOTIFY_SOCKET";
/// Within how many microseconds it wants to hear that a process lives, and which process (sd_watchdog_enabled(3)).
const WATCHDOG_ENV: &str = "WATCHDOG_USEC";
const WATCHDOG_PID_ENV: &str = "WATCHDOG_PID";

/// A service manager that wants to know.
#[derive(Debug)]
pub struct ServiceManager {
    address: SocketAddr,
    /// After how long without a word it takes this process for dead.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names; `None`: nobody wants to know.
    pub fn of_environment() -> io::Result<Option<Self>> {
        let name = env::var_os(ENV).filter(|name| !name.is_empty());
        let number = |variable: &str| env::var(variable).ok()?.parse::<u64>().ok();
        let watchdog = watchdog(number(WATCHDOG_ENV), number(WATCHDOG_PID_ENV), std::process::id());
        name.map(|name| Self::at(&name, watchdog)).transpose()
    }

    /// A path, or with `@` in front an abstract name.
    fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        Ok(Self { address, watchdog })
    }

    /// The router is up.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It stops in order, which takes a moment.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// How often it is to be told that procmgr's loop turns: twice in the time that it waits. `None`: it does not wait.
    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    /// procmgr's loop turns.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, text: &str) {
        let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(text.as_bytes(), &self.address));
        if let Err(error) = sent {
            log::warn!("{ENV}: the service manager is not told: {error}");
        }
    }
}

/// What `WATCHDOG_USEC` asks of the process `own`, if it is the one that `WATCHDOG_PID` names.
fn watchdog(microseconds: Option<u64>, pid: Option<u64>, own: u32) -> Option<Duration> {
    let is_asked = pid.is_none_or(|pid| pid == u64::from(own));
    microseconds.filter(|microseconds| is_asked && *microseconds > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("isthmus-test-{}", std::process::id());
        let sockets = [
            (path.as_os_str().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}").into(), {
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
            }),
        ];
        for (name, socket) in sockets {
            let manager = ServiceManager::at(&name, None).unwrap();
            manager.ready("2 processes");
            let mut buffer = [0; 100];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=2 processes");
        }
        assert!(ServiceManager::at(OsStr::new(&"x".repeat(200)), None).is_err());
    }
    #[test]
    fn only_the_process_that_is_named_is_watched() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some(1_000_000), None, 7), second);
        assert_eq!(watchdog(Some(1_000_000), Some(7), 7), second);
        assert_eq!(watchdog(Some(1_000_000), Some(8), 7), None);
        assert_eq!(watchdog(Some(0), None, 7), None);
        assert_eq!(watchdog(None, Some(7), 7), None);
    }
}
