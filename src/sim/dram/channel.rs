//! One channel: requests wait in a read and a write queue, commands wait in a queue a bank, and every clock the first
//! command that is ready issues (FR-FCFS with banks in turn).
//!
//! A clock does, in this order: count the refresh timer; issue one command (where the standard has a row and a column
//! command bus, one of each), a waiting refresh first; move one request to its bank's queue. Clocks in which nothing can
//! happen are skipped: `wake` is the next one that matters. The mechanism is that of DRAMsim3 (docs/dram.md), which the
//! committed figures are compared with.

use super::answers::Answers;
use super::counts::Counts;
use super::queue::{Banks, CLOSED, Filter, Requests};
use super::rules::{COMMANDS, Command, Scope, Table};
use crate::machine::dram::{Location, Memory, Page, Refresh};
use std::collections::VecDeque;
use std::sync::Arc;

/// A clock that never comes.
pub(super) const NEVER: u64 = u64::MAX;
/// Posted writes start to drain above this many when nothing else waits.
const DRAIN_ABOVE: u32 = 8;

/// Most banks of a channel: one bit each.
const BANKS: usize = 64;

/// Earliest clocks of the commands to a bank, a group or a rank; by scope, then number.
type Ready = [[[u64; COMMANDS]; BANKS]; 3];
const BANK: usize = 0;
const GROUP: usize = 1;
const RANK: usize = 2;

/// A run of requests that arrives in one clock: consecutive bursts of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Number of the first burst.
    pub key: u64,
    /// Where it lies.
    pub at: Location,
    /// Bursts.
    pub count: u32,
    /// Who is told.
    pub owner: u16,
    /// A write.
    pub write: bool,
}

impl Arrival {
    /// True if they have a burst in common.
    pub fn overlaps(&self, other: &Arrival) -> bool {
        let end = |run: &Arrival| run.key + u64::from(run.count);
        self.key < end(other) && other.key < end(self)
    }
}

/// The next command and when.
#[derive(Debug, Clone, Copy)]
struct Plan {
    clock: u64,
    bank: u32,
    command: Command,
}

const NOTHING: Plan = Plan { clock: NEVER, bank: 0, command: Command::Activate };

/// The best plan so far, and how far its bank is from its turn.
struct Best {
    plan: Plan,
    turn: u32,
}

/// Banks as bits, by what their queue could issue.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    activate: u64,
    precharge: u64,
    read: u64,
    write: u64,
    /// Of those that could issue both: where a write stands before the first read of the open row.
    write_first: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Channel {
    memory: Arc<Memory>,
    table: Arc<Table>,
    /// Bits of a bank's number below its group, and below its rank.
    group_shift: u32,
    rank_shift: u32,
    /// Next clock in which something may happen; every clock before it is over.
    wake: u64,
    /// Clocks up to here (excluded) are over.
    now: u64,
    /// Step every clock.
    step: bool,
    /// A row and a column command may issue in one clock.
    dual: bool,
    /// Clocks from a read command to the end of its data.
    read_clocks: u64,
    burst: u64,
    ready: Box<Ready>,
    /// Last four activates of each rank, the oldest at the index.
    window: Vec<([u64; 4], u8)>,
    open_banks: Vec<u32>,
    active_since: Vec<u64>,
    banks: Banks,
    wanted: Wanted,
    /// The same by bank: bits for activate, precharge, read and write.
    wants: [u8; BANKS],
    reads: Requests,
    writes: Requests,
    draining: u32,
    read_keys: Filter,
    write_keys: Filter,
    /// Reads of a burst that is already asked for: (burst, owner).
    twins: Vec<(u64, u16)>,
    turn: u32,
    plan: Plan,
    plan_old: bool,
    refresh_at: u64,
    refresh_next: u32,
    refresh_due: VecDeque<u32>,
    /// Banks that a started refresh keeps commands from.
    held: u64,
    pub counts: Counts,
    /// Writes drain however few they are.
    flush: bool,
    /// Clock of the last refresh that was pulled in.
    pulled_in: Option<u64>,
}

