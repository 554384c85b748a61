//! A debugger as a library: a line of text in, text out. `cli` reads the lines and prints the answers.
//!
//! A stop lies between two instructions, its time is the cycle in which the next one issues. Going back means running
//! again from a copy of the state, so everything goes back: registers, memory, clock and books.

mod clock;
mod commands;
mod expr;
mod history;
mod moment;
mod points;
mod print;
mod program;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diag::{Error, Result};
use crate::exec::{Config, Event, Trap, Vm};
use crate::isa::{self, Object, Op};
use crate::machine::Machine;
use expr::Scope;
use history::History;
use moment::Moment;
use points::Points;
use program::Program;

pub use commands::{COMMANDS, Command};

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What to print; empty or whole lines.
    pub text: String,
    /// The session is over.
    pub ended: bool,
}

/// How a run of instructions goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// So many instructions.
    Steps(u64),
    /// To a stop of its own.
    Far,
    /// To a word.
    Word(u32),
    /// Out of the function entered last.
    Depth(i64),
}

/// A session with one program on one machine.
#[derive(Debug)]
pub struct Debugger {
    machine: Machine,
    program: Program,
    now: Moment,
    history: History,
    points: Points,
    /// The trap at which the program stands.
    trap: Option<Trap>,
    /// Some run of this session came to a trap.
    faulted: bool,
    /// Where `list` goes on.
    listed: Option<u32>,
    /// The instruction that stops the debugger, if the set has one.
    brkpt: Option<Op>,
}

impl Debugger {
    /// A session at the entry of `object`; `sources` are texts by the names of its line table, and `fuel` is the number of
    /// instructions after which a run traps.
    ///
    /// # Errors
    /// Those of [`Vm::new`]; BadInput if the object is damaged.
    pub fn new(
        object: impl Into<Arc<Object>>,
        sources: &BTreeMap<String, String>,
        machine: &Machine,
        fuel: Option<u64>,
    ) -> Result<Debugger> {
        let object = object.into();
        let program = Program::new(object.clone(), sources)?;
        let now = Moment::start(object, Config { fuel, ..Config::of(machine) }, machine)?;
        let history = History::new(now.clone(), history::EVERY, history::BUDGET_BYTES);
        Ok(Debugger {
            machine: machine.clone(),
            program,
            now,
            history,
            points: Points::default(),
            trap: None,
            faulted: false,
            listed: None,
            brkpt: isa::table::ROWS.iter().find(|row| row.name == "brkpt").map(|row| row.op),
        })
    }

    /// Whether a run of this session came to a trap.
    pub fn faulted(&self) -> bool {
        self.faulted
    }

    /// Does what a line says. An empty line and a comment (`#`) do nothing.
    ///
    /// # Errors
    /// Usage for a command that does not exist or arguments that do not fit it; nothing has changed then.
    pub fn command(&mut self, line: &str) -> Result<Reply> {
        commands::run(self, line)
    }

    /// The core as it is now.
    pub fn vm(&self) -> &Vm {
        &self.now.vm
    }

    /// Where the program stands: place, cycle and text of the next instruction.
    pub fn place(&self) -> String {
        let pc = self.now.vm.pc();
        let cycle = clock::cycle(&self.now, self.now.peek().as_ref());
        if self.now.halted {
            return format!("the program has halted after {} instructions, {cycle} cycles\n", self.now.steps);
        }
        format!("{}, cycle {cycle}: {}\n", self.program.place(pc), self.program.describe(pc))
    }

    /// Runs towards `goal`; says why it stopped and where.
    fn go(&mut self, goal: Goal) -> Result<String> {
        if self.now.halted {
            return Err(Error::usage("the program has halted").help("`restart` begins anew, `reverse-step` goes back"));
        }
        self.points.refresh(&self.now);
        self.listed = None;
        let why = self.advance(goal);
        let clock = self.now.sim.error().map_or(String::new(), |error| format!("the clock stands still: {error}\n"));
        Ok(why + &clock + &self.place())
    }

