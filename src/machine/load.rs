//! From a name or path to one merged, checked tree: `extends`, `--set`, defaults, and the schema's checks.

use super::array;
use super::schema::{self, GROUP_WORDS, KEYS, Key, Kind, Need, OPTIONAL_TABLES};
use super::tree::{self, Entry, Node, Origin, Text, Value};
use crate::diag::{Error, Result, did_you_mean};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The machines that pages and demonstrations go through: name, path in the repository, text.
pub(super) const BUILTIN: &[(&str, &str, &str)] = &[
    ("edge", "machines/edge.toml", include_str!("../../machines/edge.toml")),
    ("hbm", "machines/hbm.toml", include_str!("../../machines/hbm.toml")),
];

/// The others: reference memories, small machines, and those after published ones (docs/validation.md).
pub(super) const OTHERS: &[(&str, &str, &str)] = &[
    ("dram-hbm2", "machines/dram-hbm2.toml", include_str!("../../machines/dram-hbm2.toml")),
    ("dram-ddr4", "machines/dram-ddr4.toml", include_str!("../../machines/dram-ddr4.toml")),
    ("dram-lpddr4", "machines/dram-lpddr4.toml", include_str!("../../machines/dram-lpddr4.toml")),
    ("mcu", "machines/mcu.toml", include_str!("../../machines/mcu.toml")),
    ("textbook-32", "machines/textbook-32.toml", include_str!("../../machines/textbook-32.toml")),
    ("scalesim-ws", "machines/scalesim-ws.toml", include_str!("../../machines/scalesim-ws.toml")),
    ("scalesim-os", "machines/scalesim-os.toml", include_str!("../../machines/scalesim-os.toml")),
    ("scalesim-is", "machines/scalesim-is.toml", include_str!("../../machines/scalesim-is.toml")),
    ("onnxim-like", "machines/onnxim-like.toml", include_str!("../../machines/onnxim-like.toml")),
    ("tpu-v1", "machines/tpu-v1.toml", include_str!("../../machines/tpu-v1.toml")),
    ("bitfusion-16x32", "machines/bitfusion-16x32.toml", include_str!("../../machines/bitfusion-16x32.toml")),
    ("cutie", "machines/cutie.toml", include_str!("../../machines/cutie.toml")),
    ("eyeriss", "machines/eyeriss.toml", include_str!("../../machines/eyeriss.toml")),
    ("nvdla-2048", "machines/nvdla-2048.toml", include_str!("../../machines/nvdla-2048.toml")),
    ("nvdla-1024", "machines/nvdla-1024.toml", include_str!("../../machines/nvdla-1024.toml")),
    ("nvdla-512", "machines/nvdla-512.toml", include_str!("../../machines/nvdla-512.toml")),
    ("nvdla-256", "machines/nvdla-256.toml", include_str!("../../machines/nvdla-256.toml")),
    ("nvdla-128", "machines/nvdla-128.toml", include_str!("../../machines/nvdla-128.toml")),
    ("nvdla-64", "machines/nvdla-64.toml", include_str!("../../machines/nvdla-64.toml")),
    ("nvdla-32", "machines/nvdla-32.toml", include_str!("../../machines/nvdla-32.toml")),
    ("tereffic-hbm", "machines/tereffic-hbm.toml", include_str!("../../machines/tereffic-hbm.toml")),
    ("a100-like", "machines/a100-like.toml", include_str!("../../machines/a100-like.toml")),
];

/// Every machine that is part of the program.
pub(super) fn built_in() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> + Clone {
    BUILTIN.iter().chain(OTHERS)
}

/// Largest machine file that is read.
const MAX_BYTES: u64 = 4 << 20;
/// Source keys that need no row in `sources`: a free choice of the machine's author, and a value from the command line.
pub(super) const OWN_SOURCES: [&str; 2] = ["choice", "--set"];

/// The merged and checked tree of a machine.
pub(super) fn tree(name_or_path: &str, sets: &[(String, String)]) -> Result<Node> {
    let mut root = with_bases(name_or_path, None, &mut Vec::new())?;
    for (key, value) in sets {
        root.overlay(parse_set(key, value)?);
    }
    normalise(&mut root)?;
    Ok(root)
}

/// The checked tree of a text that stands in no file.
pub(super) fn tree_of_text(path: &str, text: &str) -> Result<Node> {
    let mut root = parse_with_bases(path, text.into(), None, &mut vec![path.to_owned()])?;
    normalise(&mut root)?;
    Ok(root)
}

