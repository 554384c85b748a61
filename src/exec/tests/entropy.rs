//! Entropy decoders against the coder of `tensor::layout`, their traps, and their time without the payload.

use super::*;
use crate::num::format::find;
use crate::tensor::layout::entropy::Coded;

/// Slot of ternary and of int8 in [`Program::FORMATS`].
const TERNARY: u8 = 5;
const INT8: u8 = 4;
/// Where the restart entries and then the model stand in control memory.
const TABLE: u64 = CONTROL + 256;

fn codes(n: usize) -> Vec<u8> {
    (0..n as u64)
        .map(|i| if (i.wrapping_mul(0x9e37_79b9) >> 7) % 7 < 5 { 0 } else { 1 + ((i / 3) & 1) as u8 })
        .collect()
}

fn coded(codes: &[u8], tile: u32) -> Coded {
    let dense: Vec<u8> = codes.chunks(4).map(|c| c.iter().rev().fold(0, |byte, code| byte << 2 | code)).collect();
    Coded::of_rows(find("ternary").unwrap(), 1, codes.len(), &dense, tile).unwrap()
}

/// Opens tile `tile`, whose bytes lie at the start of SRAM, and decodes runs of these lengths into v1, v2, ...
fn program(coded: &Coded, tile: usize, runs: &[u64], slot: u8) -> Program {
    let mut p = Program::new();
    p.li(1, SRAM).li(2, TABLE + 16 * tile as u64).li(3, TABLE + 16 * coded.tiles() as u64);
    p.op(Op::EcOpen, |i| (i.aux, i.rs1, i.rs2, i.rs3) = (2, 1, 2, 3));
    for (v, run) in (1..).zip(runs) {
        p.setvl(*run, slot).op(Op::LdEc, |i| (i.rd, i.aux, i.fd) = (v, 2, slot));
    }
    p
}

fn vm(p: &Program, coded: &Coded, tile: usize, mode: Mode) -> Vm {
    let mut vm = Vm::new(p.object(), config(512), mode).unwrap();
    let restart = coded.restart(tile).unwrap();
    vm.write(SRAM, &coded.payload()[restart.offset as usize..][..restart.bytes as usize]).unwrap();
    vm.write(TABLE, &coded.control_bytes()).unwrap();
    vm
}

fn trap(p: &Program, coded: &Coded) -> Trap {
    vm(p, coded, 0, Mode::Functional).run().unwrap_err()
}

#[test]
pub fn decodes_a_tile() {
    let codes = codes(500);
    let coded = coded(&codes, 200);
    for (tile, runs) in [(0, [100, 37, 63]), (1, [1, 0, 199]), (2, [50, 25, 25])] {
        let mut vm = vm(&program(&coded, tile, &runs, TERNARY), &coded, tile, Mode::Functional);
        vm.run().unwrap();
        let mut at = 200 * tile;
        for (v, run) in (1..).zip(runs) {
            let run = run as usize;
            let found: Vec<u8> = (0..256).map(|i| vm.v(v).unwrap()[i / 4] >> (2 * (i % 4)) & 3).collect();
            assert_eq!(found[..run], codes[at..at + run], "tile {tile}, v{v}");
            assert!(found[run..].iter().all(|code| *code == 0));
            at += run;
        }
    }
}

#[test]
fn codes_widen_to_the_container_of_their_format() {
    let codes = codes(40);
    let coded = coded(&codes, 64);
    let mut vm = vm(&program(&coded, 0, &[40], INT8), &coded, 0, Mode::Functional);
    vm.run().unwrap();
    assert_eq!(vm.v(1).unwrap()[..40], codes);
}

#[test]
fn time_needs_the_table_and_not_the_payload() {
    let coded = coded(&codes(500), 200);
    let p = program(&coded, 0, &[100, 37, 63], TERNARY);
    let events = |mode: Mode| {
        let mut vm = vm(&p, &coded, 0, mode);
        let (mut event, mut found) = (Event::new(), Vec::new());
        while vm.step(&mut event).unwrap() == Status::Running {
            found.push((event.pc, event.work, event.access[..usize::from(event.accesses)].to_vec()));
        }
        found
    };
    let (functional, timing) = (events(Mode::Functional), events(Mode::TimingOnly));
    assert_eq!(functional, timing);
    let restart = coded.restart(0).unwrap();
    let decoded: Vec<(u32, u64)> = functional
        .iter()
        .filter_map(|(_, work, _)| match work {
            Work::Decode { symbols, bytes, .. } => Some((*symbols, *bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(decoded.iter().map(|(symbols, _)| symbols).sum::<u32>(), 200);
    assert_eq!(decoded.iter().map(|(_, bytes)| bytes).sum::<u64>(), u64::from(restart.bytes));
    assert_eq!(decoded[0], (100, u64::from(restart.bytes).div_ceil(2)));
}

#[test]
fn what_is_no_tile_traps() {
    let coded = coded(&codes(200), 200);
    let mut p = Program::new();
    p.setvl(4, TERNARY).op(Op::LdEc, |i| (i.rd, i.aux, i.fd) = (1, 3, TERNARY));
    let closed = p.trap();
    assert_eq!(closed.kind(), TrapKind::Ec);
    assert!(closed.message().contains("e3 is not open"), "{closed}");
    let more = trap(&program(&coded, 0, &[190, 11], TERNARY), &coded);
    assert!(more.kind() == TrapKind::Ec && more.message().contains("10 codes left, 11"), "{more}");
    let narrow = trap(&program(&coded, 0, &[4], 6), &coded);
    assert!(narrow.kind() == TrapKind::Ec && narrow.message().contains("no code of binary"), "{narrow}");
    let wide = {
        let mut p = program(&coded, 0, &[100], TERNARY);
        p.op(Op::LdEc, |i| (i.rd, i.aux, i.fd) = (1, 2, 1));
        trap(&p, &coded)
    };
    assert_eq!(wide.kind(), TrapKind::Shape, "100 elements of fp32 in 512 bits");

    // Tables outside control memory, a tile in DRAM, a model that is none.
    for (register, addr, kind) in
        [(2, SRAM, TrapKind::Addr), (3, SRAM, TrapKind::Addr), (1, 0, TrapKind::Addr), (3, CONTROL + 8, TrapKind::Ec)]
    {
        let mut p = Program::new();
        p.li(1, SRAM).li(2, TABLE).li(3, TABLE + 16).li(register, addr);
        p.op(Op::EcOpen, |i| (i.rs1, i.rs2, i.rs3) = (1, 2, 3));
        assert_eq!(trap(&p, &coded).kind(), kind, "x{register} = {addr:#x}");
    }

    // A tile with a changed byte: it decodes to other codes, or does not end where it should.
    let p = program(&coded, 0, &[200], TERNARY);
    let bytes = coded.restart(0).unwrap().bytes;
    let mut found = 0;
    for at in 0..bytes {
        let mut vm = vm(&p, &coded, 0, Mode::Functional);
        let changed = coded.payload()[at as usize] ^ 0x10;
        vm.write(SRAM + u64::from(at), &[changed]).unwrap();
        found += u32::from(vm.run().is_err_and(|trap| trap.kind() == TrapKind::Ec));
    }
    assert!(found > bytes * 9 / 10, "{found} of {bytes} changes are seen at the end of the tile");
}
