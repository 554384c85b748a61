//! What one executed instruction asked of the machine. exec writes it, sim prices it; it holds no time and no value.

use super::state::Level;
use crate::isa::{Op, Unit};
use crate::num::DotClass;
use std::fmt;

/// A set of registers, one bit each: x 0-31, v 32-63, p 64-71, c 72-79, q 80-95, t 96-111.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegSet(pub u128);

impl RegSet {
    /// First bit of each class.
    pub const X: u32 = 0;
    /// Vector registers.
    pub const V: u32 = 32;
    /// Masks.
    pub const P: u32 = 64;
    /// Accumulator tiles.
    pub const C: u32 = 72;
    /// Scale vectors.
    pub const Q: u32 = 80;
    /// Tags.
    pub const T: u32 = 96;
    /// Adds register `n` of the class that starts at `base`; x0 is never recorded.
    pub fn add(&mut self, base: u32, n: u8) {
        if base != Self::X || n != 0 {
            self.0 |= 1 << (base + u32::from(n));
        }
    }
}

/// Address space of an access: bits 63:60 of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Space {
    /// 0: DRAM.
    #[default]
    Dram,
    /// 1: the core's own SRAM.
    Sram,
    /// 2: SRAM shared by all cores.
    Shared,
    /// 3: control memory: scalars, parameter blocks, masks, index tables.
    Control,
    /// 4: the SRAM of another core, whose number stands in bits 59:48 of the range.
    Remote,
}

/// One strided range of memory that an instruction reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// Space.
    pub space: Space,
    /// True for a write.
    pub write: bool,
    /// First byte (without the space bits).
    pub lo: u64,
    /// One past the last byte of the bounding range.
    pub hi: u64,
    /// Bytes really moved.
    pub bytes: u64,
    /// Contiguous runs that the bytes fall into.
    pub runs: u64,
}

impl Access {
    /// Bytes from one run to the next and bytes of a run, if the runs are equal and evenly spaced.
    pub fn evenly(&self) -> Option<(u64, u64)> {
        let gaps = self.runs.checked_sub(1).filter(|gaps| *gaps > 0)?;
        let run = self.bytes / self.runs;
        let span = (self.hi - self.lo).checked_sub(run)?;
        (span.is_multiple_of(gaps) && self.bytes.is_multiple_of(self.runs)).then_some((span / gaps, run))
    }
}

/// The blocks of a transfer: for every index of the three levels, level 1 innermost, one of `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Bytes of a block.
    pub bytes: u64,
    /// First byte of the first block at the source, without the space bits.
    pub from: u64,
    /// The same at the target.
    pub to: u64,
    /// How often, and how far apart on both sides.
    pub levels: [Level; 3],
}

impl Blocks {
    /// `bytes` in one piece.
    pub fn one(bytes: u64, from: u64, to: u64) -> Blocks {
        Blocks { bytes, from, to, levels: [Level::ONE; 3] }
    }
}

/// Format id of bytes that have no number format (masks, scalars).
pub const NO_FORMAT: u16 = u16::MAX;

/// The work of one instruction, in the terms in which units are rated and energy is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Work {
    /// Scalar or bookkeeping.
    #[default]
    None,
    /// Element-wise operations on the E unit: `elements` of operation `kind` (an index into [`EW_KINDS`]).
    Elementwise {
        /// Which table row prices it.
        kind: EwKind,
        /// Elements.
        elements: u32,
    },
    /// Multiply-accumulates on the S unit.
    Mac {
        /// Outputs: NL, the accumulator entries read and written back.
        outputs: u32,
        /// Terms in the view: NL x KD.
        terms: u32,
        /// Terms really computed (skipped ones excluded).
        live: u32,
        /// Terms of the granules that hold a live term: what lanes that share them have to do.
        granules: u32,
        /// Terms that every row of granules would have if each were as full as the fullest: what bound lanes wait for.
        fullest: u32,
        /// Weight format id.
        weights: u16,
        /// Input format id.
        inputs: u16,
        /// Class of the sum.
        class: DotClass,
        /// Row of the tile that takes the sum, the first of several.
        row: u32,
    },
    /// A stationary tile loaded into the array: tn x tk weights.
    TileLoad {
        /// Rows (outputs).
        tn: u32,
        /// Columns (k).
        tk: u32,
        /// Weight format id.
        weights: u16,
        /// Blocks of the array that a mask leaves out.
        dead: u32,
    },
    /// A tile product on the array: tm x tn x tk terms.
    TileMac {
        /// Rows of the inputs.
        tm: u32,
        /// Outputs.
        tn: u32,
        /// Depth.
        tk: u32,
        /// The first product with these weights since they were loaded.
        first: bool,
        /// Blocks of the array that a mask leaves out.
        dead: u32,
        /// Terms an input row that they would have had.
        dead_terms: u32,
        /// Elements of k between folds of block scales; 0 without (`mm.s`).
        block: u32,
        /// Weight format id.
        weights: u16,
        /// Input format id.
        inputs: u16,
        /// Class of the sum.
        class: DotClass,
    },
    /// Accumulator entries folded or moved: `entries`; `fold` ones also multiply by a scale and add. Clearing a tile
    /// has none: it resets marks, not entries.
    Tile {
        /// Entries.
        entries: u32,
        /// True for `fold`.
        fold: bool,
    },
    /// Bytes moved by the L unit (see `access` for where).
    Move {
        /// Bytes.
        bytes: u64,
        /// Rows.
        rows: u32,
        /// Storage format id, for bytes by format; [`NO_FORMAT`] for masks.
        format: u16,
    },
    /// Codes decoded by an entropy decoder of the L unit.
    Decode {
        /// Codes.
        symbols: u32,
        /// Bytes of the tile that they account for.
        bytes: u64,
        /// Format id of the codes.
        format: u16,
    },
    /// Bytes moved by a DMA engine.
    Dma {
        /// Bytes.
        bytes: u64,
        /// Contiguous runs.
        runs: u64,
        /// Tag.
        tag: u8,
    },
    /// `dma.wait`: until tag `tag` has at most `left` unfinished transfers.
    Wait {
        /// Tag.
        tag: u8,
        /// Allowed unfinished transfers.
        left: u32,
    },
    /// `bar`: until every core of the group has come.
    Meet {
        /// Bit c = core c.
        group: u64,
    },
    /// `sig`: one more for a semaphore of a core.
    Signal {
        /// The core.
        core: u8,
        /// Its semaphore.
        semaphore: u8,
    },
    /// `wait.sig`: until the semaphore has a signal.
    Await {
        /// Semaphore of the core itself.
        semaphore: u8,
    },
    /// `dma.mc`: this core's part of the collective transfer of a group. The source is read once for all.
    Multicast {
        /// Bytes that each member gets.
        bytes: u64,
        /// Contiguous runs.
        runs: u64,
        /// Tag.
        tag: u8,
        /// Bit c = core c.
        group: u64,
    },
    /// `epoch` and `halt`: until everything is idle.
    Drain,
}

