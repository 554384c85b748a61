//! Tests of the debugger: going back, stops, values, stalls.

use super::*;
use crate::isa::asm::{Options, Sources, assemble};
use crate::machine;
use proptest::prelude::*;

/// A machine whose memories are small, so that a state is compared quickly.
fn small() -> Machine {
    let sets = [
        ("core.vlen_bits", "256"),
        ("core.control_bytes", "4096"),
        ("core.acc.rows", "8"),
        ("core.acc.cols", "32"),
        ("sram.own.bytes", "16384"),
    ];
    let sets: Vec<(String, String)> = sets.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    machine::load_with("edge", &sets).unwrap()
}

fn session(text: &str) -> Debugger {
    let object = assemble(&Sources::single("a.vasm", text), &Options::default()).unwrap_or_else(|e| panic!("{e:?}"));
    let sources = BTreeMap::from([("a.vasm".to_string(), text.to_string())]);
    Debugger::new(object, &sources, &small(), Some(100_000)).unwrap()
}

impl Debugger {
    /// The answer to a command that must not fail.
    fn says(&mut self, line: &str) -> String {
        self.command(line).unwrap_or_else(|error| panic!("{line}: {error}")).text
    }

    /// The sentence of a command that must fail.
    fn refuses(&mut self, line: &str) -> String {
        self.command(line).expect_err(line).to_string()
    }
}

const SUM: &str = "start: li x5, 10\n li x6, 0\nagain: add x6, x6, x5\n add x5, x5, -1\n bnez x5, again\n halt\n";

#[test]
fn breakpoints_stop_where_their_condition_holds() {
    let mut session = session(SUM);
    assert_eq!(session.says("break again if x5 == 3 && x6 > 40"), "breakpoint 1 at a.vasm:3, word 2\n");
    let stop = session.says("continue");
    assert!(stop.starts_with("breakpoint 1\na.vasm:3, word 2, cycle 23: again: add x6, x6, x5\n"), "{stop}");
    assert_eq!(session.says("print x6"), "x6 = 0x31 = 49\n");
    assert!(session.says("info breakpoints").contains("if x5 == 3 && x6 > 40, hit once"));
    session.says("delete 1");
    assert!(session.says("continue").starts_with("the program has halted after 33 instructions"));
    assert!(session.refuses("step").contains("has halted"));
    assert!(session.says("restart").contains("word 0, cycle 0"));
}

#[test]
fn watchpoints_say_what_was_and_what_is() {
    let mut session =
        session(&format!("{}\n", SUM.replace(" halt", " li x7, 0x3000000000000010\n sw.w x6, 4(x7)\n halt")));
    session.says("watch 0x3000000000000010:8");
    let stop = session.says("continue");
    assert!(stop.starts_with("watchpoint 1: 0x3000000000000010:8 was 0x0, is 0x3700000000\n"), "{stop}");
    session.says("restart");
    session.says("delete");
    session.says("watch x6");
    assert!(session.says("c").starts_with("watchpoint 2: x6 was 0x0, is 0xa\n"));
    assert!(session.says("c").starts_with("watchpoint 2: x6 was 0xa, is 0x13\n"));
    assert!(session.says("rs").contains("word 2"), "going back is no change");
    assert!(session.says("c").starts_with("watchpoint 2: x6 was 0xa, is 0x13\n"));
    assert!(session.refuses("watch 0xf000000000000000").contains("does not exist"));
    assert!(session.refuses("watch t1").contains("cannot be watched"));
}

#[test]
fn brkpt_stops_and_lets_go() {
    let mut session = session(" li x5, 1\n brkpt\n li x6, 2\n halt\n");
    assert_eq!(session.says("continue"), "brkpt\na.vasm:3, word 2, cycle 2: li x6, 2\n");
    assert!(session.says("continue").starts_with("the program has halted after 4 instructions"));
}

#[test]
fn locations_are_lines_labels_and_words() {
    let mut session = session(SUM);
    assert!(session.says("until 4").contains("a.vasm:4, word 3"));
    assert!(session.says("until again+2").contains("word 4"));
    assert!(session.says("until *2").contains("word 2, cycle 5"));
    assert!(session.says("until a.vasm:6").contains("word 5"));
    assert!(session.refuses("until agin").contains("did you mean `again`?"));
    assert!(session.refuses("break 99").contains("no instruction stands on or after line 99"));
    assert!(session.refuses("break *6").contains("has words 0 to 5"));
    assert!(session.refuses("break again if x99 == 1").contains("x99"));
    assert!(session.refuses("break again if x5 =").contains("`=` has no meaning"));
}