fn normalise(root: &mut Node) -> Result<()> {
    mark_sets(root, &mut Vec::new());
    super::energy::fill::fill(root)?;
    check_table(root, root, &mut Vec::new())?;
    for key in KEYS {
        let segments: Vec<&str> = key.path.split('.').collect();
        let home = root.from.clone();
        require(root, key, &segments, 0, &home)?;
    }
    array::normalise(root)
}

/// Reads a machine and lays it over its bases; `open` holds the files being read, to refuse a cycle.
fn with_bases(name: &str, from: Option<(&Path, &Origin)>, open: &mut Vec<String>) -> Result<Node> {
    let place = |e: Error| match from {
        Some((_, origin)) => e.in_text(origin.text.path.clone(), origin.text.text.clone(), origin.span.clone()),
        None => e,
    };
    let looks_like_path = name.contains(['/', '\\']) || name.ends_with(".toml");
    if let Some((_, path, text)) = built_in().find(|b| !looks_like_path && b.0 == name) {
        if open.iter().any(|o| o == path) {
            return Err(place(Error::bad_input(format!("machine `{name}` extends itself"))));
        }
        open.push((*path).to_owned());
        return parse_with_bases(path, (*text).into(), None, open);
    }
    let file: PathBuf = match from {
        Some((dir, _)) => dir.join(name),
        None => PathBuf::from(name),
    };
    let shown = file.display().to_string();
    if !looks_like_path && !file.is_file() {
        let names = || built_in().map(|b| b.0);
        let help = match did_you_mean(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("built in: {}; or give a path", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(place(Error::bad_input(format!("there is no machine `{name}`")).help(help)));
    }
    let meta = std::fs::metadata(&file).map_err(|e| place(Error::bad_input(reason(&e)).in_file(&shown)))?;
    if !meta.is_file() {
        return Err(place(Error::bad_input("this is not a file; a machine is one TOML file").in_file(&shown)));
    }
    if meta.len() > MAX_BYTES {
        return Err(place(Error::bad_input("this is too large to be a machine file (limit 4 MiB)").in_file(&shown)));
    }
    let identity = std::fs::canonicalize(&file).unwrap_or_else(|_| file.clone()).display().to_string();
    if open.contains(&identity) {
        return Err(place(Error::bad_input(format!("machine `{name}` extends itself"))));
    }
    open.push(identity);
    let text = std::fs::read_to_string(&file).map_err(|e| place(Error::bad_input(reason(&e)).in_file(&shown)))?;
    let dir = file.parent().map(Path::to_path_buf).unwrap_or_default();
    parse_with_bases(&shown, text.into(), Some(&dir), open)
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::InvalidData => "this file is not UTF-8 text".to_owned(),
        _ => format!("cannot read this file: {error}"),
    }
}

fn parse_with_bases(path: &str, text: Arc<str>, dir: Option<&Path>, open: &mut Vec<String>) -> Result<Node> {
    if text.trim().is_empty() {
        return Err(Error::bad_input("this machine file is empty").in_file(path));
    }
    let mut own = tree::parse(path, text)?;
    let Some(base) = own.get("extends").cloned() else { return Ok(own) };
    let Some(name) = base.text() else {
        return Err(base.from.error(format!("`extends` must be a string, not {}", base.kind())));
    };
    let mut merged = with_bases(name, Some((dir.unwrap_or(Path::new("")), &base.from)), open)?;
    if let Value::Table(entries) = &mut own.value {
        entries.retain(|e| e.key != "extends");
    }
    // Of another kind of array no key of the base's makes sense, and none of its pairs is served.
    let names_a_kind = own.at(["array", "kind"]).is_some();
    if let (true, Value::Table(entries)) = (names_a_kind, &mut merged.value) {
        entries.retain(|e| e.key != "array");
    }
    merged.overlay(own);
    Ok(merged)
}

/// `a.b*c.d` and a value, as a small document to lay over a machine. A value that is not TOML is taken as a string.
fn parse_set(key: &str, value: &str) -> Result<Node> {
    let usage =
        |what: &str| Error::usage(format!("--set {key}={value}: {what}")).help("write --set dram.latency_ns=50");
    let mut path = Vec::new();
    for part in key.split('.') {
        if part.is_empty() || part.contains(['\n', '"']) {
            return Err(usage("this is not a dotted key"));
        }
        path.push(tree::quote_key(part));
    }
    let name = format!("--set {key}");
    let dotted = path.join(".");
    let root = match tree::parse(&name, format!("{dotted} = {value}").into()) {
        Ok(root) => root,
        Err(_) => tree::parse(&name, format!("{dotted} = {}", toml::Value::String(value.to_owned())).into())?,
    };
    if root.entries().len() != 1 {
        return Err(usage("this sets more than one key"));
    }
    Ok(root)
}

/// Gives figures and prices that `--set` put in place the source `--set`, so that they need none of their own.
fn mark_sets(node: &mut Node, path: &mut Vec<String>) {
    let Value::Table(entries) = &mut node.value else { return };
    for entry in entries.iter_mut().filter(|entry| entry.node.is_set_anywhere()) {
        path.push(entry.key.clone());
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        match schema::find(&segments).map(|k| k.kind) {
            Some(Kind::Figure | Kind::FigureOrZero) if entry.node.from.is_set() && entry.node.number().is_some() => {
                let from = entry.node.from.clone();
                let source = Node { value: Value::Str("--set".to_owned()), from: from.clone() };
                let value = std::mem::replace(&mut entry.node, Node { value: Value::List(Vec::new()), from });
                entry.node.value = Value::List(vec![value, source]);
            }
            Some(Kind::Price) => {
                if let Some(from) = entry.node.get("pj").map(|pj| pj.from.clone()).filter(Origin::is_set) {
                    let source = Node { value: Value::Str("--set".to_owned()), from: from.clone() };
                    let words = vec![Entry { key: "source".to_owned(), at: from.clone(), node: source }];
                    entry.node.overlay(Node { value: Value::Table(words), from });
                }
            }
            Some(_) => {}
            None => mark_sets(&mut entry.node, path),
        }
        path.pop();
    }
}

/// Checks every entry of a table against the schema.
fn check_table(root: &Node, table: &Node, path: &mut Vec<String>) -> Result<()> {
    for entry in table.entries() {
        path.push(entry.key.clone());
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        let parent = &segments[..segments.len() - 1];
        if let Some(key) = schema::find(&segments) {
            check_value(root, key, &segments, &entry.node)?;
        } else if GROUP_WORDS.contains(&entry.key.as_str()) && holds_figures(parent) {
            check_word(root, &entry.key, &entry.node)?;
        } else if !schema::is_table(&segments) {
            return Err(unknown_key(entry, parent));
        } else if entry.node.is_table() {
            check_table(root, &entry.node, path)?;
        } else {
            let kind = entry.node.kind();
            return Err(entry.node.from.error(format!("`{}` is a table of keys, not {kind}", segments.join("."))));
        }
        path.pop();
    }
    Ok(())
}

fn unknown_key(entry: &Entry, parent: &[&str]) -> Error {
    let names = schema::children(parent);
    let home = if parent.is_empty() { "a machine file".to_owned() } else { format!("[{}]", parent.join(".")) };
    let error = entry.at.error(format!("unknown key `{}` in {home}", entry.key));
    match did_you_mean(&entry.key, names.iter().copied().filter(|n| *n != "*")) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("the keys here are: {}", names.join(", "))),
    }
}

