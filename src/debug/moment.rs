//! One moment of a run: values and clock together, and how the next one comes about.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::diag;
use crate::exec::{Access, Blocks, Config, Event, Mode, Result, Status, Vm, Work};
use crate::isa::{Object, Op};
use crate::machine::Machine;
use crate::sim::Sim;
use crate::sim::observe::{Observer, Times};

/// How many of the last instructions are remembered with their times.
const RECENT: usize = 1024;

/// How many instructions that take no time may stand in a row before nobody looks further.
const FREE: u64 = 16;

/// An executed instruction and what the clock did with it.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// What it asked for.
    pub event: Event,
    /// When it got it.
    pub times: Times,
}

/// The last instructions, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Recent(pub VecDeque<Seen>);

impl Observer for Recent {
    const WANTED: bool = true;
    fn record(&mut self, event: &Event, times: &Times) {
        if self.0.len() == RECENT {
            self.0.pop_front();
        }
        let mut event = *event;
        // What an older instruction left behind in a reused event is no part of this one.
        event.access[usize::from(event.accesses)..].fill(Access::default());
        if !matches!(event.work, Work::Dma { .. } | Work::Multicast { .. }) {
            event.blocks = Blocks::one(0, 0, 0);
        }
        self.0.push_back(Seen { event, times: *times });
    }
}

/// Everything that a run is made of between two instructions.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Registers and memory.
    pub vm: Vm,
    /// The clock and the books.
    pub sim: Sim,
    /// What ran last.
    pub recent: Recent,
    /// Instructions executed.
    pub steps: u64,
    /// Calls entered and not left.
    pub depth: i64,
    /// The program has come to its `halt`.
    pub halted: bool,
}

impl Moment {
    /// The beginning of a program.
    ///
    /// # Errors
    /// Those of [`Vm::new`].
    pub fn start(object: Arc<Object>, config: Config, machine: &Machine) -> diag::Result<Moment> {
        let vm = Vm::new(object, config, Mode::Functional)?;
        let sim = Sim::new(machine, 0);
        Ok(Moment { vm, sim, recent: Recent::default(), steps: 0, depth: 0, halted: false })
    }

    /// Runs one instruction.
    ///
    /// # Errors
    /// The trap that stopped it; registers and memory are then those of the middle of the instruction.
    pub fn step(&mut self, event: &mut Event) -> Result<Status> {
        let status = self.vm.step(event)?;
        self.sim.observe(event, &mut self.recent);
        self.steps += 1;
        match event.op {
            Op::Jal | Op::Jalr if event.writes.0 != 0 => self.depth += 1,
            Op::Jalr => self.depth -= 1,
            _ => {}
        }
        self.halted = status == Status::Halted;
        Ok(status)
    }

    /// Bytes of host memory that a copy takes, roughly.
    pub fn bytes(&self) -> u64 {
        self.vm.state_bytes() + (self.recent.0.len() * size_of::<Seen>()) as u64
    }

    /// The next instruction that takes time, as it would run, with its times; nothing changes. `None` if it traps or
    /// there is none.
    pub fn peek(&self) -> Option<Seen> {
        let mut next = self.clone();
        next.recent.0.clear();
        let mut event = Event::new();
        next.recent.0.clear();
        let takes_time = loop {
            if next.halted || next.steps == self.steps + FREE {
                break false;
            }
            next.step(&mut event).ok()?;
            if !matches!(event.op, Op::Endl | Op::Node) {
                break true;
            }
        };
        // Its record is the last: those of older ones in flight come before.
        next.sim.come_down(&mut next.recent);
        next.recent.0.pop_back().filter(|_| takes_time)
    }

    /// The last instructions with their times. Those that wait for a DRAM that reorders have the times that they get if
    /// nothing followed.
    pub fn seen(&self) -> Recent {
        let (mut sim, mut recent) = (self.sim.clone(), self.recent.clone());
        sim.come_down(&mut recent);
        recent
    }
}
