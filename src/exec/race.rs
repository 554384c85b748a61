//! Finds accesses of two cores that nothing orders: bytes that one writes and another touches, where the program does not
//! say which comes first. Without such a pair every order of the cores computes the same values.
//!
//! Vector clocks, compared per byte. A clock counts, for every core, its releases (`bar`, `sig`), and for each of its
//! tags the transfers that it has waited for: `sig` does not wait for transfers, so only `dma.wait` makes one known to
//! others. Bytes with equal history share one entry. Pages would raise false alarms, since neighbouring rows of one
//! matrix are written by different cores; entries are as many as there are pieces with a history of their own.
//!
//! What one core does is ordered by itself (its ranges never overlap in time), so only other cores' accesses are compared.

use super::event::{Access, Event, Space, Work};
use super::spaces::{CORE_SHIFT, Span};
use super::sync::{Wait, Waiting, members};
use super::trap::{Result, Trap, TrapKind};
use super::{Status, Vm, dma};
use crate::isa::{Inst, Unit};
use std::collections::{BTreeMap, VecDeque};

/// Counts of a core in a clock: its releases, then the transfers of each tag.
const COUNTS: usize = 17;
/// Entries that all histories may have together.
const MOST_ENTRIES: usize = 1 << 19;

/// One access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    /// Which count of a clock tells that it is over, and from which value on.
    count: u16,
    value: u32,
    /// Word address of the instruction.
    pc: u32,
    /// Cores whose own order it stands in.
    own: u64,
}

impl Record {
    fn core(self) -> usize {
        usize::from(self.count) / COUNTS
    }
    fn known_to(self, cores: u64, clock: &[u32]) -> bool {
        self.own & cores != 0 || clock[usize::from(self.count)] >= self.value
    }
}

/// Who touched the bytes up to `hi`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct History {
    hi: u64,
    write: Option<Record>,
    reads: Vec<Record>,
}

/// An access that is being compared: on whose behalf, and what they know.
struct View<'a> {
    record: Record,
    clock: &'a [u32],
    write: bool,
}

/// Histories and clocks of a run.
#[derive(Debug, Clone)]
pub struct Race {
    clocks: Vec<Vec<u32>>,
    /// Transfers started, by core and tag.
    started: Vec<[u32; 16]>,
    /// Clocks of the signals not yet taken, by core and semaphore.
    signals: BTreeMap<(u8, u8), VecDeque<Vec<u32>>>,
    /// The last signal of each.
    senders: BTreeMap<(u8, u8), Record>,
    /// Tag and place of the collective transfer that each core has come to.
    collective: Vec<(u8, u32)>,
    /// Cores that have halted: nothing can conflict with what they will do.
    halted: u64,
    /// By memory: DRAM, (unused), shared SRAM, control memory, then the SRAM of each core. By first byte.
    memory: Vec<BTreeMap<u64, History>>,
    /// No fewer than the records in `memory`.
    entries: usize,
}

impl Race {
    pub fn new(cores: usize) -> Race {
        let clock = |core| {
            let mut clock = vec![0; cores * COUNTS];
            clock[core * COUNTS] = 1;
            clock
        };
        Race {
            clocks: (0..cores).map(clock).collect(),
            started: vec![[0; 16]; cores],
            signals: BTreeMap::new(),
            senders: BTreeMap::new(),
            collective: vec![(0, 0); cores],
            halted: 0,
            memory: vec![BTreeMap::new(); 4 + cores],
            entries: 0,
        }
    }

