//! The commands, one row each: the table finds them, explains them and runs them.

use super::clock::View;
use super::expr;
use super::print::{self, As};
use super::{Debugger, Goal, Names, Reply, points, range};
use crate::diag::{Error, Result, did_you_mean};
use crate::isa::table::RegClass;
use crate::sim::{Estimate, GROUPS, picojoule};

/// One command.
#[derive(Debug)]
pub struct Command {
    /// Its name, with its short forms.
    pub names: &'static [&'static str],
    /// Its arguments, as the help writes them.
    pub arguments: &'static str,
    /// What it does, in one sentence.
    pub help: &'static str,
    run: fn(&mut Debugger, &str) -> Result<String>,
}

/// All commands but `quit`, in the order of the help.
#[rustfmt::skip] // one command a line
pub const COMMANDS: &[Command] = &[
    Command { names: &["step", "s", "si"], arguments: "[N]", help: "run one instruction, or N", run: step },
    Command { names: &["reverse-step", "rs"], arguments: "[N]", help: "go back one instruction, or N, with registers, memory and clock", run: reverse_step },
    Command { names: &["continue", "c"], arguments: "", help: "run to the next breakpoint, watchpoint, trap or halt", run: go_on },
    Command { names: &["until", "u"], arguments: "LOCATION", help: "run until the program comes to a location", run: until },
    Command { names: &["finish"], arguments: "", help: "run until the function returns", run: finish },
    Command { names: &["run", "r"], arguments: "", help: "begin anew and run", run: run_command },
    Command { names: &["restart"], arguments: "", help: "begin anew and stop before the first instruction", run: restart },
    Command { names: &["break", "b"], arguments: "LOCATION [if EXPR]", help: "stop before LINE, FILE:LINE, LABEL, LABEL+N or *WORD", run: set_break },
    Command { names: &["watch", "w"], arguments: "ADDR[:BYTES]|REGISTER", help: "stop after an instruction that changes it", run: watch },
    Command { names: &["info", "i"], arguments: "breakpoints", help: "list breakpoints and watchpoints", run: info },
    Command { names: &["delete", "d"], arguments: "[NUMBER]", help: "remove a breakpoint or watchpoint, or all", run: delete },
    Command { names: &["print", "p"], arguments: "[REGISTER|EXPR|ADDR:BYTES [as FORMAT]]", help: "show a value; FORMAT is a number format, `hex` or `bits`; alone: the scalar registers", run: show },
    Command { names: &["x"], arguments: "ADDR[:BYTES] [as FORMAT]", help: "show memory, 64 bytes if no number is given", run: memory },
    Command { names: &["list", "l"], arguments: "[LOCATION]", help: "show the source around the next instruction, a location, or further on", run: list },
    Command { names: &["stalls"], arguments: "[CYCLE]", help: "which unit waits for what, since when, and what holds it up", run: stalls },
    Command { names: &["units"], arguments: "[CYCLE]", help: "what every unit is doing", run: units },
    Command { names: &["timeline", "t"], arguments: "[CYCLES]", help: "one line a unit over the last cycles", run: timeline },
    Command { names: &["energy"], arguments: "", help: "energy so far, by group", run: energy },
    Command { names: &["where"], arguments: "", help: "the next instruction, its operands and the running loops", run: place },
    Command { names: &["help", "h"], arguments: "[COMMAND]", help: "this list, or one command", run: help },
];

/// Runs a line.
pub(super) fn run(debugger: &mut Debugger, line: &str) -> Result<Reply> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Reply { text: String::new(), ended: false });
    }
    let (word, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if matches!(word, "quit" | "q" | "exit") {
        return Ok(Reply { text: String::new(), ended: true });
    }
    let text = (find(word)?.run)(debugger, arguments.trim())?;
    Ok(Reply { text, ended: false })
}

/// The command of a name, a short form, or an unambiguous beginning.
fn find(word: &str) -> Result<&'static Command> {
    if let Some(command) = COMMANDS.iter().find(|command| command.names.contains(&word)) {
        return Ok(command);
    }
    let begins: Vec<&Command> = COMMANDS.iter().filter(|command| command.names[0].starts_with(word)).collect();
    match begins.as_slice() {
        [one] => Ok(one),
        [] => {
            let near = did_you_mean(word, COMMANDS.iter().map(|command| command.names[0]));
            let help = near.map_or("`help` lists the commands".into(), |near| format!("did you mean `{near}`?"));
            Err(Error::usage(format!("there is no command `{word}`")).help(help))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|command| command.names[0]).collect();
            Err(Error::usage(format!("`{word}` may be {}", names.join(" or "))))
        }
    }
}

