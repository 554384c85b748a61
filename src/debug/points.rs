//! Breakpoints and watchpoints.

use super::expr::{Expr, Scope};
use super::moment::Moment;
use super::print;
use crate::diag::{Error, Result};
use crate::isa::table::RegClass;

/// Where to stop before a word runs.
#[derive(Debug)]
struct Break {
    number: usize,
    word: u32,
    /// As typed, and parsed.
    condition: Option<(String, Expr)>,
    hits: u64,
}

/// What a watchpoint looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Bytes of memory: address, number.
    Memory(u64, u64),
    /// A register.
    Register(RegClass, u8),
}

impl Watched {
    fn name(self) -> String {
        match self {
            Watched::Memory(addr, bytes) => format!("{addr:#x}:{bytes}"),
            Watched::Register(class, n) => format!("{}{n}", class.letter()),
        }
    }

    /// What is there now, as bytes that differ if it differs.
    ///
    /// # Errors
    /// Usage for memory that does not exist and registers that cannot be watched.
    fn value(self, now: &Moment) -> Result<Vec<u8>> {
        let vm = &now.vm;
        Ok(match self {
            Watched::Memory(addr, bytes) => {
                vm.peek(addr, bytes).map_err(|trap| Error::usage(trap.message().to_string()))?
            }
            Watched::Register(RegClass::X, n) => vm.x(n).unwrap_or_default().to_le_bytes().to_vec(),
            Watched::Register(RegClass::V, n) => vm.v(n).unwrap_or_default().to_vec(),
            Watched::Register(RegClass::P, n) => {
                let bits = (0..vm.mask_len(n)).map(|bit| u8::from(vm.p(n, bit) == Some(true)));
                vm.mask_len(n).to_le_bytes().into_iter().chain(bits).collect()
            }
            Watched::Register(RegClass::Q, n) => {
                vm.q(n).unwrap_or_default().iter().flat_map(|entry| entry.to_bits().to_le_bytes()).collect()
            }
            Watched::Register(RegClass::C, n) => {
                let (rows, cols) = (vm.config().acc_rows as usize, vm.config().acc_cols as usize);
                let entries = (0..rows * cols).map(|at| vm.c(n, at / cols, at % cols).unwrap_or_default().to_bits());
                entries.flat_map(u32::to_le_bytes).collect()
            }
            Watched::Register(RegClass::F, n) => vm.slot(n).map_or(Vec::new(), |format| format.name.clone().into()),
            Watched::Register(..) => return Err(Error::usage(format!("{} cannot be watched", self.name()))),
        })
    }
}

#[derive(Debug)]
struct Watch {
    number: usize,
    what: Watched,
    last: Vec<u8>,
    hits: u64,
}

/// All of them, numbered in the order in which they were set.
#[derive(Debug, Default)]
pub struct Points {
    last: usize,
    breaks: Vec<Break>,
    watches: Vec<Watch>,
}

impl Points {
    /// Sets a breakpoint; gives its number.
    pub fn set_break(&mut self, word: u32, condition: Option<(String, Expr)>) -> usize {
        self.last += 1;
        self.breaks.push(Break { number: self.last, word, condition, hits: 0 });
        self.last
    }

    /// Sets a watchpoint; gives its number.
    ///
    /// # Errors
    /// Usage if there is nothing to watch.
    pub fn set_watch(&mut self, what: Watched, now: &Moment) -> Result<usize> {
        let last = what.value(now)?;
        self.last += 1;
        self.watches.push(Watch { number: self.last, what, last, hits: 0 });
        Ok(self.last)
    }

    /// Removes one by its number, or all.
    ///
    /// # Errors
    /// Usage if there is none of that number.
    pub fn delete(&mut self, number: Option<usize>) -> Result<()> {
        let before = self.breaks.len() + self.watches.len();
        self.breaks.retain(|point| number.is_some_and(|number| number != point.number));
        self.watches.retain(|point| number.is_some_and(|number| number != point.number));
        match number {
            Some(number) if before == self.breaks.len() + self.watches.len() => {
                Err(Error::usage(format!("there is no breakpoint {number}")).help("`info breakpoints` lists them"))
            }
            _ => Ok(()),
        }
    }

