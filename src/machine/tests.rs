//! Tests of machine files: built-in ones, merging, every error as people read it, closed forms of the cost functions.

use super::*;
use crate::num::format::formats;

#[test]
fn built_in_machines_load_and_survive_being_written_out() {
    for name in builtin() {
        let machine = load(name).unwrap_or_else(|e| panic!("{name}: {}", e.render(false)));
        assert_eq!(machine.name, name);
        let text = machine.resolved_toml();
        let again = parse("resolved.toml", &text).unwrap_or_else(|e| panic!("{}", e.render(false)));
        assert_eq!(again.resolved_toml(), text);
        assert!(diff(&machine, &again).is_empty());
    }
}

/// Loads `text` laid over edge, as a file `m.toml`.
fn over_edge(text: &str) -> Result<Machine> {
    parse("m.toml", &format!("extends = \"edge\"\n{text}"))
}

fn set(key: &str, value: &str) -> Result<Machine> {
    load_with("edge", &[(key.to_owned(), value.to_owned())])
}

#[test]
fn a_machine_lays_itself_over_its_base() {
    let machine = over_edge("name = \"mine\"\n[sram.own]\nbytes = 262144\n[rate.S]\n\"int8*int8\" = 300\n").unwrap();
    let edge = load("edge").unwrap();
    assert_eq!((machine.name.as_str(), machine.own().bytes), ("mine", 262_144));
    assert_eq!(machine.own().banks, edge.own().banks, "the rest of the table stays");
    let changed: Vec<String> = diff(&edge, &machine).into_iter().map(|d| d.key).collect();
    assert_eq!(changed, ["name", "rate.S.\"int8*int8\"", "sram.own.bytes"]);
    let without = over_edge("name = \"no array\"\narray = \"none\"").unwrap();
    assert!(without.array.is_none());
}

#[test]
fn every_leaf_knows_who_gave_it() {
    let path = "machines/edge.toml";
    let machine = set("machine.clock_hz", "2e9").unwrap();
    assert_eq!(machine.clock_hz, 2e9);
    let from = |key: &str| machine.origins().into_iter().find(|l| l.key == key).unwrap();
    let clock = from("machine.clock_hz");
    assert_eq!((clock.value.as_str(), clock.from.as_str()), ("[2000000000.0, \"--set\"]", "--set machine.clock_hz"));
    assert!(from("core.vlen_bits").from.starts_with(path));
    let priced = set("energy.mac.ternary*int8.pj", "0.5").unwrap();
    assert_eq!(priced.price("mac.ternary*int8").unwrap().attojoule, [500_000; 3]);
    let leaf = priced.origins().into_iter().find(|l| l.key == "energy.mac.\"ternary*int8\"").unwrap();
    assert_eq!(leaf.from, "--set energy.mac.ternary*int8.pj");
    let defaulted = over_edge("name = \"d\"\n[dma]\nqueue = \"none\"").unwrap();
    let leaf = defaulted.origins().into_iter().find(|l| l.key == "dma.queue").unwrap();
    assert_eq!((leaf.value.as_str(), leaf.from.as_str()), ("8", "default"));
    let word = set("dram.model", "bandwidth").unwrap();
    assert_eq!(word.dram.model, DramModel::Bandwidth);
}

