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

/// An interrupted run leaves nothing behind.
#[test]
#[cfg(target_os = "linux")]
fn an_interrupt_removes_what_is_half_written() {
    use std::fs;
    use std::process::Command;
    let base = tempfile::tempdir().unwrap();
    let list = base.path().join("long.toml");
    let layer = "name = \"l\"\nkind = \"gemm\"\nm = 16777216\nn = 64\nk = 64\n";
    fs::write(&list, format!("schema = \"preon.workload/1\"\nname = \"long\"\n[[layer]]\n{layer}")).unwrap();
    let folder = base.path().join("out");
    fs::create_dir(&folder).unwrap();
    let entries = || fs::read_dir(&folder).unwrap().count();
    // Whatever signals this test was started with.
    let mut child = Command::new("env")
        .args(["--default-signal", env!("CARGO_BIN_EXE_preon"), "workload", "-m", "edge", "--trace"])
        .args([folder.join("t.json"), list])
        .spawn()
        .unwrap();
    while entries() == 0 {
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(entries(), 0);
}
