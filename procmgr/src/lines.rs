//! Cutting what a process writes into lines.

/// Longest line in bytes; what is longer goes on in a further line.
const MAX_LINE: usize = 2048;

/// The unfinished line of one process.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    unfinished: Vec<u8>,
}

impl LineSplitter {
    /// Takes bytes and gives each line that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(MAX_LINE) {
                if self.unfinished.len() + piece.len() > MAX_LINE {
                    line(printable(&std::mem::take(&mut self.unfinished)));
                }
                self.unfinished.extend_from_slice(piece);
            }
            if let Some(text) = self.unfinished.strip_suffix(b"\n") {
                line(printable(text));
                self.unfinished.clear();
            }
        }
    }

    /// The line that nobody ended, when its writer has gone.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let unfinished = std::mem::take(&mut self.unfinished);
        (!unfinished.is_empty()).then(|| printable(&unfinished))
    }
}

/// A line that does no harm on an operator's terminal.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes));
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut lines) = (LineSplitter::default(), vec![]);
        for piece in pieces {
            splitter.feed(piece, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn lines_come_out_whole_however_they_were_written() {
        assert_eq!(lines(&[b"one\ntw", b"o\n", b"\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(lines(&[b"a\x1b[2Jb\xff\tc\r\n"]), ["a\\u{1b}[2Jb\u{fffd}\tc"]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_long_one() {
        let mut splitter = LineSplitter::default();
        let mut count = 0;
        for _ in 0..100 {
            splitter.feed(&[b'x'; 1000], |line| {
                assert!(line.len() <= MAX_LINE);
                count += 1;
            });
            assert!(splitter.unfinished.len() <= MAX_LINE);
        }
        assert!(count >= 40);
    }

    proptest! {
        #[test]
        fn no_letter_is_lost(text in "[a-z\n]{0,200}", cut in 0usize..200) {
            let bytes = text.as_bytes();
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(lines(&[a, b]), text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }
}
