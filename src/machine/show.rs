//! A machine as text again: resolved TOML, the origin of every leaf, and the differences between two machines.

use super::Machine;
use super::schema;
use super::tree::{Node, quote_key};
use std::fmt::Write;

/// One leaf of a resolved machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Dotted key; segments that need quotes have them.
    pub key: String,
    /// Value as TOML.
    pub value: String,
    /// Who gave it: `path:line`, `--set key` or `default`.
    pub from: String,
}

/// A key whose value differs between two machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Dotted key.
    pub key: String,
    /// Value in the first machine.
    pub a: Option<String>,
    /// Value in the second.
    pub b: Option<String>,
}

fn is_leaf(path: &[&str], node: &Node) -> bool {
    !node.is_table() || schema::find(path).is_some()
}

fn order(path: &[&str]) -> usize {
    let under = |k: &schema::Key| {
        let segments: Vec<&str> = k.path.split('.').collect();
        segments.len() >= path.len() && segments.iter().zip(path).all(|(s, p)| *s == "*" || s == p)
    };
    schema::KEYS.iter().position(under).map_or(0, |i| i + 1)
}

fn walk<'a>(node: &'a Node, path: &mut Vec<&'a str>, leaf: &mut dyn FnMut(&[&'a str], &'a Node)) {
    let mut entries: Vec<_> = node.entries().iter().collect();
    entries.sort_by_key(|e| {
        let mut full = path.clone();
        full.push(&e.key);
        (!is_leaf(&full, &e.node), order(&full))
    });
    for entry in entries {
        path.push(&entry.key);
        if is_leaf(path, &entry.node) {
            leaf(path, &entry.node);
        } else {
            walk(&entry.node, path, leaf);
        }
        path.pop();
    }
}

fn dotted(path: &[&str]) -> String {
    path.iter().map(|p| quote_key(p)).collect::<Vec<_>>().join(".")
}

impl Machine {
    /// The machine as one TOML file without `extends`, in the order of the schema, defaults included. Reading it again
    /// gives the same machine.
    pub fn resolved_toml(&self) -> String {
        let mut text = String::new();
        let mut table = String::new();
        walk(&self.root, &mut Vec::new(), &mut |path, node| {
            let (home, key) = path.split_at(path.len() - 1);
            let home = dotted(home);
            if home != table {
                let _ = write!(text, "\n[{home}]\n");
                table = home;
            }
            let _ = writeln!(text, "{} = {}", quote_key(key[0]), node.to_toml());
        });
        text
    }
    /// Every leaf with its value and who gave it, in the order of the schema.
    pub fn origins(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        walk(&self.root, &mut Vec::new(), &mut |path, node| {
            let set = node.entries().iter().map(|e| &e.node.from).find(|from| from.is_set());
            leaves.push(Leaf { key: dotted(path), value: node.to_toml(), from: set.unwrap_or(&node.from).line() });
        });
        leaves
    }
}

/// Keys whose values differ, in the order of the schema; those that only `b` has come last.
pub fn diff(a: &Machine, b: &Machine) -> Vec<Difference> {
    let (left, right) = (a.origins(), b.origins());
    let value = |leaves: &[Leaf], key: &str| leaves.iter().find(|l| l.key == key).map(|l| l.value.clone());
    let mut rows = Vec::new();
    for leaf in &left {
        let other = value(&right, &leaf.key);
        if other.as_ref() != Some(&leaf.value) {
            rows.push(Difference { key: leaf.key.clone(), a: Some(leaf.value.clone()), b: other });
        }
    }
    for leaf in &right {
        if value(&left, &leaf.key).is_none() {
            rows.push(Difference { key: leaf.key.clone(), a: None, b: Some(leaf.value.clone()) });
        }
    }
    rows
}
