//! Several areas: what border routers tell, and what stub areas and NSSAs are told.

use crate::network::{Network, RouterIndex, id};

/// Area 1 ─ router 0 ─ area 1 ─ router 1 ─ area 0 ─ router 2 ─ area 2 ─ router 3, each link a /31, each with a loopback.
/// `area_1` and `area_2` are lines of those areas, `of_last` of the last router.
pub fn chain(area_1: &str, area_2: &str, of_last: &str) -> Network {
    let mut network = Network::default();
    let block = |area: u8, lines: &str, interfaces: &[&str]| {
        let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
        let interfaces: String =
            interfaces.iter().map(|name| format!("  interface {name}\n   network point-to-point\n")).collect();
        format!(" area {area}\n{lines}{interfaces}")
    };
    let configs = [
        block(1, area_1, &["Loopback0", "link-0"]),
        block(1, area_1, &["link-0"]) + &block(0, "", &["Loopback0", "link-1"]),
        block(0, "", &["Loopback0", "link-1"]) + &block(2, area_2, &["link-2"]),
        block(2, area_2, &["Loopback0", "link-2"]),
    ];
    for (router, config) in configs.iter().enumerate() {
        let more = if router == 3 { of_last } else { "" };
        network.router(&format!("router ospf 1\n router-id {}\n{more}{config}", id(router)));
        network.loopback(router, &format!("{}/32", id(router)));
    }
    for link in 0..3 {
        let segment = network.segment();
        network.plug(link, &format!("link-{link}"), &format!("10.0.{link}.0/31"), segment);
        network.plug(link + 1, &format!("link-{link}"), &format!("10.0.{link}.1/31"), segment);
    }
    network.seconds(30);
    network
}

pub fn routes(network: &Network, router: RouterIndex) -> Vec<String> {
    network.routers[router].routes()
}

/// LSAs of a type in the databases of a router: `type link_state_id advertising_router contents`.
pub fn lsas(network: &Network, router: RouterIndex, kind: &str) -> Vec<String> {
    let columns = ["type", "area", "link_state_id", "advertising_router", "contents"];
    let rows = network.routers[router].show(network.now, "ospf database", &columns);
    rows.into_iter().filter_map(|row| row.strip_prefix(&format!("{kind} ")).map(str::to_owned)).collect()
}

#[test]
fn section_16_2_every_area_reaches_every_other_through_the_backbone() {
    let network = chain("", "", "");
    assert_eq!(
        routes(&network, 0),
        [
            "10.0.1.0/31 2 via 10.0.0.1%link-0",
            "10.0.2.0/31 3 via 10.0.0.1%link-0",
            "192.0.2.2/32 1 via 10.0.0.1%link-0",
            "192.0.2.3/32 2 via 10.0.0.1%link-0",
            "192.0.2.4/32 3 via 10.0.0.1%link-0",
        ]
    );
    let table = network.routers[3].show(network.now, "ospf route", &["prefix", "type", "area", "cost"]);
    assert!(table.contains(&"192.0.2.1/32 inter-area 0.0.0.2 3".to_owned()), "{table:?}");
    let table = network.routers[2].show(network.now, "ospf route", &["prefix", "type", "area", "cost"]);
    assert!(table.contains(&"192.0.2.1/32 inter-area 0.0.0.0 2".to_owned()), "{table:?}");
    assert!(table.contains(&"192.0.2.4/32 intra-area 0.0.0.2 1".to_owned()), "{table:?}");
}

#[test]
fn section_12_4_3_a_range_is_told_in_place_of_what_is_in_it() {
    let network = chain("range 192.0.2.0/28\nrange 10.0.0.0/24 not-advertise", "", "");
    assert_eq!(
        routes(&network, 3),
        [
            "10.0.1.0/31 2 via 10.0.2.0%link-2",
            "192.0.2.0/28 3 via 10.0.2.0%link-2",
            "192.0.2.2/32 2 via 10.0.2.0%link-2",
            "192.0.2.3/32 1 via 10.0.2.0%link-2",
        ]
    );
    // What of the range is not there must not go back where it came from.
    assert!(routes(&network, 1).contains(&"192.0.2.0/28 0 via Null0".to_owned()), "{:?}", routes(&network, 1));
}

