//! The reservation table: unfinished memory ranges, so that memory is as-if-sequential whatever the overlap in time.

use super::flight::{Blocked, Part, Span, When};
use crate::exec::event::{Access, Space};

/// The instruction that makes an access: its word, and which of its accesses it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct From {
    pub(super) pc: u32,
    pub(super) n: u8,
}

/// An access that may not be over yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) access: Access,
    pub(super) from: From,
    dma: bool,
    pub(super) done: When,
    /// The time of its instruction that `done` is.
    part: Part,
}

/// Ranges of unfinished accesses, at most as many as the machine has entries.
#[derive(Debug, Clone)]
pub(super) struct OrderTable {
    entries: Vec<Entry>,
    capacity: usize,
    /// How often there was no room at once.
    crowded: u64,
}

impl OrderTable {
    pub(super) fn new(capacity: u32) -> Self {
        let capacity = (capacity as usize).max(3);
        OrderTable { entries: Vec::with_capacity(capacity), capacity, crowded: 0 }
    }
    /// The first cycle at or after `from` at which `needed` entries are free: accesses that are over free theirs. Time has
    /// come to `now`.
    ///
    /// # Errors
    /// How far time has to go until that can be said.
    pub(super) fn room(&mut self, needed: usize, from: u64, now: u64) -> Result<u64, Blocked> {
        let mut at = from;
        loop {
            self.entries.retain(|e| !matches!(e.done, When::At(done) if done <= at));
            if self.entries.len() + needed <= self.capacity {
                return Ok(at);
            }
            self.crowded += 1;
            let open = self.entries.iter().any(|e| e.done.known().is_none());
            match self.entries.iter().filter_map(|e| e.done.known()).min() {
                // An open one may be over before.
                Some(done) if open && done > now => return Err(Blocked { before: done }),
                Some(done) => at = done,
                None if open => return Err(Blocked::LONG),
                None => return Ok(at),
            }
        }
    }
    /// The cycle at which every older access that conflicts with `access` is over, as far as that is known; 0 if there is
    /// none. `open` is told of the others. Two transfers of DRAM never wait for each other: the channel keeps their order.
    pub(super) fn clear(&self, access: &Access, dma: bool, open: &mut dyn FnMut(u64, Part)) -> u64 {
        let mut at = 0;
        for entry in &self.entries {
            let older = &entry.access;
            if older.lo < access.hi
                && access.lo < older.hi
                && older.space == access.space
                && (older.write || access.write)
                && !matches!(entry.done, When::At(done) if done <= at)
                && !(dma && entry.dma && access.space == Space::Dram)
                && overlap(older, access)
            {
                match entry.done {
                    When::At(done) => at = done,
                    When::After(seq) => open(seq, entry.part),
                }
            }
        }
        at
    }
    /// Records an access that is over at `done`, the `part` of its instruction's times; `room` has been asked.
    pub(super) fn record(&mut self, access: &Access, from: From, dma: bool, done: When, part: Part) {
        self.entries.push(Entry { access: *access, from, dma, done, part });
    }
    /// What may not be over in cycle `at`.
    pub(super) fn unfinished(&self, at: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| !matches!(e.done, When::At(done) if done <= at))
    }
    /// How often there was no room at once.
    pub(super) fn crowded(&self) -> u64 {
        self.crowded
    }
    /// Moves unfinished accesses by `cycles`, and by the bytes that `distance` says; those of which it says none stay.
    pub(super) fn shift(&mut self, cycles: u64, distance: impl Fn(From) -> Option<i64>) {
        for entry in &mut self.entries {
            if let (When::At(done), Some(bytes)) = (entry.done, distance(entry.from)) {
                entry.done = When::At(done + cycles);
                entry.access.lo = entry.access.lo.wrapping_add_signed(bytes);
                entry.access.hi = entry.access.hi.wrapping_add_signed(bytes);
            }
        }
    }
    /// The times of instruction `seq` are known.
    pub(super) fn close(&mut self, seq: u64, span: Span) {
        self.entries.iter_mut().for_each(|entry| entry.done.set(seq, span.part(entry.part)));
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

    fn over(table: &mut OrderTable, access: &Access, dma: bool, done: u64) {
        table.record(access, From { pc: 0, n: 0 }, dma, When::At(done), Part::End);
    }

    /// The known end of all conflicts, where none is open.
    fn clear(table: &OrderTable, access: &Access, dma: bool) -> u64 {
        table.clear(access, dma, &mut |seq, _| panic!("instruction {seq} is open"))
    }

    #[test]
    fn only_overlaps_with_a_write_wait() {
        let mut table = OrderTable::new(4);
        over(&mut table, &range(0, 64, false), false, 100);
        over(&mut table, &range(64, 128, true), true, 200);
        assert_eq!(clear(&table, &range(0, 64, false), false), 0, "two reads");
        assert_eq!(clear(&table, &range(0, 64, true), false), 100, "write after read");
        assert_eq!(clear(&table, &range(127, 130, false), false), 200, "read after write, last byte");
        assert_eq!(clear(&table, &range(128, 130, true), false), 0, "ranges end before their end");
        let elsewhere = Access { space: Space::Shared, ..range(0, 128, true) };
        assert_eq!(clear(&table, &elsewhere, false), 0, "another space");
    }

    #[test]
    fn an_open_access_is_named_until_its_time_is_known() {
        let mut table = OrderTable::new(3);
        over(&mut table, &range(0, 64, true), true, 100);
        table.record(&range(0, 64, true), From { pc: 0, n: 0 }, true, When::After(7), Part::Ready);
        let mut open = Vec::new();
        assert_eq!(table.clear(&range(0, 8, false), false, &mut |seq, part| open.push((seq, part))), 100);
        assert_eq!(open, [(7, Part::Ready)]);
        // Two places are wanted and one is free: the known end counts once time is there, for the open one may be first.
        assert_eq!(table.room(2, 50, 60), Err(Blocked { before: 100 }));
        assert_eq!(table.room(2, 50, 100), Ok(100));
        assert_eq!(table.room(3, 50, 100), Err(Blocked::LONG));
        table.close(7, Span { start: 60, end: 110, ready: 120 });
        assert_eq!(table.room(3, 50, 100), Ok(120));
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
            over(&mut table, &range(i as u64 * 10, i as u64 * 10 + 10, true), false, done);
        }
        assert_eq!(table.room(1, 50, 0), Ok(100));
        assert_eq!(table.room(3, 50, 0), Ok(300));
    }

    #[test]
    fn transfers_of_dram_keep_the_order_of_their_channel() {
        let mut table = OrderTable::new(4);
        let dram = Access { space: Space::Dram, ..range(0, 64, true) };
        over(&mut table, &dram, true, 100);
        assert_eq!(clear(&table, &dram, true), 0);
        assert_eq!(clear(&table, &range(0, 64, true), true), 0);
    }
}
