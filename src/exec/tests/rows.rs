//! One case for every row of the instruction table; each is a test of its own.

use super::*;
use crate::isa::table::{Act, Branch, Class, Csr, Ew, Fill, ROWS, Red, Relation, Rule, Sfu};
use crate::num::DotClass;
use crate::num::{func, trig};

const CASES: &[(Op, fn())] = &[
    (Op::Alu, alu),
    (Op::Lih, lih),
    (Op::Lw, lw_sw),
    (Op::Sw, lw_sw),
    (Op::Branch, branch),
    (Op::Jal, jal_jalr),
    (Op::Jalr, jal_jalr),
    (Op::Loop, loops),
    (Op::Endl, loops),
    (Op::Brk, loops),
    (Op::Csr, csr),
    (Op::FmtSet, fmt_set),
    (Op::Settile, settile),
    (Op::Setacc, setacc),
    (Op::Node, node),
    (Op::Epoch, drains),
    (Op::Halt, drains),
    (Op::DmaDim, dma_copy),
    (Op::DmaWait, dma_wait),
    (Op::JmpMask, masks),
    (Op::NextMask, masks),
    (Op::QFill, scales),
    (Op::Setvl, setvl),
    (Op::Setmac, setmac),
    (Op::LdBp, packed),
    (Op::StBp, packed),
    (Op::LdM, masks),
    (Op::SrSet, blocks::stochastic_rounding_draws_by_logical_index),
    (Op::Adc, blocks::a_converter_rounds_and_clamps_and_adds_its_noise),
    (Op::LdS, scales),
    (Op::StS, scales),
    (Op::StC, tiles),
    (Op::LdC, tiles),
    (Op::EcOpen, entropy::decodes_a_tile),
    (Op::LdEc, entropy::decodes_a_tile),
    (Op::Mac, mac),
    (Op::CFill, tiles),
    (Op::Fold, fold),
    (Op::Cmv, tiles),
    (Op::MmW, array),
    (Op::MmX, array),
    (Op::Ew, elementwise),
    (Op::Bcast, bcast),
    (Op::Sfu, special),
    (Op::Act, special),
    (Op::Rope, rope),
    (Op::Red, reductions),
    (Op::RedEnd, reductions),
    (Op::Qset, quantisers),
    (Op::Quant, quantisers),
    (Op::Dequant, quantisers),
    (Op::Cvt, cvt),
    (Op::LdMv, sparse::ld_mv),
    (Op::MmS, sparse::the_array_refuses_what_no_record_or_mask_can_mean),
    (Op::MmWin, sparse::the_array_refuses_what_no_record_or_mask_can_mean),
    (Op::CmpV, masks),
    (Op::Bit, bits::truth_tables),
    (Op::Rot, bits::funnel),
    (Op::ScGen, bits::streams),
    (Op::DmaLd, dma_copy),
    (Op::DmaSt, dma_copy),
    (Op::DmaFill, dma_fill_gather),
    (Op::DmaGat, dma_fill_gather),
    (Op::Brkpt, moves::breakpoints_change_nothing),
    (Op::StM, moves::masks_are_stored),
    (Op::MOp, moves::masks_combine_up_to_the_shorter),
    (Op::Pack, moves::live_elements_move_to_the_front_and_back),
    (Op::Expand, moves::live_elements_move_to_the_front_and_back),
    (Op::Cld, moves::registers_become_rows_of_tiles),
    (Op::Idx, moves::positions),
    (Op::Macp, planes::planes_make_weights),
    (Op::Abft, guard::a_flipped_entry_is_found_wherever_it_is),
    (Op::ActG, training::gradients_through_activations),
    (Op::Had, training::hadamard),
    (Op::Ste, training::estimators),
    (Op::OptSgd, training::sgd),
    (Op::OptAdam, training::adam),
    (Op::Bar, cores::a_barrier_separates_phases),
    (Op::Sig, cores::a_signal_hands_bytes_from_producer_to_consumer),
    (Op::WaitSig, cores::a_wait_takes_a_signal_that_came_before_it),
    (Op::DmaMc, cores::a_collective_copy_reaches_the_same_place_in_every_member),
];

/// Whether there is a case for `op`.
pub(crate) fn has_case(op: Op) -> bool {
    CASES.iter().any(|(known, _)| *known == op)
}

#[test]
fn every_row_has_a_case() {
    for row in ROWS {
        let found = CASES.iter().any(|(op, _)| *op == row.op);
        assert!(found, "instruction `{}` has no case in exec/tests/rows.rs", row.name);
    }
}

#[test]
fn alu() {
    use Alu::*;
    let minus = -7i64 as u64;
    let table = [
        (Add, u64::MAX, 2, 1),
        (Sub, 1, 2, u64::MAX),
        (Mul, minus, 3, -21i64 as u64),
        (And, 12, 10, 8),
        (Or, 12, 10, 14),
        (Xor, 12, 10, 6),
        (Sll, 1, 65, 2),
        (Srl, minus, 60, 15),
        (Sra, minus, 1, -4i64 as u64),
        (Slt, minus, 1, 1),
        (Sltu, minus, 1, 0),
        (Min, minus, 1, minus),
        (Max, minus, 1, 1),
        (Divu, 17, 5, 3),
        (Remu, 17, 5, 2),
        (Divu, 17, 0, u64::MAX),
        (Remu, 17, 0, 17),
    ];
    assert!(Alu::NAMES.len() == 15);
    for (op, a, b, want) in table {
        let mut p = Program::new();
        p.li(1, a).li(2, b).op(Op::Alu, |i| (i.rd, i.rs1, i.rs2, i.sub) = (3, 1, 2, op as u16));
        p.alu(op, 4, 1, b as i32);
        let vm = p.run();
        assert_eq!((vm.x(3), vm.x(4)), (Some(want), Some(want)), "{} {a} {b}", op.name());
    }
}

