//! A layer as published laws of whole layers take it: its sizes, and nothing of a program.

use crate::diag::{Error, Result};

/// Largest product of the sizes of a layer that laws are asked for.
const LARGEST: f64 = (1u64 << 48) as f64;

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `[m,k] x [n,k]`.
    Gemm {
        /// Rows of inputs.
        m: u64,
        /// Outputs.
        n: u64,
        /// Terms.
        k: u64,
    },
    /// A convolution over an image.
    Conv {
        /// Rows of the input image.
        height: u64,
        /// Its columns.
        width: u64,
        /// Input channels, of all groups.
        channels: u64,
        /// Output channels, of all groups.
        outputs: u64,
        /// Rows and columns of the kernel.
        kernel: [u64; 2],
        /// Steps down and across.
        stride: [u64; 2],
        /// Rows added above and below each, columns left and right each.
        pad: [u64; 2],
        /// Groups.
        groups: u64,
    },
}

/// A layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// What it computes.
    pub shape: Shape,
    /// Images, or products that share the weights.
    pub batch: u64,
    /// Bits of a weight.
    pub weight_bits: u32,
    /// Bits of an input.
    pub input_bits: u32,
    /// Adds the result of another layer, element by element.
    pub residual: bool,
    /// Rows and columns of the output as they are stored, where a pooling is fused to the layer.
    pub pooled: Option<[u64; 2]>,
    /// The host lays the windows out as rows (im2col) before the machine sees them.
    pub unrolled: bool,
}

impl Layer {
    /// A layer from text: `WxHxC-N/K/S/P` is a convolution over an image of W columns, H rows and C channels to N outputs
    /// with a kernel of K x K, steps of S (1 if left out) and P pixels of padding (half the kernel if left out);
    /// `MxNxK` is a product. Operands of 8 bits, one image.
    ///
    /// # Errors
    /// Usage if the text is neither.
    pub fn parse(text: &str) -> Result<Layer> {
        let odd = || {
            Error::usage(format!("`{text}` is not a layer"))
                .help("write WxHxC-N/K/S/P for a convolution, such as 56x56x64-256/3, or MxNxK for a product")
        };
        let numbers = |text: &str, by: char| -> Result<Vec<u64>> {
            let number = |part: &str| part.parse::<u32>().map(u64::from).map_err(|_| odd());
            text.split(by).map(number).collect()
        };
        let shape = match text.split_once('-') {
            None => match numbers(text, 'x')?[..] {
                [m, n, k] => Shape::Gemm { m, n, k },
                _ => return Err(odd()),
            },
            Some((image, rest)) => {
                let ([width, height, channels], [outputs, side, more @ ..]) =
                    (&numbers(image, 'x')?[..], &numbers(rest, '/')?[..])
                else {
                    return Err(odd());
                };
                let (step, pad) = match more {
                    [] => (1, side / 2),
                    [step] => (*step, side / 2),
                    [step, pad] => (*step, *pad),
                    _ => return Err(odd()),
                };
                let (kernel, stride, pad) = ([*side; 2], [step; 2], [pad; 2]);
                let (height, width, channels, outputs) = (*height, *width, *channels, *outputs);
                Shape::Conv { height, width, channels, outputs, kernel, stride, pad, groups: 1 }
            }
        };
        let layer =
            Layer { shape, batch: 1, weight_bits: 8, input_bits: 8, residual: false, pooled: None, unrolled: false };
        layer.whole().map_err(|why| Error::usage(format!("`{text}` is not a layer: {}", why.message())))?;
        Ok(layer)
    }
    /// Refuses a layer that computes nothing: an extent of 0, or a kernel larger than its padded image.
    fn whole(&self) -> Result<()> {
        let extents: Vec<(&str, u64)> = match self.shape {
            Shape::Gemm { m, n, k } => vec![("M", m), ("N", n), ("K", k)],
            Shape::Conv {
                height, width, channels, outputs, kernel: [r, s], stride: [down, across], groups, ..
            } => {
                let image = [("W (columns)", width), ("H (rows)", height), ("C (channels)", channels)];
                let kernel = [("N (outputs)", outputs), ("K (kernel)", r.min(s)), ("S (step)", down.min(across))];
                [&image[..], &kernel[..], &[("groups", groups)]].concat()
            }
        };
        if let Some((name, _)) = extents.iter().chain(&[("batch", self.batch)]).find(|(_, extent)| *extent == 0) {
            return Err(Error::usage(format!("its {name} is 0, and all sizes but the padding are 1 or more")));
        }
        if self.output().contains(&0) {
            return Err(Error::usage("its kernel is larger than its image with the padding"));
        }
        Ok(())
    }
    /// Refuses layers of no size, and sizes whose costs a law could not count in 64 bits.
    pub(super) fn bounded(&self) -> Result<()> {
        self.whole()?;
        let sizes = match self.shape {
            Shape::Gemm { m, n, k } => vec![m, n, k],
            Shape::Conv { height, width, channels, outputs, kernel: [r, s], stride: [down, across], pad, .. } => {
                vec![height + 2 * pad[0], width + 2 * pad[1], channels, outputs, r + down, s + across]
            }
        };
        let product = sizes.iter().fold(self.batch as f64, |product, size| product * *size as f64);
        if product <= LARGEST {
            return Ok(());
        }
        Err(Error::unsupported("this layer is too large for a law of whole layers"))
    }
    /// Rows and columns of the output: `[m, n]` of a product; 0 where the kernel is larger than the padded image.
    pub fn output(&self) -> [u64; 2] {
        match self.shape {
            Shape::Gemm { m, n, .. } => [m, n],
            Shape::Conv { height, width, kernel, stride, pad, .. } => {
                let along = |size: u64, at: usize| {
                    let padded = size + 2 * pad[at];
                    if padded < kernel[at] { 0 } else { (padded - kernel[at]) / stride[at].max(1) + 1 }
                };
                [along(height, 0), along(width, 1)]
            }
        }
    }
    /// Multiply-accumulates of the whole batch.
    pub fn macs(&self) -> u64 {
        let [rows, cols] = self.output();
        self.batch
            * match self.shape {
                Shape::Gemm { m, n, k } => m * n * k,
                Shape::Conv { channels, outputs, kernel, groups, .. } => {
                    rows * cols * outputs * (channels / groups.max(1)) * kernel[0] * kernel[1]
                }
            }
    }
}

