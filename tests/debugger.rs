//! docs/debugger.md stays true, and what `exec` writes for other tools is what it says: JSON by its schema, memory as
//! `$readmemh` text, a clock that stops without the program. `TRYCMD=overwrite cargo test --test debugger` writes what the
//! debugger prints now.

#[path = "support/schema.rs"]
mod schema;

use std::path::Path;

/// Output and exit code of a command line.
fn preon(arguments: &[&str]) -> (String, String, i32) {
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_preon")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

#[test]
fn sessions_print_what_they_show() {
    trycmd::TestCases::new().case("docs/debugger.md");
}

#[test]
fn a_session_is_typed_on_standard_input() {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_preon"));
    let input = "step\n\nprint x6\nnonsense\nbreak again if x5 == 1\nc\nprint x6\nquit\nstep\n";
    let output = command.args(["debug", "tests/cmd/files/sum.vasm"]).write_stdin(input).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 8, "{stdout}");
    assert!(lines[2].contains("word 2"), "an empty line steps again: {stdout}");
    assert_eq!((lines[3], lines[7]), ("x6 = 0x0 = 0", "x6 = 0x36 = 54"));
    assert!(stderr.contains("there is no command `nonsense`"), "{stderr}");
}

#[test]
fn a_script_that_says_nonsense_ends_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("a.dbg");
    std::fs::write(&script, "step\nstepp\nstep\n").unwrap();
    let script = script.to_str().unwrap();
    let (stdout, stderr, code) = preon(&["debug", "tests/cmd/files/sum.vasm", "--batch", "-x", script]);
    assert_eq!((code, stdout.lines().count()), (2, 4), "{stdout}{stderr}");
    assert!(stderr.contains("a.dbg:2") && stderr.contains("did you mean `step`?"), "{stderr}");
}

#[test]
fn json_follows_the_schema() {
    let wanted = serde_json::from_str(include_str!("../docs/exec.schema.json")).unwrap();
    let read = "0x3000000000000000:4";
    let ended = preon(&["exec", "tests/cmd/files/sum.vasm", "-f", "json", "--read", read]);
    let trapped = preon(&["exec", "tests/cmd/files/trap.vasm", "-f", "json"]);
    assert_eq!((ended.2, trapped.2), (0, 5), "{}{}", ended.1, trapped.1);
    let [ended, trapped] = [ended.0, trapped.0].map(|text| {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        schema::validate(&wanted, &value).unwrap();
        value
    });
    assert_eq!((&ended["registers"]["x6"], &ended["cycles"]), (&"0x37".into(), &33.into()));
    assert_eq!(ended["memory"][0]["bytes"], "00000000");
    assert_eq!((&trapped["trap"]["kind"], &trapped["trap"]["line"]), (&"ALIGN".into(), &2.into()));
    assert_eq!(trapped["trap"]["operands"]["x5"], "0x3fffffffffffffff");
}

/// The 64-bit words of `$readmemh` text.
fn read_golden(path: &Path) -> Vec<u64> {
    let (text, mut words) = (std::fs::read_to_string(path).unwrap(), Vec::new());
    for line in text.lines().filter(|line| !line.starts_with("//")) {
        match line.strip_prefix('@') {
            Some(at) => words.resize(usize::from_str_radix(at, 16).unwrap(), 0),
            None => words.push(u64::from_str_radix(line, 16).unwrap()),
        }
    }
    words
}

#[test]
fn golden_files_are_the_program_and_memory_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let (program, out) = (folder.path().join("p.vasm"), folder.path().join("golden"));
    let text = ".control\nv: .dword 7, 0, 9\n.code\n li x5, v\n lw.d x6, 16(x5)\n sw.d x6, 40(x5)\n halt\n";
    std::fs::write(&program, text).unwrap();
    let arguments = ["exec", program.to_str().unwrap(), "--golden", out.to_str().unwrap()];
    let (_, stderr, code) = preon(&arguments);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(read_golden(&out.join("control.before.hex")), [7, 0, 9]);
    assert_eq!(read_golden(&out.join("control.after.hex")), [7, 0, 9, 0, 0, 9]);
    assert_eq!(read_golden(&out.join("x.after.hex"))[5..], [3 << 60, 9]);
    assert!(read_golden(&out.join("sram.after.hex")).is_empty());
    assert!(read_golden(&out.join("program.hex")).len() >= 4);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 10);
    let (_, stderr, code) = preon(&arguments);
    assert_eq!(code, 2);
    assert!(stderr.contains("not an empty folder"), "{stderr}");

    let trapping = folder.path().join("trapped");
    let (_, _, code) = preon(&["exec", "tests/cmd/files/trap.vasm", "--golden", trapping.to_str().unwrap()]);
    assert_eq!((code, trapping.exists()), (5, false));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half-written stays");
}

#[test]
fn the_clock_stops_and_the_values_go_on() {
    let (stdout, stderr, code) = preon(&["exec", "tests/cmd/files/sum.vasm", "--max-cycles", "10"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("x6   0x0000000000000037  55\n"), "{stdout}");
    assert!(stdout.contains("11 instructions, 11 cycles"), "{stdout}");
    assert!(stdout.contains("the clock was stopped after 11 instructions by --max-cycles"), "{stdout}");
    let (stdout, _, _) = preon(&["exec", "tests/cmd/files/sum.vasm", "--max-cycles", "33"]);
    assert!(stdout.contains("33 instructions, 33 cycles") && !stdout.contains("stopped"), "{stdout}");
}

#[test]
fn an_assembled_program_has_nothing_to_bind() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sum.vpx");
    let program = program.to_str().unwrap();
    assert_eq!(preon(&["asm", "tests/cmd/files/sum.vasm", "-o", program]).2, 0);
    for arguments in
        [["exec", program, "-D", "n=3"], ["debug", program, "-D", "n=3"], ["exec", program, "--format", "f=int8"]]
    {
        let (_, stderr, code) = preon(&arguments);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("assembled already"), "{stderr}");
    }
}
