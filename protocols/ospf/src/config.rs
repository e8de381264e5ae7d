//! The configuration that the words of `router ospf` become; the words themselves: [`declaration`].

mod declaration;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

pub use declaration::declaration;
use ipnet::Ipv4Net;
use linkstate::{BackoffConfig, SpfDelayConfig};
use sdk::InterfaceName;
use sdk::config::{NamedLine, Node};
use sdk::core::ConfigError;
use sdk::redistribution::{self, PrefixSets};
use sdk::rib::Redistribution;

use crate::auth::{Algorithm, Authentication, Key, MAX_MD5_SECRET, MAX_PASSWORD};
use crate::fsm::NetworkType;
use crate::packet::{AreaId, BACKBONE, ExternalMetric, RouterId};

/// Whether an interface speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Passive {
    /// It does.
    #[default]
    No,
    /// It is announced only.
    Yes,
}

/// Whether the MTU of a neighbor matters: RFC 2328 section 10.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MtuCheck {
    /// A neighbor with a larger one is refused.
    #[default]
    Check,
    /// It is not.
    Ignore,
}

/// An interface's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// What the network is like.
    pub network: NetworkType,
    /// Output cost.
    pub cost: Option<u16>,
    /// Router priority.
    pub priority: u8,
    /// HelloInterval in seconds.
    pub hello_seconds: u16,
    /// RouterDeadInterval in seconds.
    pub dead_seconds: u32,
    /// RxmtInterval.
    pub retransmit: Duration,
    /// InfTransDelay in seconds.
    pub transmit_delay_seconds: u16,
    /// Whether it speaks.
    pub passive: Passive,
    /// Whether the MTU matters.
    pub mtu_check: MtuCheck,
    /// Which of several processes on the link this is: RFC 6549.
    pub instance: u8,
    /// Authentication.
    pub authentication: Authentication,
}

impl Default for InterfaceConfig {
    /// RFC 2328 section C.3, with IOS-XR's values.
    fn default() -> Self {
        Self {
            network: NetworkType::default(),
            cost: None,
            priority: 1,
            hello_seconds: 10,
            dead_seconds: 40,
            retransmit: Duration::from_secs(5),
            transmit_delay_seconds: 1,
            passive: Passive::No,
            mtu_check: MtuCheck::Check,
            instance: 0,
            authentication: Authentication::Null,
        }
    }
}

impl InterfaceConfig {
    /// Whether neighbors need not be told anew who we are.
    pub fn same_conversation(&self, other: &InterfaceConfig) -> bool {
        let conversation = |config: &InterfaceConfig| {
            let identity = (config.network, config.instance, config.passive);
            (identity, config.hello_seconds, config.dead_seconds, config.priority == 0)
        };
        conversation(self) == conversation(other)
    }
}

/// What an area is like: RFC 2328 section 3.6, RFC 3101.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AreaKind {
    /// Everything is flooded.
    #[default]
    Normal,
    /// No AS-external-LSAs.
    Stub,
    /// None either, but type-7-LSAs.
    Nssa,
}

impl AreaKind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            AreaKind::Normal => "normal",
            AreaKind::Stub => "stub",
            AreaKind::Nssa => "nssa",
        }
    }
}

/// What an area border router tells a stub area or an NSSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Summaries {
    /// Prefixes of other areas, and a default route.
    #[default]
    All,
    /// A default route only.
    DefaultOnly,
}

/// What others are told of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The range.
    Advertise,
    /// Nothing.
    Hide,
}

/// An area's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaConfig {
    /// What it is like.
    pub kind: AreaKind,
    /// What it is told of other areas.
    pub summaries: Summaries,
    /// Cost of its default route.
    pub default_cost: u32,
    /// Ranges: RFC 2328 section C.2.
    pub ranges: BTreeMap<Ipv4Net, Range>,
    /// Interfaces.
    pub interfaces: BTreeMap<InterfaceName, InterfaceConfig>,
}

/// `default-information originate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Metric of type 2.
    pub metric: u32,
    /// Whether it is told though the RIB has none.
    pub always: bool,
}

/// `redistribute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redistribute {
    /// Which routes.
    pub wanted: Redistribution,
    /// What others are told.
    pub metric: ExternalMetric,
    /// A tag in place of the route's own.
    pub tag: Option<u32>,
}

