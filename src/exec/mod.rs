//! Architectural state and one function per instruction: what a program computes, without a clock.
//!
//! A [`Vm`] runs an [`Object`] word by word and writes one [`Event`] per instruction, which says what the machine was
//! asked to do; `sim` turns events into cycles and joules. In [`Mode::TimingOnly`] only scalars, masks and control
//! memory have values; where control flow would need another value the program traps.
//!
//! The arithmetic here is the specification: plain scalar code, sums exact or in the order of the numerics contract.
//! Exact products of small integers also have leaves under `arch/`, which tests hold to that code.

mod acc;
mod arch;
mod array;
mod bits;
mod codes;
mod control;
mod cores;
mod dma;
mod entropy;
pub mod event;
pub mod golden;
mod guard;
mod hazard;
mod inspect;
mod mac;
mod mask;
mod memory;
mod operand;
mod panel;
mod passes;
mod planes;
mod race;
mod reduce;
mod scale;
mod spaces;
mod state;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod tile;
mod train;
mod trap;
mod vector;
mod window;

pub use cores::Cores;
pub use event::{Access, Blocks, Event, EwKind, RegSet, Space, Work};
pub use inspect::{Value, register_name};
pub use passes::{Mark, Moved, Row};
pub use state::Level;
pub use trap::{Result, Trap, TrapKind};

use crate::diag::{self, Error};
use crate::isa::{Inst, Object, Op, Unit, encode};
use crate::machine::Machine;
use crate::num::philox::Draws;
use crate::num::{FormatRef, format};
use acc::Tile;
use codes::Codes;
use operand::{Operand, Stationary};
use spaces::Spaces;
use state::{Loop, Mask, Scalars, Vectors, View};
use std::sync::Arc;

/// Largest tk that machines grant: a tile product deeper than the array is wide takes several passes.
const DEEPEST_TILE: u32 = 1 << 16;

/// The sizes that the state of a core has on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Vector length in bits: a power of two from 32 to 16384.
    pub vlen_bits: u32,
    /// Rows of an accumulator tile; largest tm.
    pub acc_rows: u32,
    /// Columns of an accumulator tile; largest tn.
    pub acc_cols: u32,
    /// Outputs x terms that the multiply-accumulate unit skips together.
    pub skip_granule: [u32; 2],
    /// Outputs x terms of a block of the array, which a mask of blocks skips as a whole.
    pub array_block: [u32; 2],
    /// Largest tk of a tile product.
    pub tile_k: u32,
    /// Entries of a scale vector.
    pub scale_entries: u32,
    /// Bytes of the core's SRAM.
    pub sram_bytes: u64,
    /// Bytes of the SRAM shared by all cores; 0 if there is none.
    pub shared_bytes: u64,
    /// Bytes of control memory.
    pub control_bytes: u64,
    /// Bytes of DRAM that exist; contents take host memory only as far as they are touched.
    pub dram_bytes: u64,
    /// Cores, 1 to 64, each with its own registers and SRAM; DRAM, shared SRAM and control memory exist once.
    pub cores: u32,
    /// Trap after this many instructions, counting 64 bytes moved or 64 terms multiplied as one; `None` = never.
    pub fuel: Option<u64>,
}

impl Config {
    /// The state sizes of one core of `machine`, without a fuel limit.
    pub fn of(machine: &Machine) -> Config {
        Config {
            vlen_bits: machine.vlen_bits,
            acc_rows: machine.acc_rows,
            acc_cols: machine.acc_cols,
            skip_granule: machine.units.s_skip_granule,
            array_block: machine.array.as_ref().map_or([1 << 14, DEEPEST_TILE], |array| [array.cols, array.rows]),
            tile_k: DEEPEST_TILE,
            scale_entries: machine.scale_entries(),
            sram_bytes: machine.sram.first().map_or(0, |level| level.bytes),
            shared_bytes: machine.sram.get(1).map_or(0, |level| level.bytes),
            control_bytes: machine.control_bytes,
            dram_bytes: machine.dram.bytes,
            cores: 1,
            fuel: None,
        }
    }

