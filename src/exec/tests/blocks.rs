//! Scales of segments, rounding modes and converters, in assembly text, against the definitions of `num` and formulas of
//! their own; every case at several VLENs.

use super::*;
use crate::isa::asm::{Options, Sources, assemble};
use crate::num::block::{BlockFormat, Blocking, ScaleExponent, encode_two_level};
use crate::num::bulk::Mode as Encode;
use crate::num::codec::{Draw, Rounding, Stochastic, encode};
use crate::num::philox::philox;
use crate::num::{decode, format::find};

const VLENS: [u32; 3] = [256, 512, 4096];

/// Runs a program of text with f32 values at 0 of SRAM; results are read from 0x8000 on.
fn run(text: &str, values: &[f32], vlen: u32) -> Vm {
    let text = text.replace("SRAM", "0x1000000000000000").replace("OUT", "0x1000000000008000");
    let object = assemble(&Sources::single("test", &*text), &Options::default());
    let mut vm = Vm::new(object.unwrap_or_else(|e| panic!("{e:?}")), config(vlen), Mode::Functional).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    vm.write(SRAM, &bytes).unwrap();
    vm.run().unwrap();
    vm
}

fn values(count: u64) -> Vec<f32> {
    let value = |i: u64| {
        let word = philox([i as u32, 0, 0, 0], [9, 9])[0];
        let scale = 2f32.powi((word & 7) as i32 * 4 - 16);
        (f64::from(word >> 8) / 2f64.powi(23) - 1.0) as f32 * scale
    };
    (0..count).map(value).collect()
}

/// `count` codes of `bits` bits, dense.
fn unpack(bytes: &[u8], bits: u32, count: usize) -> Vec<u32> {
    let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
    let code = |i: usize| (0..bits as usize).map(|b| bit(i * bits as usize + b) << b).sum();
    (0..count).map(code).collect()
}

/// Statistics of a row of x2 elements by segments of N, scales by `rule`, codes at OUT, scales at OUT + 0x1000.
fn quantise(format: &str, scales: &str, red: &str, rule: &str, round: &str, n: u32, count: usize) -> String {
    let segments = count.div_ceil(n as usize);
    format!(
        ".fmt f1={format}, f3=fp32, f4={scales}
        setacc c0, chain
        li x1, SRAM
        li x2, {count}
        li x3, 0
1:      setvl x4, x2, f3, f3
        ld.bp v1, 0(x1)+, f3
        red c0, v1, {red}, x3, seg {n}
        add x3, x3, x4
        sub x2, x2, x4
        bne x2, x0, 1b
        li x2, {count}
        qset q0, c0, x2, f1, {rule}, seg {n}
        li x5, {segments}
        li x6, OUT
        add x7, x6, 0x1000
        st.s q0, 0(x7), x5, f4
        li x1, SRAM
        li x3, 0
        li x8, 77
        li x9, 0x3400000005
        li x10, 1000
        sr.set x8, x9, x10
1:      setvl x4, x2, f3, f3
        ld.bp v1, 0(x1)+, f3
        quant v1, v1, q0, f1, {rule}, {round}, x3, seg {n}
        st.bp v1, 0(x6)+, f1
        add x3, x3, x4
        sub x2, x2, x4
        bne x2, x0, 1b
        halt\n"
    )
}

