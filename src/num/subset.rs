//! Which format holds all values of another: what lets a datapath of one format serve another.

use super::codec::{Rounding, decode, encode};
use super::format::{Element, Format, FormatRef};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// Whether every finite value of `narrow` is a value of `wide`. +0 and -0 are one value, and NaN and infinities are not
/// asked for: what carries a value in place of another format (a wider datapath, the bf16 or fp16 of a dot product) gives
/// numbers where it had numbers. The carriers bf16 and fp16 have -0, NaN and infinities, so that they keep these as well.
/// Remembered for each pair.
pub fn holds(wide: FormatRef, narrow: FormatRef) -> bool {
    static KNOWN: RwLock<BTreeMap<(u16, u16), bool>> = RwLock::new(BTreeMap::new());
    let pair = (wide.id, narrow.id);
    if let Some(known) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&pair) {
        return *known;
    }
    let answer = wide.id == narrow.id || decide(wide, narrow);
    KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(pair, answer);
    answer
}

/// Formats of 8 bits or fewer value by value; wider ones, which are floats and integers, by their fields.
fn decide(wide: &Format, narrow: &Format) -> bool {
    if !narrow.values.is_empty() {
        let kept = |v: f32| {
            v.is_nan()
                || v.is_infinite()
                || f32::from_bits(decode(wide, encode(wide, v.to_bits(), Rounding::TowardZero, true))) == v
        };
        return narrow.values.iter().all(|v| kept(f32::from_bits(*v)));
    }
    let (significant, quantum, largest) = match narrow.element {
        Element::Float { man, bias, .. } => (man + 1, 1 - bias - man as i32, narrow.max),
        Element::Int => (narrow.bits - 1, 0, 2f32.powi(narrow.bits as i32 - 1)),
        // Sums of squares fill f32.
        Element::Squares => (24, -149, narrow.max),
        Element::Codebook { .. } | Element::Real { .. } => return false,
    };
    match wide.element {
        Element::Float { man, bias, .. } => {
            man + 1 >= significant && 1 - bias - man as i32 <= quantum && wide.max >= largest
        }
        Element::Int => narrow.element == Element::Int && wide.bits >= narrow.bits,
        Element::Codebook { .. } | Element::Real { .. } | Element::Squares => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::DotClass;
    use crate::num::format::{find, formats};

    /// The one meaning: finite values count, and zero is one of them whatever its sign.
    #[test]
    fn signs_of_zero_and_specials_do_not_count() {
        let of = |wide: &str, narrow: &str| holds(find(wide).unwrap(), find(narrow).unwrap());
        let has = |name: &str, bits: u32| find(name).unwrap().values.contains(&bits);
        // -0: fp3e1m1 has it and int4 has not.
        assert!(has("fp3e1m1", 0x8000_0000) && !has("int4", 0x8000_0000) && of("int4", "fp3e1m1"));
        // Infinity: fp8e5m2 has it; NaN: fp8e4m3 has it; log8 could hold neither, tf32 and bf16 hold all.
        assert!(has("fp8e5m2", f32::INFINITY.to_bits()) && of("bf16", "fp8e5m2") && of("fp16", "fp8e5m2"));
        let row = "schema = \"preon.formats/1\"\n[[format]]\nname = \"test_no_specials\"\nbits = 8\nelement = \"float\"\nexp = 5\n\
            man = 2\nbias = 15\nspecials = \"none\"\nrule = \"absmax\"\nsaturate = true\ndoc = \"d\"\nsource = \"s\"\n";
        let plain = crate::num::format::register("t.toml", row).unwrap()[0];
        let e5m2 = find("fp8e5m2").unwrap();
        assert!(!plain.values.iter().any(|v| f32::from_bits(*v).is_infinite()) && plain.max > e5m2.max);
        assert!(holds(plain, e5m2) && !holds(e5m2, plain));
        // The class of a dot product asks the same: every carrier holds what the pair has.
        for narrow in formats() {
            for carrier in ["bf16", "fp16"].map(|name| find(name).unwrap()) {
                let class = crate::num::dot_class(carrier, narrow, crate::num::Accumulator::Exact).unwrap();
                let carried = class == if carrier.name == "bf16" { DotClass::PairBf16 } else { DotClass::PairFp16 };
                assert_eq!(carried, holds(carrier, narrow), "{} {}", carrier.name, narrow.name);
            }
        }
    }

    #[test]
    fn values_decide_not_names() {
        let of = |wide: &str, narrow: &str| holds(find(wide).unwrap(), find(narrow).unwrap());
        for (wide, narrow) in [
            ("fp8e4m3", "fp6e2m3"),
            ("fp8e4m3", "fp4e2m1"),
            ("int8", "fp3e1m1"),
            ("int8", "triplet"),
            ("int4", "fp2sparse"),
            ("ternary", "fp1mask"),
            ("ternary", "binary"),
            ("bf16", "int8"),
            ("bf16", "e8m0"),
            ("fp16", "fp8e5m2fnuz"),
            ("tf32", "bf16"),
            ("tf32", "fp16"),
            ("fp32", "int16"),
        ] {
            assert!(of(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("int8", "fp4e2m1"),
            ("binary", "ternary"),
            ("ternary", "int2"),
            ("bf16", "int16"),
            ("bf16", "nf4"),
            ("bf16", "fp16"),
            ("fp16", "bf16"),
            ("tf32", "fp32"),
            ("fp8e4m3", "fp8e4m3fnuz"),
            ("int16", "bf16"),
        ] {
            assert!(!of(wide, narrow), "{wide} {narrow}");
        }
        assert!(formats().iter().all(|narrow| holds(find("fp32").unwrap(), narrow)));
    }
}
