//! report.html: one file with everything inside, from the template reports/report.html.

use std::collections::BTreeMap;

use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;
use serde_json::{Value, json};

use crate::diag::{Error, Result};
use crate::report::charts::{Chart, kit};
use crate::report::{RunSummary, story, units};

static TEMPLATE: &str = include_str!("../../reports/report.html");

/// A row of the table of runs, every figure in words and as a number to sort by.
#[derive(Serialize)]
struct RunRow {
    machine: String,
    policy: String,
    focus: bool,
    cells: Vec<Cell>,
    bound: String,
    check: String,
    exact: bool,
}

/// A figure: as people read it, and as a number to sort by.
#[derive(Serialize)]
struct Cell {
    text: String,
    sort: f64,
}

fn cell(text: String, sort: f64) -> Cell {
    Cell { text, sort }
}

/// The page.
///
/// # Errors
/// Usage without runs; Internal if the template is wrong.
pub fn page(runs: &[RunSummary], charts: &[(&Chart, String)], command: &str) -> Result<String> {
    let focus = story::focus(runs).ok_or_else(|| Error::usage("a report needs at least one run"))?;
    let pictures: Vec<_> =
        charts.iter().map(|(c, svg)| json!({ "name": c.name, "svg": inline(svg, &c.title) })).collect();
    let context = json!({
        "title": format!("{} on {}", story::models(runs).join(", "), story::machines(runs).join(", ")),
        "verdict": story::verdict(focus),
        "tiles": tiles(focus),
        "focus": focus,
        "bound": story::shown(&focus.bound_by.what),
        "runs": runs.iter().map(|run| run_row(run, std::ptr::eq(run, focus))).collect::<Vec<_>>(),
        "metric": focus.quality.metric,
        "charts": pictures,
        "layers": layer_rows(focus),
        "units": unit_rows(focus),
        "prices": price_rows(focus),
        "joules": story::joules(focus),
        "checks": checks(runs),
        "assumptions": merged(runs),
        "not_modelled": unique(runs.iter().flat_map(|run| &run.not_modelled)),
        "notes": story::notes(runs),
        "command": command,
    });
    let mut environment = Environment::new();
    environment
        .add_template("report.html", TEMPLATE)
        .and_then(|()| environment.get_template("report.html")?.render(Serde(context)))
        .map_err(|e| Error::internal(format!("the report template is wrong: {e:#}")))
}

/// An SVG file that stands alone: on white.
pub fn standalone(svg: &str) -> String {
    after_open_tag(svg, "\n<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>")
}

/// An SVG for the page: its neutral colours follow the page's theme, its title is read out by screen readers.
fn inline(svg: &str, title: &str) -> String {
    let hex = |c: kit::Colour| format!("\"#{:02X}{:02X}{:02X}\"", c.0, c.1, c.2);
    let themed = svg
        .replace(&hex(kit::INK), "\"var(--ink)\"")
        .replace(&hex(kit::FAINT), "\"var(--faint)\"")
        .replace(&hex(kit::GRID), "\"var(--line)\"");
    let escaped = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    after_open_tag(&themed, &format!("\n<title>{escaped}</title>"))
}

/// Inserts text after the `<svg ...>` tag; the size in pixels gives way to the view box.
fn after_open_tag(svg: &str, insert: &str) -> String {
    match svg.find('>') {
        Some(end) => format!("{}{insert}{}", &svg[..=end], &svg[end + 1..]),
        None => svg.to_string(),
    }
}

fn tiles(run: &RunSummary) -> Vec<BTreeMap<&'static str, String>> {
    let tile = |name: &str, value: String, below: String| {
        BTreeMap::from([("name", name.to_string()), ("value", value), ("below", below)])
    };
    let saved = run.saved_vs_fp32.filter(|_| run.policy != "fp32");
    let against = |ratio: Option<f64>, word: &str| {
        ratio.map_or(String::new(), |r| format!("{} {word} than fp32", units::times(r)))
    };
    vec![
        tile("time", units::time(run.time_ns), format!("{} cycles", units::count(run.cycles))),
        tile(
            "energy",
            units::energy(run.energy_pj.total),
            [story::spread(run), against(saved.map(|s| s.energy), "less")].join(" "),
        ),
        tile(&run.quality.metric, story::quality(run), format!("{} tokens (+{} padding)", run.tokens, run.padding)),
        tile("weights", units::bytes(run.bytes.weights), against(saved.map(|s| s.weight_bytes), "smaller")),
    ]
}

fn run_row(run: &RunSummary, focus: bool) -> RunRow {
    let saved = run.saved_vs_fp32.map_or(0.0, |saved| saved.energy);
    RunRow {
        machine: run.machine.clone(),
        policy: run.policy.clone(),
        focus,
        cells: vec![
            cell(story::quality(run), run.quality.value),
            cell(units::count(run.cycles), run.cycles as f64),
            cell(units::time(run.time_ns), run.time_ns),
            cell(units::energy(run.energy_pj.total), run.energy_pj.total),
            cell(if saved > 0.0 { units::times(saved) } else { "–".into() }, saved),
            cell(units::bytes(run.bytes.weights), run.bytes.weights as f64),
            cell(units::bytes(run.dram_bytes()), run.dram_bytes() as f64),
            cell(units::percent(run.utilisation()), run.utilisation()),
        ],
        bound: story::shown(&run.bound_by.what),
        check: story::check_short(run),
        exact: run.check.as_ref().is_some_and(|check| check.bit_exact),
    }
}

