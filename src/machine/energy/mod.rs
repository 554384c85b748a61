//! Laws of energy: what an operation, an access or a byte costs at a node, from stated formulas and tables.
//!
//! A machine file whose `energy.law` is `anchored` leaves its prices to these laws wherever it states none of its own
//! (`fill.rs`); a price that it states always wins. Every derived price says by which formula it came about, has a low and
//! a high end, and is marked `derived`, or `extrapolated` outside the range that its law was made for. docs/energy.md
//! shows the tables and what each law was checked against.

pub mod anchors;
pub mod bitnet_report;
pub(super) mod fill;
pub mod logic;
pub mod sram;
pub mod supply;

pub use anchors::{LOGIC_RATIO, MEAN_RATIO, Node};

/// Which law gave a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A row of the anchor tables.
    Table,
    /// Integer multiply-accumulates.
    Int,
    /// Low-bit multiply-accumulates by gates and adder bits.
    LowBit,
    /// Floating-point multiply-accumulates.
    Float,
    /// Divisions and special functions.
    Polynomial,
    /// Conversions and copies.
    Convert,
    /// Work on bits, and gating cells.
    Bits,
    /// The entropy decoder.
    Entropy,
    /// Instructions and scalar accesses.
    Fetch,
    /// Registers.
    Register,
    /// Memories.
    Sram,
    /// Leakage of memories.
    SramLeak,
    /// Leakage of logic.
    LogicLeak,
    /// Wires.
    Wire,
}

/// Every rule with its source key in a machine file and its text.
pub const RULES: &[(Rule, &str, &str)] = &[
    (
        Rule::Table,
        "anchored_table",
        "Horowitz, ISSCC 2014, DOI 10.1109/ISSCC.2014.6757323 (45 nm, 0.9 V) and Jouppi et al., ISCA 2021, Table 2 (7 nm), log-linear in the node; low x0.7, high x1.4: the spread of the per-operation node ratios",
    ),
    (
        Rule::Int,
        "anchored_int",
        "3.1 fJ x (bw*bx + bw + bx + 16) at 45 nm, / 3.09 at 7 nm, log-linear: Horowitz's int8 and int32 multipliers and adders; within 3.2 % of BitFusion's synthesized 4, 8 and 16 bit PEs, 29 % high at 2 bit; low x0.7, high x1.4",
    ),
    (
        Rule::LowBit,
        "anchored_lowbit",
        "gates at 1 fJ and adder bits at 3.1 fJ at 45 nm, / 3.09 at 7 nm, log-linear; no discount for zeros; low x0.7, high x1.4",
    ),
    (
        Rule::Float,
        "anchored_float",
        "multiplier 409 + 5.71*m1*m2 fJ at 45 nm, 82 + 2.13*m1*m2 fJ at 7 nm (m: significand bits with the hidden one; fitted on the fp16 and fp32 rows, bf16 held out: +4 %), plus an fp32 add, log-linear; low x0.7, high x1.4",
    ),
    (
        Rule::Polynomial,
        "anchored_polynomial",
        "a division as 4, a special function as 10 fused multiply-adds of fp32; low x0.7, high x1.4",
    ),
    (
        Rule::Convert,
        "anchored_convert",
        "a conversion as one fp32 add, a copy as one int32 add (Horowitz, Jouppi); low x0.7, high x1.4",
    ),
    (
        Rule::Bits,
        "anchored_bits",
        "gates at 1 fJ, adder bits at 3.1 fJ, a register bit as 4 gates at 45 nm, / 3.09 at 7 nm, log-linear; low x0.7, high x1.4",
    ),
    (
        Rule::Entropy,
        "anchored_entropy",
        "a step of the entropy decoder: a 20 x 12 bit multiply-accumulate, four 12 bit compares and a 32 bit shift as an adder of that width, by the integer law; low x0.7, high x1.4",
    ),
    (
        Rule::Fetch,
        "anchored_fetch",
        "an instruction as one 64 bit read of an 8 KB SRAM, a scalar access as one of a 32 KB SRAM (Horowitz 45 nm, Jouppi 7 nm), log-linear in the node; low x0.7, high x1.4",
    ),
    (
        Rule::Register,
        "anchored_register",
        "register 0.009 pJ/bit at 40 nm (Aladdin tables in Accelergy), taken as 45 nm; / 2.6 at 7 nm (geometric mean of Jouppi over Horowitz), log-linear; low x0.7, high x1.4",
    ),
    (
        Rule::Sram,
        "anchored_sram",
        "CACTI 7 (45, 32, 22 nm, 1 RW port, 360 K) by size, width and cell; at 7 nm Jouppi's 64 bit accesses, four times the width at x2.05 (1.4 to 3.0); log-linear in the node; with half the side of the memory as wire unless wire_mm is stated; low: without wire, high: a bank of four times the size",
    ),
    (
        Rule::SramLeak,
        "anchored_sram_leak",
        "CACTI 7, 360 K, uW/KB at 45, 32 and 22 nm: hp 1050, 557, 269; lstp 0.221, 0.265, 0.215; carried to smaller nodes unchanged",
    ),
    (
        Rule::LogicLeak,
        "anchored_logic_leak",
        "22.95 uW and 688 um2 an 8 bit PE at 45 nm (BitFusion synthesis) by count of PEs and area of fp32 lanes (11884 um2: Horowitz), / 2.6 at 7 nm, log-linear",
    ),
    (
        Rule::Wire,
        "anchored_wire",
        "fJ/bit/mm: 100 from 14 nm up (50 to 200; Dally, Turakhia, Han, CACM 2020; Keckler et al. 2011), 60 at 7 nm (50 to 100; Dally, NOCS 2022; Keckler), log-linear between; times the length that the machine states",
    ),
];

