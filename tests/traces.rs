//! Traces are evidence: the books of a run are rebuilt from its trace, by code that shares nothing with the clock, and by
//! `tests/scripts/verify_trace.py` where Python is. Both must also find what is wrong with a trace that was changed.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

#[path = "support/schema.rs"]
mod schema;

const UNITS: [&str; 6] = ["control", "load-store", "vector-mac", "elementwise", "array", "dma"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs preon with `--trace`: the trace and the books of the same run.
fn traced(folder: &Path, name: &str, arguments: &[&str]) -> (PathBuf, Value, Value) {
    let path = folder.join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_preon"))
        .args(arguments)
        .args(["-f", "json", "--trace", path.to_str().unwrap()])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let books: Value = serde_json::from_slice(&output.stdout).unwrap();
    let books = if books.is_array() { books[0].clone() } else { books };
    (path.clone(), read(&path), books)
}

fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    match path.extension().is_some_and(|ext| ext == "gz") {
        true => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
        false => (&bytes[..]).read_to_string(&mut text).unwrap(),
    };
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// One instruction: the slice of its issue and that of its unit.
#[derive(Default)]
struct Op<'a> {
    issue: Option<&'a Value>,
    unit: Option<&'a Value>,
}

impl Op<'_> {
    fn slice(&self) -> &Value {
        self.unit.expect("an instruction has a slice")
    }
    fn arg(&self, name: &str) -> u64 {
        number(&self.slice()["args"][name])
    }
    fn start(&self) -> u64 {
        number(&self.slice()["ts"])
    }
    fn end(&self) -> u64 {
        self.start() + number(&self.slice()["dur"])
    }
    fn busy_until(&self) -> u64 {
        if self.slice()["cat"] == "dma" { self.arg("ready") } else { self.end() }
    }
}

fn ops(trace: &Value) -> BTreeMap<u64, Op<'_>> {
    let mut ops: BTreeMap<u64, Op> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X") {
        let op = ops.entry(number(&event["args"]["seq"])).or_default();
        if event["cat"] == "issue" || event["cat"] == "control" {
            op.issue = Some(event);
        }
        if event["cat"] != "issue" {
            op.unit = Some(event);
        }
    }
    ops
}

/// Slices of one track that overlap, and instructions that start before what they use is there.
fn disorder(trace: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut tracks: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X") {
        let (ts, dur) = (number(&event["ts"]), number(&event["dur"]));
        tracks.entry((number(&event["pid"]), number(&event["tid"]))).or_default().push((ts, ts + dur));
    }
    for (track, mut slices) in tracks {
        slices.sort_unstable();
        faults.extend(slices.windows(2).filter(|w| w[0].1 > w[1].0).map(|w| format!("{track:?} overlaps: {w:?}")));
    }
    let ops = ops(trace);
    for (seq, op) in ops.iter().filter(|(_, op)| op.unit.is_some()) {
        for need in op.slice()["args"]["needs"].as_array().into_iter().flatten() {
            let Some(made) = ops.get(&number(&need[0])).filter(|made| made.unit.is_some()) else { continue };
            let (at, until) = match need[1].as_str().unwrap() {
                "scalar" => (op.arg("issue"), made.arg("scalars")),
                "register" => (op.start(), made.arg("ready")),
                "sum" => (op.start(), made.end()),
                "memory" => (op.start(), made.busy_until()),
                "channel" => (op.arg("ready"), made.arg("ready")),
                other => panic!("an unknown way {other}"),
            };
            if at < until {
                faults.push(format!("{seq} uses {need} at {at}, which is there at {until}"));
            }
        }
    }
    faults
}

/// What the units of a core did so far.
#[derive(Default)]
struct Core {
    cursor: [u64; 6],
    busy: [u64; 6],
    stalls: [BTreeMap<String, u64>; 6],
}

