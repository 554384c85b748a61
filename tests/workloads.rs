//! Workloads without weights: what is simulated once and counted often equals what is simulated every time; estimates are
//! monotone; readers take other people's files as they are; nothing passes a peak.

use preon::compile::kernels::Kernels;
use preon::machine::{self, Machine};
use preon::policy::{self, Policy};
use preon::vpu::workload::{Epochs, Run, WorkloadReport, run};
use preon::workload::{
    self, Act, Attention, Conv, Epilogue, Gemm, Kind, Layer, Pass, Pool, Workload, builtin, builtin::Options,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn report(workload: &Workload, machine: &Machine, policy: &Policy, how: &Run) -> WorkloadReport {
    run(workload, machine, policy, &Kernels::builtin(), how).expect("the workload runs")
}

/// Everything but how much was simulated.
fn result(report: &WorkloadReport) -> String {
    let mut value = serde_json::to_value(report).expect("a report is JSON");
    let object = value.as_object_mut().expect("an object");
    object.remove("segments");
    object.remove("mode");
    value.to_string()
}

/// A machine whose DRAM is of that model.
fn modelled(name: &str, model: &str, more: &[(&str, &str)]) -> Machine {
    let sets = [&[("dram.model", model)], more].concat();
    let sets: Vec<(String, String)> = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    machine::load_with(name, &sets).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

fn stepped() -> Run {
    Run { step: true, ..Run::default() }
}

/// `PREON_CASES`; 1,000 is the whole proof, every day has a hundredth of it.
fn cases() -> u64 {
    std::env::var("PREON_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10)
}

#[test]
fn built_in_workloads_are_counted_as_they_are_stepped() {
    let (hbm, edge) = (modelled("hbm", "cycle", &[]), modelled("edge", "bandwidth", &[]));
    let (int8, ternary) = (policy::load("int8").unwrap(), policy::load("w1.58a8").unwrap());
    let small = Options { seq: Some(16), ..Options::default() };
    let tokens = Options { prefill: Some(8), decode: Some(2), ..Options::default() };
    let mut bert = workload::load("bert-base", &small).unwrap();
    let mut bitnet = workload::load("bitnet-2b", &tokens).unwrap();
    // Two blocks instead of all, and no head: stepping takes every instance.
    bert.layers.iter_mut().for_each(|layer| layer.count = layer.count.min(4));
    bitnet.layers.retain(|layer| !layer.name.ends_with("head"));
    bitnet.layers.iter_mut().for_each(|layer| layer.count = layer.count.min(3));
    let cases = [
        (workload::load("resnet50", &Options::default()).unwrap(), &hbm, &int8),
        (workload::load("alexnet", &Options::default()).unwrap(), &edge, &int8),
        (bert, &hbm, &int8),
        (bitnet, &hbm, &ternary),
        (workload::load("bert-l-layer", &Options::default()).unwrap(), &edge, &int8),
    ];
    for (workload, machine, policy) in cases {
        same(&workload, machine, policy);
    }
}

/// All of them whole, with both models of DRAM; only where the whole proof is asked for.
#[test]
fn whole_workloads_are_counted_as_they_are_stepped() {
    let names: &[&str] = if cases() < 1000 { &["bert-l-layer"] } else { &builtin::NAMES.map(|(name, _)| name) };
    for name in names {
        let workload = workload::load(name, &Options::default()).unwrap();
        let policy = policy::load(if *name == "bitnet-2b" { "w1.58a8" } else { "int8" }).unwrap();
        for model in ["bandwidth", "cycle"] {
            same(&workload, &modelled("hbm", model, &[]), &policy);
        }
    }
}

/// Counted is stepped: cycles, stalls, counts, joules.
fn same(workload: &Workload, machine: &Machine, policy: &Policy) {
    let counted = report(workload, machine, policy, &Run::default());
    let stepped = report(workload, machine, policy, &stepped());
    assert_eq!(result(&counted), result(&stepped), "{}", workload.name);
    assert_eq!(stepped.segments.simulated, stepped.segments.instances, "{}", workload.name);
    assert_eq!(counted.segments.simulated, counted.segments.programs, "{}", workload.name);
    assert!(counted.segments.programs <= workload.layers.len() as u64, "{}", workload.name);
    conserved(&counted);
}

/// Units explain every cycle, layers sum to the whole, nothing passes its peak, and estimates are there.
fn conserved(report: &WorkloadReport) {
    for unit in &report.units {
        let all = unit.busy_cycles + unit.idle_cycles + unit.stall_cycles.values().sum::<u64>();
        assert_eq!(all, report.cycles, "{} {}", report.workload, unit.unit);
    }
    assert_eq!(report.layers.iter().map(|layer| layer.cycles).sum::<u64>(), report.cycles);
    assert_eq!(
        report.layers.iter().map(|layer| layer.dram_read_bytes.unwrap()).sum::<u64>(),
        report.dram_read_bytes.unwrap()
    );
    let energy: f64 = report.layers.iter().map(|layer| layer.energy_pj.unwrap().total).fold(0.0, |sum, pj| sum + pj);
    assert!((energy / report.energy_pj.unwrap().total - 1.0).abs() < 1e-9);
    assert!((0.0..=1.0).contains(&report.utilisation), "{}", report.utilisation);
    for layer in &report.layers {
        assert!((0.0..=1.0).contains(&layer.utilisation), "{} {}", layer.layer, layer.utilisation);
        assert!(layer.cycles > 0 && layer.estimate_cycles > 0, "{}", layer.layer);
        assert!(layer.macs == 0 || layer.dram_read_bytes.unwrap() > 0, "{}", layer.layer);
    }
    assert!(report.estimate.error.is_some_and(f64::is_finite));
}

fn epilogue(rng: &mut impl Rng) -> Epilogue {
    let act = [None, Some(Act::Relu), Some(Act::Relu2), Some(Act::Gelu), Some(Act::Silu)][rng.random_range(0..5)];
    Epilogue { bias: rng.random(), act, residual: rng.random() }
}

fn kind(rng: &mut impl Rng) -> Kind {
    let mut up_to = |most: u64| rng.random_range(1..=most);
    match up_to(6) {
        1 => {
            let (m, n, k) = (up_to(40), 8 * up_to(20), 8 * up_to(20));
            Kind::Gemm(Gemm { m, n, k, then: epilogue(rng) })
        }
        2 => {
            let (r, stride, groups) = (up_to(3), up_to(2), up_to(2));
            let (h, w) = (r + up_to(12), r + up_to(12));
            let (c, k, batch) = (groups * up_to(6), groups * 8 * up_to(4), up_to(2));
            let pad = up_to(r) - 1;
            Kind::Conv(Conv { batch, h, w, c, k, r, s: r, stride, pad, dilation: 1, groups, then: epilogue(rng) })
        }
        3 => {
            let kv_heads = up_to(3);
            let (queries, keys, heads, width) = (up_to(6), 8 * up_to(4), kv_heads * up_to(3), 8 * up_to(4));
            Kind::Attention(Attention { batch: 1, queries, keys, heads, kv_heads, width })
        }
        4 => {
            let (h, c) = (2 + up_to(10), up_to(20));
            let then = Epilogue::default();
            let window = Conv {
                batch: up_to(2),
                h,
                w: h,
                c,
                k: c,
                r: 2,
                s: 2,
                stride: up_to(2),
                pad: 0,
                dilation: 1,
                groups: 1,
                then,
            };
            Kind::Pool(Pool { window, mean: up_to(2) == 1 })
        }
        5 => Kind::Embedding { rows: 100 + up_to(100), cols: 8 * up_to(20), tokens: up_to(9) },
        _ => {
            let (_, pass) = Pass::ALL[up_to(Pass::ALL.len() as u64) as usize - 1];
            Kind::Pass { pass, rows: up_to(20), cols: 8 * up_to(40) }
        }
    }
}

/// 1,000 lists of up to six layers, each up to four times (`PREON_CASES` = all; a hundredth of them every day).
#[test]
fn random_lists_are_counted_as_they_are_stepped() {
    let cycle = |name: &str, more: &[(&str, &str)]| modelled(name, "cycle", more);
    let machines = [
        modelled("hbm", "bandwidth", &[]),
        modelled("edge", "bandwidth", &[]),
        cycle("hbm", &[]),
        cycle("edge", &[]),
        cycle("edge", &[("dma.engines", "1"), ("machine.clock_hz", "0.7e9"), ("sram.own.bytes", "131072")]),
        cycle("hbm", &[("dma.queue", "2"), ("core.order_entries", "8"), ("dram.queue", "8")]),
    ];
    let policies = ["int8", "bf16", "fp32"].map(|name| policy::load(name).unwrap());
    for seed in 0..cases() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let layers = (0..rng.random_range(1..=6))
            .map(|index| Layer::new(format!("layer{index}"), kind(&mut rng)).times(rng.random_range(1..=4)))
            .collect();
        let workload = Workload::new(format!("random {seed}"), layers);
        let (machine, policy) = (&machines[rng.random_range(0..6)], &policies[rng.random_range(0..3)]);
        let counted = report(&workload, machine, policy, &Run::default());
        let stepped = report(&workload, machine, policy, &stepped());
        assert_eq!(result(&counted), result(&stepped), "seed {seed} on {} {}", machine.name, policy.name);
        conserved(&counted);
    }
}

#[test]
fn one_program_without_drains_moves_the_same_bytes_in_fewer_cycles() {
    // By commands the other addresses of one program cost or save more than the drains do.
    let (hbm, int8) = (modelled("hbm", "bandwidth", &[]), policy::load("int8").unwrap());
    let workload = workload::load("alexnet", &Options::default()).unwrap();
    let drained = report(&workload, &hbm, &int8, &Run::default());
    let joined = report(&workload, &hbm, &int8, &Run { epochs: Epochs::None, ..Run::default() });
    assert!(joined.cycles < drained.cycles, "{} {}", joined.cycles, drained.cycles);
    assert_eq!(
        (joined.dram_read_bytes.unwrap(), joined.dram_write_bytes.unwrap()),
        (drained.dram_read_bytes.unwrap(), drained.dram_write_bytes.unwrap())
    );
    let work = |report: &WorkloadReport| report.units[1..5].iter().map(|unit| unit.busy_cycles).sum::<u64>();
    let (a, b) = (work(&joined) as f64, work(&drained) as f64);
    assert!((a / b - 1.0).abs() < 0.01, "the same work of L, S, E and M in either order: {a} {b}");
}

/// Of layers without drains in between DRAM's background, and what it does behind the last one, is nobody's: it has a row.
#[test]
fn what_no_layer_owns_has_a_row() {
    let workload = workload::load("alexnet", &Options::default()).unwrap();
    for machine in ["dram-ddr4", "hbm"] {
        let run = Run { epochs: Epochs::None, ..Run::default() };
        let joined = report(&workload, &modelled(machine, "cycle", &[]), &policy::load("fp32").unwrap(), &run);
        let layers: f64 =
            joined.layers.iter().map(|layer| layer.energy_pj.unwrap().total).fold(0.0, |sum, pj| sum + pj);
        let total = joined.energy_pj.unwrap().total;
        assert!((layers / total - 1.0).abs() < 1e-9, "{machine}: {layers} of {total}");
        assert_eq!(joined.layers.last().unwrap().layer, "(outside layers)");
        assert_eq!(joined.layers.len(), workload.layers.len() + 1);
    }
}

/// A layer that reads more than the one before has left does not read beyond the chip.
#[test]
fn resident_layers_read_where_there_is_room() {
    let (hbm, int8) = (modelled("hbm", "bandwidth", &[]), policy::load("int8").unwrap());
    let deep = Kind::Gemm(Gemm { m: 1024, n: 16, k: 9000, then: Epilogue::default() });
    let layers = vec![Layer { count: 2, ..Layer::new("deep", deep) }];
    let workload = Workload::new("deep", layers);
    let [alone, chained] = [Epochs::Layers, Epochs::None]
        .map(|epochs| report(&workload, &hbm, &int8, &Run { resident: true, epochs, ..Run::default() }));
    assert!(chained.cycles <= alone.cycles && chained.cycles > alone.cycles / 2, "{} {}", chained.cycles, alone.cycles);
}

/// A product, a convolution and a pool whose activations stay on the chip: DRAM holds weights alone.
#[test]
fn resident_layers_read_weights_and_nothing_else() {
    let (hbm, int8) = (modelled("hbm", "bandwidth", &[]), policy::load("int8").unwrap());
    let then = Epilogue { residual: true, ..Epilogue::default() };
    let conv = Conv { batch: 2, h: 8, w: 8, c: 16, k: 16, r: 3, s: 3, stride: 1, pad: 1, dilation: 1, groups: 1, then };
    let window = Conv { r: 2, s: 2, pad: 0, stride: 2, then: Epilogue::default(), ..conv };
    let layers = vec![
        Layer::new("product", Kind::Gemm(Gemm { m: 64, n: 96, k: 128, then: Epilogue::default() })),
        Layer::new("conv", Kind::Conv(conv)),
        Layer::new("pool", Kind::Pool(Pool { window, mean: false })),
    ];
    let workload = Workload::new("resident", layers);
    for epochs in [Epochs::Layers, Epochs::None] {
        let run = Run { resident: true, epochs, ..Run::default() };
        let (there, here) = (
            report(&workload, &hbm, &int8, &Run { resident: false, ..run.clone() }),
            report(&workload, &hbm, &int8, &run),
        );
        let weights = [96 * 128, 16 * 16 * 9, 0];
        for ((layer, bytes), before) in here.layers.iter().zip(weights).zip(&there.layers) {
            // Scales of weights come beside them, in whole bursts.
            assert!(
                (bytes..=bytes + 1024).contains(&layer.dram_read_bytes.unwrap()),
                "{} {}",
                layer.layer,
                layer.dram_read_bytes.unwrap()
            );
            assert_eq!(layer.dram_write_bytes.unwrap(), 0, "{}", layer.layer);
            assert!(
                before.dram_write_bytes.unwrap() > 0
                    && before.dram_read_bytes.unwrap() > layer.dram_read_bytes.unwrap(),
                "{}",
                layer.layer
            );
        }
        assert!(here.cycles < there.cycles, "{} {}", here.cycles, there.cycles);
    }
    let small = machine::load_with("hbm", &[("sram.shared.bytes".into(), "8192".into())]).unwrap();
    let run = Run { resident: true, ..Run::default() };
    let error = preon::vpu::workload::run(&workload, &small, &int8, &Kernels::builtin(), &run).unwrap_err();
    assert_eq!(error.kind().exit_code(), 4);
    assert!(error.render(false).contains("on the chip"), "{}", error.render(false));
}

/// More SRAM, or more lanes, never makes an estimate longer.
#[test]
fn estimates_are_monotone() {
    let policy = policy::load("int8").unwrap();
    let estimate = |workload: &Workload, sets: &[(String, String)]| {
        let machine = machine::load_with("hbm", sets).expect("the machine is whole");
        report(workload, &machine, &policy, &Run { estimate: true, ..Run::default() }).cycles
    };
    let set = |key: &str, value: u64| vec![(key.to_owned(), value.to_string())];
    for name in ["resnet50", "bert-base", "alexnet", "gemm-a"] {
        let workload = workload::load(name, &Options::default()).unwrap();
        let mut last = u64::MAX;
        for kib in [128, 256, 512, 1024, 2048, 4096] {
            let cycles = estimate(&workload, &set("sram.own.bytes", kib << 10));
            assert!(cycles <= last, "{name}: {kib} KiB of SRAM");
            last = cycles;
        }
        last = u64::MAX;
        for lanes in [16, 32, 64, 128, 256] {
            let cycles = estimate(&workload, &set("unit.E.lanes", lanes));
            assert!(cycles <= last, "{name}: {lanes} lanes");
            last = cycles;
        }
    }
}

#[test]
fn shapes_of_the_built_in_networks_are_theirs() {
    let of = |name: &str| workload::load(name, &Options::default()).unwrap();
    // torchvision's and the papers' counts.
    assert_eq!(of("resnet50").macs(), 4_089_184_256);
    assert_eq!(of("resnet50").layers.iter().map(|layer| layer.kind.weights()).sum::<u64>(), 25_530_472);
    assert_eq!(of("gemm-a").macs(), 512 * 2560 * 2560);
    let bert = of("bert-base");
    let attention = 12 * 2 * 128 * 128 * 768;
    assert_eq!(bert.macs(), 12 * 128 * (4 * 768 * 768 + 2 * 768 * 3072) + attention + 768 * 768);
    let bitnet = of("bitnet-2b");
    let ternary = |layer: &&Layer| matches!(layer.kind, Kind::Gemm(_)) && !layer.name.ends_with("head");
    let prefill: u64 =
        bitnet.layers.iter().filter(|l| l.phase == 0).filter(ternary).map(|l| l.count * l.kind.weights()).sum();
    assert_eq!(prefill, 2_084_044_800);
    assert_eq!(bitnet.layers.iter().filter(|layer| layer.kind.name() == "attention").count(), 129);
}

#[test]
fn what_no_kernel_serves_is_refused_by_name() {
    let (edge, hbm) = (machine::load("edge").unwrap(), machine::load("hbm").unwrap());
    let refused = |kind: Kind, machine: &Machine, policy: &str| {
        let workload = Workload::new("w", vec![Layer::new("odd", kind)]);
        let policy = policy::load(policy).unwrap();
        let error = run(&workload, machine, &policy, &Kernels::builtin(), &Run::default()).unwrap_err();
        (error.kind().exit_code(), error.render(false))
    };
    let then = Epilogue::default();
    let conv = |c: u64, k: u64, h: u64| Conv {
        batch: 1,
        h,
        w: h,
        c,
        k,
        r: 3,
        s: 3,
        stride: 1,
        pad: 1,
        dilation: 1,
        groups: 1,
        then,
    };
    // The edge machine's array serves no ternary weights.
    let (code, text) = refused(Kind::Conv(conv(8, 8, 8)), &edge, "w1.58a8");
    assert!(code == 4 && text.contains("odd") && text.contains("ternary"), "{text}");
    let (code, text) = refused(Kind::Conv(conv(1 << 14, 8, 8)), &edge, "int8");
    assert!(code == 4 && text.contains("does not fit"), "{text}");
    let (code, text) = refused(Kind::Pass { pass: Pass::Softmax, rows: 1, cols: 5000 }, &hbm, "int8");
    assert!(code == 4 && text.contains("4096"), "{text}");
    let (code, text) = refused(Kind::Conv(Conv { r: 9, pad: 0, ..conv(8, 8, 4) }), &hbm, "int8");
    assert!(code == 3 && text.contains("larger than an image"), "{text}");
}

/// An estimate refuses the shapes that a simulation refuses, knows no bytes, and both name the layer.
#[test]
fn estimates_refuse_what_simulation_refuses_and_claim_no_bytes() {
    let (mcu, policy) = (machine::load("mcu").unwrap(), policy::load("w1a1").unwrap());
    let odd = Workload::new("odd", vec![Layer::new("turn", Kind::Pass { pass: Pass::Rope, rows: 4, cols: 7 })]);
    for estimate in [false, true] {
        let how = Run { estimate, ..Run::default() };
        let error = run(&odd, &mcu, &policy, &Kernels::builtin(), &how).unwrap_err();
        assert!(error.render(false).contains("`turn`"), "{error}");
    }
    let product = workload::load("gemm-b", &Options::default()).unwrap();
    let error = run(&product, &mcu, &policy, &Kernels::builtin(), &Run::default()).unwrap_err();
    let name = &product.layers[0].name;
    assert!(error.to_string().starts_with(&format!("node `{name}`: ")), "{error}");
    let (edge, int8) = (machine::load("edge").unwrap(), policy::load("int8").unwrap());
    let estimated = report(&product, &edge, &int8, &Run { estimate: true, ..Run::default() });
    assert!(estimated.dram_read_bytes.is_none() && estimated.layers[0].dram_write_bytes.is_none());
    let table = preon::report::workload::runs(&[estimated]);
    assert!(!table.contains("unknown") && !table.contains("0 B"), "{table}");
}
