//! Looking at a core from outside, for debuggers and traps: state that the program's own instructions do not show.

use super::Vm;
use super::event::{RegSet, Space};
use super::trap::Result;
use crate::isa::table::{Operand, RegClass, When};
use crate::isa::{Inst, Unit};
use crate::num::{DotClass, FormatRef};

/// An operand of an instruction with its value, both as text: `("x5", "0x1000000000000000")`.
pub type Value = (String, String);

impl Vm {
    /// A copy of `len` bytes at `addr`, without the growth that [`Vm::read`] may cause.
    ///
    /// # Errors
    /// ADDR if the range does not exist.
    pub fn peek(&self, addr: u64, len: u64) -> Result<Vec<u8>> {
        self.memory.peek(addr, len)
    }
    /// Contents of a space as far as they are held; what follows is zeros.
    pub fn contents(&self, space: Space) -> &[u8] {
        self.memory.contents(space)
    }
    /// Bytes of host memory that the contents of registers and memory take, roughly.
    pub fn state_bytes(&self) -> u64 {
        let tiles = self.c.len() * self.config.acc_rows as usize * self.config.acc_cols.max(16) as usize * 30;
        let vectors = 40 * (self.config.vlen_bits / 8) as usize + 4 * self.q.len();
        self.memory.held_bytes() + (tiles + vectors) as u64
    }
    /// The format bound to slot `n` (0..16).
    pub fn slot(&self, n: u8) -> Option<FormatRef> {
        self.slots[usize::from(n)].map(|format| self.formats[usize::from(format)].format)
    }
    /// Valid bits of mask `n` (0..8).
    pub fn mask_len(&self, n: u8) -> u32 {
        self.p[usize::from(n)].len
    }
    /// Class of the sums of tile `n` (0..8).
    pub fn class(&self, n: u8) -> DotClass {
        self.c[usize::from(n)].class()
    }
    /// The view of a contraction on registers: NL, KD.
    pub fn view(&self) -> (u32, u32) {
        (self.view.nl, self.view.kd)
    }
    /// tm, tn, tk.
    pub fn tile_sizes(&self) -> [u32; 3] {
        self.tile
    }
    /// Levels 1 to 3 of DMA shape `n` (0..4): repetitions, bytes from one source block to the next, the same for
    /// destinations.
    pub fn shape(&self, n: u8) -> [(u64, i64, i64); 3] {
        self.shapes[usize::from(n)].map(|level| (level.count, level.src, level.dst))
    }
    /// Running hardware loops, outermost first: first word, word of the end, repetitions left.
    pub fn loops(&self) -> Vec<(u32, u32, u64)> {
        self.loops[..self.depth].iter().map(|each| (each.start, each.end, each.left)).collect()
    }

    /// The operands of `inst` with their values now, and the sizes that it takes from the state.
    pub fn operand_values(&self, inst: &Inst) -> Vec<Value> {
        let mut out: Vec<Value> = Vec::new();
        let mut add = |class: RegClass, n: i64| {
            let n = n as u8;
            let name = format!("{}{n}", class.letter());
            if n < class.count() && !(n == 0 && matches!(class, RegClass::X | RegClass::D | RegClass::P)) {
                let value = self.register_text(class, n);
                if let Some(value) = value.filter(|_| out.iter().all(|(known, _)| *known != name)) {
                    out.push((name, value));
                }
            }
        };
        for operand in inst.op.row().operands {
            match *operand {
                Operand::Reg { when: When::Sub(code), .. } if code != inst.sub_code() => {}
                Operand::Reg { when: When::Given, field, .. } if inst.get(field) == 0 => {}
                Operand::Reg { class, field, .. } => add(class, inst.get(field)),
                Operand::RegOrImm { field } if !inst.is_immediate() => add(RegClass::X, inst.get(field)),
                Operand::Base { field } => add(RegClass::X, inst.get(field)),
                Operand::Tile { field } => {
                    add(RegClass::C, inst.get(field));
                    add(RegClass::X, inst.rs3.into());
                }
                Operand::Mem { .. } => {
                    let mem = inst.mem();
                    add(RegClass::X, mem.base.into());
                    if let Some(rows) = mem.rows {
                        add(RegClass::X, rows.into());
                    }
                }
                Operand::Mask => add(RegClass::P, inst.pm.into()),
                _ => {}
            }
        }
        let sizes: &[(&str, u32)] = match inst.op.unit() {
            Unit::E => &[("vl", self.vl)],
            Unit::L => &[("vl", self.vl), ("nl", self.view.nl), ("kd", self.view.kd)],
            Unit::S => &[("nl", self.view.nl), ("kd", self.view.kd)],
            Unit::M => &[("tm", self.tile[0]), ("tn", self.tile[1]), ("tk", self.tile[2])],
            Unit::C | Unit::D => &[],
        };
        out.extend(sizes.iter().map(|(name, size)| ((*name).to_string(), size.to_string())));
        out
    }

    /// A register in a few words; `None` where nothing can be said.
    fn register_text(&self, class: RegClass, n: u8) -> Option<String> {
        Some(match class {
            RegClass::X => self.x(n).map_or("unknown".into(), |value| format!("{value:#x}")),
            RegClass::F => self.slot(n).map_or("unbound", |format| format.name.as_str()).to_string(),
            RegClass::C => self.class(n).name().to_string(),
            RegClass::P => {
                let mask = &self.p[usize::from(n)];
                let bits = if mask.opaque { "unknown".into() } else { mask.count(mask.len).to_string() };
                format!("{bits} of {} bits", mask.len)
            }
            RegClass::V => {
                let head: String = self.v(n)?.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                let more = if self.v(n)?.len() > 8 { ".." } else { "" };
                format!("{head}{more}")
            }
            RegClass::Q => format!("{}..", self.q(n)?.first()?),
            RegClass::D => {
                let levels = self.shape(n).map(|(count, src, dst)| format!("{count} x {src:+} -> {dst:+}"));
                levels.join(", ")
            }
            RegClass::T | RegClass::E => return None,
        })
    }
}

/// Name of a register by its bit number in a [`RegSet`].
pub fn register_name(bit: u8) -> String {
    let classes =
        [(RegSet::T, 't'), (RegSet::Q, 'q'), (RegSet::C, 'c'), (RegSet::P, 'p'), (RegSet::V, 'v'), (RegSet::X, 'x')];
    let bit = u32::from(bit);
    let (base, letter) = classes.into_iter().find(|(base, _)| bit >= *base).unwrap_or((0, 'x'));
    format!("{letter}{}", bit - base)
}
