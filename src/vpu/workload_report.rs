//! What a run of a workload gave, as data: schema `preon.workload/1`, the output of `preon workload -f json`.

use super::summarise::operations;
use super::summary::{EnergyParts, EnergyRange, OpEnergy};
use super::workload::{Done, Effort, Epochs, Run, add_ledger, add_timing};
use crate::diag::Result;
use crate::machine::Machine;
use crate::num::FormatRef;
use crate::policy::Policy;
use crate::sim::{
    CAUSES, Energy, Estimate, Ledger, Outcome, Place, Timing, UNIT_NAMES, bound_by, not_modelled, picojoule,
};
use crate::workload::{Kind, Workload};
use serde::Serialize;
use std::collections::BTreeMap;

/// Value of [`WorkloadReport::schema`].
pub const SCHEMA: &str = "preon.workload/1";

/// What a workload takes on a machine under a policy.
#[derive(Debug, Clone, Serialize)]
pub struct WorkloadReport {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Name of the workload.
    pub workload: String,
    /// Name of the machine.
    pub machine: String,
    /// Name of the policy.
    pub policy: String,
    /// Core clock.
    pub clock_hz: f64,
    /// `memoised`, `step`, `none` (one program without drains) or `estimate`.
    pub mode: &'static str,
    /// Cycles of everything; estimated ones where nothing was simulated.
    pub cycles: u64,
    /// The same in time.
    pub time_ns: f64,
    /// Instructions executed.
    pub instructions: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Cycles in which the multiplier of each product would have done them, over all cycles; at most 1.
    pub utilisation: f64,
    /// Bytes read from DRAM; `null` where nothing was simulated.
    pub dram_read_bytes: Option<u64>,
    /// Bytes written to DRAM; `null` where nothing was simulated.
    pub dram_write_bytes: Option<u64>,
    /// Bytes read and written at every memory level; empty where nothing was simulated.
    pub bytes: BTreeMap<&'static str, LevelRow>,
    /// Most SRAM in use at once; `null` where nothing was simulated.
    pub peak_sram_bytes: Option<u64>,
    /// Energy; `null` where nothing was simulated.
    pub energy_pj: Option<EnergyParts>,
    /// The same total with every price at the ends of its source's spread.
    pub energy_range_pj: Option<EnergyRange>,
    /// Every priced operation: `energy_pj.arithmetic` is the sum of their `pj_total`.
    pub ops: Vec<OpEnergy>,
    /// Cycles of every unit: busy, stalled by cause, idle; each sums to `cycles`.
    pub units: Vec<UnitRow>,
    /// What limits the run, in a word.
    pub bound_by: String,
    /// The analytical estimate of the same workload.
    pub estimate: EstimateRow,
    /// Parts with a speed of their own.
    pub phases: Vec<PhaseRow>,
    /// Layers in order.
    pub layers: Vec<LayerRow>,
    /// How much was simulated.
    pub segments: SegmentRow,
    /// What is taken for granted, in sentences.
    pub assumptions: Vec<String>,
    /// What the models leave out.
    pub not_modelled: Vec<String>,
}

/// A unit's cycles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitRow {
    /// Name.
    pub unit: &'static str,
    /// Working.
    pub busy_cycles: u64,
    /// Held up, by cause.
    pub stall_cycles: BTreeMap<&'static str, u64>,
    /// Nothing to do.
    pub idle_cycles: u64,
    /// Instructions.
    pub instructions: u64,
}

/// Bytes that passed a memory level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LevelRow {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

/// The estimate beside the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EstimateRow {
    /// Estimated cycles.
    pub cycles: u64,
    /// (estimate - simulated) / simulated; `null` where nothing was simulated.
    pub error: Option<f64>,
    /// Mean of the magnitudes of the layers' errors, each layer weighted by its cycles.
    pub mean_layer_error: Option<f64>,
}

/// A part of the workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseRow {
    /// Name.
    pub phase: String,
    /// Tokens that it works through.
    pub tokens: u64,
    /// Cycles.
    pub cycles: u64,
    /// Tokens a second at the machine's clock.
    pub tokens_per_s: f64,
    /// Energy of a token; `null` where nothing was simulated.
    pub energy_per_token_pj: Option<f64>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerRow {
    /// Name.
    pub layer: String,
    /// Kind.
    pub kind: &'static str,
    /// Extents, for people.
    pub shape: String,
    /// Kernels that run it.
    pub kernels: Vec<String>,
    /// Formats: weights, inputs, results.
    pub formats: String,
    /// Times that it runs.
    pub count: u64,
    /// Cycles of all instances.
    pub cycles: u64,
    /// Estimated cycles of all instances.
    pub estimate_cycles: u64,
    /// What limits it.
    pub bound_by: String,
    /// Multiply-accumulates of all instances.
    pub macs: u64,
    /// As [`WorkloadReport::utilisation`].
    pub utilisation: f64,
    /// Bytes read from DRAM, all instances; `null` where nothing was simulated.
    pub dram_read_bytes: Option<u64>,
    /// Bytes written to DRAM, all instances; `null` where nothing was simulated.
    pub dram_write_bytes: Option<u64>,
    /// Energy of all instances; `null` where nothing was simulated.
    pub energy_pj: Option<EnergyParts>,
}