#[test]
fn a_shape_that_was_set_restates_what_it_gives() {
    let machine = set("dram.tck_ps", "50").unwrap();
    assert_eq!(machine.contradicted_peak(), None);
    let again = parse("again.toml", &machine.resolved_toml()).unwrap();
    assert!(diff(&machine, &again).is_empty());
    assert_eq!(again.dram.bytes_per_second, machine.dram.bytes_per_second);
    let both = [("dram.tck_ps", "50"), ("dram.peak_bytes_per_s", "19e9")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert!(load_with("edge", &both).map(|m| m.name).unwrap_err().to_string().contains("shape gives"));
}

#[test]
fn a_peak_that_the_standard_does_not_have_is_known() {
    let names = |contradicted: bool| {
        let of = move |name: &&str| load(name).unwrap().contradicted_peak().is_some() == contradicted;
        builtin().into_iter().filter(of).collect::<Vec<_>>()
    };
    assert!(names(true).contains(&"tpu-v1"));
    assert!(["edge", "hbm", "dram-ddr4"].iter().all(|name| names(false).contains(name)));
}

/// Mistakes laid over `edge`, and how their sentences begin.
const MISTAKES: &[(&str, &str)] = &[
    ("[core]\nvlen_bist = 64", "m.toml:3:1: unknown key `vlen_bist` in [core] (did you mean `vlen_bits`?)"),
    ("[core]\nvlen_bits = 100", "m.toml:3:13: `core.vlen_bits` must be a power of two, not 100"),
    ("[core]\nvlen_bits = 16", "m.toml:3:13: `core.vlen_bits` must lie in 32..=16384, not 16"),
    ("[core]\nvlen_bits = -1", "m.toml:3:13: `core.vlen_bits` must lie in 32..=16384, not -1"),
    ("[core]\nvlen_bits = \"64\"", "m.toml:3:13: `core.vlen_bits` must be an integer, not a string"),
    ("core = 3", "m.toml:2:8: `core` is a table of keys, not an integer"),
    (
        "[dram]\nlatency_ns = 50",
        "m.toml:3:14: `dram.latency_ns` has no source (write a figure with its source: [value, \"source\"])",
    ),
    ("[dram]\nlatency_ns = [50, \"cacti23\"]", "m.toml:3:14: there is no source `cacti23` (did you mean `cacti22`?)"),
    ("[dram]\nlatency_ns = [-1, \"choice\"]", "m.toml:3:14: `dram.latency_ns` must be zero or more, not -1"),
    (
        "[dram]\npeak_bytes_per_s = [0.0, \"choice\"]",
        "m.toml:3:20: `dram.peak_bytes_per_s` must be more than zero, not 0",
    ),
    ("[dram]\nefficiency = [1.5, \"choice\"]", "m.toml:3:14: `dram.efficiency` must be at most 1, not 1.5"),
    (
        "[dram]\nefficiency = [1e-300, \"choice\"]",
        "m.toml:3:14: 19200000000.0 B/s at an efficiency of 1e-300 are less than a byte a second",
    ),
    ("[dram]\nmodel = \"exact\"", "m.toml:3:9: `dram.model` cannot be `exact` (it is one of: bandwidth, cycle, ideal)"),
    (
        "[dram]\naddress_map = \"rorabgba\"",
        "m.toml:3:15: the address map `rorabgba` has no `co`, of which there are 64 \
             (write each of ro ra bg ba ch co once (and pc for pseudo-channels), most significant first)",
    ),
    (
        "[dram]\naddress_map = \"rorabgbarcco\"",
        "m.toml:3:15: the address map `rorabgbarcco` has an unknown field `rc` \
             (write each of ro ra bg ba ch co once (and pc for pseudo-channels), most significant first)",
    ),
    ("[dram]\nranks = 3", "m.toml:3:9: `dram.ranks` must be a power of two, not 3"),
    ("[dram]\nranks = 16", "m.toml:3:9: a channel has 128 banks in its ranks; at most 64 are served"),
    (
        "[dram]\nstandard = \"RDRAM\"\nmodel = \"cycle\"",
        "m.toml:3:12: no standard is known whose name begins `RDRAM` \
             (begin with one of HBM2, HBM3, LPDDR4, LPDDR5, DDR4, DDR3, and state what differs)",
    ),
    (
        "[dram]\nrefresh = \"per_bank\"",
        "m.toml:3:11: LPDDR4 has no refresh of single banks (state `dram.timing.rfc_pb`, or refresh all banks at once)",
    ),
    (
        "[energy.dram]\nscope = \"system\"",
        "m.toml:3:9: the scope of `energy.dram.activate` is `system`, but this machine counts `device+phy` \
             (figures of different scope do not add: find one of the right scope; [energy.beside] shows one of another)",
    ),
    (
        "[energy.dram]\nread = { pj = [3, 2, 1] }",
        "m.toml:3:15: `energy.dram.read.pj` must rise from low to typical to high",
    ),
    ("[energy.dram]\nread = { pj = -1 }", "m.toml:3:15: `energy.dram.read.pj` must not be negative"),
    (
        "[energy.dram]\nread = { pj = 1, per = \"word\" }",
        "m.toml:3:24: `energy.dram.read` cannot be per `word` (it is per bit or byte)",
    ),
    (
        "[energy.own]\nread = { pj = 1, per = \"access of 8 B\" }",
        "m.toml:3:24: `energy.own.read` cannot be per `access of 8 B` (it is per access of 32 B (the width of this level))",
    ),
    (
        "[energy.dram]\nread = { pj = 1, nj = 2 }",
        "m.toml:3:18: unknown key `nj` in energy.dram.read (a price has pj, per, scope and source)",
    ),
    ("[rate.S]\n\"int8*int9\" = 4", "m.toml:3:1: unknown format `int9` (did you mean `int8`?"),
    (
        "[rate.S]\n\"int8-int8\" = 4",
        "m.toml:3:1: `int8-int8` is not a pair of formats (write \"weights*inputs\", for example \"ternary*int8\")",
    ),
    (
        "[rate.S]\n\"int2*fp16\" = 4",
        "m.toml:3:1: the pair `int2*fp16` has a rate but no price (add \"int2*fp16\" to [energy.mac])",
    ),
    (
        "[energy.elementwise]\nexp = { pj = 1 , source = \"choice\" }",
        "m.toml:3:1: there is no element-wise kind `exp` (the kinds are: add, mul, fma, div, special, convert, copy, bit, pop, lfsr, sobol, philox)",
    ),
    ("[energy.core]\ndma = { pj = 1e300 }", "m.toml:3:14: `energy.core.dma.pj` must be at most 1e9"),
    ("[static]\ndram_mw = [1e30, \"choice\"]", "m.toml:3:11: `static.dram_mw` must be at most 1e9 mW, not 1e30"),
    (
        "[machine]\nclock_hz = [1e-6, \"choice\"]\n[static]\ncore_mw = [1e9, \"choice\"]",
        "m.toml:4:1: `static.core_mw` is more than 1 J a cycle",
    ),
    ("[core", "m.toml:2:6: this is not TOML"),
    ("[sram.shared]\nbytes = 65536", "m.toml:2:1: this machine has no `sram.shared.banks`"),
];

#[test]
fn every_error_is_one_sentence_with_its_place() {
    for &(text, expected) in MISTAKES {
        let error = over_edge(text).map(|m| m.name).unwrap_err();
        assert_eq!(error.kind(), crate::diag::Kind::BadInput, "{text}");
        assert!(error.to_string().starts_with(expected), "{text}\n got {error}\nwant {expected}");
    }
}

#[test]
fn errors_without_a_line_name_their_file_or_flag() {
    let message = |r: Result<Machine>| r.map(|m| m.name).unwrap_err().to_string();
    assert_eq!(message(load("edgy")), "there is no machine `edgy` (did you mean `edge`?)");
    let names = builtin().join(", ");
    assert_eq!(message(load("qqqq")), format!("there is no machine `qqqq` (built in: {names}; or give a path)"));
    assert_eq!(message(load("no/such.toml")), "no/such.toml: there is no such file");
    assert_eq!(message(parse("m.toml", "")), "m.toml: this machine file is empty");
    let alone = message(parse("m.toml", "name = \"x\""));
    assert_eq!(alone, "m.toml: this machine has no `schema` (Name and version of this file format.)");
    let old = message(parse("m.toml", "schema = \"preon.machine/0\""));
    assert_eq!(old, "m.toml:1:10: `schema` cannot be `preon.machine/0` (did you mean `preon.machine/1`?)");
    let unknown = message(set("core.vlen", "64"));
    assert!(unknown.starts_with("--set core.vlen:1:6: unknown key `vlen` in [core]"), "{unknown}");
    assert_eq!(set("core..vlen", "64").unwrap_err().kind(), crate::diag::Kind::Usage);
    assert_eq!(set("core.vlen_bits", "64\nname = 3").unwrap_err().kind(), crate::diag::Kind::Usage);
}

#[test]
fn files_extend_files_and_never_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("base.toml", "extends = \"hbm\"\nname = \"base\"\n[dma]\nengines = 3\n");
    let top = write("top.toml", "extends = \"base.toml\"\nname = \"top\"\n[dma]\nqueue = 5\n");
    let machine = load(&top).unwrap();
    assert_eq!((machine.name.as_str(), machine.dma.engines, machine.dma.queue), ("top", 3, 5));
    let a = write("a.toml", "extends = \"b.toml\"\n");
    write("b.toml", "extends = \"a.toml\"\n");
    let error = load(&a).map(|m| m.name).unwrap_err().to_string();
    assert!(error.contains("b.toml:1:11: machine `a.toml` extends itself"), "{error}");
    let folder = dir.path().display().to_string();
    let error = load(&folder).map(|m| m.name).unwrap_err().to_string();
    assert!(error.ends_with("this is not a file; a machine is one TOML file"), "{error}");
    let missing = write("c.toml", "extends = \"d.toml\"\n");
    let error = load(&missing).map(|m| m.name).unwrap_err().to_string();
    assert!(error.contains("there is no such file"), "{error}");
}

