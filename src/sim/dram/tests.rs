//! Timing rules from both sides: a command is refused in the clock before its time and issues in it.

use super::answers::Answers;
use super::channel::{Arrival, Channel};
use super::counts::Counts;
use super::rules::Table;
use crate::machine::dram::{Location, Map, Memory, Page, Refresh, STANDARDS, Shape, Standard};
use std::sync::Arc;

/// One channel of a standard, without refresh.
pub(super) fn memory(standard: &Standard) -> Memory {
    let shape = Shape { channels: 1, pseudo_channels: 1, ..standard.shape };
    Memory {
        channels: 1,
        ranks: shape.ranks,
        groups: shape.groups,
        banks: shape.banks,
        rows: shape.rows,
        columns: shape.columns,
        burst_bytes: standard.bus_bits / 8 * standard.burst_length,
        tck_ps: standard.tck_ps,
        timing: standard.timing,
        map: Map::parse("rorabgbachpcco", &shape).unwrap(),
        queue: 32,
        bank_queue: 8,
        row_hit_cap: 4,
        page: Page::Open,
        refresh: Refresh::None,
        dual_command: standard.dual_command,
        issue: 1,
        crossing: [0, 0],
        outstanding: 64,
    }
}

/// A channel that is asked clock by clock.
struct Probe {
    channel: Channel,
    answers: Answers,
    owner: u16,
    clock: u64,
    key: u64,
}

impl Probe {
    fn new(memory: &Memory) -> Probe {
        let table = Arc::new(Table::new(&memory.timing, memory.groups));
        let mut answers = Answers::default();
        let owner = answers.new_owner();
        Probe { channel: Channel::new(&Arc::new(memory.clone()), &table, false), answers, owner, clock: 0, key: 0 }
    }
    /// Asks for a burst of a row of a bank now.
    fn ask(&mut self, bank: u32, row: u32, write: bool) {
        self.key += 1;
        let at = Location { channel: 0, bank, row, column: self.key as u32 % 16 };
        self.channel.advance(self.clock, &mut self.answers);
        let run = Arrival { key: self.key, at, count: 1, owner: self.owner, write };
        self.channel.arrive(self.clock, &run, &mut self.answers);
    }
    /// The clock in which a count of commands first rises above `before`, and time moves behind it.
    fn issues(&mut self, count: impl Fn(&Counts) -> u64, before: u64) -> u64 {
        for _ in 0..2000 {
            self.clock += 1;
            self.channel.advance(self.clock, &mut self.answers);
            if count(&self.channel.counts) > before {
                return self.clock - 1;
            }
        }
        panic!("nothing issued");
    }
}

#[test]
fn a_read_waits_for_its_row_and_a_row_for_its_bank() {
    for standard in STANDARDS {
        let (m, t) = (memory(standard), standard.timing);
        let mut probe = Probe::new(&m);
        probe.ask(0, 1, false);
        let activate = probe.issues(|c| c.activates, 0);
        assert_eq!(activate, 1, "{}: the clock after its arrival", standard.name);
        let read = probe.issues(|c| c.reads, 0);
        assert_eq!(read - activate, u64::from(t.rcd_rd), "{}: tRCD", standard.name);
        probe.ask(0, 2, false);
        let precharge = probe.issues(|c| c.precharges, 0);
        let earliest = (activate + u64::from(t.ras)).max(read + u64::from(t.rtp));
        assert_eq!(precharge, earliest, "{}: tRAS and tRTP", standard.name);
        let again = probe.issues(|c| c.activates, 1);
        assert_eq!(again, (precharge + u64::from(t.rp)).max(activate + u64::from(t.rc)), "{}: tRP, tRC", standard.name);
    }
}

#[test]
fn columns_follow_each_other_by_bank_group() {
    for standard in STANDARDS.iter().filter(|s| s.shape.groups > 1) {
        let (m, t) = (memory(standard), standard.timing);
        let other_group = m.banks;
        for (bank, apart) in [(0, t.burst.max(t.ccd_l)), (other_group, t.burst.max(t.ccd_s))] {
            let mut probe = Probe::new(&m);
            for (n, bank) in [0, bank].into_iter().enumerate() {
                probe.ask(bank, 1, false);
                probe.issues(|c| c.reads, n as u64);
            }
            probe.clock += 100;
            let before = probe.channel.counts.reads;
            probe.ask(0, 1, false);
            probe.ask(bank, 1, false);
            let first = probe.issues(|c| c.reads, before);
            let second = probe.issues(|c| c.reads, before + 1);
            assert_eq!(second - first, u64::from(apart), "{}: tCCD, bank {bank}", standard.name);
        }
    }
}