#[test]
fn finish_runs_to_the_end_of_the_function() {
    let text =
        " li x5, 1\n call one\n li x6, 9\n halt\none: mv x7, x1\n call two\n mv x1, x7\n ret\ntwo: li x8, 3\n ret\n";
    let mut session = session(text);
    session.says("until two");
    assert!(session.says("finish").contains("a.vasm:7"), "{}", session.place());
    assert!(session.says("finish").contains("a.vasm:3"), "{}", session.place());
    assert!(session.says("finish").starts_with("the program has halted"));
}

#[test]
fn values_are_shown_in_any_format() {
    let text = ".control\nw: .byte 0x21, 0xf0\n .align 64\nx: .byte 0x55, 0x99\n.code\n .fmt f1=ternary, f2=fp32\n li x5, x\n li x6, 8\n setvl x7, x6, f1, f1\n ld.bp v1, 0(x5), f1\n li x8, 5\n li x9, x\n ld.m p1, 0(x9), x8\n li x2, 0x3f000000\n q.fill q3, x2\n halt\n";
    let mut session = session(text);
    session.says("continue");
    session.says("rs");
    assert_eq!(session.says("print 0x3000000000000000:2 as fp4e2m1"), "[0]   0.5 1 0 -6\n");
    assert!(
        session.says("print v1 as ternary").starts_with("[0]   1 1 1 1 1 -1 1 -1 0 0 0"),
        "{}",
        session.says("print v1 as ternary")
    );
    assert_eq!(session.says("p p1"), "p1: 3 of 5 bits set\n[0]   10101\n");
    assert!(session.says("p q3").starts_with("[0]   0.5 0.5"));
    assert_eq!(session.says("p x2 as fp32"), "x2 = 0.5\n");
    assert_eq!(session.says("p f1"), "f1 = ternary\n");
    assert_eq!(session.says("p b[0x3000000000000001] >> 4 == 15"), "b[0x3000000000000001] >> 4 == 15 = 0x1 = 1\n");
    assert!(session.says("x x5:2").starts_with("0x3000000000000040  55 99\n"));
    assert!(session.says("p c0").starts_with("c0: sums of class exact, 8 x 32\n"));
    assert_eq!(session.says("p d1").lines().count(), 3);
    assert_eq!(session.says("p t1"), "t1 = 0 unfinished transfers\n");
    assert!(session.refuses("print v1 as ternery").contains("did you mean `ternary`?"));
    assert!(session.refuses("x 0x1000000000000000:99999999").contains("99999999 bytes"));
    assert!(session.refuses("x 0xf000000000000000").contains("does not exist"));
    assert!(session.refuses("p e1").contains("cannot be printed"));
}

#[test]
fn far_dram_is_looked_at_without_touching_it() {
    let mut session = session(SUM);
    let held = session.vm().state_bytes();
    let end = session.vm().config().dram_bytes - 16;
    assert!(session.says(&format!("x {end}:16")).contains("00 00 00 00"));
    assert!(session.refuses(&format!("x {end}:17")).contains("leave the"));
    assert_eq!(session.vm().state_bytes(), held);
}

#[test]
fn a_trap_leaves_the_state_before_it() {
    let mut session = session(" li x5, 0x3000000000000001\n lw.d x6, 4(x5)\n halt\n");
    let stop = session.says("continue");
    assert!(stop.starts_with("trap ALIGN: address 0x3000000000000005"), "{stop}");
    assert!(stop.contains("operands: x6 = 0x0, x5 = 0x3000000000000001\n"), "{stop}");
    assert!(stop.contains("a.vasm:2, word 2"), "{stop}");
    assert!(session.faulted());
    assert!(session.says("step").starts_with("trap ALIGN"), "it traps again");
    assert!(session.says("rs").contains("word 1"));
    assert!(session.says("step").contains("word 2"));
}

#[test]
fn a_program_that_waits_for_dma_says_so() {
    let text = " li x5, 0x1000000000000000\n li x6, 64\n li x7, 4096\n dma.ld t3, x5, x6, x7\n dma.wait t3, 0\n halt\n";
    let mut session = session(text);
    session.says("until 5");
    let stalls = session.says("stalls");
    let lines: Vec<&str> = stalls.lines().collect();
    assert!(lines[0].starts_with("control     waits for tag t3 since cycle "), "{stalls}");
    assert!(lines[0].ends_with("cycles so far (wait)"), "{stalls}");
    assert_eq!(lines[1], "            with `dma.wait t3, 0` (a.vasm:5, word 5)");
    assert!(
        lines[2].starts_with("            held up by `dma.ld t3, x5, x6, x7` (a.vasm:4, word 4), until cycle "),
        "{stalls}"
    );
    assert_eq!(session.says("print t3"), "t3 = 1 unfinished transfer\n");
    let units = session.says("units");
    assert!(units.contains("control     waits for tag t3") && units.contains("`dma.ld t3, x5, x6, x7`"), "{units}");
    let strip = session.says("timeline 20");
    assert!(strip.lines().nth(1).unwrap().ends_with("tttttttttttttttttttt"), "{strip}");
    session.says("step");
    assert_eq!(session.says("print t3"), "t3 = 0 unfinished transfers\n");
    assert!(session.refuses("stalls 99999999").contains("has not come"));
    assert_eq!(session.says("stalls 0"), "nothing waits in cycle 0\n");
}

