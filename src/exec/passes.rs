//! Loops whose passes are alike. Without values, loads, stores and operations on registers leave nothing behind but scalars,
//! and where those are sums of scalars every pass of a loop does what the one before it did, at addresses moved by the same
//! distance: whoever knows what they all cost may pass over them. A pass may have loops and branches of its own: it takes the
//! same way again where the scalars that decide it do not move.

use super::acc::{Sums, Tile};
use super::event::{Access, Event, RegSet, Space, Work};
use super::state::View;
use super::{Decoded, Vm};
use crate::isa::encode::Step;
use crate::isa::table::{Alu, Operand};
use crate::isa::{Inst, Op};
use std::ops::Range;

/// The state of a core at the head of a pass, as far as it says what passes do.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    x: [u64; 32],
    spent: u64,
    setting: (u32, View, [Option<u16>; 16]),
    tiles: [Option<Sums>; TILES],
}

/// Accumulator tiles that instructions can name.
const TILES: usize = 8;

/// What a pass does to the scalars of a core.
#[derive(Debug, Clone)]
pub struct Moved {
    x: [u64; 32],
    spent: u64,
}

/// Where a pass goes, seen from another that does the same.
#[derive(Debug, Clone)]
pub struct Ways {
    /// How far every access is from that of the other pass, in order.
    pub accesses: Vec<i64>,
    /// The rows of tiles that sums go to, in order.
    pub rows: Vec<Row>,
}

/// A row of a tile in a pass, and how many rows further it is in the next.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The row.
    pub at: i64,
    /// Rows from pass to pass.
    pub step: i64,
}

impl Row {
    /// How many passes that follow find it in a tile of `rows` rows.
    fn passes(&self, rows: u32) -> u64 {
        let (next, last) = (self.at.wrapping_add(self.step), i64::from(rows) - 1);
        match self.step {
            _ if !(0..=last).contains(&next) => 0,
            0 => u64::MAX,
            step => 1 + (if step > 0 { last - next } else { next }) as u64 / step.unsigned_abs(),
        }
    }
    /// The row of the pass before one that `way` leads to from the pass with this row.
    pub fn before(&self, way: &Row) -> Row {
        Row { at: self.at.wrapping_add(way.step).wrapping_sub(self.step), ..*self }
    }
}

/// How far each scalar has come from one pass to the next, and which have moved at all, as bits.
struct Distances {
    of: [u64; 32],
    moving: u32,
}

impl Distances {
    fn of(of: [u64; 32]) -> Distances {
        let moving = (1..32).filter(|n| of[*n] != 0).fold(0, |bits, n| bits | 1 << n);
        Distances { of, moving }
    }
    fn set(&mut self, n: u8, distance: u64) {
        // x0 stays.
        if n > 0 {
            self.of[usize::from(n)] = distance;
            self.moving = self.moving & !(1 << n) | u32::from(distance != 0) << n;
        }
    }
    fn stop(&mut self, mut registers: u32) {
        while registers != 0 {
            self.set(registers.trailing_zeros() as u8, 0);
            registers &= registers - 1;
        }
    }
}

impl Vm {
    /// Passes that follow the one at whose first instruction the core stands, if all of them may be alike; else 0.
    pub fn alike(&self) -> u64 {
        let Some(innermost) = self.loops[..self.depth].last() else { return 0 };
        let at_head = innermost.start == self.pc && !self.values;
        let alike = at_head && matches!(self.code.get(self.pc as usize), Some(Some(word)) if word.heads_alike);
        if alike { innermost.left - 1 } else { 0 }
    }

    /// The word at the end of the innermost loop.
    pub fn end_of_loop(&self) -> Option<u32> {
        self.loops[..self.depth].last().map(|innermost| innermost.end)
    }

    /// What [`Vm::pass_over`] needs to know of the head of a pass.
    pub fn mark(&self) -> Mark {
        let x = std::array::from_fn(|n| self.x.get(n as u8));
        Mark { x, spent: self.spent, setting: self.setting(), tiles: self.tiles() }
    }

    /// What operations on tiles take from their past.
    fn tiles(&self) -> [Option<Sums>; TILES] {
        std::array::from_fn(|n| self.c.get(n).map(Tile::sums))
    }

    /// What loads, stores and operations on vectors take from elsewhere than their registers, but for masks.
    fn setting(&self) -> (u32, View, [Option<u16>; 16]) {
        (self.vl, self.view, self.slots)
    }

