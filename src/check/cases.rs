//! The runner of `.test` blocks (docs/assembler.md): every case at every vector length that it names, and on every
//! machine whose cycles it states.
//!
//! A case runs until `halt`, or until the `ret` that matches its call: `x1` points at a `halt` behind the program, so
//! that kernels need no driver. A program with parameters finds their block at `x10`.

use crate::diag::{Error, Explanation, Kind, Place, Result};
use crate::exec::{Config, Event, Mode, Status, Vm};
use crate::isa::asm::{Case, Expect, Looked, unpack};
use crate::isa::object::CONTROL_BASE;
use crate::isa::{Inst, Object, Op};
use crate::machine::{self, Machine};
use crate::sim::Sim;
use std::collections::BTreeMap;

/// Codes of failures, for `preon explain`.
pub const CODES: &[Explanation] = &[
    Explanation {
        code: "E0201",
        what: "A test found another value in a register or in memory than it expects.",
        more: "The message names the first wrong element; values are compared bit for bit, so -0 is not 0. A program whose \
               results depend on VLEN fails at some lengths only.",
        wrong: ".expect y, fp32: 0    # y holds -0",
        right: ".expect y, fp32: -0",
    },
    Explanation {
        code: "E0202",
        what: "A test ended otherwise than it expects: with a trap, without one, or with another one.",
        more: "The message gives the trap with its source line. A program that never halts ends with the trap FUEL.",
        wrong: ".trap ADDR            # the address is odd: the trap is ALIGN",
        right: ".trap ALIGN",
    },
    Explanation {
        code: "E0203",
        what: "A test took another number of cycles on a machine than it states.",
        more: "`preon test --bless FILE` writes the measured figures into the text; look at them before you keep them.",
        wrong: ".cycles edge, 0",
        right: ".cycles edge, 43",
    },
];

/// Instructions after which a case is given up, in the units of [`Config::fuel`].
const FUEL: u64 = 20_000_000;
/// Columns of the accumulators of the plain machine by vector length, from 32 bits on.
const COLUMNS: [u32; 10] = [1, 4, 3, 5, 8, 16, 16, 16, 32, 32];

/// One execution of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Vector length or machine, as messages name it.
    pub on: String,
    /// Cycles, where a machine was named.
    pub cycles: Option<u64>,
}

/// What came of one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Name of the case.
    pub name: String,
    /// Where its name stands.
    pub place: Place,
    /// Executions in order.
    pub runs: Vec<Run>,
    /// Expectations that failed: at most one of each, at the first place where it did.
    pub failures: Vec<Error>,
    /// Figures of `.cycles` that differ: where the figure stands, and what was measured.
    pub measured: Vec<(Place, u64)>,
}

/// Runs one case at all its vector lengths and on the machines of its `.cycles`; with `only`, on that machine alone.
///
/// # Errors
/// Unsupported or usage for a machine that is unknown or cannot hold the program; what the case expects and does not
/// find is in [`Outcome::failures`].
pub fn run(case: &Case, only: Option<&Machine>) -> Result<Outcome> {
    let mut bench = Bench::new(case)?;
    if let Some(machine) = only {
        bench.on_machine(machine)?;
        return Ok(bench.outcome);
    }
    for vlen in &case.vlens {
        let (rows, cols) = case.tile.unwrap_or((4, COLUMNS[(vlen.ilog2() as usize - 5) % COLUMNS.len()]));
        bench.execute(&plain(*vlen, rows, cols), &format!("VLEN {vlen}"), None)?;
    }
    let mut seen = BTreeMap::new();
    for stated in &case.cycles {
        if seen.insert(&stated.machine, ()).is_none() {
            let machine = machine::load(&stated.machine).map_err(|error| error.at(stated.place.clone()))?;
            bench.on_machine(&machine)?;
        }
    }
    Ok(bench.outcome)
}

