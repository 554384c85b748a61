//! The two anchor tables that every law of energy starts from, and how a figure is carried between and beyond them.
//!
//! Logic between 45 and 7 nm is interpolated log-linearly between the tables. The polynomials of Stillmaker and Baas serve
//! only outside: from 45 to 7 nm they predict 0.09 where the tables' own ratios are 0.23 to 0.47.

use crate::diag::{Error, Result};

/// One row of the anchor tables, picojoule an operation; `None` where a table has no such row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anchor {
    /// Operation, for example `fp32 add`.
    pub op: &'static str,
    /// At 45 nm and 0.9 V.
    pub pj_45nm: Option<f64>,
    /// At 7 nm.
    pub pj_7nm: Option<f64>,
    /// How far to trust the row.
    pub trust: &'static str,
}

/// Source of the 45 nm column.
pub const HOROWITZ: &str = "M. Horowitz, ISSCC 2014, DOI 10.1109/ISSCC.2014.6757323 (45 nm, 0.9 V)";
/// Source of the 7 nm column.
pub const JOUPPI: &str = "N. Jouppi et al., Ten Lessons From Three Generations, ISCA 2021, Table 2 (7 nm)";

const fn row(op: &'static str, pj_45nm: Option<f64>, pj_7nm: Option<f64>) -> Anchor {
    Anchor { op, pj_45nm, pj_7nm, trust: "recalled" }
}

/// Both tables. SRAM rows are accesses of 64 bits.
pub const ANCHORS: &[Anchor] = &[
    row("int8 add", Some(0.03), Some(0.007)),
    row("int16 add", Some(0.05), None),
    row("int32 add", Some(0.1), Some(0.03)),
    row("bf16 add", None, Some(0.11)),
    row("fp16 add", Some(0.4), Some(0.16)),
    row("fp32 add", Some(0.9), Some(0.38)),
    row("int8 mul", Some(0.2), Some(0.07)),
    row("int32 mul", Some(3.1), Some(1.48)),
    row("bf16 mul", None, Some(0.21)),
    row("fp16 mul", Some(1.1), Some(0.34)),
    row("fp32 mul", Some(3.7), Some(1.31)),
    row("sram 8 KB", Some(10.0), Some(7.5)),
    row("sram 32 KB", Some(20.0), Some(8.5)),
    row("sram 1 MB", Some(100.0), Some(14.0)),
];

/// Both columns of a row of [`ANCHORS`], picojoule at 45 and at 7 nm.
pub(super) fn both(op: &str) -> Option<(f64, f64)> {
    let row = ANCHORS.iter().find(|anchor| anchor.op == op)?;
    Some((row.pj_45nm?, row.pj_7nm?))
}

/// Energy of low-bit logic at 45 nm over 7 nm: the geometric mean of the int8 and int32 rows' ratios that the laws of gates
/// and adder bits are carried by.
pub const LOGIC_RATIO: f64 = 3.09;
/// The same of registers and of leaking area: the geometric mean of all rows.
pub const MEAN_RATIO: f64 = 2.6;

/// Nodes that a law may be asked for, nm.
pub const NODES_NM: [f64; 2] = [3.0, 130.0];

/// Coefficients of Stillmaker and Baas (Integration, 2017), as Accelergy's library ships them (`scaling.py`): energy of a
/// gate at node `nm` and supply V is proportional to a V^2 + b V + c.
pub const STILLMAKER_BAAS: &[(f64, [f64; 3])] = &[
    (130.0, [7.171, -6.709, 2.904]),
    (90.0, [4.762, -4.781, 2.092]),
    (65.0, [3.755, -4.398, 1.975]),
    (45.0, [1.103, -0.362, 0.2767]),
    (32.0, [0.9559, -0.7823, 0.471]),
    (20.0, [0.373, -0.1582, 0.04104]),
    (16.0, [0.2958, -0.1241, 0.03024]),
    (14.0, [0.2363, -0.09675, 0.02239]),
    (10.0, [0.2068, -0.09311, 0.02375]),
    (7.0, [0.1776, -0.09097, 0.02447]),
];

/// A node on the way from one anchor to the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Node {
    /// The node.
    pub nm: f64,
    /// 0 at 45 nm, 1 at 7 nm, held at the ends.
    pub place: f64,
    /// What the nearer anchor's figures are multiplied by outside the anchors; 1 between them.
    pub beyond: f64,
}

