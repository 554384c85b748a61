//! Checksums of products: silent when right, exact about the place when not.

use super::*;
use crate::isa::table::Class;
use crate::num::DotClass;

const M: usize = 3;
const N: usize = 5;
const K: usize = 16;
/// Slots: int8, int16, fp8e4m3.
const INT8: u8 = 4;

fn x(m: usize, k: usize) -> i64 {
    (m as i64 * 31 + k as i64 * 17) % 255 - 127
}

fn w(n: usize, k: usize) -> i64 {
    (n as i64 * 91 + k as i64 * 29 + 5) % 255 - 127
}

/// The tile of a product, with its row and column sums in two others: c0, c1, c2; then abft into x5.
fn checked(flags: u8) -> (Program, [Vec<i64>; 3]) {
    let product = |m, n| (0..K).map(|k| x(m, k) * w(n, k)).sum::<i64>();
    let sums = (0..M * N).map(|i| product(i / N, i % N)).collect();
    let rows = (0..M).map(|m| (0..N).map(|n| product(m, n)).sum()).collect();
    let columns = (0..N).map(|n| (0..M).map(|m| product(m, n)).sum()).collect();
    let mut p = Program::new();
    p.tile([M as u64, N as u64, K as u64]);
    p.op(Op::Abft, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.mode) = (5, 0, 1, 2, flags));
    (p, [sums, rows, columns])
}

/// A core whose c0, c1, c2 hold the product and its checksums.
fn core(p: &Program, sums: &[Vec<i64>; 3], vlen: u32) -> Vm {
    let mut vm = p.vm(vlen);
    for (tile, (columns, list)) in [N, 1, N].into_iter().zip(sums).enumerate() {
        vm.c[tile].begin(0).expect("clear");
        for (i, sum) in list.iter().enumerate() {
            vm.c[tile].add_exact(i / columns, i % columns, (*sum).into(), 0).expect("fits");
        }
    }
    vm
}

#[test]
pub(super) fn a_flipped_entry_is_found_wherever_it_is() {
    for vlen in [32, 512, 4096, 16384] {
        let (p, sums) = checked(0);
        let mut vm = core(&p, &sums, vlen);
        vm.run().expect("halts");
        assert_eq!(vm.x(5), Some(u64::MAX), "all agree");
        for (i, bit) in (0..M * N).zip([0, 3, 12, 30, 47, 62, 100, 126, 1, 2, 5, 8, 20, 33, 64]) {
            let (row, col) = (i / N, i % N);
            let mut vm = core(&p, &sums, vlen);
            vm.c[0].add_exact(row, col, 1 << bit, 0).expect("fits");
            vm.run().expect("halts");
            assert_eq!(vm.x(5), Some((row as u64) << 32 | col as u64), "bit {bit}");
        }
    }
    // A wrong checksum has no row, or no column; two wrong entries give the first of each.
    for (tile, (row, col), want) in [(1, (2, 0), 2u64 << 32 | 0xffff_ffff), (2, (0, 4), 0xffff_ffff << 32 | 4)] {
        let (p, sums) = checked(0);
        let mut vm = core(&p, &sums, 512);
        vm.c[tile].add_exact(row, col, -1, 0).expect("fits");
        vm.run().expect("halts");
        assert_eq!(vm.x(5), Some(want));
    }
    let (p, sums) = checked(0);
    let mut vm = core(&p, &sums, 512);
    [(2, 1), (1, 3)].iter().for_each(|&(row, col)| vm.c[0].add_exact(row, col, 1, 0).expect("fits"));
    vm.run().expect("halts");
    assert_eq!(vm.x(5), Some(1 << 32 | 1));
}

#[test]
fn a_guard_traps_if_it_is_asked_to() {
    let (p, sums) = checked(1);
    let mut vm = core(&p, &sums, 512);
    vm.run().expect("nothing is wrong");
    let mut vm = core(&p, &sums, 512);
    vm.c[0].add_exact(1, 2, 64, 0).expect("fits");
    let trap = vm.run().unwrap_err();
    assert_eq!(trap.kind(), TrapKind::Guard);
    assert!(trap.message().contains("first wrong row 1, first wrong column 2"), "{trap}");
}

