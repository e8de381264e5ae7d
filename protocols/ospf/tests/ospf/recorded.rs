//! Recorded cases: a folder each under `tests/cases`, with a `config`, what goes in (`in.txt`) and what must come out
//! (`out.txt`). The first line of `in.txt` says what is shown.
//!
//! `ISTHMUS_REWRITE=1 cargo test -p isthmus-ospf --test ospf recorded` writes every `out.txt` anew, to be reviewed like
//! code. The router is 192.0.2.1 at 10.0.0.0 on `link`, its neighbor 192.0.2.9 at 10.0.0.1.
//!
//! Lines of `in.txt`, each behind its time in seconds:
//!
//! ```text
//! hello | hello deaf                       the neighbor's, in which it hears the router or not
//! describe FLAGS SEQUENCE                  a description without LSAs; flags I, M and S, or - for none
//! update router SEQUENCE [PREFIX COST]…    its router-LSA: the link, and stub networks
//! update external SEQUENCE PREFIX METRIC
//! flush router SEQUENCE | flush external SEQUENCE PREFIX METRIC     the same at MaxAge
//! acknowledge                              all that it has heard
//! request router                           the router's own router-LSA
//! link up | link down      rib restarted   wait
//! ```

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use ipnet::Ipv4Net;
use ospf::packet::{
    Lsa, LsaKey, LsaType, MAX_AGE, Options, RouterFlags, RouterLink, RouterLinkKind, RouterLsa, SequenceNumber,
};
use sdk::core::Time;

use crate::peer::{Conversation, OWN, PEER, PEER_ADDRESS};

#[test]
fn every_recorded_case_gives_what_was_recorded() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<_> = fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for case in names {
        let out = run(&case);
        let recorded = case.join("out.txt");
        if std::env::var_os("ISTHMUS_REWRITE").is_some() {
            fs::write(&recorded, &out).unwrap();
        }
        let expected = fs::read_to_string(&recorded).unwrap_or_default();
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&out), lines(&expected), "case {}", case.display());
    }
}

fn run(folder: &Path) -> String {
    let mut conversation = Conversation::new(&fs::read_to_string(folder.join("config")).unwrap());
    let mut out = String::new();
    let text = fs::read_to_string(folder.join("in.txt")).unwrap();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (at, what) = line.split_once(char::is_whitespace).unwrap();
        let (at, what) = (Time::ZERO + Duration::from_secs_f64(at.parse().unwrap()), what.trim());
        conversation.wait(at - conversation.now);
        conversation.record.drain(..).for_each(|line| writeln!(out, "{line}").unwrap());
        writeln!(out, "{} < {what}", conversation.now).unwrap();
        input(&mut conversation, &what.split_whitespace().collect::<Vec<_>>());
        conversation.record.drain(..).for_each(|line| writeln!(out, "{line}").unwrap());
    }
    out
}

fn input(conversation: &mut Conversation, words: &[&str]) {
    match words {
        ["hello"] => conversation.hello(),
        ["hello", "deaf"] => conversation.hello_with(Conversation::usual_hello(), &[]),
        ["describe", flags, sequence] => conversation.describe(flags, sequence.parse().unwrap(), &[]),
        ["update", lsa @ ..] => conversation.update(&[read(lsa)]),
        ["flush", lsa @ ..] => conversation.update(&[read(lsa).with_age(MAX_AGE)]),
        ["acknowledge"] => conversation.acknowledge_all(),
        ["request", "router"] => conversation.request(&[LsaKey::new(LsaType::Router, OWN, OWN)]),
        ["link", state] => conversation.interface(1500, *state == "up"),
        ["rib", "restarted"] => conversation.rib_restarted(),
        ["wait"] => {}
        other => panic!("{other:?}"),
    }
}

fn read(words: &[&str]) -> Lsa {
    let sequence = |text: &str| SequenceNumber(SequenceNumber::INITIAL.0 + text.parse::<i32>().unwrap() - 1);
    match words {
        ["router", number, networks @ ..] => {
            let kind = RouterLinkKind::PointToPoint;
            let mut links = vec![RouterLink { kind, id: OWN, data: PEER_ADDRESS, metric: 1 }];
            links.extend(networks.chunks(2).map(|network| {
                let prefix: Ipv4Net = network[0].parse().unwrap();
                let (id, data, metric) = (prefix.network(), prefix.netmask(), network[1].parse().unwrap());
                RouterLink { kind: RouterLinkKind::Stub, id, data, metric }
            }));
            let body = RouterLsa::encode(RouterFlags::default().with(RouterFlags::E, true), &links);
            Lsa::originate(LsaKey::new(LsaType::Router, PEER, PEER), Options::E, sequence(number), &body).unwrap()
        }
        ["external", number, prefix, metric] => {
            let (prefix, metric): (Ipv4Net, u32) = (prefix.parse().unwrap(), metric.parse().unwrap());
            let body = ospf::packet::ExternalLsa {
                prefix,
                metric: ospf::packet::ExternalMetric::Type2(metric),
                forwarding: Ipv4Addr::UNSPECIFIED,
                tag: 0,
            };
            let key = LsaKey::new(LsaType::External, prefix.network(), PEER);
            Lsa::originate(key, Options::E, sequence(number), &body.encode()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}