impl Node {
    /// The node `nm`.
    ///
    /// # Errors
    /// Bad input outside [`NODES_NM`].
    pub fn new(nm: f64) -> Result<Node> {
        if !(NODES_NM[0]..=NODES_NM[1]).contains(&nm) {
            let [low, high] = NODES_NM;
            let error = Error::bad_input(format!("the laws of energy reach from {low} to {high} nm, not to {nm} nm"));
            return Err(error.help("state the prices of this machine one by one"));
        }
        let place = ((45.0 / nm).ln() / (45.0f64 / 7.0).ln()).clamp(0.0, 1.0);
        let beyond = if nm > 45.0 {
            relative(nm) / relative(45.0)
        } else if nm < 7.0 {
            (nm / 7.0).sqrt()
        } else {
            1.0
        };
        Ok(Node { nm, place, beyond })
    }
    /// Whether the node lies outside the anchors.
    pub fn is_beyond(&self) -> bool {
        self.nm > 45.0 || self.nm < 7.0
    }
    /// A figure known at 45 and at 7 nm: `E45^(1-t) E7^t`, times what lies beyond.
    pub fn between(&self, at_45nm: f64, at_7nm: f64) -> f64 {
        at_45nm.powf(1.0 - self.place) * at_7nm.powf(self.place) * self.beyond
    }
    /// How the node's factor came about, in words.
    pub fn rule(&self) -> String {
        match self.nm {
            nm if nm > 45.0 => format!("x{:.3} from 45 to {nm} nm (Stillmaker and Baas at 0.8 V)", self.beyond),
            nm if nm < 7.0 => format!("x{:.3} from 7 to {nm} nm (square root of the node)", self.beyond),
            nm => format!("log-linear in the node between 45 and 7 nm, at {nm} nm"),
        }
    }
}

/// Stillmaker and Baas at 0.8 V, log-linear between their nodes.
fn relative(nm: f64) -> f64 {
    let at = |(_, [a, b, c]): &(f64, [f64; 3])| a * 0.64 + b * 0.8 + c;
    let above = STILLMAKER_BAAS.iter().rev().find(|row| row.0 >= nm);
    let below = STILLMAKER_BAAS.iter().find(|row| row.0 <= nm);
    match (above, below) {
        (Some(high), Some(low)) if high.0 > low.0 => {
            let t = (high.0 / nm).ln() / (high.0 / low.0).ln();
            at(high).powf(1.0 - t) * at(low).powf(t)
        }
        (Some(row), _) | (_, Some(row)) => at(row),
        (None, None) => 1.0,
    }
}

/// What a supply of `volts` makes of energies stated at `nominal`, and by which rule. The polynomial of the node serves
/// where Stillmaker and Baas have one and both voltages lie on its rising side, from 0.5 V up; else the square.
pub fn voltage_factor(nm: f64, volts: f64, nominal: f64) -> (f64, String) {
    let square = ((volts / nominal).powi(2), "V^2".to_owned());
    let Some((_, [a, b, c])) = STILLMAKER_BAAS.iter().find(|row| row.0 == nm) else { return square };
    let least = (-b / (2.0 * a)).max(0.5);
    if volts < least || nominal < least {
        return square;
    }
    let at = |v: f64| a * v * v + b * v + c;
    (at(volts) / at(nominal), format!("Stillmaker and Baas 2017: {a} V^2 {b:+} V {c:+} at {nm} nm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_met_and_the_outside_is_continuous() {
        let at = |nm: f64| Node::new(nm).unwrap().between(0.9, 0.38);
        assert!((at(45.0) - 0.9).abs() < 1e-12 && (at(7.0) - 0.38).abs() < 1e-12);
        assert!((at(45.001) / at(45.0) - 1.0).abs() < 1e-3 && (at(6.999) / at(7.0) - 1.0).abs() < 1e-3);
        let nodes: Vec<f64> = (30..=1300).map(|nm| at(f64::from(nm) / 10.0)).collect();
        assert!(nodes.windows(2).all(|w| w[1] > w[0]), "energy rises with the node");
        assert_eq!(Node::new(130.0).unwrap().place, 0.0);
        for outside in [2.9, 131.0, f64::NAN, -7.0] {
            assert!(Node::new(outside).unwrap_err().message().contains("3 to 130 nm"));
        }
    }

    #[test]
    fn stillmaker_and_baas_give_the_ratios_that_their_users_print() {
        // Relative energy at 0.8 V against 45 nm.
        for (nm, ratio) in [(130.0, 3.068), (90.0, 1.897), (65.0, 1.241), (32.0, 0.659), (20.0, 0.221), (7.0, 0.094)] {
            assert!((relative(nm) / relative(45.0) - ratio).abs() < 6e-4, "{nm} nm");
        }
    }

    #[test]
    fn half_the_voltage_is_a_quarter_of_the_energy_or_what_the_polynomial_says() {
        assert_eq!(voltage_factor(22.0, 0.4, 0.8), (0.25, "V^2".to_owned()));
        let (factor, rule) = voltage_factor(7.0, 0.6, 0.8);
        let at = |v: f64| 0.1776 * v * v - 0.09097 * v + 0.02447;
        assert!((factor - at(0.6) / at(0.8)).abs() < 1e-12 && rule.starts_with("Stillmaker"));
        // Below the polynomial's range, and where it would rise again.
        assert_eq!(voltage_factor(7.0, 0.4, 0.8).1, "V^2");
        assert_eq!(voltage_factor(65.0, 0.55, 1.2).1, "V^2");
        assert_eq!(voltage_factor(7.0, 0.8, 0.8).0, 1.0);
    }
}