#[test]
fn lih() {
    let mut p = Program::new();
    p.alu(Alu::Add, 1, 0, -1).op(Op::Lih, |i| (i.rd, i.imm) = (1, 0x1234));
    assert_eq!(p.run().x(1), Some(0x1234_ffff_ffff));
}

#[test]
fn lw_sw() {
    let mut p = Program::new();
    p.li(1, CONTROL).li(2, SRAM + 16).li(3, 0x8182_8384_8586_8788);
    for (n, width) in [(4, 0), (5, 1), (6, 2), (7, 3)] {
        p.op(Op::Lw, |i| (i.rd, i.rs1, i.sub, i.imm) = (n, 1, width, 8));
        p.op(Op::Sw, |i| (i.rd, i.rs1, i.sub, i.imm) = (3, 2, width, 8 * i32::from(n)));
    }
    let mut vm = p.run();
    assert_eq!([4, 5, 6, 7].map(|n| vm.x(n)), [8, 0x908, 0xb0a_0908, 0xf0e_0d0c_0b0a_0908].map(Some));
    let stored = vm.read(SRAM + 16 + 32, 32).unwrap();
    assert_eq!(stored[..2], [0x88, 0]);
    assert_eq!(stored[8..11], [0x88, 0x87, 0]);
    assert_eq!(stored[16..21], [0x88, 0x87, 0x86, 0x85, 0]);
    assert_eq!(stored[24..], [0x88, 0x87, 0x86, 0x85, 0x84, 0x83, 0x82, 0x81]);
}

#[test]
fn branch() {
    let cases = [(Branch::Beq, 1, 1), (Branch::Bne, 1, 2), (Branch::Blt, -1, 1), (Branch::Bge, 1, -1)];
    for (op, a, b) in cases {
        for (a, b, want) in [(a, b, 0), (b, a, i32::from(!matches!(op, Branch::Beq | Branch::Bne)))] {
            let mut p = Program::new();
            p.alu(Alu::Add, 1, 0, a).alu(Alu::Add, 2, 0, b);
            p.op(Op::Branch, |i| (i.rs1, i.rs2, i.sub, i.imm) = (1, 2, op as u16, 2));
            p.alu(Alu::Add, 3, 0, 1);
            assert_eq!(p.run().x(3), Some(want as u64), "{} {a} {b}", op.name());
        }
    }
}

#[test]
fn jal_jalr() {
    let mut p = Program::new();
    let call = p.at() as u64;
    // call +3; x5 = 1; j +3; x6 = 2; ret
    p.op(Op::Jal, |i| (i.rd, i.imm) = (1, 3)).alu(Alu::Add, 5, 0, 1).op(Op::Jal, |i| i.imm = 3);
    p.alu(Alu::Add, 6, 0, 2).op(Op::Jalr, |i| (i.rd, i.rs1) = (7, 1));
    let vm = p.run();
    assert_eq!([1, 5, 6, 7].map(|n| vm.x(n)), [call + 1, 1, 2, call + 5].map(Some));
}

#[test]
fn loops() {
    let mut p = Program::new();
    p.li(1, 5).li(2, 3).op(Op::Loop, |i| (i.rs1, i.imm) = (1, 5));
    p.op(Op::Loop, |i| (i.rs1, i.imm) = (2, 2)).alu(Alu::Add, 3, 3, 1).op(Op::Endl, |_| ());
    p.alu(Alu::Add, 4, 4, 1).op(Op::Endl, |_| ());
    // zero times: the body is skipped; brk leaves after one round
    p.op(Op::Loop, |i| (i.rs1, i.imm) = (0, 2)).alu(Alu::Add, 5, 5, 1).op(Op::Endl, |_| ());
    p.op(Op::Loop, |i| (i.rs1, i.imm) = (1, 3)).alu(Alu::Add, 6, 6, 1).op(Op::Brk, |_| ()).op(Op::Endl, |_| ());
    let vm = p.run();
    assert_eq!([3, 4, 5, 6].map(|n| vm.x(n)), [15, 5, 0, 1].map(Some));
}

#[test]
fn csr() {
    let mut p = Program::new();
    for k in 0..Csr::NAMES.len() as u16 {
        p.op(Op::Csr, |i| (i.rd, i.sub) = (k as u8 + 1, k));
    }
    let vm = p.run();
    assert_eq!([1, 2, 3, 4, 5, 6].map(|n| vm.x(n)), [0, 1, 512, 8, 32, 32].map(Some));
}

