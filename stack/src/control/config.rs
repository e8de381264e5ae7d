//! The stack's part of the configuration: line cards with their ports, VRs with their interfaces.

use std::path::PathBuf;

use ipc::{InterfaceName, NameError, VrName};
use ipnet::IpNet;
use vr_api::config::{NamedLine, Node, Objection, ValueError};
use vr_api::interface::{inter_vr, of_port, peer_of};

/// Blocks that the stack subscribes to.
pub const BLOCKS: [&str; 3] = ["linecard", "vr", "connect"];

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StackConfig {
    /// Line cards.
    pub linecards: Vec<LineCardSpec>,
    /// Virtual routers.
    pub vrs: Vec<VrSpec>,
}

/// A line card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineCardSpec {
    /// `0/0`.
    pub name: String,
    /// Threads that share its ports.
    pub worker_threads: usize,
    /// Its ports.
    pub ports: Vec<PortSpec>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// `0/0/1`.
    pub name: String,
    /// What carries its frames.
    pub driver: DriverSpec,
    /// Every so many frames one is dropped, starting from a seed: for tests.
    pub impairment: Option<Impairment>,
}

/// Frames that are dropped on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Impairment {
    /// Every so many frames.
    pub drop_every: u32,
    /// Where to start.
    pub seed: u64,
}

/// What carries a port's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverSpec {
    /// A Unix datagram socket.
    Cable {
        /// Own socket.
        local: PathBuf,
        /// The other end's.
        remote: PathBuf,
    },
    /// A network device of the host.
    AfPacket {
        /// Its name.
        device: String,
        /// Whether it must be there.
        presence: Presence,
    },
}

/// Whether a device must be there when a port is configured on it. One that goes and comes back later is taken again in
/// either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must: a name that is mistyped is refused.
    Required,
    /// It may appear later, as the links of a container do that are made after its start.
    Hotplug,
}

/// A virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VrSpec {
    /// Its name.
    pub name: VrName,
    /// Its interfaces: configured ones, ports assigned to it, and one for each VR it is joined with.
    pub interfaces: Vec<InterfaceSpec>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// Its name.
    pub name: InterfaceName,
    /// What is behind it.
    pub link: LinkSpec,
    /// Its addresses, of both families.
    pub addresses: Vec<IpNet>,
    /// IPv6 is enabled: it has an address of it, or shall have a link-local one only.
    pub ipv6: bool,
    /// IP MTU in bytes, if configured.
    pub mtu_bytes: Option<u32>,
    /// Administratively closed.
    pub shut: bool,
}

/// What is behind an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkSpec {
    /// A port, by its name: `0/0/1`.
    Port(String),
    /// Nothing.
    Loopback,
    /// Another VR.
    InterVr(VrName),
}

/// Why a configuration is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StackConfigError {
    /// A line does not carry what it should.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// An interface's name becomes too long.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A port without a driver carries nothing.
    #[error("linecard {linecard} {port}: `driver` is missing")]
    NoDriver {
        /// Line card.
        linecard: String,
        /// Port.
        port: NamedLine,
    },
    /// A driver that this version does not have.
    #[error("`{0}`: this driver is not supported")]
    UnknownDriver(NamedLine),
}

impl StackConfigError {
    /// What the operator is told, and about which line.
    pub fn objection(&self) -> Objection {
        let statement = match self {
            StackConfigError::Value(error) => Some(error.line().statement),
            StackConfigError::Name(_) => None,
            StackConfigError::NoDriver { port: line, .. } | StackConfigError::UnknownDriver(line) => {
                Some(line.statement)
            }
        };
        Objection { reason: self.to_string(), statement }
    }
}

/// The line that says what carries the frames of a port, named as `0/0/1`.
pub fn driver_line<'b>(blocks: &'b [Node], port: &str) -> Option<&'b Node> {
    let linecards = blocks.iter().filter(|block| block.starts_with("linecard"));
    let ports = linecards.flat_map(|linecard| linecard.all("port").map(move |block| (linecard, block)));
    let name = |linecard: &Node, block: &Node| Some(format!("{}/{}", linecard.words.get(1)?, block.words.get(1)?));
    let (_, block) = ports.into_iter().find(|(linecard, block)| name(linecard, block).as_deref() == Some(port))?;
    block.find("driver")
}