    fn advance(&mut self, goal: Goal) -> String {
        let mut event = Event::new();
        let mut steps = 0;
        while !self.now.halted && goal != Goal::Steps(steps) {
            let before = self.now.steps;
            if let Err(trap) = self.now.step(&mut event) {
                self.now = self.history.at(before);
                self.faulted = true;
                let text = self.describe(&trap);
                self.trap = Some(trap);
                return text;
            }
            steps += 1;
            self.history.note(&self.now);
            if let Some(change) = self.points.changed(&self.now) {
                return change;
            }
            if Some(event.op) == self.brkpt {
                return "brkpt\n".into();
            }
            let pc = self.now.vm.pc();
            let stop = self.points.stops_at(pc, &Names { now: &self.now, program: &self.program });
            if let Some(stop) = stop.filter(|_| !self.now.halted) {
                return stop;
            }
            let reached = match goal {
                Goal::Word(word) => word == pc,
                Goal::Depth(depth) => self.now.depth < depth,
                Goal::Steps(_) | Goal::Far => false,
            };
            if reached {
                break;
            }
        }
        String::new()
    }

    /// A trap in three lines: kind and reason, operands, place.
    fn describe(&self, trap: &Trap) -> String {
        let mut out = format!("trap {}: {}\n", trap.kind().name(), trap.message());
        if !trap.operands().is_empty() {
            out += &format!("operands: {}\n", trap.operand_text());
        }
        out
    }

    /// Goes to the moment after `steps` instructions, which have run before.
    fn go_back(&mut self, steps: u64) -> String {
        self.now = self.history.at(steps);
        self.trap = None;
        self.listed = None;
        self.points.refresh(&self.now);
        self.place()
    }
}

/// What names in expressions mean at a moment.
struct Names<'a> {
    now: &'a Moment,
    program: &'a Program,
}

impl Scope for Names<'_> {
    fn name(&self, name: &str) -> Result<i64> {
        let vm = &self.now.vm;
        if let Some((class, n)) = print::register(name) {
            return match class {
                isa::table::RegClass::X => Ok(vm.x(n).unwrap_or_default() as i64),
                _ => Err(Error::usage(format!("{name} is no scalar; expressions take x registers and memory"))),
            };
        }
        let tile = vm.tile_sizes();
        let value = match name {
            "pc" => i64::from(vm.pc()),
            "vl" => i64::from(vm.vl()),
            "nl" => i64::from(vm.view().0),
            "kd" => i64::from(vm.view().1),
            "tm" => i64::from(tile[0]),
            "tn" => i64::from(tile[1]),
            "tk" => i64::from(tile[2]),
            "node" => i64::from(vm.node()),
            "steps" => self.now.steps as i64,
            label => match self.program.object().symbol(label) {
                Some(word) => i64::from(word),
                None => return Err(Error::usage(format!("`{label}` is no register, size or label"))),
            },
        };
        Ok(value)
    }

    fn memory(&self, addr: u64, bytes: u64) -> Result<i64> {
        let bytes = self.now.vm.peek(addr, bytes).map_err(|trap| Error::usage(trap.message().to_string()))?;
        Ok(bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)) as i64)
    }
}

/// `ADDR[:BYTES]`, both expressions.
///
/// # Errors
/// Usage that says what is wrong.
fn range(text: &str, scope: &dyn Scope, default_bytes: u64) -> Result<(u64, u64)> {
    let (addr, bytes) = text.split_once(':').map_or((text, None), |(addr, bytes)| (addr, Some(bytes)));
    let addr = expr::parse(addr)?.value(scope)? as u64;
    let bytes = match bytes {
        Some(bytes) => expr::parse(bytes)?.value(scope)?,
        None => default_bytes as i64,
    };
    match u64::try_from(bytes) {
        Ok(bytes) if (1..=print::MOST_BYTES).contains(&bytes) => Ok((addr, bytes)),
        _ => Err(Error::usage(format!("{bytes} bytes; from 1 to {} can be looked at", print::MOST_BYTES))),
    }
}