    fn check(&self, object: &Object, values: bool) -> diag::Result<()> {
        let vlen = self.vlen_bits;
        if !vlen.is_power_of_two() || !(32..=1 << 14).contains(&vlen) {
            return Err(Error::usage(format!("VLEN is {vlen} bits; it must be a power of two from 32 to 16384")));
        }
        let held =
            [("SRAM", self.sram_bytes), ("shared SRAM", self.shared_bytes), ("control memory", self.control_bytes)];
        for (what, bytes) in held {
            if bytes > 1 << 34 {
                return Err(Error::usage(format!("{what} of {bytes} bytes is more than the 16 GiB that exec holds")));
            }
        }
        if !(1..=64).contains(&self.cores) {
            return Err(Error::usage(format!("{} cores; exec runs 1 to 64", self.cores)));
        }
        let counts = [("rows", self.acc_rows), ("columns", self.acc_cols), ("scale entries", self.scale_entries)];
        if let Some((what, count)) = counts.iter().find(|(_, count)| !(1..=1 << 16).contains(count)) {
            return Err(Error::usage(format!("{count} {what}; exec holds tiles and scales of 1 to 65536")));
        }
        let (rows, cols) = (u64::from(self.acc_rows), u64::from(self.acc_cols.max(16)));
        if values && rows * cols > 1 << 28 {
            let message = format!("values of tiles of {rows} x {cols} entries do not fit; exec holds 2^28 of each");
            return Err(Error::unsupported(message)
                .help("count cycles and joules only (--timing-only), or give the machine smaller `core.acc`"));
        }
        let initial = [
            ("control memory", &object.control, self.control_bytes),
            ("DRAM", &object.dram, self.dram_bytes),
            ("SRAM", &object.sram, self.sram_bytes),
        ];
        if let Some((what, bytes, have)) = initial.iter().find(|(_, bytes, have)| bytes.len() as u64 > *have) {
            let need = bytes.len();
            return Err(Error::unsupported(format!(
                "the program needs {need} bytes of {what}, the machine has {have}"
            )));
        }
        Ok(())
    }
}

/// Which contents exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All: the program computes.
    Functional,
    /// Control memory, scalars and masks only: the program does the same steps without computing.
    TimingOnly,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The event describes one executed instruction; more follow.
    Running,
    /// The event describes an instruction that waits for other cores; the core goes on when they came. A core alone
    /// never waits.
    Blocked,
    /// The event describes the `halt`, and every later step gives it again.
    Halted,
}

/// A stream of events: what `sim` pulls from.
pub trait Source {
    /// Runs one instruction and describes it.
    ///
    /// # Errors
    /// The trap that stopped the program.
    fn next(&mut self, event: &mut Event) -> Result<Status>;
}

/// One word, decoded once.
#[derive(Debug, Clone)]
struct Decoded {
    inst: Inst,
    unit: Unit,
    reads: RegSet,
    writes: RegSet,
    /// The first word of a loop whose passes are alike.
    heads_alike: bool,
}

/// Working memory of instructions, so that none allocates.
#[derive(Debug, Clone, Default)]
struct Scratch {
    weights: Operand,
    inputs: Operand,
    panel_inputs: panel::Inputs,
    /// Operands of mac by vector register.
    held_weights: panel::Held<panel::Weights>,
    held_inputs: panel::Held<panel::Inputs>,
    /// A row of codes from memory, in containers.
    codes: Vec<u8>,
    live: Vec<bool>,
    bits: Vec<u8>,
    words: Vec<u32>,
}

/// What the words of a program are; nothing where one is no instruction.
type Code = Arc<[Option<Decoded>]>;

/// The program as the cores share it.
#[derive(Debug, Clone)]
struct Program {
    object: Arc<Object>,
    code: Code,
    formats: Arc<[Arc<Codes>]>,
}

