//! The same two VRs, joined inside the box and by a cable outside it: the same routes, at another price.

use serde_json::Value;

use crate::support::{Router, TWO_VRS, matching};

const TWO_VRS_CABLE: &str = include_str!("../../../examples/two-vrs-cable.conf");

#[test]
fn a_cable_brings_the_same_routes_and_only_the_cable_costs_packets() {
    let joined = Router::up("joined", TWO_VRS);
    let wired = Router::up("wired", TWO_VRS_CABLE);
    for router in [&joined, &wired] {
        router.wait_for_session();
    }
    let routes = comparable(joined.sh("show route"));
    assert_eq!(comparable(wired.sh("show route")), routes);
    let learned = matching(&routes, &[("protocol", "bgp")]);
    assert_eq!(learned.len(), 4, "two routes each way: {routes}");

    let (with_connect, with_cable) = (totals(&joined), totals(&wired));
    for column in ["packets_received", "packets_sent", "frames_received", "frames_sent", "buffers_allocated"] {
        assert_eq!(with_connect[column], 0, "{column} of {with_connect}");
        assert!(with_cable[column].as_u64() > Some(0), "{column} of {with_cable}");
    }
    assert_eq!(wired.sh("show inter-vr"), Value::Array(Vec::new()));
    let sessions = wired.rows("show tcp", &[("state", "ESTABLISHED")]);
    assert_eq!(sessions.len(), 2, "both ends of the session pass the stack: {sessions:?}");
}

/// Routes without what differs by nature: their age, and the interfaces that they lead over.
fn comparable(mut routes: Value) -> Value {
    for route in routes.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        route.remove("age").expect("a column of that name");
        for hop in route["next_hops"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            hop.remove("interface").expect("a column of that name");
        }
    }
    routes
}

fn totals(router: &Router) -> Value {
    router.wait_for_row("show stack counters", &[("vr", "")])
}
