//! The command line as people see it: README.md, docs/kernels.md and tests/cmd/*.trycmd are console sessions with their exit codes, executed and
//! compared. `TRYCMD=overwrite cargo test --test cli` writes what is printed now.

#[test]
fn sessions_print_what_they_show() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd").case("README.md").case("docs/programs.md");
}

/// A reader that goes away is no error.
#[test]
fn a_closed_pipe_ends_quietly() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_preon"))
        .args(["machine", "show", "edge", "--origin"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Colours reach a terminal only, or whoever asks for them.
#[test]
fn colours_are_for_terminals() {
    let stderr = |color: &str| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_preon"));
        let output = command.args(["machine", "check", "nowhere", "--color", color]).env_remove("NO_COLOR").output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!stderr("auto").contains('\u{1b}') && !stderr("never").contains('\u{1b}'));
    assert!(stderr("always").contains('\u{1b}'));
}
