//! What a machine did over time, in bounded memory: for timelines, maps of SRAM and counters of traces.
//!
//! A [`History`] is an observer that keeps sums a bin of time. Nothing is lost: the sums of a whole run are those of the
//! books.

mod scale;
mod sram;
#[cfg(test)]
mod tests;
mod timeline;

pub use scale::Scale;
pub use sram::{InUse, Map, ROWS};
pub use timeline::Timeline;

use super::meter::Meter;
use super::observe::{Observer, Program, Times};
use crate::exec::event::{Event, Space};
use crate::machine::Machine;
use scale::merge;
use timeline::busy_until;

/// What a history keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Bins of time.
    pub bins: usize,
    /// Cycles to look at, from and until; `None` for all.
    pub window: Option<(u64, u64)>,
    /// Also the timeline of the first core's units and the map of its SRAM.
    pub pictures: bool,
}

/// Memory levels whose traffic is kept, in the order of [`History::traffic`].
pub const LEVELS: [&str; 3] = ["dram", "sram", "shared-sram"];

/// Sums by bins of time.
#[derive(Debug, Clone)]
pub struct History {
    /// The bins.
    pub scale: Scale,
    /// Names of the groups of steps: the steps themselves if they are few, else their kernels; last what is outside.
    pub groups: Vec<String>,
    /// Group of each step.
    group_of: Vec<u16>,
    /// Bytes read and written, by level and bin.
    traffic: [[Vec<u64>; 2]; LEVELS.len()],
    /// Typical energy of the instructions in attojoule, leakage aside.
    pub energy: Vec<i128>,
    /// Bytes in use of each core's SRAM, and of the shared one.
    in_use: Vec<InUse>,
    shared: Option<InUse>,
    /// Units of the first core.
    pub timeline: Option<Timeline>,
    /// SRAM of the first core.
    pub map: Option<Map>,
    pictures: bool,
    meter: Meter,
    sram_bytes: u64,
}

/// Most steps that are groups of their own.
const FEW: usize = 7;

impl History {
    /// An empty history of a run on `machine`.
    pub fn new(machine: &Machine, keep: Keep) -> History {
        let bins = keep.bins.max(2);
        let row = || vec![0; bins];
        History {
            scale: Scale::new(bins, keep.window),
            groups: vec!["program".into()],
            group_of: Vec::new(),
            traffic: std::array::from_fn(|_| [row(), row()]),
            energy: vec![0; bins],
            in_use: Vec::new(),
            shared: machine.shared().map(|level| InUse::new(bins, level.bytes)),
            timeline: keep.pictures.then(|| Timeline::new(bins, 1)),
            map: keep.pictures.then(|| Map::new(bins)),
            pictures: keep.pictures,
            meter: Meter::new(machine),
            sram_bytes: machine.own().bytes,
        }
    }

    /// Bytes read (0) or written (1) at a level of [`LEVELS`], bin by bin.
    pub fn traffic(&self, level: usize, way: usize) -> &[u64] {
        &self.traffic[level][way]
    }
    /// Bytes in use of the SRAM of each core that used any.
    pub fn in_use(&self) -> &[InUse] {
        &self.in_use
    }
    /// Bytes in use of the shared SRAM.
    pub fn shared_in_use(&self) -> Option<&InUse> {
        self.shared.as_ref()
    }
    /// Bytes of a core's SRAM.
    pub fn sram_bytes(&self) -> u64 {
        self.sram_bytes
    }
    /// Group of a step.
    pub fn group(&self, node: u32) -> usize {
        self.group_of.get(node as usize).map_or(self.groups.len() - 1, |group| usize::from(*group))
    }

    /// Merges bins in pairs until `cycle` lies in one.
    fn reach(&mut self, cycle: u64) {
        while self.scale.outgrown(cycle) {
            let sum = |a, b| a + b;
            self.traffic.iter_mut().flatten().for_each(|row| merge(row, sum));
            merge(&mut self.energy, |a, b| a + b);
            let width = self.scale.width / 2;
            self.in_use.iter_mut().chain(&mut self.shared).for_each(|used| used.merge(width));
            self.timeline.iter_mut().for_each(Timeline::merge);
            self.map.iter_mut().for_each(Map::merge);
        }
    }

    fn memory(&mut self, event: &Event, group: usize, from: u64, to: u64) {
        for access in event.touched().iter().filter(|access| access.bytes > 0) {
            let level = match access.space {
                Space::Dram => 0,
                Space::Sram | Space::Remote => 1,
                Space::Shared => 2,
                Space::Control => continue,
            };
            let row = &mut self.traffic[level][usize::from(access.write)];
            self.scale.spread(access.bytes, from, to).for_each(|(bin, part)| row[bin] += part);
            match access.space {
                Space::Sram => {
                    let core = usize::from(event.core);
                    let (bins, bytes) = (self.scale.bins, self.sram_bytes);
                    while self.in_use.len() <= core {
                        self.in_use.push(InUse::new(bins, bytes));
                    }
                    self.in_use[core].add(&self.scale, access, from, to);
                    if let (0, Some(map)) = (core, &mut self.map) {
                        map.add(&self.scale, access, group as u16, from, to);
                    }
                }
                Space::Shared => self.shared.iter_mut().for_each(|used| used.add(&self.scale, access, from, to)),
                _ => {}
            }
        }
    }
}

impl Observer for History {
    const WANTED: bool = true;

    fn begin(&mut self, program: &Program<'_>) {
        let few = program.steps.len() <= FEW;
        self.groups.clear();
        self.group_of.clear();
        for step in &program.steps {
            let name = if few { step.name } else { kernel_name(step.kernel) };
            let known = self.groups.iter().position(|group| group == name);
            let group = known.unwrap_or(self.groups.len());
            if known.is_none() {
                self.groups.push(name.to_owned());
            }
            self.group_of.push(group as u16);
        }
        self.groups.push(if program.steps.is_empty() { "program" } else { "between steps" }.into());
        if self.pictures {
            self.timeline = Some(Timeline::new(self.scale.bins, self.groups.len()));
        }
    }

    fn record(&mut self, event: &Event, times: &Times) {
        let until = busy_until(event, times).max(times.issue + 1);
        self.reach(until);
        let group = self.group(event.node);
        let (from, to) = (times.start, times.end.max(times.start + 1));
        self.memory(event, group, from, to);
        let energy = self.meter.attojoule(event, times.activates);
        let until = |cycle: u64| energy * i128::from(cycle - from) / i128::from(to - from);
        self.scale.parts(from, to).for_each(|(bin, start, end)| self.energy[bin] += until(end) - until(start));
        if let (0, Some(timeline)) = (event.core, &mut self.timeline) {
            timeline.add(&self.scale, event, times, group);
        }
    }
}

/// `linear-array` of `any/path/linear-array.vasm`.
fn kernel_name(path: &str) -> &str {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    file.strip_suffix(".vasm").unwrap_or(file)
}
