//! The words of `router bgp`, and the configuration that they become.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::Ipv4Net;
use sdk::command::{Command, Declaration, ParameterType, Runs};
use sdk::config::{NamedLine, Node};
use sdk::core::ConfigError;
use sdk::options::{PeerOptions, Secret};
use sdk::redistribution::{self, PREFIX_SET, PrefixSets, match_words};
use sdk::rib::Redistribution;
use sdk::{InterfaceName, ServiceName};

use crate::packet::PeerKind;
use crate::policy::{Policies, Policy};
use crate::show;

/// Name of the class and of its service in a VR.
const CLASS: &str = "bgp";

/// What this class tells the router about itself.
pub fn declaration() -> Declaration {
    Declaration {
        // Cannot fail: three letters are a name, and every test that reads the declaration passes here.
        class: ServiceName::new(CLASS).expect("a name of letters"),
        runs: Runs::WhereConfigured,
        blocks: vec![router_bgp()],
        reads: vec!["route-policy".into(), PREFIX_SET.into()],
        tables: show::tables(),
        commands: vec![
            Command::line("clear bgp <>", "Reset the session with a neighbor", vec![ParameterType::IpAddress]),
            Command::line("clear bgp *", "Reset the sessions with all neighbors", vec![]),
        ],
    }
}

fn number(name: &'static str, min: u64, max: u64) -> ParameterType {
    ParameterType::Number { name: name.into(), min, max }
}

fn as_number() -> ParameterType {
    number("AS number", 1, u32::MAX.into())
}

fn timers() -> Command {
    let seconds = |name, min| number(name, min, u16::MAX.into());
    let parameters = vec![seconds("keepalive seconds", 0), seconds("hold seconds", 0)];
    Command::line("timers bgp <> <>", "Keepalive interval and hold time; a hold time of 0 is none", parameters)
}

fn router_bgp() -> Command {
    let mut redistribute = vec![Command::line(
        "metric <>",
        "MED of these routes, in place of their own metric",
        vec![number("metric", 0, u32::MAX.into())],
    )];
    redistribute.extend(match_words());
    let passed_on = "Announce routes of another protocol";
    let family = Command::block(
        "address-family ipv4 unicast",
        "What is announced",
        vec![],
        vec![
            Command::line("network <>", "Announce a prefix while the RIB has it", vec![ParameterType::Ipv4Prefix])
                .each(),
            Command::block("redistribute connected|static|ospf", passed_on, vec![], redistribute),
        ],
    );
    Command::block(
        "router bgp <>",
        "BGP with this AS number",
        vec![as_number()],
        vec![
            Command::line("bgp router-id <>", "BGP Identifier of this VR", vec![ParameterType::Ipv4Address]),
            timers(),
            family,
            neighbor(),
        ],
    )
}

fn neighbor() -> Command {
    // The kind of name by which the parser finds the policy's block.
    let name = || ParameterType::Name("route-policy".into());
    let family = Command::block(
        "address-family ipv4 unicast",
        "Routes exchanged with the neighbor",
        vec![],
        vec![Command::line("route-policy <> in|out", "Policy for routes from or to the neighbor", vec![name()])],
    );
    let open_modes = ["active-only", "both", "passive-only"].map(Into::into).to_vec();
    Command::block(
        "neighbor <>",
        "A BGP neighbor",
        vec![ParameterType::Ipv4Address],
        vec![
            Command::line("remote-as <>", "The neighbor's AS number", vec![as_number()]),
            Command::line("description <>", "A name for people", vec![ParameterType::Text("text".into())]),
            Command::line("shutdown", "Keep the session down", vec![]),
            Command::line(
                "update-source <>",
                "Speak from this interface's address",
                vec![ParameterType::InterfaceName],
            ),
            Command::line(
                "ebgp-multihop <>",
                "Accept an external neighbor so many hops away",
                vec![number("hops", 1, 255)],
            ),
            Command::line(
                "password clear <>",
                "Sign every segment with this key (RFC 2385)",
                vec![ParameterType::Text("key".into())],
            ),
            Command::line("ttl-security", "Take packets of a directly connected neighbor only (RFC 5082)", vec![]),
            Command::line("session-open-mode <>", "Who opens the connection", vec![ParameterType::Choice(open_modes)]),
            timers(),
            family,
        ],
    )
    .each()
}

/// Keepalive interval and hold time as configured; the session's are negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Longest silence of ours; at most a third of the negotiated hold time.
    pub keepalive: Duration,
    /// Proposed hold time in seconds: 0 (none), or at least 3.
    pub hold_seconds: u16,
}