    /// Takes what `vm` has just executed.
    ///
    /// # Errors
    /// RACE, naming the other access; FUEL if the histories have too many pieces.
    pub fn observe(&mut self, vm: &mut Vm, event: &Event, freed: &[(u32, Waiting)]) -> Result<()> {
        let core = vm.core as usize;
        match event.work {
            Work::Signal { core: target, semaphore } => self.signal(vm, event.pc, target, semaphore)?,
            Work::Await { semaphore } if vm.status != Status::Blocked => self.take(core, semaphore),
            Work::Meet { group } if vm.status != Status::Blocked => self.meet(group),
            Work::Wait { tag, left } => self.waited(core, tag, left),
            Work::Drain => {
                (0..16).for_each(|tag| self.waited(core, tag, 0));
                self.halted |= u64::from(vm.status == Status::Halted) << core;
            }
            Work::Multicast { tag, group, .. } => {
                self.collective[core] = (tag, event.pc);
                if vm.status != Status::Blocked {
                    self.multicast(vm, event, group)?;
                }
            }
            Work::Dma { tag, .. } => self.transfer(vm, event, tag)?,
            _ => {
                for access in event.touched() {
                    self.accessed(vm, event, access)?;
                }
            }
        }
        for (core, waiting) in freed {
            if let Wait::Signal(semaphore) = waiting.wait {
                self.take(*core as usize, semaphore);
            }
        }
        Ok(())
    }

    /// What `core` has done is known to whoever takes the returned clock.
    fn release(&mut self, core: usize) -> Vec<u32> {
        let clock = self.clocks[core].clone();
        self.clocks[core][core * COUNTS] += 1;
        clock
    }

    fn signal(&mut self, vm: &Vm, pc: u32, target: u8, semaphore: u8) -> Result<()> {
        let core = vm.core as usize;
        let record = self.plain(core, pc);
        if let Some(last) = self.senders.insert((target, semaphore), record)
            && !last.known_to(record.own, &self.clocks[core])
        {
            let (other, place) = (last.core(), vm.place(last.pc));
            return Err(Trap::new(
                TrapKind::Race,
                format!(
                    "core {core} signals semaphore {semaphore} of core {target}, and core {other} does {place}, in no \
                     order: which signal a wait takes is left to chance; give each sender a semaphore of its own"
                ),
            ));
        }
        let clock = self.release(core);
        self.signals.entry((target, semaphore)).or_default().push_back(clock);
        Ok(())
    }

    fn take(&mut self, core: usize, semaphore: u8) {
        let clock = self.signals.get_mut(&(core as u8, semaphore)).and_then(VecDeque::pop_front);
        join(&mut self.clocks[core], &clock.unwrap_or_default());
    }

    fn meet(&mut self, group: u64) {
        let all = self.joined(group);
        for member in members(group) {
            self.release(member as usize);
            join(&mut self.clocks[member as usize], &all);
        }
        if group.count_ones() as usize == self.clocks.len() {
            self.forget();
        }
    }

    /// What the members of a group know together.
    fn joined(&self, group: u64) -> Vec<u32> {
        let mut all = Vec::new();
        for member in members(group) {
            let clock = &self.clocks[member as usize];
            all.resize(clock.len(), 0);
            join(&mut all, clock);
        }
        all
    }

    /// The oldest transfers of a tag have ended, all but `left`.
    fn waited(&mut self, core: usize, tag: u8, left: u32) {
        let count = &mut self.clocks[core][core * COUNTS + 1 + usize::from(tag)];
        *count = (*count).max(self.started[core][usize::from(tag)].saturating_sub(left));
    }

    fn plain(&self, core: usize, pc: u32) -> Record {
        let count = core * COUNTS;
        Record { count: count as u16, value: self.clocks[core][count], pc, own: 1 << core }
    }

    fn start(&mut self, core: usize, tag: u8, pc: u32, own: u64) -> Record {
        let started = &mut self.started[core][usize::from(tag)];
        *started += 1;
        Record { count: (core * COUNTS + 1 + usize::from(tag)) as u16, value: *started, pc, own }
    }

    /// An access by the core itself.
    fn accessed(&mut self, vm: &Vm, event: &Event, access: &Access) -> Result<()> {
        let core = vm.core as usize;
        let record = self.plain(core, event.pc);
        let (stride, run) = access.evenly().filter(|(stride, run)| stride > run).unwrap_or((0, access.hi - access.lo));
        let mut lo = access.lo;
        while lo < access.hi {
            let span = Span { space: access.space, lo, hi: lo + run };
            self.compare(vm, span, record, None, access.write)?;
            lo += if stride == 0 { run } else { stride };
        }
        Ok(())
    }

