//! The rules of the house that a compiler does not hold: floors, sizes, who may print, where `unsafe` may stand, and
//! that three implementations of the same arithmetic stay three. See docs/architecture.md for the reasons.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Modules of the library by floor; a module uses lower floors only, never its own. `diag` is the ground.
const FLOORS: [&[&str]; 9] = [
    &["diag"],
    &["num"],
    &["tensor", "isa", "machine"],
    &["graph", "workload", "exec"],
    &["policy", "model", "native", "compile", "sim"],
    &["check", "look", "debug"],
    &["vpu"],
    &["report"],
    &["cli"],
];

/// Longest file, in lines.
const FILE_LINES: usize = 800;
/// Longest function, in lines.
const FUNCTION_LINES: usize = 80;

/// A source file: path from the root, text, and tokens of the code without comments and literals.
struct Source {
    path: String,
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, out);
        } else {
            out.push(path);
        }
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

/// Every Rust file under the given folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| walk(&root().join(folder), &mut paths));
    let rust = paths.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    rust.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        Source { path: relative(&path), tokens: tokens(&text), text }
    })
    .collect()
}

/// Splits Rust into words, `::` and single punctuation marks; comments and the contents of literals are left out.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let (mut out, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let start = at;
        at = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => find(text, at, "\n").unwrap_or(bytes.len()),
            b'/' if bytes.get(at + 1) == Some(&b'*') => end_of_block_comment(bytes, at),
            b'r' | b'b' | b'c' if raw_string(text, at).is_some() => raw_string(text, at).unwrap_or(at + 1),
            b'"' => end_of_quoted(bytes, at, b'"'),
            b'\'' if is_char_literal(text, at) => end_of_quoted(bytes, at, b'\''),
            c if c.is_ascii_alphanumeric() || c == b'_' => {
                let word = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_';
                let end = at + bytes[at..].iter().take_while(|c| word(c)).count();
                out.push(Token { text: text[at..end].to_string(), line });
                end
            }
            b':' if bytes.get(at + 1) == Some(&b':') => {
                out.push(Token { text: "::".into(), line });
                at + 2
            }
            c => {
                if c.is_ascii_punctuation() {
                    out.push(Token { text: char::from(c).to_string(), line });
                }
                at + 1
            }
        };
        line += bytes[start..at].iter().filter(|c| **c == b'\n').count();
    }
    out
}

fn find(text: &str, from: usize, what: &str) -> Option<usize> {
    text.as_bytes()[from..].windows(what.len()).position(|w| w == what.as_bytes()).map(|at| from + at)
}

fn end_of_block_comment(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// End of a raw string (`r"`, `r#"`, `br"`, ...) that starts at `at`, if one does.
fn raw_string(text: &str, at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|i| text.as_bytes()[i]);
    if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == b'_') {
        return None;
    }
    let rest = text[at..].trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let hashes = rest.bytes().take_while(|c| *c == b'#').count();
    rest[hashes..].starts_with('"').then_some(())?;
    let open = text.len() - rest.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(find(text, open, &close).map_or(text.len(), |end| end + close.len()))
}