fn count(text: &str, default: u64) -> Result<u64> {
    if text.is_empty() {
        return Ok(default);
    }
    let number = expr::number(text).and_then(|n| u64::try_from(n).ok());
    number.ok_or_else(|| Error::usage(format!("`{text}` is no number; write a whole number that is not negative")))
}

fn nothing(text: &str) -> Result<()> {
    if text.is_empty() { Ok(()) } else { Err(Error::usage(format!("`{text}`: this command takes no arguments"))) }
}

fn step(debugger: &mut Debugger, text: &str) -> Result<String> {
    let steps = count(text, 1)?;
    debugger.go(Goal::Steps(steps))
}

fn reverse_step(debugger: &mut Debugger, text: &str) -> Result<String> {
    let steps = count(text, 1)?;
    let now = debugger.now.steps;
    if now == 0 {
        return Err(Error::usage("this is the beginning"));
    }
    let remark = if steps > now { "this is the beginning\n" } else { "" };
    Ok(remark.to_string() + &debugger.go_back(now.saturating_sub(steps)))
}

fn go_on(debugger: &mut Debugger, text: &str) -> Result<String> {
    nothing(text)?;
    debugger.go(Goal::Far)
}

fn until(debugger: &mut Debugger, text: &str) -> Result<String> {
    if text.is_empty() {
        return Err(Error::usage("`until` needs a location: LINE, FILE:LINE, LABEL, LABEL+N or *WORD"));
    }
    let word = debugger.program.locate(text, debugger.now.vm.pc())?;
    debugger.go(Goal::Word(word))
}

fn finish(debugger: &mut Debugger, text: &str) -> Result<String> {
    nothing(text)?;
    debugger.go(Goal::Depth(debugger.now.depth))
}

fn run_anew(debugger: &mut Debugger) -> String {
    debugger.go_back(debugger.history.origin().steps)
}

fn restart(debugger: &mut Debugger, text: &str) -> Result<String> {
    nothing(text)?;
    Ok(run_anew(debugger))
}

fn run_command(debugger: &mut Debugger, text: &str) -> Result<String> {
    nothing(text)?;
    run_anew(debugger);
    debugger.go(Goal::Far)
}

fn set_break(debugger: &mut Debugger, text: &str) -> Result<String> {
    let (place, condition) = match text.split_once(" if ") {
        Some((place, condition)) => (place.trim(), Some(condition.trim())),
        None => (text, None),
    };
    let pc = debugger.now.vm.pc();
    let word = if place.is_empty() { pc } else { debugger.program.locate(place, pc)? };
    let condition = condition.map(|text| expr::parse(text).map(|parsed| (text.to_string(), parsed))).transpose()?;
    if let Some((_, condition)) = &condition {
        // A name that means nothing now will mean nothing later; memory may come to exist.
        let names = Names { now: &debugger.now, program: &debugger.program };
        condition.names().try_for_each(|name| expr::Scope::name(&names, name).map(drop))?;
    }
    let number = debugger.points.set_break(word, condition);
    Ok(format!("breakpoint {number} at {}\n", debugger.program.place(word)))
}

fn watch(debugger: &mut Debugger, text: &str) -> Result<String> {
    let what = points::watched(text, &Names { now: &debugger.now, program: &debugger.program })?;
    let number = debugger.points.set_watch(what, &debugger.now)?;
    Ok(format!("watchpoint {number} on {text}\n"))
}

fn info(debugger: &mut Debugger, text: &str) -> Result<String> {
    if !text.is_empty() && !"breakpoints".starts_with(text) && !"watchpoints".starts_with(text) {
        return Err(Error::usage(format!("`info {text}` does not exist; `info breakpoints` does")));
    }
    Ok(debugger.points.list(|word| debugger.program.place(word)))
}

fn delete(debugger: &mut Debugger, text: &str) -> Result<String> {
    let number = if text.is_empty() { None } else { Some(count(text, 0)? as usize) };
    debugger.points.delete(number)?;
    Ok(String::new())
}

/// Splits `as FORMAT` off.
fn how(text: &str) -> Result<(&str, As)> {
    match text.rsplit_once(" as ") {
        Some((what, name)) => Ok((what.trim(), As::parse(name.trim())?)),
        None => Ok((text, As::Plain)),
    }
}