    fn transfer(&mut self, vm: &mut Vm, event: &Event, tag: u8) -> Result<()> {
        let core = vm.core as usize;
        let record = self.start(core, tag, event.pc, 1 << core);
        let Some(inst) = vm.executed(event.pc) else { return Ok(()) };
        let list = pieces(vm, &inst)?;
        list.into_iter().try_for_each(|(span, write)| self.compare(vm, span, record, None, write))
    }

    /// The source is read once, in the order of every member; each member's SRAM is written in its own.
    fn multicast(&mut self, vm: &mut Vm, event: &Event, group: u64) -> Result<()> {
        let Some(inst) = vm.executed(event.pc) else { return Ok(()) };
        let list = pieces(vm, &inst)?;
        let all = self.joined(group);
        for (n, member) in members(group).enumerate() {
            let (tag, pc) = self.collective[member as usize];
            let record = self.start(member as usize, tag, pc, 1 << member);
            let base = u64::from(member) << CORE_SHIFT;
            for &(span, write) in &list {
                if write {
                    let span = Span { space: Space::Remote, lo: base + span.lo, hi: base + span.hi };
                    self.compare(vm, span, record, None, true)?;
                } else if n == 0 {
                    self.compare(vm, span, Record { own: group, ..record }, Some(&all), false)?;
                }
            }
        }
        Ok(())
    }

    /// Compares an access with the histories of its bytes and becomes part of them. `clock` is what is known, unless
    /// it is what the core of `record` knows.
    fn compare(&mut self, vm: &Vm, span: Span, record: Record, clock: Option<&[u32]>, write: bool) -> Result<()> {
        if span.lo >= span.hi {
            return Ok(());
        }
        let offset = |at: u64| at & ((1 << CORE_SHIFT) - 1);
        let (level, lo) = match span.space {
            Space::Sram => (4 + vm.core as usize, span.lo),
            Space::Remote => (4 + (span.lo >> CORE_SHIFT) as usize, offset(span.lo)),
            space => (space as usize, span.lo),
        };
        let hi = lo + (span.hi - span.lo);
        let view = View { record, clock: clock.unwrap_or(&self.clocks[record.core()]), write };
        let (touched, found) = touch(&mut self.memory[level], lo, hi, &view);
        self.entries += touched;
        if let Some((at, other, wrote)) = found {
            let name =
                if level < 4 { span.space.name().to_string() } else { format!("the SRAM of core {}", level - 4) };
            return Err(conflict(vm, &view, &other, wrote, &format!("byte {at:#x} of {name}")));
        }
        if self.entries > MOST_ENTRIES {
            self.forget();
            if self.entries > MOST_ENTRIES / 2 {
                let message = "the cores touch memory in too many pieces to tell whether they are in order; a barrier of \
                               all cores settles what came before";
                return Err(Trap::new(TrapKind::Fuel, message));
            }
        }
        Ok(())
    }

    /// Drops the histories that are known to every core still running: nothing later can conflict with them.
    fn forget(&mut self) {
        let (clocks, halted) = (&self.clocks, self.halted);
        let settled = |record: &Record| {
            let known = |core: usize| halted >> core & 1 == 1 || record.known_to(1 << core, &clocks[core]);
            (0..clocks.len()).all(known)
        };
        self.entries = 0;
        for histories in &mut self.memory {
            histories.retain(|_, history| !history.write.iter().chain(&history.reads).all(settled));
            self.entries += histories.values().map(|history| 1 + history.reads.len()).sum::<usize>();
        }
    }
}

impl Vm {
    /// The instruction at word `pc`, which has been executed.
    fn executed(&self, pc: u32) -> Option<Inst> {
        self.code.get(pc as usize)?.as_ref().map(|word| word.inst)
    }
}

fn join(clock: &mut [u32], other: &[u32]) {
    clock.iter_mut().zip(other).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
}

