//! The cycle-level memory behind DMA: strided transfers cut into bursts as they are offered.
//!
//! Transfers share one port, in order: the oldest that has bursts to ask for goes first, at most [`Memory::issue`] bursts a
//! clock and [`Memory::outstanding`] unanswered ones in all. A row-run (bursts that follow each other in one row) whose
//! channel is full holds back what follows. Reads are answered when their data has left the bus, writes when the channel
//! has taken them (posted). Memory is constant: a transfer is a few counters, however long it is.
//!
//! Nothing is decided before its time: a caller may start a transfer in the very cycle in which another ends. Time moves
//! in steps that are shorter than the latency of a read, so an answer is known before anything at its clock is decided.

use super::answers::{AHEAD, Answers, CALENDAR};
use super::channel::{Arrival, Channel, NEVER};
use super::clocks::Clocks;
use super::lockstep::Lockstep;
use super::rules::Table;
use super::{Done, Strided, Totals};
use crate::machine::dram::{Location, Memory};
use std::sync::Arc;

/// A transfer under way.
#[derive(Debug, Clone)]
struct Transfer {
    id: u64,
    owner: u16,
    write: bool,
    /// First clock in which a burst may be offered.
    from: u64,
    walk: Walk,
    issued: u64,
    /// Clock at which an empty transfer ends.
    last: u64,
}

/// The bursts of a strided transfer, run after run.
#[derive(Debug, Clone)]
struct Walk {
    strided: Strided,
    index: [u64; 3],
    /// Next burst and the end of the present run.
    next: u64,
    end: u64,
    over: bool,
}

impl Walk {
    fn new(strided: &Strided, burst_bytes: u64) -> Walk {
        let strided = strided.folded();
        let over = strided.runs() == 0 || strided.run_bytes == 0;
        let mut walk = Walk { strided, index: [0; 3], next: 0, end: 0, over };
        walk.open(burst_bytes);
        walk
    }
    fn open(&mut self, burst_bytes: u64) {
        let s = &self.strided;
        let offset = s
            .levels
            .iter()
            .zip(self.index)
            .fold(0i64, |sum, ((_, stride), i)| sum.wrapping_add(stride.wrapping_mul(i as i64)));
        let address = s.address.wrapping_add_signed(offset);
        self.next = address / burst_bytes;
        self.end = (address.saturating_add(s.run_bytes)).div_ceil(burst_bytes);
    }
    /// Passes `bursts` of the present run.
    #[inline]
    fn pass(&mut self, bursts: u64, burst_bytes: u64) {
        self.next += bursts;
        if self.next < self.end {
            return;
        }
        for level in (0..3).rev() {
            self.index[level] += 1;
            if self.index[level] < self.strided.levels[level].0 {
                return self.open(burst_bytes);
            }
            self.index[level] = 0;
        }
        self.over = true;
    }
}

/// A row-run that is being offered.
#[derive(Debug, Clone, Copy)]
struct Offer {
    transfer: usize,
    at: Location,
    /// The burst's number in its channel.
    key: u64,
    left: u32,
}

/// Channels, and the transfers that they serve.
#[derive(Debug, Clone)]
pub(super) struct Transfers {
    memory: Arc<Memory>,
    clocks: Clocks,
    channels: Lockstep,
    answers: Answers,
    /// In the order of their first clock, and of their numbers.
    active: Vec<Transfer>,
    free_owners: Vec<u16>,
    /// Every clock before it is decided.
    now: u64,
    /// A transfer has started since channels were last compared.
    started: bool,
    /// Clock of the next offer, and bursts taken in it.
    offer_clock: u64,
    taken: u32,
    offer: Option<Offer>,
    in_flight: u64,
    /// Answers before this clock have been taken off `in_flight`.
    calendar_at: u64,
    step_clocks: u64,
}

impl Transfers {
    pub fn new(memory: &Memory, clock_hz: u64, step: bool) -> Transfers {
        let memory = Arc::new(memory.clone());
        let table = Arc::new(Table::new(&memory.timing, memory.groups));
        let channels = Lockstep::new(Channel::new(&memory, &table, step), memory.channels, step);
        let step_clocks = u64::from(memory.timing.cl + memory.timing.burst).max(1);
        Transfers {
            clocks: Clocks::new(clock_hz, memory.tck_ps),
            channels,
            answers: Answers::default(),
            active: Vec::new(),
            free_owners: Vec::new(),
            now: 0,
            started: false,
            offer_clock: 0,
            taken: 0,
            offer: None,
            in_flight: 0,
            calendar_at: 0,
            step_clocks,
            memory,
        }
    }