/// How much was simulated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SegmentRow {
    /// Instances of layers.
    pub instances: u64,
    /// Different programs among them.
    pub programs: u64,
    /// Programs that were simulated, repetitions counted.
    pub simulated: u64,
}

/// Everything a report is made from.
pub(super) struct Parts<'a> {
    pub workload: &'a Workload,
    pub machine: &'a Machine,
    pub policy: &'a Policy,
    pub done: &'a [Done],
    pub joined: Option<&'a Outcome>,
    pub effort: Effort,
    pub run: &'a Run,
}

fn energy_parts([arithmetic, movement, leakage]: [i128; 3]) -> EnergyParts {
    EnergyParts::new(picojoule(arithmetic), picojoule(movement), picojoule(leakage))
}

/// Timing and counts of all layers: each as one node of the ledger.
fn totals(parts: &Parts<'_>) -> (Timing, Ledger, Vec<u64>) {
    if let Some(joined) = parts.joined {
        let cycles = (0..parts.done.len()).map(|index| joined.timing.node_cycles(index as u32)).collect();
        return (joined.timing.clone(), joined.ledger.clone(), cycles);
    }
    let mut timing = Timing::default();
    let mut ledger = Ledger { nodes: parts.done.len() as u32, ..Ledger::default() };
    let mut by_layer = Vec::with_capacity(parts.done.len());
    for ((index, layer), done) in (0..).zip(&parts.workload.layers).zip(parts.done) {
        let before = timing.cycles;
        match done.segment.as_ref().map(|segment| (&segment.stepped, &segment.outcome)) {
            Some((Some(stepped), _)) => {
                add_timing(&mut timing, &stepped.timing, 1);
                add_ledger(&mut ledger, &stepped.ledger, index, 1);
            }
            Some((None, Some(outcome))) => {
                add_timing(&mut timing, &outcome.timing, layer.count);
                add_ledger(&mut ledger, &outcome.ledger, index, layer.count);
            }
            _ => timing.cycles += done.estimate * layer.count,
        }
        by_layer.push(timing.cycles - before);
    }
    (timing, ledger, by_layer)
}

/// Cycles in which the best unit for each product of a layer would do its multiply-accumulates.
fn ideal_cycles(kind: &Kind, done: &Done, machine: &Machine) -> f64 {
    let peak = |w: FormatRef, x: FormatRef| machine.peak_macs_per_cycle(&w.name, &x.name).max(f64::MIN_POSITIVE);
    let formats = &done.formats;
    match kind {
        Kind::Attention(_) => kind.macs() as f64 / peak(formats.kv.format, formats.attention.format),
        _ if kind.macs() > 0 => kind.macs() as f64 / peak(formats.weights.format, formats.inputs.format),
        _ => 0.0,
    }
}

