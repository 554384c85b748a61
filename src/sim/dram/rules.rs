//! The timing rules of DRAM as data: which command holds back which, where, for how long.
//!
//! A rule stands at the scope where it lives: the bank, the bank group, the rank, or the other ranks of the channel.
//! [`Table::new`] resolves the expressions to clocks once; issuing a command then only raises a few `earliest` times.
//! The window of four activates (tFAW) is the one rule that is not between two commands; the channel keeps it.

use crate::machine::dram::Timing;

/// A command to a bank or, for `Refresh`, to a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Command {
    /// Opens a row.
    Activate,
    /// Closes it.
    Precharge,
    /// A burst from the open row.
    Read,
    /// A burst into it.
    Write,
    /// Refreshes every bank of a rank.
    Refresh,
    /// Refreshes one bank.
    RefreshBank,
    /// A read that closes the row.
    ReadClose,
    /// A write that closes the row.
    WriteClose,
}

/// Commands. The closing column commands have no earliest times of their own, they follow the open ones.
pub(super) const COMMANDS: usize = 8;

/// Where a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The same bank.
    Bank,
    /// Every bank of the same group, the bank itself too.
    Group,
    /// Every bank of the same rank.
    Rank,
    /// Every bank of every other rank of the channel.
    OtherRanks,
}

/// One rule: after `from`, a `to` in `scope` waits `clocks`.
struct Rule {
    from: Command,
    to: Command,
    scope: Scope,
    clocks: fn(&Timing) -> i64,
}

const fn rule(from: Command, to: Command, scope: Scope, clocks: fn(&Timing) -> i64) -> Rule {
    Rule { from, to, scope, clocks }
}

fn n(clocks: u32) -> i64 {
    i64::from(clocks)
}

/// Last data of a write, from the command.
fn written(t: &Timing) -> i64 {
    n(t.cwl) + n(t.burst)
}

use Command::{Activate, Precharge, Read, ReadClose, Refresh, RefreshBank, Write, WriteClose};
use Scope::{Bank, Group, OtherRanks, Rank};

/// Every rule. A closing column command obeys the rows of the open one, and those of its own here.
#[rustfmt::skip] // one rule a line
const RULES: &[Rule] = &[
    rule(Activate, Activate, Bank, |t| n(t.rc)),
    rule(Activate, Activate, Group, |t| n(t.rrd_l)),
    rule(Activate, Activate, Rank, |t| n(t.rrd_s)),
    rule(Activate, Read, Bank, |t| n(t.rcd_rd)),
    rule(Activate, Write, Bank, |t| n(t.rcd_wr)),
    rule(Activate, Precharge, Bank, |t| n(t.ras)),
    rule(Activate, RefreshBank, Rank, |t| n(t.rrd_s)),
    rule(Precharge, Activate, Bank, |t| n(t.rp)),
    rule(Precharge, Refresh, Bank, |t| n(t.rp)),
    rule(Precharge, RefreshBank, Bank, |t| n(t.rp)),
    rule(Precharge, Precharge, Rank, |t| n(t.ppd)),
    rule(Read, Read, Group, |t| n(t.burst.max(t.ccd_l))),
    rule(Read, Read, Rank, |t| n(t.burst.max(t.ccd_s))),
    rule(Read, Read, OtherRanks, |t| n(t.burst + t.rtrs)),
    rule(Read, Write, Rank, |t| n(t.cl) + n(t.burst) + n(t.rtrs) - n(t.cwl)),
    rule(Read, Write, OtherRanks, |t| n(t.cl) + n(t.burst) + n(t.rtrs) - n(t.cwl)),
    rule(Read, Precharge, Bank, |t| n(t.rtp)),
    rule(Write, Read, Group, |t| written(t) + n(t.wtr_l)),
    rule(Write, Read, Rank, |t| written(t) + n(t.wtr_s)),
    rule(Write, Read, OtherRanks, |t| written(t) + n(t.rtrs) - n(t.cl)),
    rule(Write, Write, Group, |t| n(t.burst.max(t.ccd_l))),
    rule(Write, Write, Rank, |t| n(t.burst.max(t.ccd_s))),
    rule(Write, Write, OtherRanks, |t| n(t.burst)),
    rule(Write, Precharge, Bank, |t| written(t) + n(t.wr)),
    rule(ReadClose, Activate, Bank, |t| n(t.burst) + n(t.rtp) + n(t.rp)),
    rule(ReadClose, Refresh, Bank, |t| n(t.rtp) + n(t.rp)),
    rule(ReadClose, RefreshBank, Bank, |t| n(t.rtp) + n(t.rp)),
    rule(WriteClose, Activate, Bank, |t| written(t) + n(t.wr) + n(t.rp)),
    rule(WriteClose, Refresh, Bank, |t| written(t) + n(t.wr) + n(t.rp)),
    rule(WriteClose, RefreshBank, Bank, |t| written(t) + n(t.wr) + n(t.rp)),
    rule(Refresh, Activate, Rank, |t| n(t.rfc)),
    rule(Refresh, Refresh, Rank, |t| n(t.rfc)),
    rule(RefreshBank, Activate, Bank, |t| n(t.rfc_pb)),
    rule(RefreshBank, RefreshBank, Bank, |t| n(t.rfc_pb)),
    rule(RefreshBank, Activate, Rank, |t| n(t.rrd_s)),
    rule(RefreshBank, RefreshBank, Rank, |t| n(t.rrd_s)),
];

/// What a command raises: the command that then waits, and for how long.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Raise {
    pub to: u8,
    pub clocks: u32,
}

/// What one command raises in one scope.
#[derive(Debug, Clone, Copy, Default)]
struct Raises {
    list: [Raise; 4],
    count: usize,
}

/// The rules of one memory in clocks, by command and scope.
#[derive(Debug, Clone)]
pub(super) struct Table {
    rows: [[Raises; 4]; COMMANDS],
}

impl Table {
    /// Resolves every rule; a rank with one bank group has no long distances.
    pub fn new(timing: &Timing, groups: u32) -> Table {
        let mut t = *timing;
        if groups == 1 {
            (t.ccd_l, t.rrd_l, t.wtr_l) = (t.ccd_s, t.rrd_s, t.wtr_s);
        }
        let mut rows = [[Raises::default(); 4]; COMMANDS];
        for rule in RULES {
            let clocks = (rule.clocks)(&t).max(0) as u32;
            let open = rule.from as usize;
            let closing = match rule.from {
                _ if rule.to == Precharge => None,
                Read => Some(ReadClose as usize),
                Write => Some(WriteClose as usize),
                _ => None,
            };
            for from in [Some(open), closing].into_iter().flatten() {
                let raises = &mut rows[from][rule.scope as usize];
                if clocks > 0 {
                    raises.list[raises.count] = Raise { to: rule.to as u8, clocks };
                    raises.count += 1;
                }
            }
        }
        Table { rows }
    }
    /// Clocks between two reads of one bank.
    pub fn same_bank_reads(&self) -> u32 {
        let rows = [Bank, Group, Rank].into_iter().flat_map(|scope| self.raises(Read, scope));
        rows.filter(|raise| raise.to == Read as u8).map(|raise| raise.clocks).max().unwrap_or(1).max(1)
    }
    /// What `from` raises in `scope`.
    #[inline]
    pub fn raises(&self, from: Command, scope: Scope) -> &[Raise] {
        let raises = &self.rows[from as usize][scope as usize];
        &raises.list[..raises.count]
    }
}