#[test]
fn fmt_set() {
    let mut p = Program::new();
    p.op(Op::FmtSet, |i| (i.rd, i.imm) = (15, 3)).li(1, 99);
    p.op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (2, 1, 15, 15));
    assert_eq!(p.run().x(2), Some(64), "slot f15 holds int8: 512 / 8 elements");
    p.op(Op::FmtSet, |i| (i.rd, i.imm) = (15, 100));
    assert_eq!(p.trap().kind(), TrapKind::Fmt);
}

#[test]
fn settile() {
    let mut p = Program::new();
    for (dim, n) in [(0, 100), (1, 100), (2, 5000)] {
        p.li(1, n).op(Op::Settile, |i| (i.rd, i.rs1, i.sub) = (2 + dim as u8, 1, dim));
    }
    let vm = p.run();
    assert_eq!([2, 3, 4].map(|n| vm.x(n)), [8, 32, 4096].map(Some));
}

#[test]
fn setacc() {
    let mut p = Program::new();
    p.vector(1, &[2.0]).li(1, 1).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 1, 1, 1));
    p.op(Op::Setacc, |i| (i.rd, i.sub) = (2, Class::Chain as u16));
    p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (2, 1, 1, 1, 1));
    assert_eq!(p.run().c(2, 0, 0), Some(4.0));
    p.op(Op::Setacc, |i| (i.rd, i.sub) = (2, Class::PairBf16 as u16));
    assert_eq!(p.run().c(2, 0, 0), Some(0.0), "setacc clears");
    p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (2, 1, 1, 1, 1));
    assert_eq!(p.trap().kind(), TrapKind::Acc, "fp32 is not exact in bf16");
}

#[test]
fn node() {
    let mut p = Program::new();
    p.li(1, 7).op(Op::Node, |i| i.rs1 = 1).alu(Alu::Add, 2, 0, 1);
    assert_eq!(p.last_event().node, 7);
    assert_eq!(p.run().node(), 7);
}

#[test]
fn drains() {
    let mut p = Program::new();
    p.op(Op::Epoch, |_| ());
    assert_eq!(p.last_event().work, Work::Drain);
    let mut vm = p.vm(512);
    vm.run().unwrap();
    let mut event = Event::new();
    assert_eq!(vm.step(&mut event), Ok(Status::Halted));
    assert_eq!((event.op, event.work), (Op::Halt, Work::Drain));
}

#[test]
fn dma_copy() {
    // 2 x 3 blocks of 2 bytes: source 4 and 16 apart, destination packed.
    let mut p = Program::new();
    p.li(1, 3).li(2, 4).li(3, 2).op(Op::DmaDim, |i| (i.rd, i.sub, i.rs1, i.rs2, i.imm) = (1, 1, 1, 2, 3));
    p.li(1, 2).li(2, 16).li(3, 6).op(Op::DmaDim, |i| (i.rd, i.sub, i.rs1, i.rs2, i.imm) = (1, 2, 1, 2, 3));
    p.li(4, SRAM + 64).li(5, 100).li(6, 2).li(7, SHARED + 8).li(8, 12);
    p.op(Op::DmaLd, |i| (i.rd, i.rs1, i.rs2, i.mode, i.aux) = (4, 5, 6, 1, 3));
    let event = p.last_event();
    assert_eq!(event.work, Work::Dma { bytes: 12, runs: 6, tag: 3 });
    let [from, to] = [event.touched()[0], event.touched()[1]];
    assert_eq!((from.space, from.lo, from.hi, from.runs, from.write), (Space::Dram, 100, 126, 6, false));
    assert_eq!((to.space, to.lo, to.hi, to.runs, to.write), (Space::Sram, 64, 76, 1, true));
    p.op(Op::DmaSt, |i| (i.rd, i.rs1, i.rs2, i.mode, i.aux) = (7, 4, 8, 0, 3));
    let mut vm = p.vm(512);
    vm.write(100, &(0u8..40).collect::<Vec<_>>()).unwrap();
    vm.run().unwrap();
    let want = [0, 1, 4, 5, 8, 9, 16, 17, 20, 21, 24, 25];
    assert_eq!(vm.read(SRAM + 64, 12).unwrap(), want);
    assert_eq!(vm.read(SHARED + 8, 12).unwrap(), want);
}

#[test]
fn dma_wait() {
    let mut p = Program::new();
    p.op(Op::DmaWait, |i| (i.rd, i.imm) = (5, 2));
    assert_eq!(p.last_event().work, Work::Wait { tag: 5, left: 2 });
}

#[test]
fn dma_fill_gather() {
    let mut p = Program::new();
    p.li(1, SRAM).li(2, 300).li(3, 5).li(4, 3).li(5, CONTROL + 16).li(6, SRAM + 7);
    for (n, index) in [2, 0, 2].into_iter().enumerate() {
        p.li(7, index).op(Op::Sw, |i| (i.rd, i.rs1, i.sub, i.imm) = (7, 5, 2, 4 * n as i32));
    }
    p.op(Op::DmaGat, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.imm) = (1, 2, 3, 4, 5));
    let event = p.last_event();
    assert_eq!(event.work, Work::Dma { bytes: 15, runs: 3, tag: 0 });
    assert_eq!((event.touched()[0].lo, event.touched()[0].hi), (300, 315));
    p.op(Op::DmaFill, |i| (i.rd, i.rs2, i.imm, i.aux) = (6, 4, 0xab, 1));
    let mut vm = p.vm(512);
    vm.write(300, b"AAAAABBBBBCCCCC").unwrap();
    vm.run().unwrap();
    assert_eq!(vm.read(SRAM, 16).unwrap(), b"CCCCCAA\xab\xab\xabCCCCC\0");
}

