//! How far one vector is from another, and how many bits its codes are worth. Sums in f64, in order.

use crate::tensor::{Tensor, pack};
use std::collections::BTreeMap;

/// Sum of products.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| f64::from(*x).mul_add(f64::from(*y), sum))
}

/// Sum of squared differences.
fn noise(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| {
        let d = f64::from(*x) - f64::from(*y);
        d.mul_add(d, sum)
    })
}

/// Cosine similarity; 0 if either side is zero or not finite.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let value = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    if value.is_finite() { value } else { 0.0 }
}

/// Signal power over noise power in dB; `None` where there is no noise, no signal, or no finite ratio.
pub fn sqnr_db(signal: &[f32], got: &[f32]) -> Option<f64> {
    let db = 10.0 * (dot(signal, signal) / noise(signal, got)).log10();
    (signal.len() == got.len() && db.is_finite()).then_some(db)
}

/// Length of the difference over the length of `signal`; `None` where that is no finite number.
pub fn relative_l2(signal: &[f32], got: &[f32]) -> Option<f64> {
    let ratio = (noise(signal, got) / dot(signal, signal)).sqrt();
    (signal.len() == got.len() && ratio.is_finite()).then_some(ratio)
}

/// How often each code occurs in a packed tensor; the codes of several planes are one code, first plane lowest.
pub fn code_counts(tensor: &Tensor) -> BTreeMap<u32, u64> {
    let (rows, cols) = tensor.rows_cols();
    let format = tensor.ty.format;
    let (planes, bits) = (tensor.ty.planes, format.bits * tensor.ty.planes);
    let bytes = tensor.ty.plane_bytes(cols);
    let mut small = vec![0u64; if bits <= 8 { 1 << bits } else { 0 }];
    let mut large = BTreeMap::new();
    for row in 0..rows {
        let packed = tensor.row(row);
        for col in 0..cols {
            let code = (0..planes).fold(0, |code, plane| {
                code | pack::get(format, &packed[plane as usize * bytes..], col) << (plane * format.bits)
            });
            match small.get_mut(code as usize) {
                Some(count) => *count += 1,
                None => *large.entry(code).or_insert(0) += 1,
            }
        }
    }
    let small = small.into_iter().enumerate().filter(|(_, count)| *count > 0);
    large.extend(small.map(|(code, count)| (code as u32, count)));
    large
}

/// Shannon entropy of codes that occur this often, in bits a code; 0 without codes.
pub fn entropy_bits(counts: impl IntoIterator<Item = u64> + Clone) -> f64 {
    let total = counts.clone().into_iter().sum::<u64>() as f64;
    let bits = counts.into_iter().filter(|count| *count > 0).fold(0.0, |sum, count| {
        let share = count as f64 / total;
        sum - share * share.log2()
    });
    // A single code gives -0.
    bits + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorType;

    #[test]
    fn distances_of_known_vectors() {
        assert_eq!(cosine(&[1.0, 0.0], &[2.0, 0.0]), 1.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(sqnr_db(&[10.0, 0.0], &[9.0, 0.0]), Some(20.0));
        assert_eq!(sqnr_db(&[1.0], &[1.0]), None, "no noise");
        assert_eq!(sqnr_db(&[1.0], &[f32::NAN]), None);
        assert_eq!(relative_l2(&[3.0, 4.0], &[3.0, 3.0]), Some(0.2));
        assert_eq!(relative_l2(&[0.0], &[0.0]), None);
    }

    #[test]
    fn entropy_of_known_counts() {
        assert_eq!(entropy_bits([4, 4]), 1.0);
        assert_eq!(entropy_bits([1, 1, 2]), 1.5);
        assert_eq!((entropy_bits([7]), entropy_bits([])), (0.0, 0.0));
        let ternary = TensorType::parse("ternary").unwrap();
        let tensor = Tensor::quantise(vec![1, 4], &[1.0, -1.0, 0.0, 1.0], ternary).unwrap();
        assert_eq!(code_counts(&tensor).into_iter().collect::<Vec<_>>(), [(0, 1), (1, 2), (2, 1)]);
        let wide = TensorType::parse("fp16").unwrap();
        let tensor = Tensor::quantise(vec![3], &[1.0, 1.0, 2.0], wide).unwrap();
        assert_eq!(code_counts(&tensor).into_iter().collect::<Vec<_>>(), [(0x3c00, 2), (0x4000, 1)]);
    }
}
