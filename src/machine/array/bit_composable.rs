//! Units that multiply wide operands whole or several narrow ones at once: floor(max/ib) * floor(max/wb) products a unit,
//! where widths below `min_bits` count as that. `rows` units add up terms, `cols` of them stand beside each other.
//!
//! The layer law is the schedule of BitFusion's simulator (hsharma35/bitfusion, ISCA 2018): batch, rows and columns of the
//! output, input and output channels are tiled by powers of two and their loops ordered in every way; each buffer, half of
//! it used at a time, keeps a tile through all inner loops that fit; the schedule of the fewest cycles is taken, of equal
//! ones that which moves the fewest bits.

use super::{ArrayCost, Keys, Kind, Layer, LayerCost, Row, Shape, Tile};
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::machine::schema::Need::{Default, Required};
use std::sync::Arc;

/// The row of this kind.
pub(super) const ROW: Row = Row {
    name: "bit_composable",
    keys: &[
        ("rows", Required),
        ("cols", Required),
        ("max_bits", Default("8")),
        ("min_bits", Default("2")),
        ("weight_buffer", Required),
        ("input_buffer", Required),
        ("output_buffer", Required),
    ],
    read,
};

/// Bits of a sum.
const SUM_BITS: u64 = 32;

/// A bit-composable array.
#[derive(Debug)]
struct BitComposable {
    rows: u32,
    cols: u32,
    max_bits: u32,
    min_bits: u32,
    /// Bits of half a buffer: weights, inputs, sums.
    halves: [u64; 3],
}

fn read(keys: &Keys<'_>) -> Result<Arc<dyn Kind>> {
    let half = |name| -> Result<u64> { Ok(u64::from(keys.count(name)?) * 8 / 2) };
    let (max_bits, min_bits) = (keys.count("max_bits")?, keys.count("min_bits")?);
    if min_bits > max_bits {
        return Err(Error::bad_input(format!(
            "`array.min_bits` is {min_bits}, more than `array.max_bits`, {max_bits}"
        )));
    }
    Ok(Arc::new(BitComposable {
        rows: keys.count("rows")?,
        cols: keys.count("cols")?,
        max_bits,
        min_bits,
        halves: [half("weight_buffer")?, half("input_buffer")?, half("output_buffer")?],
    }))
}

/// A convolution as the schedule takes it: square images, square kernels.
#[derive(Clone, Copy)]
struct Problem {
    kernel: u64,
    out: u64,
    stride: u64,
    /// Extents of the loops: batch, rows, columns, input channels, output channels.
    extents: [u64; 5],
    weight_bits: u64,
    input_bits: u64,
    /// Windows were laid out as rows: channels of one are fetched and multiplied together.
    unrolled: bool,
    /// Terms of an output a cycle, and outputs.
    terms: u64,
    cols: u64,
    /// Bits and the cycles that DRAM moves them in.
    rate: [u128; 2],
}

/// Which of the loops change a tile of weights, inputs, sums.
const MOVES: [[bool; 5]; 3] =
    [[false, false, false, true, true], [true, true, true, true, false], [true, true, true, false, true]];

/// A schedule's cost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    cycles: u64,
    bits: u64,
    compute: u64,
}

impl Problem {
    /// Bits of one tile of weights, inputs, sums, and the cycles of its products.
    fn tile(&self, [batch, rows, cols, inputs, outputs]: [u64; 5]) -> ([u64; 3], u64) {
        let taps = self.kernel * self.kernel;
        let weights = (taps * inputs).next_multiple_of(self.terms) * outputs * self.weight_bits;
        let side = |out: u64| self.kernel + (out - 1) * self.stride;
        let pixels = if self.unrolled { rows * cols * taps } else { side(rows) * side(cols) };
        let moved = pixels * inputs * batch * self.input_bits;
        let sums = rows * cols * outputs.next_multiple_of(self.cols) * batch * SUM_BITS;
        let steps =
            if self.unrolled { (taps * inputs).div_ceil(self.terms) } else { taps * inputs.div_ceil(self.terms) };
        ([weights, moved, sums], batch * rows * cols * outputs.div_ceil(self.cols) * steps)
    }

