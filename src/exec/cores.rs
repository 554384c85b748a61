//! Several cores on one program. All start at its entry word and tell themselves apart by `csr`; each has its own
//! registers and SRAM, everything else exists once.
//!
//! Any core that is neither halted nor blocked may take the next step. Which one does is not up to the program: what a
//! program computes must not depend on it.

use super::event::Event;
use super::race::Race;
use super::spaces::Spaces;
use super::sync::{Wait, Waiting, members};
use super::trap::{Result, Trap, TrapKind};
use super::{Config, Decodes, Mode, Program, Source, Status, Vm};
use crate::diag;
use crate::isa::Object;
use std::sync::Arc;

/// The cores of a machine, and their memory.
#[derive(Debug, Clone)]
pub struct Cores {
    cores: Vec<Vm>,
    /// The core that holds the memory.
    at: usize,
    /// Nothing to compare where there is one core.
    race: Option<Race>,
}

impl Cores {
    /// `config.cores` cores at the entry of `object`, with control memory as the object says and zeros elsewhere.
    ///
    /// # Errors
    /// As [`Vm::new`].
    pub fn new(object: impl Into<Arc<Object>>, config: Config, mode: Mode) -> diag::Result<Cores> {
        let object = object.into();
        config.check(&object, mode == Mode::Functional)?;
        let values = mode == Mode::Functional;
        let mut memory = Some(Spaces::new(&config, &object, values));
        let program = Program::new(object, &mut Decodes::default())?;
        let core = |core| {
            let memory = memory.take().unwrap_or_else(|| Spaces::without(&config, core, values));
            Vm::at_entry(program.clone(), config.clone(), mode, core, memory)
        };
        let cores = (0..config.cores).map(core).collect::<diag::Result<_>>()?;
        let race = (config.cores > 1).then(|| Race::new(config.cores as usize));
        Ok(Cores { cores, at: 0, race })
    }

    /// Number of cores.
    pub fn count(&self) -> usize {
        self.cores.len()
    }

    /// Core `core`, to look at its registers. Its memory is asked for here.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn core(&self, core: usize) -> &Vm {
        &self.cores[core]
    }

    /// True if `core` can take a step.
    pub fn ready(&self, core: usize) -> bool {
        self.cores[core].status == Status::Running
    }

    /// True if every core has halted.
    pub fn halted(&self) -> bool {
        self.cores.iter().all(|core| core.status == Status::Halted)
    }

    /// Gives the memory and the fuel to `core`.
    fn switch(&mut self, core: usize) {
        let Ok([from, to]) = self.cores.get_disjoint_mut([self.at, core]) else { return };
        from.memory.hand_over(&mut to.memory);
        std::mem::swap(&mut from.sync, &mut to.sync);
        to.spent = from.spent;
        self.at = core;
    }

    /// Runs one instruction of `core`, which is ready, and describes it in `event`.
    ///
    /// # Errors
    /// The trap that stopped the program.
    pub fn step(&mut self, core: usize, event: &mut Event) -> Result<Status> {
        self.switch(core);
        event.core = core as u8;
        let several = self.count() > 1;
        let here = |trap: Trap| if several { trap.on(core) } else { trap };
        let vm = &mut self.cores[core];
        let status = vm.step(event).map_err(here)?;
        let freed = std::mem::take(&mut vm.sync.freed);
        if let Some(race) = &mut self.race {
            race.observe(vm, event, &freed).map_err(|trap| here(trap.at(event.pc, event.node, &vm.object)))?;
        }
        for (freed, _) in freed {
            self.cores[freed as usize].status = Status::Running;
        }
        Ok(status)
    }

    /// Why no core can take a step although some have not halted: each with its line and what it waits for.
    pub fn deadlock(&self) -> Trap {
        let sync = &self.cores[self.at].sync;
        let waits = |(core, waiting): (&u32, &Waiting)| {
            let place = self.cores[0].place(waiting.pc);
            match &waiting.wait {
                Wait::Signal(semaphore) => format!("core {core} {place} for semaphore {semaphore}"),
                Wait::Meet { group, .. } => {
                    let here = |member: &u32| sync.waiting.get(member).is_some_and(|other| other.wait == waiting.wait);
                    let missing = members(*group).filter(|member| !here(member)).map(|member| {
                        let halted = self.cores[member as usize].status == Status::Halted;
                        format!("core {member}{}", if halted { ", which has halted" } else { "" })
                    });
                    format!("core {core} {place} for {}", missing.collect::<Vec<_>>().join(" and "))
                }
            }
        };
        let list = sync.waiting.iter().map(waits).collect::<Vec<_>>().join("; ");
        let trap = Trap::new(TrapKind::Deadlock, format!("no core can go on: {list}"));
        match sync.waiting.iter().next() {
            Some((core, waiting)) => {
                let core = &self.cores[*core as usize];
                trap.at(waiting.pc, core.node, &core.object)
            }
            None => trap,
        }
    }

    /// Runs until every core has halted.
    ///
    /// # Errors
    /// The trap that stopped the program.
    pub fn run(&mut self) -> Result<()> {
        let mut event = Event::new();
        while self.next(&mut event)? == Status::Running {}
        Ok(())
    }

    /// Writes host bytes at `addr` as `core` sees it.
    ///
    /// # Errors
    /// As [`Vm::write`].
    pub fn write(&mut self, core: usize, addr: u64, bytes: &[u8]) -> Result<()> {
        self.switch(core);
        self.cores[core].write(addr, bytes)
    }

    /// Bytes at `addr` as `core` sees it.
    ///
    /// # Errors
    /// As [`Vm::read`].
    pub fn read(&mut self, core: usize, addr: u64, len: u64) -> Result<&[u8]> {
        self.switch(core);
        self.cores[core].read(addr, len)
    }
}

/// Runs each core until it blocks or halts, then the next in order of number.
impl Source for Cores {
    fn next(&mut self, event: &mut Event) -> Result<Status> {
        let count = self.count();
        let ready = (self.at..self.at + count).map(|core| core % count).find(|&core| self.ready(core));
        match ready {
            Some(core) => self.step(core, event)?,
            // A machine that has halted repeats its last event.
            None if self.halted() => self.step(self.at, event)?,
            None => return Err(self.deadlock()),
        };
        Ok(if self.halted() { Status::Halted } else { Status::Running })
    }
}
