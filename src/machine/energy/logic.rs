//! Laws for arithmetic: a multiply-accumulate of any two formats, element-wise work, and the core around it.
//!
//! Integers by the area of their multiplier, low-bit weights by gates and adder bits, floats by their significands. Each law
//! is a formula at 45 nm and one at 7 nm; docs/energy.md says what each was checked against.

use super::anchors::{Node, both};
use super::{Derived, Rule};
use crate::diag::{Error, Result};
use crate::num::format::{Element, FormatRef};

/// A gate at 45 nm, fJ.
pub const GATE_FJ: f64 = 1.0;
/// A bit of an adder, and a partial product of a multiplier, at 45 nm, fJ: Horowitz's int8 and int32 multipliers give 3.13
/// and 3.03 fJ a bit^2, his int16 and int32 adders 3.1 fJ a bit.
pub const ADDER_BIT_FJ: f64 = 3.1;

/// What a multiplier sees of a format.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operand {
    /// -1 and +1.
    Sign,
    /// -1, 0 and +1.
    Trit,
    /// -3, -1, +1 and +3: the sum of three signs.
    Triplet,
    /// A two's complement integer of so many bits.
    Int(f64),
    /// A float of so many significand bits, the hidden one included, in so many bits.
    Float(f64, f64),
}

fn operand(format: FormatRef) -> Option<Operand> {
    match &format.element {
        Element::Int => Some(Operand::Int(f64::from(format.bits))),
        Element::Float { man, exp, .. } => Some(Operand::Float(f64::from(man + 1), f64::from(1 + exp + man))),
        Element::Codebook { levels } => {
            let largest = levels.iter().map(|level| level.unsigned_abs()).max()?;
            let triplet = levels.iter().all(|level| matches!(level, -3 | -1 | 1 | 3));
            Some(match largest {
                1 if levels.contains(&0) => Operand::Trit,
                1 => Operand::Sign,
                3 if triplet => Operand::Triplet,
                _ => Operand::Int(f64::from(u32::BITS - largest.leading_zeros() + 1)),
            })
        }
        Element::Real { .. } | Element::Squares => None,
    }
}

/// One multiply-accumulate of the pair.
///
/// # Errors
/// Unsupported for formats whose values are not small integers or floats (real codebooks, logarithms): there is no law.
pub fn mac(weights: FormatRef, inputs: FormatRef, node: Node) -> Result<Derived> {
    use Operand::{Float, Int, Sign, Triplet, Trit};
    let no_law = || {
        let pair = format!("{}*{}", weights.name, inputs.name);
        Error::unsupported(format!("there is no law for the energy of `{pair}`"))
            .help(format!("state the price `energy.mac.\"{pair}\"`"))
    };
    let (w, x) = (operand(weights).ok_or_else(no_law)?, operand(inputs).ok_or_else(no_law)?);
    Ok(match (w, x) {
        (Sign, Sign) => low_bit(7.0, "an xnor and two adder bits, 7 fJ".into(), node),
        (Sign | Trit, Sign | Trit) => low_bit(8.0, "two gates and two adder bits, 8 fJ".into(), node),
        (Triplet, Sign | Trit) | (Sign | Trit, Triplet) => {
            low_bit(11.0, "two gates and three adder bits, 11 fJ".into(), node)
        }
        (Sign | Trit, Int(b)) | (Int(b), Sign | Trit) => {
            let formula = format!("{b} gates x 1 fJ + {} adder bits x 3.1 fJ", 16.0 + b);
            low_bit(b * GATE_FJ + (16.0 + b) * ADDER_BIT_FJ, formula, node)
        }
        (Sign | Trit, Float(_, bits)) | (Float(_, bits), Sign | Trit) => gated_float(bits, node),
        (Triplet, Float(_, bits)) | (Float(_, bits), Triplet) => gated_float(2.0 * bits, node),
        (Float(m, _), Float(n, _)) | (Float(m, _), Int(n)) | (Int(m), Float(n, _)) => float(m, n, node),
        (Int(_) | Triplet, Int(_) | Triplet) => {
            // A triplet's code is an integer of two bits: its value is twice that, less three.
            let bits = |o: Operand| if let Int(bits) = o { bits } else { 2.0 };
            integer(bits(w), bits(x), node)
        }
    })
}

