//! The words of the configuration: the router's own, and those that the process classes declare.
//!
//! One tree of [`Command`]s drives the parser, the printed configuration, completion and help. What stands at the top
//! level and what every VR has is here; blocks such as `router bgp` come from the [`Declaration`]s of the classes.

use ipc::ServiceName;
use vr_api::command::{Command, Declaration, ParameterType, Word};
use vr_api::config::Node;

use crate::error::WordsError;

/// Leading word of a VR's block, of its interfaces, and of the administrator's lines: `view` and `validate` know the
/// router's own lines by them.
pub const VR: &str = "vr";
/// See [`VR`].
pub const INTERFACE: &str = "interface";
/// See [`VR`].
pub const LINECARD: &str = "linecard";
/// See [`VR`].
pub const CONNECT: &str = "connect";
/// See [`VR`].
pub const ASSIGN: &str = "assign";

/// Smallest IP MTU: every IPv4 module forwards 68 bytes unfragmented (RFC 791 section 3.2).
const MIN_MTU: u64 = 68;
/// Largest: the length field of an IPv4 packet.
const MAX_MTU: u64 = 65_535;
/// More worker threads than any box has cores for one line card.
const MAX_WORKERS: u64 = 256;

/// All commands that a configuration may hold.
#[derive(Debug)]
pub struct Words {
    top: Vec<Command>,
    declarations: Vec<Declaration>,
}

impl Words {
    /// The router's own words and those of the classes.
    pub fn new(declarations: Vec<Declaration>) -> Result<Self, WordsError> {
        let mut inside_vr = own_words_of_a_vr();
        let mut owners = vec!["the router".to_owned(); inside_vr.len()];
        for declaration in &declarations {
            for block in &declaration.blocks {
                if let Some(taken) = inside_vr.iter().position(|other| other.words == block.words) {
                    return Err(WordsError::DeclaredTwice {
                        class: declaration.class.clone(),
                        block: spell(block),
                        owner: owners[taken].clone(),
                    });
                }
                inside_vr.push(block.clone());
                owners.push(format!("class {}", declaration.class));
            }
        }
        Ok(Self { top: top_level(inside_vr), declarations })
    }

    /// The commands of the top level.
    pub fn top(&self) -> &[Command] {
        &self.top
    }

    /// The classes that run in a VR: those that run everywhere, and those that one of its blocks belongs to.
    pub fn classes(&self, vr: &Node) -> Vec<ServiceName> {
        self.declarations.iter().filter(|class| class.runs_in(vr)).map(|class| class.class.clone()).collect()
    }

    /// Whether a word alone on its line ends a block of some kind: `end-policy`.
    pub(super) fn is_closing(&self, word: &str) -> bool {
        fn closes(commands: &[Command], word: &str) -> bool {
            commands.iter().any(|command| {
                command.closed_by.as_deref() == Some(word)
                    || command.block.as_deref().is_some_and(|inside| closes(inside, word))
            })
        }
        closes(&self.top, word)
    }
}

/// Whether a command defines names of a kind: `route-policy <route-policy>` opens the block that all other lines with a
/// name of this kind refer to.
pub(super) fn defines(command: &Command) -> Option<&str> {
    match (&command.words[..], &command.block) {
        ([Word::Keyword(keyword), Word::Parameter(ParameterType::Name(kind))], Some(_)) if keyword == kind => {
            Some(kind)
        }
        _ => None,
    }
}

/// Whether the same line may not stand twice in a file: `connect`, `assign`.
pub(super) fn is_single(command: &Command) -> bool {
    matches!(command.words.first(), Some(Word::Keyword(word)) if word == CONNECT || word == ASSIGN)
}

/// Whether a command is the `vr` block.
pub(super) fn defines_vr(command: &Command) -> bool {
    matches!(&command.words[..], [Word::Keyword(vr), Word::Parameter(ParameterType::VrName)] if vr == VR)
}

/// The words of a command for people: `neighbor <address>`.
pub(super) fn spell(command: &Command) -> String {
    command.words.iter().map(|word| super::value::describe(word).join("|")).collect::<Vec<_>>().join(" ")
}

