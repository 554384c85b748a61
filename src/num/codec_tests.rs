//! Tests of the codec: exhaustive over the codes, and against an independent rounding in f64 and golden tables.

use super::*;
use crate::num::format::{FormatRef, find, formats};

const MODES: [Rounding; 5] =
    [Rounding::NearestEven, Rounding::TowardZero, Rounding::NearestAway, Rounding::Up, Rounding::Down];

fn small() -> impl Iterator<Item = FormatRef> {
    formats().into_iter().filter(|f| f.bits <= 16)
}

fn of(bits: u32) -> f64 {
    f64::from(f32::from_bits(bits))
}

fn is_nan(bits: u32) -> bool {
    bits & 0x7fff_ffff > 0x7f80_0000
}

/// Distinct finite values and their codes, ascending; -0 only where it is the only zero's code wanted is left out.
fn grid(format: FormatRef) -> Vec<(f64, u32)> {
    let written = |code: &u32| encode(format, decode(format, *code), Rounding::NearestEven, true) == *code;
    let codes = (0..1u32 << format.bits).filter(written);
    let mut grid: Vec<(f64, u32)> =
        codes.map(|c| (of(decode(format, c)), c)).filter(|(v, _)| v.is_finite() && v.to_bits() != 1 << 63).collect();
    grid.sort_by(|a, b| a.0.total_cmp(&b.0));
    grid
}

#[test]
fn decoding_agrees_with_the_golden_tables() {
    use sha2::{Digest, Sha256};
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/data/format-codes.json")).expect("a JSON file");
    let tables = golden["formats"].as_object().expect("an object of formats");
    assert_eq!(tables.len(), 19);
    for (name, wanted) in tables {
        let format = find(name).unwrap();
        let codes: Vec<u32> = (0..1u32 << format.bits).map(|c| decode(format, c)).collect();
        let ours = if format.bits <= 8 {
            codes.iter().map(|v| format!("{v:08x}")).collect::<Vec<_>>().join(" ")
        } else {
            let stream: Vec<u8> = codes.iter().flat_map(|v| v.to_le_bytes()).collect();
            let digest: String = Sha256::digest(&stream).iter().map(|b| format!("{b:02x}")).collect();
            format!("sha256:{digest}")
        };
        assert_eq!(Some(ours.as_str()), wanted.as_str(), "{name}");
    }
}

#[test]
fn every_code_survives_a_round_trip_in_every_mode() {
    for format in small() {
        for code in 0..1u32 << format.bits {
            let value = decode(format, code);
            if of(value).is_finite() || format.bits > 8 {
                assert_eq!(value, decode_any(format, code), "{} {code:#x}", format.name);
            }
            for mode in MODES {
                let again = encode(format, value, mode, false);
                if is_nan(value) {
                    assert_eq!(decode(format, again), value, "{} NaN {code:#x}", format.name);
                } else {
                    assert_eq!(decode(format, again), value, "{} {code:#x} {mode:?}", format.name);
                }
            }
        }
    }
}

/// The exact sum of two f32 of one grid: f64 holds it, which is checked.
fn exact_sum(low: f64, high: f64) -> f64 {
    let sum = low + high;
    assert_eq!((sum - low, sum - high), (high, low), "the sum of {low:e} and {high:e} is not a double");
    sum
}

/// The level of `pair` that `x` goes to, by comparing exact numbers; `rank` counts the lower one from zero, for ties.
fn neighbour(x: f32, (low, high): (f64, f64), rank: isize, mode: Rounding) -> f64 {
    let x = f64::from(x);
    if x == low || x == high {
        return x;
    }
    let nearer = (2.0 * x).partial_cmp(&exact_sum(low, high)).expect("numbers");
    // Of two levels around a zero that neither is, the positive one counts as rank 0: no code is more even.
    let toward = if x >= 0.0 && low >= 0.0 || (low < 0.0 && high > 0.0 && x < 0.0) { low } else { high };
    let nearest = |tie| match nearer {
        std::cmp::Ordering::Less => low,
        std::cmp::Ordering::Equal => tie,
        std::cmp::Ordering::Greater => high,
    };
    match mode {
        Rounding::NearestEven => nearest(if rank % 2 == 0 { low } else { high }),
        Rounding::NearestAway => nearest(if x >= 0.0 { high } else { low }),
        Rounding::Up => high,
        Rounding::Down => low,
        _ => toward,
    }
}

