//! The address spaces of a core and bounds-checked ranges in them.
//!
//! DRAM and control memory grow as they are touched, so that a machine with 16 GiB costs what the program uses. In
//! timing-only mode only control memory has contents; ranges are checked in every mode.
//!
//! Several cores have one memory between them. The core that runs holds all of it, its own SRAM at a fixed place, so that
//! an access costs the same however many cores there are; [`Spaces::hand_over`] passes it on.

use super::Config;
use super::event::Space;
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Object;
use std::ops::Range;

/// Bits of an address in space 4, and of a range of [`Space::Remote`], below the number of the core.
pub const CORE_SHIFT: u32 = 48;
const OFFSET: u64 = (1 << CORE_SHIFT) - 1;

/// Memory as one core sees it.
#[derive(Debug, Clone)]
pub struct Spaces {
    /// DRAM, own SRAM, shared SRAM, control memory; nothing while another core runs.
    bytes: [Vec<u8>; 4],
    /// SRAM of every core; that of the running core stands in `bytes`.
    parked: Vec<Vec<u8>>,
    /// Control memory around what has no contents because only values tell it; empty if there is none.
    open: Range<u64>,
    size: [u64; 4],
    core: u32,
    cores: u32,
    values: bool,
}

/// A checked range of one space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Space.
    pub space: Space,
    /// First byte.
    pub lo: u64,
    /// One past the last.
    pub hi: u64,
}

impl Span {
    fn range(self) -> Range<usize> {
        // A range without bytes may lie anywhere.
        if self.lo >= self.hi {
            return 0..0;
        }
        let at = if self.space == Space::Remote { self.lo & OFFSET } else { self.lo };
        at as usize..(at + (self.hi - self.lo)) as usize
    }
}

impl Space {
    /// Name for messages.
    pub fn name(self) -> &'static str {
        ["DRAM", "SRAM", "shared SRAM", "control memory", "another core's SRAM"][self as usize]
    }
}

impl Spaces {
    /// Memory of every core, held by core 0: what `object` says from the start of control memory, DRAM and every SRAM (at
    /// most their sizes), zeros elsewhere.
    pub fn new(config: &Config, object: &Object, values: bool) -> Self {
        let mut all = Spaces::without(config, 0, values);
        let size = all.size;
        all.bytes[3] = object.control.clone();
        all.parked = vec![Vec::new(); config.cores as usize];
        if values {
            all.bytes[0] = object.dram.clone();
            all.bytes[1] = vec![0; size[1] as usize];
            all.bytes[1][..object.sram.len()].copy_from_slice(&object.sram);
            all.bytes[2] = vec![0; size[2] as usize];
            // A copy touches all of it, so one core makes none.
            all.parked[1..].iter_mut().for_each(|other| other.clone_from(&all.bytes[1]));
        }
        all
    }

    /// What core `core` holds while another runs: nothing.
    pub fn without(config: &Config, core: u32, values: bool) -> Self {
        let size = [config.dram_bytes, config.sram_bytes, config.shared_bytes, config.control_bytes];
        Spaces { bytes: Default::default(), parked: Vec::new(), open: 0..0, size, core, cores: config.cores, values }
    }

    /// Gives all memory to the core that holds `next`.
    pub fn hand_over(&mut self, next: &mut Spaces) {
        std::mem::swap(&mut self.parked, &mut next.parked);
        std::mem::swap(&mut self.open, &mut next.open);
        for space in [Space::Dram, Space::Shared, Space::Control] {
            std::mem::swap(&mut self.bytes[space as usize], &mut next.bytes[space as usize]);
        }
        let own = Space::Sram as usize;
        next.parked[self.core as usize] = std::mem::take(&mut self.bytes[own]);
        next.bytes[own] = std::mem::take(&mut next.parked[next.core as usize]);
    }

    /// Marks bytes of control memory as known to values only.
    pub fn leave_open(&mut self, bytes: Range<u64>) {
        self.open = match self.open.is_empty() {
            true => bytes,
            false => self.open.start.min(bytes.start)..self.open.end.max(bytes.end),
        };
    }

    /// The range around all bytes of control memory that were so marked.
    pub fn open(&self) -> &Range<u64> {
        &self.open
    }

    /// True if `space` has contents: always, except outside control memory in timing-only mode.
    pub fn real(&self, space: Space) -> bool {
        self.values || space == Space::Control
    }

    /// At most 8 bytes of control memory, if it has come so far.
    pub fn control(&self, at: Range<usize>) -> Option<u64> {
        let bytes = self.bytes[Space::Control as usize].get(at)?;
        let mut word = [0; 8];
        word.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    }

    /// The range of `len` bytes at `addr`; contents of DRAM and control memory grow to cover it.
    ///
    /// # Errors
    /// ADDR if the range leaves its space or the space does not exist.
    pub fn span(&mut self, addr: u64, len: u64) -> Result<Span> {
        let span = self.checked(addr, len)?;
        let grows = span.space == Space::Control || span.space == Space::Dram && self.values;
        if grows && span.hi > self.bytes[span.space as usize].len() as u64 {
            self.grow(span)?;
        }
        Ok(span)
    }