/// A roomy machine of the given sizes: what is computed must not depend on anything else.
fn plain(vlen_bits: u32, acc_rows: u32, acc_cols: u32) -> Config {
    Config {
        vlen_bits,
        acc_rows,
        acc_cols,
        skip_granule: [1, 1],
        array_block: [1 << 14, 1 << 16],
        tile_k: 1 << 16,
        scale_entries: acc_rows.max(acc_cols).max(16),
        sram_bytes: 1 << 20,
        shared_bytes: 1 << 20,
        control_bytes: 1 << 20,
        dram_bytes: 1 << 32,
        cores: 1,
        fuel: Some(FUEL),
    }
}

/// A case being run.
struct Bench<'a> {
    case: &'a Case,
    /// The program with a `halt` behind it.
    object: std::sync::Arc<Object>,
    /// Address of the parameter block.
    block: u64,
    /// Expectations that have failed: what failed at one length fails at the next.
    failed: Vec<bool>,
    outcome: Outcome,
}

impl<'a> Bench<'a> {
    fn new(case: &'a Case) -> Result<Self> {
        if let Some((_, name)) = case.object.externs.first() {
            let message = format!("a test cannot call `{name}`, which only linking supplies");
            return Err(Error::unsupported(message).at(case.place.clone()));
        }
        let mut object = case.object.clone();
        object.words.push(Inst::new(Op::Halt).encode());
        let block = CONTROL_BASE + (object.control.len() as u64).next_multiple_of(64);
        let end = block + 8 * case.params.len() as u64;
        let hits = |(at, bytes): &&(u64, Vec<u8>)| *at < end && at.saturating_add(bytes.len() as u64) > block;
        if let Some((at, _)) = case.memory.iter().find(hits) {
            let message = format!("memory at {at:#x} lies in the parameter block ({block:#x} to {end:#x})");
            return Err(Error::bad_input(message).code("E0119").at(case.place.clone()));
        }
        let outcome = Outcome {
            name: case.name.clone(),
            place: case.place.clone(),
            runs: Vec::new(),
            failures: Vec::new(),
            measured: Vec::new(),
        };
        Ok(Bench { case, object: object.into(), block, failed: vec![false; case.expect.len()], outcome })
    }

    fn on_machine(&mut self, machine: &Machine) -> Result<()> {
        let config = Config { fuel: Some(FUEL), ..Config::of(machine) };
        self.execute(&config, &format!("on {}", machine.name), Some(machine))
    }

    /// One run, its expectations, and its cycles if a machine is named.
    fn execute(&mut self, config: &Config, on: &str, machine: Option<&Machine>) -> Result<()> {
        let place = || self.case.place.clone();
        let mut vm = Vm::new(self.object.clone(), config.clone(), Mode::Functional).map_err(|e| e.at(place()))?;
        self.prepare(&mut vm).map_err(|trap| Error::bad_input(trap.message()).code("E0119").at(place()))?;
        let mut sim = machine.map(|machine| Sim::new(machine, 0));
        let mut event = Event::new();
        let end = loop {
            match vm.step(&mut event) {
                Ok(status) => {
                    if let Some(sim) = &mut sim {
                        sim.account(&event);
                    }
                    if status == Status::Halted {
                        break None;
                    }
                }
                Err(trap) => break Some(trap),
            }
        };
        let mut run = Run { on: on.to_string(), cycles: None };
        match (end, &self.case.trap) {
            (Some(trap), Some((wanted, _))) if trap.kind().name() == wanted => {}
            (Some(trap), wanted) => {
                let at = wanted.as_ref().map_or(&self.case.place, |(_, place)| place).clone();
                let line = trap.line().map_or(String::new(), |(file, line)| format!(" ({file}:{line})"));
                let wanted = wanted.as_ref().map_or("its end".to_string(), |(kind, _)| format!("trap {kind}"));
                self.fail("E0202", at, on, format!("expected {wanted}, got {trap}{line}"));
                self.outcome.runs.push(run);
                return Ok(());
            }
            (None, Some((wanted, at))) => {
                self.fail("E0202", at.clone(), on, format!("expected trap {wanted}, got the end of the program"));
            }
            (None, None) => {}
        }
        self.compare(&mut vm, on);
        if let (Some(sim), Some(machine), None) = (sim, machine, &self.case.trap) {
            let cycles = sim.finish().map_err(|error| error.at(place()))?.timing.cycles;
            run.cycles = Some(cycles);
            self.compare_cycles(machine, cycles);
        }
        self.outcome.runs.push(run);
        Ok(())
    }

