//! What orders cores: barriers, semaphores, and the collective transfer of a group.
//!
//! A core that must wait has executed its instruction already: it has arrived, and takes its next step once the
//! others came. So every instruction is executed once, and gives one event.

use super::dma::Plan;
use super::event::{Event, Work};
use super::spaces::CORE_SHIFT;
use super::trap::{Result, Trap, TrapKind};
use super::{Space, Status, Vm};
use crate::isa::Inst;
use std::collections::BTreeMap;

/// What a core waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// The other members of a group: in a barrier, or in a collective transfer.
    Meet {
        /// Bit c = core c.
        group: u64,
        /// The transfer; `None` for a barrier.
        transfer: Option<Box<Plan>>,
    },
    /// One of its semaphores.
    Signal(u8),
}

/// A wait and the instruction that began it.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// For what.
    pub wait: Wait,
    /// Word address of the instruction.
    pub pc: u32,
}

/// State of the waits of all cores; like memory, it is with the core that runs.
#[derive(Debug, Clone, Default)]
pub struct Sync {
    /// By core.
    pub waiting: BTreeMap<u32, Waiting>,
    /// Signals not yet waited for, by core and semaphore.
    signals: BTreeMap<(u32, u8), u64>,
    /// Cores that the instruction at hand lets go on, with what they waited for.
    pub freed: Vec<(u32, Waiting)>,
}

impl Sync {
    fn free(&mut self, core: u32) {
        let waiting = self.waiting.remove(&core);
        self.freed.extend(waiting.map(|waiting| (core, waiting)));
    }
}

/// The cores of a group, ascending.
pub fn members(group: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |core| group >> core & 1 == 1)
}

impl Vm {
    /// The cores that `mask` names; all ones are all cores.
    ///
    /// # Errors
    /// SHAPE if one does not exist, or this core is not among them.
    fn group(&self, mask: u64) -> Result<u64> {
        let all = u64::MAX >> (64 - self.config.cores);
        let group = if mask == u64::MAX { all } else { mask };
        let wrong = |message: String| Err(Trap::new(TrapKind::Shape, message));
        if group & !all != 0 {
            let (core, count) = ((group & !all).trailing_zeros(), self.config.cores);
            return wrong(format!("group {mask:#x} has core {core}; there are {count} cores, and -1 names them all"));
        }
        if group >> self.core & 1 == 0 {
            return wrong(format!("core {} is not in the group {mask:#x} that it meets", self.core));
        }
        Ok(group)
    }

    /// Arrives at a meeting of `group`; true for the last to come.
    ///
    /// # Errors
    /// SHAPE if a member waits in another meeting of the same cores.
    fn meet(&mut self, group: u64, transfer: Option<Plan>) -> Result<bool> {
        let wait = Wait::Meet { group, transfer: transfer.map(Box::new) };
        let mut missing = false;
        for member in members(group).filter(|member| *member != self.core) {
            match self.sync.waiting.get(&member) {
                Some(other) if other.wait == wait => {}
                Some(Waiting { wait: Wait::Meet { group: theirs, transfer }, pc }) if *theirs == group => {
                    let what = if transfer.is_some() { "a dma.mc of other arguments" } else { "a bar" };
                    let line = self.place(*pc);
                    let message = format!("core {member} of the same group waits in {what}, {line}");
                    return Err(Trap::new(TrapKind::Shape, message));
                }
                _ => missing = true,
            }
        }
        if missing {
            self.sync.waiting.insert(self.core, Waiting { wait, pc: self.pc });
            self.status = Status::Blocked;
        } else {
            members(group).for_each(|member| self.sync.free(member));
        }
        Ok(!missing)
    }

    /// Where word `pc` stands in the source, in words.
    pub(super) fn place(&self, pc: u32) -> String {
        match super::trap::line_of(&self.object, pc) {
            Some((file, line)) => format!("at {file}:{line}"),
            None => format!("at word {pc}"),
        }
    }
}

/// Waits for a group.
pub fn bar(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let mask = if inst.is_immediate() { i64::from(inst.imm) as u64 } else { vm.known(inst.rs2, "a group")? };
    let group = vm.group(mask)?;
    event.work = Work::Meet { group };
    vm.meet(group, None)?;
    Ok(())
}

/// Adds one to a semaphore of a core.
pub fn sig(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (target, semaphore) = (vm.known(inst.rs1, "a core number")?, inst.imm as u8);
    let count = vm.config.cores;
    let Some(target) = u32::try_from(target).ok().filter(|target| *target < count) else {
        let message = format!("there is no core {target} to signal; there are {count}");
        return Err(Trap::new(TrapKind::Shape, message));
    };
    event.work = Work::Signal { core: target as u8, semaphore };
    match vm.sync.waiting.get(&target) {
        Some(Waiting { wait: Wait::Signal(awaited), .. }) if *awaited == semaphore => vm.sync.free(target),
        _ => *vm.sync.signals.entry((target, semaphore)).or_default() += 1,
    }
    Ok(())
}

/// Waits for a signal and takes it.
pub fn wait_sig(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let semaphore = inst.imm as u8;
    event.work = Work::Await { semaphore };
    if let Some(count) = vm.sync.signals.get_mut(&(vm.core, semaphore)).filter(|count| **count > 0) {
        *count -= 1;
        return Ok(());
    }
    if vm.config.cores == 1 {
        let message = format!("the only core waits for semaphore {semaphore}, which it has not signalled");
        return Err(Trap::new(TrapKind::Deadlock, message));
    }
    vm.sync.waiting.insert(vm.core, Waiting { wait: Wait::Signal(semaphore), pc: vm.pc });
    vm.status = Status::Blocked;
    Ok(())
}

/// One transfer to the same place in the SRAM of every member of a group.
pub fn dma_mc(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let group = vm.group(vm.known(inst.rs3, "a group")?)?;
    let plan = Plan::copy(vm, inst)?;
    let wrong = |message: String| Err(Trap::new(TrapKind::Addr, message));
    if plan.to >> 60 != 1 {
        return wrong(format!("{:#x} is not in space 1: dma.mc writes the SRAM of each member", plan.to));
    }
    if plan.from >> 60 == 1 {
        let from = plan.from;
        return wrong(format!("{from:#x} is another place for every core; space 4 names the SRAM of one"));
    }
    let sides = plan.sides(vm)?;
    let runs = sides.as_ref().map_or(0, |(source, target)| source.runs.max(target.runs));
    event.work = Work::Multicast { bytes: plan.total, runs, tag: inst.aux, group };
    if let Some((source, target)) = &sides {
        event.touch(source.access(false, plan.total));
        event.touch(target.access(true, plan.total));
        event.blocks = plan.blocks(source, target);
        vm.afford(plan.cost())?;
    }
    let last = vm.meet(group, Some(plan))?;
    if let (true, Some((source, target))) = (last, sides) {
        let me = vm.core;
        for member in members(group) {
            let base = if member == me { 0 } else { u64::from(member) << CORE_SHIFT };
            let space = if member == me { Space::Sram } else { Space::Remote };
            plan.run(vm, &source, (space, base + target.at));
        }
    }
    Ok(())
}