#[test]
fn mx_blocks_are_those_of_the_streams() {
    let rules = [
        ("mx.floor", ScaleExponent::Floor),
        ("mx.ceil", ScaleExponent::Ceil),
        ("mx.rceil", ScaleExponent::RoundedCeil),
        ("mx.even", ScaleExponent::Even),
    ];
    let mut x = values(90);
    x[33..64].fill(0.0);
    (x[32], x[40], x[70]) = (-0.0, f32::from_bits(1), f32::from_bits(3));
    for name in ["mxfp4", "mxfp6e2m3", "mxfp6e3m2", "mxfp8e4m3", "mxfp8e5m2", "mxint8"] {
        let block = BlockFormat::find(name).unwrap().unwrap();
        // The element of MXINT8 is an integer in quanta of 2^-6.
        let element = if name == "mxint8" { "int8q6" } else { &*block.element.name };
        let bits: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
        for (rule, exponent) in rules {
            let scales: Vec<u8> = bits.chunks(32).map(|x| block.power(x, exponent)).collect();
            for (round, rounding) in
                [("rne", Rounding::NearestEven), ("rz", Rounding::TowardZero), ("up", Rounding::Up)]
            {
                let mut codes = Vec::new();
                for (x, scale) in bits.chunks(32).zip(&scales) {
                    block.encode_power(x, *scale, Encode::Fixed(rounding), 0, &mut codes);
                }
                for vlen in VLENS {
                    let mut vm = run(&quantise(element, "e8m0", "amax", rule, round, 32, 90), &x, vlen);
                    let got = unpack(vm.read(SRAM + 0x8000, 90).unwrap(), block.element.bits, 90);
                    assert_eq!(got, codes, "{name} {rule} {round} VLEN {vlen}");
                    assert_eq!(vm.read(SRAM + 0x9000, 3).unwrap(), scales);
                }
            }
        }
    }
    // A block with NaN or infinity: scale 0xff, codes 0; its neighbours keep theirs.
    (x[3], x[80]) = (f32::NAN, f32::NEG_INFINITY);
    let mut vm = run(&quantise("fp4e2m1", "e8m0", "amax", "mx.floor", "rne", 32, 90), &x, 512);
    let scales = vm.read(SRAM + 0x9000, 3).unwrap().to_vec();
    assert_eq!((scales[0], scales[1] == 0xff, scales[2]), (0xff, false, 0xff));
    assert!(unpack(vm.read(SRAM + 0x8000, 45).unwrap(), 4, 32).iter().all(|code| *code == 0));
}

#[test]
fn two_levels_are_those_of_the_streams() {
    for (count, poison) in [(70, None), (16, None), (70, Some(f32::NAN))] {
        let mut x = values(count as u64);
        x[..8].fill(0.0);
        if let Some(poison) = poison {
            x[20] = poison;
        }
        let bits: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
        let shape = Blocking { rows: 1, cols: count, block_rows: 1, block_cols: 16 };
        let want = encode_two_level(&bits, shape, Encode::Fixed(Rounding::NearestEven)).unwrap();
        for vlen in VLENS {
            let text = quantise("fp4e2m1", "fp8e4m3", "amax", "nv", "rne", 16, count)
                .replace("red c0, v1, amax, x3, seg 16", "red c0, v1, amax, x3, seg 16\n red c1, v1, amax, x3")
                .replace("setacc c0, chain", "setacc c0, chain\n setacc c1, chain")
                .replace(
                    "qset q0, c0, x2, f1, nv, seg 16",
                    "li x4, 1\n setvl x4, x4, f3, f3\n red.end v9, c1, amax\n qset q2, c1, x2, f1, nv.tensor
                     qset q0, c0, x2, f1, nv, q3, seg 16\n li x7, OUT + 0x2000\n st.s q2, 0(x7), x4, f3",
                );
            let mut vm = run(&text, &x, vlen);
            assert_eq!(unpack(vm.read(SRAM + 0x8000, 90).unwrap(), 4, count), want.codes, "VLEN {vlen}");
            assert_eq!(vm.read(SRAM + 0x9000, want.scales.len() as u64).unwrap(), want.scales);
            assert_eq!(vm.read(SRAM + 0xa000, 4).unwrap(), want.global.to_bits().to_le_bytes());
        }
    }
}

