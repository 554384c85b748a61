//! Masks of the contractions, block scales and windows of the array, against plain loops.

use super::*;
use crate::isa::table::Class;
use crate::num::DotClass;
use proptest::prelude::*;

const INT8: u8 = 4;
const BF16: u8 = 2;
const FP32: u8 = 1;

/// A small generator of test numbers.
fn dice(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    }
}

fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut next = dice(seed);
    (0..count).map(|_| next() as u8).collect()
}

fn int(byte: u8) -> i64 {
    i64::from(byte as i8)
}

/// A program with a view of 4 x 16 int8, its mask of `bits` (4 rows of 2 bytes) in p1, weights and inputs in v1 and v2.
fn view(p: &mut Program) {
    p.li(3, 4).li(4, 16).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 3, 4, INT8, INT8));
    p.li(1, SRAM).li(2, 2).op(Op::LdMv, |i| (i.rd, i.rs1, i.rs3, i.mode, i.imm) = (1, 1, 2, 4, 512));
    p.op(Op::LdBp, |i| (i.rd, i.rs1, i.rs3, i.fd, i.mode) = (1, 1, 4, INT8, 4));
    p.setvl(16, INT8).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd, i.imm) = (2, 1, INT8, 256));
}

fn filled(p: &Program, seed: u64, mask: &[u8], granule: [u32; 2]) -> (Vm, Vec<u8>) {
    let mut vm = Vm::new(p.object(), Config { skip_granule: granule, ..config(512) }, Mode::Functional).unwrap();
    let data = bytes(seed, 512);
    vm.write(SRAM, &data).unwrap();
    vm.write(SRAM + 512, mask).unwrap();
    (vm, data)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn masks_by_output_take_their_terms_and_count_their_granules(
        seed in any::<u64>(), mask in any::<[u8; 8]>(), rows in 1u32..6, depth in 1u32..9
    ) {
        let mut p = Program::new();
        view(&mut p);
        p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb, i.pm, i.pz, i.mode) = (0, 1, 2, INT8, INT8, 1, true, 1));
        let (mut vm, data) = filled(&p, seed, &mask, [rows, depth]);
        let mut event = Event::new();
        while vm.step(&mut event).unwrap() == Status::Running && event.op != Op::Mac {}
        let live = |n: u32, k: u32| mask[(2 * n + k / 8) as usize] >> (k % 8) & 1 == 1;
        let mut work = [0u32; 2];
        let mut lanes = std::collections::BTreeMap::new();
        for n in 0..4u32 {
            let sum: i64 = (0..16u32).filter(|k| live(n, *k))
                .map(|k| int(data[(16 * n + k) as usize]) * int(data[256 + k as usize])).sum();
            prop_assert_eq!(vm.c(0, 0, n as usize), Some(sum as f32));
            for k in 0..16 {
                work[0] += u32::from(live(n, k));
                let (i, j) = (n / rows, k / depth);
                let inside = (0..4).flat_map(|n| (0..16).map(move |k| (n, k))).filter(|(n, k)| (n / rows, k / depth) == (i, j));
                if inside.clone().any(|(n, k)| live(n, k)) {
                    work[1] += 1;
                    *lanes.entry(i).or_insert(0) += u32::from(n % rows == 0);
                }
            }
        }
        let longest = 4 * lanes.values().copied().max().unwrap_or(0);
        match event.work {
            Work::Mac { outputs: 4, terms: 64, live, granules, fullest, .. } => {
                prop_assert_eq!([live, granules, fullest], [work[0], work[1], longest]);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn blocks_of_a_stationary_tile_that_are_masked_are_neither_read_nor_multiplied(
        seed in any::<u64>(), bits in 0u8..64, per_row in any::<bool>()
    ) {
        // W 5 x 24 in blocks of 2 x 8 (or of all rows x 8), X 3 x 24.
        let rows: u64 = if per_row { 2 } else { 0 };
        let mut p = Program::new();
        p.li(6, CONTROL).li(7, u64::from(bits) | 0x1c0).op(Op::Sw, |i| (i.rd, i.rs1, i.sub) = (7, 6, 1)).li(7, 9);
        p.op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (1, 6, 7)).li(8, rows << 32 | 8).tile([3, 5, 24]).li(1, SRAM).li(4, 24);
        p.op(Op::MmW, |i| (i.rd, i.rs1, i.rs3, i.fa, i.mode, i.pm) = (8, 1, 4, INT8, 4, 1));
        let loaded = p.at();
        p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode, i.imm) = (0, 1, 4, INT8, 4, 256));
        let mut vm = Vm::new(p.object(), Config { array_block: [2, 8], ..config(512) }, Mode::Functional).unwrap();
        let data = bytes(seed, 512);
        vm.write(SRAM, &data).unwrap();
        let mut event = Event::new();
        while (vm.pc() as usize) < loaded { vm.step(&mut event).unwrap(); }
        let live = |n: usize, k: usize| (u64::from(bits) | 0x1c0) >> (if per_row { n / 2 * 3 } else { 0 } + k / 8) & 1 == 1;
        let dead = (0..3usize).flat_map(|i| (0..3).map(move |j| (i, j))).filter(|(i, j)| !live(2 * i, 8 * j)).count() as u32;
        let count = (0..5).flat_map(|n| (0..24).map(move |k| (n, k))).filter(|(n, k)| live(*n, *k)).count() as u64;
        let left_out = matches!(event.work, Work::TileLoad { dead: d, .. } if d == dead);
        prop_assert!(left_out, "{:?} {}", event.work, dead);
        prop_assert_eq!(event.touched().iter().map(|a| a.bytes).sum::<u64>(), count);
        vm.step(&mut event).unwrap();
        let skipped = 5 * 24 - count as u32;
        let work = event.work;
        let left_out = matches!(work, Work::TileMac { dead: d, dead_terms, .. } if (d, dead_terms) == (dead, skipped));
        prop_assert!(left_out, "{:?}", work);
        for m in 0..3 {
            for n in 0..5 {
                let sum: i64 = (0..24).filter(|k| live(n, *k)).map(|k| int(data[24 * n + k]) * int(data[256 + 24 * m + k])).sum();
                prop_assert_eq!(vm.c(0, m, n), Some(sum as f32));
            }
        }
    }

    #[test]
    fn block_scales_fold_every_run_of_k(seed in any::<u64>(), block in 1i32..6, ones in any::<bool>()) {
        // X 3 x 40, W 4 x 40, runs of 8 to 40; scales in fp32, 8 of them a row.
        let (block, mut next) = (8 * block, dice(seed));
        let data = bytes(seed, 512);
        let scales: Vec<f32> = (0..56).map(|_| (next() % 1000) as f32 * 0.37 - 100.0).collect();
        let mut p = Program::new();
        p.op(Op::Setacc, |i| (i.rd, i.sub) = (2, Class::Chain as u16)).tile([3, 4, 40]).li(1, SRAM).li(4, 40);
        p.li(5, if ones { 0 } else { SRAM + 1024 }).li(6, SRAM + 1024 + 128).li(7, 32);
        p.op(Op::MmW, |i| (i.rs1, i.rs3, i.fa, i.mode) = (1, 4, INT8, 4));
        p.op(Op::MmS, |i| (i.rs1, i.rs2, i.rs3, i.fa, i.imm) = (5, 6, 7, FP32, block));
        p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode, i.imm) = (2, 1, 4, INT8, 4, 256));
        let event = p.last_event();
        let want = matches!(event.work, Work::TileMac { block: b, class: DotClass::Exact, .. } if b == block as u32);
        prop_assert!(want, "{:?}", event.work);
        let mut vm = p.vm(512);
        vm.write(SRAM, &data).unwrap();
        let stored: Vec<u8> = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
        vm.write(SRAM + 1024, &stored).unwrap();
        vm.run().unwrap();
        for m in 0..3 {
            for n in 0..4 {
                let mut total = 0f32;
                for (g, run) in (0..40).step_by(block as usize).enumerate() {
                    let terms = run..(run + block as usize).min(40);
                    let sum: i64 = terms.map(|k| int(data[40 * n + k]) * int(data[256 + 40 * m + k])).sum();
                    let of_w = if ones { 1.0 } else { scales[8 * n + g] };
                    total = (sum as f32).mul_add(scales[32 + 8 * m + g] * of_w, total);
                }
                prop_assert_eq!(vm.c(2, m, n).unwrap().to_bits(), total.to_bits());
            }
        }
        // They hold for one product only.
        p.op(Op::CFill, |i| i.rd = 2).op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode, i.imm) = (3, 1, 4, INT8, 4, 256));
        let plain = matches!(p.last_event().work, Work::TileMac { block: 0, .. });
        prop_assert!(plain);
    }

    #[test]
    fn windows_of_an_image_are_its_im2col(
        seed in any::<u64>(), channels in 1usize..5, (height, width) in (3usize..7, 3usize..7),
        (r, s) in (1usize..4, 1usize..4), stride in 1usize..3, pad in 0usize..3, dilation in 1usize..3, skip in 0usize..3
    ) {
        let out = |extent: usize, window: usize| {
            (extent + 2 * pad).checked_sub(dilation * (window - 1) + 1).map(|rest| rest / stride + 1)
        };
        let record = [channels, height, width, r, s, stride, pad, dilation];
        let (Some(down), Some(across)) = (out(height, r), out(width, s)) else { return Ok(()) };
        let k = channels * r * s;
        let first = skip.min(down * across - 1);
        let m = (down * across - first).min(8);
        let from_k = skip.min(k - 1);
        let mut p = Program::new();
        p.li(6, CONTROL + 64).li(7, first as u64).li(8, from_k as u64).tile([m as u64, 2, (k - from_k) as u64]);
        p.li(1, SRAM).li(4, k as u64).li(5, channels as u64);
        p.op(Op::MmWin, |i| (i.rs1, i.rs2, i.rs3) = (6, 7, 8));
        p.op(Op::MmW, |i| (i.rs1, i.rs3, i.fa, i.mode) = (1, 4, INT8, 4)).alu(Alu::Add, 1, 1, 256);
        p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode) = (0, 1, 5, INT8, 4));
        let mut vm = p.vm(512);
        let data = bytes(seed, 512);
        vm.write(SRAM, &data).unwrap();
        let words: Vec<u8> = record.iter().flat_map(|n| (*n as u32).to_le_bytes()).collect();
        vm.write(CONTROL + 64, &words).unwrap();
        vm.run().unwrap();
        for row in 0..m {
            let (oy, ox) = ((first + row) / across, (first + row) % across);
            for n in 0..2 {
                let mut sum = 0;
                for (y, x, c) in (0..r).flat_map(|y| (0..s).flat_map(move |x| (0..channels).map(move |c| (y, x, c)))) {
                    let at = (y * s + x) * channels + c;
                    let (iy, ix) = (oy * stride + y * dilation, ox * stride + x * dilation);
                    let inside = (pad..height + pad).contains(&iy) && (pad..width + pad).contains(&ix);
                    if inside && at >= from_k {
                        let pixel = (iy - pad) * width + ix - pad;
                        sum += int(data[k * n + at - from_k]) * int(data[256 + pixel * channels + c]);
                    }
                }
                prop_assert_eq!(vm.c(0, row, n), Some(sum as f32), "pixel {} output {}", row, n);
            }
        }
    }
}

