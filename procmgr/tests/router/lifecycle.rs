//! Starting, restarting and stopping.

use ipc::link::LinkEvent;
use ipc::protocol::{Answer, ProcessState, Question, Refusal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{Router, answer, runs, wait_gone};

/// A program that notes its start and its orderly stop in a file.
const NOTE: &str = "sh trap 'echo stop NAME >> $HOME/notes; exit 0' TERM; echo start NAME >> $HOME/notes; \
    printf '\\001' >&0; while :; do sleep 1000 & wait $!; done";

fn noting(name: &str, options: &str) -> String {
    format!("{name} says-ready{options} : {}", NOTE.replace("NAME", name))
}

#[test]
fn processes_start_after_what_they_need_and_stop_before_it() {
    // Programs of the shell are asked to stop by a signal only if they know nothing of the link.
    let signalled = |class: String| class.replace(" says-ready", "");
    let classes = [signalled(noting("c", " needs=b")), signalled(noting("b", " needs=a")), signalled(noting("a", ""))];
    let (mut router, printed) = Router::up(&classes.each_ref().map(String::as_str));
    let ready: Vec<&str> = printed.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(ready, ["procmgr", "a", "b", "c", "router"]);
    assert!(printed.last().unwrap().starts_with("router test is up: 4 processes in "), "{printed:?}");
    let notes = router.folder.path().join("notes");
    router.wait("all to have written", |_| {
        std::fs::read_to_string(&notes).is_ok_and(|text| text.lines().count() == 3).then_some(())
    });

    router.signal(Signal::SIGTERM);
    assert_eq!(router.wait_end().code(), Some(0));
    let notes = std::fs::read_to_string(notes).unwrap();
    let stops: Vec<&str> = notes.lines().filter(|line| line.starts_with("stop")).collect();
    assert_eq!(stops, ["stop c", "stop b", "stop a"]);
    assert!(!router.folder.path().join("run").exists(), "an orderly stop leaves no runtime folder");
}

#[test]
fn what_needs_a_process_waits_until_it_says_that_it_is_ready() {
    let (router, _) = Router::up(&[&noting("b", " needs=a"), &noting("a", "")]);
    let notes = std::fs::read_to_string(router.folder.path().join("notes")).unwrap();
    assert_eq!(notes, "start a\nstart b\n");
}

#[test]
fn a_role_bears_its_title_alone_and_little_environment() {
    let (mut router, _) =
        Router::up(&["idle per-vr : role idle / secret", "manager manage : role manager / SOCKET / vr 1 red idle"]);
    let pid = router.process("red/idle").unwrap().pid.unwrap();
    let read = |file: &str| String::from_utf8(std::fs::read(format!("/proc/{pid}/{file}")).unwrap()).unwrap();
    assert_eq!(read("cmdline"), "isthmus: red/idle\0");
    let environ = read("environ");
    let variables: Vec<&str> = environ.split_terminator('\0').map(|v| v.split('=').next().unwrap()).collect();
    assert!(variables.contains(&"ISTHMUS_LINK") && variables.contains(&"ISTHMUS_ROLE"), "{variables:?}");
    assert!(!variables.contains(&"FOLDER"), "{variables:?}");
    let status = read("status");
    let mask = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(mask("SigBlk:"), "0000000000000000", "a child can be signalled");
}

#[test]
fn everyone_hears_go_when_all_are_ready_and_late_comers_at_once() {
    let (mut router, _) = Router::up(&[
        "idle per-vr : role idle",
        "late per-vr : role idle",
        "manager manage : role manager / SOCKET / vr 1 red idle",
    ]);
    let line = router.wait_log("heard go");
    assert_eq!((line.vr.unwrap().as_str(), line.process.as_str()), ("red", "idle"));
    assert_eq!(router.order("vr 1 red idle late"), "done");
    router.wait("the late one to hear go", |router| {
        router.log().into_iter().find(|line| line.process.as_str() == "late" && line.text == "heard go")
    });
}

#[test]
fn a_process_that_dies_comes_back_says_why_and_disturbs_nobody() {
    let (mut router, printed) =
        Router::up(&["idle : role idle", "sick says-ready : sh echo first; echo last words >&2; exit 3"]);
    assert!(printed.iter().any(|line| line.starts_with("sick (PID ") && line.contains("exit code 3")), "{printed:?}");
    let idle = router.process("idle").unwrap().pid;
    let row = router.wait("two restarts", |router| router.process("sick").filter(|row| row.restarts >= 2));
    assert_eq!(row.last_exit.as_deref(), Some("exit code 3"));
    assert_eq!(row.last_words, ["first", "last words"]);
    let line = router.wait_log("last words");
    assert_eq!(line.process.as_str(), "sick");
    assert_eq!(router.process("idle").unwrap().pid, idle);
    let file = std::fs::read_to_string(router.folder.path().join("state/log")).unwrap();
    assert!(file.lines().any(|line| line.contains(" sick[") && line.ends_with("]: last words")), "{file}");
}

#[test]
fn a_killed_process_is_started_again_with_another_pid() {
    let (mut router, _) = Router::up(&["idle : role idle"]);
    let pid = router.process("idle").unwrap().pid.unwrap();
    kill(Pid::from_raw(pid.0 as i32), Signal::SIGKILL).unwrap();
    let row = router.wait("the restart", |router| {
        router.process("idle").filter(|row| row.restarts == 1 && row.state == ProcessState::Ready)
    });
    assert_ne!(row.pid, Some(pid));
    assert_eq!(row.last_exit.as_deref(), Some("killed by SIGKILL"));
}

#[test]
fn what_cannot_start_or_never_gets_ready_is_reported_and_the_rest_works() {
    let (mut router, _) = Router::up(&[
        "idle : role idle",
        "missing says-ready : run /nowhere/program",
        "slow start-timeout=50 says-ready : sh exec sleep 1000",
    ]);
    let mut cause = |name: &str| router.process(name).unwrap().last_exit.unwrap();
    assert_eq!(cause("slow"), "killed by SIGKILL: not ready after 0.05 s");
    assert_eq!(cause("missing"), "could not be started: /nowhere/program: No such file or directory");
    assert_eq!(router.process("idle").unwrap().state, ProcessState::Ready);
}

#[test]
fn a_process_that_does_not_stop_is_killed_after_its_time() {
    let (mut router, _) = Router::up(&["deaf stop-timeout=50 : role deaf"]);
    let pid = router.process("deaf").unwrap().pid.unwrap();
    router.signal(Signal::SIGINT);
    assert_eq!(router.wait_end().code(), Some(0));
    wait_gone(&[pid.0]);
    let log = std::fs::read_to_string(router.folder.path().join("state/log")).unwrap();
    assert!(log.contains("killed by SIGKILL: did not stop within 0.05 s"), "{log}");
}

#[test]
fn an_operator_stops_the_router() {
    let (mut router, _) = Router::up(&["idle : role idle"]);
    let answers = router.ask(Question::Shutdown);
    assert!(matches!(answers[..], [Answer::Accepted]));
    assert_eq!(router.wait_end().code(), Some(0));
    let log = std::fs::read_to_string(router.folder.path().join("state/log")).unwrap();
    assert!(log.contains("heard stop"), "what a process wrote at its end is kept: {log}");
}

#[test]
fn only_the_first_process_of_a_machine_starts_it_anew() {
    let (mut router, _) = Router::up(&["idle : role idle"]);
    let asked = router.operator().ask(Question::Reload).unwrap();
    let answer = answer(router.operator());
    assert!(
        matches!(answer, LinkEvent::Refused { ticket, refusal: Refusal::NoMachine } if ticket == asked),
        "{answer:?}"
    );
    assert_eq!(router.process("idle").unwrap().state, ProcessState::Ready, "nothing has stopped");
}

#[test]
fn nothing_survives_procmgr() {
    let (mut router, _) =
        Router::up(&["idle : role idle", "deaf : role deaf", "manager manage : role manager / SOCKET"]);
    let pids: Vec<u32> =
        router.processes().iter().map(|row| row.pid.unwrap().0).filter(|p| *p != std::process::id()).collect();
    assert_eq!(pids.len(), 4);
    let stopped = Pid::from_raw(pids[2] as i32);
    kill(stopped, Signal::SIGSTOP).unwrap();
    router.signal(Signal::SIGKILL);
    wait_gone(&pids);
}

#[test]
fn orphans_are_adopted_and_reaped_and_stragglers_of_a_dead_program_end() {
    // The shell's children are left to procmgr: one ends at once, the other is in the dead shell's process group.
    let script = "sh (/bin/true &); (sleep 1000 & echo straggler $!); exec sleep 1000";
    let (mut router, _) = Router::up(&[&format!("parent : {script}")]);
    let line = router.wait_log("straggler ");
    let straggler: u32 = line.text.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(runs(straggler));
    let procmgr = router.pid();
    router.wait("no zombie to be left", |_| {
        let children = std::fs::read_to_string(format!("/proc/{procmgr}/task/{procmgr}/children")).ok()?;
        let children: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        (children.len() == 2 && children.contains(&straggler)).then_some(())
    });
    kill(Pid::from_raw(line.pid.0 as i32), Signal::SIGKILL).unwrap();
    wait_gone(&[straggler]);
}

#[test]
fn an_orderly_stop_ends_orphans_too() {
    let (mut router, _) = Router::up(&["parent : sh (setsid sleep 1000 & echo orphan $!); exec sleep 1000"]);
    let orphan: u32 = router.wait_log("orphan ").text.rsplit(' ').next().unwrap().parse().unwrap();
    router.signal(Signal::SIGTERM);
    assert_eq!(router.wait_end().code(), Some(0));
    wait_gone(&[orphan]);
}

#[test]
fn a_second_router_in_the_same_folder_is_refused() {
    let (router, _) = Router::up(&[]);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_procmgr-alone"))
        .args([router.folder.path().join("run"), router.folder.path().join("state")])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(said, format!("router \"test\" already runs (PID {})\n", router.pid()));
}

#[test]
fn vrs_come_and_go_as_the_manager_orders() {
    let (mut router, _) = Router::up(&[
        "idle per-vr : role idle",
        "more per-vr needs=idle : role idle",
        "manager manage : role manager / SOCKET / vr 1 red idle more / vr 2 blue idle",
    ]);
    let blue = router.process("blue/idle").unwrap().pid;
    assert_eq!(router.order("vr 1 green idle"), "virtual router 1 is \"red\" already");
    assert_eq!(router.order("vr 3 green wrong"), "no process class \"wrong\" runs in a virtual router");
    assert_eq!(router.order("vr 1 red idle"), "done");
    router.wait("more to go", |router| router.process("red/more").is_none().then_some(()));
    assert_eq!(router.order("remove 1"), "done");
    router.wait("red to go", |router| router.process("red/idle").is_none().then_some(()));
    assert_eq!(router.order("remove 1"), "no virtual router \"1\"");
    assert_eq!(router.process("blue/idle").unwrap().pid, blue);
    let Answer::Vrs(rows) = router.ask(Question::Vrs).remove(0) else { panic!("another answer") };
    assert_eq!(rows.len(), 1);
    assert_eq!(router.order("vr 1 red idle"), "done");
    router.wait("red to be back", |router| router.process("red/idle").filter(|row| row.state == ProcessState::Ready));
}
