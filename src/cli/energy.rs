//! `preon energy`: what the laws of energy give, without a machine or a run.

use serde_json::{Value, json};

use super::args::Shape;
use super::out;
use crate::diag::{Error, Result};
use crate::machine::energy::anchors::{ANCHORS, HOROWITZ, JOUPPI};
use crate::machine::energy::sram::{self, Bank, Cell, Way};
use crate::machine::energy::{Derived, Node, bitnet_report, logic};
use crate::num::format::find;
use crate::report::table;

/// Name and version of the JSON.
const SCHEMA: &str = "preon.energy-law/1";

/// What to print.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// The two tables that the laws start from: 45 and 7 nm
    Anchors {
        /// What to print
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        format: Shape,
    },
    /// One multiply-accumulate of pairs of formats at a node
    Mac {
        /// Pairs, for example ternary*int8
        #[arg(required = true, value_name = "WEIGHTS*INPUTS")]
        pairs: Vec<String>,
        /// Node in nm, 3 to 130
        #[arg(long, value_name = "NM", default_value_t = 7.0)]
        node: f64,
        /// What to print
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        format: Shape,
    },
    /// One access of a bank of SRAM, and what the bank leaks
    Sram {
        /// Capacity of the bank, 1 to 65536
        #[arg(long)]
        kb: f64,
        /// Bits of an access, 8 to 2048
        #[arg(long, default_value_t = 64.0)]
        bits: f64,
        /// Cells: lstp (low standby power) or hp (high performance)
        #[arg(long, default_value = "lstp", value_parser = ["lstp", "hp"])]
        cell: String,
        /// Wire to the bank in mm
        #[arg(long, value_name = "MM", default_value_t = 0.0)]
        wire: f64,
        /// Node in nm, 3 to 130
        #[arg(long, value_name = "NM", default_value_t = 22.0)]
        node: f64,
        /// What to print
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        format: Shape,
    },
    /// The energy column of the BitNet b1.58 2B4T report: arithmetic of 512 tokens at 7 nm, by its law
    BitnetReport {
        /// What to print
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        format: Shape,
    },
}

/// Prints it.
pub fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Anchors { format } => anchors(*format),
        Verb::Mac { pairs, node, format } => {
            let node = Node::new(*node)?;
            let rows = pairs.iter().map(|pair| Ok((pair.clone(), mac(pair, node)?))).collect::<Result<Vec<_>>>()?;
            derived(&rows, "pJ", *format)
        }
        Verb::Sram { kb, bits, cell, wire, node, format } => {
            let node = Node::new(*node)?;
            if !(0.0..=1000.0).contains(wire) {
                return Err(Error::usage(format!("--wire must lie between 0 and 1000 mm, not {wire}")));
            }
            let bank = Bank { kb: *kb, bits: *bits, cell: Cell::of(cell).unwrap_or(Cell::Lstp) };
            let mut rows = vec![
                ("read".to_owned(), bank.access(Way::Read, *wire, node)?),
                ("write".to_owned(), bank.access(Way::Write, *wire, node)?),
            ];
            rows.push(("leakage, mW".to_owned(), sram::leakage_mw(*kb, bank.cell, node)));
            derived(&rows, "pJ", *format)
        }
        Verb::BitnetReport { format } => report(*format),
    }
}

fn mac(pair: &str, node: Node) -> Result<Derived> {
    let Some((weights, inputs)) = pair.split_once('*') else {
        return Err(Error::usage(format!("`{pair}` is not a pair of formats")).help("write ternary*int8"));
    };
    logic::mac(find(weights)?, find(inputs)?, node)
}

fn print(value: &Value) -> Result<()> {
    out::data(&format!("{value:#}\n"))
}