    /// Registers, parameters and memory as the case gives them.
    fn prepare(&self, vm: &mut Vm) -> crate::exec::Result<()> {
        for (address, bytes) in &self.case.memory {
            vm.write(*address, bytes)?;
        }
        if !self.case.params.is_empty() {
            let bytes: Vec<u8> = self.case.params.iter().flat_map(|value| value.to_le_bytes()).collect();
            vm.write(self.block, &bytes)?;
            vm.set_x(10, self.block);
        }
        vm.set_x(1, self.object.words.len() as u64 - 1);
        self.case.registers.iter().for_each(|(number, value)| vm.set_x(*number, *value));
        Ok(())
    }

    fn fail(&mut self, code: &'static str, place: Place, on: &str, what: String) {
        let known = |failure: &Error| failure.place() == &place;
        if self.outcome.failures.iter().any(known) {
            return;
        }
        let message = format!("test `{}`, {on}: {what}", self.case.name);
        self.outcome.failures.push(Error::new(Kind::CheckFailed, message).code(code).at(place));
    }

    fn compare(&mut self, vm: &mut Vm, on: &str) {
        for (index, expect) in self.case.expect.iter().enumerate() {
            if self.failed[index] {
                continue;
            }
            if let Some(what) = difference(expect, vm) {
                self.failed[index] = true;
                self.fail("E0201", expect.place.clone(), on, what);
            }
        }
    }

    fn compare_cycles(&mut self, machine: &Machine, cycles: u64) {
        let wrong = self.case.cycles.iter().filter(|stated| stated.machine == machine.name && stated.count != cycles);
        for stated in wrong {
            self.outcome.measured.push((stated.place.clone(), cycles));
            let what = format!("expected {} cycles, got {cycles}", stated.count);
            self.fail("E0203", stated.place.clone(), &format!("on {}", machine.name), what);
        }
    }
}

/// How what an expectation looks at differs from it: the first wrong element, and how many there are.
fn difference(expect: &Expect, vm: &mut Vm) -> Option<String> {
    let shown = &expect.shown;
    let got = match found(expect, vm) {
        Ok(got) => got,
        Err(why) => return Some(format!("`{shown}` cannot be read: {why}")),
    };
    if got.len() < expect.codes.len() {
        return Some(format!("`{shown}` has {} elements, {} are expected", got.len(), expect.codes.len()));
    }
    let pairs = || expect.codes.iter().zip(&got).enumerate().filter(|(_, (wanted, got))| wanted != got);
    let (at, (wanted, have)) = pairs().next()?;
    let (wanted, have) = (expect.layout.show(*wanted), expect.layout.show(*have));
    if expect.codes.len() == 1 {
        return Some(format!("`{shown}`: expected {wanted}, got {have}"));
    }
    let others = match pairs().count() - 1 {
        0 => String::new(),
        count => format!("; {count} more of {} differ", expect.codes.len()),
    };
    Some(format!("element {at} of `{shown}`: expected {wanted}, got {have}{others}"))
}

