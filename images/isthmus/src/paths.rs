//! Where a router's files live.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ipc::VrName;
use ipc::fd::MAX_SOCKET_PATH;

/// The socket that operators and developers attach through.
const CONTROL_SOCKET: &str = "control.sock";

/// The folders of one router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The router's name.
    pub name: String,
    /// Sockets and locks; gone after a reboot.
    pub runtime: PathBuf,
    /// Saved configuration and logs.
    pub state: PathBuf,
}

impl Places {
    /// The folders of router `name`, as the environment says:
    ///
    /// | | first | then | else |
    /// | --- | --- | --- | --- |
    /// | runtime | `$ISTHMUS_DIR` | `$XDG_RUNTIME_DIR/isthmus` | `/run/isthmus`; without root `/tmp/isthmus-UID` |
    /// | state | `$ISTHMUS_DIR` | `$XDG_STATE_HOME/isthmus` | `/var/lib/isthmus`; without root `~/.local/state/isthmus` |
    pub fn of(name: &str) -> Result<Self> {
        // A router's name becomes part of paths: what is good for a VR's is good for it.
        VrName::new(name).with_context(|| format!("router name {name:?}"))?;
        let variable = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
        let user = nix::unistd::geteuid();
        let (runtime, state) = match variable("ISTHMUS_DIR") {
            Some(folder) => (folder.clone(), folder),
            None => {
                let runtime = match variable("XDG_RUNTIME_DIR") {
                    Some(folder) => folder.join("isthmus"),
                    None if user.is_root() => PathBuf::from("/run/isthmus"),
                    None => std::env::temp_dir().join(format!("isthmus-{user}")),
                };
                let state = match (variable("XDG_STATE_HOME"), variable("HOME")) {
                    (Some(folder), _) => folder.join("isthmus"),
                    (None, Some(home)) if !user.is_root() => home.join(".local/state/isthmus"),
                    (None, _) => PathBuf::from("/var/lib/isthmus"),
                };
                (runtime, state)
            }
        };
        let places = Self { name: name.to_owned(), runtime: runtime.join(name), state: state.join(name) };
        let length = places.control_socket().as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let socket = places.control_socket();
            bail!("{} has {length} bytes; a socket's path has at most {MAX_SOCKET_PATH}", socket.display());
        }
        Ok(places)
    }

    /// Where operators attach.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join(CONTROL_SOCKET)
    }

    /// `path` as seen from any folder.
    pub fn absolute(path: &Path) -> Result<PathBuf> {
        path.canonicalize().with_context(|| format!("{}", path.display()))
    }
}