    pub fn start(&mut self, id: u64, at_cycle: u64, strided: &Strided, write: bool) {
        let from = self.clocks.dram(at_cycle).max(self.now) + u64::from(self.memory.crossing[0]);
        let owner = self.free_owners.pop().unwrap_or_else(|| self.answers.new_owner());
        self.answers.clear(owner);
        self.started = true;
        let walk = Walk::new(strided, u64::from(self.memory.burst_bytes));
        // Started later, it may still be the older: nothing behind it has been offered yet.
        let index = self.active.partition_point(|other| (other.from, other.id) <= (from, id));
        self.active.insert(index, Transfer { id, owner, write, from, walk, issued: 0, last: from });
        if let Some(offer) = &mut self.offer
            && offer.transfer >= index
        {
            offer.transfer += 1;
        }
    }

    /// Clock of the last answer, if every burst is answered.
    fn ended(&self, transfer: &Transfer) -> Option<u64> {
        let owner = self.answers.of(transfer.owner);
        (transfer.walk.over && owner.answered == transfer.issued).then(|| owner.last.max(transfer.last))
    }

    pub fn advance(&mut self, before: u64) -> Option<Done> {
        let limit = self.clocks.dram(before);
        loop {
            let first = self.active.iter().enumerate().filter_map(|(i, t)| Some((self.ended(t)?, i))).min();
            if let Some((clock, index)) = first
                && self.now >= clock.min(limit)
            {
                let end_cycle = self.clocks.core(clock + u64::from(self.memory.crossing[1]));
                return (end_cycle < before).then(|| self.retire(index, end_cycle));
            }
            let known = first.map_or(NEVER, |(clock, ..)| clock);
            if self.active.is_empty() || self.now >= limit {
                self.now = self.now.max(if limit == NEVER { 0 } else { limit });
                return None;
            }
            self.run(limit.min(known));
        }
    }

    fn retire(&mut self, index: usize, end_cycle: u64) -> Done {
        let transfer = self.active.remove(index);
        if let Some(offer) = &mut self.offer
            && offer.transfer > index
        {
            offer.transfer -= 1;
        }
        self.free_owners.push(transfer.owner);
        let owner = self.answers.of(transfer.owner);
        Done {
            id: transfer.id,
            end_cycle,
            activates: owner.activates,
            row_hits: owner.row_hits,
            bursts: transfer.issued,
        }
    }

    /// Decides the clocks from `now` on: at most one step of them, none at or after `limit` or a transfer's end.
    fn run(&mut self, limit: u64) {
        let unissued = self.active.iter().filter(|t| !t.walk.over).map(|t| t.from).min();
        let waiting = self.answers_due();
        // Nothing under way until the first transfer starts: that clock is next.
        let from = match unissued {
            Some(clock) if !waiting => clock.clamp(self.now, limit),
            _ => self.now,
        };
        // While every transfer has bursts to offer none can end; with several channels those that lag must be waited for.
        let free = self.channels.len() == 1 && self.active.iter().all(|t| !t.walk.over);
        let step = if free { AHEAD } else { self.step_clocks };
        let mut until = limit.min(from.saturating_add(step));
        if from > self.offer_clock {
            (self.offer_clock, self.taken) = (from, 0);
        }
        if std::mem::take(&mut self.started) {
            self.channels.advance_all(from, &mut self.answers);
            self.channels.reunite(from);
        }
        // Where time jumps, everything is answered.
        self.take_answers(from);
        while self.next_offer(until) && self.offer_once(&mut until) {}
        self.channels.advance_all(until, &mut self.answers);
        self.now = until;
    }

    /// True if an offered burst is not answered yet.
    fn answers_due(&self) -> bool {
        self.active.iter().any(|t| self.answers.of(t.owner).answered < t.issued)
    }

    /// Makes sure that a row-run is on offer at `offer_clock`; false if none is before `until`.
    fn next_offer(&mut self, until: u64) -> bool {
        while self.offer.is_none() {
            let count = self.active.len();
            let ready = |t: &Transfer, clock: u64| !t.walk.over && t.from <= clock;
            let found = (0..count).find(|i| ready(&self.active[*i], self.offer_clock));
            let Some(index) = found else {
                let from = self.active.iter().filter(|t| !t.walk.over).map(|t| t.from).min();
                match from.filter(|clock| *clock < until) {
                    Some(clock) => (self.offer_clock, self.taken) = (clock, 0),
                    None => return false,
                }
                continue;
            };
            let walk = &self.active[index].walk;
            let left = u64::from(self.memory.map.run_from(walk.next)).min(walk.end - walk.next) as u32;
            let at = self.memory.map.locate(walk.next);
            self.offer = Some(Offer { transfer: index, at, key: self.memory.key(&at), left });
        }
        true
    }