    /// Cycles of DRAM for so many bits; `u64::MAX` where they are more.
    fn memory(&self, bits: u64) -> u64 {
        let [moved, cycles] = self.rate;
        u64::try_from((u128::from(bits) * cycles).div_ceil(moved)).unwrap_or(u64::MAX)
    }

    /// Cost of a tile, its count along each loop, and an order of the loops from the outermost in.
    fn cost(&self, tile: ([u64; 3], u64), counts: &[u64; 5], order: &[usize], halves: &[u64; 3]) -> Cost {
        let (mut moved, mut held, mut fits) = (tile.0, tile.0, [true; 3]);
        for at in order.iter().rev() {
            for space in 0..3 {
                if fits[space] && !MOVES[space][*at] {
                    continue;
                }
                moved[space] *= counts[*at];
                fits[space] = fits[space] && moved[space] <= halves[space];
                if fits[space] {
                    held[space] = moved[space];
                }
            }
        }
        // Sums are read before and written after: what is held goes in first and out last, the rest beside the products.
        let (first, last) = (held.iter().sum::<u64>(), held[2]);
        let bits = moved.iter().sum::<u64>() + moved[2];
        let compute = counts.iter().product::<u64>() * tile.1;
        let beside = compute.max(self.memory(bits - first - last));
        let cycles = beside.saturating_add(self.memory(first)).saturating_add(self.memory(last));
        Cost { cycles, bits, compute }
    }

    /// The best schedule.
    fn search(&self, halves: &[u64; 3]) -> Option<Cost> {
        let doublings = |extent: u64, from: u64| {
            let steps = extent.div_ceil(from).next_power_of_two().trailing_zeros();
            (0..=steps).map(move |step| extent.min(from << step))
        };
        let [batch, rows, _, inputs, outputs] = self.extents;
        let first = if self.unrolled { 1 } else { self.cols };
        let mut best: Option<Cost> = None;
        for b in doublings(batch, 1) {
            for side in doublings(rows, 1) {
                for ic in doublings(inputs, 1) {
                    for oc in doublings(outputs, first) {
                        let sizes = [b, side, side, ic, oc];
                        let tile = self.tile(sizes);
                        if (0..3).any(|space| tile.0[space] > halves[space]) {
                            continue;
                        }
                        let counts: [u64; 5] = std::array::from_fn(|at| self.extents[at].div_ceil(sizes[at]));
                        if best.is_some_and(|best| counts.iter().product::<u64>() * tile.1 > best.cycles) {
                            continue;
                        }
                        let loops: Vec<usize> = (0..5).filter(|at| counts[*at] > 1).collect();
                        permute(&loops, &mut Vec::new(), &mut |order| {
                            let cost = self.cost(tile, &counts, order, halves);
                            best = Some(best.map_or(cost, |best| best.min(cost)));
                        });
                    }
                }
            }
        }
        best
    }
}

/// Every order of `rest`, after those in `order`.
fn permute(rest: &[usize], order: &mut Vec<usize>, visit: &mut impl FnMut(&[usize])) {
    if rest.is_empty() {
        return visit(order);
    }
    for (at, next) in rest.iter().enumerate() {
        order.push(*next);
        permute(&[&rest[..at], &rest[at + 1..]].concat(), order, visit);
        order.pop();
    }
}

impl BitComposable {
    fn block_of(&self) -> [u32; 2] {
        [self.rows, self.cols]
    }

    /// Products that a unit does at once.
    fn split(&self, weight_bits: u32, input_bits: u32) -> u64 {
        let parts = |bits: u32| u64::from(self.max_bits / bits.clamp(self.min_bits, self.max_bits));
        parts(weight_bits) * parts(input_bits)
    }

