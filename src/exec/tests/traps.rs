//! Traps, fuel, and what timing-only mode refuses.

use super::*;
use crate::isa::table::Class;

#[test]
fn traps_name_the_operands_and_the_line() {
    let mut p = Program::new();
    p.li(1, SRAM + (1 << 18) - 4).op(Op::Lw, |i| (i.rd, i.rs1, i.sub) = (2, 1, 3));
    let line = p.at() as u32;
    let trap = p.trap();
    assert_eq!((trap.kind(), trap.line()), (TrapKind::Align, Some(("test.vasm", line))));
    let mut p = Program::new();
    p.li(1, SRAM + (1 << 18) - 8).op(Op::Lw, |i| (i.rd, i.rs1, i.sub, i.imm) = (2, 1, 3, 8));
    let error = Error::from(p.trap());
    assert_eq!(error.kind().exit_code(), 5);
    let shown = error.to_string();
    assert!(shown.starts_with("test.vasm:18: trap ADDR"), "{shown}");
    assert!(shown.contains("8 bytes at 0x1000000000040000 leave the 262144 bytes of SRAM"), "{shown}");
}

#[test]
fn addresses_outside_their_space_trap() {
    for (addr, width) in [(0, 0), (4 << 60, 0), (15 << 60, 0), (SHARED, 2), (CONTROL + 4096, 0), (SRAM + (1 << 18), 0)]
    {
        let mut p = Program::new();
        p.li(1, addr).op(Op::Lw, |i| (i.rd, i.rs1, i.sub) = (2, 1, width));
        assert_eq!(p.trap().kind(), TrapKind::Addr, "{addr:#x}");
    }
    // DMA: control memory, a space or a core that does not exist, a range over the end, a stride out of the space, too much.
    let huge = u64::MAX / 2;
    for (to, from, bytes, stride) in [
        (CONTROL, SRAM, 8, 8),
        (SRAM, 5 << 60, 8, 8),
        (SRAM, 4 << 60 | 1 << 48, 8, 8),
        (SRAM, (1 << 30) - 8, 16, 16),
        (SRAM, 0, 8, -8i64 as u64),
        (SRAM, 0, 8, huge),
        (SRAM, 0, huge, 0),
    ] {
        let mut p = Program::new();
        p.li(1, 2).li(2, stride).op(Op::DmaDim, |i| (i.rd, i.sub, i.rs1, i.rs2, i.imm) = (1, 1, 1, 2, 0));
        p.li(3, to).li(4, from).li(5, bytes).op(Op::DmaLd, |i| (i.rd, i.rs1, i.rs2, i.mode) = (3, 4, 5, 1));
        assert_eq!(p.trap().kind(), TrapKind::Addr, "{to:#x} {from:#x} {bytes} {stride}");
    }
    // A vector load from DRAM, and rows that leave SRAM.
    let mut p = Program::new();
    p.li(1, 64).setvl(4, 1).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (1, 1, 1));
    assert_eq!(p.trap().kind(), TrapKind::Addr);
    let mut p = Program::new();
    p.li(1, SRAM).li(2, 1 << 60).tile([2, 2, 2]).op(Op::MmW, |i| (i.rs1, i.rs3, i.fa, i.mode) = (1, 2, 4, 4));
    assert_eq!(p.trap().kind(), TrapKind::Addr);
}

#[test]
fn gather_refuses_rows_outside_memory() {
    let mut p = Program::new();
    p.li(1, SRAM).li(2, 0).li(3, 1 << 20).li(4, 1).li(5, CONTROL).li(6, 1 << 20);
    p.op(Op::Sw, |i| (i.rd, i.rs1, i.sub) = (6, 5, 2));
    p.op(Op::DmaGat, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.imm) = (1, 2, 3, 4, 5));
    assert_eq!(p.trap().kind(), TrapKind::Addr, "the target is larger than SRAM");
    let mut p = Program::new();
    p.li(1, SRAM).li(3, 1024).li(4, 1).li(5, CONTROL).li(6, 1 << 20);
    p.op(Op::Sw, |i| (i.rd, i.rs1, i.sub) = (6, 5, 2));
    p.op(Op::DmaGat, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.imm) = (1, 2, 3, 4, 5));
    assert_eq!(p.trap().kind(), TrapKind::Addr, "row 2^20 of 1 KiB is beyond 1 GiB");
}

#[test]
fn control_flow_that_leaves_the_program_traps() {
    let mut p = Program::new();
    p.op(Op::Jal, |i| i.imm = 1000);
    assert_eq!(p.trap().kind(), TrapKind::Ill);
    let mut p = Program::new();
    p.li(1, 1 << 40).op(Op::Jalr, |i| i.rs1 = 1);
    assert_eq!(p.trap().kind(), TrapKind::Addr);
    let object = Object { words: vec![0xff], ..Object::default() };
    let trap = Vm::new(object, config(512), Mode::Functional).unwrap().run().unwrap_err();
    assert_eq!(trap.kind(), TrapKind::Ill);
    assert!(trap.message().contains("0xff"), "{trap}");
}

