//! Voltage and frequency: which clock a supply allows, and what it makes of energies and leakage.
//!
//! A machine states points of volts and hertz; the first is where its clock and its prices hold. At a stated point the clock
//! is the point's; between two, on the straight line; below the lowest (near threshold) by the alpha-power law of Sakurai
//! and Newton, marked as an estimate. DRAM has a supply of its own and is left alone.

use super::anchors::voltage_factor;

/// Velocity saturation index of the alpha-power law (T. Sakurai and A. R. Newton, IEEE JSSC 25(2), 1990).
pub const ALPHA: f64 = 1.3;
/// The law holds this far above the threshold, V.
pub const ABOVE_THRESHOLD: f64 = 0.05;

/// A supply at which the clock is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Supply.
    pub volts: f64,
    /// Clock.
    pub hz: f64,
    /// Key of the source.
    pub source: String,
}

/// How the clock of a supply is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The machine states it.
    Stated,
    /// It lies between two stated points.
    Interpolated,
    /// Below the lowest point, by the alpha-power law.
    Estimated,
}

impl Known {
    /// `stated`, `interpolated` or `estimated`.
    pub fn name(self) -> &'static str {
        match self {
            Known::Stated => "stated",
            Known::Interpolated => "interpolated",
            Known::Estimated => "estimated",
        }
    }
}

/// The supply that a machine runs at, and what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Supply {
    /// Supply.
    pub volts: f64,
    /// The supply at which the machine's clock and prices are stated.
    pub nominal_volts: f64,
    /// Clock.
    pub hz: f64,
    /// How the clock is known.
    pub known: Known,
    /// Key of the source of the nearest point.
    pub source: String,
    /// What prices of logic and SRAM are multiplied by.
    pub dynamic: f64,
    /// By which rule.
    pub rule: String,
    /// What the leakage power of logic and SRAM is multiplied by.
    pub leakage: f64,
}

/// The supply `volts` of a machine with these points (the first is the nominal one), threshold, node and temperature.
///
/// # Errors
/// One sentence if the voltage lies above all points, or so low that no clock can be told.
pub fn at(points: &[Point], volts: f64, threshold: Option<f64>, nm: f64, kelvin: f64) -> Result<Supply, String> {
    let nominal = points.first().ok_or("there is no point of volts and hertz")?;
    let mut rising: Vec<&Point> = points.iter().collect();
    rising.sort_by(|a, b| a.volts.total_cmp(&b.volts));
    let (lowest, highest) = (rising[0], rising[rising.len() - 1]);
    let after = rising.iter().position(|point| point.volts >= volts);
    let (hz, known, near) = match after {
        None => return Err(format!("{volts} V lies above {} V, the highest point that is stated", highest.volts)),
        Some(at) if rising[at].volts == volts => (rising[at].hz, Known::Stated, rising[at]),
        Some(0) => (near_threshold(lowest, volts, threshold)?, Known::Estimated, lowest),
        Some(at) => {
            let (low, high) = (rising[at - 1], rising[at]);
            let t = (volts - low.volts) / (high.volts - low.volts);
            (low.hz + t * (high.hz - low.hz), Known::Interpolated, low)
        }
    };
    let (dynamic, rule) = voltage_factor(nm, volts, nominal.volts);
    Ok(Supply {
        volts,
        nominal_volts: nominal.volts,
        hz: hz.round(),
        known,
        source: near.source.clone(),
        dynamic,
        rule,
        leakage: leakage_factor(volts, nominal.volts, kelvin),
    })
}

/// f ~ (V - Vth)^alpha / V.
fn near_threshold(lowest: &Point, volts: f64, threshold: Option<f64>) -> Result<f64, String> {
    let below = format!("{volts} V lies below {} V, the lowest point that is stated", lowest.volts);
    let threshold = threshold.ok_or_else(|| format!("{below}, and no `machine.vth` tells how the clock falls"))?;
    if volts < threshold + ABOVE_THRESHOLD {
        return Err(format!("{below}, and too near the threshold of {threshold} V for an estimate"));
    }
    let speed = |v: f64| (v - threshold).powf(ALPHA) / v;
    Ok(lowest.hz * speed(volts) / speed(lowest.volts))
}

/// Leakage power goes with V exp(0.1 (V - V0) / (1.5 kT/q)): the current falls with the drain's barrier lowering (0.1 V/V) at
/// a subthreshold slope of 1.5 kT/q, textbook values of a planar device.
pub fn leakage_factor(volts: f64, nominal: f64, kelvin: f64) -> f64 {
    const KT_OVER_Q_V_PER_K: f64 = 8.617_333e-5;
    volts / nominal * (0.1 * (volts - nominal) / (1.5 * KT_OVER_Q_V_PER_K * kelvin)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<Point> {
        let point = |volts: f64, hz: f64| Point { volts, hz, source: "s".into() };
        vec![point(0.8, 1e9), point(0.6, 4e8), point(0.9, 1.2e9)]
    }

    #[test]
    fn clocks_are_stated_interpolated_or_estimated() {
        let at = |volts: f64| at(&points(), volts, Some(0.35), 22.0, 300.0);
        let stated = at(0.6).unwrap();
        assert_eq!((stated.hz, stated.known, stated.nominal_volts), (4e8, Known::Stated, 0.8));
        assert!((stated.dynamic - 0.5625).abs() < 1e-12, "V^2 at 22 nm");
        let between = at(0.7).unwrap();
        assert_eq!((between.hz, between.known), (7e8, Known::Interpolated));
        let near = at(0.45).unwrap();
        let law = |v: f64| (v - 0.35f64).powf(1.3) / v;
        assert_eq!((near.hz, near.known), ((4e8 * law(0.45) / law(0.6)).round(), Known::Estimated));
        assert!(near.hz < 4e8 / 2.0 && near.leakage < stated.leakage && stated.leakage < 1.0);
        assert_eq!(at(0.8).unwrap().leakage, 1.0);
        for (volts, part) in [(1.0, "above 0.9 V"), (0.38, "too near the threshold"), (0.1, "too near the threshold")] {
            assert!(at(volts).unwrap_err().contains(part), "{volts}");
        }
        let error = super::at(&points(), 0.5, None, 22.0, 300.0).unwrap_err();
        assert!(error.contains("no `machine.vth`"), "{error}");
    }
}
