//! What the configuration wants of the manager: VRs with their classes and interfaces, and who is joined.

use std::net::Ipv6Addr;

use ipc::{InterfaceName, NameError, ServiceName, VrName};
use ipnet::IpNet;
use vr_api::command::Declaration;
use vr_api::config::{Node, Objection, ValueError};
use vr_api::interface::{inter_vr, inter_vr_link_local, peer_of};

/// Blocks of the configuration that the manager subscribes to.
pub const BLOCKS: [&str; 2] = ["vr", "connect"];

/// A VR as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredVr {
    /// Its name.
    pub name: VrName,
    /// What runs in it.
    pub classes: Vec<ServiceName>,
    /// Its configured interfaces.
    pub interfaces: Vec<DesiredInterface>,
}

/// An interface as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredInterface {
    /// Its name.
    pub name: InterfaceName,
    /// Its addresses, of both families.
    pub addresses: Vec<IpNet>,
    /// Of an inter-VR interface with IPv6: its link-local address.
    pub link_local: Option<Ipv6Addr>,
    /// Administratively closed.
    pub shut: bool,
    /// Whether the vrFIB may lead over it.
    pub short_circuit: bool,
}

/// The whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// All VRs.
    pub vrs: Vec<DesiredVr>,
    /// Joined pairs.
    pub connects: Vec<(VrName, VrName)>,
}

/// Why a configuration is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesiredError {
    /// A line does not carry what it should.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The long name of an inter-VR interface is too long.
    #[error("connect: {0}")]
    Name(#[from] NameError),
}

impl DesiredError {
    /// What the operator is told, and about which line.
    pub fn objection(&self) -> Objection {
        let statement = match self {
            DesiredError::Value(error) => Some(error.line().statement),
            DesiredError::Name(_) => None,
        };
        Objection { reason: self.to_string(), statement }
    }
}

/// Reads the blocks.
pub fn read(blocks: &[Node], declarations: &[Declaration]) -> Result<Desired, DesiredError> {
    let mut desired = Desired::default();
    for block in blocks {
        if block.starts_with("vr") {
            desired.vrs.push(read_vr(block, declarations)?);
        } else if block.starts_with("connect") {
            desired.connects.push((block.value(1)?, block.value(2)?));
        }
    }
    forget_dormant(&mut desired);
    for (a, b) in desired.connects.clone() {
        add_interface(&mut desired, &a, &b)?;
        add_interface(&mut desired, &b, &a)?;
    }
    Ok(desired)
}

/// Lines for an interface may stand while the administrator has taken it away (`no connect`): then there is none.
fn forget_dormant(desired: &mut Desired) {
    let connects = &desired.connects;
    for vr in &mut desired.vrs {
        let own = &vr.name;
        vr.interfaces.retain(|interface| {
            peer_of(&interface.name)
                .is_none_or(|peer| connects.iter().any(|(a, b)| (a, b) == (own, &peer) || (a, b) == (&peer, own)))
        });
    }
}

fn read_vr(block: &Node, declarations: &[Declaration]) -> Result<DesiredVr, DesiredError> {
    let classes = declarations.iter().filter(|class| class.runs_in(block)).map(|class| class.class.clone()).collect();
    let name: VrName = block.value(1)?;
    let interfaces = block.all("interface").map(|interface| read_interface(&name, interface));
    let interfaces = interfaces.collect::<Result<_, ValueError>>()?;
    Ok(DesiredVr { name, classes, interfaces })
}

fn read_interface(vr: &VrName, block: &Node) -> Result<DesiredInterface, ValueError> {
    let name: InterfaceName = block.value(1)?;
    let addresses = block.all("ipv4 address").chain(block.all("ipv6 address"));
    let addresses: Vec<IpNet> = addresses.map(|line| line.value(2)).collect::<Result<_, _>>()?;
    let has_ipv6 = block.find("ipv6 enable").is_some() || addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
    let peer = peer_of(&name).filter(|_| has_ipv6);
    let link_local = peer.map(|peer| inter_vr_link_local(vr, &peer));
    let shut = block.find("shutdown").is_some();
    let short_circuit = block.find("short-circuit disable").is_none();
    Ok(DesiredInterface { name, addresses, link_local, shut, short_circuit })
}

/// `connect` makes the interface; a block for it may be missing.
fn add_interface(desired: &mut Desired, vr: &VrName, peer: &VrName) -> Result<(), DesiredError> {
    let name = inter_vr(peer)?;
    let router = desired.vrs.iter_mut().find(|router| router.name == *vr);
    if let Some(router) = router
        && !router.interfaces.iter().any(|interface| interface.name == name)
    {
        let (addresses, link_local) = (Vec::new(), None);
        router.interfaces.push(DesiredInterface { name, addresses, link_local, shut: false, short_circuit: true });
    }
    Ok(())
}