impl Channel {
    pub fn new(memory: &Arc<Memory>, table: &Arc<Table>, step: bool) -> Channel {
        let (ranks, banks) = (memory.ranks as usize, memory.banks_of_channel() as usize);
        let mut channel = Channel {
            memory: memory.clone(),
            table: table.clone(),
            group_shift: memory.banks.trailing_zeros(),
            rank_shift: (memory.banks * memory.groups).trailing_zeros(),
            wake: 0,
            now: 0,
            step,
            dual: memory.dual_command,
            read_clocks: u64::from(memory.timing.cl + memory.timing.burst),
            burst: u64::from(memory.timing.burst),
            ready: Box::new([[[0; COMMANDS]; BANKS]; 3]),
            window: vec![([0; 4], 0); ranks],
            open_banks: vec![0; ranks],
            active_since: vec![0; ranks],
            banks: Banks::new(banks, memory.bank_queue),
            wanted: Wanted::default(),
            wants: [0; BANKS],
            reads: Requests::new(banks, memory.queue),
            writes: Requests::new(banks, memory.queue),
            draining: 0,
            read_keys: Filter::default(),
            write_keys: Filter::default(),
            twins: Vec::new(),
            turn: 0,
            plan: NOTHING,
            plan_old: false,
            refresh_at: NEVER,
            refresh_next: 0,
            refresh_due: VecDeque::new(),
            held: 0,
            counts: Counts::default(),
            flush: false,
            pulled_in: None,
        };
        channel.restart_refresh(0);
        channel.rest(0);
        channel
    }

    /// Clocks between two refresh commands of the channel, if it refreshes.
    fn refresh_interval(&self) -> Option<u64> {
        let t = &self.memory.timing;
        let share = |clocks: u32, parts: u32| u64::from((clocks / parts).max(1));
        match self.memory.refresh {
            Refresh::AllBank => Some(share(t.refi, self.memory.ranks)),
            Refresh::PerBank => Some(share(t.refi, self.memory.banks_of_channel())),
            Refresh::None => None,
        }
    }

    fn restart_refresh(&mut self, at: u64) {
        self.refresh_at = self.refresh_interval().map_or(NEVER, |clocks| at + clocks);
        self.refresh_next = 0;
    }

    /// True if nothing waits and no refresh is due.
    pub fn is_idle(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty() && self.banks.is_empty() && self.refresh_due.is_empty()
    }

    /// Requests of this kind that the queue takes.
    #[inline]
    pub fn room(&self, write: bool) -> u32 {
        if write { self.writes.room() } else { self.reads.room() }
    }

    /// Does every clock before `to`. Most often nothing happens in them: that much is part of its callers.
    #[inline(always)]
    pub fn advance(&mut self, to: u64, answers: &mut Answers) {
        if self.wake < to {
            self.tick_until(to, answers);
        }
        self.now = self.now.max(to);
    }

    #[inline(never)]
    fn tick_until(&mut self, to: u64, answers: &mut Answers) {
        while self.wake < to {
            if self.wake == self.refresh_at {
                self.skip_refreshes(to);
            }
            self.tick(self.wake, answers);
        }
    }

    /// While nothing waits and every row is closed, all refreshes before `to` but the last of every unit are only counted.
    fn skip_refreshes(&mut self, to: u64) {
        let Some(interval) = self.refresh_interval() else { return };
        let units = self.refresh_units();
        let spare = u64::from(units) + 1;
        let skipped = ((to - self.refresh_at) / interval).saturating_sub(spare);
        if skipped == 0 || self.step || !self.is_idle() || self.open_banks.iter().any(|open| *open > 0) {
            return;
        }
        let counter = if self.memory.refresh == Refresh::PerBank {
            &mut self.counts.bank_refreshes
        } else {
            &mut self.counts.refreshes
        };
        *counter += skipped;
        self.refresh_at += skipped * interval;
        self.refresh_next = ((u64::from(self.refresh_next) + skipped) % u64::from(units)) as u32;
        self.wake = self.refresh_at;
    }

    /// What is refreshed in turn: ranks or banks.
    fn refresh_units(&self) -> u32 {
        if self.memory.refresh == Refresh::PerBank { self.banks.count() as u32 } else { self.memory.ranks }
    }

    /// Does clocks before `limit` until the queue has room; the first clock in which a request can arrive, if there is one.
    pub fn advance_to_room(&mut self, write: bool, limit: u64, answers: &mut Answers) -> Option<u64> {
        while self.room(write) == 0 {
            if self.wake >= limit {
                self.now = self.now.max(limit);
                return None;
            }
            let clock = self.wake;
            self.tick(clock, answers);
            self.now = self.now.max(clock + 1);
        }
        Some(self.now)
    }