#[test]
fn loops_left_open_or_too_deep_trap() {
    let mut p = Program::new();
    p.li(1, 2);
    for depth in (1..6).rev() {
        p.op(Op::Loop, |i| (i.rs1, i.imm) = (1, depth));
    }
    assert_eq!(p.trap().kind(), TrapKind::Loop);
    for op in [Op::Endl, Op::Brk] {
        let mut p = Program::new();
        p.op(op, |_| ());
        assert_eq!(p.trap().kind(), TrapKind::Loop);
    }
}

#[test]
fn fuel_ends_an_endless_program() {
    let mut p = Program::new();
    p.op(Op::Jal, |i| i.imm = 0);
    let mut vm = Vm::new(p.object(), Config { fuel: Some(1000), ..config(512) }, Mode::Functional).unwrap();
    assert_eq!(vm.run().unwrap_err().kind(), TrapKind::Fuel);
    // A copy of 2^40 single bytes is refused before it starts.
    let mut p = Program::new();
    p.li(1, 1 << 40).op(Op::DmaDim, |i| (i.rd, i.sub, i.rs1) = (1, 1, 1)).li(2, SRAM).li(3, 1);
    p.op(Op::DmaLd, |i| (i.rd, i.rs1, i.rs2, i.mode) = (2, 0, 3, 1));
    assert_eq!(p.trap().kind(), TrapKind::Fuel);
}

#[test]
fn rows_without_bytes_may_lie_anywhere() {
    let mut p = Program::new();
    p.li(1, SRAM).li(2, 1 << 50).li(3, 2).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 3, 0, 4, 4));
    p.op(Op::LdBp, |i| (i.rd, i.rs1, i.rs3, i.fd, i.mode) = (1, 1, 2, 4, 4)).tile([2, 2, 0]);
    p.op(Op::MmW, |i| (i.rs1, i.rs3, i.fa, i.mode) = (1, 2, 4, 4));
    p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode) = (0, 1, 2, 4, 4));
    assert_eq!(p.run().c(0, 1, 1), Some(0.0));
}

#[test]
fn shapes_and_formats_that_do_not_fit_trap() {
    let mut p = Program::new();
    p.li(1, SRAM).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (1, 1, 0));
    assert_eq!(p.trap().kind(), TrapKind::Fmt, "slot f0 is not bound");
    let mut p = Program::new();
    p.li(1, SRAM).setvl(512, 6).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (1, 1, 1));
    assert_eq!(p.trap().kind(), TrapKind::Shape, "vl was set for binary");
    let mut p = Program::new();
    p.setvl(512, 6).op(Op::Ew, |i| (i.rd, i.rs1, i.rs2) = (1, 2, 3));
    assert_eq!(p.trap().kind(), TrapKind::Shape);
    let mut p = Program::new();
    p.li(1, 8).op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.fa, i.fb) = (1, 2, 3, 1, 4, 4));
    assert_eq!(p.trap().kind(), TrapKind::Shape, "row 8 of 8");
    let mut p = Program::new();
    p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, Class::Chain as u16)).op(Op::Qset, |i| (i.rd, i.fd) = (0, 5));
    assert_eq!(p.trap().kind(), TrapKind::Fmt, "ternary is scaled by absmean");
}

#[test]
fn impossible_machines_and_objects_are_refused() {
    let refuse = |object: Object, config: Config| {
        Vm::new(object, config, Mode::Functional).map(|_| ()).expect_err("refused").kind().exit_code()
    };
    assert_eq!(refuse(Object::default(), config(48)), 2);
    assert_eq!(refuse(Object { control: vec![0; 5000], ..Object::default() }, config(32)), 4);
    assert!(refuse(Object { formats: vec!["fp33".into()], ..Object::default() }, config(32)) > 0);
}

fn timing_only(p: &Program) -> Result<Vm> {
    let mut vm = Vm::new(p.object(), config(512), Mode::TimingOnly).unwrap();
    vm.run().map(|()| vm)
}