#[test]
fn rounding_takes_the_right_neighbour_of_every_tie_and_its_sides() {
    let mut ties = 0;
    // Rows that other tests of this process register are theirs.
    let built_in = formats().into_iter().filter(|f| !f.name.starts_with("test_"));
    for format in built_in.filter(|f| f.bits <= 8 || f.max < 1e6 && f.bits <= 16) {
        let grid = grid(format);
        let zero = grid.iter().position(|(v, _)| *v >= 0.0).expect("a value that is not negative");
        for (rank, pair) in grid.windows(2).enumerate() {
            let (low, high) = (pair[0].0, pair[1].0);
            // The tie itself where it is an f32, else the two f32 around it; and one step further on both sides.
            let middle = (exact_sum(low, high) / 2.0) as f32;
            ties += usize::from(f64::from(middle) * 2.0 == low + high);
            for x in [middle.next_down(), middle, middle.next_up()] {
                for mode in MODES {
                    // A row's own thresholds say where nearest changes; the directed modes know levels only.
                    let wanted = if mode == Rounding::NearestEven && !format.thresholds.is_empty() {
                        if x > format.thresholds[rank] { high } else { low }
                    } else {
                        neighbour(x, (low, high), rank as isize - zero as isize, mode)
                    };
                    let got = of(decode(format, encode(format, x.to_bits(), mode, true)));
                    assert_eq!(got, wanted, "{} {x:e} {mode:?} between {low:e} and {high:e}", format.name);
                }
            }
            if let Some(border) = format.thresholds.get(rank) {
                for (x, wanted) in [(*border, low), (border.next_up(), high)] {
                    let got = of(decode(format, encode(format, x.to_bits(), Rounding::NearestEven, true)));
                    assert_eq!(got, wanted, "{} {x:e} at a threshold", format.name);
                }
            }
        }
    }
    assert!(ties > 100_000, "only {ties} ties are f32");
}

#[test]
fn encoding_is_monotone() {
    // E8M0 has no negative values.
    for format in small().filter(|f| f.name != "e8m0") {
        for mode in MODES {
            let mut last = f64::NEG_INFINITY;
            // Every 4099th f32 from -max to max in ascending order.
            for key in (-0x7f7f_ffff..=0x7f7f_ffffi32).step_by(40_999) {
                let x = if key < 0 { 0x8000_0000 | key.unsigned_abs() } else { key as u32 };
                let value = of(decode(format, encode(format, x, mode, true)));
                assert!(value >= last, "{} {x:#x} {mode:?}: {value} after {last}", format.name);
                last = value;
            }
        }
    }
}

#[test]
fn fp32_casts_change_nothing_and_halves_agree_with_doubles() {
    let (fp32, bf16) = (find("fp32").unwrap(), find("bf16").unwrap());
    for i in 0..200_000u32 {
        let x = i.wrapping_mul(0x9e37_79b1);
        if is_nan(x) {
            assert_eq!(encode(fp32, x, Rounding::NearestEven, false), x & 0x8000_0000 | 0x7fc0_0000);
            continue;
        }
        assert_eq!(encode(fp32, x, Rounding::Up, false), x);
        assert_eq!(decode(fp32, x), x);
        // bf16 by the well-known integer trick.
        let wanted = (x + 0x7fff + (x >> 16 & 1)) >> 16;
        assert_eq!(encode(bf16, x, Rounding::NearestEven, false), wanted, "{x:#x}");
    }
}