#[test]
fn segments_of_plain_rules_are_rows_of_their_own() {
    let x = values(100);
    for vlen in VLENS {
        for (format, red, rule) in
            [("int8", "amax", "absmax"), ("int3", "amax", "absmax"), ("fp8e4m3", "amax", "absmax")]
        {
            let mut vm = run(&quantise(format, "fp32", red, rule, "rne", 24, 100), &x, vlen);
            let f = find(format).unwrap();
            let got = unpack(vm.read(SRAM + 0x8000, 100).unwrap(), f.bits, 100);
            let scales = vm.read(SRAM + 0x9000, 20).unwrap().to_vec();
            for (s, x) in x.chunks(24).enumerate() {
                let a = x.iter().fold(0f32, |a, x| if x.abs() > a { x.abs() } else { a });
                let levels = if format == "int3" { 3.0 } else { 127.0 };
                let float = format == "fp8e4m3";
                let scale = if float { a / 448.0 } else { a / levels };
                assert_eq!(scales[4 * s..][..4], scale.to_le_bytes());
                for (i, x) in x.iter().enumerate() {
                    let scaled = if float { x / scale } else { x * (levels / a) };
                    let want = encode(f, scaled.to_bits(), Rounding::NearestEven, true);
                    assert_eq!(got[24 * s + i], want, "{format} {s} {i} VLEN {vlen}");
                }
            }
        }
    }
    // The mean of a segment is its own L16 sum over its own length; config() has room for two segments of partials.
    let x = values(60);
    for vlen in VLENS {
        let mut vm = run(&quantise("ternary", "fp32", "asum", "absmean", "rne", 40, 60), &x, vlen);
        let scales = vm.read(SRAM + 0x9000, 8).unwrap().to_vec();
        for (s, x) in x.chunks(40).enumerate() {
            let mut lanes = [0f32; 16];
            x.iter().enumerate().for_each(|(i, x)| lanes[i % 16] += x.abs());
            for half in [8, 4, 2, 1] {
                (0..half).for_each(|j| lanes[j] += lanes[j + half]);
            }
            let mean = lanes[0] / x.len() as f32;
            assert_eq!(scales[4 * s..][..4], mean.to_le_bytes(), "VLEN {vlen}");
        }
    }
}

#[test]
pub(super) fn stochastic_rounding_draws_by_logical_index() {
    let x = values(40);
    let f = find("fp4e2m1").unwrap();
    let draw = |i: usize| {
        let index = 1000 + i as u32;
        let random = philox([index >> 2, 0, 5, 0x34], [77, 0])[(index & 3) as usize] >> 8;
        Rounding::Stochastic(Draw { kind: Stochastic::Rounded, bits: 24, random })
    };
    for vlen in VLENS {
        let mut vm = run(&quantise("fp4e2m1", "fp32", "amax", "absmax", "sr", 16, 40), &x, vlen);
        let got = unpack(vm.read(SRAM + 0x8000, 20).unwrap(), 4, 40);
        for (i, x16) in x.iter().enumerate() {
            let block = &x[i / 16 * 16..40.min(i / 16 * 16 + 16)];
            let a = block.iter().fold(0f32, |a, x| if x.abs() > a { x.abs() } else { a });
            assert_eq!(got[i], encode(f, (x16 / (a / 6.0)).to_bits(), draw(i), true), "{i} VLEN {vlen}");
        }
        let mut vm = run(
            ".fmt f1=bf16, f3=fp32
            li x1, SRAM\n li x2, 8\n li x3, 3\n li x6, OUT
            li x8, 77\n li x9, 0x3400000005\n li x10, 997\n sr.set x8, x9, x10
            setvl x4, x2, f3, f3\n ld.bp v1, 0(x1), f3
            cvt v2, v1, f1, f3, sr, x3\n st.bp v2, 0(x6)+, f1
            cvt v2, v1, f1, f3, rz\n st.bp v2, 0(x6)+, f1
            cvt v2, v1, f1, f3\n st.bp v2, 0(x6)+, f1
            halt\n",
            &x,
            vlen,
        );
        let bf16 = find("bf16").unwrap();
        let got = unpack(vm.read(SRAM + 0x8000, 48).unwrap(), 16, 24);
        for (i, x) in x[..8].iter().enumerate() {
            let of = |mode| encode(bf16, x.to_bits(), mode, false);
            assert_eq!(
                [got[i], got[8 + i], got[16 + i]],
                [of(draw(i)), of(Rounding::TowardZero), of(Rounding::NearestEven)]
            );
        }
    }
}