#[test]
fn the_end_costs_what_exec_says() {
    let mut session = session(SUM);
    session.says("continue");
    let energy = session.says("energy");
    assert!(energy.contains("after 33 cycles"), "{energy}");
    let figures: Vec<f64> =
        energy.lines().map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
    assert!((figures[0] + figures[1] + figures[2] - figures[3]).abs() < 0.2, "{energy}");
}

#[test]
fn mistakes_change_nothing_and_name_their_cure() {
    let mut session = session(SUM);
    assert!(session.refuses("stepp").contains("did you mean `step`?"));
    assert!(session.refuses("step x").contains("`x` is no number"));
    assert!(session.refuses("reverse-step").contains("this is the beginning"));
    assert!(session.refuses("delete 4").contains("no breakpoint 4"));
    assert!(session.refuses("continue 3").contains("takes no arguments"));
    assert!(session.refuses("until").contains("needs a location"));
    assert_eq!(session.says("# nothing"), "");
    assert!(session.command("quit").unwrap().ended);
}

#[test]
fn every_command_has_one_name_and_a_line_of_help() {
    let mut names: Vec<&str> = COMMANDS.iter().flat_map(|command| command.names).copied().collect();
    names.extend(["quit", "q", "exit"]);
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    let mut session = session(SUM);
    for command in COMMANDS {
        assert!(session.says(&format!("help {}", command.names[0])).contains(command.help));
    }
}

const WORDS: [&str; 50] = [
    "step",
    "rs",
    "c",
    "until",
    "break",
    "watch",
    "print",
    "x",
    "list",
    "stalls",
    "units",
    "timeline",
    "energy",
    "where",
    "delete",
    "info",
    "restart",
    "run",
    "finish",
    "help",
    "again",
    "again+1",
    "x5",
    "x6",
    "v1",
    "p1",
    "c0",
    "q3",
    "t1",
    "d1",
    "f1",
    "e1",
    "*2",
    "3",
    "0",
    "0x1000000000000000:16",
    "0x3000000000000000:3",
    "as",
    "fp4e2m1",
    "ternary",
    "fp32",
    "bits",
    "if",
    "==",
    "&&",
    "(",
    "-1",
    "99999999999999",
    "b[0x3000000000000000]",
    ":",
];

#[test]
fn a_program_of_nothing_can_be_looked_at() {
    let mut session = session("");
    for line in ["list", "where", "stalls", "units", "timeline", "energy", "print"] {
        session.says(line);
    }
    assert!(session.says("step").starts_with("trap ILL"));
}

/// Everything that a moment consists of, as text: registers, masks, tiles, memory, tags, clock, books.
fn whole(moment: &Moment) -> String {
    format!("{moment:?}")
}

/// Lines of a program that touches every kind of state; numbers choose registers, addresses and sizes.
fn line((kind, a, b, c): (u8, u8, u8, u8)) -> String {
    let (x, v, p, t) = (20 + a % 8, a % 32, 1 + a % 7, a % 16);
    let sram = u32::from(b) * 8;
    match kind % 22 {
        0 => format!("add x{x}, x{}, {}", 20 + b % 8, i32::from(c) - 100),
        1 => format!("mul x{x}, x{}, x{}", 20 + b % 8, 20 + c % 8),
        2 => format!("sw.d x{x}, {sram}(x5)"),
        3 => format!("lw.w x{x}, {sram}(x5)"),
        4 => format!("ld.bp v{v}, {sram}(x5), f3"),
        5 => format!("st.bp v{v}, {sram}(x5), f3"),
        6 => format!("addv v{v}, v{}, v{}", b % 32, c % 32),
        7 => format!("cmp.v p{p}, v{}, v{}, lt", b % 32, c % 32),
        8 => format!("ld.m p{p}, {sram}(x5), x9"),
        9 => format!("mac.tern c0, v{v}, v{}, f1, f2", b % 32),
        10 => "fold c1, c0, q0, q1 .new".into(),
        11 => format!("red c2, v{v}, sum, x0"),
        12 => format!("dma.ld t{t}, x5, x6, x{}", 7 + b % 2),
        13 => format!("dma.st t{t}, x6, x5, x{}", 7 + b % 2),
        14 => format!("dma.wait t{t}, {}", b % 2),
        15 => format!("q.fill q{}, x{x}", b % 16),
        16 => format!("setvl x10, x9, f3, f{}", 1 + b % 3),
        17 => format!("loop x11, L{a}_{b}_{c}\n add x{x}, x{x}, 1\n sw.d x{x}, {sram}(x5)\nL{a}_{b}_{c}: endl"),
        18 => "dma.dim d1, 1, x11, x9, x8".into(),
        19 => "c.fill c0, zero".into(),
        20 => "sr.set x20, x21, x0".into(),
        _ => format!("mac.tern c0, v{v}, v{}, f1, f2, p{p}.z", b % 32),
    }
}