/// The report of a run.
pub(super) fn report(parts: &Parts<'_>) -> Result<WorkloadReport> {
    let Parts { workload, machine, done, .. } = *parts;
    let (timing, ledger, by_layer) = totals(parts);
    let simulated = !parts.run.estimate;
    let energy = ledger.energy(machine)?;
    let mut rows = layer_rows(parts, &ledger, &energy, &by_layer);
    let ideal: f64 = workload
        .layers
        .iter()
        .zip(done)
        .map(|(layer, done)| layer.count as f64 * ideal_cycles(&layer.kind, done, machine))
        .fold(0.0, |sum, cycles| sum + cycles);
    let (dram_read_bytes, dram_write_bytes) = ledger.bytes(Place::Dram);
    let cycles = timing.cycles;
    let mode = match (parts.run.estimate, parts.run.epochs, parts.run.step) {
        (true, ..) => "estimate",
        (_, Epochs::None, _) => "none",
        (_, _, true) => "step",
        _ => "memoised",
    };
    let range = |end| picojoule(energy.total(end));
    let estimate = estimate(parts, &rows, cycles);
    rows.extend(outside(parts, &ledger, &energy));
    let sram = done.iter().filter_map(|done| done.segment.as_ref()).map(|segment| segment.program.sram_bytes).max();
    Ok(WorkloadReport {
        schema: SCHEMA,
        workload: workload.name.clone(),
        machine: machine.name.clone(),
        policy: parts.policy.name.clone(),
        clock_hz: machine.clock_hz,
        mode,
        cycles,
        time_ns: cycles as f64 / machine.clock_hz * 1e9,
        instructions: timing.instructions,
        macs: workload.macs(),
        utilisation: ideal / (cycles.max(1) as f64),
        dram_read_bytes: simulated.then_some(dram_read_bytes),
        dram_write_bytes: simulated.then_some(dram_write_bytes),
        bytes: if simulated { levels(&ledger) } else { BTreeMap::new() },
        peak_sram_bytes: sram,
        energy_pj: simulated.then(|| energy_parts(energy.groups())),
        energy_range_pj: simulated.then(|| EnergyRange { low: range(Estimate::Low), high: range(Estimate::High) }),
        ops: if simulated { operations(&energy, machine) } else { Vec::new() },
        units: if simulated { units(&timing) } else { Vec::new() },
        bound_by: if simulated { bound_by(&timing).0.to_owned() } else { "unknown".to_owned() },
        estimate,
        phases: phases(parts, &energy, &by_layer),
        layers: rows,
        segments: SegmentRow {
            instances: workload.layers.iter().map(|layer| layer.count).fold(0, u64::saturating_add),
            programs: parts.effort.programs,
            simulated: parts.effort.simulated,
        },
        assumptions: assumptions(parts),
        not_modelled: not_modelled(machine).into_iter().map(str::to_owned).collect(),
    })
}

fn levels(ledger: &Ledger) -> BTreeMap<&'static str, LevelRow> {
    let levels = [
        ("dram", Place::Dram),
        ("sram", Place::Own),
        ("shared-sram", Place::Shared),
        ("control-memory", Place::Control),
    ];
    let row = |(name, place)| {
        let (read, written) = ledger.bytes(place);
        (name, LevelRow { read, written })
    };
    levels.into_iter().map(row).collect()
}

fn units(timing: &Timing) -> Vec<UnitRow> {
    let causes = |stalls: &[u64; CAUSES.len()]| {
        CAUSES.iter().zip(stalls).filter(|(_, cycles)| **cycles > 0).map(|(cause, cycles)| (*cause, *cycles)).collect()
    };
    let row = |(unit, time): (&&'static str, &crate::sim::UnitTime)| UnitRow {
        unit,
        busy_cycles: time.busy_cycles,
        stall_cycles: causes(&time.stall_cycles),
        idle_cycles: time.idle_cycles,
        instructions: time.instructions,
    };
    UNIT_NAMES.iter().zip(&timing.units).map(row).collect()
}

/// What no layer owns: of a stream of layers what DRAM does when all are over, and what it costs all along.
fn outside(parts: &Parts<'_>, ledger: &Ledger, energy: &Energy) -> Option<LayerRow> {
    let no_layer = |node: u32| node as usize >= parts.workload.layers.len();
    let mut joules = [0; 3];
    for row in energy.rows.iter().filter(|row| no_layer(row.key.node)) {
        joules[row.group as usize] += row.attojoule[Estimate::Typical as usize];
    }
    let bytes = |what| {
        let of =
            ledger.rows.iter().filter(|(key, _)| no_layer(key.node) && key.place == Place::Dram && key.what == what);
        of.map(|(_, count)| count).sum()
    };
    (joules != [0; 3]).then(|| LayerRow {
        layer: "(outside layers)".into(),
        kind: "driver",
        shape: String::new(),
        kernels: Vec::new(),
        formats: String::new(),
        count: 1,
        cycles: 0,
        estimate_cycles: 0,
        bound_by: "unknown".into(),
        macs: 0,
        utilisation: 0.0,
        dram_read_bytes: Some(bytes(crate::sim::What::ReadBytes)),
        dram_write_bytes: Some(bytes(crate::sim::What::WriteBytes)),
        energy_pj: Some(energy_parts(joules)),
    })
}

