//! Queues of bursts, stored as runs: consecutive bursts of one row take one segment, each burst still counts as one.

use super::channel::Arrival;
use std::collections::VecDeque;

/// Consecutive bursts of one row that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Segment {
    /// Number of the first burst.
    pub key: u64,
    /// Its row.
    pub row: u32,
    /// Bursts.
    pub count: u16,
    /// Who is told.
    pub owner: u16,
    /// Bank in the channel.
    pub bank: u8,
    /// A write.
    pub write: bool,
}

impl Segment {
    fn holds(&self, key: u64) -> bool {
        key.wrapping_sub(self.key) < u64::from(self.count)
    }
    /// True if a run that is offered goes on where this segment ends.
    pub fn precedes(&self, run: &Arrival) -> bool {
        let first = Segment {
            key: run.key,
            row: run.at.row,
            count: 1,
            owner: run.owner,
            bank: run.at.bank as u8,
            write: run.write,
        };
        self.continues(&first)
    }
    /// True if `next` goes on where this segment ends.
    pub fn continues(&self, next: &Segment) -> bool {
        self.key + u64::from(self.count) == next.key
            && self.bank == next.bank
            && self.row == next.row
            && self.owner == next.owner
            && self.write == next.write
    }
}

/// Requests of a channel, reads or writes, in order of arrival.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    segments: VecDeque<Segment>,
    capacity: u32,
    len: u32,
    of_bank: Vec<u16>,
    wanted: u64,
}

impl Requests {
    pub fn new(banks: usize, capacity: u32) -> Requests {
        Requests {
            segments: VecDeque::with_capacity(capacity as usize),
            capacity,
            len: 0,
            of_bank: vec![0; banks],
            wanted: 0,
        }
    }
    #[inline]
    pub fn room(&self) -> u32 {
        self.capacity - self.len
    }
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len >= self.capacity
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Banks, as bits, that a request waits for.
    #[inline]
    pub fn wanted(&self) -> u64 {
        self.wanted
    }
    pub fn holds(&self, key: u64) -> bool {
        self.segments.iter().any(|s| s.holds(key))
    }
    /// True if the same waits in both.
    pub fn is_like(&self, other: &Requests) -> bool {
        self.segments == other.segments
    }
    /// The segment that is all that waits.
    pub fn sole(&self) -> Option<Segment> {
        if self.segments.len() == 1 { self.segments.front().copied() } else { None }
    }
    /// As many bursts leave the only segment as join it.
    pub fn slide(&mut self, bursts: u64) {
        if let Some(segment) = self.segments.front_mut() {
            segment.key += bursts;
        }
    }
    /// Appends the burst `key` of a run.
    #[inline]
    pub fn push(&mut self, run: &Arrival, key: u64) {
        let bank = run.at.bank as u8;
        let one = Segment { key, row: run.at.row, count: 1, owner: run.owner, bank, write: run.write };
        self.len += 1;
        self.of_bank[usize::from(bank)] += 1;
        self.wanted |= 1 << bank;
        match self.segments.back_mut() {
            Some(last) if last.continues(&one) => last.count += 1,
            _ => self.segments.push_back(one),
        }
    }
    /// Takes the first burst whose bank is not in `full`; none if `refused` says so of it.
    #[inline]
    pub fn take(&mut self, full: u64, refused: impl Fn(u64) -> bool) -> Option<Segment> {
        if self.wanted & !full == 0 {
            return None;
        }
        let free = |s: &Segment| full >> s.bank & 1 == 0;
        let at = if free(self.segments.front()?) { 0 } else { self.segments.iter().position(free)? };
        let segment = &mut self.segments[at];
        if refused(segment.key) {
            return None;
        }
        let one = Segment { count: 1, ..*segment };
        segment.key += 1;
        segment.count -= 1;
        if segment.count == 0 {
            if at == 0 {
                self.segments.pop_front();
            } else {
                self.segments.remove(at);
            }
        }
        self.len -= 1;
        let left = &mut self.of_bank[usize::from(one.bank)];
        *left -= 1;
        if *left == 0 {
            self.wanted &= !(1 << one.bank);
        }
        Some(one)
    }
}

