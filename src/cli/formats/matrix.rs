//! `preon formats matrix`: which weight formats run with which activations.
//!
//! Nothing is looked up: every pair is written as a policy, and a small product of odd shape is quantised, compiled, run
//! on the virtual processor and natively. A pair is served if both give the same bits.

use std::collections::BTreeMap;

use crate::cli::out;
use crate::diag::{Error, Result};
use crate::machine::{self, Machine};
use crate::policy::{Policy, SCHEMA};
use crate::report::{csv, table};
use crate::tensor::TensorType;
use crate::vpu::Vpu;
use crate::{model, num};

/// The activations of the columns.
const ACTIVATIONS: [&str; 12] =
    ["fp32", "bf16", "fp16", "fp8e4m3", "fp8e5m2", "mxfp8e4m3", "mxfp4", "nvfp4", "int8", "int4", "ternary", "binary"];
/// Rows, depth and outputs of the product: multiples of nothing.
const SHAPE: (usize, usize, usize) = (3, 70, 5);

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// schema preon.matrix/1
    Json,
    /// One line a pair
    Csv,
}

/// One pair.
struct Cell {
    weights: String,
    activations: &'static str,
    /// Why it does not run; `None` if it does.
    refused: Option<String>,
}

/// Tries every pair on the machine and prints what runs.
pub fn run(machine: &str, format: Format) -> Result<()> {
    let cells = cells(&machine::load(machine)?)?;
    out::data(&match format {
        Format::Table => people(machine, &cells),
        Format::Json => json(machine, &cells),
        Format::Csv => lines(&cells),
    })
}

/// Names of weight types: rows of the table that weights can be held in, and the composites.
fn weights() -> Vec<String> {
    let rows = num::format::formats().into_iter().map(|format| format.name.clone());
    let all = rows.chain(TensorType::composite_names().map(String::from));
    all.filter(|name| TensorType::parse(name).is_ok()).collect()
}

fn cells(machine: &Machine) -> Result<Vec<Cell>> {
    let (m, k, n) = SHAPE;
    let prepared = model::gemm(m, n, k, 0, false)?;
    let (mut vpu, mut cells) = (Vpu::new(machine.clone()), Vec::new());
    for weights in weights() {
        for activations in ACTIVATIONS {
            let mut served = || -> Result<()> {
                vpu.set_precision(policy(&weights, activations)?);
                match vpu.check(&prepared)? {
                    report if report.is_bit_exact() => Ok(()),
                    _ => Err(Error::internal("the backends differ")),
                }
            };
            let refused = served().err().map(|error| error.message().to_owned());
            cells.push(Cell { weights: weights.clone(), activations, refused });
        }
    }
    Ok(cells)
}

fn policy(weights: &str, activations: &str) -> Result<Policy> {
    let rule = format!("[[rule]]\nmatch = \"*\"\nweights = \"{weights}\"\nactivations = \"{activations}\"\n");
    Policy::parse("pair", &format!("schema = \"{SCHEMA}\"\nname = \"pair\"\n{rule}"))
}

fn people(machine: &str, cells: &[Cell]) -> String {
    let header: Vec<&str> = std::iter::once("weights").chain(ACTIVATIONS).collect();
    let mark = |cell: &Cell| if cell.refused.is_none() { "yes" } else { "-" }.to_owned();
    let row = |row: &[Cell]| std::iter::once(row[0].weights.clone()).chain(row.iter().map(mark)).collect();
    let rows: Vec<Vec<String>> = cells.chunks(ACTIVATIONS.len()).map(row).collect();
    let refused = cells.iter().filter(|cell| cell.refused.is_some()).count();
    let (m, k, n) = SHAPE;
    let mut text = table::render(&header, &rows, &[]);
    text += &format!(
        "\n{} of {} pairs run on {machine} and natively with equal bits ({m} x {k} times {k} x {n}); {refused} refused, {:.1} %\n",
        cells.len() - refused,
        cells.len(),
        100.0 * refused as f64 / cells.len().max(1) as f64
    );
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for cell in cells {
        if let Some(reason) = &cell.refused {
            reasons.entry(reason).or_default().push(format!("{} x {}", cell.weights, cell.activations));
        }
    }
    for (reason, pairs) in reasons {
        text += &format!("{}: {reason}\n", pairs.join(", "));
    }
    text
}

fn json(machine: &str, cells: &[Cell]) -> String {
    let cell = |cell: &Cell| {
        serde_json::json!({
            "weights": cell.weights, "activations": cell.activations,
            "served": cell.refused.is_none(), "reason": cell.refused,
        })
    };
    let cells: Vec<_> = cells.iter().map(cell).collect();
    let (m, k, n) = SHAPE;
    let text = serde_json::json!({
        "schema": "preon.matrix/1", "machine": machine, "shape": { "m": m, "k": k, "n": n }, "cells": cells,
    });
    format!("{text:#}\n")
}

fn lines(cells: &[Cell]) -> String {
    let mut text = String::from("weights,activations,served,reason\n");
    for cell in cells {
        let (served, reason) = (cell.refused.is_none(), cell.refused.as_deref().unwrap_or(""));
        text += &format!("{},{},{served},{}\n", csv::field(&cell.weights), cell.activations, csv::field(reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_pair_in_twenty_is_refused_and_no_backend_differs() {
        let cells = cells(&machine::load("edge").unwrap()).unwrap();
        assert!(cells.len() >= 40 * ACTIVATIONS.len(), "{}", cells.len());
        let refused: Vec<&Cell> = cells.iter().filter(|cell| cell.refused.is_some()).collect();
        let shown = people("edge", &cells);
        assert!(!shown.contains("differ"), "{shown}");
        assert!(refused.len() * 20 <= cells.len(), "{shown}");
        assert_eq!(lines(&cells).lines().count(), cells.len() + 1);
        assert_eq!(json("edge", &cells).matches("\"served\"").count(), cells.len());
    }
}