    /// As [`Spaces::span`], where contents stay as they are.
    fn checked(&self, addr: u64, len: u64) -> Result<Span> {
        let lo = addr & ((1 << 60) - 1);
        let space = match addr >> 60 {
            0 => Space::Dram,
            1 => Space::Sram,
            2 => Space::Shared,
            3 => Space::Control,
            4 => return self.remote(addr, len),
            other => {
                return Err(Trap::new(
                    TrapKind::Addr,
                    format!("address {addr:#x} is in space {other}, which does not exist"),
                ));
            }
        };
        let size = self.size[space as usize];
        let hi = lo.saturating_add(len);
        if hi > size {
            let name = space.name();
            let message = format!("{len} bytes at {addr:#x} leave the {size} bytes of {name}");
            return Err(Trap::new(TrapKind::Addr, message));
        }
        Ok(Span { space, lo, hi })
    }

    #[cold]
    fn grow(&mut self, span: Span) -> Result<()> {
        let size = self.size[span.space as usize];
        let bytes = &mut self.bytes[span.space as usize];
        let grown = span.hi.max(2 * bytes.len() as u64).max(1 << 16).min(size) as usize;
        if bytes.try_reserve_exact(grown - bytes.len()).is_err() {
            let (name, Span { lo, hi, .. }) = (span.space.name(), span);
            let message = format!("bytes {lo:#x} to {hi:#x}: this computer has no memory for {grown} bytes of {name}");
            return Err(Trap::new(TrapKind::Addr, message));
        }
        bytes.resize(grown, 0);
        Ok(())
    }

    /// The range of `len` bytes at `addr` in the SRAM of the core that bits 59:48 name; one's own is the plain SRAM.
    fn remote(&self, addr: u64, len: u64) -> Result<Span> {
        let (core, at) = ((addr >> CORE_SHIFT & 0xfff) as u32, addr & OFFSET);
        if core >= self.cores {
            let message = format!("address {addr:#x} is in the SRAM of core {core}; there are {} cores", self.cores);
            return Err(Trap::new(TrapKind::Addr, message));
        }
        let hi = at.saturating_add(len);
        let size = self.size[Space::Sram as usize];
        if hi > size {
            let message = format!("{len} bytes at {addr:#x} leave the {size} bytes of SRAM of core {core}");
            return Err(Trap::new(TrapKind::Addr, message));
        }
        if core == self.core {
            return Ok(Span { space: Space::Sram, lo: at, hi });
        }
        let base = u64::from(core) << CORE_SHIFT;
        Ok(Span { space: Space::Remote, lo: base + at, hi: base + hi })
    }

    /// A copy of `len` bytes at `addr`; nothing grows for it.
    ///
    /// # Errors
    /// As [`Spaces::span`].
    pub fn peek(&self, addr: u64, len: u64) -> Result<Vec<u8>> {
        let span = self.checked(addr, len)?;
        let (held, range) = (self.level(span), span.range());
        let mut copy = held.get(range.start..range.end.min(held.len())).unwrap_or_default().to_vec();
        copy.resize(len as usize, 0);
        Ok(copy)
    }

    /// Bytes of a space; of the SRAM of other cores none.
    pub fn size(&self, space: Space) -> u64 {
        self.size.get(space as usize).copied().unwrap_or(0)
    }

    /// All contents of a space as far as they are held; the rest is zeros.
    pub fn contents(&self, space: Space) -> &[u8] {
        self.bytes.get(space as usize).map_or(&[], Vec::as_slice)
    }

    /// Bytes of host memory that the contents take.
    pub fn held_bytes(&self) -> u64 {
        self.bytes.iter().chain(&self.parked).map(|space| space.len() as u64).sum()
    }

    /// Like [`Spaces::span`], for the load/store and array units, which reach neither DRAM nor other cores.
    ///
    /// # Errors
    /// ADDR, also for DRAM and the SRAM of another core.
    pub fn near(&mut self, addr: u64, len: u64) -> Result<Span> {
        if addr >> 60 == 0 || addr >> 60 == 4 {
            let place = if addr >> 60 == 0 { "DRAM" } else { "space 4, the SRAM of another core" };
            let message = format!("address {addr:#x} is in {place}, which only DMA reaches");
            return Err(Trap::new(TrapKind::Addr, message));
        }
        self.span(addr, len)
    }

    /// The bytes that range `span` lies in.
    fn level(&self, span: Span) -> &Vec<u8> {
        match span.space {
            Space::Remote => &self.parked[(span.lo >> CORE_SHIFT) as usize],
            space => &self.bytes[space as usize],
        }
    }

    fn level_mut(&mut self, span: Span) -> &mut Vec<u8> {
        match span.space {
            Space::Remote => &mut self.parked[(span.lo >> CORE_SHIFT) as usize],
            space => &mut self.bytes[space as usize],
        }
    }

    /// Bytes of a checked range of a space with contents.
    pub fn get(&self, span: Span) -> &[u8] {
        &self.level(span)[span.range()]
    }

    /// The same, to write.
    pub fn get_mut(&mut self, span: Span) -> &mut [u8] {
        &mut self.level_mut(span)[span.range()]
    }

    /// Copies `len` bytes between two checked offsets; does nothing where a side has no contents.
    pub fn copy(&mut self, (to, to_at): (Space, u64), (from, from_at): (Space, u64), len: u64) {
        if len == 0 || !self.real(to) || !self.real(from) {
            return;
        }
        let [to, from] = [(to, to_at), (from, from_at)].map(|(space, lo)| Span { space, lo, hi: lo + len });
        let source = std::mem::take(self.level_mut(from));
        // Taken away, so it is empty only where both sides are the same memory.
        let target = self.level_mut(to);
        if target.is_empty() {
            *target = source;
            target.copy_within(from.range(), to.range().start);
        } else {
            target[to.range()].copy_from_slice(&source[from.range()]);
            *self.level_mut(from) = source;
        }
    }
}