/// 3.1 fJ x (bw bx + accumulator) at 45 nm.
pub fn integer_fj_45nm(bw: f64, bx: f64, accumulator: f64) -> f64 {
    ADDER_BIT_FJ * (bw * bx + accumulator)
}

fn integer(bw: f64, bx: f64, node: Node) -> Derived {
    let formula = format!("3.1 fJ x ({bw} x {bx} + {})", bw + bx + 16.0);
    let e45 = integer_fj_45nm(bw, bx, bw + bx + 16.0) / 1e3;
    Derived::logic(node.between(e45, e45 / super::LOGIC_RATIO), formula, Rule::Int, node)
}

fn low_bit(fj: f64, formula: String, node: Node) -> Derived {
    Derived::logic(node.between(fj / 1e3, fj / 1e3 / super::LOGIC_RATIO), formula, Rule::LowBit, node)
}

/// An fp32 adder, pJ at 45 and 7 nm.
const FP32_ADD: (f64, f64) = (0.9, 0.38);

/// Multiplier of significands of m and n bits, and an fp32 add.
fn float(m: f64, n: f64, node: Node) -> Derived {
    let (e45, e7) = (0.409 + 0.00571 * m * n + FP32_ADD.0, 0.082 + 0.00213 * m * n + FP32_ADD.1);
    let formula = format!("409 + 5.71 x {m} x {n} fJ at 45 nm, 82 + 2.13 x {m} x {n} fJ at 7 nm, and an fp32 add");
    Derived::logic(node.between(e45, e7), formula, Rule::Float, node)
}

/// So many gates in front of an fp32 add.
fn gated_float(gates: f64, node: Node) -> Derived {
    let fj = gates * GATE_FJ / 1e3;
    let formula = format!("{gates} gates x 1 fJ and an fp32 add");
    Derived::logic(node.between(fj + FP32_ADD.0, fj / super::LOGIC_RATIO + FP32_ADD.1), formula, Rule::Float, node)
}

/// A row of the anchor tables at a node.
fn anchored(op: &str, node: Node) -> f64 {
    both(op).map_or(0.0, |(e45, e7)| node.between(e45, e7))
}

/// One element of a kind of element-wise work; `None` for a kind that does not exist.
pub fn elementwise(kind: &str, node: Node) -> Option<Derived> {
    let (add, mul) = (anchored("fp32 add", node), anchored("fp32 mul", node));
    let table = |pj: f64, formula: &str| Derived::logic(pj, formula.to_owned(), Rule::Table, node);
    let built = |pj: f64, formula: &str, rule: Rule| Derived::logic(pj, formula.to_owned(), rule, node);
    let bits = |fj: f64, formula: &str| Derived { rule: Rule::Bits, ..low_bit(fj, formula.to_owned(), node) };
    Some(match kind {
        "add" => table(add, "an fp32 add: 0.9 pJ at 45 nm, 0.38 pJ at 7 nm"),
        "mul" => table(mul, "an fp32 multiplication: 3.7 pJ at 45 nm, 1.31 pJ at 7 nm"),
        "fma" => table(add + mul, "an fp32 multiplication and an fp32 add"),
        "div" => built(4.0 * (add + mul), "4 fused multiply-adds of fp32", Rule::Polynomial),
        "special" => built(10.0 * (add + mul), "10 fused multiply-adds of fp32", Rule::Polynomial),
        "convert" => built(add, "an fp32 add", Rule::Convert),
        "copy" => built(anchored("int32 add", node), "an int32 add: 0.1 pJ at 45 nm, 0.03 pJ at 7 nm", Rule::Convert),
        "bit" => bits(8.0, "a truth table: 7 multiplexers and a driver, 8 gates"),
        "pop" => bits(ADDER_BIT_FJ, "an adder bit"),
        "lfsr" => bits(112.0 + 16.0 * ADDER_BIT_FJ, "16 register bits of 4 gates, 48 gates, 16 adder bits"),
        "sobol" => bits(192.0 + 34.0 * ADDER_BIT_FJ, "32 register bits of 4 gates, 64 gates, 34 adder bits"),
        "philox" => bits(
            320.0 + (5.0 * 1024.0 + 192.0) * ADDER_BIT_FJ,
            "5 products of 32 x 32 adder bits, 320 gates, 192 adder bits",
        ),
        _ => return None,
    })
}