fn top_level(inside_vr: Vec<Command>) -> Vec<Command> {
    use ParameterType::{LineCard, VrName};
    vec![
        Command::line("hostname <>", "name of the router, shown in the prompt", vec![name("hostname")]),
        Command::block(
            "linecard <>",
            "a line card: its ports and the threads that serve them",
            vec![LineCard],
            linecard(),
        )
        .each(),
        Command::block("vr <>", "a virtual router", vec![VrName], inside_vr).each(),
        Command::line("connect <> <>", "join two virtual routers", vec![VrName, VrName]).each(),
    ]
}

fn linecard() -> Vec<Command> {
    use ParameterType::Path;
    let port = vec![
        Command::line(
            "driver cable local <> remote <>",
            "a cable: one Unix datagram socket at each end, one frame a datagram",
            vec![Path, Path],
        ),
        Command::line(
            "driver af-packet device <>",
            "an Ethernet device of the host, taken over from it",
            vec![name("device")],
        ),
        Command::line(
            "driver af-packet device <> hotplug",
            "the same of a device that may appear later",
            vec![name("device")],
        ),
        Command::line(
            "impair drop-every <> seed <>",
            "fault injection for tests: one frame in so many is dropped, chosen from a seed",
            vec![number("frame count", 1, u32::MAX.into()), number("seed", 0, u64::MAX)],
        ),
    ];
    vec![
        Command::line("worker-threads <>", "threads that forward", vec![number("thread count", 1, MAX_WORKERS)]),
        Command::block("port <>", "a port and its medium", vec![number("port number", 0, 99_999)], port).each(),
    ]
}

fn own_words_of_a_vr() -> Vec<Command> {
    use ParameterType::{Choice, InterfaceName, Ipv4InterfaceAddress, Ipv4Prefix, Ipv6InterfaceAddress, Port, Text};
    let interface = vec![
        Command::line("description <>", "a note for people", vec![Text("text".into())]),
        Command::line("ipv4 address <>", "address and length of the subnet", vec![Ipv4InterfaceAddress]),
        Command::line("ipv6 address <>", "address and length of the subnet", vec![Ipv6InterfaceAddress]).each(),
        Command::line("ipv6 enable", "IPv6 with a link-local address only", vec![]),
        Command::line("mtu <>", "IP MTU in bytes", vec![number("MTU", MIN_MTU, MAX_MTU)]),
        Command::line(
            "bandwidth <>",
            "kilobits a second, by which protocols reckon costs",
            vec![number("kbit/s", 1, u32::MAX.into())],
        ),
        Command::line("shutdown", "administratively down", vec![]),
        Command::line(
            "short-circuit disable",
            "of an inter-VR interface: what begins between both VRs goes through the stack",
            vec![],
        ),
    ];
    let policy =
        vec![Command::line("<>", "what becomes of every route", vec![Choice(vec!["pass".into(), "drop".into()])])];
    let length = || number("prefix length", 0, 32);
    let prefix_set = vec![
        Command::line("<>", "a prefix", vec![Ipv4Prefix]).each(),
        Command::line("<> le <>", "a prefix and those within it up to a length", vec![Ipv4Prefix, length()]).each(),
        Command::line("<> ge <>", "those within a prefix from a length on", vec![Ipv4Prefix, length()]).each(),
        Command::line(
            "<> ge <> le <>",
            "those within a prefix between two lengths",
            vec![Ipv4Prefix, length(), length()],
        )
        .each(),
    ];
    vec![
        Command::line("assign port <>", "give a port of a line card to this VR", vec![Port]).each(),
        Command::block("interface <>", "an interface and its addresses", vec![InterfaceName], interface).each(),
        Command::block("route-policy <>", "what routes pass", vec![name("route-policy")], policy)
            .each()
            .closed_by("end-policy"),
        Command::block("prefix-set <>", "a set of prefixes, for filters", vec![name("prefix-set")], prefix_set)
            .each()
            .closed_by("end-set"),
    ]
}

fn number(name: &'static str, min: u64, max: u64) -> ParameterType {
    ParameterType::Number { name: name.into(), min, max }
}

fn name(kind: &'static str) -> ParameterType {
    ParameterType::Name(kind.into())
}
