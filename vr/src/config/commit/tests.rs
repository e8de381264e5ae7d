//! Subscribers and operators by hand: what each is sent, in order.

use ipc::protocol::{Identity, Origin};
use ipc::{Pid, ServiceName, VrId, VrName};

use super::*;
use crate::config::testing::{read, words};

const RUNNING: &str = "vr red\n interface blue\n  mtu 1400\nvr blue\n interface red\nconnect red blue\n";
const OPERATOR: u32 = 1000;
const MTU: [&str; 3] = ["vr red", "interface blue", "mtu 9000"];
const HOSTNAME: [&str; 1] = ["hostname edge"];

/// What happened since the last call, one line each: `1: verify interface blue [mtu 9000]`.
fn said(commits: &mut Commits<'_, u32>) -> Vec<String> {
    std::iter::from_fn(|| commits.poll_action())
        .map(|action| match action {
            Action::Send { to, update: ConfigUpdate::Verify { generation, blocks } } => {
                let lines = |node: &Node| node.children.iter().map(Node::line).collect::<Vec<_>>().join(", ");
                let blocks: Vec<String> =
                    blocks.iter().map(|node| format!("{} [{}]", node.line(), lines(node))).collect();
                format!("{to}: verify {generation} {}", blocks.join(" "))
            }
            Action::Send { to, update: ConfigUpdate::Apply { generation } } => format!("{to}: apply {generation}"),
            Action::Send { to, update: ConfigUpdate::Discard { generation } } => format!("{to}: discard {generation}"),
            Action::Store { text } => format!("store, mtu 9000 in it: {}", text.contains("9000")),
            Action::Answer { to, reply: OperatorReply::Refused(reason) } => format!("{to}: refused: {reason}"),
            Action::Answer { to, reply } => format!("{to}: {reply:?}"),
            Action::Refused { error } => format!("refused what is in force: {}", error.sentence()),
        })
        .collect()
}

fn subscribe(commits: &mut Commits<'_, u32>, key: u32, vr: &str, class: &str) {
    let vr_name = Some(VrName::new(vr).unwrap());
    let identity = Identity {
        vr: VrId(1),
        vr_name,
        pid: Pid(key),
        name: ServiceName::new(class).unwrap(),
        origin: Origin::Supervised,
    };
    commits.subscribe(key, identity, Subscribe { blocks: vec!["interface".into()] });
}

fn change(commits: &mut Commits<'_, u32>, now: Instant, lines: &[&str]) {
    commits.change(now, OPERATOR, lines.iter().map(|line| line.to_string()).collect());
}

fn accept(commits: &mut Commits<'_, u32>, now: Instant, key: u32, generation: u64) {
    commits.verdict(now, key, Verdict { generation, refused: None });
}

fn refuse(commits: &mut Commits<'_, u32>, now: Instant, key: u32, generation: u64) {
    let refused = Some(Objection { reason: "too large".into(), statement: None });
    commits.verdict(now, key, Verdict { generation, refused });
}

/// A configuration that red's rib (1) and bgp (2) and blue's rib (3) have in force.
fn running(words: &Words, now: Instant) -> Commits<'_, u32> {
    let mut commits = Commits::new(read(RUNNING, words).unwrap(), words, "/".into(), |_| Vec::new());
    subscribe(&mut commits, 1, "red", "rib");
    assert_eq!(said(&mut commits), ["1: verify 1 interface blue [mtu 1400]"]);
    subscribe(&mut commits, 2, "red", "bgp");
    subscribe(&mut commits, 3, "blue", "rib");
    for (key, generation) in [(1, 1), (2, 2), (3, 3)] {
        accept(&mut commits, now, key, generation);
    }
    assert_eq!(said(&mut commits)[2..], ["1: apply 1", "2: apply 2", "3: apply 3"]);
    commits
}

#[test]
fn a_change_is_verified_by_those_whom_it_concerns_then_stored_then_applied() {
    let (words, now) = (words(), Instant::now());
    let mut commits = running(&words, now);
    change(&mut commits, now, &MTU);
    assert_eq!(said(&mut commits), ["1: verify 4 interface blue [mtu 9000]", "2: verify 4 interface blue [mtu 9000]"]);
    accept(&mut commits, now, 1, 4);
    assert_eq!(said(&mut commits), [""; 0]);
    accept(&mut commits, now, 2, 4);
    assert_eq!(said(&mut commits), ["store, mtu 9000 in it: true"]);
    commits.stored(now, Ok::<(), String>(()));
    assert_eq!(said(&mut commits), ["1: apply 4", "2: apply 4", "1000: Applied"]);
    assert!(print(commits.running()).contains("mtu 9000"));
}

#[test]
fn one_refusal_takes_the_change_back_everywhere() {
    let (words, now) = (words(), Instant::now());
    let mut commits = running(&words, now);
    change(&mut commits, now, &MTU);
    said(&mut commits);
    accept(&mut commits, now, 1, 4);
    refuse(&mut commits, now, 2, 4);
    assert_eq!(said(&mut commits), ["1: discard 4", "2: discard 4", "1000: refused: red/bgp: too large"]);
    assert!(print(commits.running()).contains("mtu 1400"));
}

