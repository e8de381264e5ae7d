//! The core of OSPF in this process: a router that is full with a neighbor, which tells it of a network.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ospf::Ospf;
use ospf::auth::Authentication;
use ospf::links::SOCKET;
use ospf::packet::{
    BACKBONE, DatabaseDescription, DescriptionFlags, Hello, LinkStateUpdate, Lsa, LsaKey, LsaType, Options, PacketKind,
    RouterFlags, RouterLink, RouterLinkKind, RouterLsa, SequenceNumber, encode,
};
use sdk::core::{DatagramCommand, Input, Output, ProtocolCore, Time};
use sdk::rib::{RibRequest, RouteChange};
use stack_api::datagram::ProcessMessage;
use stack_api::interface::{InterfaceKind, InterfaceState};
use vr_api::config::Node;

use crate::bench::footprint::Footprint;

/// Lower than every other, so that neighbors lead the exchange of descriptions.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const ALL_SPF_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 5);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 254);
/// LSAs in one update.
const PER_UPDATE: usize = 20;
/// LSAs whose memory is measured.
const MANY: u32 = 20_000;

/// What calculations take, in seconds.
#[derive(Debug, Default)]
pub struct Calculations {
    /// Of the table, from the database on.
    pub calculation: Vec<f64>,
    /// The same with the LSA that was the reason: from its packet on.
    pub lsa_to_routes: Vec<f64>,
}

/// A router in a random network of mean degree 4, in which one LSA changes in each round.
pub fn calculate(routers: u32, rounds: usize) -> Result<Calculations> {
    let mut network = Network::random(routers);
    let mut router = Router::full(&["link"])?;
    router.update(0, &network.lsas()?)?;
    router.wait(Duration::from_secs(30))?;
    let mut found = Calculations::default();
    for round in 0..rounds {
        let lsa = network.change(round as u32)?;
        router.wait(Duration::from_secs(30))?;
        let begun = Instant::now();
        router.update(0, &[lsa])?;
        let (calculated, runs) = router.calculate()?;
        found.lsa_to_routes.push(begun.elapsed().as_secs_f64());
        found.calculation.push(calculated.as_secs_f64());
        let routes = router.routes.len();
        ensure!(runs == 1 && routes >= routers as usize, "{runs} calculations, {routes} routes");
    }
    Ok(found)
}

/// Seconds from the first update to the last that goes on to another neighbor.
pub fn flood(lsas: u32, rounds: usize) -> Result<Vec<f64>> {
    let mut seconds = Vec::new();
    for round in 0..rounds {
        let mut router = Router::full(&["link", "out"])?;
        let lsas: Vec<Lsa> = (0..lsas).map(|number| external(number, round as u32)).collect::<Result<_>>()?;
        router.wait(Duration::from_secs(30))?;
        let before = router.sent;
        let begun = Instant::now();
        router.update(0, &lsas)?;
        seconds.push(begun.elapsed().as_secs_f64());
        ensure!(router.sent > before + lsas.len() / 100, "nothing was flooded");
    }
    Ok(seconds)
}

/// Bytes of this process for each LSA that it keeps.
pub fn memory_per_lsa() -> Result<f64> {
    let mut router = Router::full(&["link"])?;
    let before = Footprint::own()?.memory;
    for first in (0..MANY).step_by(1000) {
        let lsas: Vec<Lsa> = (first..first + 1000).map(|number| external(number, 0)).collect::<Result<_>>()?;
        router.update(0, &lsas)?;
    }
    let after = Footprint::own()?.memory;
    drop(router);
    Ok(after.saturating_sub(before) as f64 / f64::from(MANY))
}

fn external(number: u32, metric: u32) -> Result<Lsa> {
    let key = LsaKey::new(LsaType::External, Ipv4Addr::from(0x0a00_0000 + (number << 8)), neighbor(0));
    let body = [&[255, 255, 255, 0][..], &(0x8000_0001 + metric).to_be_bytes(), &[0; 8]].concat();
    Lsa::originate(key, Options::E, SequenceNumber::INITIAL, &body).context("an LSA of 36 bytes")
}

/// The neighbor on an interface.
fn neighbor(interface: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0aff_0000 + interface as u32)
}

/// Routers joined by point-to-point links at random; router 0 is the neighbor.
struct Network {
    /// Of each router: to whom, at which cost.
    links: Vec<Vec<(u32, u16)>>,
    sequences: Vec<i32>,
}