fn layer_rows(parts: &Parts<'_>, ledger: &Ledger, energy: &Energy, by_layer: &[u64]) -> Vec<LayerRow> {
    let mut dram: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
    for (key, count) in ledger.rows.iter().filter(|(key, _)| key.place == Place::Dram) {
        let row = dram.entry(key.node).or_default();
        match key.what {
            crate::sim::What::ReadBytes => row[0] += count,
            crate::sim::What::WriteBytes => row[1] += count,
            _ => {}
        }
    }
    let mut joules: BTreeMap<u32, [i128; 3]> = BTreeMap::new();
    for row in &energy.rows {
        joules.entry(row.key.node).or_default()[row.group as usize] += row.attojoule[Estimate::Typical as usize];
    }
    let row = |(index, (layer, done)): (usize, (&crate::workload::Layer, &Done))| {
        let [dram_read_bytes, dram_write_bytes] = dram.get(&(index as u32)).copied().unwrap_or_default();
        let cycles = by_layer[index];
        let timing = done.segment.as_ref().and_then(|segment| Some(&segment.outcome.as_ref()?.timing));
        let formats = &done.formats;
        LayerRow {
            layer: layer.name.clone(),
            kind: layer.kind.name(),
            shape: layer.kind.shape(),
            kernels: done.segment.as_ref().map_or_else(Vec::new, |segment| segment.program.kernels.clone()),
            formats: format!("{}*{}>{}", formats.weights, formats.inputs, formats.outputs),
            count: layer.count,
            cycles,
            estimate_cycles: done.estimate * layer.count,
            bound_by: timing.map_or_else(|| "unknown".to_owned(), |timing| bound_by(timing).0.to_owned()),
            macs: layer.kind.macs() * layer.count,
            utilisation: layer.count as f64 * ideal_cycles(&layer.kind, done, parts.machine) / (cycles.max(1) as f64),
            dram_read_bytes: (!parts.run.estimate).then_some(dram_read_bytes),
            dram_write_bytes: (!parts.run.estimate).then_some(dram_write_bytes),
            energy_pj: joules.get(&(index as u32)).map(|parts| energy_parts(*parts)),
        }
    };
    parts.workload.layers.iter().zip(parts.done).enumerate().map(row).collect()
}

fn estimate(parts: &Parts<'_>, rows: &[LayerRow], cycles: u64) -> EstimateRow {
    let estimated: u64 = rows.iter().map(|row| row.estimate_cycles).fold(0, u64::saturating_add);
    let relative = |estimated: u64, cycles: u64| (estimated as f64 - cycles as f64) / cycles.max(1) as f64;
    let simulated = !parts.run.estimate;
    let by_layer = rows.iter().map(|row| row.estimate_cycles.abs_diff(row.cycles)).fold(0, u64::saturating_add);
    EstimateRow {
        cycles: estimated,
        error: simulated.then(|| relative(estimated, cycles)),
        mean_layer_error: simulated.then(|| by_layer as f64 / cycles.max(1) as f64),
    }
}

fn phases(parts: &Parts<'_>, energy: &Energy, by_layer: &[u64]) -> Vec<PhaseRow> {
    let row = |(index, phase): (usize, &crate::workload::Phase)| {
        let mine = |layer: usize| parts.workload.layers[layer].phase == index;
        let cycles: u64 = (0..by_layer.len()).filter(|layer| mine(*layer)).map(|layer| by_layer[layer]).sum();
        let node = |node: u32| (node as usize) < by_layer.len() && mine(node as usize);
        let joules = picojoule(energy.sum(Estimate::Typical, |row| node(row.key.node)));
        let tokens = phase.tokens.max(1) as f64;
        PhaseRow {
            phase: phase.name.clone(),
            tokens: phase.tokens,
            cycles,
            tokens_per_s: tokens * parts.machine.clock_hz / cycles.max(1) as f64,
            energy_per_token_pj: (!parts.run.estimate).then_some(joules / tokens),
        }
    };
    parts.workload.phases.iter().enumerate().map(row).collect()
}

fn assumptions(parts: &Parts<'_>) -> Vec<String> {
    let mut lines = parts.workload.notes.clone();
    lines.push(match parts.run.epochs {
        Epochs::Layers => {
            "layers follow each other: each starts when all units and DRAM are quiet (an epoch)".to_owned()
        }
        Epochs::None => "layers run as one program; a layer's input is the result of the layer before it".to_owned(),
    });
    let place = match parts.run.resident {
        true => "inputs and results of layers lie on the chip",
        false => "a layer reads its inputs from DRAM and writes its results there",
    };
    lines.push(format!("{place}; weights are read once for every tile of rows that meets them"));
    lines.push("scales of results are known beforehand; bytes of scales are counted".to_owned());
    if parts.workload.layers.iter().any(|layer| matches!(layer.kind, Kind::Conv(_))) {
        lines.push("convolutions read strips of the image once (rows that strips share, twice); windows are made on the way into the array".to_owned());
    }
    if parts.workload.layers.iter().any(|layer| matches!(layer.kind, Kind::Attention(_))) {
        lines.push("attention meets all keys of its layer, without a causal cut; heads that share keys are rows of one product".to_owned());
    }
    let timed = crate::sim::assumptions(parts.machine);
    lines.extend(timed.into_iter().map(|(text, value)| format!("{text}: {value}")));
    lines
}