/// Cycles, units of every core with busy, stalled and idle cycles, and bytes by level, from the trace alone.
fn rebuilt(trace: &Value) -> (u64, Vec<Vec<Value>>, BTreeMap<String, [u64; 2]>) {
    let ops = ops(trace);
    let mut cores: BTreeMap<u64, Core> = BTreeMap::new();
    let (mut last, mut bytes) = (0, BTreeMap::<String, [u64; 2]>::new());
    for op in ops.values() {
        let Core { cursor, busy, stalls } = cores.entry(number(&op.slice()["pid"])).or_default();
        let issue = op.issue.expect("an instruction is issued");
        let at = number(&issue["ts"]);
        let unit = UNITS.iter().position(|name| op.slice()["cat"] == *name).unwrap();
        let mut parts = vec![(0, &issue["args"]["wait"], at, at + number(&issue["dur"]))];
        if unit != 0 {
            parts.push((unit, &op.slice()["args"]["wait"], op.start(), op.busy_until()));
            last = last.max(op.arg("ready"));
        }
        for (unit, wait, start, end) in parts {
            if !wait.is_null() {
                let stalled = number(&wait["until"]).saturating_sub(number(&wait["from"]).max(cursor[unit]));
                if stalled > 0 {
                    *stalls[unit].entry(wait["cause"].as_str().unwrap().to_owned()).or_default() += stalled;
                }
            }
            busy[unit] += end.saturating_sub(start.max(cursor[unit]));
            cursor[unit] = cursor[unit].max(end);
            last = last.max(end);
        }
        for (way, name) in ["read", "write"].into_iter().enumerate() {
            for (level, count) in op.slice()["args"][name].as_object().into_iter().flatten() {
                bytes.entry(level.clone()).or_default()[way] += number(count);
            }
        }
    }
    let unit = |core: &Core, n: usize| {
        let (busy, stalls) = (core.busy[n], &core.stalls[n]);
        let idle = last - busy - stalls.values().sum::<u64>();
        json!({ "unit": UNITS[n], "busy_cycles": busy, "stall_cycles": stalls, "idle_cycles": idle })
    };
    (last, cores.values().map(|core| (0..6).map(|n| unit(core, n)).collect()).collect(), bytes)
}

/// Holds a trace against the books.
fn check(trace: &Value, books: &Value) {
    assert_eq!(trace["otherData"]["schema"], "preon.trace/1");
    assert_eq!(disorder(trace), [""; 0]);
    let (cycles, cores, bytes) = rebuilt(trace);
    assert_eq!(json!(cycles), books["cycles"]);
    assert_eq!(json!(ops(trace).len()), books["instructions"]);
    let booked = books["cores"].as_array().cloned().unwrap_or_else(|| vec![books.clone()]);
    assert_eq!(cores.len(), booked.len());
    let booked = booked.iter().flat_map(|core| core["units"].as_array().unwrap());
    for (mine, booked) in cores.iter().flatten().zip(booked) {
        let mut booked = booked.as_object().unwrap().clone();
        booked.remove("instructions");
        let stalls = booked["stall_cycles"].as_object_mut().unwrap();
        stalls.retain(|_, cycles| *cycles != 0);
        assert_eq!(*mine, Value::Object(booked));
    }
    let level = |name: &str| bytes.get(name).copied().unwrap_or_default();
    let book = &books["bytes"];
    if book.get("dram_read").is_some() {
        let (own, shared) = (level("sram"), level("shared-sram"));
        let found = json!([level("dram"), [own[0] + shared[0], own[1] + shared[1]]]);
        assert_eq!(found, json!([[book["dram_read"], book["dram_write"]], [book["sram_read"], book["sram_write"]]]));
    } else {
        for (name, row) in book.as_object().unwrap() {
            assert_eq!(json!(level(name)), json!([row["read"], row["written"]]), "{name}");
        }
    }
}

