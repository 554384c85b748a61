//! What lay in an SRAM when: rows of addresses over bins of time, and how many bytes were in use.
//!
//! Bytes are in use from the write that brings them to their last read before the next write. That is known at a read
//! only, so the past is filled in then.

use super::scale::{Scale, merge, share};
use crate::exec::event::Access;

/// Rows of the map.
pub const ROWS: usize = 128;
/// Bytes of a row to begin with; they double when an access lies beyond the last row.
const ROW_BYTES: u64 = 64;
/// Pieces of SRAM that are told apart for [`InUse`].
const PIECES: u64 = 8192;

/// Activity by addresses and time.
#[derive(Debug, Clone)]
pub struct Map {
    bins: usize,
    row_bytes: u64,
    /// `[row][bin]`: group of steps that wrote what lies there and will be read, + 1.
    held: Vec<u16>,
    /// `[row][bin]`: bytes read.
    read: Vec<u64>,
    /// `[row][bin]`: bytes written.
    written: Vec<u64>,
    /// Of each row: last writer + 1, and when it was last touched.
    last: Vec<(u16, u64)>,
}

impl Map {
    pub(super) fn new(bins: usize) -> Map {
        let cells = ROWS * bins;
        let (held, read, written) = (vec![0; cells], vec![0; cells], vec![0; cells]);
        Map { bins, row_bytes: ROW_BYTES, held, read, written, last: vec![(0, 0); ROWS] }
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        self.row_bytes
    }
    /// Rows up to the last one that was touched.
    pub fn used(&self) -> usize {
        self.last.iter().rposition(|(writer, at)| *writer > 0 || *at > 0).map_or(0, |row| row + 1)
    }
    /// The group of steps whose bytes a row held, + 1, bin by bin; 0 for none.
    pub fn held(&self, row: usize) -> &[u16] {
        &self.held[row * self.bins..(row + 1) * self.bins]
    }
    /// Bytes read from a row, bin by bin.
    pub fn read(&self, row: usize) -> &[u64] {
        &self.read[row * self.bins..(row + 1) * self.bins]
    }
    /// Bytes written to a row, bin by bin.
    pub fn written(&self, row: usize) -> &[u64] {
        &self.written[row * self.bins..(row + 1) * self.bins]
    }

    /// Merges bins of time in pairs.
    pub(super) fn merge(&mut self) {
        self.held.chunks_mut(self.bins).for_each(|row| merge(row, |a, b| if b > 0 { b } else { a }));
        let amounts = self.read.chunks_mut(self.bins).chain(self.written.chunks_mut(self.bins));
        amounts.for_each(|row| merge(row, |a, b| a + b));
    }

    /// Merges rows in pairs.
    fn widen(&mut self) {
        self.row_bytes *= 2;
        for row in 0..ROWS {
            for bin in 0..self.bins {
                let pair = [2 * row, 2 * row + 1].map(|row| (row < ROWS).then_some(row * self.bins + bin));
                let sum = |cells: &[u64]| pair.iter().flatten().map(|at| cells[*at]).sum();
                let at = row * self.bins + bin;
                let held = pair.iter().flatten().map(|at| self.held[*at]).fold(0, u16::max);
                (self.read[at], self.written[at], self.held[at]) = (sum(&self.read), sum(&self.written), held);
            }
            let later =
                [2 * row, 2 * row + 1].into_iter().filter_map(|row| self.last.get(row)).max_by_key(|last| last.1);
            self.last[row] = later.copied().unwrap_or_default();
        }
    }

    /// An access in the cycles `from..to` by a step of `group`.
    pub(super) fn add(&mut self, scale: &Scale, access: &Access, group: u16, from: u64, to: u64) {
        while access.hi > self.row_bytes * ROWS as u64 {
            self.widen();
        }
        shares(access, self.row_bytes, |row, bytes| {
            let first = row * self.bins;
            let moved = if access.write { &mut self.written } else { &mut self.read };
            scale.spread(bytes, from, to).for_each(|(bin, part)| moved[first + bin] += part);
            let (writer, since) = &mut self.last[row];
            if access.write {
                *writer = group + 1;
                scale.parts(from, to).for_each(|(bin, ..)| self.held[first + bin] = group + 1);
            } else {
                scale.parts(*since, to).for_each(|(bin, ..)| self.held[first + bin] = *writer);
            }
            *since = to.max(*since);
        });
    }
}

/// How many bytes of an access fall into each row of `row_bytes`. Evenly spaced runs lie where they lie; other shapes are
/// taken as spread over their range.
fn shares(access: &Access, row_bytes: u64, mut each: impl FnMut(usize, u64)) {
    let mut range = |lo: u64, hi: u64, bytes: u64| {
        let mut at = lo;
        while at < hi {
            let next = hi.min((at / row_bytes + 1) * row_bytes);
            let part = share(bytes, next - lo, hi - lo) - share(bytes, at - lo, hi - lo);
            if part > 0 {
                each((at / row_bytes) as usize, part);
            }
            at = next;
        }
    };
    match access.evenly() {
        Some((stride, run)) if stride > row_bytes && access.runs <= 4096 => {
            (0..access.runs).for_each(|n| range(access.lo + n * stride, access.lo + n * stride + run, run));
        }
        _ => range(access.lo, access.hi, access.bytes),
    }
}

/// Bytes in use over time, in pieces of [`InUse::piece_bytes`].
#[derive(Debug, Clone)]
pub struct InUse {
    piece: u64,
    /// Of each piece: 1 + the cycle up to which it is known to be in use; 0 if it was never written.
    since: Vec<u64>,
    /// Byte cycles of each bin: `part`, and `full` bytes more from this bin on for every cycle.
    part: Vec<u64>,
    full: Vec<i64>,
}

