//! Which class of dot product a pair of formats belongs to: decided by formats, scales and the policy alone,
//! never by shape, tile or machine (numerics contract, section 3).

use super::format::{FormatRef, find};
use super::subset::holds;
use crate::diag::{Error, Result};

/// The arithmetic of one term of a dot product.
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
    /// Exact products added one by one to a 24-bit integer that saturates.
    Int24s,
    /// Exact sums of 32 products added to a float of 14 significant bits, rounded towards zero.
    Fp22,
}

impl DotClass {
    /// Every class, in the order of their codes in instructions.
    pub const ALL: [DotClass; 6] =
        [DotClass::Exact, DotClass::Chain, DotClass::PairBf16, DotClass::PairFp16, DotClass::Int24s, DotClass::Fp22];

    /// The name that reports and the assembler use.
    pub fn name(self) -> &'static str {
        match self {
            DotClass::Exact => "exact",
            DotClass::PairBf16 => "pair.bf16",
            DotClass::PairFp16 => "pair.fp16",
            DotClass::Chain => "chain",
            DotClass::Int24s => "int24s",
            DotClass::Fp22 => "fp22",
        }
    }
}

/// Accumulator option of a policy (numerics contract, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Accumulator {
    /// The class that section 3 of the contract gives the pair.
    #[default]
    Exact,
    /// Sums of low-bit pairs kept in f32 as well (class P, carrier bf16).
    F32,
    /// As `F32`, summed from zero over chunks of this many k whose sums are then added in order: `f32c(64)`.
    Chunked(u32),
    /// A 24-bit integer that saturates: `int24s`.
    Int24s,
    /// 14 significant bits, as FP8 units of some GPUs keep: `fp22`.
    Fp22,
    /// Analogue sums over `rows` of k, each read by a converter of `bits` with noise of `noise_milli` thousandths of its
    /// step, and added in f32: `adc(8,0.5)` or `adc(8,0.5,256)`.
    Adc {
        /// Bits of the converter.
        bits: u32,
        /// Standard deviation of the noise in thousandths of a step.
        noise_milli: u32,
        /// Products summed before a conversion.
        rows: u32,
    },
}

impl Accumulator {
    /// How accumulators are written, for messages.
    pub const SPELLINGS: &'static str = "exact, f32, f32c(64), int24s, fp22, adc(8,0.5) or adc(8,0.5,128)";

    /// The accumulator that policies write as `text`.
    pub fn parse(text: &str) -> Option<Accumulator> {
        let arguments = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        match text {
            "exact" => return Some(Accumulator::Exact),
            "f32" => return Some(Accumulator::F32),
            "int24s" => return Some(Accumulator::Int24s),
            "fp22" => return Some(Accumulator::Fp22),
            _ => {}
        }
        if let Some(chunk) = arguments("f32c") {
            let chunk: u32 = chunk.trim().parse().ok()?;
            return (chunk.is_power_of_two() && (32..=1 << 20).contains(&chunk)).then_some(Accumulator::Chunked(chunk));
        }
        let parts: Vec<&str> = arguments("adc")?.split(',').map(str::trim).collect();
        let (bits, noise, rows) = match parts[..] {
            [bits, noise] => (bits, noise, "128"),
            [bits, noise, rows] => (bits, noise, rows),
            _ => return None,
        };
        let noise: f64 = noise.parse().ok().filter(|n| (0.0..=100.0).contains(n))?;
        let (bits, rows): (u32, u32) = (bits.parse().ok()?, rows.parse().ok()?);
        let fits = (1..=16).contains(&bits) && rows.is_power_of_two() && (32..=1 << 16).contains(&rows);
        fits.then_some(Accumulator::Adc { bits, noise_milli: (noise * 1000.0).round_ties_even() as u32, rows })
    }

