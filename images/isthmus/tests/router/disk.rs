//! A disk that is full: said in one sentence, nothing is left running, and a change is refused whole.

use std::path::PathBuf;

use testing::namespace::can_run;
use testing::support::{Router, TWO_VRS, assert_fails, stderr};

#[test]
fn a_full_disk_ends_the_start_with_one_sentence_and_leaves_nothing() {
    if !can_run("a_full_disk_ends_the_start_with_one_sentence_and_leaves_nothing", &[]) {
        return;
    }
    let router = Router::on_small_disk("full");
    let file = router.write("router.conf", TWO_VRS);
    router.disk().fill();
    let output = router.try_start(&file);
    assert_fails(&output, "No space left on device");
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert_fails(&router.command(["--name", "full"]).output().unwrap(), "No space left on device");
    assert_fails(&router.try_sh("show vr"), "router full does not run");
    assert_eq!(router.disk().entries(), [] as [PathBuf; 0], "neither folder nor file of the router is there");
}

#[test]
fn a_change_on_a_full_disk_is_refused_whole_and_goes_through_when_there_is_room() {
    if !can_run("a_change_on_a_full_disk_is_refused_whole_and_goes_through_when_there_is_room", &[]) {
        return;
    }
    const CHANGE: &str = "configure vr red; interface Loopback7; ipv4 address 192.0.2.77/32";
    let router = Router::on_small_disk("filled");
    router.start(&router.write("router.conf", TWO_VRS));
    let before = router.sh("show running-config");
    router.disk().fill();
    let refused = router.try_sh(CHANGE);
    assert_fails(&refused, "the configuration cannot be kept in");
    assert_fails(&refused, "No space left on device");
    assert_eq!(stderr(&refused).lines().count(), 1, "{}", stderr(&refused));
    assert_eq!(router.sh("show running-config"), before);
    assert!(router.rows("show interfaces", &[("interface", "Loopback7")]).is_empty(), "no process has it");
    router.disk().make_room();
    router.sh(CHANGE);
    router.wait_for_row("show route", &[("vr", "red"), ("prefix", "192.0.2.77/32")]);
}
