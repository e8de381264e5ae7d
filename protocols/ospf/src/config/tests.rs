use sdk::config::Node;

use super::*;
use crate::show;

/// Lines by their indentation.
fn tree(text: &str) -> Vec<Node> {
    let mut root = Node::new("", Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        let mut parent = &mut root;
        for _ in 0..depth {
            parent = parent.children.last_mut().unwrap();
        }
        parent.children.push(Node::new(line.trim(), Vec::new()));
    }
    root.children
}

fn read(text: &str) -> Result<InstanceConfig, String> {
    Config::read(&tree(text)).map(|config| config.instance.unwrap()).map_err(|error| error.to_string())
}

#[test]
fn what_is_written_is_read() {
    let config = read(
        "router ospf 1
 router-id 192.0.2.1
 maximum paths 4
 default-information originate always metric 7
 timers throttle lsa all 1 2 3
 area 0
  range 10.0.0.0/8 not-advertise
  interface blue
   network point-to-point
   cost 7
   hello-interval 1
   authentication message-digest
   message-digest-key 2 hmac-sha-256 new
   message-digest-key 1 md5 old
  interface Port0/0/1
   passive enable
 area 0.0.0.1
  nssa no-summary
  default-cost 5
",
    )
    .unwrap();
    assert_eq!((config.router_id, config.maximum_paths), (Some([192, 0, 2, 1].into()), 4));
    assert_eq!(
        (config.default_route.map(|default| (default.metric, default.always)), config.lsa.max),
        (Some((7, true)), Duration::from_millis(3))
    );
    let (backbone, nssa) = (&config.areas[&BACKBONE], &config.areas[&AreaId::new(0, 0, 0, 1)]);
    assert_eq!(backbone.ranges[&"10.0.0.0/8".parse::<Ipv4Net>().unwrap()], Range::Hide);
    assert_eq!((nssa.kind, nssa.summaries, nssa.default_cost), (AreaKind::Nssa, Summaries::DefaultOnly, 5));
    let blue = &backbone.interfaces[&InterfaceName::new("blue").unwrap()];
    assert_eq!((blue.network, blue.cost, blue.dead_seconds), (NetworkType::PointToPoint, Some(7), 4));
    let Authentication::Cryptographic(keys) = &blue.authentication else { panic!("{:?}", blue.authentication) };
    assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), [1, 2]);
    let port = &backbone.interfaces[&InterfaceName::new("Port0/0/1").unwrap()];
    assert_eq!((port.network, port.passive), (NetworkType::Broadcast, Passive::Yes));
}

#[test]
fn what_this_router_does_not_do_is_refused_with_a_clear_word() {
    let of_area = |line: &str| read(&format!("router ospf 1\n area 1\n  {line}\n"));
    let of_interface = |line: &str| read(&format!("router ospf 1\n area 0\n  interface blue\n   {line}\n"));
    let refused = [
        (of_area("virtual-link 192.0.2.1"), "virtual-link 192.0.2.1: virtual links are not supported"),
        (
            of_interface("network non-broadcast"),
            "network non-broadcast: non-broadcast networks are not supported; use broadcast or point-to-point",
        ),
        (
            of_interface("network point-to-multipoint"),
            "network point-to-multipoint: point-to-multipoint networks are not supported; use broadcast or point-to-point",
        ),
    ];
    for (read, expected) in refused {
        assert_eq!(read.unwrap_err(), expected);
    }
}

#[test]
fn contradictions_are_refused_and_no_secret_is_shown() {
    let refused = [
        ("area x", "area x: an area is a number or an address, like 0 or 0.0.0.1"),
        ("area 0\n  stub", "area 0: the backbone is never a stub area or an NSSA (RFC 2328 section 3.6)"),
        ("area 1\n  stub\n  nssa", "area 1: it is either stub or nssa"),
        ("area 1\n area 0.0.0.1", "area 0.0.0.1: the same area is written in another way already"),
        (
            "area 1\n  interface blue\n area 2\n  interface blue",
            "area 2: one of its interfaces is in another area already",
        ),
        (
            "area 0\n  interface blue\n   hello-interval 5\n   dead-interval 5",
            "interface blue: the dead interval must be longer than the hello interval",
        ),
        (
            "area 0\n  interface blue\n   authentication message-digest",
            "interface blue: `message-digest-key` is missing",
        ),
        (
            "area 0\n  interface blue\n   authentication message-digest\n   message-digest-key 1 md5 12345678901234567",
            "message-digest-key 1 md5: a secret of MD5 has at most 16 bytes",
        ),
        (
            "area 0\n  interface blue\n   authentication simple\n   authentication-key 123456789",
            "interface blue: a password has at most 8 bytes",
        ),
        ("timers throttle spf 1 9 3", "timers throttle spf 1 9 3: the hold time is above the maximum"),
    ];
    for (lines, expected) in refused {
        assert_eq!(read(&format!("router ospf 1\n {lines}\n")).unwrap_err(), expected, "{lines}");
    }
}

#[test]
fn every_table_has_a_declaration() {
    let declaration = declaration();
    for table in declaration.tables {
        let ospf = crate::Ospf::new(0);
        assert!(show::rows(&ospf, sdk::core::Time::ZERO, &table.words, &[]).is_some(), "{}", table.words);
    }
}

#[test]
fn an_interface_with_a_bandwidth_costs_the_reference_divided_by_it_unless_it_has_a_cost() {
    let config = |more: &str| {
        let text = format!(
            "interface slow
 bandwidth 10000
interface fast
 bandwidth 400000000
interface told
 bandwidth 10000
router ospf 1
{more} area 0
  interface slow
  interface fast
  interface told
   cost 7
  interface silent
"
        );
        let config = read(&text).unwrap();
        let cost = |name: &str| config.areas[&BACKBONE].interfaces[&InterfaceName::new(name).unwrap()].cost;
        ["slow", "fast", "told", "silent"].map(cost)
    };
    assert_eq!(config(""), [Some(10), Some(1), Some(7), None]);
    assert_eq!(config(" auto-cost reference-bandwidth 400000\n"), [Some(40_000), Some(1), Some(7), None]);
    assert_eq!(config(" auto-cost reference-bandwidth 4000000\n"), [Some(u16::MAX), Some(10), Some(7), None]);
}
