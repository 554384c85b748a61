//! Machines bound by their memory: ternary decoding from HBM2, and the stream of a GPU.

use super::{Bar, Case, How, Suite};
use crate::diag::{Error, Result};
use crate::machine::{self, Machine};
use crate::sim::dram::{Dram, Strided};

/// The suite of TerEffic.
pub(super) const TEREFFIC: Suite = Suite {
    machines: &["tereffic-hbm"],
    statement: "Calibrated on nothing. The published design decodes as fast as its weights arrive: 2.7e9 parameters, five of them in 8 \
        bits, once a token. What share of 460.8 GB/s a stream reaches is what our DRAM model gives for HBM2 with 16 channels. \
        Its 46 W are not predicted: they are a board's.",
    cases: tereffic,
};

/// The suite of the A100's memory.
pub(super) const A100: Suite = Suite {
    machines: &["a100-like"],
    statement: "The machine file states the measured share of the peak (87 %), so a run on it predicts nothing of it. The row below \
        takes the share from our DRAM model with HBM2's timing instead, for information: HBM2E's own is not public.",
    cases: a100,
};

/// Bytes of a stream: long enough that its first access does not show.
const STREAM: u64 = 16 << 20;

/// Bytes a second of a stream of reads.
fn stream(machine: &Machine) -> Result<f64> {
    let mut dram = Dram::new(machine);
    dram.start(0, 0, &Strided::contiguous(0, STREAM), false);
    let done = dram.advance(u64::MAX).ok_or_else(|| Error::internal("a transfer of a stream never ended"))?;
    Ok(STREAM as f64 * machine.clock_hz / done.end_cycle as f64)
}

/// Parameters of the model, and bits of a parameter.
const PARAMETERS: f64 = 2.7e9;
const BITS: f64 = 8.0 / 5.0;

fn tereffic(machine: &Machine) -> Result<Vec<Case>> {
    Ok(vec![Case {
        machine: machine.name.clone(),
        case: "MatMul-free LM, 2.7 B".to_owned(),
        quantity: "tokens/s".to_owned(),
        kind: How::Engine,
        predicted: stream(machine)? / (PARAMETERS * BITS / 8.0),
        published: 727.0,
        bar: Some(Bar::percent(10.0)),
        calibrated_on: "nothing".to_owned(),
        source: "TerEffic, arXiv 2502.16473v2".to_owned(),
    }])
}

fn a100(machine: &Machine) -> Result<Vec<Case>> {
    let hbm2 = machine::load_with("hbm", &[("dram.model".to_owned(), "cycle".to_owned())])?;
    let share = stream(&hbm2)? / 256e9;
    Ok(vec![Case {
        machine: machine.name.clone(),
        case: "BabelStream, share of HBM2".to_owned(),
        quantity: "GB/s".to_owned(),
        kind: How::Engine,
        predicted: share * 2039.0,
        published: 1774.0,
        bar: None,
        calibrated_on: "nothing".to_owned(),
        source: "BabelStream on an A100 80 GB".to_owned(),
    }])
}
