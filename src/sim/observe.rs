//! What the clock did with each instruction, for whoever wants to know: debuggers and traces.
//!
//! An [`Observer`] is handed every event with its [`Times`]. It is a type parameter of the clock, and [`Unobserved`] asks
//! for nothing, so a run that nobody watches does no work for it.

use super::timing::Cause;
use crate::exec::event::Event;
use crate::isa::Object;

/// What is going to run.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    /// Its words.
    pub object: &'a Object,
    /// The steps that its node markers count, in order; none for a program on the bare processor.
    pub steps: Vec<Step<'a>>,
}

/// A step of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// Its name.
    pub name: &'a str,
    /// The kernel that runs it.
    pub kernel: &'a str,
}

/// Receives one record an executed instruction, in program order. `endl` and `node` are free and give none.
pub trait Observer {
    /// False if records are not wanted: nothing that only they need is computed.
    const WANTED: bool;
    /// Told before the first record of each program; most runs have one.
    fn begin(&mut self, _: &Program<'_>) {}
    /// Takes the record of one instruction.
    fn record(&mut self, event: &Event, times: &Times);
}

impl<O: Observer> Observer for &mut O {
    const WANTED: bool = O::WANTED;
    fn begin(&mut self, program: &Program<'_>) {
        (**self).begin(program);
    }
    fn record(&mut self, event: &Event, times: &Times) {
        (**self).record(event, times);
    }
}

/// Two observers of one run.
impl<A: Observer, B: Observer> Observer for (A, B) {
    const WANTED: bool = A::WANTED || B::WANTED;
    fn begin(&mut self, program: &Program<'_>) {
        self.0.begin(program);
        self.1.begin(program);
    }
    fn record(&mut self, event: &Event, times: &Times) {
        self.0.record(event, times);
        self.1.record(event, times);
    }
}

/// Watches a program that begins in cycle `from` of a longer run, and is one step of it.
#[derive(Debug)]
pub struct Later<'a, O> {
    /// Who watches the whole.
    pub observer: &'a mut O,
    /// The cycle in which the program begins.
    pub from: u64,
    /// The step that it is.
    pub node: u32,
}

impl<O: Observer> Observer for Later<'_, O> {
    const WANTED: bool = O::WANTED;
    fn begin(&mut self, program: &Program<'_>) {
        self.observer.begin(program);
    }
    fn record(&mut self, event: &Event, times: &Times) {
        self.observer.record(&Event { node: self.node, ..*event }, &times.later(self.from));
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    const WANTED: bool = false;
    fn record(&mut self, _: &Event, _: &Times) {}
}

/// What an instruction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum On {
    /// Its turn.
    #[default]
    Turn,
    /// A register, as a bit number of [`crate::exec::RegSet`].
    Register(u8),
    /// The range of its access of this number, in the order of [`Event::touched`].
    Range(u8),
    /// Entries of the reservation table.
    Table,
    /// A place in the queue of its unit.
    Queue,
    /// A tag.
    Tag(u8),
    /// The units, all of them.
    Units,
    /// A weight buffer of the array, or the weights in it.
    Weights,
    /// A DMA engine.
    Engine,
    /// Other cores.
    Cores,
}

/// One wait: in the cycles `from` to `until` - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The cause that the books name.
    pub cause: Cause,
    /// What was waited for.
    pub on: On,
    /// First cycle of it.
    pub from: u64,
    /// The cycle in which it was over.
    pub until: u64,
}

impl Wait {
    /// The wait for `on` from `from` to `until`, if there is one.
    pub(super) fn new((cause, on): (Cause, On), from: u64, until: u64) -> Option<Wait> {
        (until > from).then_some(Wait { cause, on, from, until })
    }
    fn later(self, by: u64) -> Wait {
        Wait { from: self.from + by, until: self.until + by, ..self }
    }
    /// Whether it goes on in `cycle`.
    pub fn covers(&self, cycle: u64) -> bool {
        (self.from..self.until).contains(&cycle)
    }
}

/// The cycles of one instruction. What is in the pipeline of its unit goes on from `end` to `ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Its issue: one cycle of control.
    pub issue: u64,
    /// What held it up before issue.
    pub at_issue: Option<Wait>,
    /// It lies in the queue of its unit from `issue` + 1 on; from here on it is the next one of its unit.
    pub turn: u64,
    /// What held it up in its unit.
    pub in_unit: Option<Wait>,
    /// Its unit starts on it.
    pub start: u64,
    /// Its unit can take the next instruction.
    pub end: u64,
    /// Its results can be used.
    pub ready: u64,
    /// The scalars that it writes can be used: for moved bases of addresses that is before `ready`.
    pub scalars: u64,
    /// The DMA engine that moves its bytes; 0 for other work.
    pub engine: u16,
    /// Rows of DRAM that were opened for it, where DRAM is modelled by its commands.
    pub activates: u64,
}

impl Times {
    /// The same, `by` cycles later.
    fn later(&self, by: u64) -> Times {
        Times {
            issue: self.issue + by,
            at_issue: self.at_issue.map(|wait| wait.later(by)),
            turn: self.turn + by,
            in_unit: self.in_unit.map(|wait| wait.later(by)),
            start: self.start + by,
            end: self.end + by,
            ready: self.ready + by,
            scalars: self.scalars + by,
            ..*self
        }
    }
}