fn layer_rows(run: &RunSummary) -> Vec<Value> {
    let rows = run.layers.iter().map(|layer| {
        let share = layer.cycles as f64 / run.cycles.max(1) as f64;
        json!({
            "name": layer.name, "kernel": layer.kernel, "formats": layer.formats, "bound": story::shown(&layer.bound_by),
            "cells": vec![
                cell(units::count(layer.cycles), layer.cycles as f64),
                cell(units::percent(share), share),
                cell(units::energy(layer.energy_pj.total), layer.energy_pj.total),
                cell(units::short(layer.macs as f64), layer.macs as f64),
                cell(units::bytes(layer.dram_bytes), layer.dram_bytes as f64),
            ],
        })
    });
    rows.collect()
}

/// Where each joule comes from, largest first.
fn price_rows(run: &RunSummary) -> Vec<Value> {
    let mut prices: Vec<_> = run.joules.iter().flat_map(|joules| &joules.prices).collect();
    prices.sort_by(|a, b| b.share.total_cmp(&a.share));
    let rows = prices.into_iter().map(|p| {
        let band = format!("{} to {}", units::energy(p.pj.low), units::energy(p.pj.high));
        json!({
            "key": p.key, "scope": p.scope, "trust": p.trust, "source": p.source,
            "cells": vec![
                cell(format!("{} {}", units::count(p.count), p.unit), p.count as f64),
                cell(units::energy(p.each_pj.typical), p.each_pj.typical),
                cell(units::energy(p.pj.typical), p.pj.typical),
                cell(band, p.pj.high - p.pj.low),
                cell(units::percent(p.share), p.share),
            ],
        })
    });
    rows.collect()
}

fn unit_rows(run: &RunSummary) -> Vec<Value> {
    let cycles = run.cycles.max(1) as f64;
    let rows = run.units.iter().map(|unit| {
        let stalled: u64 = unit.stall_cycles.values().sum();
        let causes: Vec<String> = unit
            .stall_cycles
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(cause, n)| format!("{cause} {}", units::count(*n)))
            .collect();
        let cells = [unit.busy_cycles, stalled, unit.idle_cycles]
            .map(|n| cell(format!("{} ({})", units::count(n), units::percent(n as f64 / cycles)), n as f64));
        json!({ "name": unit.unit, "cells": cells, "causes": causes.join(", ") })
    });
    rows.collect()
}

/// One block a cross-checked run: words, and the nodes that differ (or, if none does, the ones furthest from float64).
fn checks(runs: &[RunSummary]) -> Vec<Value> {
    let checked = runs.iter().filter_map(|run| run.check.as_ref().map(|check| (run, check)));
    let rows = checked.map(|(run, check)| {
        let elements: u64 = check.rows.iter().map(|row| row.elements).sum();
        let worst = check.rows.iter().filter_map(|row| row.sqnr_db.map(|db| (db, &row.node)));
        let worst = worst.min_by(|a, b| a.0.total_cmp(&b.0));
        let different: Vec<_> =
            check.rows.iter().filter(|row| row.different > 0).map(|row| &row.node).take(8).collect();
        json!({
            "machine": run.machine, "policy": run.policy, "exact": check.bit_exact, "nodes": check.nodes,
            "mismatches": check.mismatches, "elements": units::count(elements), "different": different,
            "worst": worst.map(|(db, node)| format!("{node}: {db:.1} dB")).unwrap_or_default(),
        })
    });
    rows.collect()
}

/// Assumptions of all runs, each once.
fn merged(runs: &[RunSummary]) -> Vec<&crate::vpu::summary::Assumption> {
    let mut out = Vec::new();
    for assumption in runs.iter().flat_map(|run| &run.assumptions) {
        if !out.contains(&assumption) {
            out.push(assumption);
        }
    }
    out
}

fn unique<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut out: Vec<&str> = Vec::new();
    for text in texts {
        if !out.contains(&text.as_str()) {
            out.push(text);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    #[test]
    fn the_page_is_whole_and_escaped() {
        let runs = sample::two_machines();
        let charts = crate::report::charts::all(&runs);
        let pictures: Vec<_> = charts.iter().map(|c| (c, kit::svg(&c.drawing).unwrap())).collect();
        let page = page(&runs, &pictures, "preon demo -o <folder>").unwrap();
        assert!(page.contains("preon demo -o &lt;folder&gt;") && page.contains("&lt;test &amp; escape&gt;"));
        assert_eq!(page.matches("<svg").count(), charts.len());
        assert!(
            !page.contains("http://") || page.matches("http://").count() == page.matches("http://www.w3.org/").count()
        );
        assert!(!page.contains("src=") && page.len() < 3_000_000);
        for part in ["What limits", "Cross-check", "Assumptions", "Not modelled", "Make it again", "bit-exact"] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn a_report_of_nothing_is_refused() {
        assert_eq!(page(&[], &[], "").unwrap_err().kind(), crate::diag::Kind::Usage);
    }
}