    /// Offers the present row-run in one clock; false if it must wait until `until`.
    #[inline]
    fn offer_once(&mut self, until: &mut u64) -> bool {
        let Some(mut offer) = self.offer else { return false };
        if self.taken >= self.memory.issue {
            (self.offer_clock, self.taken) = (self.offer_clock + 1, 0);
        }
        let write = self.active[offer.transfer].write;
        let wanted = offer.left.min(self.memory.issue - self.taken);
        let Some(allowed) = self.wait_for_answers(*until, wanted) else { return false };
        if self.offer_clock >= *until {
            return false;
        }
        if self.memory.map.is_interleaved() && (self.sweep(&mut offer, until) || self.follow(&mut offer, until)) {
            return true;
        }
        let channel = offer.at.channel;
        self.channels.advance(channel, self.offer_clock, &mut self.answers);
        let room = self.channels.room(channel, write);
        if room == 0 {
            let transfer = &mut self.active[offer.transfer];
            let run = Arrival { key: offer.key, at: offer.at, count: offer.left, owner: transfer.owner, write };
            // The last burst of a run is offered by itself: what follows may lie elsewhere.
            let most = allowed.min(offer.left - 1);
            let streamed = if write { None } else { self.channels.stream(&run, *until, most, &mut self.answers) };
            if let Some((count, clock)) = streamed {
                (self.offer_clock, self.taken) = (clock, 1);
                self.in_flight += u64::from(count);
                transfer.issued += u64::from(count);
                transfer.walk.pass(u64::from(count), u64::from(self.memory.burst_bytes));
                offer.left -= count;
                offer.key += u64::from(count);
                offer.at.column += count;
                self.offer = Some(offer);
                return true;
            }
            match self.channels.advance_to_room(channel, write, *until, &mut self.answers) {
                Some(clock) => (self.offer_clock, self.taken) = (clock, 0),
                None => (self.offer_clock, self.taken) = (*until, 0),
            }
            return self.offer_clock < *until;
        }
        let count = offer.left.min(room).min(self.memory.issue - self.taken).min(allowed);
        let transfer = &mut self.active[offer.transfer];
        let run = Arrival { key: offer.key, at: offer.at, count, owner: transfer.owner, write };
        self.channels.arrive(self.offer_clock, &run, &mut self.answers);
        self.taken += count;
        self.in_flight += u64::from(count);
        transfer.issued += u64::from(count);
        let next = transfer.walk.next + u64::from(count);
        transfer.walk.pass(u64::from(count), u64::from(self.memory.burst_bytes));
        offer.left -= count;
        let (beside, step) = self.memory.map.beside(next - 1);
        if offer.left > 0 {
            offer.key += u64::from(count);
            offer.at.column += count;
        } else if beside > 1 && transfer.walk.next == next && !transfer.walk.over {
            (offer.at.channel, offer.left) = (offer.at.channel + step, 1);
        }
        self.offer = (offer.left > 0).then_some(offer);
        self.limit_to_end(offer.transfer, until);
        true
    }

    /// Offers sweeps, a burst for the same place of every channel, as long as all channels can take one as one; true if any did.
    #[inline]
    fn sweep(&mut self, offer: &mut Offer, until: &mut u64) -> bool {
        let width = self.memory.map.sweep();
        let transfer = &mut self.active[offer.transfer];
        let allowed = u64::from(self.memory.outstanding).saturating_sub(self.in_flight) as u32;
        let most = allowed.min(self.memory.issue - self.taken);
        let (owner, write) = (transfer.owner, transfer.write);
        let mut count = 0;
        while width > 0 && count + width <= most && !transfer.walk.over {
            let Walk { next, end, .. } = transfer.walk;
            let run = Arrival { key: offer.key, at: offer.at, count: 1, owner, write };
            let whole = next.is_multiple_of(width.into()) && end - next >= width.into();
            if !whole || !self.channels.arrive_everywhere(self.offer_clock, &run, &mut self.answers) {
                break;
            }
            count += width;
            transfer.walk.pass(width.into(), u64::from(self.memory.burst_bytes));
            offer.at = self.memory.map.locate(transfer.walk.next);
            offer.key = self.memory.key(&offer.at);
        }
        self.offered(offer, count, until)
    }

    /// Notes that so many bursts were taken from where `offer` goes on; true if any were.
    #[inline]
    fn offered(&mut self, offer: &Offer, count: u32, until: &mut u64) -> bool {
        if count == 0 {
            return false;
        }
        let transfer = &mut self.active[offer.transfer];
        self.taken += count;
        self.in_flight += u64::from(count);
        transfer.issued += u64::from(count);
        self.offer = (!transfer.walk.over).then_some(*offer);
        self.limit_to_end(offer.transfer, until);
        true
    }

