//! What is in a model's tensors: range, spread, outliers, zeros, and how many bits their codes would be worth.

use super::measure::{code_counts, entropy_bits};
use crate::diag::{Error, Result};
use crate::model::{TensorInfo, Tensors};
use crate::policy::Glob;
use crate::tensor::{Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Schema of [`Inspection`].
pub const INSPECT_SCHEMA: &str = "preon.inspect/1";
/// A value farther than this many standard deviations from the mean is an outlier.
const OUTLIER_SIGMAS: f64 = 6.0;

/// The tensors of a model, looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// [`INSPECT_SCHEMA`].
    pub schema: String,
    /// The model as it was named.
    pub model: String,
    /// One row a tensor, in the order of the model.
    pub tensors: Vec<TensorRow>,
    /// Sums over the rows.
    pub totals: Totals,
}

/// Figures of one tensor. What is not defined (the range of nothing, the spread of one value) is `null`; NaN and
/// infinities are counted and left out of all other figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorRow {
    /// Name.
    pub name: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Element type as stored.
    pub dtype: String,
    /// Number of elements.
    pub elements: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Smallest value.
    pub min: Option<f32>,
    /// Largest value.
    pub max: Option<f32>,
    /// Largest magnitude.
    pub absmax: Option<f32>,
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation.
    pub std: Option<f64>,
    /// Largest magnitude in standard deviations.
    pub absmax_sigmas: Option<f64>,
    /// Share of values more than 6 standard deviations from the mean.
    pub outliers: f64,
    /// Fourth central moment over the squared variance: 3 for a Gaussian.
    pub kurtosis: Option<f64>,
    /// Share of zeros.
    pub zeros: f64,
    /// NaN and infinite values.
    pub not_finite: u64,
    /// Entropy of the codes under ternary (absmean, one scale), bits a weight.
    pub ternary_entropy_bits: Option<f64>,
    /// Entropy of the codes under int8 (absmax, one scale a row), bits a weight.
    pub int8_entropy_bits: Option<f64>,
}

/// Sums over the tensors shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tensors.
    pub tensors: u64,
    /// Elements.
    pub elements: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Zeros.
    pub zeros: u64,
    /// NaN and infinite values.
    pub not_finite: u64,
}

/// Looks at every tensor whose name matches `filter` (all without one), one at a time; `progress` hears of each.
///
/// # Errors
/// BadInput if a tensor cannot be read or no name matches; Unsupported for element types that are not read.
pub fn inspect(tensors: &mut Tensors, filter: Option<&Glob>, progress: &mut dyn FnMut(&str)) -> Result<Inspection> {
    let infos: Vec<TensorInfo> = tensors.list().to_vec();
    let mut out = Inspection {
        schema: INSPECT_SCHEMA.into(),
        model: tensors.spec().into(),
        tensors: Vec::new(),
        totals: Totals::default(),
    };
    for (at, info) in infos.iter().enumerate().filter(|(_, info)| filter.is_none_or(|f| f.matches(&info.name))) {
        progress(&info.name);
        let values = tensors.values(at)?;
        let row = look(info, &values)?;
        let totals = &mut out.totals;
        totals.tensors += 1;
        totals.elements += row.elements;
        totals.bytes += row.bytes;
        totals.zeros += values.iter().filter(|v| **v == 0.0).count() as u64;
        totals.not_finite += row.not_finite;
        out.tensors.push(row);
    }
    if out.tensors.is_empty() {
        let names: Vec<&str> = infos.iter().take(4).map(|info| info.name.as_str()).collect();
        return Err(Error::bad_input("no tensor's name matches the filter")
            .in_file(tensors.spec())
            .help(format!("names are like {}", names.join(", "))));
    }
    Ok(out)
}