impl StackConfig {
    /// Reads the blocks.
    pub fn read(blocks: &[Node]) -> Result<Self, StackConfigError> {
        let mut config = Self::default();
        for block in blocks {
            match block.words.first().map(String::as_str) {
                Some("linecard") => config.linecards.push(read_linecard(block)?),
                Some("vr") => config.vrs.push(read_vr(block)?),
                _ => {}
            }
        }
        let connects = blocks.iter().filter(|block| block.starts_with("connect"));
        let connects: Vec<(VrName, VrName)> =
            connects.map(|connect| Ok((connect.value(1)?, connect.value(2)?))).collect::<Result<_, ValueError>>()?;
        // Lines for an interface may stand while the administrator has taken it away: then there is none.
        for vr in &mut config.vrs {
            let own = &vr.name;
            vr.interfaces.retain(|interface| match &interface.link {
                LinkSpec::InterVr(peer) => connects.iter().any(|(a, b)| (a, b) == (own, peer) || (a, b) == (peer, own)),
                LinkSpec::Port(_) | LinkSpec::Loopback => true,
            });
        }
        for (a, b) in connects {
            config.add_interface(&a, inter_vr(&b)?, LinkSpec::InterVr(b.clone()));
            config.add_interface(&b, inter_vr(&a)?, LinkSpec::InterVr(a.clone()));
        }
        Ok(config)
    }

    /// An interface that exists without a block of its own.
    fn add_interface(&mut self, vr: &VrName, name: InterfaceName, link: LinkSpec) {
        if let Some(vr) = self.vrs.iter_mut().find(|spec| spec.name == *vr) {
            vr.add_interface(name, link);
        }
    }
}

impl VrSpec {
    fn add_interface(&mut self, name: InterfaceName, link: LinkSpec) {
        if !self.interfaces.iter().any(|interface| interface.name == name) {
            let (addresses, mtu_bytes) = (Vec::new(), None);
            self.interfaces.push(InterfaceSpec { name, link, addresses, ipv6: false, mtu_bytes, shut: false });
        }
    }
}

fn read_linecard(block: &Node) -> Result<LineCardSpec, StackConfigError> {
    let name: String = block.value(1)?;
    let worker_threads = block.find("worker-threads").map_or(Ok(1), |line| line.value(1))?;
    let ports = block.all("port").map(|port| read_port(&name, port)).collect::<Result<_, _>>()?;
    Ok(LineCardSpec { name, worker_threads, ports })
}

fn read_port(linecard: &str, block: &Node) -> Result<PortSpec, StackConfigError> {
    let number: String = block.value(1)?;
    let Some(driver) = block.find("driver") else {
        return Err(StackConfigError::NoDriver { linecard: linecard.to_owned(), port: block.named() });
    };
    let driver = match driver.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["driver", "cable", "local", local, "remote", remote] => {
            DriverSpec::Cable { local: local.into(), remote: remote.into() }
        }
        ["driver", "af-packet", "device", device] => {
            DriverSpec::AfPacket { device: device.to_owned(), presence: Presence::Required }
        }
        ["driver", "af-packet", "device", device, "hotplug"] => {
            DriverSpec::AfPacket { device: device.to_owned(), presence: Presence::Hotplug }
        }
        _ => return Err(StackConfigError::UnknownDriver(driver.named())),
    };
    let impairment = block.find("impair drop-every");
    let impairment =
        impairment.map(|line| Ok::<_, ValueError>(Impairment { drop_every: line.value(2)?, seed: line.value(4)? }));
    Ok(PortSpec { name: format!("{linecard}/{number}"), driver, impairment: impairment.transpose()? })
}

fn read_vr(block: &Node) -> Result<VrSpec, StackConfigError> {
    let mut vr = VrSpec { name: block.value(1)?, interfaces: Vec::new() };
    for interface in block.all("interface") {
        vr.interfaces.push(read_interface(interface)?);
    }
    let assigned = block.all("assign port").map(|line| line.value(2)).collect::<Result<Vec<String>, _>>()?;
    vr.interfaces.retain(|interface| match &interface.link {
        LinkSpec::Port(port) => assigned.contains(port),
        LinkSpec::InterVr(_) | LinkSpec::Loopback => true,
    });
    for port in assigned {
        vr.add_interface(of_port(&port)?, LinkSpec::Port(port));
    }
    Ok(vr)
}

fn read_interface(block: &Node) -> Result<InterfaceSpec, StackConfigError> {
    let name: InterfaceName = block.value(1)?;
    let link = match (peer_of(&name), name.as_str().strip_prefix("Port")) {
        (Some(peer), _) => LinkSpec::InterVr(peer),
        (None, Some(port)) => LinkSpec::Port(port.to_owned()),
        (None, None) => LinkSpec::Loopback,
    };
    let addresses = block.all("ipv4 address").chain(block.all("ipv6 address"));
    let addresses: Vec<IpNet> = addresses.map(|line| line.value(2)).collect::<Result<_, _>>()?;
    let ipv6 = block.find("ipv6 enable").is_some() || addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
    let mtu_bytes = block.find("mtu").map(|line| line.value(1)).transpose()?;
    Ok(InterfaceSpec { name, link, addresses, ipv6, mtu_bytes, shut: block.find("shutdown").is_some() })
}