#[test]
pub(super) fn ld_mv() {
    let mut p = Program::new();
    view(&mut p);
    let mask = [0x01, 0x80, 0xff, 0x00, 0x10, 0x02, 0x00, 0x04];
    let (mut vm, _) = filled(&p, 3, &mask, [1, 1]);
    vm.run().unwrap();
    let set: Vec<u32> = (0..64).filter(|i| vm.p(1, *i) == Some(true)).collect();
    assert_eq!(set, [0, 15, 16, 17, 18, 19, 20, 21, 22, 23, 36, 41, 58]);
    let mut p = Program::new();
    p.li(3, 64).li(4, 64).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 3, 4, 6, 6));
    p.li(1, SRAM).op(Op::LdMv, |i| i.rs1 = 1);
    assert_eq!(p.trap().kind(), TrapKind::Shape, "p0 is constant");
}

#[test]
fn loads_under_a_mask_spread_what_memory_has() {
    let load = |vl: u64, zero: bool| {
        let mut p = Program::new();
        view(&mut p);
        p.setvl(vl, INT8);
        p.op(Op::LdBp, |i| {
            (i.rd, i.rs1, i.rs3, i.fd, i.mode, i.imm, i.pm, i.pz) = (1, 1, 12, INT8, 4, 64, 1, zero);
        });
        p.insts.insert(p.at() - 1, {
            let mut inst = Inst::new(Op::Alu);
            (inst.rd, inst.rs1, inst.imm, inst.sub) = (12, 0, vl as i32, Alu::Add as u16 | 0x100);
            inst
        });
        p
    };
    let mask = [0x0f, 0x00, 0x05, 0x50, 0x00, 0xf0, 0x81, 0x81];
    for zero in [true, false] {
        let p = load(4, zero);
        let (mut vm, data) = filled(&p, 5, &mask, [1, 1]);
        let mut event = Event::new();
        while (vm.pc() as usize) < p.at() {
            vm.step(&mut event).unwrap();
        }
        assert!(matches!(event.work, Work::Move { bytes: 16, rows: 4, .. }), "{event:?}");
        let got = vm.v(1).unwrap().to_vec();
        let mut from = 64;
        for at in 0..64 {
            let live = mask[at / 16 * 2 + at % 16 / 8] >> (at % 8) & 1 == 1;
            let old = if zero { 0 } else { data[at] };
            assert_eq!(got[at], if live { data[from] } else { old }, "element {at}, zero {zero}");
            from += usize::from(live);
        }
        assert_eq!(from, 80);
    }
    let (mut vm, _) = filled(&load(3, true), 5, &mask, [1, 1]);
    let trap = vm.run().unwrap_err();
    assert_eq!(trap.kind(), TrapKind::Shape);
    assert!(Error::from(trap).to_string().contains("row 0 of mask p1 has 4 live elements, memory has vl = 3"));
}

