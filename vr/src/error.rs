//! What goes wrong in this room: a process that cannot go on, and a configuration with what is wrong in it, where it
//! stands, and what would be accepted there.

use std::fmt;
use std::io;
use std::sync::Arc;

use ipc::error::LinkError;
use ipc::protocol::Refusal;
use ipc::reactor::ReactorError;
use ipc::{InterfaceName, NameError, ServiceName};

/// Why a process of this room ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The link to procmgr failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The event loop failed.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// procmgr refused what this process cannot do without.
    #[error("procmgr refused: {0}")]
    Refused(#[from] Refusal),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A message that cannot be encoded.
    #[error("message: {0}")]
    Encode(#[from] postcard::Error),
    /// The classes' declarations contradict each other.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// More virtual routers than there are numbers.
    #[error(transparent)]
    NoVrIdLeft(#[from] crate::manager::mapping::NoVrIdLeft),
    /// The configuration is wrong.
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n")
}

/// A part of a line of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named on the command line; `change` for lines that an operator typed.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// Its text.
    pub text: Arc<str>,
    /// The first character meant, from 1.
    pub column: u32,
    /// How many characters are meant.
    pub width: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One error of a configuration. It prints as several lines: the place and the problem, the source line with a caret,
/// what is accepted there, and the other line if there are two that contradict each other.
#[derive(Debug)]
pub struct ConfigError {
    /// What is wrong.
    pub problem: Box<Problem>,
    /// Where; `None` if it concerns the whole file.
    pub place: Option<Box<Place>>,
    /// What would be accepted there.
    pub expected: Option<Box<Expected>>,
    /// The other line of a contradiction.
    pub other: Option<Box<Place>>,
}

/// What would be accepted at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The block that stands open there, as its first line reads; `None` at the top level.
    pub block: Option<String>,
    /// Keywords, and descriptions of values in angle brackets.
    pub words: Vec<String>,
}

impl ConfigError {
    /// An error that concerns a whole file.
    pub fn of_file(problem: impl Into<Box<Problem>>) -> Self {
        Self { problem: problem.into(), place: None, expected: None, other: None }
    }

    /// An error at a place.
    pub fn at(place: Place, problem: impl Into<Box<Problem>>) -> Self {
        Self { place: Some(Box::new(place)), ..Self::of_file(problem) }
    }

    /// The same error with what is accepted, if that is anything.
    pub fn expecting(self, expected: Expected) -> Self {
        let expected = (!expected.words.is_empty()).then(|| Box::new(expected));
        Self { expected, ..self }
    }

    /// The place and the problem alone, in one line.
    pub fn sentence(&self) -> String {
        let place = self.place.as_ref().map_or(String::new(), |place| format!("{place}: "));
        format!("{place}{}", self.problem)
    }

    /// The same error with the other line of the contradiction.
    pub fn beside(self, other: Place) -> Self {
        Self { other: Some(Box::new(other)), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sentence())?;
        if let Some(place) = &self.place {
            write_source(f, place)?;
        }
        if let Some(Expected { block, words }) = self.expected.as_deref() {
            match block {
                Some(block) => write!(f, "\nexpected in `{block}`: {}", words.join(", "))?,
                None => write!(f, "\nexpected: {}", words.join(", "))?,
            }
        }
        if let Some(other) = &self.other {
            write!(f, "\nthe other is {other}:")?;
            write_source(f, other)?;
        }
        Ok(())
    }
}

/// The source line and carets under the part that is meant. A tab before it stays a tab, so that both lines move alike.
fn write_source(f: &mut fmt::Formatter<'_>, place: &Place) -> fmt::Result {
    let number = place.line.to_string();
    let before = (place.column as usize).saturating_sub(1);
    let indent: String = place.text.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let carets = "^".repeat(place.width.max(1) as usize);
    write!(f, "\n {number} | {}\n {:gap$} | {indent}{carets}", place.text, "", gap = number.len())
}

impl std::error::Error for ConfigError {}

/// What can be wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {error}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// What is wrong with a saved configuration may come of that.
    #[error("the configuration was saved by isthmus {version}, and this is {}", env!("CARGO_PKG_VERSION"))]
    OtherVersion {
        /// Who saved it.
        version: String,
    },
    /// The file holds bytes that are no UTF-8.
    #[error("{path}: line {line} is not UTF-8 text")]
    NotText {
        /// Which file.
        path: String,
        /// The first such line.
        line: usize,
    },
    /// Two classes declare the same block: an error of the program, not of the file.
    #[error("{0}")]
    Words(#[from] WordsError),

    /// More lines than a message carries: every process gets the whole of its blocks in one.
    #[error("the configuration takes {bytes} bytes in a message, which holds at most {max}")]
    TooLarge {
        /// Of the largest message.
        bytes: usize,
        /// What is accepted.
        max: usize,
    },

    /// No open block accepts the word.
    #[error("unknown word `{word}`{}", did_you_mean(.nearest))]
    UnknownWord {
        /// As it stands there.
        word: String,
        /// A word of an open block that looks like it.
        nearest: Option<String>,
    },
    /// The line ends too early.
    #[error("the line is not complete")]
    Incomplete,
    /// Words follow after a complete line.
    #[error("nothing may follow here, found `{word}`")]
    TooMuch {
        /// The first word too many.
        word: String,
    },
    /// A value is not of the type that belongs here.
    #[error("`{word}` {bad}")]
    BadValue {
        /// As it stands there.
        word: String,
        /// What is wrong with it.
        bad: BadValue,
    },
    /// A word that ends a block stands where no such block is open.
    #[error("`{word}` ends nothing: no such block is open here")]
    EndsNothing {
        /// `exit` or `end-policy`.
        word: String,
    },

    /// One value is set twice to different things.
    #[error("`{line}` contradicts `{other}`: one value is set twice")]
    Contradiction {
        /// This line.
        line: String,
        /// The one before.
        other: String,
    },
    /// What can be said only once stands there twice.
    #[error("`{line}` stands there twice")]
    Twice {
        /// The line.
        line: String,
    },
    /// A VR is named that does not exist.
    #[error("there is no VR `{name}`{}", did_you_mean(.nearest))]
    UnknownVr {
        /// As it stands there.
        name: String,
        /// A VR whose name looks like it.
        nearest: Option<String>,
    },
    /// An interface is named that is none, and no VR has the name either.
    #[error("`{name}` is no interface, and no VR has this name{}", did_you_mean(.nearest))]
    UnknownInterface {
        /// As it stands there.
        name: String,
        /// A VR whose name looks like it.
        nearest: Option<String>,
    },
    /// Two VRs could not be told apart as interface names.
    #[error("VR `{name}` differs from VR `{other}` in upper and lower case only; interface names take any case")]
    VrNamesAlike {
        /// This VR.
        name: String,
        /// The other.
        other: String,
    },
    /// The name of the inter-VR interface towards a VR would be too long.
    #[error("VR `{name}` is named like an interface and needs the long form, for which the name is too long: {error}")]
    VrNameTooLong {
        /// The VR.
        name: String,
        /// What is wrong with the long form.
        error: NameError,
    },
    /// A port without a medium.
    #[error("port {port} has no driver")]
    NoDriver {
        /// Rack, slot and port.
        port: String,
    },
    /// A port with two media.
    #[error("port {port} has two drivers")]
    TwoDrivers {
        /// Rack, slot and port.
        port: String,
    },
    /// Two ports share a device or a socket.
    #[error("port {port} uses `{medium}`, which port {other} uses already")]
    MediumTwice {
        /// This port.
        port: String,
        /// The other.
        other: String,
        /// Device or path.
        medium: String,
    },
    /// A cable from a socket to itself.
    #[error("both ends of the cable are `{path}`")]
    CableToItself {
        /// The socket.
        path: String,
    },
    /// No line card has the port.
    #[error("no linecard has a port {port}")]
    UnknownPort {
        /// Rack, slot and port.
        port: String,
    },
    /// Two VRs want one port.
    #[error("port {port} is assigned to VR {vr} and to VR {other}")]
    AssignedTwice {
        /// Rack, slot and port.
        port: String,
        /// This VR.
        vr: String,
        /// The other.
        other: String,
    },
    /// An interface of a port that the VR does not have.
    #[error("port {port} is not assigned to VR {vr}: `assign port {port}` is missing there")]
    NotAssigned {
        /// Rack, slot and port.
        port: String,
        /// The VR.
        vr: String,
    },
    /// A pair of VRs is joined twice.
    #[error("VRs {a} and {b} are connected already")]
    ConnectedTwice {
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// A VR is joined with itself.
    #[error("VR {vr} cannot be connected with itself")]
    ConnectedToItself {
        /// The VR.
        vr: String,
    },
    /// An inter-VR interface towards a VR that is not joined with this one.
    #[error("VR {vr} is not connected with VR {peer}: `connect {vr} {peer}` is missing")]
    NotConnected {
        /// This VR.
        vr: String,
        /// The other.
        peer: String,
    },
    /// A line names a loopback that is not configured.
    #[error("VR {vr} has no interface {interface}")]
    NoSuchInterface {
        /// The VR.
        vr: String,
        /// The loopback.
        interface: InterfaceName,
    },
    /// Null0 where an interface is needed that carries packets.
    #[error("Null0 drops all packets; it is a next hop of static routes only")]
    NullInterface,
    /// One address on two interfaces of a VR.
    #[error("interface {interface} has address {address}, which interface {other} has already")]
    AddressTwice {
        /// The address.
        address: std::net::IpAddr,
        /// This interface.
        interface: String,
        /// The other.
        other: String,
    },
    /// Two interfaces of a VR in one subnet.
    #[error("{subnet} of interface {interface} overlaps {other_subnet} of interface {other}")]
    SubnetsOverlap {
        /// Of this interface.
        subnet: ipnet::IpNet,
        /// This interface.
        interface: String,
        /// Of the other.
        other_subnet: ipnet::IpNet,
        /// The other interface.
        other: String,
    },
    /// A link that is too narrow for IPv6 (RFC 8200 section 5).
    #[error("interface {interface} has IPv6, which needs an MTU of at least {least} bytes; {mtu} is set")]
    MtuBelowIpv6 {
        /// The interface.
        interface: String,
        /// What is set.
        mtu: u32,
        /// What is accepted.
        least: u32,
    },
    /// Only an inter-VR interface short-circuits.
    #[error("interface {interface} leads to no virtual router: there is nothing to short-circuit")]
    NeverShort {
        /// The interface.
        interface: String,
    },
    /// A name is used that nothing defines.
    #[error("there is no {kind} `{name}` in VR {vr}{}", did_you_mean(.nearest))]
    Undefined {
        /// What is named: `route-policy`.
        kind: String,
        /// As it stands there.
        name: String,
        /// In which VR.
        vr: String,
        /// A defined name that looks like it.
        nearest: Option<String>,
    },
    /// The path does not fit into the address of a Unix socket.
    #[error("{path}: {length} bytes are too long for a socket, which takes {max}")]
    PathTooLong {
        /// The absolute path.
        path: String,
        /// Its length.
        length: usize,
        /// What is accepted.
        max: usize,
    },
    /// A socket cannot be made there.
    #[error("no socket can be made in {directory}: {error}")]
    NoSocketThere {
        /// The folder.
        directory: String,
        /// What the kernel says.
        error: io::Error,
    },

    /// A process that reads the line cannot run it.
    #[error("{by}: {reason}")]
    Objected {
        /// Which process: `red/bgp`.
        by: String,
        /// Why.
        reason: String,
    },

    /// `no` before a line that is not there.
    #[error("there is no `{line}` to take away")]
    NoSuchLine {
        /// The line.
        line: String,
    },
    /// `no` before the beginning of several lines.
    #[error("`{line}` stands for {count} lines; say which")]
    SeveralLines {
        /// What was given.
        line: String,
        /// How many lines begin so.
        count: usize,
    },
}

/// Why a word is no value of the type that belongs in its place. Continues a sentence that begins with the word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// Not a number, or not within the bounds.
    #[error("is no {name} ({min} to {max})")]
    Number {
        /// What it should be.
        name: String,
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
    },
    /// Not an address of the right family.
    #[error("is no {0} address")]
    Address(&'static str),
    /// Not of the form ADDRESS/LENGTH.
    #[error("is no prefix (like {0})")]
    Prefix(&'static str),
    /// Not of the form ADDRESS/LENGTH.
    #[error("is no address with its prefix length (like {0})")]
    InterfaceAddress(&'static str),
    /// An address of the link, which is not configured.
    #[error("is a link-local address; the router makes one itself where `ipv6 enable` or an address stands")]
    LinkLocal,
    /// Bits are set right of the length.
    #[error("has bits right of its length; the prefix is {0}")]
    HostBits(ipnet::IpNet),
    /// The first address of a subnet that is no point-to-point link (RFC 3021).
    #[error("is the address of the network itself; hosts of {0} have others")]
    NetworkAddress(ipnet::IpNet),
    /// The last address of a subnet that is no point-to-point link.
    #[error("is the broadcast address of {0}")]
    BroadcastAddress(ipnet::Ipv4Net),
    /// Multicast, loopback, unspecified, or class E (RFC 6890).
    #[error("is no unicast address that an interface can have")]
    NotUnicast,
    /// A name with characters that no name has, or too long.
    #[error("is no name: {0}")]
    Name(#[from] NameError),
    /// A free name that is longer than it may be.
    #[error("is too long for a {name}, which has at most {max} bytes")]
    TooLong {
        /// What it should be.
        name: String,
        /// Longest accepted, in bytes.
        max: usize,
    },
    /// Neither an interface nor, in this form, a VR.
    #[error("is no interface; a VR of this name is meant by `inter-vr {0}`")]
    InterfaceWord(String),
    /// Not two numbers.
    #[error("is no line card (RACK/SLOT, like 0/0)")]
    LineCard,
    /// Not three numbers.
    #[error("is no port (RACK/SLOT/PORT, like 0/0/1)")]
    Port,
    /// The folder of the configuration file has a name that is no text.
    #[error("is relative to a folder whose name is not UTF-8; an absolute path is accepted")]
    Folder,
    /// Not one of the few values.
    #[error("is not accepted here")]
    Choice,
}

impl BadValue {
    /// Whether the word is clearly meant as a value of its type, so that the reason says more than "unknown word".
    pub fn is_near_miss(&self) -> bool {
        match self {
            BadValue::HostBits(_)
            | BadValue::NetworkAddress(_)
            | BadValue::BroadcastAddress(_)
            | BadValue::NotUnicast
            | BadValue::LinkLocal
            | BadValue::InterfaceWord(_)
            | BadValue::Folder => true,
            BadValue::Number { .. }
            | BadValue::Address(_)
            | BadValue::Prefix(_)
            | BadValue::InterfaceAddress(_)
            | BadValue::Name(_)
            | BadValue::TooLong { .. }
            | BadValue::LineCard
            | BadValue::Port
            | BadValue::Choice => false,
        }
    }
}

/// The declarations of the process classes contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A block has two owners.
    #[error("class {class} declares `{block}`, which {owner} declares already")]
    DeclaredTwice {
        /// The class.
        class: ServiceName,
        /// The block's words.
        block: String,
        /// Whose it is.
        owner: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |word| format!("; did you mean `{word}`?"))
}