/// The codes that stand where the expectation looks.
fn found(expect: &Expect, vm: &mut Vm) -> std::result::Result<Vec<u64>, String> {
    let count = expect.codes.len();
    let gone = || "it has no value".to_string();
    Ok(match expect.what {
        Looked::X(number) => vec![vm.x(number).ok_or_else(gone)?],
        Looked::V(number) => unpack(expect.layout.register_bits(), vm.v(number).ok_or_else(gone)?, count),
        Looked::P(number) => {
            let held = count.min(vm.config().vlen_bits as usize);
            let bits = (0..held as u32).map(|at| vm.p(number, at).map(u64::from));
            bits.collect::<Option<_>>().ok_or_else(gone)?
        }
        Looked::Q(number) => {
            vm.q(number).ok_or_else(gone)?.iter().take(count).map(|value| u64::from(value.to_bits())).collect()
        }
        Looked::C(number, row) => {
            let config = vm.config();
            if row >= config.acc_rows {
                return Err(format!("tiles have {} rows", config.acc_rows));
            }
            let held = count.min(config.acc_cols as usize);
            let values = (0..held).map(|at| vm.c(number, row as usize, at).map(|value| u64::from(value.to_bits())));
            values.collect::<Option<_>>().ok_or_else(gone)?
        }
        Looked::Memory(address) => {
            let bits = expect.layout.bits();
            let bytes = vm.read(address, (count as u64 * u64::from(bits)).div_ceil(8));
            unpack(bits, bytes.map_err(|trap| trap.message().to_string())?, count)
        }
    })
}

/// The text of the file called `path` with the figures of its `.cycles` replaced by the measured ones.
pub fn bless(path: &str, text: &str, outcomes: &[Outcome]) -> String {
    let mut edits: Vec<(std::ops::Range<usize>, u64)> = Vec::new();
    for (place, cycles) in outcomes.iter().flat_map(|outcome| &outcome.measured) {
        match place {
            Place::Source { path: file, span, .. } if file == path => edits.push((span.clone(), *cycles)),
            _ => {}
        }
    }
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    edits.dedup();
    let mut text = text.to_string();
    for (span, cycles) in edits {
        if is_figure(&text, &span) {
            text.replace_range(span, &cycles.to_string());
        }
    }
    text
}

