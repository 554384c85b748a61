//! What channels tell those who asked: how many bursts are answered, and when the last of them is.

/// Clocks that the calendar of answers reaches ahead; a power of two above every read latency.
pub(super) const CALENDAR: usize = 1024;

/// Of one owner.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Owner {
    /// Bursts answered.
    pub answered: u64,
    /// Clock of the last answer.
    pub last: u64,
    /// Rows opened for it.
    pub activates: u64,
    /// Bursts that found their row open.
    pub row_hits: u64,
}

/// Of all owners.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    owners: Vec<Owner>,
    /// Answers that come in each clock, by clock modulo its length.
    pub calendar: Vec<u32>,
    /// Sum of the clocks in which reads arrived.
    pub asked: u128,
    /// Sum of the clocks in which they were answered.
    pub given: u128,
    /// Reads answered.
    pub reads: u64,
}

impl Default for Answers {
    fn default() -> Self {
        Answers { owners: Vec::new(), calendar: vec![0; CALENDAR], asked: 0, given: 0, reads: 0 }
    }
}

impl Answers {
    /// One owner more.
    pub fn new_owner(&mut self) -> u16 {
        self.owners.push(Owner::default());
        (self.owners.len() - 1) as u16
    }
    /// What an owner has been told.
    pub fn of(&self, owner: u16) -> &Owner {
        &self.owners[usize::from(owner)]
    }
    /// Forgets what an owner has been told.
    pub fn clear(&mut self, owner: u16) {
        self.owners[usize::from(owner)] = Owner::default();
    }
    /// `count` bursts of `owner` are answered in `clock`.
    #[inline]
    pub fn answer(&mut self, owner: u16, clock: u64, count: u32) {
        let row = &mut self.owners[usize::from(owner)];
        row.answered += u64::from(count);
        row.last = row.last.max(clock);
        self.calendar[clock as usize % CALENDAR] += count;
    }
    /// A read is answered.
    #[inline]
    pub fn answer_read(&mut self, owner: u16, clock: u64) {
        self.given += u128::from(clock);
        self.reads += 1;
        self.answer(owner, clock, 1);
    }
    #[inline]
    pub fn hit(&mut self, owner: u16) {
        self.owners[usize::from(owner)].row_hits += 1;
    }
    pub fn activated(&mut self, owner: u16) {
        self.owners[usize::from(owner)].activates += 1;
    }
}
