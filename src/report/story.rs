//! What a set of runs says: which machines and policies it holds, which run to look at first, and the sentence on top.

use std::collections::BTreeMap;

use crate::report::units;
use crate::vpu::summary::{EnergyParts, EnergyRange, KernelFile, RunSummary};

/// A quality at or above this counts as "as good as FP32" when the best trade is looked for.
pub const GOOD_QUALITY: f64 = 0.99;

/// Names in order of first appearance.
fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut out: Vec<&str> = Vec::new();
    for name in names {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// Machines, in order of first appearance.
pub fn machines(runs: &[RunSummary]) -> Vec<&str> {
    unique(runs.iter().map(|run| run.machine.as_str()))
}

/// Policies, in order of first appearance.
pub fn policies(runs: &[RunSummary]) -> Vec<&str> {
    unique(runs.iter().map(|run| run.policy.as_str()))
}

/// Models, in order of first appearance.
pub fn models(runs: &[RunSummary]) -> Vec<&str> {
    unique(runs.iter().map(|run| run.model.as_str()))
}

/// The run of this machine and policy.
pub fn find<'a>(runs: &'a [RunSummary], machine: &str, policy: &str) -> Option<&'a RunSummary> {
    runs.iter().find(|run| run.machine == machine && run.policy == policy)
}

/// The run worth looking at first: the one of least energy whose quality is good, on the first machine; if none is
/// good, the one of best quality. `None` only without runs.
pub fn focus(runs: &[RunSummary]) -> Option<&RunSummary> {
    let machine = &runs.first()?.machine;
    let here = || runs.iter().filter(|run| run.machine == *machine);
    let good = here().filter(|run| run.quality.value >= GOOD_QUALITY);
    good.min_by(|a, b| a.energy_pj.total.total_cmp(&b.energy_pj.total))
        .or_else(|| here().max_by(|a, b| a.quality.value.total_cmp(&b.quality.value)))
}

/// One line: cost, quality, saving and cross-check of one run.
pub fn verdict(run: &RunSummary) -> String {
    let mut text = format!(
        "{} on {} at {}: {} cycles ({}), {}",
        run.model,
        run.machine,
        run.policy,
        units::count(run.cycles),
        units::time(run.time_ns),
        units::energy(run.energy_pj.total),
    );
    if run.quality.metric != "none" {
        text += &format!(", {} {}", run.quality.metric, units::quality(run.quality.value));
    }
    if let Some(saved) = run.saved_vs_fp32.filter(|_| run.policy != "fp32") {
        text += &format!(
            "; {} less energy and {} fewer cycles than fp32",
            units::times(saved.energy),
            units::times(saved.cycles)
        );
    }
    text + "; " + &check(run)
}

/// Whose kernels ran, if not only ours: `softmax.vasm from DIR/softmax.vasm in 4 of 47 steps`, all runs together.
pub fn kernels(runs: &[RunSummary]) -> Vec<String> {
    let layers = runs.iter().flat_map(|run| &run.layers);
    let steps = layers.filter(|layer| !layer.kernel.is_empty()).count();
    let mut files: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for KernelFile { name, path, steps } in runs.iter().flat_map(|run| &run.kernels) {
        *files.entry((name, path)).or_default() += steps;
    }
    let line = |((name, path), used)| match used {
        0 => format!("{path} is used by no step"),
        used => format!("{name} from {path} in {used} of {steps} steps"),
    };
    files.into_iter().map(line).collect()
}

/// The outcome of the cross-check in words.
pub fn check(run: &RunSummary) -> String {
    match &run.check {
        None => "not cross-checked".into(),
        Some(check) if check.bit_exact => format!("bit-exact at all {} nodes", check.nodes),
        Some(check) => format!("DIFFERENT at {} of {} nodes", check.mismatches, check.nodes),
    }
}

/// The same, for a column of a table.
pub fn check_short(run: &RunSummary) -> String {
    match &run.check {
        None => "–".into(),
        Some(check) if check.bit_exact => format!("{0}/{0} exact", check.nodes),
        Some(check) => format!("{} of {} DIFFER", check.mismatches, check.nodes),
    }
}

/// The quality figure in words; a dash if none was measured.
pub fn quality(run: &RunSummary) -> String {
    if run.quality.metric == "none" { "–".into() } else { units::quality(run.quality.value) }
}