fn holds_figures(path: &[&str]) -> bool {
    KEYS.iter().any(|k| {
        let parent = k.path.rsplit_once('.').map_or("", |(p, _)| p);
        matches!(k.kind, Kind::Figure | Kind::FigureOrZero | Kind::Price) && schema::matches(parent, path)
    })
}

fn wrong(node: &Node, name: &str, want: &str) -> Error {
    node.from.error(format!("`{name}` must be {want}, not {}", node.kind()))
}

fn check_value(root: &Node, key: &Key, path: &[&str], node: &Node) -> Result<()> {
    let name = path.join(".");
    match key.kind {
        Kind::Text => node.text().map(|_| ()).ok_or_else(|| wrong(node, &name, "a string")),
        Kind::Word(words) => {
            let word = node.text().ok_or_else(|| wrong(node, &name, "a string"))?;
            if words.contains(&word) {
                return Ok(());
            }
            let error = node.from.error(format!("`{name}` cannot be `{word}`"));
            Err(match did_you_mean(word, words.iter().copied()) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("it is one of: {}", words.join(", "))),
            })
        }
        Kind::Count(low, high) => match &node.value {
            Value::Int(i) if u64::try_from(*i).is_ok_and(|u| (low..=high).contains(&u)) => Ok(()),
            Value::Int(i) => Err(node.from.error(format!("`{name}` must lie in {low}..={high}, not {i}"))),
            _ => Err(wrong(node, &name, "an integer")),
        },
        Kind::Pair(low, high) => {
            let items = if let Value::List(items) = &node.value { items.as_slice() } else { &[] };
            let in_range = |item: &Node| matches!(item.value, Value::Int(i) if u64::try_from(i).is_ok_and(|u| (low..=high).contains(&u)));
            match items {
                [a, b] if in_range(a) && in_range(b) => Ok(()),
                _ => Err(wrong(node, &name, &format!("two integers from {low} to {high}"))),
            }
        }
        Kind::Figure | Kind::FigureOrZero => check_figure(root, key, path, node),
        Kind::Points => check_points(root, &name, node),
        Kind::Price => check_price(root, path, node),
    }
}

