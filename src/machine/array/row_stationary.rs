//! Elements that each keep a row of a kernel and slide it along a row of the image: sums pass down, rows of the image run
//! along diagonals.
//!
//! The layer law is that of Eyeriss (Chen et al., ISSCC 2016, JSSC 2017): a layer is cut into processing passes by a
//! mapping, each element multiplies p kernels of q channels with a row of the output in a pass, and partial sums go through
//! the global buffer between passes. Inputs of zero are gated: they save energy, never time.

use super::{Array, ArrayCost, Keys, Kind, Layer, LayerCost, Row, Shape, Tile};
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::machine::schema::Need::{Default, Required};
use std::any::Any;
use std::sync::Arc;

/// The row of this kind.
pub(super) const ROW: Row = Row {
    name: "row_stationary",
    keys: &[
        ("rows", Required),
        ("cols", Required),
        ("weight_words", Required),
        ("input_words", Required),
        ("sum_words", Required),
        ("words_per_cycle", Default("1")),
        ("pass_cycles", Default("[0, \"choice\"]")),
        ("pad_pj", Default("[0, \"choice\"]")),
        ("clock_mw", Default("[0, \"choice\"]")),
        ("hop_words", Default("[0, \"choice\"]")),
        ("buffer_words", Default("[0, \"choice\"]")),
    ],
    read,
};

/// Bytes of a word of the global buffer.
const WORD: u64 = 2;
/// Mappings of a layer that are tried at most; the machine of the publication has some ten thousand.
const MAPPINGS: u64 = 10_000_000;

/// A row-stationary array.
#[derive(Debug)]
pub struct RowStationary {
    rows: u32,
    cols: u32,
    weight_words: u32,
    input_words: u32,
    sum_words: u32,
    words_per_cycle: u32,
    pass_cycles: f64,
    pad_pj: f64,
    clock_mw: f64,
    hop_words: f64,
    buffer_words: f64,
}

/// How a layer is laid on the elements, in the letters of the publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Output channels whose sums the global buffer holds.
    pub m: u64,
    /// Images of a pass.
    pub n: u64,
    /// Rows of the output of a pass.
    pub e: u64,
    /// Kernels that an element works on.
    pub p: u64,
    /// Channels that an element works on.
    pub q: u64,
    /// Sets of elements for different channels.
    pub r: u64,
    /// Sets of elements for different kernels.
    pub t: u64,
}

/// What a layer takes under a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowCounts {
    /// Processing passes.
    pub passes: u64,
    /// Cycles of the products, without the overhead of passes.
    pub cycles: u64,
    /// Elements at work.
    pub elements: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Words of inputs and partial sums between global buffer and elements.
    pub buffer_words: u64,
    /// Partial sums passed from an element to the next.
    pub hops: u64,
}

fn read(keys: &Keys<'_>) -> Result<Arc<dyn Kind>> {
    Ok(Arc::new(RowStationary {
        rows: keys.count("rows")?,
        cols: keys.count("cols")?,
        weight_words: keys.count("weight_words")?,
        input_words: keys.count("input_words")?,
        sum_words: keys.count("sum_words")?,
        words_per_cycle: keys.count("words_per_cycle")?,
        pass_cycles: keys.figure("pass_cycles")?,
        pad_pj: keys.figure("pad_pj")?,
        clock_mw: keys.figure("clock_mw")?,
        hop_words: keys.figure("hop_words")?,
        buffer_words: keys.figure("buffer_words")?,
    }))
}

/// A layer in the letters of the publication: images, groups, and per group M, C, R (= S), U, E, and rows of the image.
struct Letters {
    images: u64,
    groups: u64,
    outputs: u64,
    channels: u64,
    kernel: u64,
    stride: u64,
    out: u64,
    padded: u64,
}