impl Default for Timers {
    /// IOS-XR's: 60 s and 180 s.
    fn default() -> Self {
        Self { keepalive: Duration::from_secs(60), hold_seconds: 180 }
    }
}

/// Who opens the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenMode {
    /// Both sides try.
    #[default]
    Both,
    /// Only we do; the neighbor's connections are refused.
    ActiveOnly,
    /// Only the neighbor does.
    PassiveOnly,
}

/// A neighbor's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborConfig {
    /// The neighbor's AS.
    pub remote_as: u32,
    /// For people.
    pub description: Option<String>,
    /// Kept down.
    pub shutdown: bool,
    /// Interface whose address we speak from.
    pub update_source: Option<InterfaceName>,
    /// Hops to an external neighbor that is not on a connected subnet.
    pub ebgp_multihop: Option<u8>,
    /// Key that segments from and to it are signed with.
    pub password: Option<Secret>,
    /// Only what has crossed no router is taken from it.
    pub ttl_security: bool,
    /// Who opens the connection.
    pub open_mode: OpenMode,
    /// Its own timers, else the instance's.
    pub timers: Timers,
    /// What of its routes is used; `None`: no policy configured.
    pub import: Option<Policy>,
    /// What routes it gets; `None`: no policy configured.
    pub export: Option<Policy>,
}

impl NeighborConfig {
    /// Whether the part that a session is built on is the same: only policies and the description may change under one.
    pub fn same_session(&self, other: &NeighborConfig) -> bool {
        let session = |config: &NeighborConfig| NeighborConfig {
            description: None,
            import: None,
            export: None,
            ..config.clone()
        };
        session(self) == session(other)
    }
}

/// `router bgp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceConfig {
    /// Our AS.
    pub as_number: u32,
    /// Our BGP Identifier, if it is configured.
    pub router_id: Option<Ipv4Addr>,
    /// Prefixes to announce while the RIB has them.
    pub networks: BTreeSet<Ipv4Net>,
    /// Routes of other protocols to announce, by protocol, and their MED, where it is not their own metric.
    pub redistribute: BTreeMap<String, (Redistribution, Option<u32>)>,
    /// By address.
    pub neighbors: BTreeMap<IpAddr, NeighborConfig>,
}

impl InstanceConfig {
    /// What holds for connections with single neighbors.
    pub fn peers(&self) -> Vec<PeerOptions> {
        let special =
            self.neighbors.iter().filter(|(_, neighbor)| neighbor.password.is_some() || neighbor.ttl_security);
        let options = special.map(|(peer, neighbor)| {
            // RFC 5082 section 3: sent with 255, which no router has taken one off.
            let ttl = neighbor.ttl_security.then_some(u8::MAX);
            PeerOptions { peer: *peer, ttl, minimum_ttl: ttl, key: neighbor.password.clone() }
        });
        options.collect()
    }

    /// Whether a neighbor with this AS is internal.
    pub fn peer_kind(&self, remote_as: u32) -> PeerKind {
        match remote_as == self.as_number {
            true => PeerKind::Internal,
            false => PeerKind::External,
        }
    }
}

/// Everything that the class reads; without a `router bgp` it does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The block `router bgp`.
    pub instance: Option<InstanceConfig>,
}

impl Config {
    /// Reads the blocks.
    pub fn read(blocks: &[Node]) -> Result<Self, ConfigError> {
        let policies = Policies::read(blocks);
        let sets = PrefixSets::read(blocks)?;
        let block = blocks.iter().find(|block| block.starts_with("router bgp"));
        Ok(Self { instance: block.map(|block| read_instance(block, &policies, &sets)).transpose()? })
    }
}

fn read_instance(block: &Node, policies: &Policies, sets: &PrefixSets) -> Result<InstanceConfig, ConfigError> {
    let router_id = optional(block, "bgp router-id", 2)?;
    if let Some(line) = block.find("bgp router-id").filter(|_| router_id.is_some_and(|id| !is_router_id(id))) {
        return Err(nonsense(line, "a router ID is the address of a host"));
    }
    let timers = read_timers(block)?.unwrap_or_default();
    let mut networks = BTreeSet::new();
    for line in block.all("address-family ipv4 unicast").flat_map(|family| family.all("network")) {
        networks.insert(line.value(1)?);
    }
    let mut redistribute = BTreeMap::new();
    for line in block.all("address-family ipv4 unicast").flat_map(|family| family.all("redistribute")) {
        let wanted = redistribution::read(line, sets)?;
        redistribute.insert(wanted.protocol.clone(), (wanted, optional(line, "metric", 1)?));
    }
    let mut neighbors = BTreeMap::new();
    for line in block.all("neighbor") {
        neighbors.insert(line.value(1)?, read_neighbor(line, timers, policies)?);
    }
    Ok(InstanceConfig { as_number: block.value(2)?, router_id, networks, redistribute, neighbors })
}