    /// Takes requests in clock `clock`, before which every clock is over; there is room for them.
    pub fn arrive(&mut self, clock: u64, run: &Arrival, answers: &mut Answers) {
        debug_assert!(run.count <= self.room(run.write) && self.wake >= clock);
        for n in 0..u64::from(run.count) {
            let key = run.key + n;
            if run.write {
                answers.answer(run.owner, clock + 1);
                if self.write_keys.maybe(key) && self.waits(key, true) {
                    self.counts.forwarded += 1;
                    continue;
                }
                self.write_keys.add(key);
                self.writes.push(run, key);
            } else {
                answers.asked(clock);
                if self.write_keys.maybe(key) && self.waits(key, true) {
                    self.counts.forwarded += 1;
                    answers.answer_read(run.owner, clock + 1);
                    continue;
                }
                if self.read_keys.maybe(key) && self.waits(key, false) {
                    self.counts.shared += 1;
                    self.twins.push((key, run.owner));
                    continue;
                }
                self.read_keys.add(key);
                self.reads.push(run, key);
            }
        }
        let drains = self.draining > 0 || self.must_drain();
        let queue = if drains { &self.writes } else { &self.reads };
        if queue.wanted() & !self.banks.full() != 0 || (drains && self.draining == 0) {
            self.wake = clock;
        }
    }

    /// Run issue: while everything that waits, and the run that is offered to the full queue, is one row-run of reads in an open
    /// row, no choice is left: a read issues every few clocks, a request moves up and one of the run arrives in the clock
    /// after. Does as many of these steps as lie before `until` and the next refresh, at most `most`; how many, and the clock
    /// of the last arrival. Stepping clock by clock comes to the same.
    pub fn stream(&mut self, run: &Arrival, until: u64, most: u32, answers: &mut Answers) -> Option<(u32, u64)> {
        let bank = run.at.bank as usize;
        let plan = self.plan;
        let alone = self.reads.is_full()
            && self.writes.is_empty()
            && self.draining == 0
            && self.refresh_due.is_empty()
            && self.twins.is_empty()
            && self.memory.page == Page::Open
            && !self.plan_old
            && plan.command == Command::Read
            && plan.bank as usize == bank
            && self.wake == plan.clock
            && self.banks.of(bank).hits > 0
            && self.banks.of(bank).open == run.at.row;
        if !alone || self.step {
            return None;
        }
        let (head, next) = (self.banks.sole(bank)?, self.reads.sole()?);
        if !head.continues(&next) || !next.precedes(run) {
            return None;
        }
        let apart = u64::from(self.table.same_bank_reads());
        let clocks = until.min(self.refresh_at).saturating_sub(plan.clock.saturating_add(1));
        let count = clocks.div_ceil(apart).min(u64::from(run.count.min(most)));
        if count == 0 {
            return None;
        }
        for n in 0..count {
            let clock = plan.clock + n * apart;
            self.read_keys.remove(head.key + n);
            self.read_keys.add(run.key + n);
            answers.asked(clock + 1);
            answers.answer_read(run.owner, clock + self.read_clocks);
            answers.hit(run.owner);
        }
        let last = plan.clock + (count - 1) * apart;
        self.banks.slide(bank, count);
        self.reads.slide(count);
        self.counts.reads += count;
        self.counts.row_hits += count;
        self.counts.bus_clocks += count * self.burst;
        self.turn = bank as u32;
        self.raise(Command::Read, bank, bank >> self.rank_shift, last);
        self.plan_old = true;
        self.rest(last + 1);
        Some((count as u32, last + 1))
    }

    /// True if a burst of `run` is asked for already, so that it would be answered together with it.
    #[inline]
    pub fn waits_for(&self, run: &Arrival) -> bool {
        let asked = |key: u64| {
            (self.write_keys.maybe(key) && self.waits(key, true))
                || (!run.write && self.read_keys.maybe(key) && self.waits(key, false))
        };
        // Most often it is one burst.
        asked(run.key) || (1..u64::from(run.count)).any(|n| asked(run.key + n))
    }