#[test]
fn masks() {
    // Bits of control memory byte 8..: 8 = 0b1000, 9 = 0b1001.
    let mut p = Program::new();
    p.li(1, CONTROL + 8).li(2, 12).op(Op::LdM, |i| (i.rd, i.rs1, i.rs3, i.mode) = (1, 1, 2, 1));
    for (n, from) in [(10, 0), (11, 4), (12, 12)] {
        p.li(n, 99).li(3, from);
        p.op(Op::NextMask, |i| (i.rd, i.rs1, i.rs2, i.imm) = (n, 1, 3, 1));
    }
    p.li(4, CONTROL).li(2, 3).op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (2, 4, 2));
    p.li(5, 1).op(Op::JmpMask, |i| (i.rs1, i.imm) = (2, 2)).alu(Alu::Add, 5, 0, 2);
    p.li(6, 1).op(Op::JmpMask, |i| (i.rs1, i.imm) = (1, 2)).alu(Alu::Add, 6, 0, 2);
    let vm = p.run();
    assert_eq!([1, 10, 11, 12].map(|n| vm.x(n)), [CONTROL + 10, 3, 8, 99].map(Some));
    assert_eq!([5, 6].map(|n| vm.x(n)), [1, 2].map(Some), "an empty mask jumps, another does not");

    let nan = f32::NAN;
    for (relation, want) in [
        (Relation::Eq, [false, true, false, false, true]),
        (Relation::Ne, [true, false, true, true, false]),
        (Relation::Lt, [true, false, false, false, false]),
        (Relation::Le, [true, true, false, false, true]),
    ] {
        let mut p = Program::new();
        p.vector(1, &[1.0, 2.0, 3.0, nan, -0.0]).vector(2, &[2.0, 2.0, 2.0, nan, 0.0]);
        p.op(Op::CmpV, |i| (i.rd, i.rs1, i.rs2, i.mode) = (1, 1, 2, relation as u8));
        let vm = p.run();
        assert_eq!([0, 1, 2, 3, 4].map(|i| vm.p(1, i).unwrap()), want, "{}", relation.name());
        assert_eq!(vm.p(1, 5), Some(false));
    }
}

#[test]
fn scales() {
    let mut p = Program::new();
    p.f32(1, 1.5).op(Op::QFill, |i| (i.rd, i.rs1) = (3, 1));
    p.vector(1, &[7.0, 8.0, 9.0]).li(2, 2).op(Op::LdS, |i| (i.rd, i.rs1, i.rs2, i.fa, i.mode) = (3, 30, 2, 1, 1));
    p.li(4, SRAM).li(2, 3).op(Op::StS, |i| (i.rd, i.rs1, i.rs2, i.fa) = (3, 4, 2, 1));
    let mut vm = p.run();
    assert_eq!(vm.q(3).unwrap()[..4], [7.0, 8.0, 1.5, 1.5]);
    assert_eq!(vm.x(30), Some(SRAM + 0x8008));
    assert_eq!(vm.read(SRAM, 12).unwrap()[8..], 1.5f32.to_le_bytes());
}

#[test]
fn setvl() {
    let mut p = Program::new();
    p.li(1, 1000);
    for (n, fa, fb) in [(2, 1, 1), (3, 5, 5), (4, 6, 2), (5, 6, 6)] {
        p.op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (n, 1, fa, fb));
    }
    let vm = p.run();
    assert_eq!([2, 3, 4, 5].map(|n| vm.x(n)), [16, 256, 32, 512].map(Some));
    assert_eq!(vm.vl(), 512);
}

#[test]
fn setmac() {
    // VLEN 512: (weights, inputs, NL and depth wanted) -> (NL, KD)
    for (fw, fx, nl, depth, want) in [
        (4, 4, 4, 100, (4, 16)),
        (5, 4, 4, 100, (4, 64)),
        (5, 4, 4, 40, (4, 40)),
        (6, 6, 3, 1000, (3, 128)),
        (1, 1, 100, 9, (16, 1)),
        (6, 1, 64, 64, (32, 16)),
        (4, 4, 0, 8, (0, 8)),
    ] {
        let mut p = Program::new();
        p.li(1, nl).li(2, depth).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 2, fw, fx));
        let vm = p.run();
        assert_eq!((vm.x(10).unwrap(), vm.x(11).unwrap()), want, "{fw} {fx} {nl} {depth}");
    }
    let mut p = Program::new();
    p.li(1, 1).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 1, 6, 1));
    assert_eq!(p.vm(32).run().unwrap_err().kind(), TrapKind::Shape, "binary x fp32 at VLEN 32");
}