fn is_char_literal(text: &str, at: usize) -> bool {
    let mut chars = text[at + 1..].chars();
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn end_of_quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Module path of a file under src/: `src/isa/asm.rs` -> `["isa", "asm"]`.
fn module_of(path: &str) -> Vec<String> {
    let stem = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    stem.split('/').map(str::to_string).collect()
}

/// Paths that start at the crate root, as (first segments joined by `::`, line); `use crate::{a, b}` gives both.
fn crate_paths(source: &Source) -> Vec<(String, usize)> {
    let tokens = &source.tokens;
    let depth = module_of(&source.path).len();
    let (mut out, mut inline, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => inline.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => drop(inline.pop()),
            "crate" if text_at(tokens, at + 1) == "::" => {
                expand(tokens, at + 2, "", &mut out);
            }
            "super" if text_at(tokens, at + 1) == "::" => {
                let inner = depth + inline.iter().filter(|is_mod| **is_mod).count();
                let mut ups = 0;
                while text_at(tokens, at) == "super" && text_at(tokens, at + 1) == "::" {
                    (ups, at) = (ups + 1, at + 2);
                }
                if ups >= inner {
                    expand(tokens, at, "", &mut out);
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    out
}

fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

/// Adds the paths that begin at token `at`; returns the token after them.
fn expand(tokens: &[Token], mut at: usize, prefix: &str, out: &mut Vec<(String, usize)>) -> usize {
    if text_at(tokens, at) == "{" {
        at += 1;
        while at < tokens.len() && text_at(tokens, at) != "}" {
            at = if text_at(tokens, at) == "," { at + 1 } else { expand(tokens, at, prefix, out) };
        }
        return at + 1;
    }
    let Some(token) = tokens.get(at) else { return at };
    let path = if prefix.is_empty() { token.text.clone() } else { format!("{prefix}::{}", token.text) };
    let next = text_at(tokens, at + 2);
    let continues = text_at(tokens, at + 1) == "::" && next != "<" && next != "*";
    if continues {
        return expand(tokens, at + 2, &path, out);
    }
    out.push((path, token.line));
    at += 1;
    // skip `as name`, `::*` and generic arguments up to the next separator
    while !matches!(text_at(tokens, at), "" | "," | "}" | ";" | "{" | ")" | "(" | ">") {
        at += 1;
    }
    at
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn report(rule: &str, faults: &[String]) {
    let mut text = String::new();
    faults.iter().for_each(|fault| writeln!(text, "  {fault}").unwrap());
    assert!(faults.is_empty(), "{rule}:\n{text}");
}

#[test]
fn the_scanner_sees_paths_and_not_comments() {
    let text = "use crate::{diag::Error, num::{a, b as c}};\n// crate::cli::x\nfn f() { crate::sim::go(\"crate::cli\", 'a', r#\"crate::cli\"#) }\n";
    let source = Source { path: "src/exec/mod.rs".into(), text: text.into(), tokens: tokens(text) };
    let paths: Vec<String> = crate_paths(&source).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["diag::Error", "num::a", "num::b", "sim::go"]);
    let text = "mod tests { use super::*; use super::super::isa::Op; }\nuse super::num;";
    let source = Source { path: "src/exec/mod.rs".into(), text: text.into(), tokens: tokens(text) };
    let paths: Vec<String> = crate_paths(&source).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["isa::Op", "num"]);
}

#[test]
fn every_module_has_a_floor_and_uses_lower_ones_only() {
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        let module = module_of(&source.path)[0].clone();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let Some(own) = floor(&module) else {
            faults.push(format!("{}: module `{module}` has no floor", source.path));
            continue;
        };
        for (path, line) in crate_paths(&source) {
            let target = path.split("::").next().unwrap_or_default().to_string();
            if target == module {
                continue;
            }
            match floor(&target) {
                Some(other) if other < own => {}
                Some(_) => {
                    faults.push(format!("{}:{line}: `{module}` uses `{path}`, which is no lower", source.path));
                }
                None => faults.push(format!("{}:{line}: name `{path}` by its module", source.path)),
            }
        }
    }
    report("a module uses lower floors only", &faults);
}

#[test]
fn three_implementations_share_no_arithmetic() {
    let mut faults = Vec::new();
    for source in sources(&["src/exec", "src/native", "src/graph"]) {
        let module = module_of(&source.path)[0].clone();
        for (path, line) in crate_paths(&source) {
            let foreign = match module.as_str() {
                "exec" => path.starts_with("native") || path.starts_with("graph"),
                "graph" => path.starts_with("native") || path.starts_with("exec"),
                _ => path.starts_with("exec") || path.starts_with("graph::eval"),
            };
            if foreign {
                faults.push(format!("{}:{line}: uses `{path}`", source.path));
            }
        }
    }
    let shared =
        ["dot", "gemm", "matmul", "linear", "softmax", "layernorm", "layer_norm", "rmsnorm", "rms_norm", "mean_pool"];
    for source in sources(&["src/num", "src/tensor"]) {
        for pair in source.tokens.windows(2).filter(|pair| pair[0].text == "fn") {
            if shared.contains(&pair[1].text.as_str()) {
                faults
                    .push(format!("{}:{}: a shared `{}` would hide mistakes", source.path, pair[1].line, pair[1].text));
            }
        }
    }
    report("exec, native and the reference share formats and nothing that multiplies or adds tensors", &faults);
}

#[test]
fn files_are_short_and_say_why_they_exist() {
    let mut faults = Vec::new();
    for source in sources(&["src", "tests", "benches", "docs/examples"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            faults.push(format!("{}: {lines} lines, at most {FILE_LINES}", source.path));
        }
        if !source.text.starts_with("//!") {
            faults.push(format!("{}: starts with no `//!` doc", source.path));
        }
    }
    report("files are short and begin with what and why", &faults);
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        let tokens = &source.tokens;
        for at in (0..tokens.len()).filter(|at| tokens[*at].text == "fn") {
            let Some(lines) = function_lines(tokens, at) else { continue };
            if lines > FUNCTION_LINES {
                let (name, line) = (text_at(tokens, at + 1), tokens[at].line);
                faults.push(format!("{}:{line}: fn {name} has {lines} lines, at most {FUNCTION_LINES}", source.path));
            }
        }
    }
    report("functions are short", &faults);
}

/// Lines of the function whose `fn` is token `at`; `None` for a declaration without a body and for a type.
fn function_lines(tokens: &[Token], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut round = 0isize;
    for token in &tokens[at..] {
        match token.text.as_str() {
            "(" | "[" => round += 1,
            ")" | "]" => round -= 1,
            ";" | "," | "=" if depth == 0 && round <= 0 => return None,
            "{" => depth += 1,
            "}" if depth == 1 => return Some(token.line - tokens[at].line + 1),
            "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

#[test]
fn unsafe_stands_only_in_arch_leaves() {
    let mut faults = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.path.contains("/arch/")) {
        for token in source.tokens.iter().filter(|token| token.text == "unsafe") {
            faults.push(format!("{}:{}", source.path, token.line));
        }
    }
    report("`unsafe` stands only under a folder named arch/", &faults);
}

#[test]
fn only_the_command_line_prints_or_exits() {
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        if source.path.starts_with("src/cli/") || source.path == "src/main.rs" {
            continue;
        }
        for pair in source.tokens.windows(3) {
            let macro_call = matches!(pair[0].text.as_str(), "println" | "eprintln" | "print" | "eprint" | "dbg");
            let prints = macro_call && pair[1].text == "!";
            let exits = pair[0].text == "process" && matches!(pair[2].text.as_str(), "exit" | "abort");
            if prints || exits {
                faults.push(format!("{}:{}: {}{}", source.path, pair[0].line, pair[0].text, pair[1].text));
            }
        }
    }
    report("only src/cli prints or exits", &faults);
}

#[test]
fn nothing_is_left_undone() {
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        for pair in source.tokens.windows(2) {
            if matches!(pair[0].text.as_str(), "todo" | "unimplemented") && pair[1].text == "!" {
                faults.push(format!("{}:{}: {}!", source.path, pair[0].line, pair[0].text));
            }
            if pair[0].text == "allow" && pair[1].text == "(" {
                faults.push(format!("{}:{}: `expect(.., reason = ..)` instead of `allow`", source.path, pair[0].line));
            }
        }
    }
    report("no stubs, no silent `allow`", &faults);
}

#[test]
fn dependencies_are_explained() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let page = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let mut names = BTreeSet::new();
    for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
        names.extend(manifest[section].as_table().unwrap().keys().cloned());
    }
    let missing: Vec<String> = names.into_iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
    report("docs/dependencies.md says why each dependency is there", &missing);
}

#[test]
fn nothing_points_outside_the_repository() {
    // Written in pieces, so that this file does not contain what it looks for.
    let forbidden =
        [concat!("/wo", "rk/"), concat!("/tmp/", "studio"), concat!("/tmp/", "hub"), concat!("/tmp/", "w/")];
    let folders = ["src", "isa", "machines", "programs", "policies", "reports", "tests", "docs", "benches", ".ci"];
    let files =
        ["README.md", "Cargo.toml", "CHANGELOG.md", "CONTRIBUTING.md", "THIRD-PARTY.md", "CITATION.cff", "build.rs"];
    let mut paths: Vec<PathBuf> = files.iter().map(|file| root().join(file)).collect();
    folders.iter().for_each(|folder| walk(&root().join(folder), &mut paths));
    let mut faults = Vec::new();
    for path in paths {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if forbidden.iter().any(|word| line.contains(word)) {
                faults.push(format!("{}:{}", relative(&path), number + 1));
            }
        }
    }
    report("no path of one machine stands in the repository", &faults);
}