#[test]
fn specials_follow_the_contract() {
    let code = |name: &str, x: u32, saturate| encode(find(name).unwrap(), x, Rounding::NearestEven, saturate);
    let bits = |x: f32| x.to_bits();
    let (inf, minus_inf, nan, minus_nan) = (0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 0xffff_ffff);
    for saturate in [false, true] {
        assert_eq!([code("fp8e4m3", nan, saturate), code("fp8e4m3", minus_nan, saturate)], [0x7f, 0xff]);
        assert_eq!([code("fp8e5m2", nan, saturate), code("fp8e5m2", minus_nan, saturate)], [0x7e, 0xfe]);
        assert_eq!([code("fp16", nan, saturate), code("bf16", nan, saturate)], [0x7e00, 0x7fc0]);
        assert_eq!([code("fp4e2m1", nan, saturate), code("fp4e2m1", minus_nan, saturate)], [7, 7]);
        assert_eq!([code("int8", nan, saturate), code("ternary", nan, saturate)], [0, 0]);
        assert_eq!([code("binary", minus_nan, saturate), code("triplet", nan, saturate)], [0, 2]);
        assert_eq!([code("int8", inf, saturate), code("int8", minus_inf, saturate)], [127, 128]);
        assert_eq!([code("int8", bits(127.5), saturate), code("int8", bits(-3e30), saturate)], [127, 128]);
        assert_eq!([code("fp4e2m1", inf, saturate), code("fp4e2m1", bits(-7.0), saturate)], [7, 15]);
        assert_eq!([code("ternary", bits(0.5), saturate), code("ternary", bits(-0.5), saturate)], [0, 0]);
        assert_eq!([code("ternary", bits(0.51), saturate), code("ternary", bits(-9.0), saturate)], [1, 2]);
        assert_eq!([code("binary", bits(0.0), saturate), code("binary", bits(-0.0), saturate)], [0, 0]);
        assert_eq!([code("binary", 1, saturate), code("binary", 0x8000_0001, saturate)], [0, 1]);
        // The sign of an underflow stays in floats.
        assert_eq!([code("fp8e4m3", bits(-1e-7), saturate), code("int8", bits(-0.1), saturate)], [0x80, 0]);
    }
    // The result is rounded before it is compared with the largest value.
    assert_eq!([code("fp8e4m3", bits(464.0), false), code("fp8e4m3", bits(464.1), false)], [0x7e, 0x7f]);
    assert_eq!([code("fp8e4m3", bits(-500.0), true), code("fp8e4m3", minus_inf, true)], [0xfe, 0xfe]);
    assert_eq!([code("fp8e5m2", bits(61439.0), false), code("fp8e5m2", bits(61440.0), false)], [0x7b, 0x7c]);
    assert_eq!([code("fp8e5m2", inf, true), code("fp8e4m3", inf, false)], [0x7b, 0x7f]);
    assert_eq!([code("fp16", bits(65519.9), false), code("fp16", bits(65520.0), false)], [0x7bff, 0x7c00]);
    assert_eq!(cast(find("fp16").unwrap(), 1e9), 0x7c00);
    assert_eq!(cast(find("fp8e4m3").unwrap(), 1e9), 0x7e);
    assert_eq!(value(find("fp8e4m3").unwrap(), 0xff).to_bits(), 0x7fc0_0000);
}

#[test]
fn rows_of_other_kinds_need_no_code() {
    let head = "schema = \"preon.formats/1\"\n[[format]]\nrule = \"absmax\"\ndoc = \"d\"\nsource = \"s\"\n";
    let rows = |name: &str, rest: &str| {
        let text = format!("{head}name = \"{name}\"\n{rest}");
        crate::num::format::register("t.toml", &text).unwrap_or_else(|e| panic!("{e}"))[0]
    };
    let float = "element = \"float\"\nsaturate = true\n";
    let fnuz = rows("test_e4m3fnuz", &format!("{float}bits = 8\nexp = 4\nman = 3\nbias = 8\nspecials = \"fnuz\"\n"));
    assert_eq!((fnuz.max, decode(fnuz, 0x80), decode(fnuz, 1)), (240.0, 0xffc0_0000, exp2(-10).to_bits()));
    assert_eq!([cast(fnuz, -0.0), cast(fnuz, -1e-9), cast(fnuz, f32::NAN), cast(fnuz, -1e9)], [0, 0, 0x80, 0xff]);
    let tf32 = rows("test_tf32", &format!("{float}bits = 32\nexp = 8\nman = 10\nbias = 127\nspecials = \"ieee\"\n"));
    assert_eq!(cast(tf32, 1.0 + exp2(-11) + exp2(-20)), (1.0 + exp2(-10)).to_bits());
    assert_eq!(cast(tf32, 1.0 + exp2(-11)), 1f32.to_bits());
    assert_eq!(decode(tf32, 1f32.to_bits()), 1f32.to_bits());
    let e3m2 = rows("test_e3m2", &format!("{float}bits = 6\nexp = 3\nman = 2\nbias = 3\nspecials = \"none\"\n"));
    assert_eq!((e3m2.container_bits, e3m2.unit, cast(e3m2, f32::NAN), cast(e3m2, 28.1)), (8, Some(-4), 0x1f, 0x1f));
    let real = rows("test_thirds", "element = \"real\"\nsaturate = true\nbits = 2\nvalues = [0.0, 0.333, 1.0, -1.0]\n");
    assert_eq!([cast(real, 0.1), cast(real, 0.2), cast(real, 9.0), cast(real, -0.6)], [0, 1, 2, 3]);
}

