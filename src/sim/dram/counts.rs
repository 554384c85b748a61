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
    /// Adds another channel's.
    pub fn add(&mut self, other: &Counts) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.activates += other.activates;
        self.precharges += other.precharges;
        self.refreshes += other.refreshes;
        self.bank_refreshes += other.bank_refreshes;
        self.row_hits += other.row_hits;
        self.bus_clocks += other.bus_clocks;
        self.active_clocks += other.active_clocks;
        self.forwarded += other.forwarded;
        self.shared += other.shared;
    }
}
