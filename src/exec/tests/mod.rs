//! Tests of exec: one case a row, sums against naive references at every split, traps, timing-only mode.

mod bits;
mod blocks;
mod cores;
mod entropy;
mod examples;
mod guard;
mod moves;
mod planes;
pub(crate) mod rows;
mod sparse;
mod sums;
mod training;
mod traps;

use super::*;
use crate::isa::table::Alu;
use crate::num::format::find;

/// Writes programs instruction by instruction.
#[derive(Default)]
struct Program {
    insts: Vec<Inst>,
}

impl Program {
    /// Formats f1.. of every test program, by row of the object's format table: slot = row + 1.
    const FORMATS: [&str; 15] = [
        "fp32", "bf16", "fp16", "int8", "ternary", "binary", "fp8e4m3", "fp8e5m2", "int3", "fp6e2m3", "nf4", "int16",
        "tf32", "log8", "e8m0",
    ];

    fn new() -> Self {
        let mut program = Program::default();
        for row in 0..Self::FORMATS.len() {
            program.op(Op::FmtSet, |i| (i.rd, i.imm) = (row as u8 + 1, row as i32));
        }
        program
    }
    fn op(&mut self, op: Op, fields: impl FnOnce(&mut Inst)) -> &mut Self {
        let mut inst = Inst::new(op);
        fields(&mut inst);
        self.insts.push(inst);
        self
    }
    fn at(&self) -> usize {
        self.insts.len()
    }
    fn alu(&mut self, op: Alu, rd: u8, a: u8, b: i32) -> &mut Self {
        self.op(Op::Alu, |i| (i.rd, i.rs1, i.sub, i.imm) = (rd, a, op as u16 | 0x100, b))
    }
    fn li(&mut self, rd: u8, value: u64) -> &mut Self {
        self.alu(Alu::Add, rd, 0, value as i32);
        self.op(Op::Lih, |i| (i.rd, i.imm) = (rd, (value >> 32) as i32))
    }
    fn f32(&mut self, rd: u8, value: f32) -> &mut Self {
        self.li(rd, u64::from(value.to_bits()))
    }
    /// setvl to `n` elements of fp32 beside slot `fb`; clobbers x31.
    fn setvl(&mut self, n: u64, fb: u8) -> &mut Self {
        self.li(31, n).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 31, fb, fb))
    }
    /// Loads `values` as f32 into register `v` through SRAM at 0x8000; sets vl; clobbers x30, x31.
    fn vector(&mut self, v: u8, values: &[f32]) -> &mut Self {
        self.li(30, SRAM + 0x8000);
        for (n, value) in values.iter().enumerate() {
            self.f32(31, *value).op(Op::Sw, |i| (i.rd, i.rs1, i.sub, i.imm) = (31, 30, 2, 4 * n as i32));
        }
        self.setvl(values.len() as u64, 1).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (v, 30, 1))
    }
    /// Sets tm, tn, tk; clobbers x31.
    fn tile(&mut self, sizes: [u64; 3]) -> &mut Self {
        for (dim, n) in sizes.into_iter().enumerate() {
            self.li(31, n).op(Op::Settile, |i| (i.rd, i.rs1, i.sub) = (31, 31, dim as u16));
        }
        self
    }
    fn object(&self) -> Object {
        let mut words: Vec<u64> = self.insts.iter().map(Inst::encode).collect();
        words.push(Inst::new(Op::Halt).encode());
        Object {
            lines: (0..words.len() as u32).map(|word| (word, 0, word + 1)).collect(),
            words,
            formats: Self::FORMATS.map(String::from).to_vec(),
            files: vec!["test.vasm".into()],
            control: (0u8..64).collect(),
            ..Object::default()
        }
    }
    fn vm(&self, vlen_bits: u32) -> Vm {
        Vm::new(self.object(), config(vlen_bits), Mode::Functional).expect("the test program loads")
    }
    fn run(&self) -> Vm {
        let mut vm = self.vm(512);
        vm.run().expect("the test program halts");
        vm
    }
    fn trap(&self) -> Trap {
        self.vm(512).run().expect_err("the test program traps")
    }
    /// The event of the last instruction before the final halt.
    fn last_event(&self) -> Event {
        let mut vm = self.vm(512);
        let mut event = Event::new();
        while vm.pc() as usize + 1 < self.at() {
            vm.step(&mut event).expect("no trap");
        }
        vm.step(&mut event).expect("no trap");
        event
    }
}

const SRAM: u64 = 1 << 60;
const SHARED: u64 = 2 << 60;
const CONTROL: u64 = 3 << 60;

fn config(vlen_bits: u32) -> Config {
    Config {
        vlen_bits,
        acc_rows: 8,
        acc_cols: 32,
        skip_granule: [1, 1],
        array_block: [32, 32],
        tile_k: 4096,
        scale_entries: 32.max(vlen_bits / 16),
        sram_bytes: 1 << 18,
        shared_bytes: 4096,
        control_bytes: 4096,
        dram_bytes: 1 << 30,
        cores: 1,
        fuel: Some(10_000_000),
    }
}

/// f32 elements of register `v`.
fn floats(vm: &Vm, v: u8) -> Vec<f32> {
    let bytes = vm.v(v).expect("functional");
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