/// No row is open.
pub(super) const CLOSED: u32 = u32::MAX;

/// A bank: its open row, and a ring of what waits for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bank {
    /// The open row, or [`CLOSED`].
    pub open: u32,
    /// Column commands since it was opened.
    pub hits: u32,
    /// Bursts of the open row that wait: reads and writes.
    pub waiting: [u32; 2],
    /// The row of what has waited longest, or [`CLOSED`].
    pub first: u32,
    head: u32,
    segments: u32,
    bursts: u32,
}

/// The banks of a channel with their command queues.
#[derive(Debug, Clone)]
pub(super) struct Banks {
    banks: Vec<Bank>,
    slots: Vec<Segment>,
    /// Slots of a bank's ring, a power of two, less one.
    mask: u32,
    shift: u32,
    depth: u32,
    full: u64,
    len: u32,
}

impl Banks {
    pub fn new(banks: usize, depth: u32) -> Banks {
        let slots = depth.next_power_of_two();
        let bank = Bank { open: CLOSED, hits: 0, waiting: [0; 2], first: CLOSED, head: 0, segments: 0, bursts: 0 };
        Banks {
            banks: vec![bank; banks],
            slots: vec![Segment::default(); banks * slots as usize],
            mask: slots - 1,
            shift: slots.trailing_zeros(),
            depth,
            full: 0,
            len: 0,
        }
    }
    pub fn count(&self) -> usize {
        self.banks.len()
    }
    #[inline]
    pub fn of(&self, bank: usize) -> &Bank {
        &self.banks[bank]
    }
    /// Banks, as bits, whose queue is full.
    #[inline]
    pub fn full(&self) -> u64 {
        self.full
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    #[inline]
    fn slot(&self, bank: usize, at: u32) -> usize {
        self.slot_of(bank, self.banks[bank].head + at)
    }
    #[inline]
    fn slot_of(&self, bank: usize, place: u32) -> usize {
        (bank << self.shift) + (place & self.mask) as usize
    }
    /// What waits for a bank, in order of arrival.
    #[inline]
    pub fn waiting(&self, bank: usize) -> impl Iterator<Item = &Segment> {
        (0..self.banks[bank].segments).map(move |at| &self.slots[self.slot(bank, at)])
    }
    /// The segment of a bank that is all that waits in any bank, and fills the bank's queue.
    pub fn sole(&self, bank: usize) -> Option<Segment> {
        let b = &self.banks[bank];
        let alone = b.segments == 1 && b.bursts == self.len && self.len == self.depth;
        alone.then(|| self.slots[self.slot(bank, 0)])
    }
    /// As many reads of the open row leave the only segment of a bank as join it.
    pub fn slide(&mut self, bank: usize, bursts: u64) {
        let slot = self.slot(bank, 0);
        self.slots[slot].key += bursts;
        self.banks[bank].hits = self.banks[bank].hits.saturating_add(bursts as u32);
    }
    pub fn holds(&self, key: u64, write: bool) -> bool {
        (0..self.banks.len()).any(|bank| self.waiting(bank).any(|s| s.write == write && s.holds(key)))
    }
    /// True if the same rows are open and the same waits in both, where column commands of one row count up to `most`.
    pub fn is_like(&self, other: &Banks, most: u32) -> bool {
        let state = |b: &Bank| (b.open, b.hits.min(most));
        let same = |(bank, (a, b)): (usize, (&Bank, &Bank))| {
            state(a) == state(b) && a.segments == b.segments && self.waiting(bank).eq(other.waiting(bank))
        };
        self.len == other.len && self.banks.iter().zip(&other.banks).enumerate().all(same)
    }
    /// Opens the row of what has waited longest; who asked for it.
    pub fn open(&mut self, bank: usize) -> u16 {
        let first = self.slots[self.slot(bank, 0)];
        let mut waiting = [0; 2];
        for segment in self.waiting(bank).filter(|s| s.row == first.row) {
            waiting[usize::from(segment.write)] += u32::from(segment.count);
        }
        let b = &mut self.banks[bank];
        (b.open, b.hits, b.waiting) = (first.row, 0, waiting);
        first.owner
    }
    pub fn close(&mut self, bank: usize) {
        let b = &mut self.banks[bank];
        (b.open, b.hits, b.waiting) = (CLOSED, 0, [0; 2]);
    }
    /// Appends one burst.
    #[inline]
    pub fn push(&mut self, one: &Segment) {
        let bank = usize::from(one.bank);
        self.len += 1;
        let b = &mut self.banks[bank];
        b.bursts += 1;
        b.waiting[usize::from(one.write)] += u32::from(one.row == b.open);
        if b.bursts >= self.depth {
            self.full |= 1 << bank;
        }
        let (end, segments) = (b.head + b.segments, b.segments);
        if segments == 0 {
            b.first = one.row;
        } else {
            let last = self.slot_of(bank, end - 1);
            if self.slots[last].continues(one) {
                self.slots[last].count += 1;
                return;
            }
        }
        self.banks[bank].segments = segments + 1;
        let next = self.slot_of(bank, end);
        self.slots[next] = *one;
    }
    /// Takes the first burst of the open row and kind, which is there: its number and owner, and whether it was the first of
    /// all and another of its run is the first now, so that the bank wants the same as before.
    #[inline]
    pub fn take(&mut self, bank: usize, write: bool) -> (u64, u16, bool) {
        let Bank { open, head, segments, .. } = self.banks[bank];
        let wanted = |s: &Segment| s.row == open && s.write == write;
        let (mut at, mut slot) = (0, self.slot_of(bank, head));
        while at + 1 < segments && !wanted(&self.slots[slot]) {
            at += 1;
            slot = self.slot_of(bank, head + at);
        }
        let segment = &mut self.slots[slot];
        segment.key += 1;
        segment.count -= 1;
        let emptied = segment.count == 0;
        let taken = (segment.key - 1, segment.owner, at == 0 && !emptied);
        let b = &mut self.banks[bank];
        b.bursts -= 1;
        b.hits = b.hits.saturating_add(1);
        b.waiting[usize::from(write)] -= 1;
        self.len -= 1;
        self.full &= !(1 << bank);
        if emptied {
            self.remove(bank, at);
        }
        taken
    }
    /// Removes the segment at place `at` of a bank's queue.
    #[inline]
    fn remove(&mut self, bank: usize, at: u32) {
        let Bank { head, segments, .. } = self.banks[bank];
        for behind in (0..at).rev() {
            let (from, to) = (self.slot_of(bank, head + behind), self.slot_of(bank, head + behind + 1));
            self.slots[to] = self.slots[from];
        }
        let first = self.slots[self.slot_of(bank, head + 1)].row;
        let b = &mut self.banks[bank];
        b.head = (head + 1) & self.mask;
        b.segments = segments - 1;
        b.first = if segments > 1 { first } else { CLOSED };
    }
}

/// Counts of burst numbers by a hash: says at once that a burst does not wait.
#[derive(Debug, Clone)]
pub(super) struct Filter(Box<[u16; 4096]>);

impl Default for Filter {
    fn default() -> Self {
        Filter(Box::new([0; 4096]))
    }
}

impl Filter {
    /// By the golden ratio: numbers of a channel are far from random.
    #[inline]
    fn slot(key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize
    }
    #[inline]
    pub fn maybe(&self, key: u64) -> bool {
        self.0[Self::slot(key)] > 0
    }
    #[inline]
    pub fn add(&mut self, key: u64) {
        self.0[Self::slot(key)] += 1;
    }
    #[inline]
    pub fn remove(&mut self, key: u64) {
        self.0[Self::slot(key)] -= 1;
    }
}