fn letters(layer: &Layer) -> Result<Letters> {
    let refuse = |what: &str| Err(Error::unsupported(format!("the layer law of row_stationary speaks of {what}")));
    match layer.shape {
        Shape::Gemm { m, n, k } => Ok(Letters {
            images: layer.batch * m,
            groups: 1,
            outputs: n,
            channels: k,
            kernel: 1,
            stride: 1,
            out: 1,
            padded: 1,
        }),
        Shape::Conv { height, width, channels, outputs, kernel, stride, pad, groups } => {
            let out = layer.output();
            if height != width || kernel[0] != kernel[1] || stride[0] != stride[1] || pad[0] != pad[1] || out[0] == 0 {
                return refuse("square images and kernels");
            }
            if groups == 0 || channels % groups != 0 || outputs % groups != 0 {
                return refuse("channels that divide into groups");
            }
            Ok(Letters {
                images: layer.batch,
                groups,
                outputs: outputs / groups,
                channels: channels / groups,
                kernel: kernel[0],
                stride: stride[0],
                out: out[0],
                padded: height + 2 * pad[0],
            })
        }
    }
}

impl RowStationary {
    /// The row-stationary array of a machine.
    pub fn of(array: &Array) -> Option<&RowStationary> {
        let kind: &dyn Any = &*array.kind;
        kind.downcast_ref()
    }

    /// Overhead of a processing pass, cycles.
    pub fn pass_cycles(&self) -> f64 {
        self.pass_cycles
    }

    fn block_of(&self) -> [u32; 2] {
        [self.rows, self.cols]
    }

    /// Sets of elements that a kernel of so many rows and `e` rows of the output leave room for; sets wider than the array
    /// are cut into strips.
    fn sets(&self, kernel: u64, e: u64) -> u64 {
        let (rows, cols) = (u64::from(self.rows), u64::from(self.cols));
        let strips = e.div_ceil(cols);
        (rows / (kernel * strips).max(1)) * if strips == 1 { cols / e } else { 1 }
    }

    /// Whether the pads and the elements hold the mapping.
    fn holds(&self, kernel: u64, out: u64, buffer: u64, map: &Mapping) -> bool {
        let sums = map.m * map.n * map.e * out * WORD;
        map.q * kernel <= u64::from(self.input_words)
            && map.p * map.q * kernel <= u64::from(self.weight_words)
            && map.p <= u64::from(self.sum_words)
            && map.r * map.t <= self.sets(kernel, map.e)
            && map.m >= map.p * map.t
            && sums <= buffer
    }

    /// What `layer` takes under `map`; rows of kernels that do not fill a pass cost a whole one.
    ///
    /// # Errors
    /// Unsupported if the law does not speak of the layer, or the machine cannot hold the mapping.
    pub fn counts(&self, machine: &Machine, layer: &Layer, map: &Mapping) -> Result<RowCounts> {
        let l = letters(layer)?;
        if [map.m, map.n, map.e, map.p, map.q, map.r, map.t].contains(&0)
            || !self.holds(l.kernel, l.out, machine.own().bytes, map)
        {
            return Err(Error::unsupported(format!("the elements and pads of this array do not hold {map:?}")));
        }
        let across = l.out.div_ceil(map.e) * l.outputs.div_ceil(map.p * map.t);
        let passes = l.groups * across * l.channels.div_ceil(map.q * map.r) * l.images.div_ceil(map.n);
        let sums = map.p * map.t * map.n * map.e * l.out;
        let inputs = map.q * map.r * map.n * ((map.e - 1) * l.stride + l.kernel) * l.padded;
        Ok(RowCounts {
            passes,
            cycles: passes * map.n * map.p * map.q * l.kernel * l.out,
            elements: l.kernel * map.e * map.r * map.t,
            macs: layer.macs(),
            // Sums come from the global buffer and go back.
            buffer_words: passes * (inputs + 2 * sums),
            hops: passes * sums * (l.kernel * map.r - 1),
        })
    }

    /// Cycles of a layer under a mapping, with the overhead of its passes.
    pub fn cycles(&self, counts: &RowCounts) -> f64 {
        counts.cycles as f64 + counts.passes as f64 * self.pass_cycles
    }

