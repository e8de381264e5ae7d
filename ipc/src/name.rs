//! Names that people give to things: virtual routers, interfaces, services.
//!
//! They are bounded, so that a message that carries one is bounded too, and they contain nothing that would need
//! quoting in a pathname, a file name or a shell. A copy of one is cheap: every datagram bears its interface's.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name in bytes: IOS-XR accepts interface and VRF names of this size.
pub const MAX_NAME: usize = 32;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is missing")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("name {0:?} has {1} bytes, at most {MAX_NAME} are accepted")]
    TooLong(String, usize),
    /// A character outside letters, digits, `-`, `_`, `.`, and for interfaces `/`.
    #[error("name {0:?} contains {1:?}; letters, digits, '-', '_' and '.' are accepted")]
    BadCharacter(String, char),
    /// A service must start with a letter, so that it is not taken for a PID.
    #[error("name {0:?} must start with a letter")]
    BadStart(String),
}

fn check(text: &str, extra: &[char]) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong(text.to_owned(), text.len()));
    }
    let accepted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') || extra.contains(&c);
    if let Some(bad) = text.chars().find(|c| !accepted(*c)) {
        return Err(NameError::BadCharacter(text.to_owned(), bad));
    }
    if !first.is_ascii_alphabetic() {
        return Err(NameError::BadStart(text.to_owned()));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and keeps a name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, $extra)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// What an administrator calls a virtual router: `red`.
    VrName,
    &[]
);
name!(
    /// An interface of a VR in its canonical spelling: `Port0/0/1`, `Loopback0`, or the name of the VR at the other
    /// end of an inter-VR interface: `blue`.
    InterfaceName,
    &['/']
);
name!(
    /// A service of a VR or of the router, the last part of `/0/stack`; also the name of the process class behind it.
    ServiceName,
    &[]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_would_need_quoting() {
        assert_eq!(VrName::new(""), Err(NameError::Empty));
        assert!(matches!(VrName::new("a b"), Err(NameError::BadCharacter(_, ' '))));
        assert!(matches!(VrName::new("7up"), Err(NameError::BadStart(_))));
        assert!(matches!(VrName::new(&"x".repeat(33)), Err(NameError::TooLong(_, 33))));
        assert_eq!(InterfaceName::new("Port0/0/1").unwrap().as_str(), "Port0/0/1");
        assert!(ServiceName::new("a/b").is_err());
    }
}