#[test]
fn dequantised_segments_take_their_own_scales() {
    let x: Vec<f32> = (0..16).map(|i| i as f32 - 8.0).collect();
    let vm = run(
        ".fmt f1=int8, f3=fp32, f4=e8m0
        li x1, SRAM\n li x2, 16\n li x3, 2\n li x5, 5\n li x6, OUT
        setvl x2, x2, f3, f3\n ld.bp v1, 0(x1), f3
        li x4, 0x80817f7e\n sw.w x4, 0(x6)\n ld.s q1, 0(x6), x3, f4
        q.fill q3, x0\n li x4, 0x3f800000\n q.fill q4, x4
        quant v2, v1, q3, f1\n dequant v3, v2, q1, f1, x5, seg 15
        halt\n",
        &x,
        512,
    );
    // Positions 5 to 20 in segments of 15: ten elements of the first, six of the second.
    let want: Vec<f32> = x.iter().enumerate().map(|(i, x)| if i < 10 { x * 0.5 } else { *x }).collect();
    assert_eq!(floats(&vm, 3), want);
}

#[test]
fn scales_load_and_store_in_any_format_with_a_pitch() {
    let mut vm = run(
        ".fmt f1=fp8e4m3, f2=bf16, f3=fp32, f4=e8m0, f5=fp4e2m1
        li x1, OUT\n li x2, 3\n li x3, 5
        li x4, 0x7f00ff81387f\n sw.d x4, 0(x1)
        ld.s q0, 0(x1)+, x2, f1            # NaN, 1, -2^-9
        ld.s q1, 0(x1), x2, f4             # NaN, 2^-127, 1
        li x1, OUT + 64\n st.s q1, 0(x1) rows x3, x2, f2
        li x1, OUT + 96\n st.s q0, 0(x1), x2, f5
        ld.s q2, 0(x1), x2, f5
        halt\n",
        &[],
        512,
    );
    let q = |n: u8, vm: &Vm| vm.q(n).unwrap()[..3].iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(q(0, &vm), [0x7fc0_0000, 1f32.to_bits(), (-(2f32.powi(-9))).to_bits()]);
    assert_eq!(q(1, &vm), [0x7fc0_0000, 0x0040_0000, 1f32.to_bits()]);
    assert_eq!(vm.x(1), Some(SRAM + 0x8000 + 96));
    let bf16: Vec<u8> = vm.read(SRAM + 0x8040, 15).unwrap().to_vec();
    assert_eq!(bf16, [0xc0, 0x7f, 0, 0, 0, 0x40, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0]);
    assert_eq!(vm.read(SRAM + 0x8060, 3).unwrap(), [0x27, 0x08, 0], "+max, 1, -0 in four bits each");
    assert_eq!(vm.q(2).unwrap()[..2], [6.0, 1.0]);
}