#[test]
fn costs_have_closed_forms() {
    let edge = load("edge").unwrap();
    let format = |name: &str| crate::num::format::find(name).unwrap();
    assert_eq!(edge.mac_cycles(2049, format("ternary"), format("int8")), 3);
    assert!(
        edge.vector_serves(format("ternary"), format("int8")) && !edge.array_serves(format("ternary"), format("int8"))
    );
    assert_eq!(edge.peak_macs_per_cycle("int8", "int8"), 1024.0);
    assert_eq!(edge.peak_macs_per_cycle("bf16", "bf16"), 512.0);
    // 33 x 33 takes four 32 x 32 blocks; loading them takes 128 cycles, ten rows through each 40.
    assert_eq!(edge.array_tile_cycles(10, 33, 33, format("int8"), format("int8")), 128);
    assert_eq!(edge.array_tile_cycles(10, 32, 32, format("fp32"), format("fp32")), 80);
    assert_eq!(edge.own().accesses(100, 1), 4);
    assert_eq!(edge.own().accesses(100, 10), 10);
    assert_eq!(edge.move_cycles(2048, 256), 16, "256 pieces of 8 bytes over 16 banks");
    assert_eq!(edge.dram.bus_bytes(300, 3), 3 * 128);
    assert_eq!(edge.dram.activations(3 * 8193, 3), 6);
    assert_eq!(edge.dram_cycles(1824, 1), 106, "1920 bytes on the bus at 18.24 GB/s and 1 GHz");
}