/// The script's verdict on a trace and its books; `None` without Python.
fn script(trace: &Path, books: &Path) -> Option<(bool, String)> {
    let script = root().join("tests/scripts/verify_trace.py");
    let output = Command::new("python3").args([&script, trace, books]).output().ok()?;
    Some((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn check_both(path: &Path, trace: &Value, books: &Value) {
    check(trace, books);
    let file = path.with_extension("books");
    std::fs::write(&file, books.to_string()).unwrap();
    if let Some((right, said)) = script(path, &file) {
        assert!(right, "{}: {said}", path.display());
    }
}

#[test]
fn the_books_of_a_program_follow_from_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    for (program, machine) in [("first", "edge"), ("hypervector", "hbm"), ("skip", "edge"), ("dot-ternary", "hbm")] {
        let file = format!("programs/examples/{program}.vasm");
        let (path, trace, books) =
            traced(folder.path(), &format!("{program}.json.gz"), &["exec", &file, "-m", machine]);
        check_both(&path, &trace, &books);
        assert_eq!(trace["otherData"]["totals"]["units"], books["units"]);
    }
}

#[test]
fn the_books_of_a_model_follow_from_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    let gemm = ["gemm", "--m", "33", "--n", "130", "--k", "257"];
    let runs = [("a.json", "edge", "w1.58a8"), ("b.json.gz", "hbm", "fp32"), ("d.json.gz", "dram-lpddr4", "int8")];
    for (name, machine, policy) in runs {
        let (path, trace, books) = traced(folder.path(), name, &[&gemm[..], &["-m", machine, "-p", policy]].concat());
        check_both(&path, &trace, &books);
    }
    let (path, trace, books) = traced(folder.path(), "c.json", &["run", "builtin:mlp", "-p", "w1a1"]);
    check_both(&path, &trace, &books);
    let events = trace["traceEvents"].as_array().unwrap();
    let steps = |name: &str| events.iter().filter(|event| event["args"]["step"] == name).count();
    assert!(books["layers"].as_array().unwrap().iter().all(|layer| steps(layer["name"].as_str().unwrap()) > 0));
    for counter in ["dram bandwidth (GB/s)", "sram bandwidth (GB/s)", "power (mW)", "sram in use (bytes)"] {
        assert!(events.iter().any(|event| event["ph"] == "C" && event["name"] == counter), "{counter}");
    }
    assert!(events.iter().any(|event| event["ph"] == "s" && event["name"] == "data"), "bytes of DMA reach somebody");
}

/// Arrows lead from slice to slice: both ends lie inside one of their track.
#[test]
fn arrows_begin_and_end_in_slices() {
    let folder = tempfile::tempdir().unwrap();
    let (_, trace, _) = traced(folder.path(), "a.json", &["gemm", "--m", "16", "--n", "64", "--k", "64"]);
    let events = trace["traceEvents"].as_array().unwrap();
    let mut arrows: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "s" || event["ph"] == "f") {
        let (ts, track) = (number(&event["ts"]), (&event["pid"], &event["tid"]));
        let around = |slice: &&Value| {
            let from = number(&slice["ts"]);
            (&slice["pid"], &slice["tid"]) == track && from <= ts && ts < from + number(&slice["dur"]).max(1)
        };
        assert!(events.iter().filter(|event| event["ph"] == "X").any(|slice| around(&slice)), "{event}");
        arrows.entry(number(&event["id"])).or_default().push(event);
    }
    assert!(arrows.len() > 10, "{}", arrows.len());
    for ends in arrows.values() {
        assert!(ends.len() == 2 && number(&ends[0]["ts"]) <= number(&ends[1]["ts"]), "{ends:?}");
    }
}

/// Equal layers stand in the trace as often as they run, each in its own cycles.
#[test]
fn the_books_of_a_workload_follow_from_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["workload", "tests/cmd/files/layers.toml", "-m", "hbm", "-p", "int8"];
    let (path, trace, books) = traced(folder.path(), "a.json", &run);
    check_both(&path, &trace, &books);
    assert_eq!((&books["mode"], &books["segments"]["simulated"]), (&json!("step"), &json!(7)));
    let halts = |step: &str| {
        let slices = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
        slices.filter(|slice| slice["args"]["step"] == step && slice["args"]["text"] == "halt").count()
    };
    assert_eq!(["q_proj", "attention", "conv", "norm"].map(halts), [3, 1, 2, 1]);
}

