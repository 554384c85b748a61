//! NVDLA: the vendor's spreadsheet of ResNet-50, layer by layer, and the frames a second of the vendor's primer.

use super::{Bar, Case, How, Suite, field, gemm, law, records, run_layers};
use crate::diag::Result;
use crate::machine::{self, Layer, Machine, Shape};
use crate::vpu::workload::Run;
use crate::workload::{self, Act, Conv, Epilogue, Kind, Pool};

/// The suite.
pub(super) const SUITE: Suite = Suite {
    machines: &["nvdla-2048", "nvdla-1024", "nvdla-512", "nvdla-256", "nvdla-128", "nvdla-64", "nvdla-32"],
    statement: "Calibrated on nothing. The law is the vendor's own spreadsheet, written anew: its layers at 2048 units are equal, \
        so the frames a second check the configurations, not the law. The smaller ones count 3x3 layers without Winograd, \
        because the vendor's configuration files disable it, and align outputs to their own units instead of the sheet's 128 \
        (no layer of ResNet-50 tells the two apart). The engine's row runs every layer as a program whose int8 inputs come from DRAM and whose int8 \
        results go there, with bias, activation and residual in the same program and pools as passes of their own. It is below the law, as it has to be: it has no Winograd \
        (another arithmetic), which is worth 2.25 in 3x3 layers; it drains between layers; and what NVDLA's post-processors do beside the array runs on the vector \
        core after each tile.",
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
        let frames = machine.clock_hz / engine(machine, &rows)? as f64;
        cases.push(case(machine, "ResNet-50".to_owned(), "frames/s", How::Engine, [frames, figures[1]], None));
    }
    Ok(cases)
}

/// Cycles of the engine: every layer as a program that reads int8 from DRAM and writes int8 there, activated and with its
/// residual added; pools are passes of their own.
fn engine(machine: &Machine, rows: &[Row]) -> Result<u64> {
    let mut layers = Vec::new();
    for row in rows {
        let act = Some(Act::Relu);
        let (c, [oh, ow]) = match row.layer.shape {
            Shape::Gemm { m, n, k } => {
                layers.push(gemm(row.name, [m, n, k], None));
                continue;
            }
            Shape::Conv { height, width, channels, outputs, kernel, stride, pad, groups } => {
                let then = Epilogue { bias: true, act, residual: row.layer.residual };
                let (batch, h, w, c, k, [r, s]) = (1, height, width, channels, outputs, kernel);
                let (stride, pad) = (stride[0], pad[0]);
                let conv = Conv { batch, h, w, c, k, r, s, stride, pad, dilation: 1, groups, then };
                layers.push(workload::Layer::new(row.name, Kind::Conv(conv)));
                (outputs, row.layer.output())
            }
        };
        // The first pool halves with windows of 3x3, the last one takes the mean of the image.
        let (side, stride, pad) = match row.layer.pooled {
            None => continue,
            Some([1, 1]) => (oh, 1, 0),
            Some(_) => (3, 2, 1),
        };
        let (r, s, then) = (side, side, Epilogue::default());
        let window = Conv { batch: 1, h: oh, w: ow, c, k: c, r, s, stride, pad, dilation: 1, groups: 1, then };
        let name = format!("{}/pool", row.name);
        layers.push(workload::Layer::new(name, Kind::Pool(Pool { window, mean: side == oh })));
    }
    Ok(run_layers(machine, "int8", "ResNet-50", layers, &Run::default())?.cycles)
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