fn check_points(root: &Node, name: &str, node: &Node) -> Result<()> {
    let rows = if let Value::List(rows) = &node.value { rows.as_slice() } else { &[] };
    if rows.is_empty() {
        return Err(wrong(node, name, "a list of [volts, hz, \"source\"]"));
    }
    for row in rows {
        let Some(point) = super::power::point(row) else {
            return Err(wrong(row, name, "a list of [volts, hz, \"source\"], numbers above zero"));
        };
        check_source(root, &point.source, &row.from)?;
    }
    Ok(())
}

fn check_word(root: &Node, word: &str, node: &Node) -> Result<()> {
    let text = node.text().ok_or_else(|| wrong(node, word, "a string"))?;
    if word == "source" {
        check_source(root, text, &node.from)?;
    }
    Ok(())
}

fn check_source(root: &Node, source: &str, from: &Origin) -> Result<()> {
    let known = root.get("sources").map(Node::entries).unwrap_or_default();
    if OWN_SOURCES.contains(&source) || known.iter().any(|e| e.key == source) {
        return Ok(());
    }
    let error = from.error(format!("there is no source `{source}`"));
    Err(match did_you_mean(source, known.iter().map(|e| e.key.as_str())) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("add [sources.{source}] with cite and trust")),
    })
}

/// The number of a figure and the key of its source.
pub(super) fn figure<'a>(root: &'a Node, path: &[&str]) -> Option<(f64, &'a str)> {
    let node = root.at(path.iter().copied())?;
    let group = || root.at(path[..path.len() - 1].iter().copied())?.get("source")?.text();
    match &node.value {
        Value::List(items) => match items.as_slice() {
            [value, source] => Some((value.number()?, source.text()?)),
            _ => None,
        },
        Value::Table(_) => {
            Some((node.get("value")?.number()?, node.get("source").and_then(Node::text).or_else(group)?))
        }
        _ => Some((node.number()?, group()?)),
    }
}

fn check_figure(root: &Node, key: &Key, path: &[&str], node: &Node) -> Result<()> {
    let name = path.join(".");
    let form = "a figure with its source: [value, \"source\"]";
    for entry in node.entries() {
        if !["value", "source"].contains(&entry.key.as_str()) {
            return Err(entry.at.error(format!("unknown key `{}` in {name}", entry.key)).help("value, source"));
        }
    }
    let Some((value, source)) = figure(root, path) else {
        return Err(match node.number() {
            Some(_) => node.from.error(format!("`{name}` has no source")).help(format!("write {form}")),
            None if node.text().is_some() => wrong(node, &name, "a number"),
            None => wrong(node, &name, form),
        });
    };
    check_source(root, source, &node.from)?;
    let smallest_ok = if key.kind == Kind::FigureOrZero { value >= 0.0 } else { value > 0.0 };
    if !smallest_ok || !value.is_finite() {
        let want = if key.kind == Kind::FigureOrZero { "zero or more" } else { "more than zero" };
        return Err(node.from.error(format!("`{name}` must be {want}, not {value}")));
    }
    if value > key.largest() {
        let most = format!("{:e} {}", key.largest(), key.unit);
        return Err(node.from.error(format!("`{name}` must be at most {}, not {value:e}", most.trim_end())));
    }
    Ok(())
}

