//! The four address spaces of a core and bounds-checked ranges in them.
//!
//! DRAM grows as it is touched, so that a machine with 16 GiB costs what the program uses. In timing-only mode
//! only control memory has contents; ranges are checked in every mode.

use super::Config;
use super::event::Space;
use super::trap::{Result, Trap, TrapKind};
use std::ops::Range;

/// Memory of one core.
#[derive(Debug, Clone)]
pub struct Spaces {
    bytes: [Vec<u8>; 4],
    size: [u64; 4],
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
        if self.lo < self.hi { self.lo as usize..self.hi as usize } else { 0..0 }
    }
}

impl Space {
    /// Name for messages.
    pub fn name(self) -> &'static str {
        ["DRAM", "SRAM", "shared SRAM", "control memory"][self as usize]
    }
}

impl Spaces {
    /// Empty memory: zeros everywhere; `control` from address 0 of control memory (at most its size).
    pub fn new(config: &Config, control: &[u8], values: bool) -> Self {
        let size = [config.dram_bytes, config.sram_bytes, config.shared_bytes, config.control_bytes];
        let mut bytes = [Vec::new(), Vec::new(), Vec::new(), vec![0; size[3] as usize]];
        bytes[3][..control.len()].copy_from_slice(control);
        if values {
            bytes[1] = vec![0; size[1] as usize];
            bytes[2] = vec![0; size[2] as usize];
        }
        Spaces { bytes, size, values }
    }

    /// True if `space` has contents: always, except outside control memory in timing-only mode.
    pub fn real(&self, space: Space) -> bool {
        self.values || space == Space::Control
    }

    /// The range of `len` bytes at `addr`; DRAM contents grow to cover it.
    ///
    /// # Errors
    /// ADDR if the range leaves its space or the space does not exist.
    pub fn span(&mut self, addr: u64, len: u64) -> Result<Span> {
        let lo = addr & ((1 << 60) - 1);
        let space = match addr >> 60 {
            0 => Space::Dram,
            1 => Space::Sram,
            2 => Space::Shared,
            3 => Space::Control,
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
        if space == Space::Dram && self.values && hi > self.bytes[0].len() as u64 {
            let grown = hi.max(2 * self.bytes[0].len() as u64).max(1 << 16).min(size);
            self.bytes[0].resize(grown as usize, 0);
        }
        Ok(Span { space, lo, hi })
    }

    /// Like [`Spaces::span`], for the load/store and array units, which reach everything but DRAM.
    ///
    /// # Errors
    /// ADDR, also for DRAM.
    pub fn near(&mut self, addr: u64, len: u64) -> Result<Span> {
        if addr >> 60 == 0 {
            let message = format!("address {addr:#x} is in DRAM, which only DMA reaches");
            return Err(Trap::new(TrapKind::Addr, message));
        }
        self.span(addr, len)
    }

    /// Bytes of a checked range of a space with contents.
    pub fn get(&self, span: Span) -> &[u8] {
        &self.bytes[span.space as usize][span.range()]
    }

    /// The same, to write.
    pub fn get_mut(&mut self, span: Span) -> &mut [u8] {
        &mut self.bytes[span.space as usize][span.range()]
    }

    /// Copies `len` bytes between two checked offsets; does nothing where a side has no contents.
    pub fn copy(&mut self, (to, to_at): (Space, u64), (from, from_at): (Space, u64), len: u64) {
        if !self.real(to) || !self.real(from) {
            return;
        }
        let (to_at, from_at, len) = (to_at as usize, from_at as usize, len as usize);
        if to == from {
            self.bytes[to as usize].copy_within(from_at..from_at + len, to_at);
        } else if let Ok([to, from]) = self.bytes.get_disjoint_mut([to as usize, from as usize]) {
            to[to_at..to_at + len].copy_from_slice(&from[from_at..from_at + len]);
        }
    }
}