/// `router ospf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceConfig {
    /// Its name.
    pub name: String,
    /// Configured router ID.
    pub router_id: Option<RouterId>,
    /// Ways that a route may have.
    pub maximum_paths: usize,
    /// A default route that this router tells of.
    pub default_route: Option<DefaultRoute>,
    /// Routes of other protocols that it tells of, by protocol.
    pub redistribute: BTreeMap<String, Redistribute>,
    /// Whether this router's links are told with the largest metric: RFC 6987.
    pub max_metric: bool,
    /// LSAs of others that are kept.
    pub max_lsas: Option<usize>,
    /// When to calculate.
    pub spf: SpfDelayConfig,
    /// When to originate.
    pub lsa: BackoffConfig,
    /// Areas.
    pub areas: BTreeMap<AreaId, AreaConfig>,
}

/// Metrics of what is redistributed: IOS-XR's.
const METRIC: u32 = 20;
const METRIC_OF_BGP: u32 = 1;

/// In Mbit/s: what is faster costs 1.
const REFERENCE_BANDWIDTH: u32 = 100;

/// Of 16 equal ways a route takes all: IOS-XR's.
const MAXIMUM_PATHS: usize = 16;

/// `timers throttle lsa all 0 200 5000`: as IOS-XR, but that a first change goes out at once.
const LSA_BACKOFF: BackoffConfig =
    BackoffConfig { start: Duration::ZERO, hold: Duration::from_millis(200), max: Duration::from_millis(5000) };

/// The configuration of one process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `None`: no OSPF here.
    pub instance: Option<InstanceConfig>,
}

impl Config {
    /// Reads the first process of a VR.
    pub fn read(blocks: &[Node]) -> Result<Self, ConfigError> {
        Ok(Self { instance: read_all(blocks)?.into_iter().next() })
    }
}

/// Reads all processes of a VR.
pub fn read_all(blocks: &[Node]) -> Result<Vec<InstanceConfig>, ConfigError> {
    let (sets, bandwidths) = (PrefixSets::read(blocks)?, read_bandwidths(blocks)?);
    let instances = blocks.iter().filter(|block| block.starts_with("router ospf"));
    instances.map(|block| read_instance(block, &sets, &bandwidths)).collect()
}

/// Kilobits a second of the interfaces that say so.
type Bandwidths = BTreeMap<InterfaceName, u32>;

fn read_bandwidths(blocks: &[Node]) -> Result<Bandwidths, ConfigError> {
    let interfaces = blocks.iter().filter(|block| block.starts_with("interface"));
    let lines = interfaces.filter_map(|block| Some((block, block.find("bandwidth")?)));
    lines.map(|(block, line)| Ok((block.value(1)?, line.value(1)?))).collect()
}

/// Cisco's formula, and its reference of 100 Mbit/s: what is faster costs 1.
fn cost_by_bandwidth(reference_mbps: u32, kbps: u32) -> u16 {
    let cost = u64::from(reference_mbps) * 1000 / u64::from(kbps.max(1));
    u16::try_from(cost).unwrap_or(u16::MAX).max(1)
}

fn read_instance(block: &Node, sets: &PrefixSets, bandwidths: &Bandwidths) -> Result<InstanceConfig, ConfigError> {
    let mut areas: BTreeMap<AreaId, AreaConfig> = BTreeMap::new();
    let reference = optional(block, "auto-cost reference-bandwidth", 2)?.unwrap_or(REFERENCE_BANDWIDTH);
    for node in block.all("area") {
        let id = read_area_id(node)?;
        let mut area = read_area(node, id)?;
        for (name, interface) in &mut area.interfaces {
            let by_bandwidth = bandwidths.get(name).map(|kbps| cost_by_bandwidth(reference, *kbps));
            interface.cost = interface.cost.or(by_bandwidth);
        }
        if areas.values().flat_map(|area| area.interfaces.keys()).any(|name| area.interfaces.contains_key(name)) {
            return Err(nonsense(node, "one of its interfaces is in another area already"));
        }
        if areas.insert(id, area).is_some() {
            return Err(nonsense(node, "the same area is written in another way already"));
        }
    }
    let redistribute = block.all("redistribute").map(|line| read_redistribute(line, sets));
    let spf = match read_throttle(block, "timers throttle spf", 3)? {
        Some([initial, short, long]) => SpfDelayConfig { initial, short, long, ..SpfDelayConfig::default() },
        None => SpfDelayConfig::default(),
    };
    let lsa = match read_throttle(block, "timers throttle lsa all", 4)? {
        Some([start, hold, max]) => BackoffConfig { start, hold, max },
        None => LSA_BACKOFF,
    };
    Ok(InstanceConfig {
        name: block.value(2)?,
        router_id: optional(block, "router-id", 1)?,
        maximum_paths: optional(block, "maximum paths", 2)?.unwrap_or(MAXIMUM_PATHS),
        default_route: block.find("default-information originate").map(read_default_route).transpose()?,
        redistribute: redistribute.collect::<Result<_, _>>()?,
        max_lsas: optional(block, "max-lsa", 1)?,
        max_metric: block.find("max-metric router-lsa").is_some(),
        spf,
        lsa,
        areas,
    })
}