/// Collective transfers: every member has the bytes, by whichever model of DRAM.
#[test]
fn the_books_of_collective_transfers_follow_from_their_trace() {
    let folder = tempfile::tempdir().unwrap();
    for model in ["dram.model=bandwidth", "dram.model=cycle"] {
        let run = ["exec", "tests/cmd/files/collective.vasm", "-m", "edge", "--cores", "4", "--set", model];
        let (path, trace, books) = traced(folder.path(), "a.json", &run);
        check_both(&path, &trace, &books);
    }
}

/// Cores have tracks of their own, and what one sends is there before another uses it.
#[test]
fn the_books_of_several_cores_follow_from_their_trace() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["exec", "tests/cmd/files/handshake.vasm", "--cores", "3"];
    let (path, trace, books) = traced(folder.path(), "a.json", &run);
    assert_eq!(books["cores"].as_array().unwrap().len(), 3);
    check_both(&path, &trace, &books);
    let (wanted, found) = (include_str!("../docs/exec.schema.json"), &books);
    schema::validate(&serde_json::from_str(wanted).unwrap(), found).unwrap();
    let ops = ops(&trace);
    let across = ops.values().filter(|op| {
        let needs = op.slice()["args"]["needs"].as_array().into_iter().flatten();
        let mut makers = needs.map(|need| ops[&number(&need[0])].slice());
        makers.any(|maker| maker["pid"] != op.slice()["pid"] && maker["cat"] == "dma")
    });
    assert_eq!(across.count(), 2, "two cores load what a transfer of another one has brought");
}

