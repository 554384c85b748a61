//! Who made what an instruction uses: the last writer of each register and of each byte, found from the program alone.
//!
//! The clock keeps times and no names. Here the names are kept, so that a trace can be held against what it claims: nobody
//! starts before those are done whose results it uses.

use std::collections::BTreeMap;

use crate::exec::event::{Access, Event, RegSet, Space, Work};
use crate::exec::register_name;
use crate::isa::Unit;
use crate::sim::observe::{On, Times, Wait};

/// Where an instruction stands in the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// Its number.
    pub seq: u64,
    /// Its core.
    pub core: u8,
    /// The cycle of its issue.
    pub issue: u64,
    /// Its track.
    pub track: u32,
    /// The last cycle of its slice.
    pub last: u64,
    /// Whether its slice is in the trace.
    pub shown: bool,
}

/// How a result reaches its user, and thus from when on it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// A scalar: the user issues when it is written.
    Scalar(u8),
    /// Another register: the user starts when the producer's results are ready.
    Register(u8),
    /// An accumulator tile, from sum to sum in one unit: the user starts when the producer leaves the unit.
    Sum(u8),
    /// Bytes: the user starts when they lie there.
    Memory(Space),
    /// DRAM from transfer to transfer: the channel keeps their order, so the user ends after the producer.
    Channel,
}

impl Via {
    /// Kind and place, as they stand in the trace.
    pub fn names(self) -> (&'static str, String) {
        match self {
            Via::Scalar(bit) => ("scalar", register_name(bit)),
            Via::Register(bit) => ("register", register_name(bit)),
            Via::Sum(bit) => ("sum", register_name(bit)),
            Via::Memory(space) => ("memory", space_name(space).to_owned()),
            Via::Channel => ("channel", "dram".to_owned()),
        }
    }
}

/// Name of a space in traces.
pub fn space_name(space: Space) -> &'static str {
    match space {
        Space::Dram => "dram",
        Space::Sram | Space::Remote => "sram",
        Space::Shared => "shared-sram",
        Space::Control => "control-memory",
    }
}

/// Something used: by whom it was made, how it came, and when it could be used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The producer.
    pub from: Stand,
    /// The way.
    pub via: Via,
    /// The first cycle in which it can be used.
    pub at: u64,
    /// A transfer of DMA made it.
    pub dma: bool,
}

/// A result.
#[derive(Debug, Clone, Copy)]
struct Made {
    by: Stand,
    ready: u64,
    /// For tiles: the unit that summed, and when it was done with the instruction.
    sum: Option<(Unit, u64)>,
    dma: bool,
}

/// Most needs that are told of one instruction; those that came last decide when it may start.
pub const MOST: usize = 16;
/// Most ranges of one memory whose writers are known.
const RANGES: usize = 1 << 16;
/// Most runs of a strided access that are told apart.
const RUNS: u64 = 4096;

/// Writers of the bytes of one memory: first byte, one past the last, who.
#[derive(Debug, Default)]
struct Writers(BTreeMap<u64, (u64, Made)>);

impl Writers {
    fn of(&self, lo: u64, hi: u64) -> impl Iterator<Item = &Made> {
        let before = self.0.range(..lo).next_back().filter(|(_, (end, _))| *end > lo);
        before.into_iter().chain(self.0.range(lo..hi)).map(|(_, (_, made))| made)
    }

    fn write(&mut self, lo: u64, hi: u64, made: Made) {
        if let Some((&start, &(end, older))) = self.0.range(..lo).next_back().filter(|(_, (end, _))| *end > lo) {
            self.0.insert(start, (lo, older));
            if end > hi {
                self.0.insert(hi, (end, older));
            }
        }
        while let Some((&start, &(end, older))) = self.0.range(lo..hi).next() {
            self.0.remove(&start);
            if end > hi {
                self.0.insert(hi, (end, older));
            }
        }
        match self.0.range_mut(..lo).next_back() {
            Some((_, (end, last))) if *end == lo && last.by.seq == made.by.seq => *end = hi,
            _ => drop(self.0.insert(lo, (hi, made))),
        }
    }

    /// Forgets what was over by `now` if too much is known: nobody can be found to start too early on it.
    fn tidy(&mut self, now: u64) {
        if self.0.len() > RANGES {
            self.0.retain(|_, (_, made)| made.ready > now);
        }
        if self.0.len() > RANGES {
            self.0.clear();
        }
    }
}