fn read_default_route(line: &Node) -> Result<DefaultRoute, ConfigError> {
    let at = |word: &str| line.words.iter().position(|other| other == word);
    let metric = at("metric").map(|at| line.value(at + 1)).transpose()?;
    Ok(DefaultRoute { metric: metric.unwrap_or(1), always: at("always").is_some() })
}

fn read_redistribute(block: &Node, sets: &PrefixSets) -> Result<(String, Redistribute), ConfigError> {
    let wanted = redistribution::read(block, sets)?;
    let usual = if wanted.protocol == "bgp" { METRIC_OF_BGP } else { METRIC };
    let metric = optional(block, "metric", 1)?.unwrap_or(usual);
    let metric = match optional(block, "metric-type", 1)? {
        Some(1u8) => ExternalMetric::Type1(metric),
        _ => ExternalMetric::Type2(metric),
    };
    let tag = optional(block, "tag", 1)?;
    Ok((wanted.protocol.clone(), Redistribute { wanted, metric, tag }))
}

fn read_throttle(block: &Node, words: &str, first: usize) -> Result<Option<[Duration; 3]>, ConfigError> {
    let Some(line) = block.find(words) else { return Ok(None) };
    let mut times = [Duration::ZERO; 3];
    for (index, time) in times.iter_mut().enumerate() {
        *time = Duration::from_millis(line.value(first + index)?);
    }
    if times[1] > times[2] {
        return Err(nonsense(line, "the hold time is above the maximum"));
    }
    Ok(Some(times))
}

fn read_area_id(node: &Node) -> Result<AreaId, ConfigError> {
    let text: String = node.value(1)?;
    let by_number = text.parse::<u32>().map(AreaId::from);
    by_number
        .or_else(|_| text.parse())
        .map_err(|_| nonsense(node, "an area is a number or an address, like 0 or 0.0.0.1"))
}

fn read_area(node: &Node, id: AreaId) -> Result<AreaConfig, ConfigError> {
    let (stub, nssa) = (node.find("stub"), node.find("nssa"));
    let kind = match (stub, nssa) {
        (None, None) => AreaKind::Normal,
        (Some(_), None) => AreaKind::Stub,
        (None, Some(_)) => AreaKind::Nssa,
        (Some(_), Some(_)) => return Err(nonsense(node, "it is either stub or nssa")),
    };
    if id == BACKBONE && kind != AreaKind::Normal {
        return Err(nonsense(node, "the backbone is never a stub area or an NSSA (RFC 2328 section 3.6)"));
    }
    if let Some(line) = node.find("virtual-link") {
        return Err(nonsense(line, "virtual links are not supported"));
    }
    let default_only = node.find("stub no-summary").or_else(|| node.find("nssa no-summary")).is_some();
    let mut ranges = BTreeMap::new();
    for line in node.all("range") {
        let range = if line.words.len() > 2 { Range::Hide } else { Range::Advertise };
        if ranges.insert(line.value(1)?, range).is_some_and(|other| other != range) {
            return Err(nonsense(line, "it is both told and not"));
        }
    }
    let mut interfaces = BTreeMap::new();
    for block in node.all("interface") {
        interfaces.insert(block.value(1)?, read_interface(block)?);
    }
    Ok(AreaConfig {
        kind,
        summaries: if default_only { Summaries::DefaultOnly } else { Summaries::All },
        default_cost: optional(node, "default-cost", 1)?.unwrap_or(1),
        ranges,
        interfaces,
    })
}