impl Program {
    fn new(object: Arc<Object>, known: &mut Decodes) -> diag::Result<Program> {
        let formats = object.formats.iter().map(|name| Ok(Codes::of(format::find(name)?)));
        let formats = formats.collect::<diag::Result<_>>()?;
        Ok(Program { code: known.of(&object), formats, object })
    }
}

/// Words that were decoded, for programs that have the same: kernels at work on other parameters.
#[derive(Debug, Default)]
pub struct Decodes(Vec<(Arc<Object>, Code)>);

impl Decodes {
    fn of(&mut self, object: &Arc<Object>) -> Code {
        if let Some((_, code)) = self.0.iter().find(|(known, _)| known.words == object.words) {
            return code.clone();
        }
        let mut code: Vec<_> = object.words.iter().map(|&word| decode(word)).collect();
        passes::find(&mut code);
        let code: Code = code.into();
        self.0.push((object.clone(), code.clone()));
        code
    }
}

/// One core at its program. Its registers are its own; `memory` is all there is if it is the only core, and passes
/// from core to core if there are several ([`Cores`]).
#[derive(Debug, Clone)]
pub struct Vm {
    object: Arc<Object>,
    code: Code,
    formats: Arc<[Arc<Codes>]>,
    config: Config,
    core: u32,
    values: bool,
    /// Something that only values tell has been left open.
    guesses: bool,
    pc: u32,
    next_pc: u32,
    status: Status,
    spent: u64,
    node: u32,
    x: Scalars,
    v: Vectors,
    p: Vec<Mask>,
    /// 16 vectors of `config.scale_entries`.
    q: Vec<f32>,
    c: Vec<Tile>,
    e: [entropy::Decoder; 4],
    /// Index into `formats`.
    slots: [Option<u16>; 16],
    vl: u32,
    view: View,
    /// tm, tn, tk.
    tile: [u32; 3],
    shapes: [[Level; 3]; 4],
    loops: [Loop; 4],
    depth: usize,
    stationary: Stationary,
    /// Block scales of the next mm.x.
    block_scales: Option<array::BlockScales>,
    /// What rows of mm.x are while they are windows of an image.
    window: Option<window::Window>,
    /// Draws of stochastic rounding and noise, and the index that theirs count from; `None` if it is unknown.
    draws: Option<(Draws, u64)>,
    e4m3: FormatRef,
    /// What the planes of macp add up to, and the id of the format that they are priced as.
    plane_weights: Arc<Codes>,
    binary: u16,
    memory: Spaces,
    sync: sync::Sync,
    /// The formats that a product met last.
    pair: panel::Pair,
    scratch: Scratch,
}

impl Vm {
    /// The only core of a machine, at the entry of `object`, with control memory as the object says and zeros elsewhere.
    ///
    /// # Errors
    /// Usage if `config` is impossible or asks for several cores ([`Cores`] runs those); BadInput for a format of the
    /// object that is unknown; Unsupported if its control memory does not fit. Words that are no instructions trap when
    /// reached.
    pub fn new(object: impl Into<Arc<Object>>, config: Config, mode: Mode) -> diag::Result<Vm> {
        Vm::one_of_many(object, config, mode, &mut Decodes::default())
    }

    /// As [`Vm::new`], for one of many programs: words that are `known` are not decoded again.
    ///
    /// # Errors
    /// Those of [`Vm::new`].
    pub fn one_of_many(
        object: impl Into<Arc<Object>>,
        config: Config,
        mode: Mode,
        known: &mut Decodes,
    ) -> diag::Result<Vm> {
        let object = object.into();
        config.check(&object, mode == Mode::Functional)?;
        if config.cores != 1 {
            return Err(Error::internal(format!("one core is asked to be {}", config.cores)));
        }
        let memory = Spaces::new(&config, &object, mode == Mode::Functional);
        Vm::at_entry(Program::new(object, known)?, config, mode, 0, memory)
    }

