//! Scales that are quantised themselves: the double quantisation of NF4 (Dettmers et al., QLoRA, arXiv:2305.14314,
//! section 3; definition as in bitsandbytes): the mean is taken off, and the rest goes in blocks of 256 to 8-bit codes of
//! the dynamic map with an f32 absmax each.

use super::{finite, largest};
use crate::diag::{Error, Result};
use crate::num::func;

/// Scales that share an absmax.
pub const BLOCK: usize = 256;

/// Quantised scales.
#[derive(Debug, Clone, PartialEq)]
pub struct DoubleScales {
    /// Code of every scale into [`dynamic_map`].
    pub codes: Vec<u8>,
    /// Largest magnitude of every block of 256 scales less the offset.
    pub absmax: Vec<f32>,
    /// Mean of the scales.
    pub offset: f32,
}

impl DoubleScales {
    /// Quantises `scales`: offset = RN32(sum in f64 / n); d = fl(scale - offset); code of the value of the map nearest to
    /// fl(d / absmax of its block), a tie to the lower; a block of zeros has absmax 0 and the code of 0.
    ///
    /// # Errors
    /// BadInput for NaN or infinite scales, or differences beyond f32.
    pub fn fit(scales: &[f32]) -> Result<DoubleScales> {
        finite(scales)?;
        let sum = scales.iter().fold(0.0, |sum, s| sum + f64::from(*s));
        let offset = if scales.is_empty() { 0.0 } else { func::round_f64(sum / scales.len() as f64) };
        let map = dynamic_map();
        let mut out = DoubleScales { codes: Vec::with_capacity(scales.len()), absmax: Vec::new(), offset };
        for block in scales.chunks(BLOCK) {
            let rest: Vec<f32> = block.iter().map(|s| s - offset).collect();
            let top = largest(&rest);
            if top.is_infinite() {
                return Err(Error::bad_input("scales differ from their mean by more than f32 holds"));
            }
            out.absmax.push(top);
            out.codes.extend(rest.iter().map(|d| nearest(&map, if top == 0.0 { 0.0 } else { d / top })));
        }
        Ok(out)
    }

    /// The scales that a reader gets back: fl(fl(map\[code\] * absmax) + offset). A scale far below the mean may come back
    /// as a small negative number; it is used as it is.
    pub fn scales(&self) -> Vec<f32> {
        let map = dynamic_map();
        let of = |(code, top): (&u8, &f32)| map[usize::from(*code)] * top + self.offset;
        let tops = self.absmax.iter().flat_map(|top| std::iter::repeat_n(top, BLOCK));
        self.codes.iter().zip(tops).map(of).collect()
    }

    /// Bytes of codes, absmaxes and the offset.
    pub fn bytes(&self) -> usize {
        self.codes.len() + 4 * self.absmax.len() + 4
    }
}

/// The signed dynamic map of 8 bits, ascending (Dettmers, 8-Bit Approximations for Parallelism in Deep Learning,
/// arXiv:1511.04561): for e = 0..6 the middles of 2^e equal parts of [0.1, 1], times 10^(e - 6), and their negatives; 0;
/// and 1. Every value is the f32 nearest to the exact one; the library's own table, computed in f32, may differ from it in
/// the last bit.
pub fn dynamic_map() -> Vec<f32> {
    let mut map = vec![0.0, 1.0];
    for e in 0..7u32 {
        for part in 0..1u64 << e {
            // (0.1 + 0.9 (part + 1/2) / 2^e) 10^(e - 6), as a quotient of integers.
            let above = (1 << (e + 1)) + 18 * part + 9;
            let below = (10 << (e + 1)) * 10u64.pow(6 - e);
            let value = func::round_f64(above as f64 / below as f64);
            map.extend([value, -value]);
        }
    }
    map.sort_by(f32::total_cmp);
    map
}

fn nearest(map: &[f32], x: f32) -> u8 {
    let middle = |pair: &[f32]| (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
    map.windows(2).take_while(|pair| f64::from(x) > middle(pair)).count() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dynamic_map_has_256_values_from_its_definition() {
        let map = dynamic_map();
        assert_eq!(map.len(), 256);
        assert!(map.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((map[127], map[255], map[128]), (0.0, 1.0, 0.55e-6));
        // The 64 values of the last decade: (0.1 + 0.9 (i + 1/2) / 64); the lowest value has no twin of 1.
        assert_eq!((map[254], map[0]), (0.992_968_75, -0.992_968_75));
        assert_eq!((map[191], map[190]), (0.107_031_25, 0.098_593_75));
    }

    #[test]
    fn nf4_with_double_quantisation_takes_4_127_bits() {
        let scales: Vec<f32> = (0..256 * 8).map(|i| 0.02 + (i * 37 % 101) as f32 * 1e-4).collect();
        let double = DoubleScales::fit(&scales).unwrap();
        let elements = scales.len() * 64;
        let bits = 4.0 + 8.0 * (double.bytes() - 4) as f64 / elements as f64;
        assert!((bits - 4.127).abs() < 1e-4, "{bits}");
        // Half of the widest step of the map, 0.9 / 64, of the largest difference.
        let bound = double.absmax.iter().fold(0.0, |a: f32, v| if *v > a { *v } else { a }) * 0.45 / 64.0 * 1.01;
        for (was, is) in scales.iter().zip(double.scales()) {
            assert!((was - is).abs() <= bound, "{was} {is}");
        }
    }

    #[test]
    fn degenerate_input() {
        let none = DoubleScales::fit(&[]).unwrap();
        assert_eq!((none.scales(), none.offset), (vec![], 0.0));
        for alike in [0.0f32, 0.75, 1e38] {
            assert_eq!(DoubleScales::fit(&[alike; 300]).unwrap().scales(), [alike; 300]);
        }
        assert!(DoubleScales::fit(&[f32::NAN]).is_err() && DoubleScales::fit(&[f32::INFINITY]).is_err());
        assert!(DoubleScales::fit(&[f32::MAX, -f32::MAX, -f32::MAX]).is_err());
    }
}