/// The runs of an access: exactly, or its whole range where only that is known.
fn runs(access: &Access) -> impl Iterator<Item = (u64, u64)> + use<> {
    let (count, stride, bytes) = match access.evenly() {
        Some((stride, run)) if access.runs <= RUNS => (access.runs, stride, run),
        _ => (1, 0, access.hi - access.lo),
    };
    let lo = access.lo;
    (0..count).map(move |n| (lo + n * stride, lo + n * stride + bytes))
}

/// What one core has under way.
#[derive(Debug)]
struct Core {
    registers: Vec<Option<Made>>,
    /// Unfinished transfers by tag.
    tags: Vec<Vec<Made>>,
    /// Last transfers by engine, with the cycle in which the engine was free again.
    engines: BTreeMap<u16, (Stand, u64)>,
    /// Last instructions of the array, with their ends.
    array: [Option<(Stand, u64)>; 4],
}

impl Default for Core {
    fn default() -> Core {
        let (registers, tags) = (vec![None; RegSet::T as usize], vec![Vec::new(); 16]);
        Core { registers, tags, engines: BTreeMap::new(), array: [None; 4] }
    }
}

/// The last writers of everything.
#[derive(Debug, Default)]
pub struct Producers {
    cores: Vec<Core>,
    /// By space, and by core for memory that each has.
    memory: BTreeMap<(Space, u64), Writers>,
}

/// Bits of the registers in a set.
fn bits(set: u128) -> impl Iterator<Item = u8> {
    let mut left = set & ((1 << RegSet::T) - 1);
    std::iter::from_fn(move || {
        let bit = (left != 0).then(|| left.trailing_zeros() as u8)?;
        left &= left - 1;
        Some(bit)
    })
}

/// The memory that an access falls into, and its range there.
fn place(core: u8, access: &Access) -> ((Space, u64), Access) {
    match access.space {
        Space::Sram => ((Space::Sram, core.into()), *access),
        Space::Control => ((Space::Control, core.into()), *access),
        // The number of the other core stands above the address.
        Space::Remote => {
            let (other, bits) = (access.lo >> 48 & 0xfff, (1 << 48) - 1);
            let base = access.lo & !bits;
            ((Space::Sram, other), Access { lo: access.lo - base, hi: access.hi - base, ..*access })
        }
        space => ((space, 0), *access),
    }
}

fn is_tile(bit: u8) -> bool {
    (RegSet::C..RegSet::Q).contains(&bit.into())
}

fn sums(event: &Event) -> bool {
    matches!(event.work, Work::Mac { .. } | Work::TileMac { .. })
}

impl Producers {
    fn core(&mut self, core: u8) -> &mut Core {
        while self.cores.len() <= usize::from(core) {
            self.cores.push(Core::default());
        }
        &mut self.cores[usize::from(core)]
    }