    /// Core `core` at the entry of its program.
    fn at_entry(program: Program, config: Config, mode: Mode, core: u32, memory: Spaces) -> diag::Result<Vm> {
        let Program { object, code, formats } = program;
        let values = mode == Mode::Functional;
        let (rows, cols) = (config.acc_rows as usize, config.acc_cols as usize);
        Ok(Vm {
            code,
            formats,
            values,
            guesses: false,
            core,
            pc: object.entry,
            next_pc: object.entry,
            status: Status::Running,
            spent: 0,
            node: 0,
            x: Scalars::default(),
            v: Vectors::new(config.vlen_bits, values),
            p: (0..8).map(|n| Mask::ones(config.vlen_bits, if n == 0 { config.vlen_bits } else { 0 })).collect(),
            q: vec![0.0; if values { 16 * config.scale_entries as usize } else { 0 }],
            c: (0..8).map(|_| Tile::new(rows, cols, values)).collect(),
            e: Default::default(),
            slots: [None; 16],
            vl: 0,
            view: View::default(),
            tile: [0; 3],
            shapes: [[Level::ONE; 3]; 4],
            loops: [Loop::default(); 4],
            depth: 0,
            stationary: Stationary::default(),
            block_scales: None,
            window: None,
            draws: Some((Draws::of(0, 0), 0)),
            e4m3: format::find("fp8e4m3")?,
            plane_weights: Codes::of(format::find("int8")?),
            binary: format::find("binary")?.id,
            memory,
            sync: sync::Sync::default(),
            pair: panel::Pair::default(),
            scratch: Scratch::default(),
            config,
            object,
        })
    }

    /// Runs one instruction and describes it in `event`, whose earlier contents do not matter.
    ///
    /// # Errors
    /// The trap that stopped the program; the state is then that of the middle of the instruction.
    pub fn step(&mut self, event: &mut Event) -> Result<Status> {
        let pc = self.pc;
        let Some(Some(word)) = self.code.get(pc as usize) else {
            return Err(self.illegal().at(pc, self.node, &self.object));
        };
        (event.pc, event.op, event.unit, event.node) = (pc, word.inst.op, word.unit, self.node);
        (event.reads, event.writes) = (word.reads, word.writes);
        (event.work, event.accesses) = (Work::None, 0);
        let inst = word.inst;
        self.next_pc = pc + 1;
        let done = dispatch(self, &inst, event).and_then(|()| self.read_known(event)).and_then(|()| self.spend(event));
        if let Err(trap) = done {
            return Err(trap.at(pc, self.node, &self.object).with(self.operand_values(&inst)));
        }
        self.pc = self.next_pc;
        Ok(self.status)
    }

    /// Runs until `halt`.
    ///
    /// # Errors
    /// The trap that stopped the program.
    pub fn run(&mut self) -> Result<()> {
        let mut event = Event::new();
        while self.step(&mut event)? == Status::Running {}
        Ok(())
    }

    #[cold]
    fn illegal(&self) -> Trap {
        let message = match self.object.words.get(self.pc as usize) {
            Some(word) => match encode::decode(*word) {
                Err(error) => format!("word {word:#018x} is not an instruction: {error}"),
                Ok(_) => format!("word {word:#018x} is not an instruction"),
            },
            None => {
                let (pc, words) = (self.pc, self.code.len());
                format!(
                    "the program counter is {pc}, the program has {words} words: it runs off its end without `halt`"
                )
            }
        };
        Trap::new(TrapKind::Ill, message)
    }

    fn spend(&mut self, event: &Event) -> Result<()> {
        let Some(fuel) = self.config.fuel else { return Ok(()) };
        let terms = match event.work {
            Work::Mac { terms, .. } => u64::from(terms),
            Work::TileMac { tm, tn, tk, .. } => u64::from(tm) * u64::from(tn) * u64::from(tk),
            _ => 0,
        };
        let bytes = event.touched().iter().fold(0u64, |sum, access| sum.saturating_add(access.bytes));
        self.spent = self.spent.saturating_add(1 + bytes / 64 + terms / 64);
        if self.spent > fuel {
            return Err(Self::out_of_fuel(fuel));
        }
        Ok(())
    }