fn look(info: &TensorInfo, all: &[f32]) -> Result<TensorRow> {
    let finite: Vec<f32>;
    let not_finite = all.iter().filter(|v| !v.is_finite()).count();
    let values = match not_finite {
        0 => all,
        _ => {
            finite = all.iter().copied().filter(|v| v.is_finite()).collect();
            &finite
        }
    };
    let count = values.len() as f64;
    let range = values.iter().fold(None, |range: Option<(f32, f32)>, v| {
        Some(range.map_or((*v, *v), |(low, high)| (if *v < low { *v } else { low }, if *v > high { *v } else { high })))
    });
    let absmax = range.map(|(low, high)| if -low > high { -low } else { high }.abs());
    let mean = (count > 0.0).then(|| values.iter().fold(0.0, |sum, v| sum + f64::from(*v)) / count);
    let (second, fourth) = values.iter().fold((0.0f64, 0.0f64), |(second, fourth), v| {
        let square = (f64::from(*v) - mean.unwrap_or(0.0)).powi(2);
        (second + square, square.mul_add(square, fourth))
    });
    let std = (count > 1.0).then(|| (second / count).sqrt());
    let spread = std.filter(|std| *std > 0.0);
    let far = |v: &&f32| {
        let distance = (f64::from(**v) - mean.unwrap_or(0.0)).abs();
        spread.is_some_and(|std| distance > OUTLIER_SIGMAS * std)
    };
    let share = |n: usize| if count > 0.0 { n as f64 / count } else { 0.0 };
    let entropy = |ty: &str| -> Result<Option<f64>> {
        if !info.floating || values.is_empty() || not_finite > 0 {
            return Ok(None);
        }
        let tensor = Tensor::quantise(info.shape.clone(), values, TensorType::parse(ty)?)?;
        Ok(Some(entropy_bits(code_counts(&tensor).into_values().collect::<Vec<_>>())))
    };
    Ok(TensorRow {
        name: info.name.clone(),
        shape: info.shape.clone(),
        dtype: info.dtype.clone(),
        elements: info.elements(),
        bytes: info.bytes,
        min: range.map(|(low, _)| low),
        max: range.map(|(_, high)| high),
        absmax,
        mean,
        std,
        absmax_sigmas: absmax.zip(spread).map(|(absmax, std)| f64::from(absmax) / std),
        outliers: share(values.iter().filter(far).count()),
        kurtosis: spread.map(|std| fourth / count / std.powi(4)),
        zeros: share(values.iter().filter(|v| **v == 0.0).count()),
        not_finite: not_finite as u64,
        ternary_entropy_bits: entropy("ternary")?,
        int8_entropy_bits: entropy("int8")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(shape: &[usize]) -> TensorInfo {
        let (name, dtype) = ("t".to_string(), "F32".to_string());
        TensorInfo {
            name,
            dtype,
            shape: shape.to_vec(),
            bytes: 4 * shape.iter().product::<usize>() as u64,
            floating: true,
        }
    }

    #[test]
    fn figures_of_known_values() {
        let row = look(&info(&[2, 2]), &[1.0, -3.0, 0.0, 2.0]).unwrap();
        assert_eq!((row.min, row.max, row.absmax), (Some(-3.0), Some(2.0), Some(3.0)));
        assert_eq!((row.mean, row.std), (Some(0.0), Some(3.5f64.sqrt())));
        assert_eq!((row.zeros, row.outliers, row.not_finite), (0.25, 0.0, 0));
        assert_eq!(row.kurtosis, Some((1.0 + 81.0 + 16.0) / 4.0 / 3.5f64.sqrt().powi(4)));
        // absmean 1.5: codes 1, -1, 0, 1.
        assert_eq!(row.ternary_entropy_bits, Some(1.5));
        assert_eq!(row.int8_entropy_bits, Some(2.0));
    }

    #[test]
    fn an_outlier_is_far_from_the_mean() {
        let mut values = vec![1.0f32; 99];
        values.iter_mut().step_by(2).for_each(|v| *v = -1.0);
        values.push(-50.0);
        let row = look(&info(&[100]), &values).unwrap();
        assert_eq!(row.outliers, 0.01);
        assert!(row.absmax_sigmas.unwrap() > 9.0 && row.kurtosis.unwrap() > 50.0);
    }

    #[test]
    fn what_is_not_defined_is_none() {
        let empty = look(&info(&[0]), &[]).unwrap();
        assert_eq!((empty.min, empty.mean, empty.std, empty.ternary_entropy_bits), (None, None, None, None));
        let one = look(&info(&[1]), &[2.0]).unwrap();
        assert_eq!((one.absmax, one.std, one.kurtosis), (Some(2.0), None, None));
        let bad = look(&info(&[3]), &[1.0, f32::NAN, f32::INFINITY]).unwrap();
        assert_eq!((bad.not_finite, bad.max, bad.int8_entropy_bits), (2, Some(1.0), None));
    }

    #[test]
    fn a_filter_that_matches_nothing_is_an_error() {
        let mut tensors = Tensors::open("builtin:mlp").unwrap();
        let glob = Glob::parse("nothing*").unwrap();
        assert!(inspect(&mut tensors, Some(&glob), &mut |_| {}).is_err());
        let all = inspect(&mut tensors, None, &mut |_| {}).unwrap();
        assert_eq!(all.totals.tensors as usize, tensors.list().len());
        assert_eq!(all.totals.elements, all.tensors.iter().map(|row| row.elements).sum::<u64>());
    }
}
