//! Several cores: what is their own and what they share.

use super::*;

fn cores(program: &Program, count: u32) -> Cores {
    Cores::new(program.object(), Config { cores: count, ..config(512) }, Mode::Functional).expect("loads")
}

/// x1 = core id, x2 = core count.
fn identified() -> Program {
    let mut p = Program::new();
    p.op(Op::Csr, |i| (i.rd, i.sub) = (1, 0)).op(Op::Csr, |i| (i.rd, i.sub) = (2, 1));
    p
}

#[test]
fn cores_share_all_but_registers_and_sram() {
    let mut p = identified();
    // Every core stores its number at byte 8 of its SRAM, and at byte 8 * number of control memory and of shared SRAM.
    p.li(3, SRAM).op(Op::Sw, |i| (i.rd, i.rs1, i.sub, i.imm) = (1, 3, 3, 8));
    p.alu(Alu::Mul, 4, 1, 8).li(5, CONTROL).op(Op::Alu, |i| (i.rd, i.rs1, i.rs2) = (5, 5, 4));
    p.op(Op::Sw, |i| (i.rd, i.rs1, i.sub) = (1, 5, 3));
    let mut all = cores(&p, 4);
    all.run().expect("halts");
    assert!(all.halted());
    for core in 0..4 {
        assert_eq!((all.core(core).x(1), all.core(core).x(2)), (Some(core as u64), Some(4)));
        assert_eq!(all.read(core, SRAM + 8, 1).unwrap(), [core as u8]);
        for other in 0..4 {
            assert_eq!(all.read(core, CONTROL + 8 * other, 1).unwrap(), [other as u8]);
        }
    }
}

#[test]
fn fuel_is_spent_together() {
    let p = identified();
    let spend = |fuel| {
        let config = Config { cores: 3, fuel: Some(fuel), ..config(512) };
        Cores::new(p.object(), config, Mode::Functional).unwrap().run()
    };
    let each = p.at() as u64 + 1;
    assert_eq!(spend(3 * each), Ok(()));
    assert_eq!(spend(3 * each - 1).unwrap_err().kind(), TrapKind::Fuel);
}

#[test]
fn the_number_of_cores_is_checked() {
    let p = identified();
    for count in [0, 65] {
        let config = Config { cores: count, ..config(512) };
        assert!(Cores::new(p.object(), config, Mode::Functional).is_err(), "{count}");
    }
}
