//! Made-up runs with the shape of real ones, for tests of everything that reads summaries. No figure here means
//! anything; the sums hold as they must in a real run.

use std::collections::BTreeMap;

use super::*;

/// Name, weight bits, peak MACs a cycle on the edge sample, pJ a MAC, quality.
const POLICIES: [(&str, u64, f64, f64, f64); 9] = [
    ("fp32", 32, 32.0, 4.6, 1.0),
    ("bf16", 16, 64.0, 1.5, 0.999_98),
    ("fp8", 8, 128.0, 0.5, 0.9971),
    ("fp4", 4, 256.0, 0.3, 0.962),
    ("int8", 8, 256.0, 0.23, 0.9994),
    ("int4", 4, 256.0, 0.12, 0.981),
    ("w1.58a8", 2, 1024.0, 0.06, 0.71),
    ("w1a8", 1, 1024.0, 0.05, 0.64),
    ("w1a1", 1, 8192.0, 0.008, 0.31),
];

const STEPS: [(&str, u64, u64); 8] = [
    ("embed", 0, 64),
    ("block0.attn.q", 256, 256),
    ("block0.attn.k", 256, 256),
    ("block0.attn.v", 256, 256),
    ("block0.attn.softmax", 0, 64),
    ("block0.attn.out + block0.residual", 256, 256),
    ("block0.ffn.up + block0.relu2", 1024, 256),
    ("block0.ffn.down + block0.residual2", 256, 1024),
];

/// Nine policies on one machine, FP32 first.
pub(crate) fn runs() -> Vec<RunSummary> {
    machine_runs("edge", 8.0)
}

/// Nine policies on each of two machines.
pub(crate) fn two_machines() -> Vec<RunSummary> {
    let mut all = machine_runs("edge", 8.0);
    all.extend(machine_runs("hbm", 256.0));
    all
}

fn machine_runs(machine: &str, bytes_per_cycle: f64) -> Vec<RunSummary> {
    let mut runs: Vec<RunSummary> = POLICIES.iter().map(|p| run(machine, bytes_per_cycle, p)).collect();
    let fp32 = runs[0].clone();
    for run in &mut runs {
        let saved = Saved::of(run, &fp32);
        let [cycles, energy, dram_bytes, weight_bytes] =
            [saved.cycles, saved.energy, saved.dram_bytes, saved.weight_bytes].map(short);
        run.saved_vs_fp32 = Some(Saved { cycles, energy, dram_bytes, weight_bytes });
    }
    runs
}

