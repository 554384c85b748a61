//! Multipliers and a tree of adders for every output: `atomic_c` terms of `atomic_k` outputs in one cycle.
//!
//! Inputs are broadcast from a convolution buffer, weights wait beside the multipliers. The layer law is the one that the
//! vendor of NVDLA publishes as a spreadsheet (nvdla/hw, perf/NVDLA_OpenSource_Performance.xlsx): the longer of the
//! products' time and the memory's, with weights or inputs fetched again where the convolution buffer is too small, and
//! nothing for switching between layers.

use super::{ArrayCost, Keys, Kind, Layer, LayerCost, Row, Shape, Tile};
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::machine::schema::Need::{Default, Required};
use std::sync::Arc;

/// The row of this kind.
pub(super) const ROW: Row = Row {
    name: "dot_tree",
    keys: &[
        ("atomic_c", Required),
        ("atomic_k", Required),
        ("kernels_per_cycle", Default("1")),
        ("channel_align", Default("1")),
        ("k_align", Default("1")),
        ("winograd", Default("\"off\"")),
    ],
    read,
};

/// Kernels whose weights the law keeps in the buffer while inputs stream.
const RESIDENT_KERNELS: u64 = 32;
/// The law's memory moves units of 1,024 bytes at a rate stated in units of 1,000: bytes x 1000 / 1024.
const BYTES_A_UNIT: [u128; 2] = [1000, 1024];

/// A dot-product tree.
#[derive(Debug)]
struct DotTree {
    atomic_c: u32,
    atomic_k: u32,
    kernels_per_cycle: u32,
    channel_align: u64,
    k_align: u64,
    winograd: bool,
}

fn read(keys: &Keys<'_>) -> Result<Arc<dyn Kind>> {
    Ok(Arc::new(DotTree {
        atomic_c: keys.count("atomic_c")?,
        atomic_k: keys.count("atomic_k")?,
        kernels_per_cycle: keys.count("kernels_per_cycle")?,
        channel_align: keys.count("channel_align")?.into(),
        k_align: keys.count("k_align")?.into(),
        winograd: keys.text("winograd")? == "law",
    }))
}

/// A layer as the spreadsheet sees it: strides folded into channels.
struct Folded {
    /// Channels x rows x columns that the multipliers walk, and outputs.
    channels: u64,
    walked: u64,
    outputs: u64,
    /// Products an input and output channel, over the strides' product; Winograd divides them by 9/4.
    taps: [u64; 2],
    /// Bytes of all inputs, of the least rows that a window needs, of the outputs, and of a kernel.
    inputs: u64,
    rows: u64,
    stored: u64,
    kernel: u64,
    kernels: u64,
}

impl DotTree {
    fn block_of(&self) -> [u32; 2] {
        [self.atomic_c, self.atomic_k]
    }

    fn fold(&self, layer: &Layer) -> Result<Folded> {
        if layer.weight_bits > 8 || layer.input_bits > 8 {
            return Err(Error::unsupported("the layer law of dot_tree speaks of operands of 8 bits"));
        }
        let align = |channels: u64| channels.next_multiple_of(self.channel_align);
        Ok(match layer.shape {
            Shape::Gemm { m, n, k } => {
                let channels = align(k);
                // A lone row is one of a batch that fills the outputs: the sheet does not align it.
                let outputs = if m == 1 { n } else { n.next_multiple_of(self.k_align) };
                let (inputs, stored) = (channels * m, m * align(n));
                Folded {
                    channels,
                    walked: m,
                    outputs,
                    taps: [1, 1],
                    inputs,
                    rows: channels,
                    stored,
                    kernel: channels,
                    kernels: n,
                }
            }
            Shape::Conv { groups, .. } if groups != 1 => {
                return Err(Error::unsupported("the layer law of dot_tree does not speak of groups"));
            }
            Shape::Conv { height, width, channels, outputs, kernel: [r, s], stride: [down, across], pad, .. } => {
                let channels = align(channels * down * across);
                let (high, wide) = (height.div_ceil(down), width.div_ceil(across));
                let walk = |size: u64, taps: u64, pad: u64, step: u64| {
                    (if pad > 0 { size } else { (size + 1).saturating_sub(taps) }).div_ceil(step)
                };
                let fast = self.winograd && [r, s, down, across] == [3, 3, 1, 1];
                let kernel = channels * r.div_ceil(down) * s.div_ceil(across);
                let [out_high, out_wide] = layer.pooled.unwrap_or(layer.output());
                Folded {
                    channels,
                    walked: walk(height, r, pad[0], down) * walk(width, s, pad[1], across),
                    outputs: outputs.next_multiple_of(self.k_align),
                    taps: if fast { [r * s * 4, 9] } else { [r * s, down * across] },
                    inputs: channels * high * wide,
                    rows: channels * r.min(high) * wide,
                    stored: out_high * out_wide * align(outputs),
                    kernel: if fast { kernel * 16 / 9 } else { kernel },
                    kernels: outputs,
                }
            }
        })
    }