/// Kinds of element-wise work with a price of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EwKind {
    /// f32 add, subtract, compare, min, max, absolute value.
    Add,
    /// f32 multiply.
    Mul,
    /// f32 fused multiply-add.
    Fma,
    /// f32 divide.
    Div,
    /// One special function (exp, rsqrt, gelu, ...).
    Special,
    /// Format conversion or quantisation of one element.
    Convert,
    /// Copy or broadcast.
    Copy,
    /// One bit through a truth table of three inputs, or a funnel shift.
    Bit,
    /// One bit counted.
    Pop,
    /// One stream bit from a linear feedback shift register.
    Lfsr,
    /// One stream bit from a Sobol sequence.
    Sobol,
    /// One stream bit from Philox.
    Philox,
}

/// Names of [`EwKind`] in order, as they stand in machine files.
pub const EW_KINDS: [&str; 12] =
    ["add", "mul", "fma", "div", "special", "convert", "copy", "bit", "pop", "lfsr", "sobol", "philox"];

/// One executed instruction.
#[derive(Clone, Copy)]
pub struct Event {
    /// The core that executed it.
    pub core: u8,
    /// Word address of the instruction.
    pub pc: u32,
    /// Its row.
    pub op: Op,
    /// The unit that runs it.
    pub unit: Unit,
    /// Ledger key in force (set by `node`).
    pub node: u32,
    /// Registers read.
    pub reads: RegSet,
    /// Registers written.
    pub writes: RegSet,
    /// Work.
    pub work: Work,
    /// Memory touched; the first `accesses` entries count.
    pub access: [Access; 3],
    /// Number of valid entries of `access`.
    pub accesses: u8,
    /// The blocks of a transfer; of other work what an older one left.
    pub blocks: Blocks,
}

impl Event {
    /// An event that asks nothing, to be reused for every instruction.
    pub fn new() -> Event {
        Event {
            core: 0,
            pc: 0,
            op: Op::Halt,
            unit: Unit::C,
            node: 0,
            reads: RegSet::default(),
            writes: RegSet::default(),
            work: Work::None,
            access: [Access::default(); 3],
            accesses: 0,
            blocks: Blocks::one(0, 0, 0),
        }
    }

    /// Memory that the instruction touched.
    pub fn touched(&self) -> &[Access] {
        &self.access[..usize::from(self.accesses)]
    }

    /// Adds a range of memory; ranges without bytes are left out.
    pub(super) fn touch(&mut self, access: Access) {
        if access.bytes > 0 {
            self.access[usize::from(self.accesses)] = access;
            self.accesses += 1;
        }
    }
}

/// Without what older instructions left.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { core, pc, op, unit, node, reads, writes, work, .. } = self;
        write!(f, "Event {{ core: {core}, pc: {pc}, op: {op:?}, unit: {unit:?}, node: {node}, reads: {reads:?}, ")?;
        write!(f, "writes: {writes:?}, work: {work:?}, access: {:?}", self.touched())?;
        if matches!(work, Work::Dma { .. } | Work::Multicast { .. }) {
            write!(f, ", blocks: {:?}", self.blocks)?;
        }
        f.write_str(" }")
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}
