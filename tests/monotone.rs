//! Less is never faster: a fixed program with less bandwidth (exactly where DRAM is a channel of stated bandwidth, within
//! 1 % where it reorders commands), and a network compiled for less SRAM or fewer lanes (within 2 %). Estimates are in
//! `tests/workloads.rs`.

#![expect(clippy::print_stdout, reason = "the nightly run shows how many layers gained by less")]

use preon::compile::kernels::Kernels;
use preon::compile::layers::{self, Formats, Program};
use preon::compile::{Layout, Options, link};
use preon::exec::{Config, Mode, Vm};
use preon::isa::asm::{self, Sources, assemble};
use preon::machine::{self, Machine};
use preon::num::{Accumulator, format};
use preon::policy;
use preon::sim::{self, Sim};
use preon::tensor::TensorType;
use preon::vpu::workload::{Run, run};
use preon::workload::{self, Act, Attention, Conv, Epilogue, Gemm, Kind, Pass, Pool};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[path = "support/programs.rs"]
mod programs;

fn machine(name: &str, sets: &[(&str, String)]) -> Machine {
    let sets: Vec<(String, String)> = sets.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    machine::load_with(name, &sets).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

/// Cycles of a program that has been made, on any machine that has its registers and memories.
fn cycles(machine: &Machine, mut vm: Vm) -> u64 {
    let mut sim = Sim::new(machine, 0);
    sim::run(&mut vm, &mut sim).unwrap_or_else(|trap| panic!("{trap}"));
    sim.finish().expect("the machine serves all").timing.cycles
}

/// `PREON_CASES` random programs.
#[test]
fn less_bandwidth_is_never_faster_for_random_programs() {
    let cases: u64 = std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let model = |bandwidth: &str| {
        let (model, bandwidth) = match bandwidth {
            "ideal" => ("ideal", "100e9"),
            finite => ("bandwidth", finite),
        };
        machine("edge", &[("dram.model", model.to_owned()), ("dram.peak_bytes_per_s", bandwidth.to_owned())])
    };
    let machines = ["0.3e9", "1e9", "4e9", "7e9", "19.2e9", "100e9", "ideal"].map(model);
    for seed in 0..cases {
        let text = programs::program(seed, 1, false);
        let object = assemble(&Sources::single("random.vasm", text.as_str()), &asm::Options::default()).unwrap();
        let mut last = u64::MAX;
        for machine in &machines {
            let vm = Vm::new(object.clone(), Config::of(machine), Mode::TimingOnly).unwrap();
            let now = cycles(machine, vm);
            assert!(now <= last, "seed {seed}: {now} cycles after {last}\n{text}");
            last = now;
        }
    }
}

/// Layers as a network has them, for one machine.
fn fixed(machine: &Machine) -> Vec<(&'static str, Program)> {
    let then = Epilogue::default();
    let gemm = |m, n, k| Kind::Gemm(Gemm { m, n, k, then });
    let conv = |h, c, k, r, stride| {
        let (pad, batch, dilation, groups) = (r / 2, 1, 1, 1);
        Kind::Conv(Conv { batch, h, w: h, c, k, r, s: r, stride, pad, dilation, groups, then })
    };
    let heads = Attention { batch: 1, queries: 64, keys: 64, heads: 4, kv_heads: 2, width: 64 };
    let kinds = [
        ("int8", "gemm 128 x 512 x 512", gemm(128, 512, 512)),
        ("int8", "gemm 256 x 1024 x 2560", gemm(256, 1024, 2560)),
        ("fp16", "gemm 64 x 256 x 512", gemm(64, 256, 512)),
        ("int8", "one token", gemm(1, 1024, 1024)),
        ("int8", "conv 3 x 3", conv(28, 64, 64, 3, 1)),
        ("int8", "conv 1 x 1, steps of two", conv(28, 128, 256, 1, 2)),
        ("int8", "attention", Kind::Attention(heads)),
        ("int8", "layernorm", Kind::Pass { pass: Pass::LayerNorm, rows: 64, cols: 768 }),
    ];
    let options = Options { fuse: true, kernels: Kernels::builtin(), layout: Layout::default(), timer: None };
    let compile = |(name, what, kind): (&str, &'static str, Kind)| {
        let ty = TensorType::plain(format::find(name).unwrap());
        let (weights, inputs, outputs, attention, kv) = (ty, ty, ty, ty, ty);
        let formats = Formats { weights, inputs, outputs, attention, kv, accumulator: Accumulator::default() };
        let program = layers::compile(&kind, &formats, machine, &options, &mut link::Bodies::default());
        (what, program.unwrap_or_else(|error| panic!("{what}: {}", error.render(false))))
    };
    kinds.into_iter().map(compile).collect()
}

/// hbm with so many channels and so long a clock; what stands beside the shape goes with it.
fn hbm(channels: u32, tck_ps: u32, refresh: &str) -> Machine {
    let peak = 256e9 * f64::from(channels) / 8.0 * 1000.0 / f64::from(tck_ps);
    let sets = [
        ("dram.channels", channels.to_string()),
        ("dram.tck_ps", tck_ps.to_string()),
        ("dram.peak_bytes_per_s", format!("{peak:?}")),
        ("dram.bytes", (u64::from(channels) << 30).to_string()),
        ("dram.refresh", refresh.to_owned()),
    ];
    machine("hbm", &sets)
}

/// Cycles that one more refresh takes on hbm at most: 260, and its rows are opened anew.
const REFRESH: f64 = 400.0;

#[test]
fn by_commands_less_bandwidth_is_faster_by_a_hundredth_at_most() {
    let programs = fixed(&machine::load("hbm").unwrap());
    let mut wrong = String::new();
    for refresh in ["off", "all_bank"] {
        let clocks = [4000, 2500, 2000, 1700, 1300, 1100, 1000, 900, 800].map(|tck| hbm(8, tck, refresh));
        let channels = [1, 2, 4, 8, 16].map(|channels| hbm(channels, 1000, refresh));
        for (what, program) in &programs {
            for (by, machines) in [("clock", &clocks[..]), ("channels", &channels)] {
                let mut least = f64::INFINITY;
                for (n, machine) in machines.iter().enumerate() {
                    let config = Config { dram_bytes: program.dram_end, ..Config::of(machine) };
                    let vm = Vm::new(program.object.clone(), config, Mode::TimingOnly).unwrap();
                    let now = cycles(machine, vm) as f64;
                    // One refresh is more than 1 % of a short program, and falls into it or not.
                    let slack = if refresh == "off" { 0.01 * least } else { (0.01 * least).max(REFRESH) };
                    if now > least + slack {
                        wrong += &format!("{what} by {by} {n}, refresh {refresh}: {now} cycles after {least}\n");
                    }
                    least = least.min(now);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A network of every kind of layer, small enough for every day.
fn network() -> workload::Workload {
    let mut network = workload::load("resnet50", &workload::builtin::Options::default()).unwrap();
    network.layers.retain(|layer| layer.name.starts_with("layer2.0") || layer.name == "fc");
    let bert = workload::builtin::Options { seq: Some(64), ..Default::default() };
    let bert = workload::load("bert-base", &bert).unwrap();
    network.layers.extend(bert.layers.into_iter().map(|layer| workload::Layer { count: 1, phase: 0, ..layer }));
    network
}

/// A workload on machines of which each has more of something than the one before: where its cycles are more by a fiftieth, or
/// its estimate is more at all.
fn network_faster_with_less(network: &workload::Workload, of: (&str, &str, &str), values: &[u64]) -> String {
    let ((name, model, key), mut wrong) = (of, String::new());
    let policy = policy::load(if name == "onnxim-like" { "fp16" } else { "int8" }).unwrap();
    let (mut least, mut estimate) = (f64::INFINITY, u64::MAX);
    for value in values {
        let machine = machine(name, &[("dram.model", model.to_owned()), (key, value.to_string())]);
        let report = match run(network, &machine, &policy, &Kernels::builtin(), &Run::default()) {
            Ok(report) => report,
            // What does not fit a small memory has no time there.
            Err(error) => {
                assert_eq!(error.kind(), preon::diag::Kind::Unsupported, "{}", error.render(false));
                continue;
            }
        };
        let now = report.cycles as f64;
        if now > least * 1.02 || report.estimate.cycles > estimate {
            let of = format!("{} on {name}, {model}, {key} = {value}", network.name);
            wrong +=
                &format!("{of}: {now} cycles after {least}, estimate {} after {estimate}\n", report.estimate.cycles);
        }
        (least, estimate) = (least.min(now), report.estimate.cycles);
    }
    assert!(least.is_finite(), "{} never ran on {name}", network.name);
    wrong
}

/// A network of every kind of layer; from 1,000 `PREON_CASES` on every built-in workload.
#[test]
fn compiled_for_less_a_network_is_faster_by_a_fiftieth_at_most() {
    let (sram, lanes) = ("sram.own.bytes", "unit.E.lanes");
    let hbm = [("hbm", sram, &[512 << 10, 1 << 20, 2 << 20, 4 << 20][..]), ("hbm", lanes, &[16, 32, 64, 128, 256])];
    let others = [
        ("edge", sram, &[128 << 10, 256 << 10, 512 << 10, 1 << 20][..]),
        ("edge", lanes, &[16, 32, 64, 128]),
        ("onnxim-like", sram, &[4 << 20, 8 << 20, 16 << 20, 32 << 20]),
        ("onnxim-like", lanes, &[512, 1024, 2048, 4096]),
    ];
    let cases: u64 = std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (mut networks, mut machines, mut models) = (vec![network()], hbm.to_vec(), vec!["bandwidth", "cycle"]);
    if cases >= 1000 {
        let short = workload::builtin::Options { prefill: Some(64), decode: Some(2), ..Default::default() };
        let options = |name: &str| if name == "bitnet-2b" { short.clone() } else { Default::default() };
        let all = workload::builtin::NAMES.iter().map(|(name, _)| workload::load(name, &options(name)).unwrap());
        networks.extend(all);
        machines.extend(others);
        models.push("ideal");
    }
    let mut wrong = String::new();
    for (network, model) in networks.iter().flat_map(|network| models.iter().map(move |model| (network, *model))) {
        for (name, key, values) in &machines {
            wrong += &network_faster_with_less(network, (name, model, key), values);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A layer on machines of which each has twice as much of something as the one before.
struct Doubled {
    machine: &'static str,
    key: String,
    values: Vec<u64>,
    policy: &'static str,
    model: &'static str,
    kind: Kind,
}

fn product([m, n, k]: [u64; 3]) -> Kind {
    Kind::Gemm(Gemm { m, n, k, then: Epilogue::default() })
}

/// Products of every day: some divide into tiles, others do not.
const SMALL: [[u64; 3]; 7] =
    [[100, 300, 700], [33, 130, 257], [1, 640, 640], [128, 512, 512], [64, 256, 1024], [17, 1000, 96], [200, 64, 2048]];
/// Products of networks.
const LARGE: [[u64; 3]; 3] = [[512, 2560, 2560], [1, 2560, 2560], [128, 768, 3072]];

/// Every product on every machine, in every format and with every model of DRAM, with SRAM, lanes of the element-wise unit
/// and rates of the vector unit doubled.
fn doubled() -> Vec<Doubled> {
    let from = |first: u64, count: u32| (0..count).map(|power| first << power).collect::<Vec<_>>();
    let all = ["ideal", "bandwidth", "cycle"];
    // Name, SRAM, lanes, and formats with the rates of the vector unit.
    let machines = [
        ("edge", from(32 << 10, 6), from(16, 3), vec![("int8", 64), ("w1.58a8", 256), ("bf16", 16), ("fp32", 8)]),
        ("hbm", from(128 << 10, 6), from(32, 3), vec![("int8", 128), ("w1.58a8", 512), ("bf16", 32), ("fp32", 16)]),
        ("mcu", from(32 << 10, 5), from(1, 2), vec![("int8", 2), ("fp32", 1)]),
        ("textbook-32", from(32 << 10, 5), from(1, 2), vec![("int8", 1), ("w1.58a8", 4)]),
        ("onnxim-like", from(1 << 20, 6), from(1024, 3), vec![("fp16", 0)]),
    ];
    let mut cases = Vec::new();
    for (machine, memory, lanes, policies) in machines {
        let scalar = ["mcu", "textbook-32"].contains(&machine);
        let (large, models) = if scalar { (&LARGE[..0], &all[..2]) } else { (&LARGE[..], &all[..]) };
        for (policy, rate) in policies {
            let pair = match policy {
                "w1.58a8" => "ternary*int8".to_owned(),
                format => format!("{format}*{format}"),
            };
            let mut keys =
                vec![("sram.own.bytes".to_owned(), memory.clone()), ("unit.E.lanes".to_owned(), lanes.clone())];
            keys.extend((rate > 0).then(|| (format!("rate.S.{pair}"), from(rate, 3))));
            for (model, shape) in
                models.iter().flat_map(|model| SMALL.iter().chain(large).map(move |shape| (*model, *shape)))
            {
                for (key, values) in keys.clone() {
                    cases.push(Doubled { machine, key, values, policy, model, kind: product(shape) });
                }
            }
        }
    }
    cases
}

/// Cycles that DRAM of commands may add or spare a program by where its pieces fall between refreshes and open rows.
fn slack(model: &str, least: f64) -> f64 {
    if model == "cycle" { (0.02 * least).max(REFRESH) } else { 0.02 * least }
}

/// Where an engine with more takes more than a fiftieth longer, by what share, or an estimate longer at all (infinitely);
/// whether it ran anywhere.
fn faster_with_less(case: &Doubled) -> (Option<(f64, String)>, bool) {
    let layer = workload::Workload::new("layer", vec![workload::Layer::new("layer", case.kind)]);
    let (mut least, mut estimate) = (f64::INFINITY, u64::MAX);
    for value in &case.values {
        let machine =
            machine(case.machine, &[("dram.model", case.model.to_owned()), (case.key.as_str(), value.to_string())]);
        let policy = policy::load(case.policy).unwrap();
        // What does not fit a small memory has no time there.
        let Ok(report) = run(&layer, &machine, &policy, &Kernels::builtin(), &Run::default()) else { continue };
        let (cycles, of) = (report.cycles as f64, report.layers[0].estimate_cycles);
        if cycles > least + slack(case.model, least) || of > estimate {
            let Doubled { machine, key, policy, model, kind, .. } = case;
            let gain = if of > estimate { f64::INFINITY } else { cycles / least - 1.0 };
            let text = format!(
                "{machine} {policy} {model} {kind:?}, {key} = {value}: {cycles} cycles after {least}, estimate {of} after {estimate}\n"
            );
            return (Some((gain, text)), true);
        }
        (least, estimate) = (least.min(cycles), of);
    }
    (None, least.is_finite())
}

/// The same of a product, which every machine serves.
fn product_faster_with_less(case: &Doubled) -> Option<(f64, String)> {
    let (gain, ran) = faster_with_less(case);
    assert!(ran, "{} {} {:?} never ran", case.machine, case.policy, case.kind);
    gain
}

/// `PREON_CASES` of the products, all of them from 1,000 on.
#[test]
fn compiled_for_less_a_product_is_faster_by_a_fiftieth_at_most() {
    let cases: usize = std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let all = doubled();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let everyday = |case: &&Doubled| cases >= 1000 || SMALL.iter().any(|shape| product(*shape) == case.kind);
    let mut some: Vec<&Doubled> = all.iter().filter(everyday).collect();
    if cases < 1000 {
        some.shuffle(&mut rng);
        some.truncate(cases);
    }
    let wrong: String = some.into_iter().filter_map(product_faster_with_less).map(|(_, text)| text).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

/// Products of any extents, edges and all; of short ones the engine has the last word. `PREON_CASES` of them, 60 every day.
#[test]
fn compiled_for_less_a_random_product_is_faster_by_a_fiftieth_at_most() {
    let cases: usize = std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let all = doubled();
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    let mut wrong = Vec::new();
    for _ in 0..cases {
        let of = all.choose(&mut rng).unwrap();
        let most = if ["mcu", "textbook-32"].contains(&of.machine) { 1 << 20 } else { 1 << 25 };
        let mut extent = |bits: f64| 2f64.powf(rng.random_range(0.0..bits)) as u64;
        let mut shapes = std::iter::repeat_with(|| [extent(10.0), extent(11.0), extent(11.0)]);
        let shape = shapes.find(|shape| shape.iter().product::<u64>() <= most).unwrap();
        let case = Doubled { kind: product(shape), values: of.values.clone(), key: of.key.clone(), ..*of };
        wrong.extend(product_faster_with_less(&case).map(|(_, text)| text));
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// A convolution, attention, pass or pool such as networks have, ragged ones among them.
fn random_layer(rng: &mut ChaCha8Rng) -> Kind {
    match rng.random_range(0..6) {
        0..3 => {
            let [h, w] = [(); 2].map(|()| *[5, 7, 13, 14, 20, 28, 56].choose(rng).unwrap());
            let [c, k] = [(); 2].map(|()| *[3, 8, 16, 24, 64, 96, 128, 200, 256, 512].choose(rng).unwrap());
            let k = 8 * u64::div_ceil(k, 8);
            let r = *[1, 1, 2, 3, 3, 5, 7].choose(rng).unwrap();
            let (stride, pad) = (rng.random_range(1..3), rng.random_range(0..=r / 2));
            let act = *[None, Some(Act::Relu), Some(Act::Gelu)].choose(rng).unwrap();
            let then = Epilogue { act, residual: rng.random_bool(0.25), ..Epilogue::default() };
            let conv = Conv { batch: 1, h: h + r, w: w + r, c, k, r, s: r, stride, pad, dilation: 1, groups: 1, then };
            if conv.macs() > 1 << 27 { random_layer(rng) } else { Kind::Conv(conv) }
        }
        3 => {
            let [queries, keys] = [(); 2].map(|()| *[1, 16, 50, 64, 100, 128].choose(rng).unwrap());
            let kv_heads = rng.random_range(1..4);
            let (heads, width) = (kv_heads * rng.random_range(1..4), *[32, 64, 80].choose(rng).unwrap());
            Kind::Attention(Attention { batch: 1, queries, keys, heads, kv_heads, width })
        }
        4 => {
            let passes = [
                Pass::Add,
                Pass::Mul,
                Pass::Act(Act::Relu),
                Pass::Act(Act::Gelu),
                Pass::LayerNorm,
                Pass::RmsNorm,
                Pass::Softmax,
                Pass::Rope,
                Pass::Quantise,
            ];
            let (rows, cols) = (rng.random_range(1..200), 2 * rng.random_range(8..500));
            Kind::Pass { pass: *passes.choose(rng).unwrap(), rows, cols }
        }
        _ => {
            let (h, c, r) =
                (*[8, 14, 28].choose(rng).unwrap(), *[16, 64, 100].choose(rng).unwrap(), rng.random_range(2..4));
            let (stride, pad, then) = (rng.random_range(1..3), rng.random_range(0..2), Epilogue::default());
            let window = Conv { batch: 1, h, w: h, c, k: c, r, s: r, stride, pad, dilation: 1, groups: 1, then };
            Kind::Pool(Pool { window, mean: rng.random_bool(0.5) })
        }
    }
}

/// Layers of other kinds: up to two in a hundred gain by less, since loops of convolutions are estimated to about 10 % and blocks
/// of rows follow a rule. `PREON_CASES` of them, 40 every day.
#[test]
fn compiled_for_less_hardly_a_random_layer_is_faster() {
    let cases: usize = std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let all: Vec<Doubled> = doubled().into_iter().filter(|of| !["mcu", "textbook-32"].contains(&of.machine)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(29);
    let (mut wrong, mut served) = (Vec::new(), 0);
    for _ in 0..cases {
        let of = all.choose(&mut rng).unwrap();
        let case = Doubled { kind: random_layer(&mut rng), values: of.values.clone(), key: of.key.clone(), ..*of };
        let (gain, ran) = faster_with_less(&case);
        served += usize::from(ran);
        wrong.extend(gain);
    }
    let worst = wrong.iter().map(|(gain, _)| *gain).fold(0.0, f64::max);
    let text: String = wrong.iter().map(|(_, text)| text.as_str()).collect();
    println!("{} of {served} layers gain by less, worst {worst:.2}\n{text}", wrong.len());
    assert!(wrong.len() * 40 <= cases && worst < 0.4, "{text}");
    assert!(4 * served >= 3 * cases, "{served} of {cases} ran");
}

#[test]
fn a_memory_of_twice_the_size_does_not_choose_tiles_whose_loading_shows() {
    let case = Doubled {
        machine: "edge",
        key: "sram.own.bytes".to_owned(),
        values: vec![256 << 10, 512 << 10],
        policy: "int8",
        model: "ideal",
        kind: product([512, 2560, 2560]),
    };
    assert_eq!(product_faster_with_less(&case), None);
}

/// Short products of which the estimate prefers what the engine does not.
#[test]
fn of_short_products_the_engine_decides() {
    let (sram, lanes) = ("sram.own.bytes", "unit.E.lanes");
    let cases = [
        ("edge", "fp32", "cycle", sram, vec![32 << 10, 64 << 10, 128 << 10], [62, 2042, 12]),
        ("edge", "w1.58a8", "cycle", lanes, vec![16, 32, 64], [59, 1927, 9]),
        ("edge", "w1.58a8", "cycle", "rate.S.ternary*int8", vec![256, 512, 1024], [416, 963, 32]),
        ("edge", "bf16", "bandwidth", "rate.S.bf16*bf16", vec![16, 32, 64], [153, 87, 2]),
        ("edge", "bf16", "bandwidth", sram, vec![32 << 10, 64 << 10], [41, 958, 1]),
        ("hbm", "w1.58a8", "cycle", sram, vec![128 << 10, 256 << 10], [265, 317, 2]),
        ("hbm", "int8", "ideal", "rate.S.int8*int8", vec![128, 256, 512], [12, 182, 19]),
    ];
    for (machine, policy, model, key, values, shape) in cases {
        let case = Doubled { machine, key: key.to_owned(), values, policy, model, kind: product(shape) };
        assert_eq!(product_faster_with_less(&case), None);
    }

    // Left to the estimate, the fourth goes to the vector unit.
    let edge = machine("edge", &[("dram.model", "bandwidth".to_owned())]);
    let kind = product([153, 87, 2]);
    let ty = |name| TensorType::plain(format::find(name).unwrap());
    let (weights, inputs) = (ty("bf16"), ty("bf16"));
    let [outputs, attention, kv] = [inputs; 3];
    let formats = Formats { weights, inputs, outputs, attention, kv, accumulator: Accumulator::default() };
    let options = Options::default();
    let estimated = layers::compile(&kind, &formats, &edge, &options, &mut link::Bodies::default()).unwrap();
    let layer = workload::Workload::new("layer", vec![workload::Layer::new("layer", kind)]);
    let tried = run(&layer, &edge, &policy::load("bf16").unwrap(), &Kernels::builtin(), &Run::default()).unwrap();
    let config = Config { dram_bytes: estimated.dram_end, ..Config::of(&edge) };
    let vm = Vm::new(estimated.object.clone(), config, Mode::TimingOnly).unwrap();
    assert_eq!(estimated.kernels, ["linear-vector"]);
    assert!(tried.cycles * 20 < cycles(&edge, vm) * 19, "{} cycles", tried.cycles);
}
