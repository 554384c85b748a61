//! docs/adding.md stays true: its console sessions are executed (`TRYCMD=overwrite cargo test --test docs_adding` writes
//! what is printed now), the files it prints are the files it uses, and the rows it adds fit their tables.

use preon::num::format;
use std::path::Path;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adding.md")).unwrap()
}

/// Texts of the fenced blocks with this info string.
fn blocks(info: &str) -> Vec<String> {
    let fence = format!("```{info}");
    let (page, mut blocks, mut open) = (page(), Vec::new(), None::<String>);
    for line in page.lines() {
        match &mut open {
            Some(text) if line == "```" => {
                blocks.push(std::mem::take(text));
                open = None;
            }
            Some(text) => *text += &format!("{line}\n"),
            None if line == fence => open = Some(String::new()),
            None => {}
        }
    }
    blocks
}

#[test]
fn sessions_print_what_they_show() {
    trycmd::TestCases::new().case("docs/adding.md");
}

/// Runs: cycles and joules move whenever a kernel gets faster, so of each line only what it is about is compared (its
/// first two words: a machine and a policy) and how the cross-check ended (its last).
#[test]
fn runs_still_run() {
    let essence = |line: &str| -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.iter().take(2).chain(words.last()).map(ToString::to_string).collect()
    };
    let sessions = blocks("sh-session");
    assert!(sessions.len() >= 2);
    for session in sessions {
        let (command, shown) = session.split_once('\n').unwrap();
        let words = command.strip_prefix("$ preon ").expect("one command of preon a session").split_whitespace();
        let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_preon")).args(words).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && printed.contains(" exact"), "{command}\n{printed}");
        assert_eq!(
            printed.lines().map(essence).collect::<Vec<_>>(),
            shown.lines().map(essence).collect::<Vec<_>>(),
            "{command}"
        );
    }
}

/// What lies in the folders of built-in machines and policies is built in.
#[test]
fn files_of_the_folders_are_built_in() {
    let listed = |folder: &str, names: &[&str]| {
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_stem().unwrap().to_str().unwrap();
            assert!(names.contains(&name), "{folder}/{name}.toml has no line in its table");
        }
    };
    listed("machines", &preon::machine::builtin());
    listed("policies", &preon::policy::names().collect::<Vec<_>>());
}

#[test]
fn printed_files_are_the_files_used() {
    let shown = blocks("toml");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/adding");
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(shown.contains(&text), "{} is not printed in docs/adding.md", file.display());
        files += 1;
    }
    assert!(files >= 4);
}

#[test]
fn the_format_row_is_one() {
    let rows: Vec<String> = blocks("toml").into_iter().filter(|text| text.starts_with("[[format]]")).collect();
    assert_eq!(rows.len(), 1);
    let table = format!("schema = \"preon.formats/1\"\n{}", rows[0]);
    let formats = format::parse_table("docs/adding.md", &table).unwrap();
    assert_eq!((formats[0].name.as_str(), formats[0].max), ("my8e3m4", 15.5));
    assert!(format::find("my8e3m4").is_err(), "the walk adds a format that is there already");
}

/// The row's keys are those of the table's own rows, and its name and opcode are free; build.rs checks the rest.
#[test]
fn the_instruction_row_fits_the_table() {
    let rows: Vec<String> = blocks("toml").into_iter().filter(|text| text.starts_with("[[op]]")).collect();
    assert_eq!(rows.len(), 1);
    let row: toml::Table = rows[0].parse().unwrap();
    let row = row["op"].as_array().unwrap()[0].as_table().unwrap();
    let table: toml::Table = include_str!("../isa/vpu.toml").parse().unwrap();
    let ops = table["op"].as_array().unwrap();
    for key in row.keys() {
        assert!(ops.iter().any(|op| op.get(key).is_some()), "no row has the key `{key}`");
    }
    for key in ["name", "code"] {
        assert!(ops.iter().all(|op| op.get(key) != row.get(key)), "`{key}` of the row is taken");
    }
    let unknown = |operand: &toml::Value| !ops.iter().any(|op| op["operands"].as_array().unwrap().contains(operand));
    assert!(!row["operands"].as_array().unwrap().iter().any(unknown), "operands are of the table's language");
}