#[test]
fn a_full_disk_takes_the_change_back_everywhere() {
    let (words, now) = (words(), Instant::now());
    let mut commits = running(&words, now);
    change(&mut commits, now, &MTU);
    accept(&mut commits, now, 1, 4);
    accept(&mut commits, now, 2, 4);
    said(&mut commits);
    commits.stored(now, Err("no space left"));
    assert_eq!(said(&mut commits), ["1: discard 4", "2: discard 4", "1000: refused: no space left"]);
}

#[test]
fn a_process_that_stands_still_is_left_out_and_applies_when_it_answers() {
    let (words, now) = (words(), Instant::now());
    let mut commits = running(&words, now);
    change(&mut commits, now, &MTU);
    accept(&mut commits, now, 1, 4);
    said(&mut commits);
    assert_eq!(commits.poll_timeout(), Some(now + ANSWER_TIMEOUT));
    commits.timeout(now + ANSWER_TIMEOUT / 2);
    assert_eq!(said(&mut commits), [""; 0]);
    commits.timeout(now + ANSWER_TIMEOUT);
    assert_eq!(commits.poll_timeout(), None);
    assert_eq!(said(&mut commits), ["store, mtu 9000 in it: true"]);
    commits.stored(now, Ok::<(), String>(()));
    assert_eq!(said(&mut commits), ["1: apply 4", "1000: Applied"]);
    accept(&mut commits, now, 2, 4);
    assert_eq!(said(&mut commits), ["2: apply 4"]);
}

#[test]
fn a_process_that_dies_is_not_waited_for_and_its_successor_gets_what_is_in_force() {
    let (words, now) = (words(), Instant::now());
    let mut commits = running(&words, now);
    change(&mut commits, now, &MTU);
    accept(&mut commits, now, 1, 4);
    said(&mut commits);
    commits.gone(now, 2);
    assert_eq!(said(&mut commits), ["store, mtu 9000 in it: true"]);
    // The successor comes before the change is in force, and gets the new one after the old one.
    subscribe(&mut commits, 4, "red", "bgp");
    assert_eq!(said(&mut commits), ["4: verify 5 interface blue [mtu 1400]"]);
    commits.stored(now, Ok::<(), String>(()));
    assert_eq!(said(&mut commits), ["1: apply 4", "1000: Applied", "4: verify 6 interface blue [mtu 9000]"]);
    accept(&mut commits, now, 4, 5);
    assert_eq!(said(&mut commits), [""; 0], "the verdict on what is past does not count");
    accept(&mut commits, now, 4, 6);
    assert_eq!(said(&mut commits), ["4: apply 6"]);
}

#[test]
fn changes_are_carried_out_one_after_the_other() {
    let (words, now) = (words(), Instant::now());
    let mut commits = running(&words, now);
    change(&mut commits, now, &MTU);
    change(&mut commits, now, &HOSTNAME);
    change(&mut commits, now, &["nonsense"]);
    said(&mut commits);
    accept(&mut commits, now, 1, 4);
    refuse(&mut commits, now, 2, 4);
    let said_after = said(&mut commits);
    assert_eq!(said_after[3..], ["store, mtu 9000 in it: false"], "the first was refused, the second concerns nobody");
    commits.stored(now, Ok::<(), String>(()));
    let said_after = said(&mut commits);
    assert_eq!(said_after[0], "1000: Applied");
    assert!(said_after[1].starts_with("1000: refused: change:1:1: unknown word `nonsense`"), "{said_after:?}");
}

#[test]
fn a_change_that_changes_nothing_asks_nobody() {
    let (words, now) = (words(), Instant::now());
    let mut commits = running(&words, now);
    change(&mut commits, now, &["vr red", "interface blue", "mtu 1400"]);
    assert_eq!(said(&mut commits), ["1000: Applied"]);
}

#[test]
fn a_process_that_refuses_what_is_in_force_is_asked_again_when_its_blocks_change() {
    let (words, now) = (words(), Instant::now());
    let mut commits = Commits::new(read(RUNNING, &words).unwrap(), &words, "/".into(), |_| Vec::new());
    subscribe(&mut commits, 1, "red", "rib");
    refuse(&mut commits, now, 1, 1);
    said(&mut commits);
    change(&mut commits, now, &HOSTNAME);
    assert_eq!(said(&mut commits), ["store, mtu 9000 in it: false"]);
    commits.stored(now, Ok::<(), String>(()));
    change(&mut commits, now, &MTU);
    assert_eq!(said(&mut commits), ["1000: Applied", "1: verify 3 interface blue [mtu 9000]"]);
}

#[test]
fn what_the_operating_system_says_of_old_lines_does_not_stop_a_change_of_others() {
    let (words, now) = (words(), Instant::now());
    let text = "linecard 0/0\n port 0\n  driver cable local a remote b\n";
    let checks: fn(&Tree<'_>) -> Vec<ConfigError> = |tree| {
        let error = |line: &crate::config::tree::Line<'_>| {
            ConfigError::at(line.source.place(), crate::error::Problem::Incomplete)
        };
        tree.top.lines().iter().map(error).collect()
    };
    let mut commits: Commits<'_, u32> = Commits::new(read(text, &words).unwrap(), &words, "/".into(), checks);
    change(&mut commits, now, &["vr red"]);
    assert!(said(&mut commits)[0].starts_with("1000: refused: change:1:1:"));
    change(&mut commits, now, &["linecard 0/0", "worker-threads 2"]);
    assert_eq!(said(&mut commits), ["store, mtu 9000 in it: false"]);
}