#[test]
fn thin_products_are_the_checksums() {
    // Two rows of inputs and two of weights of four int8 codes each; X (1 2 3 4), (5 6 7 -8), W (1 -1 2 0), (3 0 0 1).
    let mut p = Program::new();
    let row = |p: &mut Program, v: u8, bytes: [i8; 8]| {
        p.li(1, u64::from_le_bytes(bytes.map(|b| b as u8))).li(2, SRAM);
        p.op(Op::Sw, |i| (i.rd, i.rs1, i.sub) = (1, 2, 3)).setvl(8, INT8);
        p.op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (v, 2, INT8));
    };
    row(&mut p, 1, [1, -1, 2, 0, 3, 0, 0, 1]);
    row(&mut p, 2, [1, 2, 3, 4, 0, 0, 0, 0]);
    row(&mut p, 3, [5, 6, 7, -8, 0, 0, 0, 0]);
    row(&mut p, 4, [4, -1, 2, 1, 0, 0, 0, 0]); // sum of the rows of W
    row(&mut p, 5, [6, 8, 10, -4, 0, 0, 0, 0]); // sum of the rows of X
    let view = |p: &mut Program, nl: u64| {
        p.li(1, nl).li(2, 4).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 2, INT8, INT8));
    };
    let mac = |p: &mut Program, c: u8, row: u64, w: u8, x: u8| {
        p.li(3, row).op(Op::Mac, |i| (i.rd, i.rs3, i.rs1, i.rs2, i.fa, i.fb) = (c, 3, w, x, INT8, INT8));
    };
    // At VLEN 64 two rows of four codes fill a register.
    view(&mut p, 2);
    mac(&mut p, 0, 0, 1, 2);
    mac(&mut p, 0, 1, 1, 3);
    mac(&mut p, 2, 0, 1, 5);
    view(&mut p, 1);
    mac(&mut p, 1, 0, 4, 2);
    mac(&mut p, 1, 1, 4, 3);
    p.tile([2, 2, 4]).op(Op::Abft, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.mode) = (5, 0, 1, 2, 1));
    let mut vm = p.vm(64);
    vm.run().expect("the checksums agree");
    assert_eq!([vm.c(0, 0, 0), vm.c(0, 0, 1), vm.c(0, 1, 0), vm.c(0, 1, 1)], [5.0, 7.0, 13.0, 7.0].map(Some));
    assert_eq!((vm.x(5), vm.c(1, 0, 0), vm.c(2, 0, 1)), (Some(u64::MAX), Some(12.0), Some(14.0)));
}

#[test]
fn sums_that_are_no_numbers_agree_with_such_sums() {
    let (p, mut sums) = checked(0);
    sums[0][N] = 77;
    for (in_row, in_column, want) in [(0, 0, 1 << 32), (1, 1, u64::MAX), (1, 0, 0xffff_ffff << 32)] {
        let mut vm = core(&p, &sums, 512);
        vm.c[0].add_exact(1, 0, 0, codes::SPECIAL_NAN).expect("fits");
        vm.c[1].add_exact(1, 0, 0, in_row * codes::SPECIAL_PLUS).expect("fits");
        vm.c[2].add_exact(0, 0, 0, in_column * codes::SPECIAL_NAN).expect("fits");
        vm.run().expect("halts");
        assert_eq!(vm.x(5), Some(want), "{in_row} {in_column}");
    }
}

#[test]
fn guards_compare_exact_sums_of_one_quantum() {
    let refuse = |change: fn(&mut Vm)| {
        let (p, sums) = checked(0);
        let mut vm = core(&p, &sums, 512);
        change(&mut vm);
        vm.run().unwrap_err().kind()
    };
    assert_eq!(refuse(|vm| vm.c[0].set_class(DotClass::Chain)), TrapKind::Acc);
    assert_eq!(refuse(|vm| vm.c[2].set_class(DotClass::Int24s)), TrapKind::Acc);
    assert_eq!(
        refuse(|vm| {
            vm.c[1].clear();
            vm.c[1].begin(-3).expect("clear");
        }),
        TrapKind::Acc
    );
    // Tiles that hold nothing agree.
    let mut p = Program::new();
    p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, Class::Exact as u16)).tile([8, 32, 1]);
    p.op(Op::Abft, |i| (i.rd, i.rs1, i.rs2, i.rs3) = (5, 0, 1, 2));
    assert_eq!(p.run().x(5), Some(u64::MAX));
    assert_eq!(p.last_event().work, Work::Tile { entries: 8 * 32 + 40, fold: true });
    let mut vm = Vm::new(p.object(), config(512), Mode::TimingOnly).expect("loads");
    vm.run().expect("halts");
    assert_eq!(vm.x(5), None, "unknown without values");
}
