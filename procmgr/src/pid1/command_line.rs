//! The kernel's command line: words `isthmus.NAME` and `isthmus.NAME=VALUE` are for the router.

use std::fs;

const PREFIX: &str = "isthmus.";

/// What was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<(String, Option<String>)>,
}

impl CommandLine {
    pub(super) fn of_kernel() -> Self {
        Self::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let words = text.split_whitespace().filter_map(|word| word.strip_prefix(PREFIX));
        let words = words.map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        });
        Self { words: words.collect() }
    }

    /// Whether `isthmus.NAME` stands there.
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|(word, _)| word == name)
    }

    /// The value of `isthmus.NAME=VALUE`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.words.iter().find(|(word, _)| word == name)?.1.as_deref()
    }

    /// Words of the router that are none of `known`: an operator mistyped.
    pub fn unknown(&self, known: &[&str]) -> Vec<String> {
        let unknown = self.words.iter().filter(|(word, _)| !known.contains(&word.as_str()));
        unknown.map(|(word, _)| format!("{PREFIX}{word}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routers_words_are_found_among_the_kernels() {
        let line = CommandLine::parse("console=ttyS0 isthmus.rescue quiet isthmus.what=7 -- x\n");
        assert!(line.has("rescue") && line.has("what") && !line.has("quiet"));
        assert_eq!((line.value("what"), line.value("rescue")), (Some("7"), None));
        assert_eq!(line.unknown(&["rescue"]), ["isthmus.what"]);
    }
}