    /// Energy of a layer in words of a pad, where a share of the inputs is zero: an element reads every input, and only for
    /// one that is not zero its weight and its sum, multiplies, and writes the sum back.
    pub fn words(&self, counts: &RowCounts, zeros: f64) -> f64 {
        let live = counts.macs as f64 * (1.0 - zeros);
        counts.macs as f64
            + 4.0 * live
            + self.hop_words * counts.hops as f64
            + self.buffer_words * counts.buffer_words as f64
    }

    /// Energy of those words in picojoules.
    pub fn words_pj(&self, counts: &RowCounts, zeros: f64) -> f64 {
        self.words(counts, zeros) * self.pad_pj
    }

    /// Energy of a layer in picojoules: its words, and the clock and control of the chip for as long as it takes.
    pub fn energy_pj(&self, machine: &Machine, counts: &RowCounts, zeros: f64) -> f64 {
        self.words_pj(counts, zeros) + self.cycles(counts) / machine.clock_hz * self.clock_mw * 1e9
    }

    /// The mapping of the fewest cycles, of equal ones that of the fewest words through the global buffer. Of the values
    /// of e and t that make as many passes only the least is looked at, for more sums move nothing faster; of r the least
    /// of the fewest passes.
    ///
    /// # Errors
    /// Unsupported if the law does not speak of the layer, or no mapping of it fits.
    pub fn best(&self, machine: &Machine, layer: &Layer) -> Result<RowCounts> {
        let l = letters(layer)?;
        let mut best: Option<(f64, RowCounts)> = None;
        let mut left = MAPPINGS;
        let pads = u64::from(self.weight_words) / l.kernel;
        let most_q = (u64::from(self.input_words) / l.kernel).min(pads).min(l.channels);
        for e in least(l.out, l.out) {
            let sets = self.sets(l.kernel, e);
            if sets == 0 {
                break;
            }
            for p in 1..=u64::from(self.sum_words).min(l.outputs) {
                for q in 1..=most_q.min(pads / p) {
                    for t in least(l.outputs.div_ceil(p), sets) {
                        if left == 0 {
                            return Err(Error::unsupported(
                                "this layer has too many mappings on this array to try all",
                            ));
                        }
                        left -= 1;
                        let folds = l.channels.div_ceil(q);
                        let r = folds.div_ceil(folds.div_ceil(sets / t));
                        let map = Mapping { m: p * t, n: 1, e, p, q, r, t };
                        if !self.holds(l.kernel, l.out, machine.own().bytes, &map) {
                            break;
                        }
                        let counts = self.counts(machine, layer, &map)?;
                        let cost = (self.cycles(&counts), counts);
                        let better =
                            best.is_none_or(|best| (cost.0, cost.1.buffer_words) < (best.0, best.1.buffer_words));
                        best = if better { Some(cost) } else { best };
                    }
                }
            }
        }
        best.map(|best| best.1).ok_or_else(|| Error::unsupported("no mapping of this layer fits the array"))
    }
}

/// The least number of every different quotient `size / number`, rounded up, rising, at most `limit`.
fn least(size: u64, limit: u64) -> impl Iterator<Item = u64> {
    let after = move |number: &u64| match size.div_ceil(*number) {
        0 | 1 => None,
        quotient => Some(size.div_ceil(quotient - 1)),
    };
    std::iter::successors(Some(1), after).take_while(move |number| *number <= limit)
}