#[test]
fn timing_only_control_must_not_depend_on_values() {
    let opaque = |op: Op, fields: fn(&mut Inst)| {
        let mut p = Program::new();
        p.li(1, SRAM).op(Op::Lw, |i| (i.rd, i.rs1, i.sub) = (2, 1, 3)).alu(Alu::Add, 2, 2, 1).op(op, fields);
        let line = p.at() as u32;
        let trap = timing_only(&p).expect_err("depends on SRAM");
        assert_eq!((trap.kind(), trap.line()), (TrapKind::Data, Some(("test.vasm", line))), "{op:?}");
    };
    opaque(Op::Branch, |i| (i.rs1, i.imm) = (2, 1));
    opaque(Op::Loop, |i| (i.rs1, i.imm) = (2, 1));
    opaque(Op::Jalr, |i| i.rs1 = 2);
    opaque(Op::Lw, |i| (i.rd, i.rs1) = (3, 2));
    opaque(Op::DmaLd, |i| (i.rd, i.rs1, i.rs2) = (1, 1, 2));
    opaque(Op::Settile, |i| (i.rd, i.rs1) = (3, 2));

    let mut p = Program::new();
    p.li(1, CONTROL).li(2, SRAM).op(Op::Lw, |i| (i.rd, i.rs1, i.sub) = (3, 2, 3));
    p.op(Op::Sw, |i| (i.rd, i.rs1, i.sub) = (3, 1, 3));
    assert_eq!(timing_only(&p).unwrap_err().kind(), TrapKind::Data, "control memory stays known");

    // What is not computed may be stored to control memory, but what is there then decides nothing.
    for (at, want) in [(8, Some(TrapKind::Data)), (16, None)] {
        let stored = |op: Op, fields: fn(&mut Inst)| {
            let mut p = Program::new();
            p.tile([1, 4, 4]).setvl(4, 1).li(1, CONTROL).li(2, 4).li(3, CONTROL + at);
            p.op(Op::CFill, |i| i.rd = 1).op(Op::Fold, |i| (i.rd, i.rs1, i.mode) = (1, 0, 1)).op(op, fields);
            p.op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (1, 1, 1)).op(Op::Lw, |i| (i.rd, i.rs1, i.sub) = (4, 3, 3));
            assert!(p.vm(512).run().is_ok(), "{op:?}");
            assert_eq!(timing_only(&p).err().map(|trap| trap.kind()), want, "{op:?} {at}");
        };
        stored(Op::StBp, |i| (i.rd, i.rs1, i.fd) = (1, 1, 1));
        stored(Op::StS, |i| (i.rd, i.rs1, i.rs2, i.fa) = (1, 1, 2, 1));
        stored(Op::StC, |i| (i.rd, i.rs1, i.fd) = (1, 1, 1));
    }

    let mut p = Program::new();
    p.setvl(4, 1).op(Op::CmpV, |i| (i.rd, i.rs1, i.rs2) = (1, 2, 3)).op(Op::JmpMask, |i| (i.rs1, i.imm) = (1, 1));
    assert_eq!(timing_only(&p).unwrap_err().kind(), TrapKind::Data);
}

#[test]
fn timing_only_gives_the_events_of_a_functional_run() {
    let mut p = Program::new();
    p.li(1, CONTROL).li(2, SRAM).li(3, 64).li(4, 8).li(5, 100).op(Op::DmaLd, |i| (i.rd, i.rs1, i.rs2) = (2, 5, 3));
    p.op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (1, 1, 4)).li(6, 3);
    p.op(Op::Loop, |i| (i.rs1, i.imm) = (6, 3)).alu(Alu::Add, 7, 7, 1).op(Op::JmpMask, |i| (i.rs1, i.imm) = (1, 1));
    p.op(Op::Endl, |_| ()).tile([4, 4, 8]).li(8, 8);
    p.op(Op::MmW, |i| (i.rs1, i.rs3, i.fa, i.mode) = (2, 8, 4, 4));
    p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode) = (0, 2, 8, 4, 4));
    p.op(Op::Fold, |i| (i.rd, i.rs1, i.rs3, i.mode) = (1, 0, 1, 1));
    p.op(Op::StC, |i| (i.rd, i.rs1, i.fd) = (1, 2, 1)).setvl(16, 1);
    p.op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (1, 2, 1)).op(Op::Act, |i| (i.rd, i.rs1) = (1, 1));
    p.op(Op::Red, |i| (i.rd, i.rs1) = (2, 1)).op(Op::DmaSt, |i| (i.rd, i.rs1, i.rs2) = (5, 2, 3));
    let mut functional = p.vm(512);
    let mut timing = Vm::new(p.object(), config(512), Mode::TimingOnly).unwrap();
    let (mut a, mut b) = (Event::new(), Event::new());
    loop {
        let status = functional.step(&mut a).unwrap();
        assert_eq!(timing.step(&mut b).unwrap(), status);
        assert_eq!((a.pc, a.op, a.node, a.reads, a.writes, a.work), (b.pc, b.op, b.node, b.reads, b.writes, b.work));
        assert_eq!(a.touched(), b.touched());
        if status == Status::Halted {
            break;
        }
    }
    assert_eq!(timing.x(7), Some(3));
    assert_eq!(timing.read(SRAM, 4).unwrap_err().kind(), TrapKind::Data);
    assert!(timing.v(1).is_none() && timing.c(0, 0, 0).is_none() && timing.q(0).is_none());
}
