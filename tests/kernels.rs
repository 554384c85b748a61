//! The kernel library: every file assembles for the formats it may be bound to, says what it is, and passes its own
//! tests; a user's file takes its place and is cross-checked like ours.

use preon::check::cases::{self, Outcome};
use preon::compile::kernels::Kernels;
use preon::isa::asm::{Options, Sources, assemble, tests};
use preon::vpu::{RunOptions, RunResult, Vpu};
use preon::{machine, policy};
use std::collections::BTreeSet;
use std::path::Path;

/// Formats and constants that a kernel is bound to.
type Binding = (Vec<(&'static str, &'static str)>, Vec<(&'static str, i64)>);

/// A binding of the matrix products: formats and their bits, class of the sums, and the constants that are set.
fn product(w: (&'static str, i64), x: (&'static str, i64), class: i64, set: &[(&'static str, i64)]) -> Binding {
    let mut constants = vec![("WBITS", w.1), ("XBITS", x.1), ("CLASS", class), ("SXBYTES", 4)];
    for name in ["SXB", "SWB", "PLANES", "OFFSET", "FINAL", "ADC", "CODED", "MASKED"] {
        constants.push((name, set.iter().find(|(set, _)| *set == name).map_or(0, |(_, value)| *value)));
    }
    (vec![("W", w.0), ("X", x.0), ("SW", "fp32"), ("SX", "fp32")], constants)
}

fn table(set: &[(&'static str, i64)]) -> Binding {
    let names = ["SCALES", "BLOCK", "SBYTES", "PLANES", "OFFSET", "GLOBAL", "WBITS"];
    let value = |name: &str| set.iter().find(|(set, _)| *set == name).map_or(i64::from(name == "PLANES"), |(_, v)| *v);
    (vec![("W", "binary"), ("S", "fp32")], names.map(|name| (name, value(name))).to_vec())
}

fn bindings(kernel: &str) -> Vec<Binding> {
    match kernel {
        "linear-array" | "linear-vector" => vec![
            product(("fp32", 32), ("fp32", 32), 1, &[]),
            product(("ternary", 2), ("int8", 8), 0, &[("CODED", 1)]),
            product(("bf16", 16), ("bf16", 16), 2, &[("FINAL", 1)]),
            product(("fp16", 16), ("fp16", 16), 3, &[("FINAL", 2), ("SXB", 1), ("SWB", 1)]),
            product(("binary", 1), ("int8", 8), 0, &[("PLANES", 1), ("SWB", 1)]),
            product(("int4", 4), ("int8", 8), 4, &[("OFFSET", 1), ("SWB", 1)]),
            product(("int8", 8), ("int8", 8), 5, &[("FINAL", 1), ("ADC", 8)]),
            product(("ternary", 2), ("int8", 8), 0, &[("MASKED", 1)]),
        ],
        "linear-sparse" => {
            let set = |w, x, class, set: &[(&'static str, i64)]| {
                let (formats, mut constants) = product(w, x, class, set);
                for name in ["ARRAY", "GROUPS", "PACKN", "PACKM", "TAIL"] {
                    constants.push((name, set.iter().find(|(set, _)| *set == name).map_or(0, |(_, value)| *value)));
                }
                (formats, constants)
            };
            vec![
                set(("int8", 8), ("int8", 8), 0, &[("ARRAY", 1), ("TAIL", 1)]),
                set(("bf16", 16), ("bf16", 16), 2, &[("ARRAY", 1), ("MASKED", 1)]),
                set(("ternary", 2), ("int8", 8), 0, &[("GROUPS", 4)]),
                set(("bf16", 16), ("bf16", 16), 2, &[("GROUPS", 2), ("MASKED", 1)]),
                set(("int4", 4), ("int8", 8), 0, &[("GROUPS", 1), ("MASKED", 1), ("PACKN", 2), ("PACKM", 4)]),
            ]
        }
        "quantise" => vec![(vec![("Y", "int8")], vec![("RULE", 0)]), (vec![("Y", "binary")], vec![("RULE", 1)])],
        "quantise-block" => {
            (0..7).map(|rule| (vec![("Y", "fp4e2m1"), ("SY", "fp32")], vec![("RULE", rule), ("BLOCK", 16)])).collect()
        }
        "cast" => vec![(vec![("Y", "bf16")], vec![])],
        "unpack-ec" => vec![(vec![("W", "ternary")], vec![])],
        "embedding" => vec![
            table(&[("WBITS", 32)]),
            table(&[("SCALES", 1), ("BLOCK", 32), ("SBYTES", 1), ("OFFSET", 1), ("WBITS", 4)]),
            table(&[("SCALES", 1), ("SBYTES", 4), ("PLANES", 4), ("GLOBAL", 1), ("WBITS", 1)]),
        ],
        _ => vec![(vec![], vec![])],
    }
}

#[test]
fn every_kernel_assembles() {
    let kernels = Kernels::builtin();
    let names: Vec<&str> = kernels.iter().map(|(name, _)| name).filter(|name| name.ends_with(".vasm")).collect();
    assert!(names.len() >= 25);
    for file in names {
        for (formats, equs) in bindings(file.trim_end_matches(".vasm")) {
            let sources = sources(&kernels, file);
            let options = Options {
                formats: formats.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
                equs: equs.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            };
            match assemble(&sources, &options) {
                Ok(object) => assert!(object.words.len() > 10 && !object.params.is_empty(), "{file}"),
                Err(errors) => panic!("{}", errors.iter().map(|e| e.render(false)).collect::<Vec<_>>().join("\n")),
            }
        }
    }
}

fn sources(kernels: &Kernels, main: &str) -> Sources {
    let mut sources = Sources::new(main);
    kernels.iter().for_each(|(name, text)| sources.add(name, text.clone()));
    sources
}

/// Words of the comments of a text.
fn commented(text: &str) -> impl Iterator<Item = &str> {
    let comments = text.lines().filter_map(|line| Some(line.split_once('#')?.1));
    comments
        .flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)))
        .map(|w| w.trim_matches('.'))
}

/// Parameters of a text, and whether their line has a comment.
fn params(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(".param"));
    lines.flat_map(|line| {
        line.split('#').next().unwrap_or(line).split(',').map(move |name| (name.trim(), line.contains('#')))
    })
}

/// A text, those that it includes, and those that its comments name: what explains its parameters.
fn explaining<'a>(kernels: &'a Kernels, file: &str) -> Vec<&'a str> {
    let text = kernels.source(file).expect("a file of ours");
    let included = text.lines().filter_map(|line| line.strip_prefix(".include")?.split('"').nth(1));
    let named = commented(text).filter(|word| word.ends_with(".vasm"));
    std::iter::once(text).chain(included.chain(named).filter_map(|name| kernels.source(name))).collect()
}

/// The first lines of a file say what it computes, its parameters and its loop nest; every parameter is explained there,
/// or by a comment on its `.param` line.
#[test]
fn every_kernel_says_what_it_is() {
    let kernels = Kernels::builtin();
    for (file, text) in kernels.iter() {
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.len() >= 2, "{file} has no head");
        if file.ends_with(".inc") {
            continue;
        }
        for part in ["Parameters:", "Loop nest:"] {
            assert!(head.iter().any(|line| line.contains(part)), "the head of {file} has no `{part}`");
        }
        let texts = explaining(&kernels, file);
        let mut explained: BTreeSet<&str> = texts.iter().flat_map(|text| commented(text)).collect();
        let beside = texts.iter().flat_map(|text| params(text)).filter(|(_, comment)| *comment);
        explained.extend(beside.map(|(name, _)| name));
        for (name, _) in params(text) {
            assert!(explained.contains(name), "{file} does not say what its parameter `{name}` is");
        }
    }
}

