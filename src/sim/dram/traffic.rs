//! Requests straight to the channels, without a core: what `preon dram` and the tests drive.
//!
//! Requests are offered strictly in order, at most [`Memory::issue`] a clock; one whose channel's queue is full holds
//! back all that follow. A request reaches its channel in the clock after its offer; clocks are counted from the first
//! offer to the one in which the last answer is seen.

use super::answers::Answers;
use super::channel::{Arrival, Channel};
use super::counts::Counts;
use super::rules::Table;
use crate::machine::dram::Memory;
use std::sync::Arc;

/// Clocks from an offer to the channel.
const WAY: u64 = 1;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Byte address.
    pub address: u64,
    /// A write.
    pub write: bool,
    /// DRAM clock before which it is not offered.
    pub clock: u64,
}

/// What requests have cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// DRAM clocks from the first that may offer to the one that sees the last answer.
    pub clocks: u64,
    /// Requests.
    pub requests: u64,
    /// Sum of the latencies of reads, DRAM clocks.
    pub latency_clocks: u64,
    /// Reads among the requests.
    pub reads: u64,
    /// Commands of each channel.
    pub channels: Vec<Counts>,
}

impl Served {
    /// Commands of all channels.
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.channels.iter().for_each(|c| all.add(c));
        all
    }
    /// Requests that move a burst of their own over the bus, be it later, as posted writes that still wait do: not reads that
    /// were answered from a waiting write or by another read's data, nor writes that replaced one.
    pub fn bursts(&self) -> u64 {
        let counts = self.counts();
        self.requests - counts.forwarded - counts.shared
    }
    /// Mean latency of a read, from its offer to the end of its data, in DRAM clocks.
    pub fn mean_latency(&self) -> f64 {
        if self.reads == 0 { 0.0 } else { self.latency_clocks as f64 / self.reads as f64 }
    }
}

/// Channels that are offered requests one by one.
#[derive(Debug)]
pub struct Traffic {
    memory: Arc<Memory>,
    channels: Vec<Channel>,
    answers: Answers,
    owner: u16,
    clock: u64,
    taken: u32,
    requests: u64,
}

impl Traffic {
    /// Requests that were offered.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// An idle memory; with `step` every clock is stepped.
    pub fn new(memory: &Memory, step: bool) -> Traffic {
        let memory = Arc::new(memory.clone());
        let table = Arc::new(Table::new(&memory.timing, memory.groups));
        let channels = (0..memory.channels).map(|_| Channel::new(&memory, &table, step)).collect();
        let mut answers = Answers::default();
        let owner = answers.new_owner();
        Traffic { memory, channels, answers, owner, clock: WAY, taken: 0, requests: 0 }
    }
    /// Offers a request and waits until it is taken.
    pub fn offer(&mut self, request: &Request) {
        self.requests += 1;
        if request.clock + WAY > self.clock {
            (self.clock, self.taken) = (request.clock + WAY, 0);
        }
        if self.taken == self.memory.issue {
            (self.clock, self.taken) = (self.clock + 1, 0);
        }
        let key = request.address / u64::from(self.memory.burst_bytes);
        let at = self.memory.map.locate(key);
        let channel = &mut self.channels[at.channel as usize];
        channel.advance(self.clock, &mut self.answers);
        if channel.room(request.write) == 0
            && let Some(clock) = channel.advance_to_room(request.write, u64::MAX, &mut self.answers)
        {
            (self.clock, self.taken) = (clock, 0);
        }
        self.taken += 1;
        channel.arrive(
            self.clock,
            &Arrival { key, at, count: 1, owner: self.owner, write: request.write },
            &mut self.answers,
        );
    }
    /// Waits for the last answer.
    pub fn finish(mut self) -> Served {
        let mut at = self.clock;
        // Clock by clock: behind the last answer nothing is counted.
        while self.answers.of(self.owner).answered < self.requests {
            at += 1;
            self.channels.iter_mut().for_each(|c| c.advance(at, &mut self.answers));
        }
        debug_assert_eq!(self.answers.of(self.owner).answered, self.requests);
        let end = self.answers.of(self.owner).last;
        for channel in &mut self.channels {
            channel.advance(end, &mut self.answers);
            channel.settle(end);
        }
        Served {
            clocks: if self.requests == 0 { 0 } else { end + WAY },
            requests: self.requests,
            latency_clocks: self.answers.latency + WAY * self.answers.reads,
            reads: self.answers.reads,
            channels: self.channels.iter().map(|c| c.counts).collect(),
        }
    }
}

/// Addresses of made-up requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Burst after burst from 0.
    Sequential,
    /// One burst every so many bytes from 0.
    Stride(u64),
    /// Anywhere below so many bytes: `(splitmix64() mod (span / burst)) * burst`, the state starting at the seed.
    Random(u64),
    /// Read a burst, write it as far away as all reads span, and so on.
    Copy,
}

/// Made-up requests, all offered from clock 0 on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stream {
    /// Addresses.
    pub pattern: Pattern,
    /// Bytes of a burst.
    pub burst_bytes: u64,
    /// Requests.
    pub requests: u64,
    /// Share of them that write, by a second random sequence; a copy writes every other one.
    pub write_share: f64,
    /// Start of the random sequences.
    pub seed: u64,
}

impl Stream {
    /// Gives every request to `take`, in order.
    pub fn each(&self, mut take: impl FnMut(Request)) {
        let (mut place, mut kind) = (self.seed, !self.seed);
        let burst = self.burst_bytes;
        let half = self.requests.div_ceil(2).saturating_mul(burst);
        for n in 0..self.requests {
            let address = match self.pattern {
                Pattern::Sequential => n.wrapping_mul(burst),
                Pattern::Stride(bytes) => n.wrapping_mul(bytes),
                Pattern::Random(span) => (split_mix(&mut place) % (span / burst).max(1)) * burst,
                Pattern::Copy => (n / 2).wrapping_mul(burst) + if n % 2 == 1 { half } else { 0 },
            };
            let chance = (split_mix(&mut kind) >> 11) as f64 / (1u64 << 53) as f64;
            let write = if self.pattern == Pattern::Copy { n % 2 == 1 } else { chance < self.write_share };
            take(Request { address, write, clock: 0 });
        }
    }
}

/// The next number of SplitMix64.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