#[test]
fn nf4_takes_the_level_of_the_published_tree() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/data/nf4.json")).expect("a JSON file");
    let (x, codes) = (golden["x"].as_str().expect("text"), golden["codes"].as_str().expect("text"));
    let nf4 = find("nf4").unwrap();
    for (x, wanted) in x.split(' ').zip(codes.chars()) {
        let bits = u32::from_str_radix(x, 16).expect("hex");
        assert_eq!(Some(encode(nf4, bits, Rounding::NearestEven, true)), wanted.to_digit(16), "{x}");
    }
}

#[test]
fn project_formats_have_the_codes_their_rows_state() {
    let code = |name: &str, x: f32| cast(find(name).unwrap(), x);
    assert_eq!([1.0, 2.0, -1.0, -2.0, 0.0, 9.0].map(|x| code("fp2", x)), [0, 1, 2, 3, 0, 1]);
    assert_eq!([0.0, 1.0, 2.0, -1.0, -2.0, 0.5].map(|x| code("fp2sparse", x)), [0, 1, 2, 3, 4, 0]);
    assert_eq!([0.0, 1.0, -1.0, 0.5].map(|x| code("fp1mask", x)), [0, 1, 3, 0]);
    assert_eq!([0.0, 1.0, 3.0, -1.0, -4.0, 5.0].map(|x| code("fp3e2m0", x)), [0, 1, 2, 5, 7, 3]);
    assert_eq!([0.0, 1.0, 2.5, -3.0].map(|x| code("fp3e1m1", x)), [0, 1, 2, 7]);
    assert_eq!([0.0, 1.0, exp2(-6), -1.0, -0.0].map(|x| code("log4", x)), [0, 7, 1, 15, 0]);
    assert_eq!([0.0, 1.0, 2.0, -1.0, exp2(-8)].map(|x| code("log8", x)), [0, 64, 72, 192, 1]);
    // An independent figure: 2^(1/8) to 20 digits is 1.0905077326652576592.
    assert_eq!(decode(find("log8").unwrap(), 65), 1.090_507_7f32.to_bits());
    let e8m0 = |x: f32, saturate| encode(find("e8m0").unwrap(), x.to_bits(), Rounding::NearestEven, saturate);
    assert_eq!([1.0, 2.9, 3.1, 0.0, -1.0, f32::NAN].map(|x| e8m0(x, true)), [127, 128, 129, 0, 255, 255]);
    assert_eq!(
        [(1.5f32, true), (3.0, true), (f32::MAX, true), (f32::MAX, false)].map(|(x, s)| e8m0(x, s)),
        [128, 128, 254, 255]
    );
}