    /// What an instruction that issues at `issue` uses, the one that came last first.
    pub fn needs(&mut self, event: &Event, issue: u64) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        let mut add = |need: Need| match needs.iter_mut().find(|n| (n.from.seq, n.via) == (need.from.seq, need.via)) {
            Some(known) => known.at = known.at.max(need.at),
            None => needs.push(need),
        };
        let core = self.core(event.core);
        for bit in bits(event.reads.0) {
            let Some(made) = core.registers[usize::from(bit)] else { continue };
            let (via, at) = match made.sum {
                Some((unit, end)) if is_tile(bit) && sums(event) && unit == event.unit => (Via::Sum(bit), end),
                _ if u32::from(bit) < RegSet::V => (Via::Scalar(bit), made.ready),
                _ => (Via::Register(bit), made.ready),
            };
            add(Need { from: made.by, via, at, dma: made.dma });
        }
        for access in event.touched().iter().filter(|access| access.bytes > 0 && !access.write) {
            let (memory, access) = place(event.core, access);
            let Some(writers) = self.memory.get(&memory) else { continue };
            for (lo, hi) in runs(&access) {
                // Cores are told of each in its own order: what another core did later is no producer.
                let older = |made: &&Made| made.by.core == event.core || made.by.issue < issue;
                for made in writers.of(lo, hi).filter(older) {
                    let channel = access.space == Space::Dram && event.unit == Unit::D && made.dma;
                    let via = if channel { Via::Channel } else { Via::Memory(memory.0) };
                    add(Need { from: made.by, via, at: made.ready, dma: made.dma });
                }
            }
        }
        needs.sort_by_key(|need| (std::cmp::Reverse(need.at), need.from.seq, need.via));
        needs
    }

    /// The instruction that ended a wait, as far as it is known.
    pub fn blocker(&mut self, event: &Event, wait: &Wait, needs: &[Need]) -> Option<Stand> {
        let core = self.core(event.core);
        match wait.on {
            On::Register(bit) => {
                let made = core.registers.get(usize::from(bit)).copied().flatten()?;
                let ends = [Some(made.ready), made.sum.map(|(_, end)| end)];
                ends.contains(&Some(wait.until)).then_some(made.by)
            }
            On::Range(_) => {
                let through = |need: &&Need| matches!(need.via, Via::Memory(_)) && need.at == wait.until;
                needs.iter().find(through).map(|need| need.from)
            }
            On::Tag(tag) => {
                let pending = core.tags.get(usize::from(tag))?;
                pending.iter().find(|made| made.ready == wait.until).map(|made| made.by)
            }
            On::Engine => core.engines.values().find(|(_, free)| *free == wait.until).map(|(by, _)| *by),
            On::Weights => core.array.iter().flatten().find(|(_, end)| *end == wait.until).map(|(by, _)| *by),
            On::Turn | On::Table | On::Queue | On::Units | On::Cores => None,
        }
    }

    /// Notes what an instruction makes.
    pub fn note(&mut self, event: &Event, times: &Times, by: Stand) {
        let dma = event.unit == Unit::D;
        let made = Made { by, ready: times.ready, sum: sums(event).then_some((event.unit, times.end)), dma };
        let core = self.core(event.core);
        for bit in bits(event.writes.0) {
            let ready = if u32::from(bit) < RegSet::V { times.scalars } else { times.ready };
            core.registers[usize::from(bit)] = Some(Made { ready, ..made });
        }
        if let Work::Dma { tag, .. } | Work::Multicast { tag, .. } = event.work {
            let pending = &mut core.tags[usize::from(tag) % 16];
            pending.retain(|made| made.ready > times.issue);
            pending.push(made);
            core.engines.insert(times.engine, (by, times.end));
        }
        if event.unit == Unit::M {
            core.array.rotate_right(1);
            core.array[0] = Some((by, times.end));
        }
        let stored = if dma { times.ready } else { times.end };
        for access in event.touched().iter().filter(|access| access.bytes > 0 && access.write) {
            let (memory, access) = place(event.core, access);
            let writers = self.memory.entry(memory).or_default();
            runs(&access).for_each(|(lo, hi)| writers.write(lo, hi, Made { ready: stored, ..made }));
            writers.tidy(times.issue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seq: u64) -> Made {
        let by = Stand { seq, core: 0, issue: seq, track: 0, last: 0, shown: true };
        Made { by, ready: seq * 10, sum: None, dma: false }
    }

    fn seqs(writers: &Writers, lo: u64, hi: u64) -> Vec<u64> {
        writers.of(lo, hi).map(|made| made.by.seq).collect()
    }

    #[test]
    fn the_last_writer_of_every_byte_is_known() {
        let mut writers = Writers::default();
        writers.write(0, 100, made(1));
        writers.write(40, 60, made(2));
        writers.write(90, 120, made(3));
        assert_eq!(seqs(&writers, 0, 200), [1, 2, 1, 3]);
        assert_eq!(
            (seqs(&writers, 39, 40), seqs(&writers, 40, 41), seqs(&writers, 60, 61)),
            (vec![1], vec![2], vec![1])
        );
        assert_eq!(seqs(&writers, 120, 130), [0; 0]);
        writers.write(0, 200, made(4));
        assert_eq!((seqs(&writers, 0, 200), writers.0.len()), (vec![4], 1));
        writers.write(200, 210, made(4));
        assert_eq!(writers.0.len(), 1, "neighbours of one writer are one range");
    }

    #[test]
    fn what_is_known_stays_bounded() {
        let mut writers = Writers::default();
        (0..=RANGES as u64).for_each(|n| writers.write(3 * n, 3 * n + 1, made(n)));
        writers.tidy(10 * (RANGES as u64 - 5));
        assert_eq!(writers.0.len(), 5, "what was over is forgotten first");
    }

    #[test]
    fn runs_are_exact_where_they_are_even() {
        let access = Access { space: Space::Sram, write: true, lo: 10, hi: 10 + 3 * 100 + 8, bytes: 32, runs: 4 };
        assert_eq!(runs(&access).collect::<Vec<_>>(), [(10, 18), (110, 118), (210, 218), (310, 318)]);
        let odd = Access { bytes: 31, ..access };
        assert_eq!(runs(&odd).collect::<Vec<_>>(), [(10, 318)]);
    }
}
