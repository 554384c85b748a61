//! Memory plan: where every value lives, and for how long.
//!
//! Constants and inputs lie in DRAM from the start. Results of steps are put into the on-chip arena (the shared SRAM
//! level, or the upper part of the own SRAM) while they fit, lowest address first, and into DRAM otherwise; a place is
//! reused once the last step that reads it has ended.

/// Bits 63:60 of an address.
pub const SPACE_SHIFT: u32 = 60;
/// Alignment of every placed array.
pub const ALIGN: u64 = 64;
/// Alignment of arrays of DRAM that are no smaller: their rows then begin with the same channel of an interleaved memory.
pub const PAGE: u64 = 4096;

/// Alignment of an array of `bytes` in DRAM.
pub fn dram_align(bytes: u64) -> u64 {
    if bytes < PAGE { ALIGN } else { PAGE }
}

/// A region of one address space that hands out ranges by first fit.
#[derive(Debug, Clone)]
pub struct Arena {
    base: u64,
    size: u64,
    /// Alignment by size.
    align: fn(u64) -> u64,
    /// Allocated ranges (offset, bytes, last step that needs it), sorted by offset.
    live: Vec<(u64, u64, usize)>,
    peak: u64,
}

impl Arena {
    /// An arena of `size` bytes from address `base` (space bits included).
    pub fn new(base: u64, size: u64) -> Self {
        Arena { base, size, align: |_| ALIGN, live: Vec::new(), peak: 0 }
    }

    /// The same in DRAM.
    pub fn of_dram(base: u64, size: u64) -> Self {
        Arena { align: dram_align, ..Arena::new(base, size) }
    }

    /// A range of `bytes` that stays valid through step `until`, or `None` if no gap is wide enough. Ranges whose last
    /// step is before `now` are free again.
    pub fn take(&mut self, bytes: u64, now: usize, until: usize) -> Option<u64> {
        self.live.retain(|(_, _, last)| *last >= now);
        let bytes = bytes.max(1).next_multiple_of(ALIGN);
        let aligned = |offset: u64| (self.base + offset).next_multiple_of((self.align)(bytes)) - self.base;
        let mut offset = aligned(0);
        for (start, length, _) in &self.live {
            if *start >= offset + bytes {
                break;
            }
            offset = aligned(start + length).max(offset);
        }
        if self.size < bytes || offset > self.size - bytes {
            return None;
        }
        let at = self.live.partition_point(|(start, ..)| *start < offset);
        self.live.insert(at, (offset, bytes, until));
        self.peak = self.peak.max(offset + bytes);
        Some(self.base + offset)
    }

    /// Keeps a range from `addr` on, which was handed out elsewhere, from being taken, through every step; false if so many
    /// bytes do not lie here.
    pub fn keep(&mut self, addr: u64, bytes: u64) -> bool {
        let offset = addr - self.base;
        let bytes = bytes.max(1).next_multiple_of(ALIGN);
        if offset.saturating_add(bytes) > self.size {
            return false;
        }
        let at = self.live.partition_point(|(start, ..)| *start < offset);
        self.live.insert(at, (offset, bytes, usize::MAX));
        self.peak = self.peak.max(offset + bytes);
        true
    }

    /// Highest number of bytes ever in use, holes included.
    pub fn peak(&self) -> u64 {
        self.peak
    }
}

/// Scratch memory of one kernel call: ranges handed out upwards from the start of the own SRAM.
#[derive(Debug, Clone)]
pub struct Workspace {
    limit: u64,
    used: u64,
}

impl Workspace {
    /// A workspace of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Workspace { limit, used: 0 }
    }
    /// Address of a new range of `bytes`.
    ///
    /// # Errors
    /// Unsupported, saying what is needed and what there is.
    pub fn take(&mut self, bytes: u64, what: &str) -> crate::diag::Result<u64> {
        let at = self.used;
        let end = at.saturating_add(bytes.max(1).next_multiple_of(ALIGN));
        if end > self.limit {
            return Err(crate::diag::Error::unsupported(format!(
                "does not fit: {what} needs {bytes} bytes, {} of {} bytes of SRAM workspace are left",
                self.limit - at,
                self.limit
            ))
            .code("E0401")
            .help("use a machine with more SRAM, a shorter input, or narrower formats"));
        }
        self.used = end;
        Ok((1 << SPACE_SHIFT) + at)
    }
    /// Bytes left.
    pub fn left(&self) -> u64 {
        self.limit - self.used
    }
    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_ranges_are_reused_and_live_ones_are_not() {
        let mut arena = Arena::new(2 << SPACE_SHIFT, 256);
        let a = arena.take(64, 0, 1).expect("fits");
        let b = arena.take(128, 0, 5).expect("fits");
        assert_eq!((a & 0xfff, b & 0xfff), (0, 64));
        assert_eq!(arena.take(128, 1, 2), None, "a is still read by step 1");
        assert_eq!(arena.take(64, 2, 3), Some(a), "a is free from step 2 on");
        assert_eq!(arena.peak(), 192);
        assert!(arena.keep((2 << SPACE_SHIFT) + 64, 64));
        assert_eq!(arena.take(128, 9, 9), Some((2 << SPACE_SHIFT) + 128), "behind what is kept");
    }

    #[test]
    fn a_full_workspace_says_what_is_missing() {
        let mut workspace = Workspace::new(128);
        workspace.take(100, "x").expect("fits");
        let error = workspace.take(1000, "a row of softmax").expect_err("does not fit");
        assert!(error.message().contains("a row of softmax needs 1000 bytes"), "{error}");
        assert_eq!(error.kind().exit_code(), 4);
    }
}