    fn problem(&self, machine: &Machine, layer: &Layer) -> Result<Problem> {
        let refuse = |what: &str| Err(Error::unsupported(format!("the layer law of bit_composable speaks of {what}")));
        if layer.weight_bits > self.max_bits || layer.input_bits > self.max_bits {
            return refuse(&format!("operands of at most {} bits", self.max_bits));
        }
        let (kernel, out, stride, batch, inputs, outputs) = match layer.shape {
            Shape::Gemm { m, n, k } => (1, 1, 1, layer.batch * m, k, n),
            Shape::Conv { channels, outputs, kernel, stride, groups: 1, .. } => {
                let [rows, cols] = layer.output();
                if rows != cols || kernel[0] != kernel[1] || stride[0] != stride[1] || rows == 0 {
                    return refuse("square images and kernels");
                }
                (kernel[0], rows, stride[0], layer.batch, channels, outputs)
            }
            Shape::Conv { .. } => return refuse("convolutions without groups"),
        };
        if [kernel, out, stride, batch, inputs, outputs].contains(&0) {
            return refuse("sizes of at least 1");
        }
        let hz = machine.clock_hz.round().max(1.0) as u64;
        let rate = [u128::from(machine.dram.bytes_per_second.max(1)) * 8, u128::from(hz)];
        Ok(Problem {
            kernel,
            out,
            stride,
            extents: [batch, out, out, inputs, outputs],
            weight_bits: layer.weight_bits.into(),
            input_bits: layer.input_bits.into(),
            unrolled: layer.unrolled,
            terms: u64::from(self.rows) * self.split(layer.weight_bits, layer.input_bits),
            cols: self.cols.into(),
            rate,
        })
    }

    fn layer(&self, machine: &Machine, layer: &Layer) -> Result<LayerCost> {
        let problem = self.problem(machine, layer)?;
        let best = problem.search(&self.halves);
        let best = best.ok_or_else(|| {
            let out = problem.out;
            Error::unsupported(format!("no tile of this layer ({out}x{out} outputs) fits the buffers of the array"))
        })?;
        Ok(LayerCost {
            cycles: best.cycles,
            compute_cycles: best.compute,
            dram_cycles: problem.memory(best.bits),
            dram_bytes: best.bits.div_ceil(8),
        })
    }
}