#[test]
fn real_sums_under_masks_by_output_keep_places_and_drop_special_values() {
    for class in [Class::Chain, Class::PairBf16] {
        let mut p = Program::new();
        p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, class as u16)).li(3, 2).li(4, 16);
        p.op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 3, 4, BF16, BF16)).li(1, SRAM).li(4, 32);
        p.op(Op::LdMv, |i| (i.rd, i.rs1, i.imm) = (1, 1, 512));
        p.op(Op::LdBp, |i| (i.rd, i.rs1, i.rs3, i.fd, i.mode) = (1, 1, 4, BF16, 4));
        p.setvl(16, BF16).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd, i.imm) = (2, 1, BF16, 256));
        p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb, i.pm, i.mode) = (0, 1, 2, BF16, BF16, 1, 1));
        let mut vm = p.vm(512);
        let bf16 =
            |values: &[f32]| values.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect::<Vec<_>>();
        vm.write(SRAM, &bf16(&[3.0; 32])).unwrap();
        let mut x = [2.0; 16];
        (x[1], x[9]) = (f32::NAN, f32::INFINITY);
        vm.write(SRAM + 256, &bf16(&x)).unwrap();
        vm.write(SRAM + 512, &[0xfd, 0xfd, 0xff, 0xff]).unwrap();
        vm.run().unwrap();
        assert_eq!(vm.c(0, 0, 0), Some(84.0), "{class:?}: 14 live terms of 6");
        assert!(vm.c(0, 0, 1).unwrap().is_nan(), "{class:?}: all terms");
    }
}

