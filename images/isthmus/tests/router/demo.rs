//! The demo, as a new user sees it: two virtual routers, a session between them, and nothing left of it.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{self, Router, assert_gone, matching, sum};

#[test]
fn routes_cross_from_vr_to_vr_and_the_stack_moves_nothing() {
    let router = Router::demo("demo");
    router.wait_for_session();

    let route = |vr, prefix, peer| {
        let wanted = [("vr", vr), ("prefix", prefix), ("protocol", "bgp"), ("distance", "20")];
        let row = router.wait_for_row("show route", &wanted);
        assert_eq!(row["next_hops"][0]["interface"], peer, "{row}");
        let wanted = [("vr", vr), ("prefix", prefix), ("action", "forward")];
        router.wait_for_row("show fib", &wanted);
    };
    route("red", "192.0.2.2/32", "blue");
    route("red", "203.0.113.0/24", "blue");
    route("blue", "192.0.2.1/32", "red");
    route("blue", "198.51.100.0/24", "red");

    let counters = router.sh("show stack counters");
    for column in ["packets_received", "packets_sent", "packets_forwarded", "frames_received", "frames_sent"] {
        assert_eq!(sum(&counters, column), 0, "{column} of {counters}");
    }
    for column in ["buffers_in_use", "buffers_allocated", "drops", "inter_vr_crossings"] {
        assert_eq!(sum(&counters, column), 0, "{column} of {counters}");
    }
    let interfaces = router.sh("show interfaces");
    let physical = |row: &&serde_json::Value| row["interface"].as_str().is_some_and(|name| name.starts_with("Port"));
    assert_eq!(interfaces.as_array().unwrap().iter().filter(physical).count(), 0, "{interfaces}");

    let sides = router.sh("show inter-vr");
    assert_eq!(matching(&sides, &[("vr", "red"), ("interface", "blue"), ("connections", "1")]).len(), 1, "{sides}");
    assert!(sum(&sides, "vrfib_hits") >= 1 && sum(&sides, "bytes_sent") > 0, "{sides}");
}

#[test]
fn every_process_is_one_of_the_kernel_with_a_title() {
    let router = Router::demo("titles");
    let title = |vr, name| {
        let line = std::fs::read(format!("/proc/{}/cmdline", router.pid(vr, name))).unwrap();
        String::from_utf8(line).unwrap().trim_end_matches('\0').to_owned()
    };
    for name in ["config", "stack", "vrmgr"] {
        assert_eq!(title("", name), format!("isthmus: {name}"));
    }
    for (vr, name) in [("red", "rib"), ("red", "bgp"), ("blue", "rib"), ("blue", "bgp")] {
        assert_eq!(title(vr, name), format!("isthmus: {vr}/{name}"));
    }
    let mut pids = router.pids();
    assert_eq!(pids.len(), 8);
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 8);
}

#[test]
fn a_ping_from_one_vr_reaches_the_other_and_is_counted() {
    let router = Router::demo("ping");
    router.wait_for_session();
    let ping = router.sh("ping vr red 192.0.2.2 count 1");
    assert_eq!((&ping["sent"], &ping["received"]), (&1.into(), &1.into()), "{ping}");
    assert!(sum(&router.sh("show stack counters"), "packets_received") > 0, "now the stack has moved something");
    let hops = router.sh("traceroute vr blue 192.0.2.1");
    assert_eq!(hops["hops"][0]["outcome"], "reply", "{hops}");
    support::assert_fails(&router.try_sh("ping vr red 10.99.0.1 count 1"), "network is unreachable");
}

#[test]
fn a_change_is_applied_at_once_or_refused_whole() {
    let router = Router::demo("change");
    router.wait_for_session();
    router.sh("configure vr red; interface blue; shutdown");
    router.wait_for_row("show interfaces", &[("vr", "red"), ("interface", "blue"), ("state", "down")]);
    router.wait_for("show route", |table| matching(table, &[("vr", "red"), ("protocol", "bgp")]).is_empty());
    router.sh("configure vr red; interface blue; no shutdown");
    router.wait_for_session();
    support::assert_fails(
        &router.try_sh("configure vr red; interface Loopback7; ipv4 address 10.0.0.0/31"),
        "10.0.0.0",
    );
    assert!(router.rows("show interfaces", &[("interface", "Loopback7")]).is_empty(), "nothing of it is in force");
    router.sh("clear bgp 10.0.0.1");
    router.wait_for_session();
}

#[test]
fn sigterm_stops_it_in_order_and_leaves_nothing() {
    let mut router = Router::demo("stop");
    router.wait_for_session();
    let pids = router.pids();
    let front = router.front();
    kill(Pid::from_raw(i32::try_from(front.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(front.wait().unwrap().code(), Some(0));
    assert_gone(&pids);
    assert_eq!(std::fs::read_dir(router.folder()).unwrap().count(), 0, "no file is left");
}

#[test]
fn a_killed_front_takes_the_router_with_it() {
    let mut router = Router::demo("killed");
    let pids = router.pids();
    router.front().kill().unwrap();
    assert_gone(&pids);
    assert_eq!(std::fs::read_dir(router.folder()).unwrap().count(), 0, "no file is left");
}

#[test]
fn at_rest_the_whole_tree_uses_under_one_percent_of_a_core() {
    let router = Router::demo("rest");
    router.wait_for_session();
    let pids = router.pids();
    let used = || -> u64 { pids.iter().map(|pid| cpu_time_ns(*pid)).sum() };
    let (begun, before) = (Instant::now(), used());
    // Nothing happens while we wait: that is what is measured.
    std::thread::park_timeout(Duration::from_secs(10));
    let share = (used() - before) as f64 / begun.elapsed().as_nanos() as f64;
    assert!(share < 0.01, "{:.3} % of a core", share * 100.0);
}

/// What all threads of a process have run on a CPU.
fn cpu_time_ns(pid: i32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_thread = |path: std::path::PathBuf| -> u64 {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    };
    threads.map(|thread| of_thread(thread.unwrap().path())).sum()
}
