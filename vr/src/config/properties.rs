//! What holds for every configuration: what is printed reads back as the same, and no text brings the parser down.

use proptest::prelude::*;
use vr_api::command::{Command, ParameterType, Word};

use super::change::change;
use super::merge::merge;
use super::parse::{Kind, parse};
use super::print::print;
use super::testing::{source, words};
use super::tree::Tree;
use super::words::Words;

/// Random choices, drawn before: a text is a function of them, so that proptest can shrink it.
struct Choices(std::vec::IntoIter<u32>);

impl Choices {
    /// A number under `count`; 0 when all choices are used up, so that every text ends.
    fn under(&mut self, count: usize) -> usize {
        self.0.next().map_or(0, |choice| choice as usize % count.max(1))
    }

    fn one_of<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.under(of.len())]
    }
}

/// Lines of a block, indented at random; every block is closed by a mark at its own column.
fn write_block(commands: &[Command], level: usize, choices: &mut Choices, text: &mut String) {
    for _ in 0..choices.under(4) {
        let command = choices.one_of(commands);
        let line: Vec<String> = command.words.iter().map(|word| write_word(word, choices)).collect();
        let indent = " ".repeat(level);
        text.push_str(&format!("{indent}{}\n", line.join(" ")));
        if let Some(inside) = &command.block {
            write_block(inside, level + 1 + choices.under(2), choices, text);
            text.push_str(&format!("{indent}!\n"));
        }
    }
}

fn write_word(word: &Word, choices: &mut Choices) -> String {
    let interfaces = ["loopback0", "Loopback1", "PORT0/0/1", "RED", "blue", "inter-vr red", "inter-vr Loopback0"];
    let parameter = match word {
        Word::Keyword(keyword) => return keyword.to_string(),
        Word::OneOf(keywords) => return choices.one_of(keywords).to_string(),
        Word::Parameter(parameter) => parameter,
    };
    match parameter {
        ParameterType::Number { min, max, .. } => min.saturating_add(choices.under(3) as u64).min(*max).to_string(),
        ParameterType::Ipv4Address => format!("10.0.0.{}", choices.under(3)),
        ParameterType::IpAddress => choices.one_of(&["10.0.0.1", "2001:DB8::1"]).to_string(),
        ParameterType::Ipv4Prefix => format!("10.{}.0.0/16", choices.under(3)),
        ParameterType::Ipv4InterfaceAddress => format!("10.{}.0.1/24", choices.under(3)),
        ParameterType::Ipv6Address => choices.one_of(&["fe80::1", "2001:DB8:0::1"]).to_string(),
        ParameterType::Ipv6Prefix => format!("2001:db8:{}::/48", choices.under(3)),
        ParameterType::Ipv6InterfaceAddress => format!("2001:DB8:{}::1/64", choices.under(3)),
        ParameterType::NextHop => choices.one_of(&["10.0.0.1", "null0", "red", "inter-vr Loopback0"]).to_string(),
        ParameterType::VrName => choices.one_of(&["red", "blue", "Loopback0"]).to_string(),
        ParameterType::InterfaceName => choices.one_of(&interfaces).to_string(),
        ParameterType::LineCard => format!("0/{}", choices.under(2)),
        ParameterType::Port => format!("0/0/{}", choices.under(2)),
        ParameterType::Path => choices.one_of(&["a.sock", "./b", "/tmp/../c.sock"]).to_string(),
        ParameterType::Name(_) => choices.one_of(&["a", "PASS", "inter-vr/x"]).to_string(),
        ParameterType::Choice(values) => choices.one_of(values).to_string(),
        ParameterType::Text(_) => choices.one_of(&["! a  note", "exit", "inter-vr/x end-policy"]).to_string(),
    }
}

/// The tree of a text; a value that is set twice is left out the second time.
fn tree<'w>(text: &str, words: &'w Words) -> Tree<'w> {
    let (statements, errors) = parse(text, words, &source(), Kind::File);
    assert!(errors.is_empty(), "{text}\n{}", errors[0]);
    let mut tree = Tree::default();
    let _contradictions = merge(&mut tree, statements, Kind::File);
    tree
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same(choices in prop::collection::vec(any::<u32>(), 0..200)) {
        let words = words();
        let mut text = "vr red\n!\nvr blue\n!\nvr Loopback0\n!\n".to_owned();
        write_block(words.top(), 0, &mut Choices(choices.into_iter()), &mut text);
        let first = tree(&text, &words);
        let printed = print(&first);
        let (statements, errors) = parse(&printed, &words, &source(), Kind::File);
        prop_assert!(errors.is_empty(), "{}\n{}", printed, errors[0]);
        let mut second = Tree::default();
        let errors = merge(&mut second, statements, Kind::File);
        prop_assert!(errors.is_empty(), "{}\n{}", printed, errors[0]);
        prop_assert_eq!(first.nodes(), second.nodes());
        prop_assert_eq!(print(&second), printed);
    }

    #[test]
    fn no_text_brings_the_parser_down(lines in prop::collection::vec(line(), 0..30)) {
        let words = words();
        let text = lines.join("\n");
        for kind in [Kind::File, Kind::Change] {
            let (_, errors) = parse(&text, &words, &source(), kind);
            for error in errors {
                prop_assert!(!error.to_string().is_empty());
            }
        }
        let _outcome = change(&Tree::default(), &lines, &words, &source());
    }
}

/// Lines out of the language's own words, in any order, with something else between them.
fn line() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "vr",
        "red",
        "interface",
        "inter-vr",
        "Loopback0",
        "port",
        "0/0/1",
        "router",
        "bgp",
        "64501",
        "neighbor",
        "no",
        "10.0.0.1",
        "10.0.0.1/24",
        "route-policy",
        "PASS",
        "in",
        "pass",
        "end-policy",
        "exit",
        "!",
        "connect",
        "static",
        "address-family",
        "ipv4",
        "ipv6",
        "2001:db8::1/64",
        "unicast",
        "Null0",
        "description",
        "driver",
        "cable",
        "linecard",
        "0/0",
        "\t",
        "é",
    ]);
    let known = prop::collection::vec(word, 0..6);
    let spaced = (0..4usize, known).prop_map(|(indent, words)| format!("{}{}", " ".repeat(indent), words.join(" ")));
    prop_oneof![9 => spaced, 1 => any::<String>()]
}