#[test]
fn packed() {
    let mut p = Program::new();
    p.li(1, CONTROL + 1).li(2, SRAM).setvl(5, 5);
    p.op(Op::LdBp, |i| (i.rd, i.rs1, i.fd, i.mode) = (1, 1, 5, 1));
    p.op(Op::StBp, |i| (i.rd, i.rs1, i.fd) = (1, 2, 5));
    p.li(4, 2).li(5, 3).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 4, 5, 4, 4));
    p.li(6, 10).li(7, CONTROL + 20);
    p.op(Op::LdBp, |i| (i.rd, i.rs1, i.rs3, i.fd, i.mode, i.rs2) = (2, 7, 6, 4, 6, 6));
    let event = p.last_event();
    assert_eq!(event.touched()[0], Access { space: Space::Control, write: false, lo: 20, hi: 33, bytes: 6, runs: 2 });
    let mut vm = p.run();
    // Five ternary codes are ten bits: byte 1 and the low two bits of byte 2, the rest is code 0.
    assert_eq!(vm.v(1).unwrap()[..3], [1, 2, 0]);
    assert_eq!(vm.read(SRAM, 3).unwrap(), [1, 2, 0]);
    assert_eq!((vm.x(1), vm.x(7)), (Some(CONTROL + 3), Some(CONTROL + 30)));
    let v = vm.v(2).unwrap();
    assert_eq!((&v[..4], &v[32..36], v.len()), (&[20, 21, 22, 0][..], &[30, 31, 32, 0][..], 64));
}

#[test]
fn codes_narrower_than_their_container_are_unpacked_and_packed() {
    // Bytes 0x01 to 0x06 of control memory as three-bit codes, low bits first: 1 0 0 4 | 0 4 1 0 (3 bytes), ...
    let mut p = Program::new();
    p.li(1, CONTROL + 1).li(2, SRAM).setvl(11, 9);
    p.op(Op::LdBp, |i| (i.rd, i.rs1, i.fd, i.mode) = (1, 1, 9, 1));
    p.op(Op::StBp, |i| (i.rd, i.rs1, i.fd, i.mode) = (1, 2, 9, 1));
    let mut vm = p.run();
    assert_eq!(vm.vl(), 11);
    let bits: u64 = 0x05_0403_0201;
    let code = |i: usize| (bits >> (3 * i) & 7) as u8;
    let want: Vec<u8> = (0..6).map(|i| code(2 * i) | if i < 5 { code(2 * i + 1) << 4 } else { 0 }).collect();
    assert_eq!(vm.v(1).unwrap()[..7], [&want[..], &[0]].concat());
    assert_eq!((vm.x(1), vm.x(2)), (Some(CONTROL + 6), Some(SRAM + 5)));
    assert_eq!(vm.read(SRAM, 6).unwrap(), [1, 2, 3, 4, 5 & 1, 0], "33 bits, the tail is zero");
    // Rows of eight codes have three bytes in memory and four in the register.
    let mut p = Program::new();
    p.li(4, 2).li(5, 64).li(6, 3).li(7, CONTROL + 1);
    p.op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 4, 5, 9, 1));
    p.op(Op::LdBp, |i| (i.rd, i.rs1, i.rs3, i.fd, i.mode) = (1, 7, 6, 9, 4));
    let event = p.last_event();
    assert_eq!(
        (event.touched()[0].bytes, event.work),
        (12, Work::Move { bytes: 12, rows: 2, format: find("int3").unwrap().id })
    );
    let vm = p.run();
    assert_eq!((vm.x(10), vm.x(11)), (Some(2), Some(16)));
    let v = vm.v(1).unwrap();
    assert_eq!((v[0], v[8]), (code(0) | code(1) << 4, 4), "row 1 starts at byte 4 of control memory");
}

#[test]
fn tiles() {
    let mut p = Program::new();
    p.tile([2, 3, 1]).vector(1, &[1.0, -0.0, 3.0, 4.0, 5.0, 6.0]);
    p.op(Op::LdC, |i| (i.rd, i.rs1, i.fd) = (1, 30, 1));
    p.li(1, 1).setvl(3, 1).op(Op::Cmv, |i| (i.rd, i.rs1, i.rs3) = (2, 1, 1));
    p.li(2, SRAM).li(3, 8).op(Op::StC, |i| (i.rd, i.rs1, i.rs3, i.fd, i.mode) = (1, 2, 3, 2, 4));
    let event = p.last_event();
    assert_eq!((event.touched()[0].bytes, event.touched()[0].runs, event.touched()[0].hi), (12, 2, 14));
    let mut vm = p.run();
    assert_eq!(floats(&vm, 2)[..4], [4.0, 5.0, 6.0, 0.0]);
    let bf16 = [0x80, 0x3f, 0x00, 0x80, 0x40, 0x40, 0, 0, 0x80, 0x40];
    assert_eq!(vm.read(SRAM, 10).unwrap(), bf16, "1, -0, 3 and 4 in bf16, rows 8 bytes apart");
    p.op(Op::CFill, |i| (i.rd, i.mode) = (1, Fill::NegInf as u8));
    assert_eq!(p.run().c(1, 7, 31), Some(f32::NEG_INFINITY));
    p.op(Op::CFill, |i| (i.rd, i.mode) = (1, Fill::Zero as u8));
    assert_eq!(p.run().c(1, 1, 1), Some(0.0));
    p.op(Op::CFill, |i| (i.rd, i.mode) = (0, Fill::NegInf as u8));
    assert_eq!(p.trap().kind(), TrapKind::Acc, "c0 is of class exact");
}