/// Whether a number stands alone there: of an expression only its author knows what to change.
pub fn is_figure(text: &str, span: &std::ops::Range<usize>) -> bool {
    let (Some(before), Some(figure), Some(after)) =
        (text.get(..span.start), text.get(span.clone()), text.get(span.end..))
    else {
        return false;
    };
    let after = after.lines().next().unwrap_or_default().trim_start();
    let ends = after.is_empty() || ["#", ";", "//", "/*"].iter().any(|mark| after.starts_with(mark));
    ends && before.trim_end().ends_with(',') && figure.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::asm::{Options, Sources, tests};

    fn cases(text: &str) -> Vec<Case> {
        tests(&Sources::single("t.vasm", text), &Options::default()).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn outcome(text: &str) -> Outcome {
        run(&cases(text)[0], None).unwrap()
    }

    fn failures(text: &str) -> Vec<String> {
        outcome(text).failures.iter().map(|failure| failure.render(false)).collect()
    }

    const SCALE: &str = "\
.param n, x
.format F = int8
.equ STEP, 4
    lw.d x2, x(x10)
    lw.w x5, 0(x2)
    lw.d x3, n(x10)
    mul  x5, x5, x3
    add  x5, x5, STEP
    sw.w x5, 8(x2)
    ret
";

    #[test]
    fn a_kernel_is_called_with_its_parameters_and_returns() {
        let text = format!(
            "{SCALE}.test \"seven\"\n .equ STEP, 1\n .param n = 3, x = sram + 64\n .mem sram + 64, word: 7\n\
             .expect sram + 72, word: 22\n .expect x5 = 22, x3 = 3\n.endt\n"
        );
        let outcome = outcome(&text);
        assert_eq!(outcome.failures.len(), 0, "{:?}", outcome.failures);
        assert_eq!(
            outcome.runs.iter().map(|run| &run.on[..]).collect::<Vec<_>>(),
            ["VLEN 32", "VLEN 512", "VLEN 4096", "VLEN 16384"]
        );
    }

    #[test]
    fn a_wrong_value_names_test_place_element_and_both_values() {
        let text = format!("{SCALE}.test \"seven\"\n .param x = sram\n .expect sram + 4, half: 0, 0, 5, 1\n.endt\n");
        let shown = failures(&text);
        assert_eq!(shown.len(), 1, "told once, not at every length: {shown:?}");
        for needle in [
            "error[E0201]: test `seven`, VLEN 32: element 2 of `sram + 4`: expected 5 (0x0005), got 4 (0x0004); 1 more of 4",
            "t.vasm:13:10",
        ] {
            assert!(shown[0].contains(needle), "{needle}\n{}", shown[0]);
        }
    }

    #[test]
    fn traps_are_expected_or_reported() {
        let text =
            |trap: &str| format!("li x2, 4\nlw.w x1, 0(x2)\nhalt\n.test \"odd\"\n{trap}\n.expect x2 = 4\n.endt\n");
        assert_eq!(failures(&text(".trap addr")).len(), 0);
        assert!(failures(&text(".trap ALIGN"))[0].contains("expected trap ALIGN, got trap ADDR"));
        assert!(failures(&text(""))[0].contains("expected its end, got trap ADDR at word 1"));
        assert!(failures("halt\n.test \"no\"\n.trap FUEL\n.endt\n")[0].contains("got the end of the program"));
    }

    #[test]
    fn cycles_are_those_of_the_named_machine_and_can_be_blessed() {
        let text = "li x2, 3\nhalt\n.test \"fast\"\n.cycles edge, 9999\n.endt\n";
        let outcome = outcome(text);
        let cycles = outcome.runs.last().and_then(|run| run.cycles).expect("cycles");
        assert!(outcome.failures[0].to_string().contains(&format!("expected 9999 cycles, got {cycles}")));
        let blessed = bless("t.vasm", text, &[outcome]);
        assert_eq!(blessed, text.replace("9999", &cycles.to_string()));
        assert_eq!(failures(&blessed).len(), 0);
        let unknown = run(&cases("halt\n.test \"m\"\n.cycles egde, 1\n.endt\n")[0], None).unwrap_err();
        assert!(unknown.to_string().contains("edge"), "{unknown}");
    }

    #[test]
    fn registers_of_every_class_can_be_expected() {
        let text = "\
.control
data: .byte 1, 2, 0xfd, 4
bits: .byte 0b0101
.code
    .fmt f1=int8
    li x2, data
    li x3, 4
    setvl x4, x3, f1, f1
    ld.bp v1, 0(x2), f1
    li x2, bits
    ld.m p1, 0(x2), x3
    li x2, 0x3f800000
    q.fill q2, x2
    halt
.test \"all\"
    .set x20 = -1
    .expect v1, int8: 1, 2, -3, 4
    .expect p1: 1, 0, 1, 0
    .expect q2: 2 of 1
    .expect c3[1]: 0
    .expect x20 = 0xffffffffffffffff
    .expect data, binary: -1, 7 of 1
    .expect data, int8: 1 to 2, -3
.endt
";
        assert_eq!(failures(text), Vec::<String>::new());
        let short = text.replace("c3[1]: 0", "c3[1]: 2 of 0").replace("p1: 1, 0", "p1: 1, 1");
        let shown = failures(&short).join("\n");
        assert!(
            shown.contains("`c3[1]` has 1 elements, 2 are expected") && shown.contains("element 1 of `p1`"),
            "{shown}"
        );
    }

    #[test]
    fn a_loop_that_does_not_end_is_a_trap_and_externs_are_refused() {
        assert!(failures("1: j 1b\n.test \"ever\"\n.vlen 32\n.expect x1 = 0\n.endt\n")[0].contains("trap FUEL"));
        let refused = run(&cases(".extern k\ncall k\n.test \"k\"\n.expect x1 = 0\n.endt\n")[0], None).unwrap_err();
        assert_eq!(refused.kind(), Kind::Unsupported);
    }

    #[test]
    fn memory_over_the_parameter_block_is_refused() {
        let text = format!("{SCALE}.test \"over\"\n .mem control + 8, word: 1\n .expect x3 = 0\n.endt\n");
        assert!(run(&cases(&text)[0], None).unwrap_err().to_string().contains("parameter block"));
    }
}