#[test]
fn section_16_4_a_route_to_the_outside_is_known_in_every_normal_area() {
    let network = chain("", "", " default-information originate always metric 7\n");
    for router in 0..3 {
        let default = routes(&network, router).into_iter().find(|route| route.starts_with("0.0.0.0/0"));
        let hop = format!("10.0.{router}.1%link-{router}");
        assert_eq!(default, Some(format!("0.0.0.0/0 7 via {hop}")), "router {router}");
    }
    // Area 1 sees no router of area 2: its border router says how far the boundary router is.
    assert_eq!(lsas(&network, 0, "asbr-summary"), ["0.0.0.1 192.0.2.4 192.0.2.2 AS boundary router, metric 2"]);
    assert_eq!(lsas(&network, 0, "external"), ["- 0.0.0.0 192.0.2.4 0.0.0.0/0 type-2 metric 7 to 0.0.0.0 tag 0"]);
}

#[test]
fn section_3_6_a_stub_area_gets_a_default_route_and_no_external_lsas() {
    let network = chain("stub\ndefault-cost 5", "", " default-information originate always\n");
    assert_eq!(lsas(&network, 0, "external"), Vec::<String>::new());
    assert_eq!(lsas(&network, 0, "asbr-summary"), Vec::<String>::new());
    let routes = routes(&network, 0);
    assert!(routes.contains(&"0.0.0.0/0 6 via 10.0.0.1%link-0".to_owned()), "{routes:?}");
    assert!(routes.contains(&"192.0.2.4/32 3 via 10.0.0.1%link-0".to_owned()), "{routes:?}");
}

#[test]
fn a_totally_stubby_area_gets_a_default_route_only() {
    let network = chain("stub no-summary", "", "");
    assert_eq!(routes(&network, 0), ["0.0.0.0/0 2 via 10.0.0.1%link-0"]);
    // Others know it nevertheless.
    assert!(routes(&network, 3).contains(&"192.0.2.1/32 3 via 10.0.2.0%link-2".to_owned()));
}

#[test]
fn rfc_3101_an_nssa_gets_a_default_route_of_its_border_router() {
    let network = chain("", "nssa", "");
    let routes_of_last = routes(&network, 3);
    assert!(routes_of_last.contains(&"0.0.0.0/0 1 via 10.0.2.0%link-2".to_owned()), "{routes_of_last:?}");
    assert!(routes_of_last.contains(&"192.0.2.1/32 3 via 10.0.2.0%link-2".to_owned()), "{routes_of_last:?}");
    assert_eq!(
        lsas(&network, 3, "nssa-external"),
        ["0.0.0.2 0.0.0.0 192.0.2.3 0.0.0.0/0 type-2 metric 1 to 0.0.0.0 tag 0"]
    );
    // The default route is for those within.
    assert_eq!(lsas(&network, 0, "external"), Vec::<String>::new());
    let network = chain("", "nssa no-summary", "");
    assert_eq!(routes(&network, 3), ["0.0.0.0/0 2 via 10.0.2.0%link-2"]);
}

#[test]
fn an_area_that_is_a_stub_on_one_side_only_is_refused_and_said() {
    let mut network = chain("stub", "", "");
    let config =
        format!("router ospf 1\n router-id {}\n area 1\n  interface link-0\n   network point-to-point\n", id(0));
    network.configure(0, &config);
    network.seconds(15);
    let text = "neighbor 10.0.0.1 on link-0 refused: external routes (E), so a stub area or NSSA on one side only: no there, \
                yes here";
    assert!(network.routers[0].log.iter().any(|line| line.contains(text)), "{:?}", network.routers[0].log);
    let columns = ["interface", "refused_neighbor", "refused_because"];
    let shown = network.routers[0].show(network.now, "ospf interface", &columns);
    assert!(shown[0].starts_with("link-0 10.0.0.1 external routes"), "{shown:?}");
}
