//! A tree as text, in the one form that all printed configurations have: one space a level, `!` after each block. It
//! reads back as the same tree.

use super::tree::{Block, Line, Tree};
use super::value::{INTER_VR, may_be_interface};

/// The text of a configuration; it ends with a newline unless it is empty.
pub fn print(tree: &Tree<'_>) -> String {
    let mut text = String::new();
    print_block(&tree.top, 0, &mut text);
    text
}

fn print_block(block: &Block<'_>, level: usize, text: &mut String) {
    for line in block.lines() {
        print_words(line, level, text);
        if line.command.block.is_none() {
            continue;
        }
        print_block(&line.inside, level + 1, text);
        for end in line.command.closed_by.as_deref().into_iter().chain(["!"]) {
            start_line(level, end, text);
            text.push('\n');
        }
    }
}

fn print_words(line: &Line<'_>, level: usize, text: &mut String) {
    let mut separator = "";
    start_line(level, separator, text);
    for (kind, word) in line.command.words.iter().zip(&line.words) {
        text.push_str(separator);
        match word.strip_prefix(INTER_VR).filter(|_| may_be_interface(kind)) {
            Some(vr) => text.extend(["inter-vr ", vr]),
            None => text.push_str(word),
        }
        separator = " ";
    }
    text.push('\n');
}

fn start_line(level: usize, word: &str, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', level));
    text.push_str(word);
}