/// Random exact sums of int8 in c0 (4 x 5, K = 48), read by a converter of `bits` bits.
fn converted(bits: u32, full: i64, sigma: u64) -> (Vec<i64>, Vec<f32>) {
    let bytes: Vec<u8> = (0..9 * 48u32).map(|i| (philox([i, 1, 2, 3], [4, 5])[0] >> 9) as u8).collect();
    let words: Vec<f32> =
        bytes.chunks(4).map(|b| f32::from_bits(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
    let text = format!(
        ".fmt f1=int8
        li x1, SRAM\n li x2, SRAM + 240\n li x3, 48\n li x4, 4\n li x5, 5
        settile.m x0, x4\n settile.n x0, x5\n settile.k x0, x3
        li x6, {full}\n li x7, {sigma}\n li x8, 100\n li x9, 7\n sr.set x9, x0, x8
        mm.w 0(x1) rows x3, f1\n mm.x c0, 0(x2) rows x3, f1
        adc c0, x6, x7, x8, {bits}
        halt\n"
    );
    let vm = run(&text, &words, 512);
    let signed = |row: usize, k: usize| i64::from(bytes[row * 48 + k] as i8);
    let sum = |m: usize, n: usize| (0..48).map(|k| signed(n, k) * signed(5 + m, k)).sum();
    let entries = || (0..4).flat_map(|m| (0..5).map(move |n| (m, n)));
    (entries().map(|(m, n)| sum(m, n)).collect(), entries().map(|(m, n)| vm.c(0, m, n).unwrap()).collect())
}

#[test]
pub(super) fn a_converter_rounds_and_clamps_and_adds_its_noise() {
    for (bits, full) in [(8, 48 * 127 * 127), (6, 40_000), (12, 300_001), (1, 1000)] {
        let (sums, got) = converted(bits, full, 0);
        let lsb = full as f64 / 2f64.powi(bits as i32 - 1);
        let most = 2f64.powi(bits as i32 - 1);
        for (s, got) in sums.iter().zip(got) {
            let code = (*s as f64 / lsb).round_ties_even().clamp(-most, most - 1.0);
            assert_eq!(got, (code * lsb) as f32, "{bits} {s}");
        }
    }
    let (full, sigma) = (1 << 19, 1u64 << 15);
    let (sums, got) = converted(8, full, sigma);
    let mut moved = 0;
    for (i, (s, got)) in sums.iter().zip(got).enumerate() {
        let quad = |q: u64| philox([q as u32, 0, 0, 0], [7, 0]);
        let index = 100 + 100 * (i as u64 / 5) + i as u64 % 5;
        let words: Vec<u32> = quad(2 * index).into_iter().chain(quad(2 * index + 1)).collect();
        let t: f64 = words[..6].iter().map(|w| f64::from(w & 0xffff) + f64::from(w >> 16)).sum::<f64>() - 393_210.0;
        let code = (*s as f64 / 4096.0 + 0.5 * t / 65536.0).round_ties_even().clamp(-128.0, 127.0);
        assert_eq!(got, (code * 4096.0) as f32);
        moved += u32::from(code != (*s as f64 / 4096.0).round_ties_even());
    }
    assert!(moved > 3, "{moved}");
}

#[test]
fn segments_that_do_not_fit_and_rules_that_do_not_match_trap() {
    let trap = |text: &str| {
        let text = format!(
            ".fmt f1=fp4e2m1, f2=nf4, f3=fp32\n setacc c0, chain\n li x1, 8\n setvl x2, x1, f3, f3\n{text}\n halt\n"
        );
        let object = assemble(&Sources::single("test", &*text), &Options::default()).unwrap();
        Vm::new(object, config(512), Mode::Functional).unwrap().run().expect_err("traps").kind()
    };
    // Rows of tiles have 32 entries, scale vectors 32.
    assert_eq!(trap("li x1, 1017\n red c0, v1, amax, x1, seg 32"), TrapKind::Shape);
    assert_eq!(trap("li x1, 57\n red c0, v1, asum, x1, seg 32"), TrapKind::Shape);
    assert_eq!(trap("li x1, 1017\n quant v1, v1, q0, f1, mx.floor, rne, x1, seg 32"), TrapKind::Shape);
    assert_eq!(trap("li x1, 1025\n qset q0, c0, x1, f1, mx.floor, seg 32"), TrapKind::Shape);
    assert_eq!(trap("qset q0, c0, x1, f2, nv, q3"), TrapKind::Fmt);
    assert_eq!(trap("adc c0, x1, x0, x0, 8"), TrapKind::Acc);
}

/// The code of a value decodes to it: keeps the imports of this file honest.
#[test]
fn powers_of_two_are_exact_scales() {
    let e8m0 = find("e8m0").unwrap();
    assert!((0..255).all(|code| encode(e8m0, decode(e8m0, code), Rounding::NearestEven, true) == code));
}