fn is_router_id(id: Ipv4Addr) -> bool {
    !id.is_unspecified() && !id.is_multicast() && !id.is_broadcast()
}

fn read_neighbor(block: &Node, timers: Timers, policies: &Policies) -> Result<NeighborConfig, ConfigError> {
    let missing = || ConfigError::Missing { block: block.named(), line: "remote-as" };
    let mut config = NeighborConfig {
        remote_as: block.find("remote-as").ok_or_else(missing)?.value(1)?,
        description: block
            .find("description")
            .map(|line| line.words.iter().skip(1).cloned().collect::<Vec<_>>().join(" ")),
        shutdown: block.find("shutdown").is_some(),
        update_source: optional(block, "update-source", 1)?,
        ebgp_multihop: optional(block, "ebgp-multihop", 1)?,
        password: read_password(block)?,
        ttl_security: block.find("ttl-security").is_some(),
        open_mode: read_open_mode(block)?,
        timers: read_timers(block)?.unwrap_or(timers),
        import: None,
        export: None,
    };
    if let Some(line) = block.find("ebgp-multihop").filter(|_| config.ttl_security) {
        return Err(nonsense(line, "`ttl-security` takes nothing from so far away"));
    }
    for line in block.all("address-family ipv4 unicast").flat_map(|family| family.all("route-policy")) {
        let name: String = line.value(1)?;
        let Some(policy) = policies.get(&name) else {
            return Err(nonsense(line, "there is no route-policy of this name"));
        };
        match line.words.get(2).map(String::as_str) {
            Some("in") => config.import = Some(policy),
            Some("out") => config.export = Some(policy),
            _ => return Err(nonsense(line, "`in` or `out` is expected behind the name")),
        }
    }
    Ok(config)
}

fn read_password(block: &Node) -> Result<Option<Secret>, ConfigError> {
    let Some(line) = block.find("password clear") else { return Ok(None) };
    let text = line.words.iter().skip(2).cloned().collect::<Vec<_>>().join(" ");
    let secret = Secret::new(text.as_bytes());
    secret.map(Some).ok_or_else(|| ConfigError::Nonsense {
        // The key itself is not to stand in a log.
        line: NamedLine { text: "password clear".to_owned(), ..line.named() },
        reason: format!("a key has 1 to {} bytes", Secret::MAX_BYTES),
    })
}

fn read_open_mode(block: &Node) -> Result<OpenMode, ConfigError> {
    let Some(line) = block.find("session-open-mode") else { return Ok(OpenMode::default()) };
    match line.words.get(1).map(String::as_str) {
        Some("active-only") => Ok(OpenMode::ActiveOnly),
        Some("both") => Ok(OpenMode::Both),
        Some("passive-only") => Ok(OpenMode::PassiveOnly),
        _ => Err(nonsense(line, "`active-only`, `both` or `passive-only` is expected")),
    }
}

fn read_timers(block: &Node) -> Result<Option<Timers>, ConfigError> {
    let Some(line) = block.find("timers bgp") else { return Ok(None) };
    let (keepalive, hold_seconds) = (line.value::<u16>(2)?, line.value(3)?);
    if matches!(hold_seconds, 1 | 2) {
        return Err(nonsense(line, "the hold time is 0 or at least 3 seconds (RFC 4271 section 4.2)"));
    }
    if hold_seconds != 0 && !(1..hold_seconds).contains(&keepalive) {
        return Err(nonsense(line, "keepalives must come within the hold time"));
    }
    Ok(Some(Timers { keepalive: Duration::from_secs(keepalive.into()), hold_seconds }))
}

/// Word `index` of a line that may be missing.
fn optional<T: FromStr>(block: &Node, keywords: &str, index: usize) -> Result<Option<T>, ConfigError> {
    Ok(block.find(keywords).map(|line| line.value(index)).transpose()?)
}

fn nonsense(line: &Node, reason: &str) -> ConfigError {
    ConfigError::Nonsense { line: line.named(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
