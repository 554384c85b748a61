//! Channels in lockstep: those with one history are one automaton.
//!
//! A channel is a deterministic machine of its arrivals. Where an address map spreads neighbouring bursts over channels,
//! every channel is told the same in the same clock: banks, rows and columns are equal, only the channel differs. Such
//! channels form a [`Group`] that is simulated once, and whatever it answers counts for each of them. What arrives in a
//! clock is kept until the clock is over; channels that were told something else by then leave with a copy of the state.
//! A burst that might meet one that waits (a read of a posted write, say) is told to its own channel alone. Groups come
//! together again when they have come to one state, and when DRAM comes to rest.

use super::answers::Answers;
use super::channel::{Arrival, Channel};
use super::counts::Counts;
use crate::machine::dram::Location;

/// Channels with the same history.
#[derive(Debug, Clone)]
struct Group {
    channel: Channel,
    /// How many they are.
    members: u32,
    /// What arrived in `clock`, which the channel has not been told.
    arrivals: Vec<Arrival>,
    clock: u64,
    /// How many of the arrivals the members have had, in all.
    had: u32,
    /// How often it has been told arrivals.
    told: u64,
    /// The group that it left in `clock`.
    parent: Option<u16>,
}

/// A channel's place.
#[derive(Debug, Clone, Copy, Default)]
struct Member {
    group: u16,
    /// How many arrivals of its group it has had since the group was told the last time, which is the `told`th.
    had: u32,
    told: u64,
}

/// The channels of a memory.
#[derive(Debug, Clone)]
pub(super) struct Lockstep {
    groups: Vec<Group>,
    members: Vec<Member>,
    /// What each channel had done when it joined its group, less what the group had: modulo 2^64.
    before: Vec<Counts>,
    /// Each channel is simulated for itself.
    apart: bool,
}

impl Member {
    /// How many of its group's arrivals it has had.
    #[inline]
    fn had(&self, group: &Group) -> usize {
        if self.told == group.told { self.had as usize } else { 0 }
    }
}

impl Group {
    /// True of a channel that nobody can come to: it is told at once.
    #[inline]
    fn is_alone(&self) -> bool {
        self.members == 1 && self.parent.is_none() && self.arrivals.is_empty()
    }
    fn tell(&mut self, answers: &mut Answers) {
        answers.times = self.members;
        for run in self.arrivals.drain(..) {
            self.channel.arrive(self.clock, &run, answers);
        }
        (self.had, self.parent) = (0, None);
        self.told += 1;
    }
}

impl Lockstep {
    /// `channels` channels like `channel`; `apart` simulates each for itself.
    pub fn new(channel: Channel, channels: u32, apart: bool) -> Lockstep {
        let (members, before) =
            (vec![Member::default(); channels as usize], vec![Counts::default(); channels as usize]);
        let mut all = Lockstep { groups: Vec::new(), members, before, apart };
        all.unite(&channel);
        all
    }

    /// Every channel is in the state of `channel`.
    fn unite(&mut self, channel: &Channel) {
        let (groups, members) = if self.apart { (self.members.len(), 1) } else { (1, self.members.len() as u32) };
        let channel = channel.clone();
        let group = Group { channel, members, arrivals: Vec::new(), clock: 0, had: 0, told: 1, parent: None };
        self.groups = vec![group; groups];
        for (index, member) in self.members.iter_mut().enumerate() {
            (member.group, member.told) = ((index % groups) as u16, 0);
        }
    }