    /// Bytes to and from memory: what is smaller stays while the other streams, as often as the buffer makes it.
    fn traffic(folded: &Folded, buffer: u64, residual: bool) -> Result<u128> {
        let Folded { inputs, rows, stored, kernel, .. } = *folded;
        let weights = kernel * folded.kernels;
        let resident = (kernel * RESIDENT_KERNELS).min(buffer / 2);
        let too_small = || Error::unsupported("the convolution buffer does not hold the rows of a window");
        let moved = if inputs < weights {
            let times = if inputs > buffer - resident { inputs.div_ceil(buffer - resident) } else { 1 };
            u128::from(times) * u128::from(weights) + u128::from(inputs)
        } else {
            let free = buffer.checked_sub(rows).filter(|free| *free > 0).ok_or_else(too_small)?;
            let times = if weights > free { weights.div_ceil(free) } else { 1 };
            u128::from(times) * u128::from(inputs) + u128::from(weights)
        };
        Ok(moved + u128::from(stored) * (1 + u128::from(residual)))
    }

    fn layer(&self, machine: &Machine, layer: &Layer) -> Result<LayerCost> {
        let folded = self.fold(layer)?;
        let wide = u128::from;
        let products = wide(folded.channels) * wide(folded.walked) * wide(folded.outputs) * wide(folded.taps[0]);
        let units = wide(self.atomic_c.into()) * wide(self.atomic_k.into()) * wide(folded.taps[1]);
        let bytes = Self::traffic(&folded, machine.own().bytes, layer.residual)?;
        let clock = machine.clock_hz.round() as u128;
        let [numerator, denominator] = BYTES_A_UNIT;
        let memory = (bytes * clock * numerator).div_ceil(wide(machine.dram.bytes_per_second.max(1)) * denominator);
        let batch = wide(layer.batch);
        let whole = |count: u128| {
            let huge = |_| Error::unsupported("the layer law of dot_tree does not reach layers of this size");
            u64::try_from(count * batch).map_err(huge)
        };
        let (compute_cycles, dram_cycles) = (whole(products.div_ceil(units))?, whole(memory)?);
        let cycles = compute_cycles.max(dram_cycles);
        Ok(LayerCost { cycles, compute_cycles, dram_cycles, dram_bytes: whole(bytes)? })
    }
}