impl Kind for BitComposable {
    fn block(&self) -> [u32; 2] {
        self.block_of()
    }
    /// Every unit has weights of its own, `max_bits` whole or split: a row of units takes its words at once.
    fn load(&self, tile: &Tile) -> u64 {
        let parts = u64::from(self.max_bits / tile.weight_bits.clamp(self.min_bits, self.max_bits));
        (tile.blocks(self.block_of()) * u64::from(self.rows)).div_ceil(parts)
    }
    /// Narrow operands share a unit: several blocks of terms pass at once.
    fn compute(&self, tile: &Tile, row_cycles: u32) -> ArrayCost {
        let split = self.split(tile.weight_bits, tile.input_bits);
        let wide = u32::try_from(u64::from(self.rows) * split).unwrap_or(u32::MAX);
        // A mask leaves out blocks of `rows` terms; only as many as fill a pass save one.
        let alive = Tile { dead: tile.dead / split, ..*tile };
        let occupied = alive.passes([wide, self.cols]) * tile.tm * u64::from(row_cycles);
        ArrayCost { occupied: occupied.max(1), latency: u64::from(self.rows) + u64::from(self.cols) - 2 }
    }
    fn peak(&self, row_cycles: u32, [weight_bits, input_bits]: [u32; 2]) -> f64 {
        let split = self.split(weight_bits, input_bits) as f64;
        f64::from(self.rows) * f64::from(self.cols) * split / f64::from(row_cycles)
    }
    fn law(&self, machine: &Machine, layers: &[Layer]) -> Result<Option<LayerCost>> {
        LayerCost::in_turn(layers, |layer| self.layer(machine, layer)).map(Some)
    }
    fn law_counts_bits(&self) -> bool {
        true
    }
    fn assumptions(&self) -> Vec<(String, String)> {
        let [weights, inputs, sums] = self.halves.map(|bits| bits / 8);
        let halves = format!("{weights} B of weights, {inputs} B of inputs, {sums} B of sums");
        vec![("Half buffers that the layer law tiles for".to_owned(), halves)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::load;

    fn product(n: u64, k: u64, bits: u32) -> Layer {
        let shape = Shape::Gemm { m: 1, n, k };
        Layer { shape, batch: 16, weight_bits: bits, input_bits: bits, residual: false, pooled: None, unrolled: false }
    }

    #[test]
    fn layers_cost_what_the_simulator_says() {
        let machine = load("bitfusion-16x32").unwrap();
        let array = machine.array.as_ref().unwrap();
        let law = |layer| array.law(&machine, &[layer]).unwrap().unwrap();
        // Its rows AlexNet fc3, CIFAR10 fc8 and LeNet-5 fc2 at 16x32 and 192 bit a cycle, of the half to build on.
        let [fc3, fc8, fc2] = [law(product(1000, 8192, 8)), law(product(10, 1024, 2)), law(product(10, 512, 2))];
        assert_eq!([fc3.cycles, fc3.compute_cycles, fc3.dram_bytes * 8], [398_679, 262_144, 72_351_744 + 4_194_304]);
        assert_eq!([fc8.cycles, fc8.compute_cycles, fc8.dram_bytes * 8], [513, 64, 69_632 + 16_384]);
        assert_eq!([fc2.cycles, fc2.compute_cycles, fc2.dram_bytes * 8], [342, 32, 43_008 + 16_384]);
    }

    #[test]
    fn narrow_operands_share_a_unit() {
        let machine = load("bitfusion-16x32").unwrap();
        let array = machine.array.as_ref().unwrap();
        let tile =
            |weight_bits, input_bits| Tile { tm: 10, tn: 64, tk: 512, weight_bits, input_bits, ..Tile::default() };
        let occupied = |w, x| array.compute(&tile(w, x), 1).occupied;
        assert_eq!(
            [occupied(8, 8), occupied(8, 4), occupied(2, 8), occupied(2, 2), occupied(1, 1)],
            [640, 320, 160, 40, 40]
        );
        assert_eq!(machine.peak_macs_per_cycle("int2", "int2"), 512.0 * 16.0);
        let load = |w, x| array.load(&tile(w, x));
        assert_eq!([load(8, 8), load(2, 8)], [64 * 16, 16 * 16]);
    }

    #[test]
    fn a_memory_of_less_than_a_bit_a_cycle_takes_its_time() {
        let cycles = |peak: &str| {
            let sets = [("dram.peak_bytes_per_s".to_owned(), peak.to_owned())];
            let machine = crate::machine::load_with("bitfusion-16x32", &sets).unwrap();
            machine.array.as_ref().unwrap().law(&machine, &[product(1000, 8192, 8)]).unwrap().unwrap().dram_cycles
        };
        assert_eq!(cycles("1e6"), 100 * cycles("1e8"));
        assert!(cycles("7e7") > cycles("1e8"), "rates between whole bits a cycle differ");
    }

    #[test]
    fn layers_outside_the_law_are_refused() {
        let machine = load("bitfusion-16x32").unwrap();
        let array = machine.array.as_ref().unwrap();
        let refused = |layer: Layer| array.law(&machine, &[layer]).unwrap_err().message().to_owned();
        assert!(refused(product(8, 8, 16)).contains("8 bits"));
        assert!(refused(product(0, 8, 8)).contains("N is 0"));
    }
}