fn read_interface(block: &Node) -> Result<InterfaceConfig, ConfigError> {
    let default = InterfaceConfig::default();
    let hello_seconds = optional(block, "hello-interval", 1)?.unwrap_or(default.hello_seconds);
    // IOS-XR's: four hellos.
    let dead_seconds = optional(block, "dead-interval", 1)?.unwrap_or(4 * u32::from(hello_seconds));
    if dead_seconds <= u32::from(hello_seconds) {
        return Err(nonsense(block, "the dead interval must be longer than the hello interval"));
    }
    Ok(InterfaceConfig {
        network: read_network(block)?,
        cost: optional(block, "cost", 1)?,
        priority: optional(block, "priority", 1)?.unwrap_or(default.priority),
        hello_seconds,
        dead_seconds,
        retransmit: optional(block, "retransmit-interval", 1)?.map_or(default.retransmit, Duration::from_secs),
        transmit_delay_seconds: optional(block, "transmit-delay", 1)?.unwrap_or(default.transmit_delay_seconds),
        passive: if is_enabled(block, "passive") { Passive::Yes } else { Passive::No },
        mtu_check: if is_enabled(block, "mtu-ignore") { MtuCheck::Ignore } else { MtuCheck::Check },
        instance: optional(block, "instance-id", 1)?.unwrap_or(default.instance),
        authentication: read_authentication(block)?,
    })
}

fn is_enabled(block: &Node, word: &str) -> bool {
    block.find(word).is_some_and(|line| line.words.get(1).is_some_and(|value| value == "enable"))
}

fn read_network(block: &Node) -> Result<NetworkType, ConfigError> {
    let Some(line) = block.find("network") else { return Ok(NetworkType::default()) };
    match line.words.get(1).map(String::as_str) {
        Some("broadcast") => Ok(NetworkType::Broadcast),
        Some("point-to-point") => Ok(NetworkType::PointToPoint),
        Some(other) => {
            Err(nonsense(line, &format!("{other} networks are not supported; use broadcast or point-to-point")))
        }
        None => Err(nonsense(line, "a type is missing")),
    }
}

fn read_authentication(block: &Node) -> Result<Authentication, ConfigError> {
    let Some(line) = block.find("authentication") else { return Ok(Authentication::Null) };
    match line.words.get(1).map(String::as_str) {
        Some("simple") => {
            let missing = || ConfigError::Missing { block: block.named(), line: "authentication-key" };
            let key = block.find("authentication-key").ok_or_else(missing)?;
            let text: String = key.value(1)?;
            let mut password = [0; MAX_PASSWORD];
            let place =
                password.get_mut(..text.len()).ok_or_else(|| nonsense(block, "a password has at most 8 bytes"))?;
            place.copy_from_slice(text.as_bytes());
            Ok(Authentication::Simple(password))
        }
        Some("message-digest") => {
            let mut keys = block.all("message-digest-key").map(read_key).collect::<Result<Vec<_>, _>>()?;
            keys.sort_by_key(|key| key.id);
            if keys.is_empty() {
                return Err(ConfigError::Missing { block: block.named(), line: "message-digest-key" });
            }
            if keys.windows(2).any(|pair| pair[0].id == pair[1].id) {
                return Err(nonsense(block, "two keys have the same ID"));
            }
            Ok(Authentication::Cryptographic(keys))
        }
        Some("null") => Ok(Authentication::Null),
        _ => Err(nonsense(line, "`null`, `simple` or `message-digest` is expected")),
    }
}

fn read_key(line: &Node) -> Result<Key, ConfigError> {
    let algorithm = match line.words.get(2).map(String::as_str) {
        Some("md5") => Algorithm::Md5,
        Some("hmac-sha-1") => Algorithm::HmacSha1,
        Some("hmac-sha-256") => Algorithm::HmacSha256,
        Some("hmac-sha-384") => Algorithm::HmacSha384,
        Some("hmac-sha-512") => Algorithm::HmacSha512,
        _ => return Err(hidden(line, "the algorithm is not known")),
    };
    let secret = line.words.get(3).map(|word| word.as_bytes().to_vec()).unwrap_or_default();
    if algorithm == Algorithm::Md5 && secret.len() > MAX_MD5_SECRET {
        return Err(hidden(line, "a secret of MD5 has at most 16 bytes"));
    }
    Ok(Key { id: line.value(1)?, algorithm, secret })
}

/// Word `index` of a line that may be missing.
fn optional<T: FromStr>(block: &Node, keywords: &str, index: usize) -> Result<Option<T>, ConfigError> {
    Ok(block.find(keywords).map(|line| line.value(index)).transpose()?)
}

fn nonsense(line: &Node, reason: &str) -> ConfigError {
    ConfigError::Nonsense { line: line.named(), reason: reason.to_owned() }
}

/// The same for a line that ends with a secret, which no log shows.
fn hidden(line: &Node, reason: &str) -> ConfigError {
    let text = line.words.get(..3).unwrap_or_default().join(" ");
    ConfigError::Nonsense { line: NamedLine { text, ..line.named() }, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
