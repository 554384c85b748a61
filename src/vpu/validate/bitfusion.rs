//! BitFusion: the results that its authors publish with their simulator.

use super::{Bar, Case, How, Suite, field, law, records};
use crate::diag::Result;
use crate::machine::{self, Layer, Machine, Shape};

/// The suite.
pub(super) const SUITE: Suite = Suite {
    machines: &["bitfusion-16x32"],
    statement: "Calibrated on nothing: the schedule is the search of the authors' simulator. It was built on those layers at 192 \
        bit a cycle whose FNV-1a hash (64 bit) of `network/layer` is even (29 of 61); reported are the 32 others, and all 61 at \
        4096 bit a cycle, on which nothing was built. Two branches of a network that are alike may fall into both halves. \
        It is a simulator: it validates scheduling and bit-composability, not silicon.",
    cases,
};

const SOURCE: &str = "hsharma35/bitfusion cf2d5c8a, results/bitfusion-eyeriss-sim-sweep.csv";

/// A row of the simulator's results.
pub(super) struct Row {
    pub(super) name: String,
    /// Bits a cycle to and from DRAM.
    pub(super) width: u64,
    pub(super) layer: Layer,
    /// Cycles, products' cycles, DRAM bits.
    pub(super) figures: [u64; 3],
}

impl Row {
    /// Whether the law was built on it.
    pub(super) fn built_on(&self) -> bool {
        self.width == 192 && hash(&self.name).is_multiple_of(2)
    }
}

/// FNV-1a, 64 bit.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// All rows.
pub(super) fn rows() -> Result<Vec<Row>> {
    records(include_str!("data/bitfusion.csv"))
        .map(|r| {
            let n = |at| field::<u64>(&r, at);
            let (image, channels, outputs, side, step, pad) = (n(3)?, n(7)?, n(8)?, n(5)?, n(6)?, n(4)?);
            let (kernel, stride, pad) = ([side; 2], [step; 2], [pad; 2]);
            let shape = Shape::Conv { height: image, width: image, channels, outputs, kernel, stride, pad, groups: 1 };
            let (input_bits, weight_bits, unrolled) = (field(&r, 9)?, field(&r, 10)?, n(11)? == 1);
            let layer = Layer { shape, batch: 16, weight_bits, input_bits, residual: false, pooled: None, unrolled };
            let (cycles, wait, bits) = (n(12)?, n(13)?, n(14)?);
            Ok(Row { name: format!("{}/{}", r[0], r[1]), width: n(2)?, layer, figures: [cycles, cycles - wait, bits] })
        })
        .collect()
}

/// The machine with another width to DRAM, and the cost of a row on it: cycles, products' cycles, DRAM bits.
pub(super) fn predicted(machine: &Machine, row: &Row) -> Result<[u64; 3]> {
    let bytes = (row.width as f64 / 8.0 * machine.clock_hz).round();
    let own = bytes as u64 == machine.dram.bytes_per_second;
    let sets = [("dram.peak_bytes_per_s".to_owned(), format!("{bytes:.1}"))];
    let cost =
        if own { law(machine, &[row.layer])? } else { law(&machine::load_with(&machine.name, &sets)?, &[row.layer])? };
    Ok([cost.cycles, cost.compute_cycles, cost.dram_bytes * 8])
}

fn cases(machine: &Machine) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for row in rows()?.iter().filter(|row| !row.built_on()) {
        let ours = predicted(machine, row)?;
        let bars = [Bar::percent(10.0), Bar::EXACT, Bar::percent(5.0)];
        for (at, quantity) in ["cycles", "product cycles", "DRAM bits"].into_iter().enumerate() {
            cases.push(Case {
                machine: machine.name.clone(),
                case: format!("{} at {} bit/cycle", row.name, row.width),
                quantity: quantity.to_owned(),
                kind: How::Law,
                predicted: ours[at] as f64,
                published: row.figures[at] as f64,
                bar: Some(bars[at]),
                calibrated_on: "nothing".to_owned(),
                source: SOURCE.to_owned(),
            });
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_are_those_of_the_hash() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c, "the published test value");
        let rows = rows().unwrap();
        let built = rows.iter().filter(|row| row.built_on()).count();
        assert_eq!((rows.len(), built), (122, 29));
    }
}
