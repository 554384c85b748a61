//! The example programs of docs/examples run to their end.

use std::process::Command;

fn stdout_of(example: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", example])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn policies_prints_one_line_a_policy() {
    let text = stdout_of("policies");
    let names: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["fp32", "int8", "w1.58a8", "w1a1"]);
    assert!(text.lines().nth(1).expect("fp32").ends_with("1.0000"), "{text}");
}

#[test]
fn cross_check_finds_no_mismatch_and_three_layers() {
    let text = stdout_of("cross_check");
    assert!(text.contains("0 mismatches"), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
}
