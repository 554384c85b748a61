//! Which class of dot product a pair of formats belongs to: decided by formats, scales and the policy alone,
//! never by shape, tile or machine (numerics contract, section 3).

use super::codec::{Rounding, decode, encode};
use super::format::{Format, FormatRef, find};
use crate::diag::{Error, Result};

/// The arithmetic of a dot product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DotClass {
    /// S: the sum is exact in integers and rounded once.
    Exact,
    /// P: pair order of 32 with a bf16 carrier (FTZ/DAZ).
    PairBf16,
    /// P: pair order of 32 with an fp16 carrier.
    PairFp16,
    /// C: one ascending FMA chain in f32.
    Chain,
}

impl DotClass {
    /// The name that reports and the assembler use.
    pub fn name(self) -> &'static str {
        match self {
            DotClass::Exact => "exact",
            DotClass::PairBf16 => "pair.bf16",
            DotClass::PairFp16 => "pair.fp16",
            DotClass::Chain => "chain",
        }
    }
}

/// Accumulator option of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Accumulator {
    /// The class that section 3 of the contract gives the pair.
    #[default]
    Exact,
    /// Sums of low-bit pairs kept in f32 as well (class P, carrier bf16).
    F32,
}

impl Accumulator {
    /// Every accumulator, with the name that policies use.
    pub const ALL: [(&'static str, Accumulator); 2] = [("exact", Accumulator::Exact), ("f32", Accumulator::F32)];

    /// The name that policies use.
    pub fn name(self) -> &'static str {
        match self {
            Accumulator::Exact => "exact",
            Accumulator::F32 => "f32",
        }
    }
}

/// Class of `activations x weights` without scales along k. Scales that vary along k (blocks) use the same class
/// inside a block and an f32 FMA chain over blocks (class B2).
///
/// Two exact formats are summed exactly, or in pair order if the accumulator is f32. Any other pair is carried by the
/// narrowest of bf16, fp16, f32 that holds the unscaled codes of both sides exactly.
///
/// # Errors
/// Unsupported, naming the pair, where no class is defined.
pub fn dot_class(activations: FormatRef, weights: FormatRef, accumulator: Accumulator) -> Result<DotClass> {
    let pair = [activations, weights];
    let refuse = |why: &str| {
        let names = format!("{} x {}", activations.name, weights.name);
        Err(Error::unsupported(format!("no dot product is defined for {names}: {why}")))
    };
    let low_bit = pair.iter().all(|f| f.is_exact());
    if low_bit && accumulator == Accumulator::Exact {
        return Ok(DotClass::Exact);
    }
    for (carrier, class) in [("bf16", DotClass::PairBf16), ("fp16", DotClass::PairFp16)] {
        let carrier = find(carrier)?;
        if pair.iter().all(|f| holds(carrier, f)) {
            return Ok(class);
        }
        if low_bit {
            return refuse("an f32 accumulator carries bf16, which does not hold every code of both sides");
        }
    }
    Ok(DotClass::Chain)
}

/// Whether every value of `format` is a value of the 16-bit float `carrier`.
fn holds(carrier: FormatRef, format: &Format) -> bool {
    if format.id == carrier.id {
        return true;
    }
    let survives = |v: u32| decode(carrier, encode(carrier, v, Rounding::TowardZero, false)) == v;
    !format.values.is_empty() && format.values.iter().all(|v| survives(*v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Kind;

    fn class(a: &str, w: &str) -> DotClass {
        dot_class(find(a).unwrap(), find(w).unwrap(), Accumulator::Exact).unwrap()
    }

    #[test]
    fn every_pair_of_the_table_follows_the_carrier_rule() {
        let low = ["fp8e4m3", "fp8e5m2", "fp4e2m1", "int8", "int4", "int2", "ternary", "binary", "triplet"];
        for a in low {
            for w in low {
                assert_eq!(class(a, w), DotClass::Exact, "{a} x {w}");
                let f32_sum = dot_class(find(a).unwrap(), find(w).unwrap(), Accumulator::F32).unwrap();
                assert_eq!(f32_sum, DotClass::PairBf16, "{a} x {w}");
            }
            for (float, wanted) in
                [("bf16", DotClass::PairBf16), ("fp16", DotClass::PairFp16), ("fp32", DotClass::Chain)]
            {
                assert_eq!(class(a, float), wanted, "{a} x {float}");
                assert_eq!(class(float, a), wanted, "{float} x {a}");
            }
        }
        assert_eq!(class("bf16", "bf16"), DotClass::PairBf16);
        assert_eq!(class("fp16", "fp16"), DotClass::PairFp16);
        assert_eq!(class("bf16", "fp16"), DotClass::Chain);
        assert_eq!(class("fp32", "bf16"), DotClass::Chain);
        assert_eq!(class("fp32", "fp32"), DotClass::Chain);
    }

    #[test]
    fn wide_and_real_formats_have_their_own_rules() {
        let head = "schema = \"preon.formats/1\"\n[[format]]\nrule = \"absmax\"\nsaturate = true\ndoc = \"d\"\nsource = \"s\"\n";
        let row = |rest: &str| super::super::format::register("t.toml", &format!("{head}{rest}")).unwrap()[0];
        let int16 = row("name = \"test_int16\"\nbits = 16\nelement = \"int\"\n");
        let bf16 = find("bf16").unwrap();
        assert_eq!(dot_class(int16, int16, Accumulator::Exact).unwrap(), DotClass::Exact);
        assert_eq!(dot_class(int16, bf16, Accumulator::Exact).unwrap(), DotClass::Chain);
        assert_eq!(dot_class(int16, int16, Accumulator::F32).unwrap_err().kind(), Kind::Unsupported);
        let real = row("name = \"test_real\"\nbits = 1\nelement = \"real\"\nvalues = [0.1, -0.3]\n");
        assert_eq!(dot_class(bf16, real, Accumulator::Exact).unwrap(), DotClass::Chain);
        assert_eq!(dot_class(bf16, find("e8m0").unwrap(), Accumulator::Exact).unwrap(), DotClass::PairBf16);
        for real in ["nf4", "log8"] {
            assert_eq!([class(real, "int8"), class("fp16", real), class(real, real)], [DotClass::Chain; 3]);
        }
    }
}
