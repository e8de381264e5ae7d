use proptest::prelude::*;
use serde_json::json;

use super::*;

fn row(case: &'static str, subject: &'static str, unit: Unit, values: &[f64]) -> Row {
    Row { case, subject, unit, found: Found::Measured(Spread::of(values).unwrap()) }
}

fn report() -> Report {
    let skipped = Found::Skipped { skipped: "not installed".to_owned() };
    let mut report = Report {
        bench: "inter-vr",
        cores: 2,
        rounds: 3,
        rows: vec![
            row("rtt", "inter-vr", Unit::Seconds, &[1e-6, 2e-6, 0.5e-6]),
            row("rtt", "kernel-tcp", Unit::Seconds, &[4e-5, 4e-5, 5e-5]),
            Row { case: "rtt", subject: "other", unit: Unit::Seconds, found: skipped },
            row("rate", "inter-vr", Unit::BytesPerSecond, &[5e9]),
            row("rate", "kernel-tcp", Unit::BytesPerSecond, &[1e10]),
            row("packets", "inter-vr", Unit::Count, &[0.0]),
        ],
        ratios: Vec::new(),
    };
    report.compare("rtt", "inter-vr", "kernel-tcp", Better::Lower, Some(1.0));
    report.compare("rtt", "inter-vr", "other", Better::Lower, Some(1.0));
    report.compare("rate", "inter-vr", "kernel-tcp", Better::Higher, Some(1.0));
    report.compare("rate", "kernel-tcp", "inter-vr", Better::Higher, None);
    report
}

#[test]
fn the_median_lies_in_the_middle_whatever_the_order() {
    assert_eq!(Spread::of(&[]), None);
    assert_eq!(Spread::of(&[7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
    assert_eq!(Spread::of(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
    assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
}

#[test]
fn a_percentile_is_one_of_the_values() {
    let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!(percentile(&hundred, 50), Some(50.0));
    assert_eq!(percentile(&hundred, 99), Some(99.0));
    assert_eq!(percentile(&hundred, 100), Some(100.0));
    assert_eq!(percentile(&[3.0, 8.0], 50), Some(3.0));
    assert_eq!(percentile(&[3.0, 8.0], 99), Some(8.0));
    assert_eq!(percentile(&[3.0], 0), Some(3.0));
    assert_eq!(percentile(&[], 50), None);
}

#[test]
fn a_report_has_the_form_that_scripts_read() {
    let document = serde_json::to_value(report()).unwrap();
    assert_eq!(document["bench"], "inter-vr");
    assert_eq!((&document["cores"], &document["rounds"]), (&json!(2), &json!(3)));
    let first = json!({"case": "rtt", "subject": "inter-vr", "unit": "s", "median": 1e-6, "min": 0.5e-6, "max": 2e-6});
    assert_eq!(document["rows"][0], first);
    let skipped = json!({"case": "rtt", "subject": "other", "unit": "s", "skipped": "not installed"});
    assert_eq!(document["rows"][2], skipped);
    assert_eq!(document["rows"][3]["unit"], "B/s");
    assert_eq!(document["ratios"].as_array().unwrap().len(), 3, "a subject that was skipped is not compared");
    let behind = json!({
        "case": "rate", "subject": "inter-vr", "against": "kernel-tcp", "ratio": 0.5, "better": "higher",
        "wanted": 1.0, "met": false,
    });
    assert_eq!(document["ratios"][1], behind);
    assert_eq!((&document["ratios"][0]["better"], &document["ratios"][0]["met"]), (&json!("lower"), &json!(true)));
    let unasked = &document["ratios"][2];
    assert!(unasked["wanted"].is_null() && unasked["met"].is_null());
}

#[test]
fn nothing_is_divided_by_zero() {
    let mut report = report();
    report.ratios.clear();
    report.compare("packets", "inter-vr", "inter-vr", Better::Lower, Some(1.0));
    assert_eq!(report.ratios, []);
}

#[test]
fn the_table_lines_up_and_says_who_is_behind() {
    let expected = "\
inter-vr: 2 cores, 3 rounds
case     subject        median        min        max
rtt      inter-vr      1.00 us     500 ns    2.00 us
rtt      kernel-tcp    40.0 us    40.0 us    50.0 us  inter-vr has 0.0250 times this, as wanted (1)
rtt      other                                        skipped: not installed
rate     inter-vr    5.00 GB/s  5.00 GB/s  5.00 GB/s  kernel-tcp has 2.00 times this
rate     kernel-tcp  10.0 GB/s  10.0 GB/s  10.0 GB/s  inter-vr has 0.500 times this, NOT as wanted (1)
packets  inter-vr            0          0          0
";
    assert_eq!(report().table(), expected);
}

proptest! {
    #[test]
    fn a_percentile_splits_the_values_where_it_says(
        values in prop::collection::vec(0.0f64..1e3, 1..200), percent in 0usize..=100,
    ) {
        let found = percentile(&values, percent).unwrap();
        let below = values.iter().filter(|value| **value < found).count();
        let up_to = values.iter().filter(|value| **value <= found).count();
        prop_assert!(below * 100 < (values.len() * percent).max(1));
        prop_assert!(up_to * 100 >= values.len() * percent);
    }
}