fn show(debugger: &mut Debugger, text: &str) -> Result<String> {
    let (what, how) = how(text)?;
    if what.is_empty() {
        let known = (1..32).filter(|n| debugger.now.vm.x(*n) != Some(0));
        let rows: Result<String> = known.map(|n| print::show(&debugger.now, (RegClass::X, n), As::Plain)).collect();
        return rows.map(|rows| if rows.is_empty() { "all scalar registers are 0\n".into() } else { rows });
    }
    if let Some(register) = print::register(what) {
        return print::show(&debugger.now, register, how);
    }
    if what.contains(':') {
        return dump(debugger, what, how, 64);
    }
    let value = expr::parse(what)?.value(&Names { now: &debugger.now, program: &debugger.program })?;
    Ok(print::scalar(what, Some(value as u64), how))
}

fn dump(debugger: &Debugger, text: &str, how: As, default_bytes: u64) -> Result<String> {
    let scope = Names { now: &debugger.now, program: &debugger.program };
    let (addr, bytes) = range(text, &scope, default_bytes)?;
    let bytes = debugger.now.vm.peek(addr, bytes).map_err(|trap| Error::usage(trap.message().to_string()))?;
    Ok(print::memory(addr, &bytes, how))
}

fn memory(debugger: &mut Debugger, text: &str) -> Result<String> {
    let (what, how) = how(text)?;
    if what.is_empty() {
        return Err(Error::usage("`x` needs an address: ADDR[:BYTES]"));
    }
    dump(debugger, what, how, 64)
}

fn list(debugger: &mut Debugger, text: &str) -> Result<String> {
    let pc = debugger.now.vm.pc();
    let word = match (text.is_empty(), debugger.listed) {
        (true, None) => pc,
        (true, Some(last)) => debugger.program.further(last),
        (false, _) => debugger.program.locate(text, pc)?,
    };
    debugger.listed = Some(word);
    Ok(debugger.program.list(word, pc, &debugger.points.words()))
}

/// The machine in the cycle asked for, or the last one that has passed.
fn view<'a>(debugger: &'a Debugger, text: &str) -> Result<View<'a>> {
    let mut view = View::new(&debugger.program, &debugger.now);
    let at = count(text, view.at)?;
    if at > view.at {
        return Err(Error::usage(format!("cycle {at} has not come; the last one is {}", view.at)));
    }
    view.at = at;
    Ok(view)
}

fn stalls(debugger: &mut Debugger, text: &str) -> Result<String> {
    Ok(view(debugger, text)?.stalls())
}

fn units(debugger: &mut Debugger, text: &str) -> Result<String> {
    Ok(view(debugger, text)?.units())
}

fn timeline(debugger: &mut Debugger, text: &str) -> Result<String> {
    let cycles = count(text, 64)?;
    if !(1..=100_000).contains(&cycles) {
        return Err(Error::usage("a timeline shows 1 to 100000 cycles"));
    }
    Ok(view(debugger, "")?.timeline(cycles))
}

fn energy(debugger: &mut Debugger, text: &str) -> Result<String> {
    nothing(text)?;
    let outcome = debugger.now.sim.clone().finish()?;
    let energy = outcome.ledger.energy(&debugger.machine)?;
    let total = energy.total(Estimate::Typical);
    let mut out = String::new();
    for (name, part) in GROUPS.iter().zip(energy.groups()) {
        let share = if total > 0 { (part * 100 + total / 2) / total } else { 0 };
        out += &format!("{name:<12}{:>16.1} pJ  {share:>3} %\n", picojoule(part));
    }
    let cycles = outcome.timing.cycles;
    Ok(out
        + &format!("{:<12}{:>16.1} pJ  if the program ended here, after {cycles} cycles\n", "total", picojoule(total)))
}

fn place(debugger: &mut Debugger, text: &str) -> Result<String> {
    nothing(text)?;
    let mut out = debugger.place();
    let word = debugger.program.object().words.get(debugger.now.vm.pc() as usize);
    if let Some(inst) = word.and_then(|word| crate::isa::decode(*word).ok()) {
        out += &format!("instruction: {}\n", debugger.program.text(debugger.now.vm.pc()));
        for (name, value) in debugger.now.vm.operand_values(&inst) {
            out += &format!("  {name} = {value}\n");
        }
    }
    for (start, end, left) in debugger.now.vm.loops() {
        out += &format!("loop: words {start} to {end}, {left} left\n");
    }
    Ok(out)
}

fn help(_: &mut Debugger, text: &str) -> Result<String> {
    let line = |command: &Command| {
        let head = format!("{} {}", command.names.join(", "), command.arguments);
        if head.len() < 34 {
            format!("{head:<34}{}\n", command.help)
        } else {
            format!("{head}\n{:34}{}\n", "", command.help)
        }
    };
    if !text.is_empty() {
        return find(text).map(line);
    }
    Ok(COMMANDS.iter().map(line).collect::<String>() + &format!("{:<34}end the session\n", "quit, q"))
}