fn random_program(lines: &[(u8, u8, u8, u8)]) -> String {
    let mut text = " .fmt f1=ternary, f2=int8, f3=fp32\n li x5, 0x1000000000000000\n li x6, 0x400\n li x7, 64\n li x8, 256\n li x9, 8\n li x11, 3\n setvl x10, x9, f3, f3\n setmac x14, x11, x9, f1, f2\n setacc c0, exact\n setacc c2, chain\n settile.n x16, x11\n settile.m x16, x11\n".to_string();
    let mut seen = std::collections::BTreeSet::new();
    for each in lines.iter().filter(|each| each.0 % 22 != 17 || seen.insert((each.1, each.2, each.3))) {
        text += &format!(" {}\n", line(*each));
    }
    text + " halt\n"
}

#[test]
fn every_kind_of_line_runs() {
    let lines: Vec<_> = (0..22).map(|kind| (kind, 1, 2, 3)).collect();
    let mut session = session(&random_program(&lines));
    let end = session.says("continue");
    assert!(end.starts_with("the program has halted"), "{end}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any line is done or refused in words.
    #[test]
    fn no_line_breaks_the_debugger(lines in prop::collection::vec(prop::collection::vec(0usize..50, 1..6), 1..30)) {
        let mut session = session(SUM);
        for line in lines {
            let words: Vec<&str> = line.iter().map(|word| WORDS[*word]).collect();
            match session.command(&words.join(" ")) {
                Ok(reply) => prop_assert!(reply.text.is_empty() || reply.text.ends_with('\n'), "{}", reply.text),
                Err(error) => prop_assert!((2..=4).contains(&error.kind().exit_code()), "{}", error),
            }
        }
    }

    /// k steps forward and k back give the same state to the last byte, wherever the copies lie.
    #[test]
    fn reverse_steps_restore_every_register_and_byte(
        lines in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..60),
        from in 0u64..40,
        steps in 1u64..80,
        every in 1u64..40,
    ) {
        let mut session = session(&random_program(&lines));
        session.history = History::new(session.now.clone(), every, history::BUDGET_BYTES);
        if from > 0 {
            session.says(&format!("step {from}"));
        }
        let (before, start) = (whole(&session.now), session.now.steps);
        if session.now.halted || session.trap.is_some() {
            return Ok(());
        }
        session.says(&format!("step {steps}"));
        let gone = session.now.steps - start;
        if gone > 0 {
            prop_assert!(whole(&session.now) != before, "{gone} steps change something");
            session.says(&format!("reverse-step {gone}"));
        }
        let after = whole(&session.now);
        let differ = after.bytes().zip(before.bytes()).position(|(a, b)| a != b).unwrap_or(0);
        let near = |text: &str| text[differ.saturating_sub(80)..(differ + 80).min(text.len())].to_owned();
        let (was, is) = (near(&before), near(&after));
        prop_assert!(after == before, "{gone} steps back from {} restore everything: {was} became {is}", start + gone);
    }
}

#[test]
fn copies_take_bounded_memory_and_any_step_is_reached() {
    let mut debugger = session(" li x5, 20000\nagain: add x5, x5, -1\n bnez x5, again\n halt\n");
    let one = debugger.now.bytes();
    debugger.history = History::new(debugger.now.clone(), 64, 5 * one);
    debugger.says("step 30000");
    for steps in [29_999, 17, 512, 12_345, 0] {
        let moment = debugger.history.at(steps);
        assert_eq!(moment.steps, steps);
        assert_eq!(moment.vm.x(5), Some(if steps == 0 { 0 } else { 20_000 - (steps / 2) }));
    }
    assert!(debugger.history.held_bytes() <= 5 * one);
}
