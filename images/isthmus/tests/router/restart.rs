//! Killing any one process costs its own function for a moment and nothing else.

use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Router, TWO_VRS, assert_gone, matching, stop};

/// The demo's two VRs and a third one behind blue: red's pings to its loopback pass through blue, by static routes.
const THIRD: &str = "
vr green
!
connect blue green
!
vr green
 interface blue
  ipv4 address 10.0.1.1/31
 !
 interface Loopback0
  ipv4 address 192.0.2.77/32
 !
 router static
  address-family ipv4 unicast
   10.0.0.0/31 10.0.1.0
  !
 !
!
vr blue
 interface green
  ipv4 address 10.0.1.0/31
 !
 router static
  address-family ipv4 unicast
   192.0.2.77/32 10.0.1.1
  !
 !
!
vr red
 router static
  address-family ipv4 unicast
   192.0.2.77/32 10.0.0.1
  !
 !
!
";

/// For how many seconds red's session with blue has been up.
fn age_of_session(router: &Router) -> f64 {
    let rows = router.rows("show bgp summary", &[("vr", "red"), ("state", "Established")]);
    rows.first().expect("red's session is up")["up_for"].as_f64().unwrap()
}

#[test]
fn a_killed_bgp_is_back_with_its_session_and_its_routes() {
    let router = Router::up("bgp", TWO_VRS);
    router.wait_for_session();
    router.kill_and_await("blue", "bgp");
    router.wait_for_session();
    router.wait_for_row("show route", &[("vr", "blue"), ("prefix", "198.51.100.0/24"), ("protocol", "bgp")]);
    router.wait_for_row("show route", &[("vr", "red"), ("prefix", "203.0.113.0/24"), ("protocol", "bgp")]);
    let row = router.wait_for_row("show processes", &[("vr", "blue"), ("name", "bgp")]);
    assert_eq!((&row["restarts"], &row["last_exit"]), (&1.into(), &"killed by SIGKILL".into()));
    for (vr, name) in [("red", "bgp"), ("red", "rib"), ("blue", "rib"), ("", "stack")] {
        let rows = router.rows("show processes", &[("vr", vr), ("name", name), ("restarts", "0")]);
        assert_eq!(rows.len(), 1, "{vr}/{name} was not touched");
    }
}

#[test]
fn a_session_between_vrs_does_not_move_when_any_other_process_is_killed() {
    let router = Router::up("others", TWO_VRS);
    router.wait_for_session();
    let channel = |router: &Router| {
        router.wait_for("show inter-vr", |table| {
            matching(table, &[("vr", "red"), ("interface", "blue"), ("state", "up"), ("connections", "1")]).len() == 1
        })
    };
    for (vr, name) in [("", "vrmgr"), ("", "config"), ("blue", "rib"), ("", "stack")] {
        let (age, since) = (age_of_session(&router), Instant::now());
        router.kill_and_await(vr, name);
        // Everyone has published again: both listeners are in the database, and the counters are answered.
        router.wait_for("show inter-vr database", |table| {
            let sides = table.as_array().unwrap();
            sides.len() == 2 && sides.iter().all(|side| side["pathnames"].as_array().is_some_and(|all| !all.is_empty()))
        });
        for (vr, learned) in [("red", "192.0.2.2/32"), ("blue", "192.0.2.1/32")] {
            router.wait_for_row("show route", &[("vr", vr), ("prefix", learned), ("protocol", "bgp")]);
            router.wait_for_row("show fib", &[("vr", vr), ("prefix", learned), ("action", "forward")]);
        }
        for (process, other) in [("red/bgp", "10.0.0.1"), ("blue/bgp", "10.0.0.0")] {
            let entry = [("to", other), ("criteria", "ipv4/tcp/179"), ("state", "active")];
            router.wait_for_row(&format!("show vrfib {process}"), &entry);
        }
        channel(&router);
        // A millisecond for the rounding of both.
        let least = age + since.elapsed().as_secs_f64() - 0.001;
        let now = age_of_session(&router);
        assert!(now >= least, "{vr}/{name}: the session should be {least} s old and is {now} s");
        assert_eq!(router.sh("ping vr red 192.0.2.2 count 1")["received"], 1, "{vr}/{name}");
    }
}

#[test]
fn a_new_connection_hits_while_the_manager_stands_still() {
    let router = Router::up("stopped", TWO_VRS);
    router.wait_for_session();
    let hits = |router: &Router| {
        let rows = [("red/bgp", "10.0.0.1"), ("blue/bgp", "10.0.0.0")];
        let all = rows.map(|(process, to)| router.rows(&format!("show vrfib {process}"), &[("to", to)]));
        all.iter().flatten().filter_map(|row| row["hits"].as_u64()).sum::<u64>()
    };
    let before = hits(&router);
    stop(Pid::from_raw(router.pid("", "vrmgr")));
    router.sh("clear bgp 10.0.0.1");
    router.wait_for_session();
    assert!(hits(&router) > before, "the session came back over the vrFIB");
    router.signal("", "vrmgr", Signal::SIGCONT);
    assert_eq!(crate::support::sum(&router.sh("show stack counters"), "packets_sent"), 0);
}

#[test]
fn the_end_of_procmgr_is_the_end_of_everything() {
    let router = Router::up("procmgr", TWO_VRS);
    let pids = router.pids();
    router.signal("", "procmgr", Signal::SIGKILL);
    assert_gone(&pids);
}

#[test]
fn forwarding_through_a_vr_goes_on_while_its_bgp_and_rib_are_dead() {
    let router = Router::up("forward", &format!("{TWO_VRS}{THIRD}"));
    router.wait_for_session();
    for vr in ["red", "blue", "green"] {
        let static_route = if vr == "green" { "10.0.0.0/31" } else { "192.0.2.77/32" };
        router.wait_for_row("show fib", &[("vr", vr), ("prefix", static_route), ("action", "forward")]);
    }
    let (ping, dead) = thread::scope(|scope| {
        let ping = scope.spawn(|| router.sh("ping vr red 192.0.2.77 count 5"));
        let mut dead = 0;
        // Killed whenever they are back, so that they are dead for most of the time.
        while !ping.is_finished() {
            let rows = router.rows("show processes", &[("vr", "blue")]);
            let running = rows.iter().filter_map(|row| i32::try_from(row["pid"].as_i64()?).ok());
            // It may just have ended.
            running.for_each(|pid| _ = kill(Pid::from_raw(pid), Signal::SIGKILL));
            dead += u32::from(rows.len() == 2 && rows.iter().all(|row| row["state"] == "backoff"));
        }
        (ping.join().unwrap(), dead)
    });
    assert!(dead > 0, "both were dead at once");
    assert_eq!((&ping["sent"], &ping["received"]), (&5.into(), &5.into()), "{ping}");
    let forwarded = router.rows("show stack counters", &[("vr", "blue")])[0]["packets_forwarded"].as_u64();
    assert!(forwarded >= Some(10), "requests and replies passed through blue: {forwarded:?}");
    router.wait_for_session();
}
