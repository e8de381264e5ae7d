//! Which kernel an image gets: `images/kernel.lock`.

use crate::ImageError;

/// The lock that this executable was built with.
pub const BUILT_IN: &str = include_str!("../../kernel.lock");

/// A package of Debian, exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its name; the kernel's version is part of it.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Hash of the file, in hexadecimal.
    pub sha256: String,
}

impl Lock {
    /// Reads a lock: a word and its value a line, and comments.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let value = |word: &'static str| {
            let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
            line.map(|value| value.trim().to_owned()).ok_or(ImageError::Lock(word))
        };
        Ok(Self { package: value("package")?, version: value("version")?, sha256: value("sha256")? })
    }
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = BUILT_IN.lines().take_while(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n");
        write!(f, "{head}\npackage {}\nversion {}\nsha256 {}", self.package, self.version, self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_reads_back_and_what_is_missing_is_named() {
        let lock = Lock::parse(BUILT_IN).unwrap();
        assert_eq!(lock.sha256.len(), 64);
        assert_eq!(Lock::parse(&lock.to_string()).unwrap(), lock);
        let error = Lock::parse("package linux\nsha256 x\n").unwrap_err();
        assert_eq!(error.to_string(), "kernel.lock: the line `version ...` is missing");
    }
}