    /// True if the burst waits anywhere in the channel.
    fn waits(&self, key: u64, write: bool) -> bool {
        let queue = if write { &self.writes } else { &self.reads };
        queue.holds(key) || self.banks.holds(key, write)
    }

    fn must_drain(&self) -> bool {
        let above = if self.flush { 0 } else { DRAIN_ABOVE };
        self.writes.is_full() || (self.writes.len() > above && self.banks.is_empty())
    }

    /// One clock.
    fn tick(&mut self, clock: u64, answers: &mut Answers) {
        if clock == self.refresh_at {
            self.refresh_due.push_back(self.refresh_next);
            self.refresh_next = (self.refresh_next + 1) % self.refresh_units();
            self.refresh_at += self.refresh_interval().unwrap_or(NEVER);
        }
        let mut first = None;
        if !self.refresh_due.is_empty() {
            self.hold();
            let plan = self.refresh_plan(clock);
            if plan.clock == clock {
                self.issue(&plan, clock, answers);
                first = Some(plan.command);
            }
        }
        if first.is_none() {
            if self.plan_old || self.plan.clock < clock {
                self.plan = self.next_command(clock);
                self.plan_old = false;
            }
            if self.plan.clock == clock {
                let plan = self.plan;
                self.turn = plan.bank;
                self.issue(&plan, clock, answers);
                first = Some(plan.command);
            }
        }
        if let (true, Some(first)) = (self.dual, first) {
            self.plan = self.next_command(clock);
            self.plan_old = false;
            if self.plan.clock == clock {
                let plan = self.plan;
                self.turn = plan.bank;
                self.plan_old = true;
                if is_column(plan.command) != is_column(first) {
                    self.issue(&plan, clock, answers);
                }
            }
        }
        self.move_request();
        self.rest(clock + 1);
    }

    /// Finds the next clock, from `from` on, in which something may happen.
    fn rest(&mut self, from: u64) {
        self.now = from;
        if self.step {
            self.plan_old = true;
            self.wake = from;
            return;
        }
        if self.plan_old || self.plan.clock < from {
            self.plan = self.next_command(from);
            self.plan_old = false;
        }
        let mut wake = self.plan.clock.min(self.refresh_at);
        if !self.refresh_due.is_empty() {
            wake = wake.min(self.refresh_plan(from).clock);
        }
        let drains = self.draining > 0 || self.must_drain();
        let queue = if drains { &self.writes } else { &self.reads };
        if queue.wanted() & !self.banks.full() != 0 {
            wake = from;
        }
        self.wake = wake.max(from);
    }

    /// Earliest clock of a command to a bank.
    #[inline]
    fn ready(&self, command: Command, bank: usize) -> u64 {
        let (rank, group) = (bank >> self.rank_shift, bank >> self.group_shift);
        let c = command as usize;
        let at = |scope: usize, number: usize| self.ready[scope][number % BANKS][c];
        at(BANK, bank).max(at(GROUP, group)).max(at(RANK, rank))
    }

    /// Earliest clock of an activation in a rank by the window of four.
    #[inline]
    fn window_ready(&self, rank: usize) -> u64 {
        let (times, at) = &self.window[rank];
        times[usize::from(*at & 3)]
    }

    /// The first command from clock `from` on: the earliest, and of several in one clock that of the next bank in turn.
    fn next_command(&self, from: u64) -> Plan {
        let w = &self.wanted;
        let live = (w.activate | w.precharge | w.read | w.write) & !self.held;
        let mut best = Best { plan: NOTHING, turn: u32::MAX };
        for rank in 0..self.open_banks.len() {
            let mine = live & (u64::MAX >> (64 - (1 << self.rank_shift))) << (rank << self.rank_shift);
            if mine == 0 {
                continue;
            }
            // What a bank prefers in one clock comes first.
            self.first_of::<{ Command::Precharge as usize }>(w.precharge & mine, rank, from, &mut best);
            self.first_of::<{ Command::Read as usize }>(w.read & mine, rank, from, &mut best);
            self.first_of::<{ Command::Write as usize }>(w.write & mine, rank, from, &mut best);
            if w.activate & mine != 0 {
                let from = from.max(self.window_ready(rank));
                self.first_of::<{ Command::Activate as usize }>(w.activate & mine, rank, from, &mut best);
            }
        }
        best.plan
    }