/// 2 rows of 4 int8 weights, 4 int8 inputs, in v1 and v2; the view is set.
fn int8_view() -> Program {
    let mut p = Program::new();
    p.li(1, SRAM).li(2, 0x01fe_0380).op(Op::Sw, |i| (i.rd, i.rs1, i.sub) = (2, 1, 2));
    p.li(2, 0x0102_0304).op(Op::Sw, |i| (i.rd, i.rs1, i.sub, i.imm) = (2, 1, 2, 4));
    p.li(2, 0x7f01_0a02).op(Op::Sw, |i| (i.rd, i.rs1, i.sub, i.imm) = (2, 1, 2, 8));
    p.li(3, 2).li(4, 4).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 3, 4, 4, 4));
    p.op(Op::LdBp, |i| (i.rd, i.rs1, i.rs3, i.fd, i.mode) = (1, 1, 4, 4, 4));
    p.setvl(4, 4).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd, i.imm) = (2, 1, 4, 8));
    p
}

#[test]
fn mac() {
    let mut p = int8_view();
    p.li(5, 3).op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.fa, i.fb) = (1, 1, 2, 5, 4, 4));
    // (-128, 3, -2, 1) . (2, 10, 1, 127) and (4, 3, 2, 1) . the same
    let vm = p.run();
    assert_eq!((vm.c(1, 3, 0), vm.c(1, 3, 1), vm.c(1, 0, 0)), (Some(-101.0), Some(167.0), Some(0.0)));
    p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.fa, i.fb) = (1, 1, 2, 5, 4, 4));
    assert_eq!(p.run().c(1, 3, 0), Some(-202.0), "mac accumulates");
    // Mask 0b0101 (byte 5 of control memory): terms 0 and 2 only.
    let mut p = int8_view();
    p.li(6, CONTROL + 5).op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (1, 6, 4));
    p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb, i.pm, i.pz) = (1, 1, 2, 4, 4, 1, true));
    let work = p.last_event().work;
    assert!(matches!(work, Work::Mac { outputs: 2, terms: 8, live: 4, class: DotClass::Exact, .. }), "{work:?}");
    assert_eq!((p.run().c(1, 0, 0), p.run().c(1, 0, 1)), (Some(-258.0), Some(10.0)));
}

#[test]
fn fold() {
    let mut p = int8_view();
    p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (0, 1, 2, 4, 4));
    p.f32(7, 0.5).f32(8, 4.0).op(Op::QFill, |i| (i.rd, i.rs1) = (0, 7)).op(Op::QFill, |i| (i.rd, i.rs1) = (1, 8));
    p.tile([1, 2, 1]).op(Op::Fold, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.mode) = (1, 0, 0, 1, 1));
    let vm = p.run();
    assert_eq!((vm.c(1, 0, 0), vm.c(1, 0, 1), vm.c(0, 0, 0)), (Some(-202.0), Some(334.0), Some(0.0)));
    p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (0, 1, 2, 4, 4));
    p.op(Op::Fold, |i| (i.rd, i.rs1, i.rs2, i.rs3) = (1, 0, 0, 1));
    assert_eq!(p.run().c(1, 0, 0), Some(-404.0), "without .new it adds");
    assert!(matches!(p.last_event().work, Work::Tile { entries: 2, fold: true }));
    p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (0, 1, 2, 4, 4));
    p.op(Op::Fold, |i| (i.rd, i.rs1) = (0, 1));
    assert_eq!(p.trap().kind(), TrapKind::Acc, "an exact sum cannot take a result");
}

#[test]
fn array() {
    let mut p = int8_view();
    p.tile([2, 2, 2]).li(4, 4).op(Op::MmW, |i| (i.rs1, i.rs3, i.fa, i.mode) = (1, 4, 4, 4));
    p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode, i.imm) = (1, 1, 4, 4, 4, 4));
    let event = p.last_event();
    assert!(matches!(event.work, Work::TileMac { tm: 2, tn: 2, tk: 2, .. }), "{event:?}");
    // W = [[-128, 3], [4, 3]], X = [[4, 3], [2, 10]]
    let want = [[-503.0, 25.0], [-226.0, 38.0]];
    let tile = |vm: &Vm| [0, 1].map(|m| [0, 1].map(|n| vm.c(1, m, n).unwrap()));
    assert_eq!(tile(&p.run()), want);
    p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode, i.imm) = (1, 1, 4, 4, 4, 4));
    assert_eq!(tile(&p.run()), want.map(|row| row.map(|x| 2.0 * x)));
    p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode, i.imm) = (1, 1, 4, 4, 12, 4));
    assert_eq!(tile(&p.run()), want, ".new clears first");
    p.tile([2, 2, 1]).op(Op::MmX, |i| (i.rd, i.rs1, i.fb) = (1, 1, 4));
    assert_eq!(p.trap().kind(), TrapKind::Shape, "the stationary tile has another shape");
}

