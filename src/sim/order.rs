//! The reservation table: unfinished memory ranges, so that memory is as-if-sequential whatever the overlap in time.

use crate::exec::event::{Access, Space};

/// An access that may not be over yet.
#[derive(Debug, Clone, Copy)]
struct Entry {
    access: Access,
    dma: bool,
    done: u64,
}

/// Ranges of unfinished accesses, at most as many as the machine has entries.
#[derive(Debug, Clone)]
pub(super) struct OrderTable {
    entries: Vec<Entry>,
    capacity: usize,
}

impl OrderTable {
    pub(super) fn new(capacity: u32) -> Self {
        let capacity = (capacity as usize).max(3);
        OrderTable { entries: Vec::with_capacity(capacity), capacity }
    }
    /// The first cycle at or after `now` at which `needed` entries are free: accesses that are over free theirs.
    pub(super) fn room(&mut self, needed: usize, now: u64) -> u64 {
        let mut at = now;
        loop {
            self.entries.retain(|e| e.done > at);
            if self.entries.len() + needed <= self.capacity {
                return at;
            }
            at = self.entries.iter().map(|e| e.done).min().unwrap_or(at);
        }
    }
    /// The cycle at which every older access that conflicts with `access` is over; 0 if there is none. Two transfers of
    /// DRAM never wait for each other: the channel serves them in their order.
    pub(super) fn clear(&self, access: &Access, dma: bool) -> u64 {
        let mut at = 0;
        for entry in &self.entries {
            let older = &entry.access;
            if older.lo < access.hi
                && access.lo < older.hi
                && older.space == access.space
                && (older.write || access.write)
                && entry.done > at
                && !(dma && entry.dma && access.space == Space::Dram)
                && overlap(older, access)
            {
                at = entry.done;
            }
        }
        at
    }
    /// Records an access that is over at `done`; `room` has been asked.
    pub(super) fn record(&mut self, access: &Access, dma: bool, done: u64) {
        self.entries.push(Entry { access: *access, dma, done });
    }
}

/// Whether two accesses whose bounding ranges overlap share a byte. Exact where both are contiguous, or evenly spaced at
/// one stride (two column tiles of one matrix); otherwise the bounding ranges decide.
fn overlap(a: &Access, b: &Access) -> bool {
    let (Some((stride, run_a)), Some((stride_b, run_b))) = (a.evenly(), b.evenly()) else { return true };
    if stride != stride_b || run_a > stride || run_b > stride {
        return true;
    }
    let (from, to) = (a.lo % stride, b.lo % stride);
    let distance = if to >= from { to - from } else { to + stride - from };
    distance < run_a || stride - distance < run_b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lo: u64, hi: u64, write: bool) -> Access {
        Access { space: Space::Sram, write, lo, hi, bytes: hi - lo, runs: 1 }
    }

    #[test]
    fn only_overlaps_with_a_write_wait() {
        let mut table = OrderTable::new(4);
        table.record(&range(0, 64, false), false, 100);
        table.record(&range(64, 128, true), true, 200);
        assert_eq!(table.clear(&range(0, 64, false), false), 0, "two reads");
        assert_eq!(table.clear(&range(0, 64, true), false), 100, "write after read");
        assert_eq!(table.clear(&range(127, 130, false), false), 200, "read after write, last byte");
        assert_eq!(table.clear(&range(128, 130, true), false), 0, "ranges end before their end");
        let elsewhere = Access { space: Space::Shared, ..range(0, 128, true) };
        assert_eq!(table.clear(&elsewhere, false), 0, "another space");
    }

    #[test]
    fn column_tiles_of_one_matrix_do_not_conflict() {
        let column = |lo: u64, run: u64| Access {
            space: Space::Sram,
            write: true,
            lo,
            hi: lo + 3 * 100 + run,
            bytes: 4 * run,
            runs: 4,
        };
        assert!(!overlap(&column(0, 50), &column(50, 50)));
        assert!(!overlap(&column(50, 50), &column(0, 50)));
        assert!(overlap(&column(0, 51), &column(50, 50)));
        assert!(overlap(&column(50, 50), &column(0, 51)));
        assert!(overlap(&column(0, 50), &range(10, 20, true)), "other shapes are judged by their bounds");
    }

    #[test]
    fn a_full_table_waits_for_the_oldest_end() {
        let mut table = OrderTable::new(3);
        for (i, done) in [300, 100, 200].into_iter().enumerate() {
            table.record(&range(i as u64 * 10, i as u64 * 10 + 10, true), false, done);
        }
        assert_eq!(table.room(1, 50), 100);
        assert_eq!(table.room(3, 50), 300);
    }

    #[test]
    fn transfers_of_dram_keep_the_order_of_their_channel() {
        let mut table = OrderTable::new(4);
        let dram = Access { space: Space::Dram, ..range(0, 64, true) };
        table.record(&dram, true, 100);
        assert_eq!(table.clear(&dram, true), 0);
        assert_eq!(table.clear(&range(0, 64, true), true), 0);
    }
}
