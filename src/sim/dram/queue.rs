//! Queues of bursts, stored as runs: consecutive bursts of one row take one segment, each burst still counts as one.

use super::channel::Arrival;
use std::collections::VecDeque;

/// Consecutive bursts of one row that wait.
#[derive(Debug, Clone, Copy, Default)]
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
        let at = self.segments.iter().position(|s| full >> s.bank & 1 == 0)?;
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

/// The command queues of the banks of a channel.
#[derive(Debug, Clone)]
pub(super) struct BankQueues {
    slots: Vec<Segment>,
    depth: u32,
    segments: Vec<u8>,
    bursts: Vec<u32>,
    full: u64,
    len: u32,
}

impl BankQueues {
    pub fn new(banks: usize, depth: u32) -> BankQueues {
        BankQueues {
            slots: vec![Segment::default(); banks * depth as usize],
            depth,
            segments: vec![0; banks],
            bursts: vec![0; banks],
            full: 0,
            len: 0,
        }
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
    pub fn of(&self, bank: usize) -> &[Segment] {
        let base = bank * self.depth as usize;
        &self.slots[base..base + usize::from(self.segments[bank])]
    }
    /// The segment of a bank that is all that waits in any bank, and fills the bank's queue.
    pub fn sole(&self, bank: usize) -> Option<Segment> {
        let alone = self.segments[bank] == 1 && self.bursts[bank] == self.len && self.len == self.depth;
        alone.then(|| self.head(bank))
    }
    /// As many bursts leave the only segment of a bank as join it.
    pub fn slide(&mut self, bank: usize, bursts: u64) {
        self.slots[bank * self.depth as usize].key += bursts;
    }
    pub fn head(&self, bank: usize) -> Segment {
        self.slots[bank * self.depth as usize]
    }
    pub fn holds(&self, key: u64, write: bool) -> bool {
        (0..self.segments.len()).any(|bank| self.of(bank).iter().any(|s| s.write == write && s.holds(key)))
    }
    /// Appends one burst; true if it is not of a kind and row that waits already at the end.
    #[inline]
    pub fn push(&mut self, bank: usize, one: Segment) -> bool {
        let (base, segments) = (bank * self.depth as usize, usize::from(self.segments[bank]));
        self.len += 1;
        self.bursts[bank] += 1;
        if self.bursts[bank] >= self.depth {
            self.full |= 1 << bank;
        }
        if segments > 0 && self.slots[base + segments - 1].continues(&one) {
            self.slots[base + segments - 1].count += 1;
            return false;
        }
        self.slots[base + segments] = one;
        self.segments[bank] += 1;
        true
    }
    /// Takes the first burst of `row` and kind, which is there: its number and owner, and whether it was at the head of the
    /// queue and the next of its segment is there now.
    #[inline]
    pub fn take(&mut self, bank: usize, row: u32, write: bool) -> (u64, u16, bool) {
        let (base, segments) = (bank * self.depth as usize, usize::from(self.segments[bank]));
        let queue = &mut self.slots[base..base + segments];
        let at = queue.iter().position(|s| s.row == row && s.write == write).unwrap_or(0);
        let segment = &mut queue[at];
        segment.key += 1;
        segment.count -= 1;
        let taken = (segment.key - 1, segment.owner, at == 0 && segment.count > 0);
        if segment.count == 0 {
            queue.copy_within(at + 1.., at);
            self.segments[bank] -= 1;
        }
        self.len -= 1;
        self.bursts[bank] -= 1;
        self.full &= !(1 << bank);
        taken
    }
}

/// Counts of burst numbers by their low bits: says at once that a burst does not wait.
#[derive(Debug, Clone)]
pub(super) struct Filter(Box<[u16; 1024]>);

impl Default for Filter {
    fn default() -> Self {
        Filter(Box::new([0; 1024]))
    }
}

impl Filter {
    fn slot(key: u64) -> usize {
        ((key ^ (key >> 10) ^ (key >> 20)) & 1023) as usize
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
