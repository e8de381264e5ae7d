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
use sdk::core::{Input, Output, ProtocolCore, Time};
use sdk::rib::{RibRequest, RouteChange};
use stack_api::datagram::ProcessMessage;
use stack_api::interface::{InterfaceKind, InterfaceState};
use vr_api::config::Node;

/// Number of the router that is measured: lower than every other, so that neighbors lead the exchange of descriptions.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
/// 224.0.0.5.
pub const ALL_SPF_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 5);
/// Address of the neighbor, router 0 of the network.
pub const NEIGHBOR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Of each link.
pub const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 254);
/// LSAs in one update.
pub const PER_UPDATE: usize = 20;

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
    let mut router = Router::full()?;
    router.update(&network.lsas()?)?;
    router.wait(Duration::from_secs(30))?;
    let mut found = Calculations::default();
    for round in 0..rounds {
        let lsa = network.change(round as u32)?;
        router.wait(Duration::from_secs(30))?;
        let begun = Instant::now();
        router.update(&[lsa])?;
        let (calculated, runs) = router.calculate()?;
        found.lsa_to_routes.push(begun.elapsed().as_secs_f64());
        found.calculation.push(calculated.as_secs_f64());
        let routes = router.routes.len();
        ensure!(runs == 1 && routes >= routers as usize, "{runs} calculations, {routes} routes");
    }
    Ok(found)
}

/// An AS-external-LSA of router 0, its `round`-th instance: of a network, which nobody has a way to.
pub fn external(number: u32, round: u32) -> Result<Lsa> {
    let key = LsaKey::new(LsaType::External, Ipv4Addr::from(0x0a00_0000 + (number << 8)), Network::id(0));
    let body = [&[255, 255, 255, 0][..], &(0x8000_0001 + round).to_be_bytes(), &[0; 8]].concat();
    let sequence = SequenceNumber(SequenceNumber::INITIAL.0 + round.cast_signed());
    Lsa::originate(key, Options::E, sequence, &body).context("an LSA of 36 bytes")
}

/// Routers joined by point-to-point links at random; router 0 is the neighbor.
pub struct Network {
    /// Of each router: to whom, at which cost.
    links: Vec<Vec<(u32, u16)>>,
    sequences: Vec<i32>,
}

impl Network {
    /// Of so many, of mean degree 4.
    pub fn random(routers: u32) -> Self {
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

    /// Number of a router.
    pub fn id(router: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x0aff_0000 + router)
    }

    fn lsa(&self, router: u32) -> Result<Lsa> {
        self.lsa_and_stub(router, None)
    }

    fn lsa_and_stub(&self, router: u32, more: Option<Ipv4Addr>) -> Result<Lsa> {
        let link = |(to, cost): &(u32, u16)| RouterLink {
            kind: RouterLinkKind::PointToPoint,
            id: Self::id(*to),
            data: Ipv4Addr::from(0x0b00_0000 + router),
            metric: *cost,
        };
        let mut links: Vec<RouterLink> = self.links[router as usize].iter().map(link).collect();
        if router == 0 {
            let (kind, data) = (RouterLinkKind::PointToPoint, NEIGHBOR);
            links.push(RouterLink { kind, id: OWN, data, metric: 1 });
        }
        let (kind, data) = (RouterLinkKind::Stub, Ipv4Addr::BROADCAST);
        links.push(RouterLink { kind, id: Ipv4Addr::from(0xac10_0000 + router), data, metric: 0 });
        links.extend(more.map(|id| RouterLink { kind, id, data, metric: 0 }));
        let key = LsaKey::new(LsaType::Router, Self::id(router), Self::id(router));
        let sequence = SequenceNumber(self.sequences[router as usize]);
        let body = RouterLsa::encode(RouterFlags::default(), &links);
        Lsa::originate(key, Options::E, sequence, &body).context("a router with too many links")
    }

    /// Of all routers.
    pub fn lsas(&self) -> Result<Vec<Lsa>> {
        (0..self.links.len() as u32).map(|router| self.lsa(router)).collect()
    }