    /// Words that have a breakpoint.
    pub fn words(&self) -> Vec<u32> {
        self.breaks.iter().map(|point| point.word).collect()
    }

    /// The breakpoint at which the run stops before `word`; a condition that has no value stops too and says why.
    pub fn stops_at(&mut self, word: u32, scope: &dyn Scope) -> Option<String> {
        for point in self.breaks.iter_mut().filter(|point| point.word == word) {
            let verdict = point.condition.as_ref().map_or(Ok(1), |(_, condition)| condition.value(scope));
            let remark = match verdict {
                Ok(0) => continue,
                Ok(_) => String::new(),
                Err(error) => format!(", whose condition has no value: {error}"),
            };
            point.hits += 1;
            return Some(format!("breakpoint {}{remark}\n", point.number));
        }
        None
    }

    /// What the last instruction changed of what is watched; takes note of the new values.
    pub fn changed(&mut self, now: &Moment) -> Option<String> {
        let mut out = String::new();
        for watch in &mut self.watches {
            let Ok(value) = watch.what.value(now) else { continue };
            if value != watch.last {
                watch.hits += 1;
                let (old, new) = (brief(&watch.last, &value), brief(&value, &watch.last));
                out += &format!("watchpoint {}: {} was {old}, is {new}\n", watch.number, watch.what.name());
                watch.last = value;
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Takes note of the values after a jump in time.
    pub fn refresh(&mut self, now: &Moment) {
        for watch in &mut self.watches {
            watch.last = watch.what.value(now).unwrap_or_default();
        }
    }

    /// One line each; `place` names a word.
    pub fn list(&self, place: impl Fn(u32) -> String) -> String {
        let hits = |hits: u64| match hits {
            0 => String::new(),
            1 => ", hit once".to_string(),
            n => format!(", hit {n} times"),
        };
        let breaks = self.breaks.iter().map(|point| {
            let condition = point.condition.as_ref().map_or(String::new(), |(text, _)| format!(" if {text}"));
            (point.number, format!("{:<3} break {}{condition}{}\n", point.number, place(point.word), hits(point.hits)))
        });
        let watches = self.watches.iter().map(|watch| {
            (watch.number, format!("{:<3} watch {}{}\n", watch.number, watch.what.name(), hits(watch.hits)))
        });
        let mut rows: Vec<(usize, String)> = breaks.chain(watches).collect();
        rows.sort();
        if rows.is_empty() { "no breakpoints\n".into() } else { rows.into_iter().map(|(_, row)| row).collect() }
    }
}

/// A value in a few characters: an integer up to 8 bytes, else up to 8 bytes from the first that differs from `other`.
fn brief(value: &[u8], other: &[u8]) -> String {
    if let Ok(bytes) = value.try_into() {
        return format!("{:#x}", u64::from_le_bytes(bytes));
    }
    if value.len() < 8 {
        return format!("{:#x}", value.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let from = value.iter().zip(other).position(|(a, b)| a != b).unwrap_or(0);
    let shown: Vec<String> = value[from..].iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let more = if value.len() > from + 8 { " .." } else { "" };
    format!("{}{more} at byte {from}", shown.join(" "))
}

/// What `watch` is asked to look at: a register, or ADDR[:BYTES] with 8 bytes if none are given.
///
/// # Errors
/// Usage that says what is wrong.
pub fn watched(text: &str, scope: &dyn Scope) -> Result<Watched> {
    if let Some((class, n)) = print::register(text) {
        return Ok(Watched::Register(class, n));
    }
    let (addr, bytes) = super::range(text, scope, 8)?;
    if bytes > 4096 {
        return Err(Error::usage("at most 4096 bytes can be watched"));
    }
    Ok(Watched::Memory(addr, bytes))
}