/// The three prices of a row and the words that belong to it (`per`, `scope`, `source`), its own or its table's.
pub(super) fn price_word<'a>(root: &'a Node, path: &[&str], word: &str) -> Option<&'a Node> {
    let own = root.at(path.iter().copied())?.get(word);
    own.or_else(|| root.at(path[..path.len() - 1].iter().copied())?.get(word))
}

fn check_price(root: &Node, path: &[&str], node: &Node) -> Result<()> {
    let name = path.join(".");
    if !node.is_table() {
        return Err(wrong(node, &name, "a price: { pj = [low, typical, high], source = \"..\" }"));
    }
    for entry in node.entries() {
        if entry.key != "pj" && !GROUP_WORDS.contains(&entry.key.as_str()) {
            let error = entry.at.error(format!("unknown key `{}` in {name}", entry.key));
            return Err(error.help("a price has pj, per, scope and source"));
        }
    }
    for word in GROUP_WORDS {
        let found = price_word(root, path, word);
        let found = found.ok_or_else(|| node.from.error(format!("the price `{name}` has no `{word}`")))?;
        check_word(root, word, found)?;
    }
    let pj = node.get("pj").ok_or_else(|| node.from.error(format!("the price `{name}` has no `pj`")))?;
    pj_of(pj).map(|_| ()).map_err(|why| pj.from.error(format!("`{name}.pj` {why}")))
}

/// Low, typical and high picojoule of a `pj` value: three numbers in order, or one for all.
pub(super) fn pj_of(node: &Node) -> std::result::Result<[f64; 3], &'static str> {
    let form = "must be [low, typical, high] or one number";
    let values = match &node.value {
        Value::List(items) => {
            let numbers: Option<Vec<f64>> = items.iter().map(Node::number).collect();
            <[f64; 3]>::try_from(numbers.ok_or(form)?).map_err(|_| form)?
        }
        _ => [node.number().ok_or(form)?; 3],
    };
    if values.iter().any(|v| !v.is_finite()) {
        return Err("must be finite");
    }
    if values.iter().any(|v| *v < 0.0) {
        return Err("must not be negative");
    }
    if values[2].max(values[1]).max(values[0]) > 1e9 {
        return Err("must be at most 1e9");
    }
    if values[0] > values[1] || values[1] > values[2] {
        return Err("must rise from low to typical to high");
    }
    Ok(values)
}

/// Makes sure that `key` is there wherever its table is, and fills in its default.
pub(super) fn require(node: &mut Node, key: &Key, segments: &[&str], depth: usize, home: &Origin) -> Result<()> {
    let segment = segments[depth];
    let last = depth + 1 == segments.len();
    let here = if node.from.span.is_empty() { home.clone() } else { node.from.clone() };
    let Value::Table(entries) = &mut node.value else { return Ok(()) };
    if segment == "*" {
        if !last {
            for entry in entries.iter_mut().filter(|e| !GROUP_WORDS.contains(&e.key.as_str())) {
                require(&mut entry.node, key, segments, depth + 1, home)?;
            }
        }
        return Ok(());
    }
    if let Some(entry) = entries.iter_mut().find(|e| e.key == segment) {
        return if last { Ok(()) } else { require(&mut entry.node, key, segments, depth + 1, home) };
    }
    let prefix = segments[..=depth].join(".");
    match key.need {
        _ if OPTIONAL_TABLES.contains(&prefix.as_str()) => Ok(()),
        Need::Optional => Ok(()),
        Need::Required => {
            let error = if here.span.is_empty() {
                Error::bad_input(format!("this machine has no `{}`", key.path)).in_file(here.text.path.clone())
            } else {
                here.error(format!("this machine has no `{}`", key.path))
            };
            Err(error.help(key.doc))
        }
        Need::Default(text) => {
            let origin = Origin { text: Arc::new(Text { path: "default".to_owned(), text: "".into() }), span: 0..0 };
            let rest = segments[depth..].join(".");
            let mut value = tree::parse("default", format!("{rest} = {text}").into())?;
            set_origin(&mut value, &origin);
            node.overlay(Node { from: node.from.clone(), ..value });
            Ok(())
        }
    }
}

fn set_origin(node: &mut Node, origin: &Origin) {
    node.from = origin.clone();
    match &mut node.value {
        Value::Table(entries) => {
            for entry in entries {
                entry.at = origin.clone();
                set_origin(&mut entry.node, origin);
            }
        }
        Value::List(items) => items.iter_mut().for_each(|n| set_origin(n, origin)),
        _ => {}
    }
}
