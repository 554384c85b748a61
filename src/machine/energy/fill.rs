//! Completes the tree of a machine whose `energy.law` is `anchored`: every price, wire and leakage that the file (or its
//! bases, or `--set`) leaves out is put in as if it stood there, with its formula as its origin and its law as its source.
//!
//! Runs before the schema's checks, so it skips what is malformed or missing: the checks say so with a place.

use super::anchors::Node as At;
use super::sram::{self, Bank, Cell, Way};
use super::{Derived, Rule, logic};
use crate::diag::{Error, Result};
use crate::machine::load;
use crate::machine::schema;
use crate::machine::tree::{Entry, Node, Origin, Text, Value};
use crate::num::format::find;
use std::sync::Arc;

/// The one law there is.
pub(in crate::machine) const ANCHORED: &str = "anchored";

/// A price to put in unless it is there: path, what it is per, its scope, the price.
struct Row {
    path: [String; 3],
    per: String,
    scope: &'static str,
    derived: Derived,
}

/// Fills in what the law gives.
///
/// # Errors
/// Bad input at `energy.law` if the node lies out of reach or the machine counts other scopes than the law's; at a pair of
/// formats or a memory that the law does not reach.
pub(in crate::machine) fn fill(root: &mut Node) -> Result<()> {
    let Some(law) = root.at(["energy", "law"]).filter(|law| law.text() == Some(ANCHORED)) else { return Ok(()) };
    let place = law.from.clone();
    let Some((nm, _)) = load::figure(root, &["machine", "node_nm"]) else { return Ok(()) };
    let node = At::new(nm).map_err(|error| at(&place, &error))?;
    for (kin, scope) in [("logic", "circuit"), ("sram", "macro")] {
        let counted = root.at(["machine", "scopes", kin]).and_then(Node::text).unwrap_or(scope);
        if counted != scope {
            let text = format!("the law counts {kin} as `{scope}`, but this machine counts `{counted}`");
            return Err(place
                .error(text)
                .help(format!("set machine.scopes.{kin} = \"{scope}\", or state every price")));
        }
    }
    let mut rows = macs(root, node)?;
    rows.extend(core(root, node));
    for level in ["own", "shared"] {
        rows.extend(memory(root, level, node).map_err(|error| at(&place, &error))?);
    }
    for row in rows {
        put_price(root, &row);
    }
    for (part, derived) in leakage(root, node) {
        put_leakage(root, part, &derived);
    }
    Ok(())
}

/// The same error at a place.
fn at(place: &Origin, error: &Error) -> Error {
    let placed = place.error(error.message());
    if let Some(help) = error.help_text() { placed.help(help) } else { placed }
}

fn price_row(group: &str, name: &str, per: &str, scope: &'static str, derived: Derived) -> Row {
    Row { path: ["energy".into(), group.into(), name.into()], per: per.into(), scope, derived }
}

/// Whether the tree has figures for a price.
fn stated(root: &Node, path: &[&str]) -> bool {
    root.at(path.iter().copied()).is_some_and(|price| price.get("pj").is_some())
}

/// Every pair that the S unit or the array lists.
fn macs(root: &Node, node: At) -> Result<Vec<Row>> {
    let lists = [["rate", "S"], ["array", "cycles"]];
    let mut rows: Vec<Row> = Vec::new();
    for entry in lists.iter().filter_map(|list| root.at(list.iter().copied())).flat_map(Node::entries) {
        let Some((w, x)) = entry.key.split_once('*') else { continue };
        let (Ok(w), Ok(x)) = (find(w), find(x)) else { continue };
        if rows.iter().any(|row| row.path[2] == entry.key) {
            continue;
        }
        let derived = match logic::mac(w, x, node) {
            Err(_) if stated(root, &["energy", "mac", &entry.key]) => continue,
            derived => derived.map_err(|error| at(&entry.at, &error))?,
        };
        rows.push(price_row("mac", &entry.key, "op", "circuit", derived));
    }
    Ok(rows)
}