fn derived(rows: &[(String, Derived)], unit: &str, format: Shape) -> Result<()> {
    match format {
        Shape::Json => {
            let row = |(name, d): &(String, Derived)| {
                let [low, typical, high] = d.pj;
                json!({ "what": name, "low": low, "typical": typical, "high": high, "trust": d.trust(),
                    "formula": d.formula, "source": d.rule.source().1 })
            };
            print(&json!({ "schema": SCHEMA, "rows": rows.iter().map(row).collect::<Vec<_>>() }))
        }
        Shape::Table => {
            let cells = |(name, d): &(String, Derived)| {
                let [low, typical, high] = d.pj.map(|pj| format!("{pj:.4}"));
                vec![name.clone(), low, typical, high, d.trust().to_owned(), d.formula.clone()]
            };
            let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
            out::data(&table::render(&["", "low", unit, "high", "trust", "formula"], &rows, &[1, 2, 3]))
        }
    }
}

fn anchors(format: Shape) -> Result<()> {
    match format {
        Shape::Json => print(&json!({
            "schema": SCHEMA,
            "sources": { "45nm": HOROWITZ, "7nm": JOUPPI },
            "rows": ANCHORS.iter().map(|a| json!({ "op": a.op, "pj_45nm": a.pj_45nm, "pj_7nm": a.pj_7nm,
                "trust": a.trust })).collect::<Vec<_>>(),
        })),
        Shape::Table => {
            let text = |pj: Option<f64>| pj.map_or("–".to_owned(), |pj| pj.to_string());
            let ratio = |a: &crate::machine::energy::anchors::Anchor| match (a.pj_45nm, a.pj_7nm) {
                (Some(old), Some(new)) => format!("{:.1}", old / new),
                _ => String::new(),
            };
            let rows: Vec<Vec<String>> = ANCHORS
                .iter()
                .map(|a| vec![a.op.to_owned(), text(a.pj_45nm), text(a.pj_7nm), ratio(a), a.trust.to_owned()])
                .collect();
            let head = ["pJ", "45 nm", "7 nm", "ratio", "trust"];
            out::data(&(table::render(&head, &rows, &[1, 2, 3]) + &format!("45 nm: {HOROWITZ}\n7 nm: {JOUPPI}\n")))
        }
    }
}

fn report(format: Shape) -> Result<()> {
    let rows = || bitnet_report::MODELS.iter().map(|model| (model, model.joules(bitnet_report::TOKENS)));
    let agree = rows().filter(|(model, _)| model.printed() == format!("{:.3}", model.published_j)).count();
    match format {
        Shape::Json => print(&json!({
            "schema": SCHEMA,
            "tokens": bitnet_report::TOKENS,
            "fp16_mac_pj": bitnet_report::fp16_mac_pj(),
            "ternary_mac_pj": bitnet_report::ternary_mac_pj(),
            "agree": agree,
            "models": rows().map(|(m, [linear, attention])| json!({ "name": m.name, "weights": m.weights(),
                "linear_j": linear, "attention_j": attention, "total_j": linear + attention,
                "published_j": m.published_j })).collect::<Vec<_>>(),
        })),
        Shape::Table => {
            let cells: Vec<Vec<String>> = rows()
                .map(|(m, [linear, attention])| {
                    let weights = format!("{:.4} B", m.weights() as f64 / 1e9);
                    let joules = [linear, attention].map(|joules| format!("{joules:.4}"));
                    let [linear, attention] = joules;
                    vec![m.name.to_owned(), weights, linear, attention, m.printed(), format!("{:.3}", m.published_j)]
                })
                .collect();
            let head = ["512 tokens, 7 nm", "weights", "linear J", "attention J", "total J", "published J"];
            let law =
                "E = T N e_linear + L 2 d_q T^2 (0.34 + 0.16 pJ); e_linear 0.34 + 0.16 pJ in fp16, 0.007 pJ ternary";
            let text = format!("{law}\n{agree} of {} agree; arithmetic only: no memory, no output head\n", cells.len());
            out::data(&(table::render(&head, &cells, &[1, 2, 3, 4, 5]) + &text))
        }
    }
}