    /// The same among one command to some banks of a rank, against the best that was found before.
    #[inline(always)]
    fn first_of<const COMMAND: usize>(&self, banks: u64, rank: usize, from: u64, best: &mut Best) {
        let command = [Command::Activate, Command::Precharge, Command::Read, Command::Write][COMMAND];
        let floor = self.ready[RANK][rank % BANKS][COMMAND].max(from);
        if banks == 0 || floor > best.plan.clock {
            return;
        }
        // In turn, so that the first that is ready at once is the one.
        let after = self.turn + 1;
        let mut turns = banks.rotate_right(after);
        while turns != 0 {
            let turn = turns.trailing_zeros();
            turns &= turns - 1;
            let bank = (turn + after) % BANKS as u32;
            let group = bank as usize >> self.group_shift;
            let own = self.ready[BANK][bank as usize][COMMAND];
            let clock = floor.max(own).max(self.ready[GROUP][group % BANKS][COMMAND]);
            let ahead = clock < best.plan.clock || (clock == best.plan.clock && turn < best.turn);
            let same = || clock == best.plan.clock && turn == best.turn && best.plan.command == Command::Read;
            if ahead || (command == Command::Write && self.wanted.write_first >> bank & 1 == 1 && same()) {
                *best = Best { plan: Plan { clock, bank, command }, turn };
            }
            if clock == floor {
                return;
            }
        }
    }

    /// Keeps the queues of the banks that the first due refresh needs from issuing.
    fn hold(&mut self) {
        if self.held == 0 {
            let unit = self.refresh_due[0];
            self.held = match self.memory.refresh {
                Refresh::PerBank => 1 << unit,
                _ => (u64::MAX >> (64 - (1 << self.rank_shift))) << (unit << self.rank_shift),
            };
            self.plan_old = true;
        }
    }

    /// The next command of the refresh that is due: the banks are closed one by one, then refreshed.
    fn refresh_plan(&self, from: u64) -> Plan {
        let unit = self.refresh_due[0];
        let (banks, command) = match self.memory.refresh {
            Refresh::PerBank => (unit..unit + 1, Command::RefreshBank),
            _ => (unit << self.rank_shift..(unit + 1) << self.rank_shift, Command::Refresh),
        };
        let mut close = NOTHING;
        let mut refresh = Plan { clock: from, bank: banks.start, command };
        for bank in banks {
            if self.banks.of(bank as usize).open != CLOSED {
                let clock = self.ready(Command::Precharge, bank as usize).max(from);
                if clock < close.clock {
                    close = Plan { clock, bank, command: Command::Precharge };
                }
            } else {
                refresh.clock = refresh.clock.max(self.ready(command, bank as usize));
            }
        }
        if close.clock == NEVER { refresh } else { close }
    }

    /// Issues a command and raises what it holds back.
    fn issue(&mut self, plan: &Plan, clock: u64, answers: &mut Answers) {
        self.plan_old = true;
        let bank = plan.bank as usize;
        let rank = bank >> self.rank_shift;
        let mut command = plan.command;
        let mut same = false;
        match command {
            Command::Activate => {
                answers.activated(self.banks.open(bank));
                self.counts.activates += 1;
                let (times, at) = &mut self.window[rank];
                times[usize::from(*at)] = clock + u64::from(self.memory.timing.faw);
                *at = (*at + 1) & 3;
                if self.open_banks[rank] == 0 {
                    self.active_since[rank] = clock;
                }
                self.open_banks[rank] += 1;
            }
            Command::Precharge => {
                self.counts.precharges += 1;
                self.close(bank, rank, clock);
            }
            Command::Read | Command::Write => {
                let write = command == Command::Write;
                same = self.column(bank, write, clock, answers) && self.memory.page == Page::Open;
                if self.memory.page == Page::Closed {
                    command = if write { Command::WriteClose } else { Command::ReadClose };
                    self.counts.precharges += 1;
                    self.close(bank, rank, clock);
                }
            }
            Command::Refresh | Command::RefreshBank => {
                let counter = if command == Command::Refresh {
                    &mut self.counts.refreshes
                } else {
                    &mut self.counts.bank_refreshes
                };
                *counter += 1;
                self.refresh_due.pop_front();
                self.held = 0;
            }
            Command::ReadClose | Command::WriteClose => {}
        }
        self.raise(command, bank, rank, clock);
        if !same {
            self.want(bank);
        }
    }