impl Rule {
    /// Its source key and text.
    pub fn source(self) -> (&'static str, &'static str) {
        RULES.iter().find(|row| row.0 == self).map_or(("anchored", ""), |row| (row.1, row.2))
    }
}

/// A price that a law gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Low, typical and high picojoule (milliwatt for leakage).
    pub pj: [f64; 3],
    /// The formula with its numbers.
    pub formula: String,
    /// The law.
    pub rule: Rule,
    /// Whether it was asked outside the range that it was made for.
    pub extrapolated: bool,
}

impl Derived {
    /// A price of logic: from 0.7 to 1.4 times the typical one.
    fn logic(pj: f64, formula: String, rule: Rule, node: Node) -> Derived {
        let formula = format!("{formula}; {}", node.rule());
        Derived { pj: [0.7 * pj, pj, 1.4 * pj], formula, rule, extrapolated: node.is_beyond() }
    }
    /// `derived` or `extrapolated`.
    pub fn trust(&self) -> &'static str {
        if self.extrapolated { "extrapolated" } else { "derived" }
    }
}

/// A multiple of the least energy that erasing a bit takes at a temperature, k T ln 2.
pub fn landauer(pj: f64, kelvin: f64) -> f64 {
    const BOLTZMANN_J_PER_K: f64 = 1.380649e-23;
    pj * 1e-12 / (BOLTZMANN_J_PER_K * kelvin * std::f64::consts::LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_stands_millions_of_times_above_the_limit() {
        // An int8 multiply-accumulate at 7 nm (0.07 + 0.03 pJ) is 3.5e7 times k T ln 2 at 300 K, which is 2.87 zJ.
        assert!((landauer(2.87e-9, 300.0) - 1.0).abs() < 1e-3);
        assert!((landauer(0.1, 300.0) / 3.48e7 - 1.0).abs() < 5e-3);
        assert!((landauer(1.0, 360.0) / landauer(1.0, 300.0) - 300.0 / 360.0).abs() < 1e-12);
    }

    #[test]
    fn every_rule_has_one_source() {
        for (i, (rule, key, cite)) in RULES.iter().enumerate() {
            assert!(RULES[..i].iter().all(|other| other.0 != *rule && other.1 != *key) && cite.len() > 40);
            assert_eq!(rule.source(), (*key, *cite));
        }
    }
}