impl Network {
    fn random(routers: u32) -> Self {
        let mut random = Random(u64::from(routers));
        let mut links = vec![Vec::new(); routers as usize];
        let mut join = |a: u32, b: u32, cost: u16| {
            links[a as usize].push((b, cost));
            links[b as usize].push((a, cost));
        };
        // A tree, so that all is connected; then as many links once more.
        for router in 1..routers {
            join(router, random.below(router), 1 + random.below(10) as u16);
        }
        for _ in routers..routers * 2 {
            let (a, b) = (random.below(routers), random.below(routers));
            if a != b {
                join(a, b, 1 + random.below(10) as u16);
            }
        }
        Self { links, sequences: vec![SequenceNumber::INITIAL.0; routers as usize] }
    }

    fn id(router: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x0aff_0000 + router)
    }

    fn lsa(&self, router: u32) -> Result<Lsa> {
        let link = |(to, cost): &(u32, u16)| RouterLink {
            kind: RouterLinkKind::PointToPoint,
            id: Self::id(*to),
            data: Ipv4Addr::from(0x0b00_0000 + router),
            metric: *cost,
        };
        let mut links: Vec<RouterLink> = self.links[router as usize].iter().map(link).collect();
        if router == 0 {
            let (kind, data) = (RouterLinkKind::PointToPoint, Ipv4Addr::new(10, 0, 0, 1));
            links.push(RouterLink { kind, id: OWN, data, metric: 1 });
        }
        let (kind, data) = (RouterLinkKind::Stub, Ipv4Addr::BROADCAST);
        links.push(RouterLink { kind, id: Ipv4Addr::from(0xac10_0000 + router), data, metric: 0 });
        let key = LsaKey::new(LsaType::Router, Self::id(router), Self::id(router));
        let sequence = SequenceNumber(self.sequences[router as usize]);
        let body = RouterLsa::encode(RouterFlags::default(), &links);
        Lsa::originate(key, Options::E, sequence, &body).context("a router with too many links")
    }

    fn lsas(&self) -> Result<Vec<Lsa>> {
        (0..self.links.len() as u32).map(|router| self.lsa(router)).collect()
    }

    /// A link of some router costs something else.
    fn change(&mut self, round: u32) -> Result<Lsa> {
        let router = (self.links.len() as u32 / 2 + round * 7) % self.links.len() as u32;
        if let Some((_, cost)) = self.links[router as usize].first_mut() {
            *cost = *cost % 20 + 1;
        }
        self.sequences[router as usize] += 1;
        self.lsa(router)
    }
}

/// A small generator, so that every run measures the same network.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

/// A core, and neighbors that the benchmark plays.
struct Router {
    core: Ospf,
    now: Time,
    interfaces: &'static [&'static str],
    /// When neighbors say hello again.
    hello_at: Time,
    /// Prefixes in the RIB.
    routes: HashSet<String>,
    /// Packets sent.
    sent: usize,
}

