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

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
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
    let cells = report["admission"].as_array().unwrap();
    // Two disks, two kinds of goods, one client and 64.
    assert_eq!(cells.len(), 8);
    let cell = |disk: &str, goods: &str, clients: u64| {
        let of = |cell: &&Value| cell["disk"] == disk && cell["goods"] == goods && cell["clients"] == clients;
        cells.iter().find(of).unwrap_or_else(|| panic!("no cell of {disk}, {goods}, {clients}"))
    };
    for (disk, key) in [("own", ""), ("1ms", "_1ms")] {
        for goods in ["hot", "spread"] {
            let (alone, crowd) = (cell(disk, goods, 1), cell(disk, goods, 64));
            let promised = if goods == "hot" { "hot_sku" } else { "spread" };
            assert_eq!(report[format!("{promised}_64_ratio{key}")], crowd["ratio"]);
            assert_eq!(report[format!("{promised}_64_p99_ms{key}")], crowd["meridian"]["p99_ms"]);
            assert_eq!(report[format!("{promised}_64_p99_ms_pgbench{key}")], crowd["pgbench"]["p99_ms"]);
            for cell in [alone, crowd] {
                // One run: the ratio is that of the two rates, and an order of pgbench's is a commit of its own.
                let quick = number(&cell["meridian"]["orders_per_s"]) / number(&cell["pgbench"]["orders_per_s"]);
                assert!((number(&cell["ratio"]) / quick - 1.0).abs() < 1e-9, "{cell}");
                assert!(number(&cell["pgbench"]["commits_per_order"]) >= 1.0, "{cell}");
                for side in [&cell["pgbench"], &cell["meridian"]] {
                    assert!(number(&side["p50_ms"]) <= number(&side["p99_ms"]), "{side}");
                }
            }
            let commits = |cell: &Value| number(&cell["meridian"]["commits_per_order"]);
            assert!(commits(crowd) < commits(alone), "a crowd's orders share no commit: {crowd}");
        }
        let lower = ["hot", "spread"].map(|goods| number(&cell(disk, goods, 1)["ratio"]));
        assert_eq!(number(&report[format!("one_client_ratio{key}")]), lower[0].min(lower[1]));
        let passages = report["whole_way"].as_array().unwrap().iter().filter(|passage| passage["disk"] == disk);
        let slowest = passages.map(|passage| number(&passage["top"]["orders_per_s"])).reduce(f64::min).unwrap();
        assert_eq!(number(&report[format!("whole_way_orders_per_s{key}")]), slowest);
    }
    for passage in report["whole_way"].as_array().unwrap() {
        assert_eq!(passage["top"]["orders"].as_f64(), Some(16.0 * 3.0), "{passage}");
        let parts = passage["top"]["cpu_ms_by_part"].as_object().unwrap();
        let all: f64 = parts.values().map(number).sum();
        assert!(number(&parts["cores"]) > 0.0, "{passage}");
        assert!(number(&passage["top"]["cpu_ms_per_order"]) <= all * 1.000_001, "some of it is nobody's: {passage}");
        assert!(number(&passage["top"]["p50_ms"]) <= number(&passage["top"]["p99_ms"]), "{passage}");
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
    // What is promised is what was measured, and compared with what the machine can do at best.
    for (promised, of, measured) in [
        ("confirmed_p50_ms", "steady", "paid_p50_ms"),
        ("confirmed_p99_ms", "steady", "paid_p99_ms"),
        ("reached_per_s", "steady", "orders_per_s"),
        ("cpu_ms_per_order", "steady", "cpu_ms_per_order"),
        ("relay_events_per_s", "backlog", "events_per_s"),
        ("backlog_drained_s", "backlog", "drained_s"),
        ("burst_reached_per_s", "burst", "orders_per_s"),
    ] {
        assert_eq!(report[promised], report[of][measured], "{promised}");
    }
    assert!(number(&report["confirmed_p50_ms"]) <= number(&report["confirmed_p99_ms"]));
    let limit = number(&report["limit"]["confirmed_ms"]);
    let slower = number(&report["confirmed_p50_ms"]) / limit;
    assert!(limit > 0.0 && (number(&report["confirmed_p50_ratio"]) / slower - 1.0).abs() < 1e-9, "{report}");
    let pace = number(&report["backlog"]["events"]) / number(&report["backlog"]["drained_s"]);
    assert!((number(&report["relay_events_per_s"]) / pace - 1.0).abs() < 1e-9, "{report}");
    let aims = report["aims"].as_array().unwrap();
    assert_eq!(aims.len(), 5);
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
