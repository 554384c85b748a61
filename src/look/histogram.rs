//! The values of a tensor beside the grid of a format: each value divided by its own scale, so that one picture holds
//! for every row and block.

use crate::diag::{Error, Result};
use crate::num::value;
use crate::tensor::{Tensor, TensorType};

/// Columns of a histogram.
pub const BINS: usize = 144;

/// Counts of scaled values over equal bins, and the levels that they are rounded to.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Name of the tensor.
    pub tensor: String,
    /// The type, for example `int4/row`.
    pub ty: String,
    /// What one unit of the horizontal axis is, in words.
    pub unit: String,
    /// Ends of the first and the last bin.
    pub range: (f64, f64),
    /// Values in each bin; each value is in one.
    pub counts: Vec<u64>,
    /// Levels of the format inside the range, ascending; empty if they are more than 256.
    pub levels: Vec<f64>,
    /// Share of values beyond the largest or smallest level.
    pub clipped: f64,
    /// Signal to quantisation noise, dB.
    pub sqnr_db: Option<f64>,
}

/// The histogram of a weight under `ty`.
///
/// # Errors
/// As [`Tensor::quantise`]; Unsupported for an empty tensor.
pub fn histogram(name: &str, shape: &[usize], values: &[f32], ty: TensorType) -> Result<Histogram> {
    if values.is_empty() {
        return Err(Error::unsupported(format!("`{name}` has no elements to draw")));
    }
    if ty.planes > 1 {
        let text = format!("{ty} has levels of its own in every row, so there is no one grid to draw");
        return Err(Error::unsupported(text));
    }
    let tensor = Tensor::quantise(shape.to_vec(), values, ty)?;
    let (_, cols) = tensor.rows_cols();
    let scaled: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(at, v)| {
            let Some(s) = tensor.scale_index(at / cols, at % cols) else { return f64::from(*v) };
            let scale = f64::from(tensor.scales[s]) * f64::from(tensor.global);
            let offset = tensor.offsets.get(s).map_or(0.0, |offset| f64::from(*offset));
            if scale > 0.0 { (f64::from(*v) - offset) / scale } else { 0.0 }
        })
        .collect();
    let format = ty.format;
    let grid: Vec<f64> = format.sorted.iter().map(|code| f64::from(value(format, *code))).collect();
    let reach = |values: &[f64]| values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
    // Of a cast only the part of the grid where values lie is of interest; of a scaled type, the whole grid.
    let largest = match tensor.scales.is_empty() {
        true => reach(&scaled),
        false => reach(&scaled).max(reach(&grid)),
    };
    let largest = if largest > 0.0 { 1.02 * largest } else { 1.0 };
    let mut counts = vec![0; BINS];
    for v in &scaled {
        let bin = ((v + largest) / (2.0 * largest) * BINS as f64) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    let ends = grid.first().zip(grid.last());
    // A quotient by an absmax scale may round to just beyond the largest level.
    let wider = 1.0 + f64::from(f32::EPSILON);
    let beyond = |v: &&f64| ends.is_some_and(|(low, high)| **v < low * wider || **v > high * wider);
    let unit = match tensor.scales.is_empty() {
        true => "weight".to_string(),
        false => format!("weight over its scale ({})", ty.to_string().split_once('/').map_or("", |(_, s)| s)),
    };
    Ok(Histogram {
        tensor: name.into(),
        ty: ty.to_string(),
        unit,
        range: (-largest, largest),
        counts,
        levels: grid.iter().copied().filter(|v| v.abs() <= largest).collect(),
        clipped: scaled.iter().filter(beyond).count() as f64 / scaled.len() as f64,
        sqnr_db: super::sqnr_db(values, &tensor.to_f32()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once_and_rows_share_the_grid() {
        let ty = TensorType::parse("int4/row").unwrap();
        let h = histogram("w", &[2, 3], &[7.0, -3.5, 0.0, 0.7, 0.1, -0.7], ty).unwrap();
        assert_eq!(h.counts.iter().sum::<u64>(), 6);
        assert_eq!((h.levels.len(), h.levels[0], h.clipped), (16, -8.0, 0.0));
        // 7 and 0.7 are both the largest of their row: the same bin.
        assert!(h.counts.contains(&2), "{:?}", h.counts);
    }

    #[test]
    fn what_lies_beyond_the_grid_is_clipped() {
        let ty = TensorType::parse("ternary").unwrap();
        let h = histogram("w", &[4], &[4.0, 1.0, -1.0, 0.0], ty).unwrap();
        assert_eq!((h.clipped, h.levels), (0.25, vec![-1.0, 0.0, 1.0]));
        assert!(histogram("w", &[0], &[], ty).is_err());
    }
}