#[test]
fn elementwise() {
    let (a, b) = ([1.5f32, -0.0, f32::NAN, 1e38], [2.0f32, 0.0, 1.0, 1e38]);
    for op in (0..Ew::NAMES.len() as u16).filter_map(Ew::from_code) {
        let mut p = Program::new();
        p.vector(1, &a).vector(2, &b).vector(3, &[10.0, 1.0, 1.0, -1.0]);
        p.op(Op::Ew, |i| {
            (i.rd, i.rs1, i.rs2, i.mode) = (4, 1, 2, op as u8);
            i.rs3 = if op == Ew::Fmav { 3 } else { 0 };
        });
        let want: [f32; 4] = match op {
            Ew::Addv => [3.5, 0.0, f32::NAN, 2e38],
            Ew::Subv => [-0.5, -0.0, f32::NAN, 0.0],
            Ew::Mulv => [3.0, -0.0, f32::NAN, f32::INFINITY],
            Ew::Divv => [0.75, f32::NAN, f32::NAN, 1.0],
            Ew::Minv => [1.5, -0.0, f32::NAN, 1e38],
            Ew::Maxv => [2.0, 0.0, f32::NAN, 1e38],
            Ew::Fmav => [13.0, 1.0, f32::NAN, f32::INFINITY],
        };
        let bits = |x: &f32| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
        let got: Vec<u32> = floats(&p.run(), 4)[..5].iter().map(|x| x.to_bits()).collect();
        let want: Vec<u32> = want.iter().chain(&[0.0]).map(bits).collect();
        assert_eq!(got, want, "{}", op.name());
    }
}

#[test]
fn bcast() {
    let mut p = Program::new();
    p.vector(1, &[1.0; 16]).setvl(3, 1).f32(1, 2.5).op(Op::Bcast, |i| (i.rd, i.rs1) = (1, 1));
    assert_eq!(floats(&p.run(), 1)[..4], [2.5, 2.5, 2.5, 0.0]);
}

#[test]
fn special() {
    type Function = fn(f32) -> f32;
    let functions: [(Op, u8, Function); 14] = [
        (Op::Sfu, Sfu::Exp as u8, func::exp),
        (Op::Sfu, Sfu::Log as u8, func::log),
        (Op::Sfu, Sfu::Rsqrt as u8, func::rsqrt),
        (Op::Sfu, Sfu::Sqrt as u8, func::sqrt),
        (Op::Sfu, Sfu::Recip as u8, func::recip),
        (Op::Sfu, Sfu::Tanh as u8, func::tanh),
        (Op::Sfu, Sfu::Sigmoid as u8, func::sigmoid),
        (Op::Act, Act::Relu as u8, func::relu),
        (Op::Act, Act::Relu2 as u8, func::relu2),
        (Op::Act, Act::Gelu as u8, func::gelu),
        (Op::Act, Act::Silu as u8, func::silu),
        (Op::Act, Act::Gelut as u8, func::gelut),
        (Op::Sfu, Sfu::Sin as u8, trig::sin),
        (Op::Sfu, Sfu::Cos as u8, trig::cos),
    ];
    let inputs = [0.3f32, 2.0, -1.25];
    for (op, mode, function) in functions {
        let mut p = Program::new();
        p.vector(1, &inputs).op(op, |i| (i.rd, i.rs1, i.mode) = (1, 1, mode));
        let got: Vec<u32> = floats(&p.run(), 1)[..3].iter().map(|x| x.to_bits()).collect();
        assert_eq!(got, inputs.map(|x| function(x).to_bits()), "{op:?} {mode}");
        assert!(got.iter().all(|bits| bits & 0x7fff_ffff <= 0x7f80_0000 || *bits == 0x7fc0_0000), "NaN is canonical");
    }
}

#[test]
fn rope() {
    let mut p = Program::new();
    p.vector(4, &[0.5, 0.25]).vector(3, &[0.75, 2.0]).vector(1, &[3.0, 1.0]).vector(2, &[5.0, -1.0]);
    p.op(Op::Rope, |i| (i.rd, i.rs1, i.rs2) = (1, 1, 3));
    let vm = p.run();
    assert_eq!(floats(&vm, 1)[..3], [3.0 * 0.75 - 5.0 * 0.5, 2.25, 0.0]);
    assert_eq!(floats(&vm, 2)[..3], [5.0 * 0.75 + 3.0 * 0.5, -1.75, 0.0]);
}