/// What a law says of a layer, in cycles of the core clock.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LayerCost {
    /// All of it.
    pub cycles: u64,
    /// The array alone.
    pub compute_cycles: u64,
    /// DRAM alone.
    pub dram_cycles: u64,
    /// Bytes to and from DRAM.
    pub dram_bytes: u64,
}

impl LayerCost {
    /// One layer after the other, each at its `cost`.
    ///
    /// # Errors
    /// The first that `cost` gives.
    pub fn in_turn(layers: &[Layer], cost: impl Fn(&Layer) -> Result<LayerCost>) -> Result<LayerCost> {
        let huge = || Error::unsupported("the cycles or bytes of these layers do not fit 64 bits");
        layers.iter().try_fold(LayerCost::default(), |sum, layer| sum.plus(&cost(layer)?).ok_or_else(huge))
    }
    /// The sum; `None` where a figure is past what is counted, or stands at that end already.
    fn plus(&self, next: &LayerCost) -> Option<LayerCost> {
        let add = |a: u64, b: u64| a.checked_add(b).filter(|sum| *sum < u64::MAX);
        Some(LayerCost {
            cycles: add(self.cycles, next.cycles)?,
            compute_cycles: add(self.compute_cycles, next.compute_cycles)?,
            dram_cycles: add(self.dram_cycles, next.dram_cycles)?,
            dram_bytes: add(self.dram_bytes, next.dram_bytes)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_from_text() {
        let conv = Layer::parse("56x28x64-256/3/2").unwrap();
        let Shape::Conv { height, width, channels, outputs, kernel, stride, pad, groups } = conv.shape else {
            panic!()
        };
        assert_eq!((width, height, channels, outputs, groups), (56, 28, 64, 256, 1));
        assert_eq!((kernel, stride, pad), ([3; 2], [2; 2], [1; 2]));
        assert_eq!(Layer::parse("3x5x7").unwrap().shape, Shape::Gemm { m: 3, n: 5, k: 7 });
        for odd in ["", "3x5", "8x8x3-4", "8x8-3/3", "8x8x3-4/3/1/1/1", "8x8x-4/3", "axbxc", "8x8x3-99999999999/3"] {
            assert_eq!(Layer::parse(odd).unwrap_err().kind().exit_code(), 2, "{odd}");
        }
    }

    #[test]
    fn a_layer_of_no_size_is_refused_by_the_name_of_its_extent() {
        let zeros = [
            ("0x1x1", "M is 0"),
            ("1x1x0", "K is 0"),
            ("0x56x64-64/3", "W (columns)"),
            ("56x56x0-64/3", "C (channels)"),
            ("56x56x64-0/3", "N (outputs)"),
            ("56x56x64-64/0/1/1", "K (kernel)"),
            ("56x56x64-64/3/0/1", "S (step)"),
            ("2x2x64-64/5/1/0", "larger than its image"),
        ];
        for (text, name) in zeros {
            let error = Layer::parse(text).unwrap_err();
            assert!(error.message().contains(name), "{text}: {}", error.message());
            assert_eq!(error.kind().exit_code(), 2, "{text}");
        }
        let none = Layer { batch: 0, ..Layer::parse("1x1x1").unwrap() };
        assert!(none.bounded().unwrap_err().message().contains("batch is 0"));
    }

    #[test]
    fn sums_of_costs_never_wrap() {
        let layer = Layer::parse("1x1x1").unwrap();
        let half = LayerCost { cycles: 1 << 63, ..LayerCost::default() };
        assert_eq!(LayerCost::in_turn(&[layer], |_| Ok(half)).unwrap(), half);
        assert!(LayerCost::in_turn(&[layer; 2], |_| Ok(half)).unwrap_err().message().contains("64 bits"));
    }

    #[test]
    fn sizes_of_a_layer() {
        let conv = |height, kernel, stride, pad, groups| Layer {
            shape: Shape::Conv {
                height,
                width: 227,
                channels: 96,
                outputs: 256,
                kernel: [kernel; 2],
                stride: [stride; 2],
                pad: [pad; 2],
                groups,
            },
            batch: 4,
            weight_bits: 8,
            input_bits: 8,
            residual: false,
            pooled: None,
            unrolled: false,
        };
        assert_eq!(conv(227, 11, 4, 0, 1).output(), [55, 55]);
        assert_eq!(conv(5, 11, 4, 0, 1).output()[0], 0);
        assert_eq!(conv(227, 5, 1, 2, 2).macs(), 4 * 227 * 227 * 256 * 48 * 25);
        let gemm = Layer { shape: Shape::Gemm { m: 3, n: 5, k: 7 }, ..conv(1, 1, 1, 0, 1) };
        assert_eq!((gemm.output(), gemm.macs()), ([3, 5], 420));
    }
}
