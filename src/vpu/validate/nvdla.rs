//! NVDLA: the vendor's spreadsheet of ResNet-50, layer by layer, and the frames a second of the vendor's primer.

use super::{Bar, Case, How, Suite, field, law, records};
use crate::diag::Result;
use crate::machine::{self, Layer, Machine, Shape};
use crate::policy;
use crate::vpu::{RunOptions, Vpu};
use std::collections::BTreeMap;

/// The suite.
pub(super) const SUITE: Suite = Suite {
    machines: &["nvdla-2048", "nvdla-1024", "nvdla-512", "nvdla-256", "nvdla-128", "nvdla-64", "nvdla-32"],
    statement: "Calibrated on nothing. The law is the vendor's own spreadsheet, written anew: its layers at 2048 units are equal, \
        so the frames a second check the configurations, not the law. The smaller ones count 3x3 layers without Winograd, \
        because the vendor's configuration files disable it, and align outputs to their own units instead of the sheet's 128 \
        (no layer of ResNet-50 tells the two apart). The engine has no Winograd and tiles in its own way; its row runs convolutions as products of unrolled windows \
        (m = P*Q, n = K, k = C*R*S) whose inputs arrive as fp32 and are quantised on the vector core: each input is moved four \
        bytes wide and once a tap, and memory binds it.",
    cases,
};

const SHEET: &str = "nvdla/hw perf/NVDLA_OpenSource_Performance.xlsx, ResNet-50";
const PRIMER: &str = "nvdla/doc 04a0133c, doc/primer.rst";
/// Bandwidth of the sheet's ResNet-50 page; the machine file has the primer's.
const SHEET_BANDWIDTH: &str = "10e9";

/// A layer of the sheet.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) layer: Layer,
    /// Cycles of memory, of products, of the layer.
    pub(super) cycles: [u64; 3],
}

/// The sheet's layers.
pub(super) fn sheet() -> Result<Vec<Row>> {
    records(include_str!("data/nvdla_resnet50.csv"))
        .map(|r| {
            let n = |at| field::<u64>(&r, at);
            let (height, width, channels, outputs) = (n(3)?, n(4)?, n(2)?, n(5)?);
            let (side, step) = (n(6)?, n(8)?);
            let shape = if r[0].ends_with("/fc") {
                Shape::Gemm { m: 1, n: outputs, k: channels }
            } else {
                let (kernel, stride, pad) = ([side; 2], [step; 2], [n(7)? * (side / 2); 2]);
                Shape::Conv { height, width, channels, outputs, kernel, stride, pad, groups: 1 }
            };
            let pooled = if r[9].is_empty() { None } else { Some([n(9)?; 2]) };
            let residual = n(1)? == 1;
            let layer = Layer { shape, batch: 1, weight_bits: 8, input_bits: 8, residual, pooled, unrolled: false };
            Ok(Row { name: r[0], layer, cycles: [n(10)?, n(11)?, n(12)?] })
        })
        .collect()
}

/// Frames a second of the primer, by machine.
fn published(machine: &str) -> f64 {
    match machine {
        "nvdla-2048" => 269.0,
        "nvdla-1024" => 153.0,
        "nvdla-512" => 93.0,
        "nvdla-256" => 46.0,
        "nvdla-128" => 20.0,
        "nvdla-64" => 7.3,
        _ => 3.6,
    }
}

fn case(machine: &Machine, case: String, quantity: &str, kind: How, figures: [f64; 2], bar: Option<Bar>) -> Case {
    Case {
        machine: machine.name.clone(),
        case,
        quantity: quantity.to_owned(),
        kind,
        predicted: figures[0],
        published: figures[1],
        bar,
        calibrated_on: "nothing".to_owned(),
        source: if quantity == "frames/s" { PRIMER } else { SHEET }.to_owned(),
    }
}

fn cases(machine: &Machine) -> Result<Vec<Case>> {
    let rows = sheet()?;
    let mut cases = Vec::new();
    let large = machine.name == "nvdla-2048";
    if large {
        let sets = [("dram.peak_bytes_per_s".to_owned(), SHEET_BANDWIDTH.to_owned())];
        let at_sheet = machine::load_with(&machine.name, &sets)?;
        for row in &rows {
            let cost = law(&at_sheet, &[row.layer])?;
            let ours = [cost.dram_cycles, cost.compute_cycles, cost.cycles];
            for (at, quantity) in ["memory cycles", "product cycles", "cycles"].into_iter().enumerate() {
                let figures = [ours[at] as f64, row.cycles[at] as f64];
                let name = format!("ResNet-50 {} at 10 GB/s", row.name);
                cases.push(case(machine, name, quantity, How::Law, figures, Some(Bar::EXACT)));
            }
        }
    }
    let layers: Vec<Layer> = rows.iter().map(|row| row.layer).collect();
    let frames = machine.clock_hz / law(machine, &layers)?.cycles as f64;
    let figures = [frames, published(&machine.name)];
    let bar = large.then_some(Bar::percent(1.0));
    cases.push(case(machine, "ResNet-50".to_owned(), "frames/s", How::Law, figures, bar));
    if large {
        let frames = machine.clock_hz / engine(machine, &layers)? as f64;
        cases.push(case(machine, "ResNet-50".to_owned(), "frames/s", How::Engine, [frames, figures[1]], None));
    }
    Ok(cases)
}

/// Cycles of the engine: every layer as a product of its unrolled windows, shapes that recur once.
fn engine(machine: &Machine, layers: &[Layer]) -> Result<u64> {
    let mut shapes: BTreeMap<[usize; 3], u64> = BTreeMap::new();
    for layer in layers {
        let [rows, cols] = layer.output();
        let (n, k, m) = match layer.shape {
            Shape::Gemm { m, n, k } => (n, k, m),
            Shape::Conv { channels, outputs, kernel, .. } => (outputs, channels * kernel[0] * kernel[1], rows * cols),
        };
        *shapes.entry([m as usize, n as usize, k as usize]).or_default() += 1;
    }
    let mut vpu = Vpu::new(machine.clone());
    vpu.set_precision(policy::load("int8")?);
    vpu.options = RunOptions { timing_only: true, check: false, ..RunOptions::default() };
    let mut cycles = 0;
    for ([m, n, k], times) in shapes {
        cycles += vpu.gemm(m, n, k)?.summary.cycles * times;
    }
    Ok(cycles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sheet_has_all_layers_and_adds_up_to_its_own_total() {
        let rows = sheet().unwrap();
        assert_eq!(rows.len(), 54);
        assert_eq!(rows.iter().map(|row| row.cycles[2]).sum::<u64>(), 7_113_691, "7.113691 ms");
        assert!(rows.iter().all(|row| row.cycles[2] == row.cycles[0].max(row.cycles[1])));
        let macs: u64 = rows.iter().map(|row| row.layer.macs()).sum();
        assert!((3_800_000_000..4_200_000_000).contains(&macs), "{macs}");
    }
}