    /// Offers bursts to one channel after the other, as long as each is told in this clock what another of its group has
    /// been told before; true if any was.
    #[inline]
    fn follow(&mut self, offer: &mut Offer, until: &mut u64) -> bool {
        let transfer = &mut self.active[offer.transfer];
        let allowed = u64::from(self.memory.outstanding).saturating_sub(self.in_flight) as u32;
        let most = allowed.min(self.memory.issue - self.taken);
        let (owner, write) = (transfer.owner, transfer.write);
        let mut count = 0;
        while count < most {
            let next = transfer.walk.next;
            let (beside, step) = self.memory.map.beside(next);
            let most = beside.min(u64::from(most - count)).min(transfer.walk.end - next) as u32;
            let channels = (offer.at.channel, step, most);
            let took = self.channels.follow(channels, self.offer_clock, offer.key, owner, write);
            count += took;
            if took == 0 {
                break;
            }
            transfer.walk.pass(took.into(), u64::from(self.memory.burst_bytes));
            if transfer.walk.over {
                break;
            }
            if u64::from(took) < beside && transfer.walk.next == next + u64::from(took) {
                offer.at.channel += took * step;
            } else {
                offer.at = self.memory.map.locate(transfer.walk.next);
                offer.key = self.memory.key(&offer.at);
            }
        }
        self.offered(offer, count, until)
    }

    /// Where a transfer has asked for all, time stops before it may end. Channels may not have been told yet, but a write is
    /// answered in the next clock; and of a read whose end is known, as writes that wait have answered it, all have.
    fn limit_to_end(&self, transfer: usize, until: &mut u64) {
        let transfer = &self.active[transfer];
        if transfer.walk.over {
            let next = if transfer.write { Some(self.offer_clock + 1) } else { self.ended(transfer) };
            let known = next.unwrap_or(NEVER);
            *until = (*until).min(self.offer_clock + self.step_clocks).min(known);
        }
    }

    /// Waits until fewer bursts than allowed are unanswered; how many may follow, or none before `until`. Answers are looked
    /// for only where not all that is `wanted` is sure to be allowed, because channels may lie behind.
    #[inline]
    fn wait_for_answers(&mut self, until: u64, wanted: u32) -> Option<u32> {
        let most = u64::from(self.memory.outstanding);
        while self.in_flight + u64::from(wanted) > most {
            self.channels.advance_all(self.offer_clock, &mut self.answers);
            self.take_answers(self.offer_clock);
            if self.in_flight < most {
                break;
            }
            if self.offer_clock + 1 >= until {
                (self.offer_clock, self.taken) = (until, 0);
                return None;
            }
            (self.offer_clock, self.taken) = (self.offer_clock + 1, 0);
        }
        Some((most - self.in_flight) as u32)
    }

    /// Takes the answers of every clock up to `clock` off the count of bursts under way.
    #[inline]
    fn take_answers(&mut self, clock: u64) {
        while self.calendar_at <= clock {
            if self.in_flight == 0 {
                self.calendar_at = clock + 1;
                return;
            }
            let slot = &mut self.answers.calendar[self.calendar_at as usize % CALENDAR];
            self.in_flight -= u64::from(*slot);
            *slot = 0;
            self.calendar_at += 1;
        }
    }

    /// Drains, closes every row, refreshes every rank once and restarts the refresh timers; the cycle in which it is over.
    pub fn quiesce(&mut self, at_cycle: u64) -> u64 {
        let at = self.clocks.dram(at_cycle).max(self.now);
        let over = self.channels.drain(at, &mut self.answers);
        let cycle = self.clocks.core(over);
        self.clocks.anchor(cycle, over);
        self.answers.calendar.fill(0);
        (self.now, self.offer_clock, self.taken) = (over, over, 0);
        (self.in_flight, self.calendar_at) = (0, over);
        cycle
    }

    /// Commands so far, up to core cycle `at_cycle`.
    pub fn totals(&mut self, at_cycle: u64) -> Totals {
        let end = self.clocks.dram(at_cycle).max(self.now);
        let mut totals = Totals { clocks: end, ..Totals::default() };
        totals.channels = self.channels.counts(end, &mut self.answers);
        totals.channels.iter().for_each(|counts| totals.counts.add(counts));
        totals.busy_cycles = self.clocks.length(totals.counts.bus_clocks) / self.channels.len() as u64;
        totals
    }
}