/// A machine-readable name as people write it: memories in capitals.
pub fn shown(name: &str) -> String {
    match name {
        "dram" | "sram" | "dma" => name.to_uppercase(),
        other => other.to_string(),
    }
}

/// The ends of the energy's band in words; empty without one.
pub fn spread(run: &RunSummary) -> String {
    let range = run.energy_range_pj;
    if range.high > 0.0 {
        format!("{} to {}", units::energy(range.low), units::energy(range.high))
    } else {
        String::new()
    }
}

/// What the run's energy means, a line each with its name: of one product, at which supply, over which area, and by
/// figures of another scope.
pub fn joules(run: &RunSummary) -> Vec<(&'static str, String)> {
    let Some(joules) = &run.joules else { return Vec::new() };
    let mut lines = Vec::new();
    if let Some(mac) = joules.per_mac {
        let text = format!(
            "{} the product, {} with everything: {:.1e} and {:.1e} times kT ln 2 at {} K",
            units::energy(mac.product_pj),
            units::energy(mac.total_pj),
            mac.product_kt_ln2,
            mac.total_kt_ln2,
            mac.temperature_k
        );
        lines.push(("per MAC", text));
    }
    if let Some(supply) = joules.supply.as_ref().filter(|supply| supply.volts != supply.nominal_volts) {
        let text = format!(
            "{} V instead of {} V, clock {}: logic and SRAM ×{:.3} an operation, ×{:.3} in leakage power; DRAM unchanged",
            supply.volts, supply.nominal_volts, supply.clock, supply.dynamic, supply.leakage
        );
        lines.push(("supply", text));
    }
    if let Some(thermal) = joules.thermal {
        let limit = thermal.limit_w_per_mm2.map_or(String::new(), |limit| format!(", limit {limit} W/mm2"));
        let text = format!("{:.4} W/mm2 of {} mm2 without DRAM{limit}", thermal.w_per_mm2, thermal.area_mm2);
        lines.push(("density", text));
    }
    for beside in &joules.beside {
        let text = format!(
            "{} by the figure of scope {} for {}, not added",
            units::energy(beside.pj),
            beside.scope,
            beside.key
        );
        lines.push(("beside", text));
    }
    lines
}

/// Average power over the run in watts.
pub fn watts(run: &RunSummary) -> f64 {
    if run.time_ns > 0.0 { run.energy_pj.total / run.time_ns * 1e-3 } else { 0.0 }
}

/// Notes with the policies that they belong to.
pub fn notes(runs: &[RunSummary]) -> Vec<String> {
    let mut notes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (run, note) in runs.iter().flat_map(|run| run.notes.iter().map(move |note| (run, note))) {
        let policies = notes.entry(note).or_default();
        if !policies.contains(&run.policy.as_str()) {
            policies.push(&run.policy);
        }
    }
    notes.into_iter().map(|(note, policies)| format!("{}: {note}", policies.join(", "))).collect()
}

/// Total and spread, and its parts.
pub fn energy(parts: &EnergyParts, range: &EnergyRange) -> String {
    let spread = match range.high > 0.0 {
        true => format!(" ({} to {} by the sources' spread)", units::energy(range.low), units::energy(range.high)),
        false => String::new(),
    };
    format!(
        "{}{spread}   arithmetic {}, movement {}, leakage {}",
        units::energy(parts.total),
        units::energy(parts.arithmetic),
        units::energy(parts.movement),
        units::energy(parts.leakage)
    )
}

/// How the machine was timed, a line each.
pub fn assumptions(run: &RunSummary) -> Vec<String> {
    let structural = run.assumptions.iter().filter(|row| !row.text.starts_with("energy."));
    structural.map(|row| format!("{}: {}", row.text, row.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    #[test]
    fn the_focus_is_the_cheapest_good_run() {
        let runs = sample::two_machines();
        let focus = focus(&runs).unwrap();
        assert_eq!((focus.machine.as_str(), focus.policy.as_str()), ("edge", "int8"));
        assert!(verdict(focus).contains("less energy") && verdict(focus).ends_with("bit-exact at all 8 nodes"));
        assert!(super::focus(&[]).is_none());
    }

    #[test]
    fn names_keep_their_order() {
        let runs = sample::two_machines();
        assert_eq!(machines(&runs), ["edge", "hbm"]);
        assert_eq!(policies(&runs).len(), 9);
        assert!(find(&runs, "hbm", "w1a1").is_some() && find(&runs, "hbm", "none").is_none());
    }
}
