//! The words of `router ospf`.

use sdk::ServiceName;
use sdk::command::{Command, Declaration, ParameterType, Runs};
use sdk::redistribution::{PREFIX_SET, match_words};

use crate::show;

/// Name of the class and of its service in a VR.
const CLASS: &str = "ospf";

/// What this class tells the router about itself.
pub fn declaration() -> Declaration {
    Declaration {
        // Cannot fail: four letters are a name, and every test that reads the declaration passes here.
        class: ServiceName::new(CLASS).expect("a name of letters"),
        runs: Runs::WhereConfigured,
        blocks: vec![router_ospf()],
        reads: vec![PREFIX_SET.into(), "interface".into()],
        tables: show::tables(),
        commands: vec![Command::line("clear ospf process", "Start all adjacencies anew", vec![])],
    }
}

fn number(name: &'static str, min: u64, max: u64) -> ParameterType {
    ParameterType::Number { name: name.into(), min, max }
}

fn choice(values: &[&'static str]) -> ParameterType {
    ParameterType::Choice(values.iter().map(|value| (*value).into()).collect())
}

fn milliseconds(name: &'static str) -> ParameterType {
    number(name, 0, 600_000)
}

fn router_ospf() -> Command {
    let throttle = || ["start milliseconds", "hold milliseconds", "maximum milliseconds"].map(milliseconds).to_vec();
    let metric = || number("metric", 1, 0xff_fffe);
    Command::block(
        "router ospf <>",
        "OSPFv2 under this name",
        vec![ParameterType::Name("process name".into())],
        vec![
            Command::line("router-id <>", "Number of this router", vec![ParameterType::Ipv4Address]),
            Command::line("maximum paths <>", "Ways of equal cost that a route may have", vec![number("paths", 1, 64)]),
            Command::line("default-information originate", "Tell others of the default route that there is", vec![]),
            Command::line("default-information originate always", "Tell others of a default route", vec![]),
            Command::line(
                "default-information originate metric <>",
                "Tell others of the default route that there is with this metric of type 2",
                vec![metric()],
            ),
            Command::line(
                "default-information originate always metric <>",
                "Tell others of a default route with this metric of type 2",
                vec![metric()],
            ),
            redistribute(),
            Command::line(
                "auto-cost reference-bandwidth <>",
                "Cost of an interface with a bandwidth: this one, in Mbit/s, divided by it",
                vec![number("Mbit/s", 1, 4_294_967)],
            ),
            Command::line(
                "max-lsa <>",
                "Beyond so many LSAs of others, forget all and be silent for five minutes",
                vec![number("LSAs", 1, u32::MAX.into())],
            ),
            Command::line("max-metric router-lsa", "Let others forward through this router last", vec![]),
            Command::line("timers throttle spf <> <> <>", "When to calculate: RFC 8405's delays", throttle()),
            Command::line("timers throttle lsa all <> <> <>", "When to originate what changes", throttle()),
            area(),
        ],
    )
    .each()
}

fn redistribute() -> Command {
    let mut lines = vec![
        Command::line("metric <>", "Metric that others are told", vec![number("metric", 0, 0xff_fffe)]),
        Command::line("metric-type <>", "1: in OSPF's units; 2: above all of OSPF's", vec![number("type", 1, 2)]),
        Command::line("tag <>", "Tag that others are told", vec![number("tag", 0, u32::MAX.into())]),
    ];
    lines.extend(match_words());
    Command::block("redistribute connected|static|bgp", "Tell others of routes of another protocol", vec![], lines)
}

fn area() -> Command {
    Command::block(
        "area <>",
        "An area: a number, or an address",
        vec![ParameterType::Name("area".into())],
        vec![
            Command::line("stub", "No external routes here, but a default route", vec![]),
            Command::line("stub no-summary", "No routes of other areas either", vec![]),
            Command::line("nssa", "External routes of this area only, and a default route", vec![]),
            Command::line("nssa no-summary", "No routes of other areas either", vec![]),
            Command::line("default-cost <>", "Cost of that default route", vec![number("cost", 1, 0xff_fffe)]),
            Command::line(
                "range <>",
                "Tell others of one prefix in place of those in it",
                vec![ParameterType::Ipv4Prefix],
            )
            .each(),
            Command::line(
                "range <> not-advertise",
                "Tell others nothing of the prefixes in it",
                vec![ParameterType::Ipv4Prefix],
            )
            .each(),
            Command::line("virtual-link <>", "Not supported", vec![ParameterType::Ipv4Address]).each(),
            interface(),
        ],
    )
    .each()
}

fn interface() -> Command {
    let seconds = |name| number(name, 1, 65_535);
    let networks = ["broadcast", "point-to-point", "non-broadcast", "point-to-multipoint"];
    Command::block(
        "interface <>",
        "An interface that OSPF runs on",
        vec![ParameterType::InterfaceName],
        vec![
            Command::line("network <>", "What the network is like", vec![choice(&networks)]),
            Command::line("cost <>", "Cost of a packet that leaves here", vec![number("cost", 1, 65_535)]),
            Command::line("priority <>", "Priority in elections; 0: never", vec![number("priority", 0, 255)]),
            Command::line("hello-interval <>", "Time between hellos", vec![seconds("seconds")]),
            Command::line("dead-interval <>", "Silence after which a neighbor is gone", vec![seconds("seconds")]),
            Command::line("retransmit-interval <>", "Time until LSAs are sent again", vec![seconds("seconds")]),
            Command::line("transmit-delay <>", "What LSAs age on the way", vec![number("seconds", 1, 3600)]),
            Command::line(
                "instance-id <>",
                "Number that tells several processes on one link apart (RFC 6549)",
                vec![number("instance ID", 0, 255)],
            ),
            Command::line("passive <>", "Announce it, but speak to nobody", vec![choice(&["enable", "disable"])]),
            Command::line("mtu-ignore <>", "Take neighbors with a larger MTU", vec![choice(&["enable", "disable"])]),
            Command::line(
                "authentication <>",
                "How packets are authenticated",
                vec![choice(&["null", "simple", "message-digest"])],
            ),
            Command::line(
                "authentication-key <>",
                "Password of simple authentication",
                vec![ParameterType::Name("password".into())],
            ),
            Command::line(
                "message-digest-key <> md5|hmac-sha-1|hmac-sha-256|hmac-sha-384|hmac-sha-512 <>",
                "A key; the one with the highest ID is the newest",
                vec![number("key ID", 0, 255), ParameterType::Name("secret".into())],
            )
            .each(),
        ],
    )
    .each()
}
