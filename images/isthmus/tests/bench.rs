//! The benchmarks, as a user runs them: short, and without a look at how fast anything is.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testing::preload::has;

/// Runs a benchmark shortly; what it leaves behind is an error.
fn bench(name: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    bench.args(["bench", name, "--quick", "--json"]).env("TMPDIR", folder.path());
    // Kernels stay over runs.
    bench.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    let output = bench.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bench"], name);
    report
}

fn row<'a>(report: &'a Value, case: &str, subject: &str) -> &'a Value {
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["case"] == case && row["subject"] == subject);
    row.unwrap_or_else(|| panic!("no row {case}, {subject} in {report}"))
}

#[test]
fn bench_inter_vr_measures_every_case_and_the_channel_costs_the_stack_no_packet() {
    let report = bench("inter-vr");
    assert_eq!(report["rounds"], 2);
    let row = |case: &str, subject: &str| row(&report, case, subject);
    let carry_data = ["inter-vr", "stack", "kernel-tcp", "af-unix"];
    // What a run by a machine of one CPU has, too.
    for case in
        ["rtt_64B_one_core_p50", "throughput_64B_one_core", "throughput_1KiB_one_core", "throughput_64KiB_one_core"]
    {
        for subject in carry_data {
            assert!(row(case, subject)["median"].as_f64().unwrap() > 0.0, "{case}, {subject}");
        }
    }
    let apart = [
        ("rtt_64B_p50", "s"),
        ("rtt_64B_p99", "s"),
        ("rtt_64B_sleeping_p50", "s"),
        ("throughput_64B", "1/s"),
        ("throughput_1KiB", "1/s"),
        ("throughput_64KiB", "B/s"),
        ("datagram_64B", "1/s"),
        ("cpu_per_GiB", "s/GiB"),
        ("syscalls_per_message", "1"),
        ("open", "s"),
    ];
    for (case, unit) in apart.into_iter().filter(|_| report["cores"] != 1) {
        for subject in carry_data {
            let row = row(case, subject);
            assert!(row["median"].as_f64().unwrap() > 0.0 && row["unit"] == unit, "{row}");
        }
    }
    assert!(row("rtt_64B_one_core_p50", "eventfd")["median"].as_f64().unwrap() > 0.0);
    assert_eq!(row("stack_packets", "inter-vr")["max"], 0.0);
}

#[test]
fn bench_channels_tells_what_standing_connections_cost() {
    let report = bench("channels");
    for connections in [10, 1000] {
        for subject in ["isthmus", "kernel-tcp"] {
            for (case, unit) in [("open", "s"), ("memory_idle", "B"), ("descriptors_idle", "1")] {
                let row = row(&report, &format!("{case}_{connections}"), subject);
                assert!(row["median"].as_f64().unwrap() > 0.0 && row["unit"] == unit, "{row}");
            }
        }
    }
    for subject in ["isthmus", "alone"] {
        assert!(row(&report, "busy_beside_idle", subject)["median"].as_f64().unwrap() > 0.0);
    }
    let wanted =
        |case: &str| report["ratios"].as_array().unwrap().iter().any(|r| r["case"] == case && r["wanted"] == 1.0);
    assert!(wanted("memory_idle_1000") && wanted("descriptors_idle_1000"), "{report}");
}

#[test]
fn bench_vrfib_compares_larger_tables_with_that_of_one_entry() {
    let report = bench("vrfib");
    for case in ["lookup_1", "lookup_100", "lookup_10000", "miss_10000"] {
        for subject in ["isthmus", "one-entry"] {
            assert!(row(&report, case, subject)["median"].as_f64().unwrap() > 0.0);
        }
    }
    assert!(report["ratios"].as_array().unwrap().iter().any(|r| r["case"] == "lookup_10000"), "{report}");
}

#[test]
fn bench_igp_measures_the_core_and_a_ring_of_vrs() {
    let report = bench("igp");
    for case in ["spf_100", "spf_1000", "lsa_to_routes_1000", "adjacency", "start_40", "reconverge_40"] {
        assert!(row(&report, case, "isthmus")["median"].as_f64().unwrap() > 0.0, "{case}");
    }
    // What takes minutes is left out of a short run.
    for case in ["flood_1000", "lsa_to_fib_1000", "lsa_cpu_1000", "lsdb_memory_per_lsa"] {
        assert!(row(&report, case, "isthmus")["skipped"].is_string(), "{case}");
    }
    for case in ["spf_1000", "flood_1000", "adjacency", "start_40", "reconverge_40"] {
        assert!(row(&report, case, "bird")["skipped"].is_string(), "{case}");
    }
    assert_eq!(row(&report, "reconverge_40", "bound")["median"], 0.05);
}

#[test]
fn bench_preload_measures_each_program_on_both_sides_and_costs_the_stack_no_packet() {
    let test = "bench_preload_measures_each_program_on_both_sides_and_costs_the_stack_no_packet";
    if !has(test, &["iperf3", "sockperf", "redis-server", "redis-benchmark", "setpriv", "timeout"]) {
        return;
    }
    let report = bench("preload");
    for case in ["iperf3_bulk", "iperf3_64B", "sockperf_tcp", "sockperf_tcp_one_core", "sockperf_udp", "redis_ops"] {
        for subject in ["preload", "kernel"] {
            let row = row(&report, case, subject);
            assert!(row["median"].as_f64().is_some_and(|median| median > 0.0), "{row}");
        }
    }
    assert_eq!(row(&report, "stack_packets", "preload")["max"], 0.0);
}

/// `check` counts the lines that say why a test cannot run.
fn can_boot(test: &str) -> bool {
    let programs = ["/usr/bin/qemu-system-x86_64", "/bin/busybox", "/usr/lib/frr/bgpd", "/usr/bin/vtysh"];
    let missing = programs.into_iter().find(|program| !Path::new(program).exists());
    let reason = match missing {
        None if nix::unistd::geteuid().is_root() => return true,
        None => "root fetches a kernel with apt".to_owned(),
        Some(program) => format!("{program} is not installed"),
    };
    // Not `eprintln`: the test harness swallows what a passing test prints with it.
    let mut terminal = std::io::stderr();
    writeln!(terminal, "SKIPPED {test}: {reason}").unwrap();
    false
}

#[test]
fn bench_boot_measures_us_and_frr_from_the_kernel_to_a_session() {
    if !can_boot("bench_boot_measures_us_and_frr_from_the_kernel_to_a_session") {
        return;
    }
    let report = bench("boot");
    for (case, unit) in
        [("image_size", "B"), ("to_pid1", "s"), ("to_prompt", "s"), ("to_established", "s"), ("guest_memory", "B")]
    {
        for subject in ["isthmus", "frr"] {
            let row = row(&report, case, subject);
            assert!(row["median"].as_f64().unwrap() > 0.0 && row["unit"] == unit, "{row}");
        }
        let ratios = report["ratios"].as_array().unwrap();
        assert!(ratios.iter().any(|r| r["case"] == case && r["against"] == "frr" && r["wanted"] == 1.0), "{report}");
    }
}