/// A figure of the tree, if it is there and well formed.
fn number(root: &Node, path: &[&str]) -> Option<f64> {
    let node = root.at(path.iter().copied())?;
    node.number().or_else(|| load::figure(root, path).map(|(value, _)| value)).filter(|v| v.is_finite() && *v > 0.0)
}

/// Element-wise work and the core.
fn core(root: &Node, node: At) -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in schema::ELEMENTWISE {
        rows.extend(logic::elementwise(kind, node).map(|d| price_row("elementwise", kind, "op", "circuit", d)));
    }
    let decodes = root.at(["unit", "L", "codes_per_cycle"]).is_some();
    for (what, per) in [("fold", "op"), ("issue", "instruction"), ("register", "byte"), ("control", "access")] {
        rows.extend(logic::core(what, node).map(|d| price_row("core", what, per, "circuit", d)));
    }
    if decodes {
        rows.extend(logic::core("decode", node).map(|d| price_row("core", "decode", "op", "circuit", d)));
    }
    let mm = |path: &[&str], otherwise: f64| number(root, path).unwrap_or(otherwise);
    rows.push(price_row("core", "dma", "byte", "circuit", sram::wire(mm(&["dma", "wire_mm"], 1.0), node)));
    if root.get("noc").is_some() {
        rows.push(price_row("core", "noc", "byte", "circuit", sram::wire(mm(&["noc", "wire_mm"], 2.0), node)));
    }
    rows.extend(accumulator(root, node).map(|d| price_row("core", "accumulator", "op", "circuit", d)));
    rows
}

/// An accumulator entry: its four bytes' share of a word as wide as the own SRAM's, in a bank of one tile's size, the mean of
/// reading and writing; from 0.4 to 1.6 of that. Tiles below the law's reach are priced as the least bank it reaches.
fn accumulator(root: &Node, node: At) -> Option<Derived> {
    let entries = number(root, &["core", "acc", "rows"])? * number(root, &["core", "acc", "cols"])?;
    let bits = (number(root, &["sram", "own", "width_bytes"])? * 8.0).clamp(32.0, sram::REACH_BITS[1]);
    let kb = (entries * 4.0 / 1024.0).clamp(sram::REACH_KB[0], sram::REACH_KB[1]);
    let bank = Bank { kb, bits, cell: Cell::Lstp };
    let [read, write] = [Way::Read, Way::Write].map(|way| bank.access(way, 0.0, node));
    let pj = (read.ok()?.pj[1] + write.ok()?.pj[1]) / 2.0 * 32.0 / bits;
    let formula = format!("32 of {bits} bits of a {kb} KB bank, the mean of reads and writes; low x0.4, high x1.6");
    let extrapolated = bank.is_extrapolated() || node.is_beyond();
    Some(Derived { pj: [0.4 * pj, pj, 1.6 * pj], formula, rule: Rule::Sram, extrapolated })
}

fn cell(root: &Node, level: &str) -> Cell {
    root.at(["sram", level, "cell"]).and_then(Node::text).and_then(Cell::of).unwrap_or(Cell::Lstp)
}

/// Reads and writes of a level, by the size of its banks.
fn memory(root: &Node, level: &str, node: At) -> Result<Vec<Row>> {
    let of = |key: &str| number(root, &["sram", level, key]);
    let (Some(bytes), Some(banks), Some(width)) = (of("bytes"), of("banks"), of("width_bytes")) else {
        return Ok(Vec::new());
    };
    let bank = Bank { kb: bytes / banks / 1024.0, bits: width * 8.0, cell: cell(root, level) };
    let length = load::figure(root, &["sram", level, "wire_mm"]).map(|(mm, _)| mm);
    let mm = length.unwrap_or_else(|| sram::wire_mm(bytes, node));
    let per = format!("access of {width} B");
    let mut rows = Vec::new();
    for (name, way) in [("read", Way::Read), ("write", Way::Write)] {
        match bank.access(way, mm, node) {
            Err(_) if stated(root, &["energy", level, name]) => {}
            derived => rows.push(price_row(level, name, &per, "macro", derived?)),
        }
    }
    Ok(rows)
}