#[test]
pub(super) fn the_array_refuses_what_no_record_or_mask_can_mean() {
    let array = |set: &dyn Fn(&mut Program)| {
        let mut p = Program::new();
        p.tile([2, 2, 16]).li(1, SRAM).li(4, 16);
        set(&mut p);
        p.op(Op::MmW, |i| (i.rs1, i.rs3, i.fa, i.mode) = (1, 4, INT8, 4));
        p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode) = (0, 1, 4, INT8, 4));
        p.vm(512).run().map_err(|trap| trap.kind())
    };
    let record = |p: &mut Program, words: [u32; 8], first: u64| {
        p.li(6, CONTROL + 64);
        for (at, word) in words.into_iter().enumerate() {
            p.li(7, word.into()).op(Op::Sw, |i| (i.rd, i.rs1, i.sub, i.imm) = (7, 6, 2, 4 * at as i32));
        }
        p.li(7, first).op(Op::MmWin, |i| (i.rs1, i.rs2) = (6, 7));
    };
    assert_eq!(array(&|p| record(p, [4, 4, 4, 2, 2, 1, 0, 1], 7)), Ok(()), "9 pixels of 16 terms");
    assert_eq!(array(&|p| record(p, [4, 4, 4, 2, 2, 1, 0, 1], 8)), Err(TrapKind::Shape), "the last pixel is 8");
    assert_eq!(array(&|p| record(p, [4, 4, 4, 5, 2, 1, 0, 1], 0)), Err(TrapKind::Shape), "too high a window");
    assert_eq!(array(&|p| record(p, [4, 4, 4, 2, 2, 0, 0, 1], 0)), Err(TrapKind::Shape), "no stride");
    assert_eq!(array(&|p| record(p, [4, 4, 4, 2, 2, 1 << 20, 0, 1], 0)), Err(TrapKind::Shape), "2^20 pixels a step");
    assert_eq!(array(&|p| record(p, [3, 4, 4, 2, 2, 1, 0, 1], 0)), Err(TrapKind::Shape), "12 terms, not 16");
    let off = |p: &mut Program| {
        record(p, [3, 4, 4, 2, 2, 1, 0, 1], 0);
        p.op(Op::MmWin, |_| {});
    };
    assert_eq!(array(&off), Ok(()), "x0 takes rows again");
    assert_eq!(array(&|p| _ = p.op(Op::MmWin, |i| i.rs1 = 1)), Err(TrapKind::Addr), "a record in SRAM");
    assert_eq!(array(&|p| _ = p.op(Op::MmS, |i| (i.fa, i.imm) = (FP32, 12))), Err(TrapKind::Shape), "runs of 12");
    assert_eq!(array(&|p| _ = p.op(Op::MmS, |i| (i.fa, i.imm) = (FP32, 8))), Ok(()), "ones");
    // Masks of blocks: no size, too few bits, an unknown mask.
    let masked = |size: u64, bits: u64, mode: Mode| {
        let mut p = Program::new();
        p.li(6, if mode == Mode::Functional { CONTROL } else { SRAM })
            .li(7, bits)
            .tile([2, 4, 32])
            .li(1, SRAM)
            .li(8, size);
        p.op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (1, 6, 7));
        p.op(Op::MmW, |i| (i.rd, i.rs1, i.fa, i.pm) = (8, 1, INT8, 1));
        Vm::new(p.object(), config(512), mode).unwrap().run().map_err(|trap| trap.kind())
    };
    assert_eq!(masked(8, 4, Mode::Functional), Ok(()));
    assert_eq!(masked(2 << 32 | 8, 7, Mode::Functional), Err(TrapKind::Shape), "8 blocks, 7 bits");
    assert_eq!(masked(0, 8, Mode::Functional), Err(TrapKind::Shape));
    assert_eq!(masked(8, 4, Mode::TimingOnly), Err(TrapKind::Data));
}