impl Router {
    /// Full with a neighbor on each interface.
    fn full(interfaces: &'static [&'static str]) -> Result<Self> {
        let line = |text: String, children| Node::new(&text, children);
        let block = |name: &&str| {
            let network = line("network point-to-point".to_owned(), vec![]);
            line(format!("interface {name}"), vec![network])
        };
        let area = line("area 0".to_owned(), interfaces.iter().map(block).collect());
        let router_id = line(format!("router-id {OWN}"), vec![]);
        let config = Ospf::read_config(&[line("router ospf 1".to_owned(), vec![router_id, area])])?;
        let mut core = Ospf::new(1_700_000_000);
        core.configure(Time::ZERO, config)?;
        let mut router =
            Self { core, now: Time::ZERO, interfaces, hello_at: Time::ZERO, routes: HashSet::new(), sent: 0 };
        router.input(Input::RibRestarted);
        router.input(Input::Bound { socket: SOCKET });
        for (index, name) in interfaces.iter().enumerate() {
            router.input(Input::Interface(InterfaceState {
                vr: "bench".parse()?,
                name: name.parse()?,
                kind: InterfaceKind::Port,
                addresses: vec![format!("10.0.{index}.0/31").parse()?],
                mtu: 1500,
                up: true,
                mac: None,
                link_local: None,
            }));
        }
        router.hellos()?;
        let describe = |flags, sequence| DatabaseDescription::new(1500, Options::E | Options::O, flags, sequence);
        let first = DescriptionFlags(DescriptionFlags::INIT.0 | DescriptionFlags::MORE.0 | DescriptionFlags::MASTER.0);
        for index in 0..interfaces.len() {
            let kind = PacketKind::DatabaseDescription;
            router.packet(index, kind, |into| describe(first, 100).encode(&[], into))?;
            router.packet(index, kind, |into| describe(DescriptionFlags::MASTER, 101).encode(&[], into))?;
        }
        Ok(router)
    }

    fn hellos(&mut self) -> Result<()> {
        for index in 0..self.interfaces.len() {
            let hello = Hello::new(MASK, 10, 40, Options::E, 1);
            self.packet(index, PacketKind::Hello, |into| hello.encode([OWN], into))?;
        }
        self.hello_at = self.now + Duration::from_secs(10);
        Ok(())
    }

    /// A neighbor sends LSAs.
    fn update(&mut self, index: usize, lsas: &[Lsa]) -> Result<()> {
        for some in lsas.chunks(PER_UPDATE) {
            let with_age = some.iter().map(|lsa| (lsa, 1));
            self.packet(index, PacketKind::LinkStateUpdate, |into| LinkStateUpdate::encode(with_age, into))?;
        }
        Ok(())
    }

    fn packet(&mut self, index: usize, kind: PacketKind, body: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let name = self.interfaces.get(index).context("no such interface")?;
        let packet = encode(kind, neighbor(index), BACKBONE, body);
        for payload in Authentication::Null.sign(packet, 0, |_| false) {
            let mut message = ProcessMessage::to(SocketAddr::new(IpAddr::V4(ALL_SPF_ROUTERS), 0), payload);
            let source = Ipv4Addr::from(0x0a00_0001 + ((index as u32) << 8));
            message.addresses.source = SocketAddr::new(IpAddr::V4(source), 0);
            message.interface = Some(name.parse()?);
            self.input(Input::Datagram { socket: SOCKET, message: &message });
        }
        Ok(())
    }

    /// Lets time pass.
    fn wait(&mut self, time: Duration) -> Result<()> {
        let until = self.now + time;
        loop {
            let timer = self.core.poll_timeout().map_or(self.hello_at, |due| due.min(self.hello_at));
            if timer > until {
                break;
            }
            self.now = self.now.max(timer);
            match timer == self.hello_at {
                true => self.hellos()?,
                false => {
                    self.core.handle_timeout(self.now);
                    self.drain();
                }
            }
        }
        self.now = until;
        Ok(())
    }

    /// Runs timers until the table was calculated: how long that took, and how many calculations there were.
    fn calculate(&mut self) -> Result<(Duration, usize)> {
        let (before, limit) = (self.runs(), self.now + Duration::from_millis(50));
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= limit) {
            self.now = self.now.max(due);
            let begun = Instant::now();
            self.core.handle_timeout(self.now);
            let took = begun.elapsed();
            self.drain();
            let runs = self.runs() - before;
            if runs > 0 {
                return Ok((took, runs));
            }
        }
        anyhow::bail!("the table was not calculated")
    }

    /// Calculations so far: a counter of `show ospf`.
    fn runs(&self) -> usize {
        let rows = self.core.show(self.now, "ospf", &[]).unwrap_or_default();
        let column = ospf::show::tables().into_iter().find(|table| table.words == "ospf");
        let place = column.and_then(|table| table.columns.iter().position(|column| column == "spf_runs"));
        // The column vr is not among the cells.
        let cell = place.and_then(|place| rows.first()?.get(place.checked_sub(1)?).cloned());
        match cell {
            Some(vr_api::show::Value::Number(runs)) => usize::try_from(runs).unwrap_or(0),
            Some(_) | None => 0,
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.core.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Datagram { command: DatagramCommand::Send(_), .. } => self.sent += 1,
                Output::Rib(RibRequest::Routes(changes)) => {
                    for change in changes {
                        match change {
                            RouteChange::Add(route) => _ = self.routes.insert(route.prefix.to_string()),
                            RouteChange::Remove(prefix) => _ = self.routes.remove(&prefix.to_string()),
                        }
                    }
                }
                // What else it wants is not measured.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_router_of_the_network_is_reached_and_each_change_is_one_calculation() {
        let found = calculate(100, 3).unwrap();
        assert_eq!((found.calculation.len(), found.lsa_to_routes.len()), (3, 3));
        assert!(found.calculation.iter().zip(&found.lsa_to_routes).all(|(part, whole)| part <= whole));
    }

    #[test]
    fn what_one_neighbor_tells_goes_on_to_the_other() {
        assert_eq!(flood(100, 2).unwrap().len(), 2);
    }
}
