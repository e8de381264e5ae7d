//! What a service manager is told that started the router (sd_notify(3)): that it is up, and that it stops.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where a service manager says how it is reached. procmgr's children do not inherit it.
const ENV: &str = "NOTIFY_SOCKET";

/// A service manager that wants to know.
#[derive(Debug)]
pub struct ServiceManager {
    address: SocketAddr,
}

impl ServiceManager {
    /// The one that the environment names; `None`: nobody wants to know.
    pub fn of_environment() -> io::Result<Option<Self>> {
        let name = env::var_os(ENV).filter(|name| !name.is_empty());
        name.map(|name| Self::at(&name)).transpose()
    }

    /// A path, or with `@` in front an abstract name.
    fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        Ok(Self { address })
    }

    /// The router is up.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It stops in order, which takes a moment.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, text: &str) {
        let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(text.as_bytes(), &self.address));
        if let Err(error) = sent {
            log::warn!("{ENV}: the service manager is not told: {error}");
        }
    }
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
            let manager = ServiceManager::at(&name).unwrap();
            manager.ready("2 processes");
            let mut buffer = [0; 100];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=2 processes");
        }
        assert!(ServiceManager::at(OsStr::new(&"x".repeat(200))).is_err());
    }
}
