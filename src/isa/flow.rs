//! Which format every slot is known to hold at every word: a forward data-flow analysis over `fmt.set`.
//!
//! It decides whether the disassembler may print an alias such as `mac.tern`, and whether the assembler must refuse
//! one. A slot is known where every path that the code shows agrees; after a call, and where code is reached by a
//! computed jump only, nothing is known.

use super::Inst;
use super::table::{Alias, Op};

/// Known contents of the format slots before one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots([u8; 16]);

const UNKNOWN: u8 = 255;
/// In every slot of a word that no path has reached.
const UNREACHED: u8 = 254;

impl Slots {
    /// Row of the format table that `slot` holds, where it is known.
    pub fn get(&self, slot: u8) -> Option<u16> {
        let row = *self.0.get(usize::from(slot))?;
        (row < UNREACHED).then_some(u16::from(row))
    }
    fn after(mut self, inst: &Inst) -> Self {
        if inst.op == Op::FmtSet {
            let row = u8::try_from(inst.imm).unwrap_or(UNKNOWN);
            self.0[usize::from(inst.rd & 15)] = if row < UNREACHED { row } else { UNKNOWN };
        }
        self
    }
    /// Keeps what both agree on; true if that changed `self`.
    fn meet(&mut self, other: Slots) -> bool {
        let before = *self;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = match (*mine, theirs) {
                (UNREACHED, row) | (row, UNREACHED) => row,
                (a, b) if a == b => a,
                _ => UNKNOWN,
            };
        }
        *self != before
    }
}

/// Slots before every word of a program that starts at `entry`.
pub fn slots(insts: &[Inst], entry: u32) -> Vec<Slots> {
    let nothing = Slots([UNKNOWN; 16]);
    let mut states = vec![Slots([UNREACHED; 16]); insts.len()];
    let loops = Loops::of(insts);
    let mut work = Vec::new();
    let reach = |states: &mut Vec<Slots>, work: &mut Vec<usize>, word: i64, with: Slots| {
        let word = usize::try_from(word).ok().filter(|word| *word < insts.len());
        if let Some(word) = word.filter(|word| states[*word].meet(with)) {
            work.push(word);
        }
    };
    reach(&mut states, &mut work, i64::from(entry), nothing);
    for after in &loops.broken {
        reach(&mut states, &mut work, *after, nothing);
    }
    for root in 0..insts.len() {
        if states[root].0[0] == UNREACHED {
            reach(&mut states, &mut work, root as i64, nothing);
        }
        while let Some(word) = work.pop() {
            let inst = &insts[word];
            let (out, here) = (states[word].after(inst), word as i64);
            let target = here + i64::from(inst.imm);
            match inst.op {
                Op::Halt => {}
                Op::Brk => {}
                Op::Jal | Op::Jalr => {
                    if inst.op == Op::Jal {
                        reach(&mut states, &mut work, target, out);
                    }
                    if inst.rd != 0 {
                        reach(&mut states, &mut work, here + 1, nothing);
                    }
                }
                Op::Branch | Op::JmpMask | Op::NextMask => {
                    reach(&mut states, &mut work, target, out);
                    reach(&mut states, &mut work, here + 1, out);
                }
                Op::Loop => {
                    reach(&mut states, &mut work, target + 1, out);
                    reach(&mut states, &mut work, here + 1, out);
                }
                Op::Endl => {
                    for start in loops.starts(word) {
                        reach(&mut states, &mut work, i64::from(*start), out);
                    }
                    reach(&mut states, &mut work, here + 1, out);
                }
                _ => reach(&mut states, &mut work, here + 1, out),
            }
        }
    }
    states
}

/// The loops of a program.
struct Loops {
    /// (endl, first word of the body), sorted.
    bodies: Vec<(usize, u32)>,
    /// First words of the bodies, in the order of `bodies`.
    firsts: Vec<u32>,
    /// Words after loops that a `brk` may leave.
    broken: Vec<i64>,
}

impl Loops {
    fn of(insts: &[Inst]) -> Self {
        let found = (0u32..).zip(insts).filter(|(_, inst)| inst.op == Op::Loop);
        let end = |word: u32, inst: &Inst| usize::try_from(i64::from(word) + i64::from(inst.imm)).ok();
        let mut bodies: Vec<(usize, u32)> =
            found.filter_map(|(word, inst)| Some((end(word, inst)?, word + 1))).collect();
        bodies.sort_unstable();
        let breaks = insts.iter().any(|inst| inst.op == Op::Brk);
        let broken = bodies.iter().filter(|_| breaks).map(|(end, _)| *end as i64 + 1).collect();
        let firsts = bodies.iter().map(|(_, first)| *first).collect();
        Loops { bodies, firsts, broken }
    }
    /// First words of the loops that end at `word`.
    fn starts(&self, word: usize) -> &[u32] {
        let from = self.bodies.partition_point(|(end, _)| *end < word);
        let to = self.bodies.partition_point(|(end, _)| *end <= word);
        &self.firsts[from..to]
    }
}

/// The slots that an alias restricts: number and allowed formats.
pub fn alias_formats(alias: &'static Alias, inst: &Inst) -> Vec<(u8, &'static [&'static str])> {
    let all = [(inst.fa, alias.fa), (inst.fb, alias.fb), (inst.fd, alias.fd)];
    all.into_iter().filter(|(_, allowed)| !allowed.is_empty()).collect()
}
