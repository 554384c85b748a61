//! Requests straight to the channels, without a core: what `preon dram` and the tests drive.
//!
//! Requests are offered strictly in order, at most [`Memory::issue`] a clock; one whose channel's queue is full holds
//! back all that follow.

use super::answers::Answers;
use super::channel::{Arrival, Channel, Counts};
use super::rules::Table;
use crate::machine::dram::Memory;
use std::sync::Arc;

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
    /// DRAM clocks from the start to the last answer.
    pub clocks: u64,
    /// Requests.
    pub requests: u64,
    /// Sum of the latencies of reads, DRAM clocks.
    pub latency_clocks: u128,
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
    /// Mean latency of a read, from its arrival at the channel's queue to the end of its data, in DRAM clocks.
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
    /// An idle memory; with `step` every clock is stepped.
    pub fn new(memory: &Memory, step: bool) -> Traffic {
        let memory = Arc::new(memory.clone());
        let table = Arc::new(Table::new(&memory.timing, memory.groups));
        let channels = (0..memory.channels).map(|_| Channel::new(&memory, &table, step)).collect();
        let mut answers = Answers::default();
        let owner = answers.new_owner();
        Traffic { memory, channels, answers, owner, clock: 1, taken: 0, requests: 0 }
    }
    /// Offers a request and waits until it is taken.
    pub fn offer(&mut self, request: &Request) {
        self.requests += 1;
        if request.clock > self.clock {
            (self.clock, self.taken) = (request.clock, 0);
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
        while self.answers.of(self.owner).answered < self.requests {
            at += 64;
            self.channels.iter_mut().for_each(|c| c.advance(at, &mut self.answers));
        }
        let end = self.answers.of(self.owner).last;
        for channel in &mut self.channels {
            channel.advance(end, &mut self.answers);
            channel.settle(end);
        }
        Served {
            clocks: end,
            requests: self.requests,
            latency_clocks: self.answers.given - self.answers.asked,
            reads: self.answers.reads,
            channels: self.channels.iter().map(|c| c.counts).collect(),
        }
    }
}