#[test]
fn stochastic_rounding_follows_its_four_definitions() {
    // 1.0625 + 1/32 in E4M3 lies 3/4 of the way from 1 to 1.125; with 2 bits the fraction is exact.
    let code = |x: f32, kind, bits, random| {
        let mode = Rounding::Stochastic(Draw { kind, bits, random });
        encode(find("fp8e4m3").unwrap(), x.to_bits(), mode, true)
    };
    let ups = |x: f32, kind, bits: u32| {
        (0..1u32 << bits).filter(|r| code(x, kind, bits, *r) != code(x, kind, bits, 0)).count()
    };
    assert_eq!(ups(1.093_75, Stochastic::Rounded, 2), 3);
    assert_eq!(ups(-1.093_75, Stochastic::Rounded, 2), 3);
    assert_eq!(ups(1.093_75, Stochastic::Fastest, 2), 3);
    assert_eq!(ups(1.093_75, Stochastic::Fast, 2), 3);
    // A fraction of 1/8 with 2 bits: half a step is a tie to even (0), plus half a step (1), cut (0).
    let x = 1.0 + 0.125 / 8.0;
    assert_eq!([Stochastic::Rounded, Stochastic::Fast, Stochastic::Fastest].map(|kind| ups(x, kind, 2)), [0, 1, 0]);
    // To odd instead: the tie becomes one step of four.
    assert_eq!(ups(x, Stochastic::RoundedOdd, 2), 1);
    // A value on the grid never moves; far below the least subnormal 24 bits still see 2^-20 of it.
    assert_eq!(ups(1.125, Stochastic::Rounded, 8), 0);
    let tiny = exp2(-9 - 20);
    assert_eq!([0xff_ffef, 0xff_fff0].map(|r| code(tiny, Stochastic::Rounded, 24, r)), [0, 1]);
    // Saturates after rounding; ints and codebooks obey the same rule.
    assert_eq!(code(460.0, Stochastic::Rounded, 8, 255), 0x7e);
    let of = |name: &str, x: f32, random| {
        let mode = Rounding::Stochastic(Draw { kind: Stochastic::Rounded, bits: 2, random });
        encode(find(name).unwrap(), x.to_bits(), mode, true)
    };
    assert_eq!([0, 1, 2, 3].map(|r| of("int8", -2.25, r)), [0xfe, 0xfe, 0xfe, 0xfd]);
    assert_eq!([0, 1, 2, 3].map(|r| of("ternary", 0.25, r)), [0, 0, 0, 1]);
    // Binary is +1 with probability (1 + x) / 2.
    assert_eq!([0, 1, 2, 3].map(|r| of("binary", 0.5, r)), [1, 0, 0, 0]);
}

#[test]
fn a_p_bit_is_drawn_with_its_probability() {
    let plus = |kind, x: f32| {
        let code = |random| {
            let mode = Rounding::Stochastic(Draw { kind, bits: 8, random });
            encode(find("binary").unwrap(), x.to_bits(), mode, true)
        };
        (0..256).filter(|r| code(*r) == 0).count()
    };
    let clip = Stochastic::Clip(2.0f32.to_bits());
    assert_eq!([-3.0, -2.0, -1.0, 0.0, 0.5, 2.0, f32::INFINITY].map(|x| plus(clip, x)), [0, 0, 64, 128, 160, 256, 256]);
    let sigmoid = Stochastic::Sigmoid(0.5f32.to_bits());
    // sigmoid(1 / 0.5) = 0.8808 of 256 draws is 225.5: 226 of them lie below.
    assert_eq!([f32::NEG_INFINITY, 0.0, 1.0, 100.0].map(|x| plus(sigmoid, x)), [0, 128, 226, 256]);
    assert_eq!([plus(clip, f32::NAN), plus(sigmoid, f32::NAN)], [256, 256]);
}

#[test]
fn directed_rounding_stops_at_the_largest_value() {
    let code = |x: f32, mode| encode(find("fp8e5m2").unwrap(), x.to_bits(), mode, false);
    assert_eq!([code(1e9, Rounding::TowardZero), code(-1e9, Rounding::TowardZero)], [0x7b, 0xfb]);
    assert_eq!([code(1e9, Rounding::Down), code(-1e9, Rounding::Down)], [0x7b, 0xfc]);
    assert_eq!([code(1e9, Rounding::Up), code(-1e9, Rounding::Up)], [0x7c, 0xfb]);
    assert_eq!(code(f32::INFINITY, Rounding::TowardZero), 0x7c);
}