/// Leakage of every part that the law knows.
fn leakage(root: &Node, node: At) -> Vec<(&'static str, Derived)> {
    let logic = |pes: f64, formula: String| {
        let mw = node.between(pes * 22.95e-3, pes * 22.95e-3 / super::MEAN_RATIO);
        Derived { pj: [mw; 3], formula, rule: Rule::LogicLeak, extrapolated: node.is_beyond() }
    };
    let pes = match (number(root, &["array", "rows"]), number(root, &["array", "cols"])) {
        (Some(rows), Some(cols)) => rows * cols,
        _ => 0.0,
    };
    let lanes = number(root, &["unit", "E", "lanes"]).unwrap_or(0.0);
    let fp32 = number(root, &["rate", "S", "fp32*fp32"]).unwrap_or(0.0);
    let area = (lanes + fp32) * 11884.0 / 688.0;
    let mut rows = vec![
        ("core", logic(area, format!("{} fp32 lanes of 11884 um2", lanes + fp32))),
        ("array", logic(pes, format!("{pes} PEs"))),
    ];
    for level in ["own", "shared"] {
        let kb = number(root, &["sram", level, "bytes"]).unwrap_or(0.0) / 1024.0;
        rows.push((level, sram::leakage_mw(kb, cell(root, level), node)));
    }
    rows
}

/// Where a derived value comes from: its formula.
fn origin(derived: &Derived) -> Origin {
    Origin { text: Arc::new(Text { path: format!("energy.law: {}", derived.formula), text: "".into() }), span: 0..0 }
}

/// Four significant digits: more would pretend.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// The source of a derived value, put into the tree if it is not there.
fn source(root: &mut Node, derived: &Derived) -> String {
    let (key, cite) = derived.rule.source();
    let key = if derived.extrapolated { format!("{key}_beyond") } else { key.to_owned() };
    if root.at(["sources", &key]).is_none() {
        let cite = if derived.extrapolated { format!("{cite}; asked outside the range of these") } else { cite.into() };
        for (word, text) in [("cite", cite), ("trust", derived.trust().to_owned())] {
            insert(root, &["sources", &key, word], Node { value: Value::Str(text), from: law() });
        }
    }
    key
}

/// The law as a whole, as an origin.
fn law() -> Origin {
    Origin { text: Arc::new(Text { path: "energy.law".to_owned(), text: "".into() }), span: 0..0 }
}

fn entry(key: &str, node: Node) -> Entry {
    Entry { key: key.to_owned(), at: node.from.clone(), node }
}

/// Puts `leaf` at `path`, where nothing stands; tables on the way are made. False if something that is no table is there.
fn insert(root: &mut Node, path: &[&str], leaf: Node) -> bool {
    let from = leaf.from.clone();
    let Value::Table(entries) = &mut root.value else { return false };
    let [key, rest @ ..] = path else { return false };
    let found = entries.iter().position(|e| e.key == *key);
    if rest.is_empty() {
        if found.is_none() {
            entries.push(entry(key, leaf));
        }
        return found.is_none();
    }
    let slot = found.unwrap_or_else(|| {
        entries.push(entry(key, Node { value: Value::Table(Vec::new()), from }));
        entries.len() - 1
    });
    insert(&mut entries[slot].node, rest, leaf)
}

/// Puts a price in, or into a price that is there the words that it lacks; a price that the file states keeps its source.
fn put_price(root: &mut Node, row: &Row) {
    let path: Vec<&str> = row.path.iter().map(String::as_str).collect();
    let from = origin(&row.derived);
    let stated = stated(root, &path);
    let mut words = Vec::new();
    for (word, text) in [("per", row.per.as_str()), ("scope", row.scope)] {
        if load::price_word(root, &path, word).is_none() {
            words.push((word, Value::Str(text.to_owned())));
        }
    }
    if !stated {
        let numbers = row.derived.pj.map(|pj| Node { value: Value::Float(rounded(pj)), from: from.clone() });
        words.push(("pj", Value::List(numbers.into())));
        words.push(("source", Value::Str(source(root, &row.derived))));
    }
    for (word, value) in words {
        let leaf = [path.as_slice(), &[word]].concat();
        insert(root, &leaf, Node { value, from: from.clone() });
    }
}