/// docs/traces.md names every argument and counter, and its session prints what it shows.
#[test]
fn the_page_says_what_stands_in_a_trace() {
    let page = std::fs::read_to_string(root().join("docs/traces.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (_, trace, _) = traced(folder.path(), "a.json", &["run", "builtin:mlp", "-p", "w1.58a8", "--timing-only"]);
    let events = trace["traceEvents"].as_array().unwrap();
    let slices = events.iter().filter(|event| event["ph"] == "X");
    let named = slices.flat_map(|event| event["args"].as_object().unwrap().keys());
    for name in named.collect::<std::collections::BTreeSet<_>>() {
        assert!(page.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{name}`"))), "{name}");
    }
    let kinds = events.iter().filter_map(|event| event["args"]["needs"].as_array()).flatten();
    for kind in kinds.map(|need| need[1].as_str().unwrap()).collect::<std::collections::BTreeSet<_>>() {
        assert!(page.contains(&format!("\n| `{kind}` |")), "{kind}");
    }
    let session = page.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let lines: Vec<&str> = session.lines().collect();
    let [exec, verify, printed] = lines[..] else { panic!("{session}") };
    let exec: Vec<&str> =
        exec.strip_prefix("$ preon ").unwrap().split(" --trace ").next().unwrap().split(' ').collect();
    let (path, _, books) = traced(folder.path(), "first.json.gz", &exec);
    let file = folder.path().join("first.books");
    std::fs::write(&file, books.to_string()).unwrap();
    assert_eq!(verify, "$ python3 tests/scripts/verify_trace.py first.json.gz first.books");
    if let Some((right, said)) = script(&path, &file) {
        assert!(right && said.trim_end() == printed, "{said}");
    }
}

/// A window shows what meets it and keeps the totals of the whole run.
#[test]
fn a_window_is_a_part_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "builtin:mlp", "-p", "int8", "--timing-only"];
    let (_, whole, books) = traced(folder.path(), "whole.json", &run);
    let (path, part, _) = traced(folder.path(), "part.json", &[&run[..], &["--window", "1000..2000"]].concat());
    let slices = |trace: &Value| {
        let events = trace["traceEvents"].as_array().unwrap().clone();
        events.into_iter().filter(|event| event["ph"] == "X").collect::<Vec<_>>()
    };
    let meets = |slice: &Value| {
        let (from, dur) = (number(&slice["ts"]), number(&slice["dur"]).max(1));
        from < 2000 && from + dur > 1000
    };
    let expected: Vec<Value> = slices(&whole).into_iter().filter(meets).collect();
    let found = slices(&part);
    assert!(!found.is_empty() && found == expected, "{} slices, {} expected", found.len(), expected.len());
    assert_eq!(part["otherData"]["totals"]["cycles"], books["cycles"]);
    assert_eq!(part["otherData"]["window"], json!([1000, 2000]));
    assert_eq!(disorder(&part), [""; 0]);
    for event in part["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "C") {
        assert!((1000..=2000).contains(&number(&event["ts"])), "{event}");
    }
    if let Some((right, said)) = script(&path, &path.with_file_name("no-books")) {
        assert!(!right, "books that are not there: {said}");
    }
    let behind = folder.path().join("behind.json");
    let window = ["--window", "999999..1000000", "--trace", behind.to_str().unwrap()];
    let output = Command::new(env!("CARGO_BIN_EXE_preon")).args(run).args(window).current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("but the run ends in cycle"), "{said}");
    assert!(!behind.exists(), "nothing half-written");
}

/// Whoever changes a trace is found out, here and by the script.
#[test]
fn a_changed_trace_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let (path, trace, books) = traced(folder.path(), "a.json", &["exec", "programs/examples/hypervector.vasm"]);
    let file = path.with_extension("books");
    std::fs::write(&file, books.to_string()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let needy = |event: &Value| event["args"]["needs"].as_array().is_some_and(|n| n.iter().any(|n| n[1] == "register"));
    let last = events.iter().rposition(|event| event["cat"] == "elementwise" && needy(event)).unwrap();
    let moved = events.iter().position(|event| !event["args"]["read"]["sram"].is_null()).unwrap();
    type Change = fn(&mut Value);
    let changes: [(&str, usize, Change); 3] = [
        ("starts too early", last, |event| event["ts"] = json!(0)),
        ("works longer", last, |event| event["dur"] = json!(number(&event["dur"]) + 1)),
        ("reads a byte more", moved, |event| event["args"]["read"]["sram"] = json!(1)),
    ];
    for (what, at, change) in changes {
        let mut changed = trace.clone();
        change(&mut changed["traceEvents"][at]);
        assert!(std::panic::catch_unwind(|| check(&changed, &books)).is_err(), "{what}");
        std::fs::write(&path, changed.to_string()).unwrap();
        if let Some((right, said)) = script(&path, &file) {
            assert!(!right && said.contains("WRONG"), "{what}: {said}");
        }
    }
}

/// What cannot be written is said, and nothing stays behind.
#[test]
fn bad_requests_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let preon = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_preon")).args(arguments).current_dir(root()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let file = |name: &str| folder.path().join(name).display().to_string();
    let program = "programs/examples/first.vasm";
    for (arguments, part) in [
        (vec!["exec", program, "--trace", &file("a.txt")], ".json or .json.gz"),
        (vec!["exec", program, "--trace", &file("no/a.json")], "cannot write the trace"),
        (vec!["exec", program, "--trace", &file("a.json"), "--window", "9..3"], "no cycle lies in 9..3"),
        (vec!["exec", program, "--window", "3..9"], "--trace"),
        (vec!["run", "builtin:mlp", "-p", "int8,fp32", "--trace", &file("a.json")], "these are 2"),
        (vec!["gemm", "--m", "1", "--n", "1", "--k", "1", "-m", "edge,hbm", "--trace", &file("a.json")], "these are 2"),
    ] {
        let (code, said) = preon(&arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    // A machine without a price: the run fails, so there is no trace.
    let set = "energy.core.issue=\"free\"";
    let (code, _) = preon(&["exec", program, "--set", set, "--trace", &file("a.json")]);
    assert_ne!(code, Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half-written stays behind");
}