    fn close(&mut self, bank: usize, rank: usize, clock: u64) {
        self.banks.close(bank);
        self.open_banks[rank] -= 1;
        if self.open_banks[rank] == 0 {
            self.counts.active_clocks += clock - self.active_since[rank];
        }
    }

    /// One column command: the first burst of the open row in the bank's queue. True if the bank wants the same after it.
    #[inline]
    fn column(&mut self, bank: usize, write: bool, clock: u64, answers: &mut Answers) -> bool {
        let hit = self.banks.of(bank).hits > 0;
        let (key, owner, same) = self.banks.take(bank, write);
        if hit {
            self.counts.row_hits += 1;
            answers.hit(owner);
        }
        self.counts.bus_clocks += self.burst;
        if write {
            self.counts.writes += 1;
            self.write_keys.remove(key);
        } else {
            self.counts.reads += 1;
            self.read_keys.remove(key);
            let at = clock + self.read_clocks;
            answers.answer_read(owner, at);
            if !self.twins.is_empty() {
                let mut twins = std::mem::take(&mut self.twins);
                twins.retain(|(twin, owner)| {
                    if *twin == key {
                        answers.answer_read(*owner, at);
                    }
                    *twin != key
                });
                self.twins = twins;
            }
        }
        same
    }

    #[inline]
    fn raise(&mut self, command: Command, bank: usize, rank: usize, clock: u64) {
        let table = &*self.table;
        let raise = |times: &mut [u64; COMMANDS], scope: Scope| {
            for rule in table.raises(command, scope) {
                let time = &mut times[usize::from(rule.to) % COMMANDS];
                *time = (*time).max(clock + u64::from(rule.clocks));
            }
        };
        let [banks, groups, ranks] = &mut *self.ready;
        raise(&mut banks[bank % BANKS], Scope::Bank);
        raise(&mut groups[(bank >> self.group_shift) % BANKS], Scope::Group);
        raise(&mut ranks[rank % BANKS], Scope::Rank);
        let all = self.open_banks.len();
        for other in (0..all).filter(|other| *other != rank) {
            raise(&mut ranks[other % BANKS], Scope::OtherRanks);
        }
    }

    /// Recomputes what a bank's queue could issue.
    #[inline]
    fn want(&mut self, bank: usize) {
        let b = self.banks.of(bank);
        let [reads, writes] = b.waiting.map(|bursts| bursts > 0);
        let (shut, some) = (b.open == CLOSED, b.first != CLOSED);
        let other = some && b.first != b.open && (!(reads || writes) || b.hits >= self.memory.row_hit_cap);
        let wants = [some && shut, other && !shut, reads, writes];
        let wants = wants.iter().rev().fold(0, |bits, want| bits << 1 | u8::from(*want));
        let bit = 1u64 << bank;
        if wants != self.wants[bank % BANKS] {
            self.wants[bank % BANKS] = wants;
            let w = &mut self.wanted;
            for (n, banks) in [&mut w.activate, &mut w.precharge, &mut w.read, &mut w.write].into_iter().enumerate() {
                *banks = *banks & !bit | u64::from(wants >> n & 1) << bank;
            }
            self.plan_old = true;
        }
        if reads && writes {
            let write_first = self.banks.waiting(bank).find(|s| s.row == b.open).is_some_and(|s| s.write);
            let w = &mut self.wanted.write_first;
            let new = *w & !bit | u64::from(write_first) << bank;
            self.plan_old |= *w != new;
            *w = new;
        }
    }

    /// Moves the first request whose bank's queue has room.
    #[inline]
    fn move_request(&mut self) {
        if self.draining == 0 && self.must_drain() {
            self.draining = self.writes.len();
        }
        let full = self.banks.full();
        let mut segment = None;
        if self.draining > 0 {
            segment = self
                .writes
                .take(full, |key| self.read_keys.maybe(key) && (self.reads.holds(key) || self.banks.holds(key, false)));
            match segment {
                Some(_) => self.draining -= 1,
                // A read of the same burst goes first.
                None if self.writes.wanted() & !full != 0 => self.draining = 0,
                None => {}
            }
        }
        if self.draining == 0 && segment.is_none() {
            segment = self.reads.take(full, |_| false);
        }
        if let Some(segment) = segment {
            let bank = usize::from(segment.bank);
            self.banks.push(&segment);
            self.want(bank);
        }
    }