    /// Refuses work worth `bytes` moved before it is done, where the fuel does not reach for it.
    fn afford(&self, bytes: u64) -> Result<()> {
        match self.config.fuel {
            Some(fuel) if self.spent.saturating_add(bytes / 64) > fuel => Err(Self::out_of_fuel(fuel)),
            _ => Ok(()),
        }
    }

    #[cold]
    fn out_of_fuel(fuel: u64) -> Trap {
        Trap::new(TrapKind::Fuel, format!("the program used up its fuel of {fuel}"))
    }

    /// Word address of the next instruction.
    pub fn pc(&self) -> u32 {
        self.pc
    }
    /// Value of scalar register `n` (0..32); `None` if it is unknown (timing-only mode).
    pub fn x(&self, n: u8) -> Option<u64> {
        (!self.x.is_opaque(n)).then(|| self.x.get(n))
    }
    /// Sets scalar register `n` (0..32); x0 stays 0.
    pub fn set_x(&mut self, n: u8, value: u64) {
        self.x.set(n, Some(value));
    }
    /// Bytes of vector register `n` (0..32); `None` in timing-only mode.
    pub fn v(&self, n: u8) -> Option<&[u8]> {
        self.values.then(|| self.v.get(n))
    }
    /// Entries of scale vector `n` (0..16); `None` in timing-only mode.
    pub fn q(&self, n: u8) -> Option<&[f32]> {
        let entries = self.config.scale_entries as usize;
        self.values.then(|| &self.q[usize::from(n) * entries..][..entries])
    }
    /// Rounded value of entry (`row`, `col`) of tile `n` (0..8); `None` in timing-only mode.
    pub fn c(&self, n: u8, row: usize, col: usize) -> Option<f32> {
        self.values.then(|| self.c[usize::from(n)].value(row, col))
    }
    /// Bit `i` of mask `n` (0..8); `None` if unknown.
    pub fn p(&self, n: u8, i: u32) -> Option<bool> {
        let mask = &self.p[usize::from(n)];
        (!mask.opaque).then(|| mask.get(i))
    }
    /// Element count in force.
    pub fn vl(&self) -> u32 {
        self.vl
    }
    /// True if a run without values has done, so far, what one with them does: it has left nothing open that decides.
    pub fn is_sure(&self) -> bool {
        !self.guesses && !self.x.was_opaque()
    }
    /// Ledger key in force.
    pub fn node(&self) -> u32 {
        self.node
    }
    /// The program.
    pub fn object(&self) -> &Object {
        &self.object
    }
    /// The sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Writes host bytes at `addr`. In timing-only mode only control memory takes them.
    ///
    /// # Errors
    /// ADDR if the range does not exist.
    pub fn write(&mut self, addr: u64, bytes: &[u8]) -> Result<()> {
        let span = self.memory.span(addr, bytes.len() as u64)?;
        if self.memory.real(span.space) {
            self.memory.get_mut(span).copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Bytes at `addr`.
    ///
    /// # Errors
    /// ADDR if the range does not exist; DATA if it has no contents in timing-only mode.
    pub fn read(&mut self, addr: u64, len: u64) -> Result<&[u8]> {
        let span = self.memory.span(addr, len)?;
        if !self.memory.real(span.space) {
            return Err(Trap::new(
                TrapKind::Data,
                format!("{} has no contents in timing-only mode", span.space.name()),
            ));
        }
        Ok(self.memory.get(span))
    }
}

impl Source for Vm {
    fn next(&mut self, event: &mut Event) -> Result<Status> {
        self.step(event)
    }
}

fn decode(word: u64) -> Option<Decoded> {
    let inst = encode::decode(word).ok()?;
    let (reads, writes) = hazard::registers(&inst);
    Some(Decoded { inst, unit: inst.op.unit(), reads, writes, heads_alike: false })
}

fn dispatch(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    include!(concat!(env!("OUT_DIR"), "/dispatch.rs"))
}