    /// The name that policies use.
    pub fn name(self) -> String {
        match self {
            Accumulator::Exact => "exact".into(),
            Accumulator::F32 => "f32".into(),
            Accumulator::Chunked(chunk) => format!("f32c({chunk})"),
            Accumulator::Int24s => "int24s".into(),
            Accumulator::Fp22 => "fp22".into(),
            Accumulator::Adc { bits, noise_milli, rows } => {
                format!("adc({bits},{},{rows})", f64::from(noise_milli) / 1000.0)
            }
        }
    }

    /// Elements of k after which a sum ends and is added to a running f32 total, if the accumulator has such chunks.
    pub fn chunk(self) -> Option<u32> {
        match self {
            Accumulator::Chunked(chunk) => Some(chunk),
            Accumulator::Adc { rows, .. } => Some(rows),
            _ => None,
        }
    }
}

/// Class of a term of `activations x weights`: of a run along k over which no scale changes.
///
/// Two exact formats are summed exactly, or in pair order if the accumulator is f32. Any other pair is carried by the
/// narrowest of bf16, fp16, f32 that holds the unscaled codes of both sides exactly. Accumulators of a given width count
/// exact products, so both formats must be exact.
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
    let span = activations.span + weights.span;
    match accumulator {
        Accumulator::Exact if low_bit => return Ok(DotClass::Exact),
        Accumulator::Exact | Accumulator::F32 | Accumulator::Chunked(_) => {}
        Accumulator::Int24s | Accumulator::Fp22 | Accumulator::Adc { .. } if !low_bit => {
            return refuse(&format!("the accumulator {} counts products of integer levels", accumulator.name()));
        }
        Accumulator::Int24s if span > 22 => {
            return refuse("one product leaves 23 bits, so a saturating 24-bit accumulator means nothing");
        }
        Accumulator::Int24s => return Ok(DotClass::Int24s),
        Accumulator::Fp22 if span > 47 => {
            return refuse("sums of 32 products leave 52 bits, so the accumulator fp22 is not defined");
        }
        Accumulator::Fp22 => return Ok(DotClass::Fp22),
        Accumulator::Adc { .. } if span > 47 => return refuse("one product leaves 47 bits, so it has no analogue sum"),
        Accumulator::Adc { .. } => return Ok(DotClass::Exact),
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
        assert_eq!(dot_class(real, real, Accumulator::F32).unwrap(), DotClass::Chain);
        for (accumulator, why) in [(Accumulator::Int24s, "counts products"), (Accumulator::Fp22, "counts products")] {
            let error = dot_class(bf16, real, accumulator).unwrap_err();
            assert!(error.message().contains("bf16 x test_real") && error.message().contains(why), "{error}");
        }
    }

    #[test]
    fn accumulators_read_what_they_write() {
        for text in ["exact", "f32", "f32c(64)", "int24s", "fp22", "adc(8,0.5,128)", "adc(6,0,256)"] {
            assert_eq!(Accumulator::parse(text).unwrap().name(), text);
        }
        assert_eq!(Accumulator::parse("adc(8,0.5)"), Accumulator::parse("adc(8, 0.5, 128)"));
        for text in
            ["", "f16", "f32c(48)", "f32c(16)", "adc(8)", "adc(99,0)", "adc(8,-1)", "adc(8,nan)", "adc(8,0,100)"]
        {
            assert_eq!(Accumulator::parse(text), None, "{text}");
        }
        let (int8, e5m2) = (find("int8").unwrap(), find("fp8e5m2").unwrap());
        assert_eq!(dot_class(int8, int8, Accumulator::Int24s).unwrap(), DotClass::Int24s);
        assert_eq!(dot_class(int8, int8, Accumulator::Fp22).unwrap(), DotClass::Fp22);
        assert_eq!(dot_class(int8, int8, Accumulator::Chunked(64)).unwrap(), DotClass::PairBf16);
        assert!(
            dot_class(e5m2, e5m2, Accumulator::Fp22).is_err() && dot_class(e5m2, int8, Accumulator::Int24s).is_err()
        );
    }
}