    /// Issues all that waits, closes every row and refreshes every rank; the clock in which every timer has run out.
    pub fn drain(&mut self, at: u64, answers: &mut Answers) -> u64 {
        self.advance(at, answers);
        self.flush = true;
        self.rest(at);
        let mut clock = at;
        while !self.is_idle() {
            clock = self.wake;
            self.tick(clock, answers);
        }
        self.flush = false;
        let clock = self.now.max(clock);
        let t = self.memory.timing;
        let gap = u64::from(t.refi / 8);
        let mut over = clock;
        for rank in 0..self.open_banks.len() {
            let banks = rank << self.rank_shift..(rank + 1) << self.rank_shift;
            let mut refresh = clock.max(self.pulled_in.map_or(0, |before| before + gap));
            let open = |bank: &usize| self.banks.of(*bank).open != CLOSED;
            let close = banks.clone().filter(open).map(|bank| self.ready(Command::Precharge, bank)).max();
            for bank in banks {
                if let (Some(close), true) = (close, self.banks.of(bank).open != CLOSED) {
                    self.counts.precharges += 1;
                    self.close(bank, rank, close.max(clock));
                    refresh = refresh.max(close.max(clock) + u64::from(t.rp));
                }
                refresh = refresh.max(self.ready(Command::Refresh, bank));
            }
            if self.memory.refresh != Refresh::None {
                self.counts.refreshes += 1;
                over = over.max(refresh + u64::from(t.rfc));
            }
            over = over.max(refresh);
        }
        self.ready.as_flattened().as_flattened().iter().fold(over, |over, time| over.max(*time))
    }

    /// The rest state at clock `at`: as new, but for the counts.
    pub fn reset(&mut self, at: u64) {
        let mut fresh = Channel::new(&self.memory, &self.table, self.step);
        fresh.counts = self.counts;
        fresh.pulled_in = Some(at.saturating_sub(u64::from(self.memory.timing.rfc)));
        fresh.restart_refresh(at);
        fresh.rest(at);
        *self = fresh;
    }

    /// True if both will answer all that comes from clock `now` on alike: they differ in what is over, at most. Both have
    /// come to `now`.
    pub fn is_like(&self, other: &Channel, now: u64) -> bool {
        let alike = |a: &u64, b: &u64| a == b || (*a <= now && *b <= now);
        let all_alike = |a: &[u64], b: &[u64]| a.iter().zip(b).all(|(a, b)| alike(a, b));
        let times = |scope: usize, count: usize| {
            all_alike(self.ready[scope][..count].as_flattened(), other.ready[scope][..count].as_flattened())
        };
        let (banks, ranks) = (self.banks.count(), self.open_banks.len());
        // What is derived from these (filters, plans, what banks want) is equal where they are.
        (self.turn, self.draining, self.held, self.flush) == (other.turn, other.draining, other.held, other.flush)
            && (self.refresh_at, self.refresh_next, self.pulled_in)
                == (other.refresh_at, other.refresh_next, other.pulled_in)
            && self.refresh_due == other.refresh_due
            && self.banks.is_like(&other.banks, self.memory.row_hit_cap.max(1))
            && self.reads.is_like(&other.reads)
            && self.writes.is_like(&other.writes)
            && self.twins == other.twins
            && self.window.iter().zip(&other.window).all(|(a, b)| all_alike(&oldest_first(a), &oldest_first(b)))
            && times(BANK, banks)
            && times(GROUP, ((banks - 1) >> self.group_shift) + 1)
            && times(RANK, ranks)
    }

    /// Adds the clocks of ranks that still have open rows up to `end`.
    pub fn settle(&mut self, end: u64) {
        for (rank, open) in self.open_banks.iter().enumerate() {
            if *open > 0 {
                self.counts.active_clocks += end.saturating_sub(self.active_since[rank]);
                self.active_since[rank] = end.max(self.active_since[rank]);
            }
        }
    }
}

/// The last four activates of a rank.
fn oldest_first((times, first): &([u64; 4], u8)) -> [u64; 4] {
    std::array::from_fn(|n| times[(usize::from(*first) + n) & 3])
}

fn is_column(command: Command) -> bool {
    matches!(command, Command::Read | Command::Write)
}
