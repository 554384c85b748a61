//! Encodes by vectors against the scalar codec, which is the specification, over all f32 bit patterns or every n-th of
//! them: `PREON_STRIDE=1` takes all 2^32, absent every 65537th.

use preon::num::bulk::{Decoder, Encoder, Mode};
use preon::num::{Format, Isa, Rounding, decode, encode, format, formats};

/// How far apart the tested bit patterns lie, unless the caller says otherwise.
fn stride(default: u64) -> u64 {
    std::env::var("PREON_STRIDE").map_or(default, |text| text.parse().expect("PREON_STRIDE is a number"))
}

/// Compares packed codes of every `stride`-th f32 at every level of this CPU.
fn compare(format: &'static Format, mode: Rounding, saturate: bool, stride: u64) {
    let levels = Isa::ALL.into_iter().filter(|isa| isa.available());
    let encoders: Vec<_> = levels.map(|isa| Encoder::with_isa(format, Mode::Fixed(mode), saturate, isa)).collect();
    let decoder = Decoder::new(format);
    let (mut bytes, mut values, mut start) = (Vec::new(), Vec::new(), 0u64);
    while start < 1 << 32 {
        let x: Vec<u32> = (start..1 << 32).step_by(stride as usize).take(1 << 16).map(|x| x as u32).collect();
        let wanted: Vec<u32> = x.iter().map(|x| decode(format, encode(format, *x, mode, saturate))).collect();
        for encoder in &encoders {
            encoder.encode_packed(&x, 0, &mut bytes);
            values.clear();
            decoder.decode_packed(&bytes, x.len(), &mut values);
            if let Some(at) = (0..x.len()).find(|at| values[*at] != wanted[*at]) {
                panic!("{} {mode:?} saturate {saturate}: f32 {:#010x}", format.name, x[at]);
            }
        }
        start += stride << 16;
    }
}

#[test]
fn formats_of_the_issue_agree_on_all_floats() {
    for name in ["fp8e4m3", "fp8e5m2", "fp4e2m1", "ternary"] {
        compare(format::find(name).unwrap(), Rounding::NearestEven, true, stride(65_537));
    }
}

#[test]
fn every_format_agrees_in_every_mode() {
    let modes = [Rounding::NearestEven, Rounding::TowardZero, Rounding::NearestAway, Rounding::Up, Rounding::Down];
    for format in formats().into_iter().filter(|format| format.bits <= 8) {
        for mode in modes {
            for saturate in [true, false] {
                compare(format, mode, saturate, stride(65_537).max(65_537));
            }
        }
    }
}

#[test]
fn short_pieces_and_borders_agree() {
    for format in formats().into_iter().filter(|format| format.bits <= 8) {
        let values: Vec<u32> = (0..1u32 << format.bits).map(|code| decode(format, code)).collect();
        let middle = |pair: &[u32]| ((f32::from_bits(pair[0]) + f32::from_bits(pair[1])) / 2.0).to_bits();
        let points: Vec<u32> = values.iter().copied().chain(values.windows(2).map(middle)).collect();
        let x: Vec<u32> = points.iter().flat_map(|p| [p.wrapping_sub(1), *p, p.wrapping_add(1)]).collect();
        let encoder = Encoder::new(format, Mode::Fixed(Rounding::NearestEven), true);
        for length in (0..70).chain([x.len()]) {
            let (mut bytes, mut codes) = (vec![0xff; 3], Vec::new());
            let x = &x[..length.min(x.len())];
            encoder.encode_packed(x, 0, &mut bytes);
            encoder.encode(x, 0, &mut codes);
            let mut wanted = vec![0u8; (x.len() * format.bits as usize).div_ceil(8)];
            for (index, x) in x.iter().enumerate() {
                let code = encode(format, *x, Rounding::NearestEven, true);
                assert_eq!(codes[index], code, "{} {x:#010x}", format.name);
                for bit in (0..format.bits as usize).filter(|bit| code >> bit & 1 == 1) {
                    let at = index * format.bits as usize + bit;
                    wanted[at / 8] |= 1 << (at % 8);
                }
            }
            assert_eq!(bytes, wanted, "{} {length}", format.name);
        }
    }
}