#[test]
fn a_fifth_activation_waits_for_the_window() {
    for standard in STANDARDS.iter().filter(|s| s.shape.groups > 1) {
        let (m, t) = (memory(standard), standard.timing);
        let mut probe = Probe::new(&m);
        (0..m.groups * m.banks).for_each(|bank| probe.ask(bank, 1, false));
        let clocks: Vec<u64> = (0..5).map(|n| probe.issues(|c| c.activates, n)).collect();
        assert!(clocks.windows(2).all(|pair| pair[1] - pair[0] >= u64::from(t.rrd_s)), "{}: {clocks:?}", standard.name);
        let window = clocks[4] - clocks[0];
        assert!(window >= u64::from(t.faw) && window >= 4 * u64::from(t.rrd_s), "{}: {clocks:?}", standard.name);
    }
}

#[test]
fn a_read_after_a_write_waits_for_the_turnaround() {
    for standard in STANDARDS {
        let (m, t) = (memory(standard), standard.timing);
        let mut probe = Probe::new(&Memory { queue: 1, ..m });
        probe.ask(0, 1, true);
        let write = probe.issues(|c| c.writes, 0);
        probe.ask(0, 1, false);
        let read = probe.issues(|c| c.reads, 0);
        let wtr = if m.groups == 1 { t.wtr_s } else { t.wtr_l };
        assert_eq!(read - write, u64::from(t.cwl + t.burst + wtr), "{}: tWTR", standard.name);
        probe.ask(0, 1, true);
        let write = probe.issues(|c| c.writes, 1);
        let turn = u64::from(t.cl + t.burst + t.rtrs) - u64::from(t.cwl);
        assert_eq!(write - read, turn.max(2), "{}: read to write", standard.name);
    }
}

#[test]
fn refresh_comes_at_its_interval_and_keeps_the_rank_shut() {
    for standard in STANDARDS {
        let (m, t) = (memory(standard), standard.timing);
        let mut probe = Probe::new(&Memory { refresh: Refresh::AllBank, ..m });
        let first = probe_refresh(&mut probe, 0, t.refi / m.ranks);
        probe.ask(0, 1, false);
        let activate = probe.issues(|c| c.activates, 0);
        assert_eq!(activate - first, u64::from(t.rfc), "{}: tRFC", standard.name);
    }
}

/// The clock of the next refresh, which is `clock` when nothing is open.
fn probe_refresh(probe: &mut Probe, before: u64, clock: u32) -> u64 {
    probe.clock = u64::from(clock);
    probe.channel.advance(probe.clock, &mut probe.answers);
    assert_eq!(probe.channel.counts.refreshes, before, "not before its time");
    probe.clock += 1;
    probe.channel.advance(probe.clock, &mut probe.answers);
    assert_eq!(probe.channel.counts.refreshes, before + 1, "at its time");
    u64::from(clock)
}

#[test]
fn a_waiting_row_is_opened_after_four_hits() {
    for cap in [1, 4] {
        let m = Memory { row_hit_cap: cap, dual_command: false, ..memory(&STANDARDS[4]) };
        let mut probe = Probe::new(&m);
        probe.ask(0, 1, false);
        probe.issues(|c| c.reads, 0);
        probe.ask(0, 2, false);
        (0..7).for_each(|_| probe.ask(0, 1, false));
        probe.issues(|c| c.precharges, 0);
        let hits = probe.channel.counts.row_hits;
        assert!(hits + 1 >= u64::from(cap) && hits < 8, "cap {cap}: {hits} hits before the row was closed");
    }
}

#[test]
fn maps_place_every_bit_once() {
    let shape = Shape { channels: 4, pseudo_channels: 2, ranks: 2, groups: 4, banks: 4, rows: 16, columns: 8 };
    for text in ["rorabgbachpcco", "copcchbabgraro", "chrobaracobgpc"] {
        let map = Map::parse(text, &shape).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for burst in 0..8 * 32 * 16 * 8u64 {
            let at = map.locate(burst);
            assert!(at.channel < 8 && at.bank < 32 && at.row < 16 && at.column < 8);
            assert!(seen.insert((at.channel, at.bank, at.row, at.column)), "{text}: {burst}");
            let run = u64::from(map.run_from(burst));
            let last = map.locate(burst + run - 1);
            assert_eq!((last.channel, last.bank, last.row), (at.channel, at.bank, at.row), "{text}: {burst}");
        }
    }
    for bad in ["rorabgbachpcc", "rorabgbachpccoro", "rorabgbachpcxx", "rorabgbachpc", "rörabgbachpcco"] {
        assert!(Map::parse(bad, &shape).is_err(), "{bad}");
    }
}