fn outcomes(kernels: &Kernels, file: &str) -> Vec<Outcome> {
    let cases = tests(&sources(kernels, file), &Options::default()).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(|e| e.render(false)).collect::<Vec<_>>().join("\n"));
    });
    assert!(!cases.is_empty(), "{file} has no test");
    for case in &cases {
        let stated: Vec<&str> = case.cycles.iter().map(|cycles| cycles.machine.as_str()).collect();
        assert!(stated.contains(&"edge") && stated.contains(&"hbm"), "{file}: {} states no cycles there", case.name);
        assert!(!case.expect.is_empty(), "{file}: {} expects no values", case.name);
    }
    cases.iter().map(|case| cases::run(case, None).unwrap_or_else(|error| panic!("{error}"))).collect()
}

#[test]
fn every_kernel_passes_its_tests() {
    let kernels = Kernels::builtin();
    for (file, _) in kernels.iter().filter(|(file, _)| file.ends_with(".vasm")) {
        for outcome in outcomes(&kernels, file) {
            let failures: Vec<String> = outcome.failures.iter().map(|error| error.render(false)).collect();
            assert!(failures.is_empty(), "{}", failures.join("\n"));
        }
    }
}

/// Dead blocks of keys cost the mask test: at most two cycles each, on both machines.
#[test]
fn dead_blocks_of_attention_cost_the_mask_test_only() {
    let outcomes = outcomes(&Kernels::builtin(), "attention-blocks.vasm");
    let cycles = |name: &str| -> Vec<u64> {
        let outcome = outcomes.iter().find(|outcome| outcome.name == name).unwrap_or_else(|| panic!("{name}"));
        outcome.runs.iter().filter_map(|run| run.cycles).collect()
    };
    let alone = cycles("two live blocks");
    assert!(alone.len() == 2 && alone.iter().all(|cycles| *cycles > 500));
    for among in ["two live blocks before 62 dead ones", "two live blocks around dead ones"] {
        for (among, alone) in cycles(among).into_iter().zip(&alone) {
            assert!(among <= alone + 2 * 62, "{among} cycles with dead blocks, {alone} without");
        }
    }
}

