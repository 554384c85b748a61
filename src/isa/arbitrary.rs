//! Random instructions and programs for property tests.

use super::table::{Field, Op, Operand, ROWS, Row, When};
use super::{Inst, Mem, Object, Step};
use proptest::prelude::*;

/// How many cases a property test runs: `PREON_CASES`, else `default`.
pub fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A draw of random numbers that an instruction is made from.
pub struct Draw<'a>(&'a [u32], usize);

impl Draw<'_> {
    fn below(&mut self, limit: u32) -> u32 {
        self.1 += 1;
        self.0[self.1 % self.0.len()].rotate_left(self.1 as u32) % limit
    }
    fn between(&mut self, lo: i64, hi: i64) -> i64 {
        match self.below(4) {
            0 => lo,
            1 => hi,
            2 => lo + (i64::from(self.below(u32::MAX)) % (hi - lo + 1)),
            _ => i64::from(self.below(64)).clamp(lo, hi),
        }
    }
}

/// A valid instruction of `row`; labels lie within `reach` words, formats below `formats`.
fn instruction(row: &Row, draw: &mut Draw, reach: i64, formats: u32) -> Inst {
    let mut inst = Inst::new(row.op);
    if let Some(sub) = &row.sub {
        inst.set_sub_code(draw.below(sub.names.len() as u32) as u16);
    }
    let (lo, hi) = row.form.imm_range();
    for operand in row.operands {
        match *operand {
            Operand::Reg { when: When::Sub(code), .. } if code != inst.sub_code() => {}
            Operand::Reg { class, field, .. } => inst.set(field, i64::from(draw.below(u32::from(class.count())))),
            Operand::RegOrImm { field } => {
                if draw.below(2) == 0 {
                    inst.set_immediate();
                    inst.imm = draw.between(lo, hi) as i32;
                } else {
                    inst.set(field, i64::from(draw.below(32)));
                }
            }
            Operand::Imm | Operand::Bits => inst.imm = draw.between(lo, hi) as i32,
            Operand::Num { field, lo, hi } => inst.set(field, draw.between(i64::from(lo), i64::from(hi))),
            Operand::Label => inst.imm = draw.between(-reach, reach) as i32,
            Operand::Fmt => inst.imm = draw.below(formats) as i32,
            Operand::Base { field } => {
                inst.set(field, i64::from(draw.below(32)));
                inst.imm = draw.between(lo, hi) as i32;
            }
            Operand::Mem { rows, steps } => {
                let step = match draw.below(if steps { 3 } else { 2 }) {
                    0 => Step::Stay,
                    1 => Step::Bytes,
                    _ => Step::Register(draw.below(32) as u8),
                };
                let rows = (rows && draw.below(2) == 0).then(|| draw.below(32) as u8);
                let (base, offset) = (draw.below(32) as u8, draw.between(lo, hi) as i32);
                inst.set_mem(Mem { base, offset, step, rows });
            }
            Operand::Tile { field } => {
                inst.set(field, i64::from(draw.below(8)));
                inst.set(Field::Rs3, i64::from(draw.below(32)));
            }
            Operand::Segment => inst.imm = draw.below(hi as u32 + 1) as i32,
            Operand::Enum { field, names } | Operand::Choice { field, names } => {
                inst.set(field, i64::from(draw.below(names.len() as u32)))
            }
            Operand::Flag { bit, .. } => inst.mode |= (draw.below(2) as u8) << bit,
            Operand::Mask => {
                inst.pm = draw.below(8) as u8;
                inst.pz = draw.below(2) == 1;
            }
        }
    }
    inst
}

fn numbers(seed: u64) -> Vec<u32> {
    // SplitMix64: enough to pick fields, and the seed alone reproduces a case.
    let step = |n: u64| {
        let z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    };
    (0..509).map(step).collect()
}

/// One valid instruction of every row, from a seed.
pub fn one_of_each(seed: u64) -> Vec<Inst> {
    let numbers = numbers(seed);
    let mut draw = Draw(&numbers, 0);
    ROWS.iter().map(|row| instruction(row, &mut draw, i64::from(i32::MAX), 65536)).collect()
}

/// A random valid program, from a seed.
pub fn program(seed: u64) -> Object {
    let numbers = numbers(seed);
    let mut draw = Draw(&numbers, 0);
    let formats: Vec<String> =
        ["int8", "ternary", "binary", "triplet", "fp32"].iter().map(|name| name.to_string()).collect();
    let length = 1 + draw.below(60);
    let insts: Vec<Inst> = (0..length)
        .map(|_| {
            // Half of the words come from the rows that formats and aliases concern.
            let row = match draw.below(8) {
                0 | 1 => Op::FmtSet.row(),
                2 | 3 => Op::Mac.row(),
                _ => &ROWS[draw.below(ROWS.len() as u32) as usize],
            };
            instruction(row, &mut draw, i64::from(length), formats.len() as u32)
        })
        .collect();
    let control = (0..draw.below(40)).map(|_| draw.below(256) as u8).collect();
    let mut data = |most: u32| (0..draw.below(2) * draw.below(most)).map(|_| draw.below(256) as u8).collect();
    let (dram, sram) = (data(20), data(20));
    let entry = draw.below(length);
    let params = (0..draw.below(3)).map(|at| format!("L{at}")).collect();
    let words = insts.iter().map(Inst::encode).collect();
    Object { words, entry, formats, control, dram, sram, params, ..Object::default() }
}