#[test]
fn reductions() {
    let values: Vec<f32> = (0..16).map(|i| (i as f32 - 7.3) * 1.7).collect();
    let fold = |f: fn(f32, f32) -> f32, g: fn(f32) -> f32| {
        let mut p: Vec<f32> = values.iter().map(|x| g(*x)).collect();
        for half in [8, 4, 2, 1] {
            (0..half).for_each(|j| p[j] = f(p[j], p[j + half]));
        }
        p[0]
    };
    let add = |a: f32, b: f32| a + b;
    let cases = [
        (Red::Sum, fold(add, |x| x)),
        (Red::Asum, fold(add, f32::abs)),
        (Red::Sq, fold(add, |x| x * x)),
        (Red::Max, 7.7 * 1.7),
        (Red::Amax, 7.3 * 1.7),
    ];
    for (op, want) in cases {
        let want = if op == Red::Amax { 7.7f32 * 1.7 } else { want };
        let mut p = Program::new();
        let fill = if op == Red::Max { Fill::NegInf } else { Fill::Zero };
        p.vector(1, &values).op(Op::Setacc, |i| (i.rd, i.sub) = (0, Class::Chain as u16));
        p.op(Op::CFill, |i| (i.rd, i.mode) = (0, fill as u8));
        p.op(Op::Red, |i| (i.rd, i.rs1, i.rs2, i.mode) = (0, 1, 0, op as u8));
        p.setvl(2, 1).op(Op::RedEnd, |i| (i.rd, i.rs1, i.mode) = (2, 0, op as u8));
        let vm = p.run();
        let near = (floats(&vm, 2)[0] - want).abs() <= 1e-6 * want.abs();
        assert!(near, "{}: {} {want}", op.name(), floats(&vm, 2)[0]);
        assert_eq!(floats(&vm, 2)[1..3], [floats(&vm, 2)[0], 0.0]);
        assert_eq!(vm.c(0, 0, 0), Some(floats(&vm, 2)[0]));
        if matches!(op, Red::Sum | Red::Asum | Red::Sq) {
            assert_eq!(floats(&vm, 2)[0].to_bits(), want.to_bits(), "{}: the order of the tree", op.name());
        }
    }
}

/// qset, quant and dequant of `values` in slot `slot`: stored scale, code bytes, values again.
fn quantised(slot: u8, rule: Rule, values: &[f32]) -> (f32, Vec<u8>, Vec<f32>) {
    let mut p = Program::new();
    let red = if rule == Rule::Absmax { Red::Amax } else { Red::Asum };
    p.vector(1, values).op(Op::Setacc, |i| (i.rd, i.sub) = (0, Class::Chain as u16));
    p.op(Op::Red, |i| (i.rd, i.rs1, i.mode) = (0, 1, red as u8));
    p.op(Op::RedEnd, |i| (i.rd, i.rs1, i.mode) = (2, 0, red as u8));
    p.li(1, values.len() as u64).op(Op::Qset, |i| (i.rd, i.rs1, i.rs2, i.fd, i.mode) = (4, 0, 1, slot, rule as u8));
    p.op(Op::Quant, |i| (i.rd, i.rs1, i.rs2, i.fd) = (1, 1, 4, slot));
    p.op(Op::Dequant, |i| (i.rd, i.rs1, i.rs2, i.fa) = (3, 1, 4, slot));
    let vm = p.run();
    (vm.q(4).unwrap()[0], vm.v(1).unwrap()[..8].to_vec(), floats(&vm, 3)[..values.len()].to_vec())
}

#[test]
fn quantisers() {
    let (scale, codes, back) = quantised(4, Rule::Absmax, &[2.54, -1.0, 0.0, 0.011]);
    assert_eq!((scale, &codes[..5]), (2.54 / 127.0, &[127, -50i8 as u8, 0, 1, 0][..]));
    assert_eq!(back, [127.0 * scale, -50.0 * scale, 0.0, scale]);
    assert_eq!(quantised(4, Rule::Absmax, &[0.0]).0, 1e-5 / 127.0);

    let (scale, codes, back) = quantised(5, Rule::Absmean, &[1.0, -1.5, 0.25, 0.25]);
    assert_eq!((scale, codes[0]), (0.75, 0b00_00_10_01));
    assert_eq!(back, [0.75, -0.75, 0.0, 0.0]);

    let (scale, codes, back) = quantised(6, Rule::Absmean, &[1.0, -1.5, -0.0, -1e-30]);
    assert_eq!((scale, codes[0]), (2.5 / 4.0, 0b1010));
    assert_eq!(back, [0.625, -0.625, 0.625, -0.625]);

    let (scale, _, back) = quantised(7, Rule::Absmax, &[896.0, -2.0]);
    assert_eq!((scale, back), (2.0, vec![896.0, -2.0]));
    assert_eq!(quantised(7, Rule::Absmax, &[0.0, -0.0]).0, 1.0);

    for (slot, rule) in [(4, Rule::Absmax), (5, Rule::Absmean), (6, Rule::Absmean), (7, Rule::Absmax)] {
        for poison in [f32::NAN, f32::INFINITY] {
            let (scale, codes, back) = quantised(slot, rule, &[1.0, poison]);
            assert_eq!((scale.to_bits(), &codes[..2]), (0x7fc0_0000, &[0, 0][..]), "slot {slot}");
            assert!(back.iter().all(|x| x.to_bits() == 0x7fc0_0000));
        }
    }
}

#[test]
fn cvt() {
    let mut p = Program::new();
    p.vector(1, &[1.0 + 1.0 / 256.0, -2.0, f32::MAX, f32::NAN]);
    p.op(Op::Cvt, |i| (i.rd, i.rs1, i.fd, i.fa) = (2, 1, 2, 1));
    p.op(Op::Cvt, |i| (i.rd, i.rs1, i.fd, i.fa) = (3, 2, 1, 2));
    let vm = p.run();
    assert_eq!(vm.v(2).unwrap()[..10], [0x80, 0x3f, 0x00, 0xc0, 0x80, 0x7f, 0xc0, 0x7f, 0, 0]);
    let back = floats(&vm, 3);
    assert_eq!((back[0], back[1], back[2], back[3].to_bits()), (1.0, -2.0, f32::INFINITY, 0x7fc0_0000));
}