/// A few digits, so that text gives the same number back.
fn short(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn energy(arithmetic: f64, movement: f64, leakage: f64) -> EnergyParts {
    EnergyParts { total: short(arithmetic + movement + leakage), arithmetic, movement, leakage }
}

fn run(machine: &str, bytes_per_cycle: f64, policy: &(&str, u64, f64, f64, f64)) -> RunSummary {
    let &(name, bits, peak, pj, quality) = policy;
    let mut run = RunSummary::new("builtin:sample", machine, name);
    run.clock_hz = 1e9;
    run.tokens = 12;
    run.instructions = 4321;
    run.quality = Quality { metric: "cosine to fp32".into(), value: quality };
    let mut check = CheckSummary { bit_exact: true, ..CheckSummary::default() };
    for &(step, n, k) in &STEPS {
        let layer = layer(step, n, k, (bits, peak, pj, bytes_per_cycle), name);
        if n > 0 {
            run.weights.push(WeightTensor {
                name: format!("{step}.weight"),
                format: name.into(),
                rows: n,
                columns: k,
                bits,
                scaling: "row".into(),
                scales: n,
                sparsity: String::new(),
                mask_bytes: 0,
                bytes: n * (k * bits).div_ceil(8) + 4 * n,
            });
        }
        check.rows.push(CheckRow {
            node: step.into(),
            op: if n > 0 { "linear" } else { "softmax" }.into(),
            format: "fp32".into(),
            elements: 12 * n.max(k),
            different: 0,
            sqnr_db: (n > 0).then_some(short(80.0 * quality)),
        });
        check.nodes += 1;
        run.layers.push(layer);
    }
    run.check = Some(check);
    total(&mut run, name, peak, pj, bytes_per_cycle);
    run
}

fn layer(step: &str, n: u64, k: u64, figures: (u64, f64, f64, f64), formats: &str) -> Layer {
    let (bits, peak, pj, bytes_per_cycle) = figures;
    let macs = 12 * n * k;
    let dram_bytes = n * k * bits / 8 + 48 * k;
    let compute = (macs as f64 / peak).ceil() as u64 + 40;
    let dram = ((dram_bytes as f64 / bytes_per_cycle) as u64).saturating_sub(compute);
    let cycles_by = BTreeMap::from([("compute".into(), compute), ("dram".into(), dram), ("issue".into(), 25)]);
    Layer {
        name: step.into(),
        kernel: if n > 0 { "linear_rows" } else { "rows" }.into(),
        formats: if n > 0 { format!("{formats} x {formats}") } else { String::new() },
        cycles: compute + dram + 25,
        cycles_by,
        energy_pj: energy(short(macs as f64 * pj), dram_bytes as f64 * 32.0, (compute + dram + 25) as f64 * 5.0),
        macs,
        dram_bytes,
        bound_by: if dram > compute { "dram" } else { "compute" }.into(),
    }
}

fn total(run: &mut RunSummary, name: &str, peak: f64, pj: f64, bytes_per_cycle: f64) {
    let of = |f: fn(&Layer) -> u64| run.layers.iter().map(f).sum::<u64>();
    let (cycles, macs, dram) = (of(|l| l.cycles), of(|l| l.macs), of(|l| l.dram_bytes));
    run.cycles = cycles;
    run.time_ns = cycles as f64;
    run.energy_pj = energy(short(macs as f64 * pj), dram as f64 * 32.0, cycles as f64 * 5.0);
    let total = run.energy_pj.total;
    run.energy_range_pj = EnergyRange { low: short(total * 0.7), high: short(total * 1.4) };
    let row = |component: &str, part, pj| ComponentEnergy { component: component.into(), part, pj };
    run.energy_by_component = vec![
        row("array", EnergyPart::Arithmetic, short(macs as f64 * pj)),
        row("sram", EnergyPart::Movement, dram as f64 * 4.0),
        row("dram", EnergyPart::Movement, dram as f64 * 28.0),
        row("leakage", EnergyPart::Leakage, cycles as f64 * 5.0),
    ];
    let weights = run.weights.iter().map(|w| w.bytes).sum();
    run.bytes = Bytes {
        dram_read: dram - 1000,
        dram_write: 1000,
        sram_read: dram * 3,
        sram_write: dram,
        weights,
        peak_sram: 180_000,
        by_format: BTreeMap::from([(name.into(), weights)]),
    };
    run.parameters = run.weights.iter().map(|w| w.rows * w.columns).sum();
    run.macs = Macs { dense: macs, executed: macs, skipped: 0 };
    run.ops = vec![OpEnergy {
        kind: "mac".into(),
        formats: format!("{name} x {name}"),
        unit: "array".into(),
        key: format!("energy.mac.{name}"),
        count: macs,
        pj_each: pj,
        pj_total: short(macs as f64 * pj),
    }];
    let busy_cycles = (macs as f64 / peak) as u64;
    run.units = vec![UnitCycles {
        unit: "array".into(),
        busy_cycles,
        stall_cycles: BTreeMap::from([("dma".into(), (cycles - busy_cycles) / 2)]),
        idle_cycles: cycles - busy_cycles - (cycles - busy_cycles) / 2,
    }];
    let pair = PairPeak { unit: "array".into(), weights: name.into(), inputs: name.into(), peak, macs };
    run.peak = Peak { macs_per_cycle: vec![pair], dram_bytes_per_cycle: bytes_per_cycle };
    run.bound_by = BoundBy { what: "dram".into(), evidence: "DRAM is busy in 71 % of the cycles".into() };
    run.assumptions = vec![Assumption {
        text: "DRAM access".into(),
        value: "4 pJ/bit".into(),
        source: "made up for this sample <test & escape>".into(),
    }];
    let prices = run.energy_by_component.iter().map(|row| price(row, total)).collect();
    run.joules = Some(Joules { prices, beside: Vec::new(), per_mac: None, supply: None, thermal: None });
    run.not_modelled = vec!["clock and power gating between runs".into()];
}

/// A component as if it had one price, with a band of a quarter each way.
fn price(row: &ComponentEnergy, total: f64) -> PriceUse {
    let typical = short(row.pj);
    PriceUse {
        key: format!("energy.{}", row.component),
        part: row.part,
        unit: "op".into(),
        count: 1,
        each_pj: Band { low: short(typical * 0.75), typical, high: short(typical * 1.25) },
        pj: Band { low: short(typical * 0.75), typical, high: short(typical * 1.25) },
        share: short(row.pj / total),
        scope: "circuit".into(),
        trust: "choice".into(),
        source: "made up".into(),
    }
}
