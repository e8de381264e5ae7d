use super::*;
use crate::bench::report::Found;

/// Values for every row, the better the earlier its subject comes.
fn all_values() -> Values {
    let mut values = Values::new();
    let cases = CASES.iter().map(|case| (case.name, case)).chain([(RTT_P99, &CASES[0])]);
    for (name, case) in cases {
        let subjects = ["inter-vr"].into_iter().chain(case.against.iter().map(|(subject, _)| *subject));
        for (n, subject) in subjects.enumerate() {
            let value = if case.better == Better::Lower { n as f64 } else { 1000.0 - n as f64 };
            values.insert((name, subject), vec![value + 1.0]);
        }
    }
    values.insert((STACK_PACKETS, "inter-vr"), vec![0.0, 0.0]);
    values
}

#[test]
fn a_report_has_every_case_of_the_channel_and_says_what_is_wanted() {
    let report = report(5, 2, &all_values(), &BTreeMap::new());
    let wanted: Vec<(&str, &str, f64)> =
        report.ratios.iter().filter_map(|ratio| Some((ratio.case, ratio.against, ratio.wanted?))).collect();
    let expected = [
        ("rtt_64B_p50", "cache-line", 2.5),
        ("rtt_64B_p50", "kernel-tcp", 0.05),
        ("rtt_64B_sleeping_p50", "eventfd", 1.15),
        ("rtt_64B_one_core_p50", "kernel-tcp", 0.35),
        ("throughput_64B", "kernel-tcp", 25.0),
        ("throughput_1KiB", "kernel-tcp", 8.0),
        ("throughput_64KiB", "kernel-tcp", 2.5),
        ("throughput_64B_one_core", "kernel-tcp", 80.0),
        ("throughput_1KiB_one_core", "kernel-tcp", 20.0),
        ("throughput_64KiB_one_core", "kernel-tcp", 5.0),
        ("datagram_64B", "af-unix", 10.0),
        ("syscalls_per_message", "bound", 1.0),
        ("cpu_per_GiB", "kernel-tcp", 1.0 / 3.0),
        ("rtt_64B_p99", "kernel-tcp", 0.05),
    ];
    assert_eq!(wanted, expected);
    assert!(report.rows.iter().all(|row| matches!(row.found, Found::Measured(_))), "{:?}", report.rows);
    assert!(report.rows.iter().any(|row| (row.case, row.subject) == ("open", "stack")));
    assert!(report.ratios.iter().all(|ratio| ratio.met.is_some() == ratio.wanted.is_some()));
}

#[test]
fn a_peer_that_is_not_there_is_skipped_and_not_compared() {
    let mut values = all_values();
    values.retain(|(_, subject), _| *subject != "af-unix");
    let skipped = BTreeMap::from([("af-unix", "no such family".to_owned())]);
    let report = report(1, 2, &values, &skipped);
    assert!(report.ratios.iter().all(|ratio| ratio.against != "af-unix"));
    let rows: Vec<_> = report.rows.iter().filter(|row| row.subject == "af-unix").collect();
    assert!(!rows.is_empty());
    for row in rows {
        assert!(matches!(&row.found, Found::Skipped { skipped } if skipped == "no such family"), "{row:?}");
    }
}

#[test]
fn one_cpu_is_enough_for_the_cases_on_one_core_only() {
    assert_eq!(place(&[3], Placement::Apart), None);
    assert_eq!(place(&[3], Placement::OneCore), Some((3, 3)));
    assert_eq!(place(&[1, 2, 5], Placement::Apart), Some((1, 5)));
}