impl Kind for DotTree {
    fn block(&self) -> [u32; 2] {
        self.block_of()
    }
    fn load(&self, tile: &Tile) -> u64 {
        tile.blocks(self.block_of()) * u64::from(self.atomic_k.div_ceil(self.kernels_per_cycle))
    }
    /// A row a cycle through every block; the sum leaves a level of the tree a cycle later, and is stored.
    fn compute(&self, tile: &Tile, row_cycles: u32) -> ArrayCost {
        let levels = u64::from(self.atomic_c.next_power_of_two().trailing_zeros());
        let occupied = tile.passes(self.block_of()) * tile.tm * u64::from(row_cycles);
        ArrayCost { occupied: occupied.max(1), latency: levels + 1 }
    }
    fn law(&self, machine: &Machine, layers: &[Layer]) -> Result<Option<LayerCost>> {
        LayerCost::in_turn(layers, |layer| self.layer(machine, layer)).map(Some)
    }
    fn assumptions(&self) -> Vec<(String, String)> {
        let winograd = if self.winograd { "in the layer law only" } else { "not built" };
        vec![
            ("Outputs that the layer law computes together".to_owned(), self.k_align.to_string()),
            ("Winograd's 3x3 convolution".to_owned(), winograd.to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::load;

    fn conv(height: u64, channels: u64, outputs: u64, kernel: u64, stride: u64) -> Layer {
        let shape = Shape::Conv {
            height,
            width: height,
            channels,
            outputs,
            kernel: [kernel; 2],
            stride: [stride; 2],
            pad: [kernel / 2; 2],
            groups: 1,
        };
        Layer { shape, batch: 1, weight_bits: 8, input_bits: 8, residual: false, pooled: None, unrolled: false }
    }

    fn law(layer: Layer) -> LayerCost {
        let sets = [("dram.peak_bytes_per_s".to_owned(), "10e9".to_owned())];
        let machine = crate::machine::load_with("nvdla-2048", &sets).unwrap();
        machine.array.as_ref().unwrap().law(&machine, &[layer]).unwrap().unwrap()
    }

    #[test]
    fn layers_cost_what_the_sheet_says() {
        // Rows 1, 4, 5 and 54 of the sheet's ResNet-50 page at 2048 units, 512 KB and 10 GB/s: cycles of memory, products.
        let first = law(Layer { pooled: Some([56, 56]), ..conv(224, 3, 64, 7, 2) });
        assert_eq!((first.dram_cycles, first.compute_cycles, first.cycles), (40_800, 153_664, 153_664));
        let middle = law(conv(56, 64, 64, 3, 1));
        assert_eq!((middle.dram_cycles, middle.compute_cycles, middle.cycles), (45_600, 50_176, 50_176));
        let added = law(Layer { residual: true, ..conv(56, 64, 256, 1, 1) });
        assert_eq!((added.dram_cycles, added.compute_cycles, added.cycles), (178_000, 25_088, 178_000));
        let last = law(Layer { shape: Shape::Gemm { m: 1, n: 1000, k: 2048 }, ..conv(1, 1, 1, 1, 1) });
        assert_eq!((last.dram_cycles, last.compute_cycles, last.cycles), (200_299, 1000, 200_299));
    }

    #[test]
    fn a_tile_takes_a_row_a_cycle_through_every_block_and_never_winograds() {
        let machine = load("nvdla-2048").unwrap();
        let array = machine.array.as_ref().unwrap();
        let tile = Tile { tm: 10, tn: 33, tk: 130, weight_bits: 8, input_bits: 8, ..Tile::default() };
        assert_eq!(array.compute(&tile, 1), ArrayCost { occupied: 10 * 2 * 3, latency: 7 });
        assert_eq!(array.compute(&Tile { block: 32, ..tile }, 1).occupied, 10 * 2 * 5);
        assert_eq!(array.compute(&Tile { dead: 6, ..tile }, 1).occupied, 1);
        assert_eq!(array.load(&tile), 6 * 16);
    }

    #[test]
    fn what_the_sheet_does_not_speak_of_is_refused() {
        let machine = load("nvdla-2048").unwrap();
        let array = machine.array.as_ref().unwrap();
        let refused = |layer: Layer| array.law(&machine, &[layer]).unwrap_err().render(false);
        assert!(refused(Layer { weight_bits: 16, ..conv(8, 8, 8, 3, 1) }).contains("8 bits"));
        let Shape::Conv { height, width, channels, outputs, kernel, stride, pad, .. } = conv(8, 8, 8, 3, 1).shape
        else {
            panic!()
        };
        let shape = Shape::Conv { height, width, channels, outputs, kernel, stride, pad, groups: 2 };
        assert!(refused(Layer { shape, ..conv(8, 8, 8, 3, 1) }).contains("groups"));
    }
}