/// A price of the core that is logic or a small table: `fold`, `issue`, `register`, `decode`, `control`, `gated`.
pub fn core(what: &str, node: Node) -> Option<Derived> {
    let read = |op: &str, kb: u32| {
        let text = format!("a 64 bit read of an {kb} KB SRAM");
        Derived::logic(anchored(op, node), text, Rule::Fetch, node)
    };
    Some(match what {
        "fold" => elementwise("fma", node)?,
        "issue" => read("sram 8 KB", 8),
        "control" => read("sram 32 KB", 32),
        "register" => {
            let pj = node.between(0.072, 0.072 / super::MEAN_RATIO);
            Derived::logic(pj, "0.072 pJ at 45 nm, / 2.6 at 7 nm".to_owned(), Rule::Register, node)
        }
        "decode" => {
            let fj = integer_fj_45nm(20.0, 12.0, 48.0) + 80.0 * ADDER_BIT_FJ;
            let formula = "3.1 fJ x (20 x 12 + 48) + 80 adder bits x 3.1 fJ".to_owned();
            Derived { rule: Rule::Entropy, ..low_bit(fj, formula, node) }
        }
        "gated" => {
            let formula = "a clock-gating cell: 8 gates".to_owned();
            Derived { rule: Rule::Bits, ..low_bit(8.0, formula, node) }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::find;

    /// Dynamic energy of one fixed-precision PE a cycle, 45 nm, 500 MHz: hsharma35/bitfusion at 04ec1c87,
    /// results/systolic_array_synth.csv; accumulators of 2 b + 16 bits.
    const BITFUSION_FJ: [(f64, f64, f64); 4] =
        [(2.0, 57.5, 29.0), (4.0, 120.2, 3.2), (8.0, 297.7, 0.0), (16.0, 947.4, -0.5)];

    #[test]
    fn the_integer_law_meets_synthesis_with_the_errors_that_the_page_states() {
        for (bits, synthesised, percent) in BITFUSION_FJ {
            let law = integer_fj_45nm(bits, bits, 2.0 * bits + 16.0);
            let error = 100.0 * (law / synthesised - 1.0);
            assert!((error - percent).abs() < 0.5, "{bits} bit: {law} fJ against {synthesised}: {error:.2} %");
        }
    }

    #[test]
    fn the_float_law_predicts_the_row_it_was_not_fitted_on() {
        // Fitted on fp16 and fp32; bf16 was held out (7 nm).
        let multiplier = |m: f64| 82.0 + 2.13 * m * m;
        for (m, table) in [(11.0, 340.0), (24.0, 1310.0)] {
            assert!((multiplier(m) / table - 1.0f64).abs() < 0.002, "{m}");
        }
        assert!((multiplier(8.0) / 210.0 - 1.0f64).abs() < 0.042);
    }

    #[test]
    fn pairs_are_symmetric_and_wider_ones_cost_more() {
        let node = Node::new(22.0).unwrap();
        let pj = |w: &str, x: &str| mac(find(w).unwrap(), find(x).unwrap(), node).unwrap().pj[1];
        for (w, x) in [("ternary", "int8"), ("bf16", "int4"), ("triplet", "fp32"), ("binary", "fp16")] {
            assert_eq!(pj(w, x), pj(x, w), "{w}*{x}");
        }
        let rising = ["binary", "ternary", "int2", "int4", "int8", "int16"].map(|w| pj(w, "int8"));
        assert!(rising.windows(2).all(|pair| pair[0] <= pair[1]), "{rising:?}");
        let floats = ["fp4e2m1", "fp8e5m2", "fp8e4m3", "bf16", "fp16", "fp32"].map(|w| pj(w, w));
        assert!(floats.windows(2).all(|pair| pair[0] < pair[1]), "{floats:?}");
        assert_eq!(pj("fp1mask", "int8"), pj("ternary", "int8"), "values decide, not names");
        let error = mac(find("nf4").unwrap(), find("int8").unwrap(), node).unwrap_err();
        assert!(error.to_string().contains("no law for the energy of `nf4*int8`"), "{error}");
    }
}