/// A product of the policy on edge with the kernels of a folder that holds these files.
fn product_with(files: &[(&str, String)]) -> preon::Result<(RunResult, tempfile::TempDir)> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let kernels = if files.is_empty() { Kernels::builtin() } else { Kernels::with_folder(folder.path())? };
    let mut vpu = Vpu::new(machine::load("edge")?);
    vpu.set_precision(policy::load("w1.58a8")?);
    vpu.options = RunOptions { kernels, ..RunOptions::default() };
    Ok((vpu.gemm(5, 512, 96)?, folder))
}

/// `text` with `old`, which it has exactly once or in each of `count` places, replaced by `new`.
fn edited(text: &str, old: &str, new: &str, count: usize) -> String {
    assert_eq!(text.matches(old).count(), count, "{old}");
    text.replace(old, new)
}

fn ours(name: &str) -> String {
    Kernels::builtin().source(name).expect("a kernel of ours").to_owned()
}

/// As a new user would: the loop over four outputs' registers takes one row of inputs at a time instead of two.
#[test]
fn an_edited_kernel_changes_the_cycles_and_passes_the_check() {
    let (before, _folder) = product_with(&[]).expect("runs");
    let rolled = edited(&ours("linear-vector.vasm"), "    srl     x23, x7, 1\n", "    li      x23, 0\n", 1);
    let rolled = edited(&rolled, "    and     x23, x7, 1\n", "    mv      x23, x7\n", 1);
    let next = "      dots    v2\n      add     x20, x20, 1\nby_one\\@: endl\n";
    let rolled = edited(&rolled, "      dots    v2\nby_one\\@: endl\n", next, 1);
    let (after, folder) = product_with(&[("linear-vector.vasm", rolled)]).expect("runs");
    assert_eq!(after.outputs, before.outputs);
    assert!(after.check.expect("checked").is_bit_exact());
    assert_ne!(after.summary.cycles, before.summary.cycles);
    let path = folder.path().join("linear-vector.vasm").display().to_string();
    let used: Vec<_> = after.summary.kernels.iter().map(|file| (&*file.name, &*file.path, file.steps)).collect();
    assert_eq!(used, [("linear-vector.vasm", path.as_str(), 1)]);
    assert!(after.summary.layers.iter().any(|layer| layer.kernel == path));
    assert!(before.summary.kernels.is_empty());
}

