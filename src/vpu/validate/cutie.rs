//! CUTIE: cycle counts of its RTL.

use super::{Bar, Case, How, Suite, field, law, records};
use crate::diag::{Error, Result};
use crate::machine::{Layer, Machine, Shape};

/// The suite.
pub(super) const SUITE: Suite = Suite {
    machines: &["cutie"],
    statement: "Calibrated on nothing. The law is the mechanism that the RTL describes: a writer, a reader, the rule that keeps \
        each from overtaking the other, and the cycles of the hand-over between layers.",
    cases,
};

/// Channels in and out of every case: all that the machine has.
const CHANNELS: u64 = 96;

/// `32x16/3/1`: width, height, kernel, stride; half the kernel is padded.
fn layer(text: &str) -> Result<Layer> {
    let sizes: Vec<u64> = text.split(['x', '/']).map_while(|part| part.parse().ok()).collect();
    let [width, height, side, step] = sizes[..] else {
        return Err(Error::internal(format!("published table: `{text}` is not a layer")));
    };
    let (kernel, stride, pad) = ([side; 2], [step; 2], [side / 2; 2]);
    let shape = Shape::Conv { height, width, channels: CHANNELS, outputs: CHANNELS, kernel, stride, pad, groups: 1 };
    Ok(Layer { shape, batch: 1, weight_bits: 2, input_bits: 2, residual: false, pooled: None, unrolled: false })
}

fn cases(machine: &Machine) -> Result<Vec<Case>> {
    records(include_str!("data/cutie_rtl.csv"))
        .map(|r| {
            let layers = r[1].split('+').map(layer).collect::<Result<Vec<Layer>>>()?;
            let narrow = layers.iter().any(|layer| matches!(layer.shape, Shape::Conv { width, .. } if width < 9));
            Ok(Case {
                machine: machine.name.clone(),
                case: r[0].to_owned(),
                quantity: "cycles".to_owned(),
                kind: How::Law,
                predicted: law(machine, &layers)?.cycles as f64,
                published: field(&r, 2)?,
                bar: Some(Bar { percent: 2.0, absolute: if narrow { 4.0 } else { 0.0 } }),
                calibrated_on: "nothing".to_owned(),
                source: "Verilator runs of pulp-platform/CUTIE e1ecf219".to_owned(),
            })
        })
        .collect()
}
