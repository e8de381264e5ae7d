use super::*;
use crate::class::Scope;

fn supervisor(now: Instant) -> Supervisor {
    Supervisor::new(&ClassSpec::role("bgp".parse().unwrap(), Scope::PerVr), now)
}

/// A supervisor in each state.
fn in_each_state(now: Instant) -> [(&'static str, Supervisor); 7] {
    let after = |events: &[Event]| {
        let mut supervisor = supervisor(now);
        for event in events {
            supervisor.handle(now, *event);
        }
        supervisor
    };
    [
        ("waiting", after(&[])),
        ("starting", after(&[Event::NeedsMet])),
        ("ready", after(&[Event::NeedsMet, Event::SaidReady])),
        ("backoff", after(&[Event::NeedsMet, Event::Ended])),
        ("stopping", after(&[Event::NeedsMet, Event::Stop])),
        ("stopping, again", after(&[Event::NeedsMet, Event::Stop, Event::Start])),
        ("stopped", after(&[Event::Stop])),
    ]
}

fn name(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Starting { .. } => "starting",
        State::Ready => "ready",
        State::Backoff { .. } => "backoff",
        State::Stopping { again: false, .. } => "stopping",
        State::Stopping { again: true, .. } => "stopping, again",
        State::Stopped => "stopped",
    }
}

#[test]
fn transitions_are_those_of_the_drawing() {
    const EVENTS: [Event; 6] =
        [Event::NeedsMet, Event::SaidReady, Event::Ended, Event::Stop, Event::Start, Event::TimedOut];
    let same = |state| [(state, Action::Nothing); 6];
    let expected: [(&str, [(&str, Action); 6]); 7] = [
        ("waiting", {
            let mut row = same("waiting");
            row[0] = ("starting", Action::Spawn);
            row[3] = ("stopped", Action::Nothing);
            row
        }),
        ("starting", {
            let mut row = same("starting");
            row[1] = ("ready", Action::Nothing);
            row[2] = ("backoff", Action::Nothing);
            row[3] = ("stopping", Action::AskToStop);
            row[5] = ("starting", Action::Kill);
            row
        }),
        ("ready", {
            let mut row = same("ready");
            row[2] = ("backoff", Action::Nothing);
            row[3] = ("stopping", Action::AskToStop);
            row
        }),
        ("backoff", {
            let mut row = same("backoff");
            row[3] = ("stopped", Action::Nothing);
            row[5] = ("starting", Action::Spawn);
            row
        }),
        ("stopping", {
            let mut row = same("stopping");
            row[2] = ("stopped", Action::Nothing);
            row[4] = ("stopping, again", Action::Nothing);
            row[5] = ("stopping", Action::Kill);
            row
        }),
        ("stopping, again", {
            let mut row = same("stopping, again");
            row[2] = ("waiting", Action::CheckNeeds);
            row[3] = ("stopping", Action::Nothing);
            row[5] = ("stopping, again", Action::Kill);
            row
        }),
        ("stopped", {
            let mut row = same("stopped");
            row[4] = ("waiting", Action::CheckNeeds);
            row
        }),
    ];
    let now = Instant::now();
    for ((from, supervisor), (expected_from, row)) in in_each_state(now).into_iter().zip(expected) {
        assert_eq!(from, expected_from);
        assert_eq!(name(supervisor.state()), from);
        for (event, (to, action)) in EVENTS.into_iter().zip(row) {
            let mut supervisor = supervisor.clone();
            assert_eq!((supervisor.handle(now, event), name(supervisor.state())), (action, to), "{from}, {event:?}");
        }
    }
}

#[test]
fn the_pause_doubles_up_to_its_limit_and_is_forgiven() {
    let mut now = Instant::now();
    let mut supervisor = supervisor(now);
    supervisor.handle(now, Event::NeedsMet);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        supervisor.handle(now, Event::Ended);
        let due = supervisor.deadline().unwrap();
        pauses.push((due - now).as_millis());
        now = due;
        assert_eq!(supervisor.handle(now, Event::TimedOut), Action::Spawn);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    assert_eq!(supervisor.restarts(), 9);

    supervisor.handle(now, Event::SaidReady);
    supervisor.handle(now + Duration::from_secs(29), Event::Ended);
    assert_eq!(supervisor.failures(), 10, "29 s of work are not enough");
    let due = supervisor.deadline().unwrap();
    supervisor.handle(due, Event::TimedOut);
    supervisor.handle(due, Event::SaidReady);
    supervisor.handle(due + Duration::from_secs(30), Event::Ended);
    assert_eq!(supervisor.deadline().unwrap() - due, Duration::from_millis(30_100));
}

#[test]
fn a_process_that_was_killed_for_its_slowness_is_not_killed_twice() {
    let now = Instant::now();
    for event in [Event::SaidReady, Event::Stop] {
        let mut supervisor = supervisor(now);
        supervisor.handle(now, Event::NeedsMet);
        if event == Event::Stop {
            supervisor.handle(now, event);
        }
        let due = supervisor.deadline().unwrap();
        assert_eq!(supervisor.handle(due, Event::TimedOut), Action::Kill);
        assert_eq!(supervisor.deadline(), None);
    }
}
