//! Counts of commands and clocks: what energy and reports are made of.

/// What a channel has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bursts read.
    pub reads: u64,
    /// Bursts written.
    pub writes: u64,
    /// Rows opened.
    pub activates: u64,
    /// Rows closed.
    pub precharges: u64,
    /// Refreshes of a rank.
    pub refreshes: u64,
    /// Refreshes of a bank.
    pub bank_refreshes: u64,
    /// Column commands after the first of their row.
    pub row_hits: u64,
    /// Clocks that the data bus carried data.
    pub bus_clocks: u64,
    /// Clocks, over ranks, in which a rank had an open row.
    pub active_clocks: u64,
    /// Reads that found their data in a waiting write, and writes that replaced one.
    pub forwarded: u64,
    /// Reads that shared the answer of another that waited.
    pub shared: u64,
}

impl Counts {
    fn fields(&mut self) -> [&mut u64; 11] {
        [
            &mut self.reads,
            &mut self.writes,
            &mut self.activates,
            &mut self.precharges,
            &mut self.refreshes,
            &mut self.bank_refreshes,
            &mut self.row_hits,
            &mut self.bus_clocks,
            &mut self.active_clocks,
            &mut self.forwarded,
            &mut self.shared,
        ]
    }
    /// Adds another channel's, modulo 2^64.
    pub fn add(&mut self, other: &Counts) {
        let mut other = *other;
        self.fields().into_iter().zip(other.fields()).for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
    }
    /// Takes another channel's off, modulo 2^64.
    pub fn take(&mut self, other: &Counts) {
        let mut other = *other;
        self.fields().into_iter().zip(other.fields()).for_each(|(sum, less)| *sum = sum.wrapping_sub(*less));
    }
}
