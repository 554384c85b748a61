//! What channels tell those who asked: how many bursts are answered, and when the last of them is.

/// Clocks that the calendar of answers reaches ahead: more than [`AHEAD`] and every read latency together.
pub(super) const CALENDAR: usize = 2048;
/// Most clocks that are decided in one go.
pub(super) const AHEAD: u64 = 512;

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
    /// Channels that say the same: everything counts so often.
    pub times: u32,
    /// Answers that come in each clock, by clock modulo its length.
    pub calendar: Vec<u32>,
    /// Sum of the latencies of reads; while some are under way it has wrapped, as it is kept as a difference.
    pub latency: u64,
    /// Reads answered.
    pub reads: u64,
}

impl Default for Answers {
    fn default() -> Self {
        Answers { owners: Vec::new(), times: 1, calendar: vec![0; CALENDAR], latency: 0, reads: 0 }
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
    /// A burst of `owner` is answered in `clock`.
    #[inline]
    pub fn answer(&mut self, owner: u16, clock: u64) {
        let row = &mut self.owners[usize::from(owner)];
        row.answered += u64::from(self.times);
        row.last = row.last.max(clock);
        self.calendar[clock as usize % CALENDAR] += self.times;
    }
    /// A read arrives.
    #[inline]
    pub fn asked(&mut self, clock: u64) {
        self.latency = self.latency.wrapping_sub(clock.wrapping_mul(u64::from(self.times)));
    }
    /// A read is answered.
    #[inline]
    pub fn answer_read(&mut self, owner: u16, clock: u64) {
        self.latency = self.latency.wrapping_add(clock.wrapping_mul(u64::from(self.times)));
        self.reads += u64::from(self.times);
        self.answer(owner, clock);
    }
    #[inline]
    pub fn hit(&mut self, owner: u16) {
        self.owners[usize::from(owner)].row_hits += u64::from(self.times);
    }
    pub fn activated(&mut self, owner: u16) {
        self.owners[usize::from(owner)].activates += u64::from(self.times);
    }
}