impl InUse {
    pub(super) fn new(bins: usize, sram_bytes: u64) -> InUse {
        let piece = sram_bytes.div_ceil(PIECES).max(64);
        InUse {
            piece,
            since: vec![0; sram_bytes.div_ceil(piece) as usize],
            part: vec![0; bins],
            full: vec![0; bins + 1],
        }
    }

    /// Bytes that are judged together.
    pub fn piece_bytes(&self) -> u64 {
        self.piece
    }

    /// Byte cycles of each bin.
    fn byte_cycles(&self, width: u64) -> Vec<u64> {
        let mut level = 0;
        let sum = |(part, full): (&u64, &i64)| {
            level += full;
            part + width * level as u64
        };
        self.part.iter().zip(&self.full).map(sum).collect()
    }

    /// Mean number of bytes in use, bin by bin.
    pub fn bytes(&self, scale: &Scale) -> Vec<u64> {
        let cycles = self.byte_cycles(scale.width).into_iter().enumerate().take(scale.used());
        cycles.map(|(bin, sum)| sum / scale.cycles(bin).max(1)).collect()
    }

    /// Merges bins in pairs; `width` is what they had.
    pub(super) fn merge(&mut self, width: u64) {
        self.part = self.byte_cycles(width);
        self.full.fill(0);
        merge(&mut self.part, |a, b| a + b);
    }

    pub(super) fn add(&mut self, scale: &Scale, access: &Access, from: u64, to: u64) {
        let last = access.hi.div_ceil(self.piece).min(self.since.len() as u64);
        let mut piece = access.lo / self.piece;
        while piece < last {
            let since = self.since[piece as usize];
            // Pieces that came together are counted together.
            let first = piece;
            while piece < last && self.since[piece as usize] == since {
                self.since[piece as usize] = match (access.write, since) {
                    (true, _) => from + 1,
                    (false, 0) => 0,
                    (false, _) => since.max(to + 1),
                };
                piece += 1;
            }
            if !access.write && since > 0 {
                self.hold(scale, (piece - first) * self.piece, since - 1, to);
            }
        }
    }

    /// `bytes` are in use in the cycles `from..to`.
    fn hold(&mut self, scale: &Scale, bytes: u64, from: u64, to: u64) {
        let (from, to) = (from.max(scale.from), to.min(scale.until));
        if from >= to {
            return;
        }
        let (first, last) = (scale.bin(from), scale.bin(to - 1));
        if first == last {
            self.part[first] += bytes * (to - from);
            return;
        }
        self.part[first] += bytes * (scale.from + (first as u64 + 1) * scale.width - from);
        self.part[last] += bytes * (to - scale.from - last as u64 * scale.width);
        self.full[first + 1] += bytes as i64;
        self.full[last] -= bytes as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::event::Space;

    fn access(write: bool, lo: u64, bytes: u64) -> Access {
        Access { space: Space::Sram, write, lo, hi: lo + bytes, bytes, runs: 1 }
    }

    fn scale(end: u64) -> Scale {
        let mut scale = Scale::new(64, None);
        while scale.outgrown(end) {}
        scale
    }

    #[test]
    fn bytes_are_in_use_from_their_write_to_their_last_read() {
        let scale = scale(64);
        let mut used = InUse::new(64, 4096);
        used.add(&scale, &access(true, 0, 128), 10, 12);
        used.add(&scale, &access(false, 0, 64), 20, 21);
        used.add(&scale, &access(false, 0, 128), 30, 31);
        used.add(&scale, &access(true, 0, 128), 40, 41);
        used.add(&scale, &access(false, 4000, 64), 50, 51);
        let bytes = used.bytes(&scale);
        assert_eq!([bytes[9], bytes[10], bytes[25], bytes[30], bytes[31], bytes[45]], [0, 128, 128, 128, 0, 0]);
        assert_eq!(bytes.iter().sum::<u64>(), 21 * 128);
        used.merge(1);
        assert_eq!(used.byte_cycles(2).iter().sum::<u64>(), 21 * 128, "merging loses nothing");
    }

    #[test]
    fn the_map_widens_its_rows_and_loses_no_byte() {
        let scale = scale(64);
        let mut map = Map::new(64);
        map.add(&scale, &access(true, 0, 8192), 0, 0, 10);
        assert_eq!((map.row_bytes(), map.used()), (64, 128));
        let columns = Access { lo: 0, hi: 3 * 8192 + 100, bytes: 400, runs: 4, ..access(false, 0, 0) };
        map.add(&scale, &columns, 3, 20, 24);
        assert_eq!(map.row_bytes(), 256);
        let sum =
            |cells: fn(&Map, usize) -> &[u64]| (0..ROWS).map(|row| cells(&map, row).iter().sum::<u64>()).sum::<u64>();
        assert_eq!((sum(Map::written), sum(Map::read)), (8192, 400));
        assert_eq!(map.read(32).iter().sum::<u64>(), 100, "the second run lies where it lies");
    }

    #[test]
    fn a_row_is_held_between_write_and_read() {
        let scale = scale(64);
        let mut map = Map::new(64);
        map.add(&scale, &access(true, 0, 64), 4, 10, 11);
        map.add(&scale, &access(false, 0, 64), 9, 30, 31);
        map.add(&scale, &access(true, 0, 64), 6, 50, 51);
        let held = map.held(0);
        assert_eq!([held[9], held[10], held[20], held[30], held[31], held[50], held[51]], [0, 5, 5, 5, 0, 7, 0]);
    }
}
