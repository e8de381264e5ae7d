//! The transitions of RFC 4271 section 8.2.2 as a table.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;
use crate::packet::{AsWidth, OpenError, UpdateError};

const OWN: ConnectionId = ConnectionId(1);
const FRESH: ConnectionId = ConnectionId(2);
const T0: Time = Time::ZERO;

fn link(connection: ConnectionId) -> Link {
    let end = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    Link { connection, direction: Direction::Outgoing, local: end(1), remote: end(179) }
}

fn agreement(hold: u64) -> Agreement {
    Agreement {
        router_id: Ipv4Addr::LOCALHOST,
        width: AsWidth::Four,
        route_refresh: true,
        hold: Duration::from_secs(hold),
        keepalive: Duration::from_secs(hold / 3),
    }
}

fn events() -> Vec<(&'static str, Event)> {
    vec![
        ("Start", Event::Start(FRESH)),
        ("StartPassive", Event::StartPassive { retry: true }),
        ("Stop", Event::Stop(Cease::AdministrativeShutdown)),
        ("ConnectRetryExpired", Event::ConnectRetryExpired(FRESH)),
        ("HoldTimerExpired", Event::HoldTimerExpired),
        ("KeepaliveExpired", Event::KeepaliveTimerExpired),
        ("Connected", Event::Connected(link(OWN))),
        ("Failed", Event::Failed(Closed::EndOfFile)),
        ("Open", Event::Open(agreement(90))),
        ("Malformed", Event::Malformed(UpdateError::MalformedAttributeList.into())),
        ("Notification", Event::Notification(OpenError::BadPeerAs.into())),
        ("Keepalive", Event::Keepalive),
        ("Update", Event::Update),
    ]
}

/// A machine led to a state by the events that lead there.
fn machine(state: &str) -> Fsm {
    let way: &[Event] = match state {
        "Idle" => &[],
        "Connect" => &[Event::Start(OWN)],
        "Active" => &[Event::StartPassive { retry: true }],
        "OpenSent" => &[Event::Start(OWN), Event::Connected(link(OWN))],
        "OpenConfirm" => &[Event::Start(OWN), Event::Connected(link(OWN)), Event::Open(agreement(90))],
        _ => &[Event::Start(OWN), Event::Connected(link(OWN)), Event::Open(agreement(90)), Event::Keepalive],
    };
    let mut fsm = Fsm::new();
    way.iter().for_each(|event| drop(fsm.handle(T0, event.clone())));
    assert_eq!(fsm.state().name(), state);
    fsm
}

fn short(action: &Action) -> String {
    match action {
        Action::Connect(connection) => format!("connect#{}", connection.0),
        Action::Close(connection) => format!("close#{}", connection.0),
        Action::SendOpen(_) => "OPEN".to_owned(),
        Action::SendKeepalive(_) => "KEEPALIVE".to_owned(),
        Action::SendNotification(_, notification) => {
            let (code, subcode) = notification.error.wire();
            format!("NOTIFICATION {code}/{subcode}")
        }
        Action::Established(_) => "established".to_owned(),
        Action::Ended(_) => "ended".to_owned(),
    }
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let mut table = String::new();
    for state in ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"] {
        for (name, event) in events() {
            let mut fsm = machine(state);
            let actions = fsm.handle(T0, event);
            let actions: Vec<String> = actions.iter().map(short).collect();
            table += format!("{state} + {name} -> {} {}", fsm.state().name(), actions.join(", ")).trim_end();
            table += "\n";
        }
    }
    let expected = include_str!("table.txt");
    assert_eq!(table.lines().collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
}

#[test]
fn silence_for_the_hold_time_ends_the_session_and_a_message_postpones_that() {
    let mut fsm = machine("Established");
    let at = |seconds| T0 + Duration::from_secs(seconds);
    assert_eq!(fsm.next_timer(), Some((at(30), Timer::Keepalive)));
    fsm.handle(at(30), Event::KeepaliveTimerExpired);
    fsm.handle(at(59), Event::Update);
    fsm.handle(at(60), Event::KeepaliveTimerExpired);
    fsm.handle(at(90), Event::KeepaliveTimerExpired);
    fsm.handle(at(120), Event::KeepaliveTimerExpired);
    assert_eq!(fsm.next_timer(), Some((at(149), Timer::Hold)));
}

#[test]
fn a_hold_time_of_zero_has_no_timers() {
    let mut fsm = machine("OpenSent");
    fsm.handle(T0, Event::Open(agreement(0)));
    fsm.handle(T0, Event::Keepalive);
    assert_eq!(fsm.state().name(), "Established");
    assert_eq!(fsm.next_timer(), None);
}

#[test]
fn the_open_is_awaited_for_four_minutes() {
    assert_eq!(machine("OpenSent").next_timer(), Some((T0 + Duration::from_secs(240), Timer::Hold)));
}

#[test]
fn a_passive_machine_never_tries_itself() {
    let mut fsm = Fsm::new();
    fsm.handle(T0, Event::StartPassive { retry: false });
    assert_eq!(fsm.next_timer(), None);
}