    /// A router's next LSA, with one more host behind it, or without.
    pub fn with_stub(&mut self, router: u32, host: Option<Ipv4Addr>) -> Result<Lsa> {
        self.sequences[router as usize] += 1;
        self.lsa_and_stub(router, host)
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

/// A core, and the neighbor that the benchmark plays.
struct Router {
    core: Ospf,
    now: Time,
    /// When the neighbor says hello again.
    hello_at: Time,
    /// Prefixes in the RIB.
    routes: HashSet<String>,
}

/// The interface that leads there.
const INTERFACE: &str = "link";

impl Router {
    /// Full with the neighbor.
    fn full() -> Result<Self> {
        let line = |text: String, children| Node::new(&text, children);
        let network = line("network point-to-point".to_owned(), vec![]);
        let interface = line(format!("interface {INTERFACE}"), vec![network]);
        let area = line("area 0".to_owned(), vec![interface]);
        let router_id = line(format!("router-id {OWN}"), vec![]);
        let config = Ospf::read_config(&[line("router ospf 1".to_owned(), vec![router_id, area])])?;
        let mut core = Ospf::new(1_700_000_000);
        core.configure(Time::ZERO, config)?;
        let mut router = Self { core, now: Time::ZERO, hello_at: Time::ZERO, routes: HashSet::new() };
        router.input(Input::RibRestarted);
        router.input(Input::Bound { socket: SOCKET });
        router.input(Input::Interface(InterfaceState {
            vr: "bench".parse()?,
            name: INTERFACE.parse()?,
            kind: InterfaceKind::Port,
            addresses: vec!["10.0.0.0/31".parse()?],
            mtu: 1500,
            up: true,
            mac: None,
            link_local: None,
        }));
        router.hello()?;
        let describe = |flags, sequence| DatabaseDescription::new(1500, Options::E | Options::O, flags, sequence);
        let first = DescriptionFlags(DescriptionFlags::INIT.0 | DescriptionFlags::MORE.0 | DescriptionFlags::MASTER.0);
        let kind = PacketKind::DatabaseDescription;
        router.packet(kind, |into| describe(first, 100).encode(&[], into))?;
        router.packet(kind, |into| describe(DescriptionFlags::MASTER, 101).encode(&[], into))?;
        Ok(router)
    }

    fn hello(&mut self) -> Result<()> {
        let hello = Hello::new(MASK, 10, 40, Options::E, 1);
        self.packet(PacketKind::Hello, |into| hello.encode([OWN], into))?;
        self.hello_at = self.now + Duration::from_secs(10);
        Ok(())
    }

    /// The neighbor sends LSAs.
    fn update(&mut self, lsas: &[Lsa]) -> Result<()> {
        for some in lsas.chunks(PER_UPDATE) {
            let with_age = some.iter().map(|lsa| (lsa, 1));
            self.packet(PacketKind::LinkStateUpdate, |into| LinkStateUpdate::encode(with_age, into))?;
        }
        Ok(())
    }

    fn packet(&mut self, kind: PacketKind, body: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let packet = encode(kind, Network::id(0), BACKBONE, body);
        for payload in Authentication::Null.sign(packet, 0, |_| false) {
            let mut message = ProcessMessage::to(SocketAddr::new(IpAddr::V4(ALL_SPF_ROUTERS), 0), payload);
            message.addresses.source = SocketAddr::new(IpAddr::V4(NEIGHBOR), 0);
            message.interface = Some(INTERFACE.parse()?);
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
                true => self.hello()?,
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
            // What else it wants is not measured.
            let Output::Rib(RibRequest::Routes(changes)) = output else { continue };
            for change in changes {
                match change {
                    RouteChange::Add(route) => _ = self.routes.insert(route.prefix.to_string()),
                    RouteChange::Remove(prefix) => _ = self.routes.remove(&prefix.to_string()),
                }
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
}
