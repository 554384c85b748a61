//! The two models without commands: a first-come channel of stated bandwidth, and memory that costs no time.

use super::counts::Counts;
use super::{Done, Strided};
use crate::machine::Dram;

/// A first-come channel: a transfer starts when the one before has moved its bytes.
#[derive(Debug, Clone)]
pub(super) struct Simple {
    /// None: no time at all.
    channel: Option<Channel>,
    /// Transfers that have not been reported, in order of their start.
    waiting: Vec<Done>,
    counts: Counts,
    busy: u64,
    dram: Dram,
}

#[derive(Debug, Clone)]
struct Channel {
    clock_hz: u64,
    free: u64,
}

impl Simple {
    pub fn bandwidth(dram: &Dram, clock_hz: u64) -> Simple {
        Simple { channel: Some(Channel { clock_hz, free: 0 }), ..Simple::ideal(dram) }
    }
    pub fn ideal(dram: &Dram) -> Simple {
        Simple { channel: None, waiting: Vec::new(), counts: Counts::default(), busy: 0, dram: dram.clone() }
    }
    pub fn start(&mut self, id: u64, at_cycle: u64, strided: &Strided, write: bool) {
        let (bytes, runs) = (strided.bytes(), strided.runs());
        let bus_bytes = self.dram.bus_bytes(bytes, runs);
        let bursts = bus_bytes / u64::from(self.dram.burst_bytes.max(1));
        let activates = self.dram.activations(bytes, runs);
        let mut end_cycle = at_cycle;
        if let Some(channel) = &mut self.channel {
            let rate = u128::from(self.dram.bytes_per_second.max(1));
            let cycles = (u128::from(bus_bytes) * u128::from(channel.clock_hz)).div_ceil(rate);
            let cycles = u64::try_from(cycles).unwrap_or(u64::MAX >> 8);
            channel.free = channel.free.max(at_cycle) + cycles;
            self.busy += cycles;
            end_cycle = channel.free;
        }
        *(if write { &mut self.counts.writes } else { &mut self.counts.reads }) += bursts;
        self.counts.activates += activates;
        self.counts.row_hits += bursts.saturating_sub(activates);
        self.waiting.push(Done { id, end_cycle, activates, row_hits: bursts.saturating_sub(activates), bursts });
    }
    pub fn advance(&mut self, before: u64) -> Option<Done> {
        let first = (0..self.waiting.len()).min_by_key(|i| (self.waiting[*i].end_cycle, *i))?;
        (self.waiting[first].end_cycle < before).then(|| self.waiting.remove(first))
    }
    pub fn counts(&self) -> Counts {
        self.counts
    }
    pub fn busy_cycles(&self) -> u64 {
        self.busy
    }
}