impl Kind for RowStationary {
    fn block(&self) -> [u32; 2] {
        self.block_of()
    }
    fn load(&self, tile: &Tile) -> u64 {
        let words = u64::from(self.rows) * u64::from(self.cols);
        tile.blocks(self.block_of()) * words.div_ceil(self.words_per_cycle.into())
    }
    /// A product is a convolution of 1x1: a column of elements adds up terms of one output.
    fn compute(&self, tile: &Tile, row_cycles: u32) -> ArrayCost {
        let occupied = tile.passes(self.block_of()) * tile.tm * u64::from(row_cycles);
        ArrayCost { occupied: occupied.max(1), latency: self.rows.into() }
    }
    fn law(&self, machine: &Machine, layers: &[Layer]) -> Result<Option<LayerCost>> {
        let cost = |layer: &Layer| {
            let counts = self.best(machine, layer)?;
            let cycles = self.cycles(&counts).round() as u64;
            Ok(LayerCost { cycles, compute_cycles: counts.cycles, ..LayerCost::default() })
        };
        LayerCost::in_turn(layers, cost).map(Some)
    }
    fn assumptions(&self) -> Vec<(String, String)> {
        vec![("Overhead of a processing pass in the layer law".to_owned(), format!("{} cycles", self.pass_cycles))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::load;

    /// AlexNet's third layer, four images.
    fn conv3() -> Layer {
        let (kernel, stride, pad) = ([3; 2], [1; 2], [1; 2]);
        let shape = Shape::Conv { height: 13, width: 13, channels: 256, outputs: 384, kernel, stride, pad, groups: 1 };
        Layer { shape, batch: 4, weight_bits: 16, input_bits: 16, residual: false, pooled: None, unrolled: false }
    }

    #[test]
    fn a_pass_is_p_kernels_of_q_channels_along_a_row() {
        let machine = load("eyeriss").unwrap();
        let eyeriss = RowStationary::of(machine.array.as_ref().unwrap()).unwrap();
        let map = Mapping { m: 64, n: 4, e: 13, p: 16, q: 4, r: 1, t: 4 };
        let counts = eyeriss.counts(&machine, &conv3(), &map).unwrap();
        assert_eq!((counts.passes, counts.elements, counts.macs), (6 * 64, 156, 598_081_536));
        assert_eq!(counts.cycles, 6 * 64 * 4 * (16 * 4 * 3 * 13));
        let unheld = Mapping { q: 5, ..map };
        assert!(eyeriss.counts(&machine, &conv3(), &unheld).unwrap_err().message().contains("q: 5"));
    }

    #[test]
    fn the_search_leaves_out_no_better_mapping_and_ends_on_any_array() {
        let machine = load("eyeriss").unwrap();
        let eyeriss = RowStationary::of(machine.array.as_ref().unwrap()).unwrap();
        for text in ["7x7x20-30/3", "9x9x10-7/5/2", "5x40x33"] {
            let layer = Layer::parse(text).unwrap();
            let mut best = (f64::MAX, u64::MAX);
            let (e, pads, sets) = (letters(&layer).unwrap().out, 1..=24, 168);
            for (e, p, q) in (1..=e).flat_map(|e| pads.clone().flat_map(move |p| (1..=12).map(move |q| (e, p, q)))) {
                for (t, r) in (1..=sets).flat_map(|t| (1..=sets / t).map(move |r| (t, r))) {
                    let map = Mapping { m: p * t, n: 1, e, p, q, r, t };
                    if let Ok(counts) = eyeriss.counts(&machine, &layer, &map) {
                        let cost = (eyeriss.cycles(&counts), counts.buffer_words);
                        best = if cost < best { cost } else { best };
                    }
                }
            }
            let found = eyeriss.best(&machine, &layer).unwrap();
            assert_eq!((eyeriss.cycles(&found), found.buffer_words), best, "{text}");
        }
        let wide = [("array.rows".to_owned(), "65536".to_owned())];
        let wide = crate::machine::load_with("eyeriss", &wide).unwrap();
        let layer = Layer::parse("13x13x96-96/3").unwrap();
        let cost = wide.array.as_ref().unwrap().law(&wide, &[layer]).unwrap().unwrap();
        assert!(cost.compute_cycles > 0);
    }

    #[test]
    fn the_law_finds_a_mapping_that_keeps_the_elements_busy() {
        let machine = load("eyeriss").unwrap();
        let array = machine.array.as_ref().unwrap();
        let cost = array.law(&machine, &[conv3()]).unwrap().unwrap();
        let least = conv3().macs() / 168;
        assert!((least..least * 5 / 4).contains(&cost.compute_cycles), "{} of {least}", cost.compute_cycles);
    }
}