#[test]
fn unlisted_pairs_run_on_the_cheapest_listed_pair_that_holds_them() {
    let edge = load("edge").unwrap();
    let format = |name: &str| crate::num::format::find(name).unwrap();
    let path = |machine: &Machine, weights: &str, inputs: &str, array: bool| {
        let (w, x) = (format(weights), format(inputs));
        let path = if array { machine.array_path(w, x) } else { machine.vector_path(w, x) };
        path.map(|p| (format!("{}*{}", p.weights, p.inputs), p.figure, p.widened))
    };
    let on = |pair: &str, figure: u32| Some((pair.to_string(), figure, true));
    // int4 and int8 weights both take 256 terms a cycle; the products of int4 cost less.
    assert_eq!(path(&edge, "int3", "int8", false), on("int4*int8", 256));
    assert_eq!(path(&edge, "int3", "int8", true), on("int4*int8", 1));
    assert_eq!(path(&edge, "fp1mask", "int8", false), on("ternary*int8", 1024));
    assert_eq!(path(&edge, "fp6e2m3", "fp6e3m2", false), on("fp8e4m3*fp8e5m2", 128));
    assert_eq!(path(&edge, "nf4", "bf16", false), on("fp32*bf16", 32));
    assert_eq!(path(&edge, "nf4", "bf16", true), on("fp32*fp32", 8));
    assert_eq!(path(&edge, "int16", "tf32", false), on("fp32*fp32", 32));
    // Listed pairs stay where they are listed, and only there.
    assert_eq!(path(&edge, "ternary", "int8", false), Some(("ternary*int8".to_string(), 1024, false)));
    assert_eq!(path(&edge, "ternary", "int8", true), None);
    // Nothing is refused and nothing is free.
    for machine in builtin().into_iter().map(|name| load(name).unwrap()) {
        for (w, x) in formats().into_iter().flat_map(|w| formats().into_iter().map(move |x| (w, x))) {
            // A machine without a vector unit serves pairs on its array.
            let array = machine.rates.is_empty();
            let of_array = || machine.array_row_cycles(&w.name, &x.name);
            let rate = if array { of_array() } else { machine.s_terms_per_cycle(&w.name, &x.name) }.unwrap_or(0);
            let (_, price) = machine.mac_price(&w.name, &x.name, array).unwrap();
            assert!(rate > 0 && price.attojoule[1] > 0, "{} {}*{}", machine.name, w.name, x.name);
        }
    }
    let without = load_with("edge", &[("rate.S.fp32*fp32".into(), "none".into())]).unwrap();
    assert_eq!(path(&without, "int16", "tf32", false), None);
    // A format that joins the table later is looked up when it is asked for.
    let row = "schema = \"preon.formats/1\"\n[[format]]\nname = \"test_widen\"\nbits = 5\nelement = \"int\"\nrule = \"absmax\"\n\
        saturate = true\ndoc = \"d\"\nsource = \"s\"\n";
    crate::num::format::register("widen.toml", row).unwrap();
    assert_eq!(path(&edge, "test_widen", "test_widen", false), on("int8*int8", 256));
    // So is the table of a tensor, whose values decide.
    let learned = |levels: [f32; 8]| crate::num::format::learned(&levels).unwrap().name.as_str();
    let odd = learned([-1.7, -0.4, -0.1, 0.0, 0.1, 0.3, 0.9, 2.0]);
    assert_eq!(path(&edge, odd, "int8", true), on("fp32*fp32", 8));
    assert!(edge.mac_price(odd, "int8", true).is_ok() && edge.vector_serves(format(odd), format("bf16")));
    let whole = learned([-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(path(&edge, whole, "int8", false), path(&edge, "int3", "int8", false));
    assert_eq!(path(&load("edge").unwrap(), odd, "int8", true), path(&edge, odd, "int8", true));
}

#[test]
fn both_machines_serve_the_same_pairs_on_the_vector_unit() {
    let names = |m: &Machine| m.rates.iter().map(|(w, x, _)| format!("{w}*{x}")).collect::<Vec<_>>();
    assert_eq!(names(&load("edge").unwrap()), names(&load("hbm").unwrap()));
}

#[test]
fn derived_prices_follow_their_stated_law() {
    // docs/machines.md: anchors at 45 and 7 nm, log-linear in the node.
    for name in ["edge", "hbm"] {
        let machine = load(name).unwrap();
        let t = (45.0 / machine.node_nm).ln() / (45.0f64 / 7.0).ln();
        let between = |e45: f64, e7: f64| e45.powf(1.0 - t) * e7.powf(t);
        let close = |key: &str, e45: f64, e7: f64| {
            let (have, want) = (machine.price(key).unwrap().pj[1], between(e45, e7));
            assert!((have / want - 1.0).abs() < 0.01, "{name}: {key} is {have} pJ, the law gives {want}");
        };
        let integer = |bw: f64, bx: f64| 0.0031 * (bw * bx + bw + bx + 16.0);
        close("mac.int8*int8", integer(8.0, 8.0), integer(8.0, 8.0) / 3.09);
        close("mac.int4*int8", integer(4.0, 8.0), integer(4.0, 8.0) / 3.09);
        close("mac.int4*int4", integer(4.0, 4.0), integer(4.0, 4.0) / 3.09);
        close("mac.ternary*int8", 0.0824, 0.0824 / 3.09);
        close("mac.binary*int8", 0.0824, 0.0824 / 3.09);
        close("mac.binary*binary", 0.007, 0.007 / 3.09);
        let float = |m: f64| (0.409 + 0.00571 * m * m + 0.9, 0.082 + 0.00213 * m * m + 0.38);
        for (format, m) in
            [("fp32", 24.0), ("fp16", 11.0), ("bf16", 8.0), ("fp8e4m3", 4.0), ("fp8e5m2", 3.0), ("fp4e2m1", 2.0)]
        {
            let (e45, e7) = float(m);
            close(&format!("mac.{format}*{format}"), e45, e7);
        }
        close("elementwise.add", 0.9, 0.38);
        close("elementwise.mul", 3.7, 1.31);
        close("elementwise.fma", interp_sum(t)[0] + interp_sum(t)[1], interp_sum(t)[0] + interp_sum(t)[1]);
        close("core.issue", 10.0, 7.5);
        close("core.control", 20.0, 8.5);
        close("core.register", 0.072, 0.072 / 2.6);
    }
}

/// fp32 add and multiply at a place between the anchors.
fn interp_sum(t: f64) -> [f64; 2] {
    [(0.9f64, 0.38f64), (3.7, 1.31)].map(|(a, b)| a.powf(1.0 - t) * b.powf(t))
}

/// `PREON_BLESS=1 cargo test` writes the table into the page.
#[test]
fn the_page_about_machines_lists_every_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/machines.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- keys: generated -->\n", "<!-- end of keys -->");
    let (head, rest) = page.split_once(begin).unwrap();
    let (table, tail) = rest.split_once(end).unwrap();
    let wanted = schema::key_table();
    if std::env::var_os("PREON_BLESS").is_some() {
        std::fs::write(path, format!("{head}{begin}{wanted}{end}{tail}")).unwrap();
        return;
    }
    assert_eq!(table, wanted, "docs/machines.md is out of date: run PREON_BLESS=1 cargo test the_page_about_machines");
}
