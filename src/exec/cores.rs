//! Several cores on one program. All start at its entry word and tell themselves apart by `csr`; each has its own
//! registers and SRAM, everything else exists once.
//!
//! Any core that is neither halted nor blocked may take the next step. Which one does is not up to the program: what a
//! program computes must not depend on it.

use super::event::Event;
use super::spaces::Spaces;
use super::trap::Result;
use super::{Config, Mode, Program, Source, Status, Vm};
use crate::diag;
use crate::isa::Object;
use std::sync::Arc;

/// The cores of a machine, and their memory.
#[derive(Debug, Clone)]
pub struct Cores {
    cores: Vec<Vm>,
    /// The core that holds the memory.
    at: usize,
}

impl Cores {
    /// `config.cores` cores at the entry of `object`, with control memory as the object says and zeros elsewhere.
    ///
    /// # Errors
    /// As [`Vm::new`].
    pub fn new(object: impl Into<Arc<Object>>, config: Config, mode: Mode) -> diag::Result<Cores> {
        let object = object.into();
        config.check(&object)?;
        let values = mode == Mode::Functional;
        let mut memory = Some(Spaces::new(&config, &object, values));
        let program = Program::new(object)?;
        let core = |core| {
            let memory = memory.take().unwrap_or_else(|| Spaces::without(&config, core, values));
            Vm::at_entry(program.clone(), config.clone(), mode, core, memory)
        };
        let cores = (0..config.cores).map(core).collect::<diag::Result<_>>()?;
        Ok(Cores { cores, at: 0 })
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
        self.cores[core].step(event)
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
        self.step(ready.unwrap_or(self.at), event)?;
        Ok(if self.halted() { Status::Halted } else { Status::Running })
    }
}
