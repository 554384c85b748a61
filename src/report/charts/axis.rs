//! Scales and ticks: a number to a pixel, linear or logarithmic, with round tick values.

use crate::report::units;

/// A scale from values to pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Axis {
    /// A linear scale over `low..high` (widened to round steps) between pixels `from` and `to`.
    pub fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = step(high - low);
        Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, from, to, log: false }
    }

    /// A logarithmic scale that covers `low..high`, both positive, with a little room at both ends.
    pub fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = if low > 0.0 { low } else { 1e-3 };
        let high = if high > low { high } else { low * 10.0 };
        Axis { low: low / 1.6, high: high * 1.6, from, to, log: true }
    }

    /// The pixel of `value`, held inside the scale.
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Ends of the scale in values.
    pub fn range(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Tick values: round steps, or powers of ten (with 2 and 5 between them on a short logarithmic scale).
    pub fn ticks(&self) -> Vec<f64> {
        let mut out = Vec::new();
        if self.log {
            let decades = (self.high / self.low).log10();
            let within: &[f64] = if decades <= 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let mut power = self.low.log10().floor() as i32;
            while 10f64.powi(power) <= self.high {
                let values = within.iter().map(|m| m * 10f64.powi(power));
                out.extend(values.filter(|v| *v >= self.low && *v <= self.high));
                power += 1;
            }
        } else {
            let step = step(self.high - self.low);
            let count = ((self.high - self.low) / step).round() as usize;
            out.extend((0..=count).map(|i| self.low + step * i as f64));
        }
        out
    }
}

/// A round step that cuts `span` into three to six parts.
fn step(span: f64) -> f64 {
    let raw = span / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw * 0.999).unwrap_or(10.0 * power)
}

/// A tick label: short, without trailing zeros.
pub fn label(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 1000.0 => units::short(value).replace(".00", "").replace(".0", "").replace(' ', ""),
        v if v >= 0.000_999 => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
        _ => format!("{value:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::linear(0.0, 4.4, 0.0, 100.0);
        assert_eq!(axis.ticks(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(axis.at(2.5), 50.0);
        let axis = Axis::log(3.0, 3000.0, 0.0, 300.0);
        assert_eq!(axis.ticks(), [10.0, 100.0, 1000.0]);
        assert!(axis.at(-1.0) == 0.0 && axis.at(1e9) == 300.0);
    }

    #[test]
    fn degenerate_ranges_still_have_a_scale() {
        assert!(Axis::linear(0.0, 0.0, 0.0, 10.0).ticks().len() > 1);
        assert!(!Axis::log(0.0, 0.0, 0.0, 10.0).ticks().is_empty());
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(
            [label(0.0), label(0.25), label(20.0), label(10_000.0), label(2_500_000.0)].join(" "),
            "0 0.25 20 10k 2.50M"
        );
    }
}