    /// Channels.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    fn group(&self, channel: u32) -> usize {
        usize::from(self.members[channel as usize].group)
    }

    /// How many of its group's arrivals a channel has had.
    fn had(&self, channel: u32) -> usize {
        let member = &self.members[channel as usize];
        member.had(&self.groups[usize::from(member.group)])
    }

    /// Does every clock of a channel before `to`.
    #[inline]
    pub fn advance(&mut self, channel: u32, to: u64, answers: &mut Answers) {
        self.tell_before(self.group(channel), to, answers);
        let group = &mut self.groups[usize::from(self.members[channel as usize].group)];
        answers.times = group.members;
        group.channel.advance(to, answers);
    }

    #[inline]
    fn tell_before(&mut self, index: usize, to: u64, answers: &mut Answers) {
        if self.groups[index].clock < to {
            self.tell(index, answers);
        }
    }

    /// Does every clock of all channels before `to`.
    #[inline]
    pub fn advance_all(&mut self, to: u64, answers: &mut Answers) {
        // What a group falls into is told at once.
        (0..self.groups.len()).for_each(|index| self.tell_before(index, to, answers));
        for group in self.groups.iter_mut().filter(|group| group.members > 0) {
            answers.times = group.members;
            group.channel.advance(to, answers);
        }
    }

    /// Requests of this kind that a channel takes.
    #[inline]
    pub fn room(&self, channel: u32, write: bool) -> u32 {
        let group = &self.groups[self.group(channel)];
        if group.is_alone() {
            return group.channel.room(write);
        }
        let had = group.arrivals.iter().take(self.had(channel)).filter(|run| run.write == write);
        group.channel.room(write) - had.map(|run| run.count).sum::<u32>()
    }

    /// As [`Channel::advance_to_room`]; nothing arrives anywhere before.
    pub fn advance_to_room(&mut self, channel: u32, write: bool, limit: u64, answers: &mut Answers) -> Option<u64> {
        let index = self.group(channel);
        self.tell(index, answers);
        let group = &mut self.groups[self.members[channel as usize].group as usize];
        answers.times = group.members;
        group.channel.advance_to_room(write, limit, answers)
    }

    /// As [`Channel::stream`], where the channel is alone.
    pub fn stream(&mut self, run: &Arrival, until: u64, most: u32, answers: &mut Answers) -> Option<(u32, u64)> {
        let index = self.group(run.at.channel);
        if most == 0 || self.groups[index].members > 1 {
            return None;
        }
        self.tell(index, answers);
        answers.times = 1;
        self.groups[index].channel.stream(run, until, most, answers)
    }

    /// Offers one burst each to `most` channels at most, `step` apart: how many of them took it, the first ones, because
    /// another of their group was told, in this clock, to take just this as the next one.
    #[inline]
    pub fn follow(&mut self, channels: (u32, u32, u32), clock: u64, key: u64, owner: u16, write: bool) -> u32 {
        let (channel, step, most) = channels;
        let first = self.members[channel as usize];
        let group = &mut self.groups[usize::from(first.group)];
        let had = first.had(group);
        let Some(run) = group.arrivals.get(had) else { return 0 };
        let same = group.clock == clock && run.key == key && run.count == 1 && run.owner == owner && run.write == write;
        if !same {
            return 0;
        }
        let mut count = 0;
        for member in self.members[channel as usize..].iter_mut().step_by(step as usize).take(most as usize) {
            if member.group != first.group || member.had(group) != had {
                break;
            }
            (member.had, member.told) = (had as u32 + 1, group.told);
            count += 1;
        }
        group.had += count;
        count
    }

    /// Every channel takes `run` in clock `clock`, if all have one history and room.
    #[inline]
    pub fn arrive_everywhere(&mut self, clock: u64, run: &Arrival, answers: &mut Answers) -> bool {
        let index = usize::from(self.members[0].group);
        let all = self.members.len() as u32;
        if self.groups[index].members != all {
            return false;
        }
        self.tell_before(index, clock, answers);
        let group = &mut self.groups[index];
        if group.members != all || !group.arrivals.is_empty() {
            return false;
        }
        answers.times = all;
        group.channel.advance(clock, answers);
        if group.channel.room(run.write) < run.count {
            return false;
        }
        group.channel.arrive(clock, run, answers);
        true
    }

    /// A channel takes requests in clock `clock`, up to which it has come; there is room for them.
    #[inline]
    pub fn arrive(&mut self, clock: u64, run: &Arrival, answers: &mut Answers) {
        let channel = run.at.channel;
        let mut run = *run;
        run.at.channel = 0;
        let index = self.group(channel);
        let had = self.had(channel);
        let group = &mut self.groups[index];
        if group.is_alone() {
            answers.times = 1;
            return group.channel.arrive(clock, &run, answers);
        }
        match group.arrivals.get(had) {
            Some(known) if *known == run => {}
            Some(_) => return self.leave(channel, had, clock, run, answers),
            None if group.channel.waits_for(&run) || group.arrivals.iter().any(|other| other.overlaps(&run)) => {
                if group.members > 1 {
                    let index = self.found(channel, had);
                    self.groups[index].parent = None;
                }
                let index = self.group(channel);
                self.tell(index, answers);
                answers.times = 1;
                return self.groups[index].channel.arrive(clock, &run, answers);
            }
            None => {
                group.clock = clock;
                group.arrivals.push(run);
            }
        }
        group.had += 1;
        let member = &mut self.members[channel as usize];
        (member.had, member.told) = (had as u32 + 1, group.told);
    }

    /// A channel whose next arrival is `run` leaves its group, which has another: for one that has left before it and has the
    /// same arrivals, or for one of its own.
    fn leave(&mut self, channel: u32, had: usize, clock: u64, run: Arrival, answers: &mut Answers) {
        let from = self.group(channel);
        let before = &self.groups[from].arrivals[..had];
        let same = |group: &Group| {
            group.parent == Some(from as u16)
                && group.members > 0
                && group.clock == clock
                && group.arrivals.get(had) == Some(&run)
                && group.arrivals[..had] == *before
        };
        match self.groups.iter().position(same) {
            Some(index) => self.join(channel, had, index),
            None => {
                self.found(channel, had);
            }
        }
        let at = Location { channel, ..run.at };
        self.arrive(clock, &Arrival { at, ..run }, answers);
    }

    /// A channel that has had so many arrivals leaves its group for another in the same state.
    fn join(&mut self, channel: u32, had: usize, index: usize) {
        let from = self.group(channel);
        self.groups[from].members -= 1;
        self.groups[from].had -= had as u32;
        let group = &mut self.groups[index];
        group.members += 1;
        group.had += had as u32;
        let member = &mut self.members[channel as usize];
        (member.group, member.had, member.told) = (index as u16, had as u32, group.told);
    }

    /// A group of one channel, in the state of the group that it leaves, with those of its arrivals that it has had.
    fn found(&mut self, channel: u32, had: usize) -> usize {
        let from = self.group(channel);
        let old = &self.groups[from];
        let mut group = Group { members: 0, had: 0, parent: Some(from as u16), ..old.clone() };
        group.arrivals.truncate(had);
        // In the place of one that all have left.
        let index = self.groups.iter().position(|group| group.members == 0).unwrap_or(self.groups.len());
        if index == self.groups.len() {
            self.groups.push(group);
        } else {
            let stale = |group: &&mut Group| group.parent == Some(index as u16);
            self.groups.iter_mut().filter(stale).for_each(|group| group.parent = None);
            self.groups[index] = group;
        }
        self.join(channel, had, index);
        index
    }

    /// The clock of a group's arrivals is over: its channel is told them. Members that have not had all leave.
    fn tell(&mut self, index: usize, answers: &mut Answers) {
        let group = &self.groups[index];
        let all = group.arrivals.len();
        if all == 0 || group.members == 0 {
            return;
        }
        if group.had as usize != all * group.members as usize {
            // How many arrivals the members of each group that is split off have had.
            let mut split: Vec<(usize, usize)> = Vec::new();
            for channel in 0..self.members.len() as u32 {
                let had = self.had(channel);
                if self.group(channel) != index || had == all {
                    continue;
                }
                match split.iter().find(|(other, _)| *other == had) {
                    None => split.push((had, self.found(channel, had))),
                    Some((_, other)) => self.join(channel, had, *other),
                }
            }
            split.iter().for_each(|(_, other)| self.groups[*other].tell(answers));
        }
        self.groups[index].tell(answers);
    }

    /// Groups in which only what is over differs become one; every channel has come to clock `now`, and been told all.
    pub fn reunite(&mut self, now: u64) {
        if self.apart || self.groups.iter().filter(|group| group.members > 0).count() < 2 {
            return;
        }
        for from in 1..self.groups.len() {
            if self.groups[from].members == 0 {
                continue;
            }
            let (earlier, later) = self.groups.split_at_mut(from);
            let group = &mut later[0];
            let like = |into: &Group| into.members > 0 && into.channel.is_like(&group.channel, now);
            let Some(index) = earlier.iter().position(like) else { continue };
            let into = &mut earlier[index];
            into.channel.settle(now);
            group.channel.settle(now);
            for (member, before) in self.members.iter_mut().zip(&mut self.before) {
                if usize::from(member.group) == from {
                    before.add(&group.channel.counts);
                    before.take(&into.channel.counts);
                    *member = Member { group: index as u16, had: 0, told: 0 };
                }
            }
            into.members += std::mem::take(&mut group.members);
            (into.parent, group.parent) = (None, None);
        }
    }

    /// Drains every channel from clock `at` on and brings them all to one rest state; its clock.
    pub fn drain(&mut self, at: u64, answers: &mut Answers) -> u64 {
        self.advance_all(at, answers);
        let mut over = at;
        for group in self.groups.iter_mut().filter(|group| group.members > 0) {
            answers.times = group.members;
            over = over.max(group.channel.drain(at, answers));
        }
        let mut rest = self.groups[0].channel.clone();
        rest.reset(over);
        for (member, before) in self.members.iter().zip(&mut self.before) {
            before.add(&self.groups[usize::from(member.group)].channel.counts);
            before.take(&rest.counts);
        }
        self.unite(&rest);
        over
    }

    /// What each channel has done up to clock `end`.
    pub fn counts(&mut self, end: u64, answers: &mut Answers) -> Vec<Counts> {
        self.advance_all(end, answers);
        self.groups.iter_mut().filter(|group| group.members > 0).for_each(|group| group.channel.settle(end));
        let of = |(member, before): (&Member, &Counts)| {
            let mut counts = *before;
            counts.add(&self.groups[usize::from(member.group)].channel.counts);
            counts
        };
        self.members.iter().zip(&self.before).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::dram::STANDARDS;
    use crate::sim::dram::rules::Table;
    use crate::sim::dram::tests::memory;
    use std::sync::Arc;

    fn channels() -> (Lockstep, Answers, u16) {
        let standard = &STANDARDS[0];
        let memory = memory(standard);
        let table = Arc::new(Table::new(&memory.timing, memory.groups));
        let mut answers = Answers::default();
        let owner = answers.new_owner();
        (Lockstep::new(Channel::new(&Arc::new(memory), &table, false), 4, false), answers, owner)
    }

    fn burst(channel: u32, key: u64, owner: u16) -> Arrival {
        let at = Location { channel, bank: (key / 32) as u32, row: 0, column: (key % 32) as u32 };
        Arrival { key, at, count: 1, owner, write: false }
    }

    fn sizes(all: &Lockstep) -> Vec<u32> {
        let mut sizes: Vec<u32> = all.groups.iter().map(|group| group.members).filter(|size| *size > 0).collect();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn channels_that_are_told_the_same_are_one_and_the_others_leave() {
        let (mut all, mut answers, owner) = channels();
        for channel in 0..4 {
            all.advance(channel, 10, &mut answers);
            all.arrive(10, &burst(channel, 5, owner), &mut answers);
        }
        all.advance_all(11, &mut answers);
        assert_eq!(sizes(&all), [4]);
        // Two are told something else, in the same clock.
        for (channel, key) in [(0, 6), (1, 40), (2, 6), (3, 40)] {
            all.advance(channel, 11, &mut answers);
            all.arrive(11, &burst(channel, key, owner), &mut answers);
        }
        all.advance_all(12, &mut answers);
        assert_eq!(sizes(&all), [2, 2]);
        // One is told nothing.
        for channel in [0, 2, 3] {
            all.advance(channel, 12, &mut answers);
            all.arrive(12, &burst(channel, 7, owner), &mut answers);
        }
        let counts = all.counts(2000, &mut answers);
        assert_eq!(sizes(&all), [1, 1, 2]);
        assert_eq!(counts.iter().map(|c| c.reads).collect::<Vec<_>>(), [3, 2, 3, 3]);
        assert_eq!(answers.of(owner).answered, 11);
        let over = all.drain(2000, &mut answers);
        assert_eq!(sizes(&all), [4], "at rest they are one again");
        assert_eq!(all.counts(over, &mut answers).iter().map(|c| c.reads).sum::<u64>(), 11);
    }

    #[test]
    fn channels_that_have_come_to_one_state_are_one_again() {
        let (mut all, mut answers, owner) = channels();
        let (mut apart, mut others, other) = channels();
        let one = apart.groups[0].channel.clone();
        apart.apart = true;
        apart.unite(&one);
        // One is ahead of the others, who read the same later.
        let asked: [(u64, u64, &[u32], &[u32]); 5] = [
            (10, 5, &[0, 1, 2, 3], &[4]),
            (200, 6, &[1], &[1, 3]),
            (400, 6, &[0, 2, 3], &[4]),
            (600, 40, &[0, 1, 2, 3], &[4]),
            (800, 7, &[2], &[1, 3]),
        ];
        for (clock, key, channels, parts) in asked {
            for channel in channels {
                for (all, answers, owner) in [(&mut all, &mut answers, owner), (&mut apart, &mut others, other)] {
                    all.advance(*channel, clock, answers);
                    all.arrive(clock, &burst(*channel, key, owner), answers);
                }
            }
            all.advance_all(clock + 100, &mut answers);
            all.reunite(clock + 100);
            assert_eq!(sizes(&all), parts, "{clock}");
        }
        assert_eq!(all.counts(9000, &mut answers), apart.counts(9000, &mut others));
        let said = |answers: &Answers, owner| {
            let of = answers.of(owner);
            (of.answered, of.last, of.activates, of.row_hits, answers.latency, answers.reads)
        };
        assert_eq!(said(&answers, owner), said(&others, other));
    }

    #[test]
    fn a_burst_that_waits_already_is_told_to_its_channel_alone() {
        let (mut all, mut answers, owner) = channels();
        for (key, channels) in [(5, 0..4), (5, 1..2)] {
            for channel in channels {
                all.advance(channel, 10, &mut answers);
                all.arrive(10, &burst(channel, key, owner), &mut answers);
            }
        }
        let counts = all.counts(2000, &mut answers);
        assert_eq!(counts.iter().map(|c| (c.reads, c.shared)).collect::<Vec<_>>(), [(1, 0), (1, 1), (1, 0), (1, 0)]);
        assert_eq!((sizes(&all), answers.of(owner).answered), (vec![1, 3], 5));
    }
}