    /// How far the pass that is about to begin will move every access and row of `pass`, which began at `mark`, if it does the
    /// same but for that; `None` if it may not. Where `pass` is the one before, each after it moves them as far again. Rows
    /// are those of `pass`.
    pub fn ways(&self, mark: &Mark, pass: &[Event]) -> Option<Ways> {
        if self.setting() != mark.setting {
            return None;
        }
        let moved = std::array::from_fn(|n| self.x.get(n as u8).wrapping_sub(mark.x[n]));
        let mut by = Distances::of(moved);
        let mut distances = Vec::with_capacity(pass.iter().map(|event| event.touched().len()).sum());
        let mut rows = Vec::new();
        let mut tiles = 0;
        for event in pass {
            let word = self.code.get(event.pc as usize)?.as_ref()?;
            let inst = &word.inst;
            tiles |= (word.reads.0 | word.writes.0) >> RegSet::C;
            let sum = match inst.op {
                Op::Alu => Alu::from_code(inst.sub_code()).filter(|op| matches!(op, Alu::Add | Alu::Sub)),
                _ => None,
            };
            let second = if inst.is_immediate() { 0 } else { by.of[usize::from(inst.rs2)] };
            let first = by.of[usize::from(inst.rs1)];
            // Scalars that it reads and that may move all the same.
            let mut free = 0;
            if has_memory(inst) {
                let mem = inst.mem();
                free = 1u32 << mem.base;
                distances.extend(event.touched().iter().map(|_| first as i64));
                if let Step::Register(step) = mem.step {
                    by.set(mem.base, first.wrapping_add(by.of[usize::from(step)]));
                }
                if mem.rows.is_some_and(|rows| by.of[usize::from(rows)] != 0) {
                    return None;
                }
            } else {
                distances.extend(event.touched().iter().map(|_| 0));
            }
            if inst.op == Op::Red && inst.imm == 0 {
                // Without segments the position says which partial a value goes to, and no more.
                free = 1 << inst.rs2;
            }
            if let Work::Mac { row, .. } = event.work {
                // Every row of a tile is like every other, if it exists.
                free = 1 << inst.rs3;
                rows.push(Row { at: row.into(), step: by.of[usize::from(inst.rs3)] as i64 });
            }
            let moving = |registers: RegSet| registers.0 as u32 & !free & by.moving;
            match sum {
                Some(Alu::Sub) => by.set(inst.rd, first.wrapping_sub(second)),
                Some(_) => by.set(inst.rd, first.wrapping_add(second)),
                // Anything else may make anything of a scalar that moves.
                None if moving(word.reads) != 0 => return None,
                None => by.stop(moving(word.writes)),
            }
        }
        let touched = |n: &usize| tiles >> n & 1 == 1;
        let sums = self.tiles();
        let same = (0..TILES).filter(touched).all(|n| sums[n] == mark.tiles[n]);
        (same && by.of == moved).then_some(Ways { accesses: distances, rows })
    }

    /// What control memory has where `access` reads; `None` elsewhere, where a timing run does not know what memory has.
    pub fn scalar(&self, access: &Access) -> Option<u64> {
        if access.space == Space::Control { self.memory.control(access.lo as usize..access.hi as usize) } else { None }
    }

    /// What a pass does to scalars, and what it spends: that since `mark`.
    pub fn since(&self, mark: &Mark) -> Moved {
        let x = std::array::from_fn(|n| self.x.get(n as u8).wrapping_sub(mark.x[n]));
        Moved { x, spent: self.spent - mark.spent }
    }

    /// How many of the next `passes` can be passed over before the fuel ends in one, or the tile that the rows of the one
    /// before are in.
    pub fn room_for(&self, passes: u64, pass: &Moved, rows: &[Row]) -> u64 {
        let fuel = match (self.config.fuel, pass.spent) {
            (Some(fuel), spent @ 1..) => fuel.saturating_sub(self.spent) / spent,
            _ => passes,
        };
        rows.iter().map(|row| row.passes(self.config.acc_rows)).fold(passes.min(fuel), u64::min)
    }

    /// True if a space has the bytes from `lo` to `hi`.
    pub fn has(&self, space: Space, lo: i128, hi: i128) -> bool {
        lo >= 0 && hi <= i128::from(self.memory.size(space))
    }

    /// Goes on to the same place `passes` passes later, at most [`Vm::alike`], without the instructions in between: each does
    /// to scalars what `pass` says ([`Vm::ways`]), and could be made: its addresses exist, its fuel suffices.
    pub fn pass_over(&mut self, passes: u64, pass: &Moved) {
        for n in 1..32 {
            let moved = pass.x[usize::from(n)].wrapping_mul(passes);
            if moved != 0 {
                self.x.set(n, Some(self.x.get(n).wrapping_add(moved)));
            }
        }
        self.spent += pass.spent * passes;
        if let Some(innermost) = self.loops[..self.depth].last_mut() {
            innermost.left -= passes;
        }
    }
}

/// Marks the first words of loops whose passes may be alike: of nothing but sums and loads of scalars, inner loops and ways
/// round within, and what leaves nothing behind but a base register that it moved and sums in tiles.
pub(super) fn find(code: &mut [Option<Decoded>]) {
    for at in 0..code.len() {
        let Some(Decoded { inst: Inst { op: Op::Loop, imm, .. }, .. }) = code[at] else { continue };
        let Some(end) = usize::try_from(imm).ok().map(|distance| at + distance) else { continue };
        let Some(body) = code.get(at + 1..end) else { continue };
        let start = at + 1;
        let plain =
            |(at, word): (usize, &Option<Decoded>)| word.as_ref().is_some_and(|word| plain(&word.inst, at, start..end));
        if !body.is_empty() && (start..).zip(body).all(plain) {
            code[start].iter_mut().for_each(|head| head.heads_alike = true);
        }
    }
}

/// True if passes of a loop over `words` may have `inst` at `at`.
fn plain(inst: &Inst, at: usize, words: Range<usize>) -> bool {
    use Op::*;
    let to = at as i64 + i64::from(inst.imm);
    match inst.op {
        LdBp | StBp | LdS | StS | Ew | Sfu | Act | ActG | Cvt | Dequant | Quant | Qset | Rope | Bit | Mac | Red
        | RedEnd => true,
        CFill | Bcast | Setvl | Alu | Lih | Lw | Endl => true,
        Loop => to < words.end as i64,
        // To the end of the pass at most, never out of it.
        Branch | Jal => to >= words.start as i64 && to <= words.end as i64,
        _ => false,
    }
}

fn has_memory(inst: &Inst) -> bool {
    inst.op.row().operands.iter().any(|operand| matches!(operand, Operand::Mem { .. }))
}
