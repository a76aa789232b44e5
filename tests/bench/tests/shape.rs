//! A short run, for its shape alone: every promised figure is there and the books agree. Nothing here is timed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Orders of each client in each measurement.
const ORDERS: u64 = 3;
const PROMISED: [&str; 7] = [
    "hot_sku_64_ratio",
    "hot_sku_64_ratio_1ms",
    "spread_64_ratio",
    "spread_64_ratio_1ms",
    "one_client_ratio",
    "whole_way_orders_per_s",
    "whole_way_cpu_ms",
];

/// The folder of the programs, of which this test's is one.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_meridian-bench")).parent().unwrap().to_owned()
}

#[test]
fn a_short_run_has_every_promised_figure_and_its_books_agree() {
    let folder = programs().parent().unwrap().join("tmp/bench-shape");
    std::fs::create_dir_all(&folder).unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_meridian-bench"));
    bench.args(["checkout", "--quick", "--json", "--clients", "16", "--orders", &ORDERS.to_string()]);
    let run = bench.arg("--programs").arg(programs()).arg("--folder").arg(&folder).output().unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    // It fails by itself if orders, lines, reservations, events and acknowledgements differ anywhere.
    assert!(run.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    for key in PROMISED {
        assert!(report[key].as_f64().is_some_and(|figure| figure > 0.0), "{key}: {}", report[key]);
    }
    // Two disks, two kinds of goods, one client and 64.
    assert_eq!(report["admission"].as_array().unwrap().len(), 8);
    let sides = report["admission"].as_array().unwrap().iter().flat_map(|cell| [&cell["pgbench"], &cell["meridian"]]);
    for side in sides {
        assert!(side["commits_per_order"].as_f64().unwrap() > 0.0, "{side}");
    }
    for passage in report["whole_way"].as_array().unwrap() {
        assert_eq!(passage["top"]["orders"].as_f64(), Some(16.0 * 3.0), "{passage}");
        assert!(passage["top"]["cpu_ms_by_part"]["cores"].is_number(), "{passage}");
    }
    assert_eq!(report["whole_way"].as_array().unwrap().len(), 4);
}

const PROMISED_OF_ORDERS: [&str; 9] = [
    "confirmed_p50_ms",
    "confirmed_p99_ms",
    "confirmed_p50_ratio",
    "reached_per_s",
    "cpu_ms_per_order",
    "relay_events_per_s",
    "backlog_drained_s",
    "burst_reached_per_s",
    "outbox_age_p99_ms",
];

#[test]
fn a_short_run_of_accepted_orders_has_every_promised_figure_and_its_books_agree() {
    let folder = programs().parent().unwrap().join("tmp/bench-saga-shape");
    std::fs::create_dir_all(&folder).unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_meridian-bench"));
    bench.args(["saga", "--json", "--rate", "20", "--seconds", "1", "--backlog", "100"]);
    let run = bench.arg("--programs").arg(programs()).arg("--folder").arg(&folder).output().unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    for key in PROMISED_OF_ORDERS {
        assert!(report[key].as_f64().is_some_and(|figure| figure > 0.0), "{key}: {}", report[key]);
    }
    assert_eq!((report["steady"]["orders"].as_f64(), report["burst"]["orders"].as_f64()), (Some(20.0), Some(40.0)));
    // Each of 64 clients placed two: nobody had heard of any of these when the consumers were let loose.
    assert_eq!(report["backlog"]["events"].as_f64(), Some(128.0));
    assert!(report["limit"]["confirmed_ms"].as_f64().unwrap() > 0.0, "{}", report["limit"]);
    assert_eq!(report["aims"].as_array().unwrap().len(), 5);
}

#[test]
fn an_option_that_makes_no_sense_is_refused_and_help_names_them_all() {
    let bench =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_meridian-bench")).args(arguments).output().unwrap();
    let refused = bench(&["checkout", "--programs", "p", "--folder", "f", "--runs", "0"]);
    assert!(refused.status.code() == Some(2) && refused.stdout.is_empty());
    let nowhere = programs().parent().unwrap().join("tmp/bench-nowhere");
    let nowhere = nowhere.to_string_lossy();
    let not_run = bench(&["checkout", "--only", "whole-way", "--programs", &nowhere, "--folder", &nowhere]);
    assert_eq!(not_run.status.code(), Some(2), "{}", String::from_utf8_lossy(&not_run.stderr));
    let help = String::from_utf8(bench(&["checkout", "--help"]).stdout).unwrap();
    for option in ["--quick", "--seconds", "--orders", "--only", "--runs", "--cores", "--clients", "--json"] {
        assert!(help.contains(option), "{option} is not in the help");
    }
    let refused = bench(&["saga", "--programs", "p", "--folder", "f", "--rate", "0"]);
    assert!(refused.status.code() == Some(2) && refused.stdout.is_empty());
    let not_run = bench(&["saga", "--programs", &nowhere, "--folder", &nowhere]);
    assert_eq!(not_run.status.code(), Some(2), "{}", String::from_utf8_lossy(&not_run.stderr));
    let help = String::from_utf8(bench(&["saga", "--help"]).stdout).unwrap();
    for option in ["--quick", "--rate", "--seconds", "--backlog", "--cores", "--json"] {
        assert!(help.contains(option), "{option} is not in the help");
    }
}
