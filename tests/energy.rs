//! Joules from outside: every price moves the total by exactly its count, bands and scopes reach the summary, supplies and
//! limits do what docs/energy.md says, and the engine's products are those of a published law.

use preon::compile::kernels::Kernels;
use preon::machine::energy::bitnet_report;
use preon::vpu::summary::{PriceUse, RunSummary};
use preon::vpu::workload;
use preon::workload::{Attention, Epilogue, Gemm, Kind, Layer, Workload};
use preon::{Vpu, machine, model, policy};

fn sets(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn gemm(machine_name: &str, policy_name: &str, set: &[(&str, &str)]) -> RunSummary {
    let machine = machine::load_with(machine_name, &sets(set)).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let mut vpu = Vpu::new(machine);
    vpu.set_precision(policy::load(policy_name).unwrap());
    vpu.options.timing_only = true;
    vpu.gemm(4, 96, 160).unwrap_or_else(|e| panic!("{machine_name} {policy_name}: {}", e.render(false))).summary
}

fn prices(run: &RunSummary) -> &[PriceUse] {
    &run.joules.as_ref().expect("a run of this version").prices
}

/// Whole attojoules, which picojoules in a summary are multiples of.
fn attojoule(pj: f64) -> i128 {
    let exact = pj * 1e6;
    assert!(exact < 9e15 && (exact - exact.round()).abs() < 0.1, "{pj} pJ");
    exact.round() as i128
}

fn total(run: &RunSummary) -> i128 {
    prices(run).iter().map(|price| attojoule(price.pj.typical)).sum()
}

#[test]
fn changing_any_entry_moves_the_total_by_exactly_its_count() {
    let cases = [("edge", "w1.58a8"), ("edge", "fp32"), ("hbm", "int8"), ("textbook-32", "w1.58a8"), ("mcu", "int8")];
    for (machine_name, policy_name) in cases {
        let before = gemm(machine_name, policy_name, &[]);
        let machine = machine::load(machine_name).unwrap();
        assert!(prices(&before).len() >= 12);
        for entry in prices(&before) {
            // A price moves by 3 pJ of whatever it is stated per, leakage by 5 mW.
            let (key, value) = match entry.key.strip_prefix("energy.") {
                Some(key) => {
                    let pj = machine.price(key).unwrap().pj.map(|pj| pj + 3.0);
                    (format!("{}.pj", entry.key), format!("{pj:?}"))
                }
                None => {
                    let part = entry.key.trim_start_matches("static.").trim_end_matches("_mw");
                    let leakage = machine.leakage.iter().find(|leakage| leakage.part == part).unwrap();
                    (entry.key.clone(), (leakage.milliwatt + 5.0).to_string())
                }
            };
            let after = gemm(machine_name, policy_name, &[(&key, &value)]);
            let changed = prices(&after).iter().find(|other| other.key == entry.key).unwrap();
            let step = attojoule(changed.each_pj.typical) - attojoule(entry.each_pj.typical);
            assert!(step > 0, "{key} did not move");
            assert_eq!(changed.count, entry.count, "{machine_name} {policy_name} {key}");
            let moved = total(&after) - total(&before);
            assert_eq!(moved, step * i128::from(entry.count), "{machine_name} {policy_name} {key}");
            assert_eq!(after.cycles, before.cycles, "{key}: a price is no matter of time");
        }
    }
}

#[test]
fn prices_sum_to_the_run_at_both_ends_too() {
    for (machine_name, policy_name) in [("edge", "w1.58a8"), ("hbm", "fp32"), ("textbook-32", "int8"), ("mcu", "w1a8")]
    {
        let run = gemm(machine_name, policy_name, &[]);
        let sum = |end: fn(&PriceUse) -> f64| prices(&run).iter().map(end).fold(0.0, |a, b| a + b);
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{machine_name}: {a} and {b}");
        close(sum(|p| p.pj.low), run.energy_range_pj.low);
        close(sum(|p| p.pj.typical), run.energy_pj.total);
        close(sum(|p| p.pj.high), run.energy_range_pj.high);
        close(sum(|p| p.share), 1.0);
        for price in prices(&run) {
            assert!(price.pj.low <= price.pj.typical && price.pj.typical <= price.pj.high, "{}", price.key);
            assert!(!price.scope.is_empty() && !price.source.is_empty(), "{}", price.key);
            let known = machine::schema::TRUST.contains(&price.trust.as_str());
            assert!(known, "{}: {}", price.key, price.trust);
        }
    }
}

#[test]
fn another_scope_is_shown_and_not_added() {
    let with = gemm("textbook-32", "int8", &[]);
    let without = gemm("textbook-32", "int8", &[("energy.beside", "none")]);
    assert_eq!(total(&with), total(&without));
    let joules = with.joules.as_ref().unwrap();
    let [beside] = joules.beside.as_slice() else { panic!("{:?}", joules.beside) };
    let read = prices(&with).iter().find(|price| price.key == "energy.dram.read").unwrap();
    assert_eq!((beside.key.as_str(), beside.scope.as_str(), beside.count), ("energy.dram.read", "system", read.count));
    assert_eq!(attojoule(beside.pj), 13_100_000 * 8 * i128::from(read.count));
    assert!(without.joules.unwrap().beside.is_empty());
}

#[test]
fn a_lower_supply_saves_the_core_and_not_the_memory() {
    let (high, low) = (gemm("mcu", "int8", &[]), gemm("mcu", "int8", &[("machine.vdd", "0.9")]));
    assert_eq!((high.clock_hz, low.clock_hz), (160e6, 25e6));
    assert_eq!((high.instructions, high.macs), (low.instructions, low.macs));
    let of = |run: &RunSummary, key: &str| prices(run).iter().find(|p| p.key == key).unwrap().clone();
    for key in ["energy.mac.int8*int8", "energy.own.read", "energy.core.issue"] {
        let (high, low) = (of(&high, key), of(&low, key));
        assert_eq!(high.count, low.count, "{key}");
        assert!((low.pj.typical / high.pj.typical - 0.5625).abs() < 1e-3, "{key}: (0.9 / 1.2)^2 at 40 nm");
    }
    assert_eq!(of(&high, "energy.dram.read").pj, of(&low, "energy.dram.read").pj);
    // DRAM waits longer for the slower core, at the same power.
    let background = |run: &RunSummary| of(run, "static.dram_mw").pj.typical / run.time_ns;
    assert!((background(&low) / background(&high) - 1.0).abs() < 1e-6 && low.time_ns > high.time_ns);
    let supply = low.joules.as_ref().unwrap().supply.as_ref().unwrap();
    assert_eq!((supply.volts, supply.nominal_volts, supply.clock.as_str()), (0.9, 1.2, "stated"));
    let near = gemm("textbook-32", "int8", &[("machine.vdd", "0.45")]);
    assert_eq!(near.joules.unwrap().supply.unwrap().clock, "estimated");
}

#[test]
fn a_hot_machine_is_told_so() {
    let density = |limit: &str| {
        let area = ("static.area_mm2", "2.5");
        gemm("edge", "int8", &[area, ("static.limit_w_per_mm2", limit)])
    };
    let cool = density("100");
    let thermal = cool.joules.as_ref().unwrap().thermal.unwrap();
    assert!(cool.notes.iter().all(|note| !note.contains("W/mm2")), "{:?}", cool.notes);
    let outside = |p: &&PriceUse| p.key.starts_with("energy.dram.") || p.key == "static.dram_mw";
    let chip_pj = prices(&cool).iter().filter(|p| !outside(p)).fold(0.0, |sum, p| sum + p.pj.typical);
    assert!((thermal.chip_w / (chip_pj / cool.time_ns * 1e-3) - 1.0).abs() < 1e-9);
    assert!((thermal.w_per_mm2 - thermal.chip_w / 2.5).abs() < 1e-12);
    let hot = density("0.0001");
    assert!(hot.notes.iter().any(|note| note.contains("pass the limit of 0.0001 W/mm2")), "{:?}", hot.notes);
}

#[test]
fn energy_of_a_product_is_told_against_the_limit_of_physics() {
    let run = gemm("hbm", "int8", &[]);
    let mac = run.joules.as_ref().unwrap().per_mac.unwrap();
    assert!((mac.product_pj - 0.0963).abs() < 1e-4 && mac.total_pj > mac.product_pj);
    assert!((mac.product_kt_ln2 / (0.0963e-12 / 2.87e-21) - 1.0).abs() < 0.01, "{mac:?}");
    let warm = gemm("hbm", "int8", &[("machine.temperature_k", "360")]);
    let ratio = warm.joules.unwrap().per_mac.unwrap().product_kt_ln2 / mac.product_kt_ln2;
    assert!((ratio - 300.0 / 360.0).abs() < 1e-9);
}

/// The products that the engine counts, at the law's two prices, are the law: linear layers are ternary, attention is fp16
/// and full, and nothing else of the model is in either format.
#[test]
fn the_engines_products_are_those_of_the_bitnet_report() {
    let text = "schema = \"preon.policy/1\"\nname = \"report\"\n[[rule]]\nmatch = \"*\"\nweights = \"ternary/tensor\"\n\
        activations = \"int8/row\"\nattention = \"fp16\"\nkv = \"fp16\"\n[[rule]]\nmatch = \"{embed*,head}\"\n\
        optional = true\nweights = \"bf16\"\nactivations = \"bf16\"\n";
    // builtin:bitnet-tiny: 4 blocks of width 128, 4 heads and 2 of keys, 384 wide.
    let tiny = bitnet_report::Model {
        name: "bitnet-tiny",
        layers: 4,
        hidden: 128,
        queries: 128,
        keys: 64,
        feed_forward: 384,
        ternary: true,
        published_j: 0.0,
    };
    for tokens in [16usize, 48] {
        let prices = [("energy.mac.ternary*int8.pj", "0.007"), ("energy.mac.fp16*fp16.pj", "0.5")];
        let mut vpu = Vpu::new(machine::load_with("hbm", &sets(&prices)).unwrap());
        vpu.set_precision(policy::Policy::parse("report.toml", text).unwrap());
        vpu.options.timing_only = true;
        let input = model::Input::Length(tokens);
        let prepared = model::load("builtin:bitnet-tiny").unwrap().prepare(&input).unwrap();
        let run = vpu.run(&prepared).unwrap_or_else(|e| panic!("{}", e.render(false))).summary;
        let of = |formats: &str| {
            let rows = run.ops.iter().filter(|op| op.kind == "mac" && op.formats == formats);
            rows.fold((0, 0.0), |(count, pj), op| (count + op.count, pj + op.pj_total))
        };
        let (linear, attention) = (of("ternary*int8"), of("fp16*fp16"));
        assert_eq!([linear.0, attention.0], tiny.macs(tokens as u64), "{tokens} tokens");
        let [linear_j, attention_j] = tiny.joules(tokens as u64);
        assert!(
            (linear.1 * 1e-12 / linear_j - 1.0).abs() < 1e-12
                && (attention.1 * 1e-12 / attention_j - 1.0).abs() < 1e-12
        );
    }
}

/// The layers that the law counts: linear ones, and full attention.
fn shapes(model: &bitnet_report::Model, width: u64, tokens: u64) -> Workload {
    let gemm = |name: &str, n: u64, k: u64, times: u64| {
        let product = Kind::Gemm(Gemm { m: tokens, n, k, then: Epilogue::default() });
        Layer::new(name, product).times(times * model.layers)
    };
    let (hidden, heads, kv_heads) = (model.hidden, model.queries / width, model.keys / width);
    let heads = Attention { batch: 1, queries: tokens, keys: tokens, heads, kv_heads, width };
    let layers = vec![
        gemm("q_proj", model.queries, hidden, 1),
        gemm("kv_proj", model.keys, hidden, 2),
        Layer::new("heads", Kind::Attention(heads)).times(model.layers),
        gemm("o_proj", hidden, model.queries, 1),
        gemm("up_proj", model.feed_forward, hidden, 2),
        gemm("down_proj", hidden, model.feed_forward, 1),
    ];
    Workload::new(model.name, layers)
}

/// The same at the size of the report: all six models, 512 tokens, shapes without weights. In fp16 both terms have one
/// format, so their sum is held against the law.
#[test]
fn the_ledger_of_six_models_is_the_bitnet_report() {
    let text = |linear: &str| {
        format!(
            "schema = \"preon.policy/1\"\nname = \"report\"\n[[rule]]\nmatch = \"*\"\n{linear}\n\
             attention = \"fp16\"\nkv = \"fp16\"\n"
        )
    };
    // Prices of the law; products are counted, so the fastest DRAM will do.
    let prices = [("energy.mac.ternary*int8.pj", "0.007"), ("energy.mac.fp16*fp16.pj", "0.5"), ("dram.model", "ideal")];
    let machine = machine::load_with("hbm", &sets(&prices)).unwrap();
    // Widths of a head.
    for (model, width) in bitnet_report::MODELS.iter().zip([64, 256, 128, 64, 64, 128]) {
        let linear = match model.ternary {
            true => "weights = \"ternary/tensor\"\nactivations = \"int8/row\"",
            false => "weights = \"fp16\"\nactivations = \"fp16\"",
        };
        let policy = policy::Policy::parse("report.toml", &text(linear)).unwrap();
        let layers = shapes(model, width, bitnet_report::TOKENS);
        let run = workload::run(&layers, &machine, &policy, &Kernels::builtin(), &workload::Run::default());
        let run = run.unwrap_or_else(|error| panic!("{}: {}", model.name, error.render(false)));
        let of = |formats: &str| {
            let rows = run.ops.iter().filter(|op| op.kind == "mac" && op.formats == formats);
            rows.fold((0, 0.0), |(count, pj), op| (count + op.count, pj + op.pj_total))
        };
        let [linear, attention] = model.macs(bitnet_report::TOKENS);
        let (ternary, fp16) = (of("ternary*int8"), of("fp16*fp16"));
        let want = if model.ternary { [linear, attention] } else { [0, linear + attention] };
        assert_eq!([ternary.0, fp16.0], want, "{}", model.name);
        let joules = (ternary.1 + fp16.1) * 1e-12;
        assert_eq!(format!("{joules:.3}"), format!("{:.3}", model.published_j), "{}", model.name);
        assert!((joules / model.joules(bitnet_report::TOKENS).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

/// Programs that a small machine cannot run, with why.
const REFUSED: [(&str, &str, &str); 2] =
    [("textbook-32", "spikes.vasm", "no view of whole bytes at VLEN 32"), ("mcu", "decode.vasm", "no entropy decoder")];

#[test]
fn the_small_machines_run_the_examples_or_say_why_not() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/examples");
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(".vasm"));
    names.sort();
    for machine_name in ["textbook-32", "mcu"] {
        for name in &names {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_preon"))
                .args(["exec", &format!("{folder}/{name}"), "-m", machine_name])
                .output()
                .unwrap();
            let why = REFUSED.iter().find(|row| row.0 == machine_name && row.1 == name).map(|row| row.2);
            let errors = String::from_utf8_lossy(&output.stderr);
            match why {
                None => assert!(output.status.success(), "{machine_name} {name}: {errors}"),
                Some(why) => {
                    assert!(
                        [4, 5].contains(&output.status.code().unwrap()) && errors.contains(why),
                        "{name}: {errors}"
                    );
                }
            }
        }
    }
}

#[test]
fn codes_that_fill_no_whole_byte_are_refused_by_name() {
    for (machine_name, bits) in [("textbook-32", 32), ("mcu", 128)] {
        let mut vpu = Vpu::new(machine::load(machine_name).unwrap());
        vpu.set_precision(policy::load("w1a1").unwrap());
        let error = vpu.gemm(4, 96, 160).map(|r| r.summary.cycles).unwrap_err();
        assert_eq!(error.kind(), preon::diag::Kind::Unsupported);
        let text = error.to_string();
        assert!(text.contains(&format!("at VLEN {bits}")) && text.contains("VLEN 256"), "{text}");
    }
    let mut vpu = Vpu::new(machine::load("textbook-32").unwrap());
    vpu.set_precision(policy::load("w1a8").unwrap());
    let error = vpu.gemm(4, 96, 160).map(|r| r.summary.cycles).unwrap_err();
    assert!(error.to_string().contains("hold whole bytes of both at VLEN 32"), "{error}");
}