/// Named are the node, the first wrong element, both values and the line that stored it.
#[test]
fn a_planted_bug_is_caught_and_named() {
    // The second register of four takes the weights of the third.
    let text = edited(&ours("linear-vector.vasm"), "dot     c1, v6, \\x, p2", "dot     c1, v7, \\x, p2", 1);
    let (wrong, folder) = product_with(&[("linear-vector.vasm", text.clone())]).expect("runs");
    let check = wrong.check.expect("checked");
    assert!(!check.is_bit_exact());
    let mismatch = &check.mismatches[0];
    let (file, line) = mismatch.line.clone().expect("a traced line");
    assert_eq!(file, folder.path().join("linear-vector.vasm").display().to_string());
    let stored = text.lines().nth(line as usize - 1).expect("a line of the file");
    assert!(stored.contains("st.c"), "{stored}");
    let shown = mismatch.to_string();
    for part in ["node `gemm` (linear): element [0, ", "]: expected ", ", got ", &format!("; stored by {file}:{line}")]
    {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    assert!(mismatch.col > 0, "the first register is right: {shown}");
}

#[test]
fn kernels_that_do_not_fit_are_refused_with_their_place() {
    let refused = |name: &str, text: String| match product_with(&[(name, text)]) {
        Err(error) => error.render(false),
        Ok(_) => panic!("{name} was accepted"),
    };
    let text = ours("linear-vector.vasm");
    let shown = refused("linear-vector.vasm", edited(&text, "    c.fill  c7, zero\n", "    c.fil   c7, zero\n", 1));
    assert!(
        shown.contains("linear-vector.vasm:") && shown.contains("c.fil   c7") && shown.contains("E0102"),
        "{shown}"
    );
    let shown = refused("linear-vector.vasm", edited(&text, ".param bias, act", ".param bias, mine, act", 1));
    assert!(shown.contains("asks for a parameter `mine`") && shown.contains(".param bias, mine, act"), "{shown}");
    let shown = refused("linear-vector.vasm", edited(&text, "table, model, tile_rows", "table, model", 1));
    assert!(shown.contains("has no parameter `tile_rows`") && shown.contains("linear-vector.vasm"), "{shown}");
    let shown = refused("setup.inc", ours("setup.inc").replace("setacc  \\c, exact", "setacc  \\c, exct"));
    assert!(shown.contains("setup.inc:"), "{shown}");
    assert!(refused("linear.vasm", text).contains("linear.vasm"));
}

/// A kernel that does not end is a trap with its line, not a hang.
#[test]
fn a_kernel_that_does_not_end_runs_out_of_fuel() {
    let text = ours("linear-vector.vasm");
    let ever = edited(&text, "    sub     x2, x2, x7\n    bne     x2, x0, m_loop\n", "here:\n    j       here\n", 1);
    let Err(error) = product_with(&[("linear-vector.vasm", ever)]) else { panic!("it ended") };
    let shown = error.render(false);
    assert_eq!(error.kind().exit_code(), 5);
    assert!(shown.contains("trap FUEL") && shown.contains("linear-vector.vasm:"), "{shown}");
}

/// docs/kernels.md lists every kernel where it belongs: those that a lowering names, and those for programs.
#[test]
fn the_page_lists_every_kernel_where_it_belongs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/kernels.md")).expect("the page");
    let (linked, for_programs) = page.split_once("## For programs").expect("two tables");
    let folder = |name: &str| std::fs::read_dir(root.join("src/compile").join(name)).expect("the lowerings");
    let lowerings: String = folder("lower")
        .chain(folder("layers"))
        .map(|entry| std::fs::read_to_string(entry.expect("readable").path()).expect("a source text"))
        .collect();
    for (file, _) in Kernels::builtin().iter() {
        let named = |text: &str| text.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{file}`")));
        match file.strip_suffix(".vasm") {
            Some(stem) => {
                let lowered = lowerings.contains(&format!("\"{stem}\""));
                assert_eq!((named(linked), named(for_programs)), (lowered, !lowered), "{file}");
            }
            None => assert!(named(linked) || named(for_programs), "docs/kernels.md does not name {file}"),
        }
    }
}
