//! Other simulators' arrays: SCALE-Sim's folds and ONNXim's tiles, as programs of one product.

use super::{Bar, Case, How, Suite, gemm, run_layers};
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::vpu::workload::Run;

/// The suite of SCALE-Sim.
pub(super) const SCALESIM: Suite = Suite {
    machines: &["scalesim-ws", "scalesim-os", "scalesim-is"],
    statement: "Calibrated on nothing: the published figures are our own runs of SCALE-Sim 3.0.0 (stall-free mode, 128x128). It prints one cycle less than \
        its own fold formula; the engine gives the formula, and these rows take one off. Its output-stationary code counts R cycles \
        of draining less than its paper does (`array.output_drain = \"counted\"` is the paper's form).",
    cases: scalesim,
};

/// The suite of ONNXim.
pub(super) const ONNXIM: Suite = Suite {
    machines: &["onnxim-like"],
    statement: "Calibrated on nothing in this form: SRAM (32 MiB), sums (two halves of 4096 x 128), channels, DRAM clock and requests are those of \
        ONNXim's own configuration file, the device's clocks those of docs/dram.md. An earlier form of the file chose SRAM and sums after \
        looking at the two totals; that choice is gone, but both totals were known when the kernel was taught to alternate its sums and to \
        load inputs in pieces, as ONNXim does, so they are a check, not a blind prediction. Tiles are this compiler's: ONNXim waits \
        for 128 whole rows of inputs and of weights, this program for a piece of their depth. Its interconnect (hashed channels, packets of 32 B at 8 GHz) is \
        not modelled. The published figures are our own runs of it on one core.",
    cases: onnxim,
};

/// Cycles in which the array is busy, and all cycles, of one product whose inputs come in the format in which the array takes them.
fn product(machine: &Machine, policy: &str, shape: [u64; 3]) -> Result<[u64; 2]> {
    let report = run_layers(machine, policy, "product", vec![gemm("product", shape, None)], &Run::default())?;
    let array = report.units.iter().find(|unit| unit.unit == "array");
    let array = array.ok_or_else(|| Error::internal("a product without an array"))?;
    Ok([array.busy_cycles, report.cycles])
}

fn case(
    machine: &Machine,
    [m, n, k]: [u64; 3],
    quantity: &str,
    figures: [u64; 2],
    bar: Option<Bar>,
    source: &str,
) -> Case {
    Case {
        machine: machine.name.clone(),
        case: format!("{m} x {n} x {k}"),
        quantity: quantity.to_owned(),
        kind: How::Engine,
        predicted: figures[0] as f64,
        published: figures[1] as f64,
        bar,
        calibrated_on: "nothing".to_owned(),
        source: source.to_owned(),
    }
}

/// Products run with SCALE-Sim: weight, output, input stationary.
const FOLDS: [(&str, [u64; 3], u64); 7] = [
    ("scalesim-ws", [512, 2560, 2560], 357_599),
    ("scalesim-ws", [1, 6912, 2560], 413_639),
    ("scalesim-ws", [128, 768, 768], 18_359),
    ("scalesim-ws", [128, 3072, 768], 73_439),
    ("scalesim-ws", [64, 256, 256], 1_783),
    ("scalesim-os", [512, 2560, 2560], 225_119),
    ("scalesim-is", [1, 6912, 2560], 145_879),
];

fn scalesim(machine: &Machine) -> Result<Vec<Case>> {
    let rows = FOLDS.into_iter().filter(|row| row.0 == machine.name);
    rows.map(|(_, shape, published)| {
        let [array, _] = product(machine, "fp32", shape)?;
        let figures = [array - 1, published];
        Ok(case(machine, shape, "cycles of the array, less one", figures, Some(Bar::EXACT), "SCALE-Sim 3.0.0, run"))
    })
    .collect()
}

/// Products run with ONNXim: cycles of its tiles, and in all.
const TILES: [([u64; 3], u64, u64); 3] =
    [([512, 2560, 2560], 204_800, 208_158), ([1, 6912, 2560], 138_240, 139_994), ([256, 256, 256], 1_024, 1_888)];

fn onnxim(machine: &Machine) -> Result<Vec<Case>> {
    let source = "ONNXim a1e8629, Ramulator2 HBM2, fp16, run";
    let mut cases = Vec::new();
    for (shape, tiles, total) in TILES {
        let [array, cycles] = product(machine, "fp16", shape)?;
        cases.push(case(machine, shape, "cycles of the array", [array, tiles], Some(Bar::EXACT), source));
        // The small product is latency alone, of which ONNXim's interconnect is the larger part.
        let bar = (tiles > 100_000).then_some(Bar::percent(2.0));
        cases.push(case(machine, shape, "cycles", [cycles, total], bar, source));
    }
    Ok(cases)
}
