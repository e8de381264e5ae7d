//! What a process of the router's own executable is to be.
//!
//! Everything travels in the environment, so that `ps` shows the title `isthmus: red/bgp` and nothing else. The
//! executable asks first thing in its `main`:
//!
//! ```
//! match procmgr::role::from_environment() {
//!     Some(role) => println!("to be {} with {:?}", role.name, role.args),
//!     None => println!("started by a person"),
//! }
//! ```

use std::env;

/// Environment variable with the role's name.
pub const ROLE_ENV: &str = "ISTHMUS_ROLE";

/// Environment variable with the role's parameters, each ended by [`SEPARATOR`].
pub const ARGS_ENV: &str = "ISTHMUS_ROLE_ARGS";

/// Ends each parameter in [`ARGS_ENV`]: ASCII's "unit separator", which no parameter may contain.
pub const SEPARATOR: char = '\x1f';

/// What to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// From [`Program::Role`](crate::class::Program).
    pub name: String,
    /// From [`ClassSpec::args`](crate::class::ClassSpec).
    pub args: Vec<String>,
}

/// The role that procmgr started this process for; `None`: it was started by somebody else.
pub fn from_environment() -> Option<Role> {
    let name = env::var(ROLE_ENV).ok()?;
    Some(Role { name, args: split(&env::var(ARGS_ENV).unwrap_or_default()) })
}

/// Parameters in the form of [`ARGS_ENV`].
pub(crate) fn join(args: &[String]) -> String {
    args.iter().flat_map(|arg| [arg.as_str(), "\x1f"]).collect()
}

fn split(text: &str) -> Vec<String> {
    text.split_terminator(SEPARATOR).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_read_back_even_when_empty() {
        for args in [vec![], vec![String::new()], vec!["a b".to_owned(), String::new(), "c".to_owned()]] {
            assert_eq!(split(&join(&args)), args);
        }
    }
}
