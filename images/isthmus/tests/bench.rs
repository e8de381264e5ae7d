//! The benchmarks, as a user runs them: short, and without a look at how fast anything is.

use std::process::Command;

use serde_json::Value;

#[test]
fn bench_inter_vr_measures_every_case_and_the_channel_costs_the_stack_no_packet() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    bench.args(["bench", "inter-vr", "--quick", "--json"]).env("TMPDIR", folder.path());
    let output = bench.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["bench"], &report["rounds"]), (&"inter-vr".into(), &2.into()));
    let rows = report["rows"].as_array().unwrap();
    let row = |case: &str, subject: &str| {
        let row = rows.iter().find(|row| row["case"] == case && row["subject"] == subject);
        row.unwrap_or_else(|| panic!("no row {case}, {subject} in {report}"))
    };
    for case in ["rtt_64B_p50", "rtt_64B_p99", "throughput_64B", "throughput_1KiB", "throughput_64KiB"] {
        for subject in ["inter-vr", "stack", "kernel-tcp", "af-unix"] {
            assert!(row(case, subject)["median"].as_f64().unwrap() > 0.0);
        }
    }
    assert_eq!(row("stack_packets", "inter-vr")["max"], 0.0);
    let ratios = report["ratios"].as_array().unwrap();
    assert_eq!(ratios.iter().filter(|ratio| ratio["against"] == "kernel-tcp" && ratio["wanted"] == 1.0).count(), 5);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