/// Cuts the history of the bytes around `at` in two.
fn cut(histories: &mut BTreeMap<u64, History>, at: u64) {
    if let Some((_, history)) = histories.range_mut(..at).next_back()
        && history.hi > at
    {
        let rest = history.clone();
        history.hi = at;
        histories.insert(at, rest);
    }
}

/// The first byte, record and kind (true: a write) of an earlier access.
type Found = Option<(u64, Record, bool)>;

/// Adds an access to `lo..hi`: how many records that makes at most, and an earlier access that it does not know.
fn touch(histories: &mut BTreeMap<u64, History>, lo: u64, hi: u64, view: &View<'_>) -> (usize, Found) {
    // The usual case: the same bytes again.
    if histories.get(&lo).is_none_or(|history| history.hi != hi) {
        cut(histories, lo);
        cut(histories, hi);
    }
    let (mut at, mut gaps, mut touched) = (lo, Vec::new(), 2);
    for (&from, history) in histories.range_mut(lo..hi) {
        if from > at {
            gaps.push((at, from));
        }
        (at, touched) = (history.hi, touched + 1);
        let unknown = |record: &&Record| !record.known_to(view.record.own, view.clock);
        if let Some(write) = history.write.as_ref().filter(unknown) {
            return (touched, Some((from, *write, true)));
        }
        if view.write {
            if let Some(read) = history.reads.iter().find(unknown) {
                return (touched, Some((from, *read, false)));
            }
            (history.write, history.reads) = (Some(view.record), Vec::new());
        } else {
            history.reads.retain(|read| read.count != view.record.count || read.own != view.record.own);
            history.reads.push(view.record);
        }
    }
    if at < hi {
        gaps.push((at, hi));
    }
    let fresh = |hi| match view.write {
        true => History { hi, write: Some(view.record), reads: Vec::new() },
        false => History { hi, write: None, reads: vec![view.record] },
    };
    touched += gaps.len();
    histories.extend(gaps.into_iter().map(|(lo, hi)| (lo, fresh(hi))));
    merge(histories, lo, hi);
    (touched, None)
}

/// Makes one of neighbours with equal histories, from before `lo` to after `hi`.
fn merge(histories: &mut BTreeMap<u64, History>, lo: u64, hi: u64) {
    let mut last = match histories.range(..lo).next_back() {
        Some((&at, _)) => at,
        None => lo,
    };
    while last < hi
        && let Some((&next, history)) = histories.range(last + 1..=hi).next()
    {
        let before = &histories[&last];
        if before.hi == next && before.write == history.write && before.reads == history.reads {
            let end = history.hi;
            histories.remove(&next);
            histories.get_mut(&last).expect("it was just read").hi = end;
        } else {
            last = next;
        }
    }
}

#[cold]
fn conflict(vm: &Vm, view: &View<'_>, other: &Record, wrote: bool, place: &str) -> Trap {
    let verb = |write: bool| if write { "writes" } else { "reads" };
    let (core, them, line) = (view.record.core(), other.core(), vm.place(other.pc));
    let transfer = usize::from(other.count) % COUNTS;
    let fix = match transfer {
        0 => "a bar of both, or a sig and a wait.sig, would".to_string(),
        n => format!("a dma.wait t{} in core {them} and then a bar, or a sig and a wait.sig, would", n - 1),
    };
    let transfers = vm.executed(view.record.pc).is_some_and(|inst| inst.op.unit() == Unit::D);
    let how = if transfers { "a transfer of core" } else { "core" };
    let message = format!(
        "{how} {core} {} {place}, which core {them} {} {line}, and nothing orders the two; {fix}",
        verb(view.write),
        verb(wrote)
    );
    Trap::new(TrapKind::Race, message)
}

/// What a transfer touches, piece by piece, and whether it writes there.
fn pieces(vm: &mut Vm, inst: &Inst) -> Result<Vec<(Span, bool)>> {
    let mut list = Vec::new();
    dma::pieces(vm, inst, &mut |span, write| {
        list.push((span, write));
        Ok(())
    })?;
    Ok(list)
}