fn put_leakage(root: &mut Node, part: &str, derived: &Derived) {
    let key = format!("{part}_mw");
    if root.at(["static", &key]).is_some() {
        return;
    }
    let from = origin(derived);
    let items = vec![
        Node { value: Value::Float(rounded(derived.pj[1])), from: from.clone() },
        Node { value: Value::Str(source(root, derived)), from: from.clone() },
    ];
    insert(root, &["static", &key], Node { value: Value::List(items), from });
}

#[cfg(test)]
mod tests {
    use crate::machine::{Machine, load, parse};

    /// A built-in machine whose tables are left to the law, with the wires that its file states in words.
    fn by_law(base: &str, wires: [f64; 4]) -> Machine {
        let [own, shared, dma, noc] = wires;
        let (none, shared) = match base {
            "hbm" => ("shared = \"none\"\n", format!("[sram.shared]\nwire_mm = [{shared}, \"choice\"]\n")),
            _ => ("", String::new()),
        };
        let text = format!(
            "extends = \"{base}\"\n[energy]\nlaw = \"anchored\"\nmac = \"none\"\nelementwise = \"none\"\ncore = \"none\"\n\
             own = \"none\"\n{none}[static]\ncore_mw = \"none\"\narray_mw = \"none\"\nown_mw = \"none\"\n\
             shared_mw = \"none\"\n[dma]\nwire_mm = [{dma}, \"choice\"]\n[noc]\nwire_mm = [{noc}, \"choice\"]\n\
             [sram.own]\nwire_mm = [{own}, \"choice\"]\n{shared}"
        );
        parse("law.toml", &text).unwrap_or_else(|error| panic!("{}", error.render(false)))
    }

    /// Three significant digits, as the files print them.
    fn printed(value: f64) -> String {
        format!("{value:.2e}")
    }

    /// The law gives the tables that the files print, digit by digit; what it does not give is listed here.
    #[test]
    fn the_law_reproduces_the_tables_that_follow_it() {
        let cases = [
            // An accumulator's ends are printed to one digit; leakage of the core counts other lanes.
            ("edge", [0.5, 0.0, 1.0, 2.0], vec!["core.accumulator", "static.core"]),
            // Own SRAM: 27.6 against 27.5 typical, the same factor rounded elsewhere. Shared: the file takes the whole
            // 16 MiB for the size of a bank and no wire.
            (
                "hbm",
                [0.0, 0.0, 5.0, 10.0],
                vec!["core.accumulator", "own.read", "own.write", "shared.read", "shared.write", "static.core"],
            ),
        ];
        for (name, wires, known) in cases {
            let (stated, derived) = (load(name).unwrap(), by_law(name, wires));
            let mut different = Vec::new();
            for (key, price) in stated.prices.iter().filter(|(key, _)| !key.starts_with("dram.")) {
                let law = derived.price(key).unwrap_or_else(|error| panic!("{error}"));
                let same = price.pj.iter().zip(law.pj).all(|(a, b)| {
                    // Four digits were kept: the third may round either way at a five.
                    printed(*a) == printed(b)
                        || (a / b - 1.0).abs() < 0.0052 && printed(*a) == printed(b * 0.9995)
                        || printed(*a) == printed(b * 1.0005)
                });
                if !same {
                    different.push((key.clone(), price.pj, law.pj));
                }
            }
            for (stated, derived) in stated.leakage.iter().zip(&derived.leakage) {
                if (stated.milliwatt / derived.milliwatt - 1.0).abs() > 0.005 && stated.milliwatt != derived.milliwatt {
                    let key = format!("static.{}", stated.part);
                    different.push((key, [stated.milliwatt; 3], [derived.milliwatt; 3]));
                }
            }
            let keys: Vec<&str> = different.iter().map(|row| row.0.as_str()).collect();
            assert_eq!(keys, known, "{name}: {different:#?}");
        }
    }
}
