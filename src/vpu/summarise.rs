//! From timing, ledger and cross-check to the [`RunSummary`] that everything prints from.

use super::execute::Execution;
use super::quality::Distance;
use super::summary::*;
use crate::check::CheckReport;
use crate::compile::Compiled;
use crate::compile::kernels::Replaced;
use crate::diag::{Error, Result};
use crate::graph::{Def, Graph, NodeId};
use crate::machine::Machine;
use crate::model::Prepared;
use crate::num::format::family_of;
use crate::policy::{self, Assignment, Policy};
use crate::sim::{self, CAUSES, Energy, Estimate, Ledger, Place, SPENT, Timing, UNIT_NAMES, What, bound_by, picojoule};
use crate::tensor::rows_cols;
use std::collections::{BTreeMap, BTreeSet};

/// Everything a summary is made from.
pub struct Parts<'a> {
    pub prepared: &'a Prepared,
    pub machine: &'a Machine,
    pub policy: &'a Policy,
    pub graph: &'a Graph,
    pub assignments: &'a [Assignment],
    pub compiled: &'a Compiled,
    pub execution: &'a Execution,
    pub check: Option<&'a CheckReport>,
    pub distance: Option<&'a Distance>,
    pub seed: u64,
}

/// The summary of one run.
///
/// # Errors
/// Unsupported if something happened that the machine has no price for.
pub fn summary(parts: &Parts<'_>) -> Result<RunSummary> {
    let Parts { prepared, machine, graph, compiled, .. } = *parts;
    let outcome =
        parts.execution.outcome.as_ref().ok_or_else(|| Error::internal("a summary of a run without a clock"))?;
    let (timing, ledger) = (&outcome.timing, &outcome.ledger);
    let energy = ledger.energy(machine)?;
    let (dense, executed, skipped) = ledger.macs();
    let (what, evidence) = bound_by(timing);
    let time_ns = timing.cycles as f64 / machine.clock_hz * 1e9;
    let joules = super::joules::joules(machine, &energy, executed, time_ns);
    let mut notes = policy::notes(parts.assignments);
    notes.extend(joules.thermal.and_then(|thermal| thermal.warning()));
    Ok(RunSummary {
        schema: SCHEMA.to_owned(),
        model: prepared.graph.name.clone(),
        parameters: parameters(&prepared.graph),
        machine: machine.name.clone(),
        clock_hz: machine.clock_hz,
        policy: parts.policy.name.clone(),
        seed: parts.seed,
        tokens: prepared.tokens as u64,
        padding: prepared.padding as u64,
        instructions: timing.instructions,
        cycles: timing.cycles,
        time_ns,
        energy_pj: energy_parts(energy.groups()),
        energy_range_pj: EnergyRange {
            low: picojoule(energy.total(Estimate::Low)),
            high: picojoule(energy.total(Estimate::High)),
        },
        energy_by_component: components(&energy, machine),
        bytes: bytes(ledger, compiled),
        quality: match parts.distance {
            Some(distance) => Quality { metric: "cosine to fp32".to_owned(), value: distance.cosine },
            None => Quality { metric: "none".to_owned(), value: 0.0 },
        },
        check: parts.check.map(|report| check_summary(report, parts)),
        macs: Macs { dense, executed, skipped },
        saved_vs_fp32: None,
        ops: operations(&energy, machine),
        units: units(timing),
        layers: layers(compiled, graph, timing, ledger, &energy),
        weights: weights(graph),
        bound_by: BoundBy { what: what.to_owned(), evidence },
        peak: peak(machine, ledger),
        assumptions: assumptions(machine, &energy),
        not_modelled: sim::not_modelled(machine).into_iter().map(str::to_owned).collect(),
        notes,
        joules: Some(joules),
        kernels: compiled.replaced.iter().map(kernel_file).collect(),
    })
}

fn kernel_file(file: &Replaced) -> KernelFile {
    KernelFile { name: file.name.clone(), path: file.path.clone(), steps: file.steps as u64 }
}

fn parameters(graph: &Graph) -> u64 {
    let elements = |shape: &[usize]| shape.iter().product::<usize>() as u64;
    graph.values.iter().filter(|value| matches!(value.def, Def::Const(_))).map(|value| elements(&value.shape)).sum()
}

fn energy_parts([arithmetic, movement, leakage]: [i128; 3]) -> EnergyParts {
    EnergyParts::new(picojoule(arithmetic), picojoule(movement), picojoule(leakage))
}

fn components(energy: &Energy, machine: &Machine) -> Vec<ComponentEnergy> {
    let part = |group| match group {
        sim::Group::Arithmetic => EnergyPart::Arithmetic,
        sim::Group::Movement => EnergyPart::Movement,
        sim::Group::Leakage => EnergyPart::Leakage,
    };
    let row = |(place, group, attojoule): (Place, _, i128)| ComponentEnergy {
        component: place.name(machine),
        part: part(group),
        pj: picojoule(attojoule),
    };
    energy.by_place().into_iter().map(row).collect()
}

fn bytes(ledger: &Ledger, compiled: &Compiled) -> Bytes {
    let (dram_read, dram_write) = ledger.bytes(Place::Dram);
    let (own, shared) = (ledger.bytes(Place::Own), ledger.bytes(Place::Shared));
    Bytes {
        dram_read,
        dram_write,
        sram_read: own.0 + shared.0,
        sram_write: own.1 + shared.1,
        weights: compiled.weight_bytes,
        peak_sram: compiled.peak_sram_bytes,
        by_format: compiled.weight_bytes_by_format.iter().cloned().collect(),
    }
}

fn check_summary(report: &CheckReport, parts: &Parts<'_>) -> CheckSummary {
    let Parts { graph, execution, distance, .. } = *parts;
    let mut rows: Vec<CheckRow> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let value = graph.value(node.output);
        let different = report.mismatches.iter().filter(|m| m.node == node.name).map(|m| m.differing as u64).max();
        let id = NodeId(u32::try_from(index).expect("fewer than 2^32 nodes"));
        let fused = !execution.captured.iter().any(|captured| captured.node == id);
        rows.push(CheckRow {
            node: node.name.clone(),
            op: if fused { format!("{} (fused)", node.op.name()) } else { node.op.name().to_owned() },
            format: value.ty.general().to_string(),
            elements: value.shape.iter().product::<usize>() as u64,
            different: different.unwrap_or(0),
            sqnr_db: distance.and_then(|distance| distance.sqnr_db.get(&node.name).copied()),
        });
    }
    // A node may differ in both the unfused and the fused run.
    let wrong: BTreeSet<&str> = report.mismatches.iter().map(|mismatch| mismatch.node.as_str()).collect();
    CheckSummary { bit_exact: report.is_bit_exact(), nodes: report.nodes as u64, mismatches: wrong.len() as u64, rows }
}

/// Every priced operation.
pub(super) fn operations(energy: &Energy, machine: &Machine) -> Vec<OpEnergy> {
    energy
        .operations()
        .into_iter()
        .map(|row| OpEnergy {
            kind: match row.key.what {
                What::Mac => "mac".to_owned(),
                _ => row.price_key.rsplit('.').next().unwrap_or(&row.price_key).to_owned(),
            },
            formats: match row.key.what {
                What::Mac => format!("{}*{}", row.key.weights, row.key.inputs),
                _ => "fp32".to_owned(),
            },
            unit: row.key.place.name(machine),
            count: row.count,
            pj_each: picojoule(row.each[1]),
            pj_total: picojoule(row.attojoule[1]),
            key: format!("energy.{}", row.price_key),
        })
        .collect()
}

fn units(timing: &Timing) -> Vec<UnitCycles> {
    let causes = |stalls: &[u64; CAUSES.len()]| {
        CAUSES
            .iter()
            .zip(stalls)
            .filter(|(_, cycles)| **cycles > 0)
            .map(|(cause, cycles)| ((*cause).to_owned(), *cycles))
            .collect()
    };
    UNIT_NAMES
        .iter()
        .zip(&timing.units)
        .map(|(name, unit)| UnitCycles {
            unit: (*name).to_owned(),
            busy_cycles: unit.busy_cycles,
            stall_cycles: causes(&unit.stall_cycles),
            idle_cycles: unit.idle_cycles,
        })
        .collect()
}

fn layers(compiled: &Compiled, graph: &Graph, timing: &Timing, ledger: &Ledger, energy: &Energy) -> Vec<Layer> {
    let mut dram: BTreeMap<u32, u64> = BTreeMap::new();
    for (key, count) in &ledger.rows {
        if key.place == Place::Dram && matches!(key.what, What::ReadBytes | What::WriteBytes) {
            *dram.entry(key.node).or_default() += count;
        }
    }
    let row = |index: usize, name: String, kernel: String, formats: String, macs: u64| {
        let node = u32::try_from(index).expect("fewer than 2^32 steps");
        let spent = timing.nodes.get(index).copied().unwrap_or_default();
        let most = (0..SPENT.len()).fold(0, |best, i| if spent[i] > spent[best] { i } else { best });
        let spent_names = SPENT.iter().zip(spent).filter(|(_, cycles)| *cycles > 0);
        Layer {
            name,
            kernel,
            formats,
            cycles: timing.node_cycles(node),
            cycles_by: spent_names.map(|(name, cycles)| ((*name).to_owned(), cycles)).collect(),
            energy_pj: energy_parts(energy.node(node)),
            macs,
            dram_bytes: dram.get(&node).copied().unwrap_or(0),
            bound_by: SPENT[most].to_owned(),
        }
    };
    let mut layers: Vec<Layer> = compiled
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            row(index, step.name.clone(), step.kernel.clone(), formats(graph, step.nodes[0]), step.macs_dense)
        })
        .collect();
    let outside = row(compiled.steps.len(), "(outside layers)".into(), "driver".into(), String::new(), 0);
    if outside.cycles > 0 || outside.energy_pj.total > 0.0 {
        layers.push(outside);
    }
    layers
}

/// Types of the operands of a node, weights last: `int8/row * ternary/tensor`.
fn formats(graph: &Graph, node: NodeId) -> String {
    let node = graph.node(node);
    let types: Vec<String> =
        node.inputs.iter().take(2).map(|input| graph.value(*input).ty.general().to_string()).collect();
    types.join(" * ")
}

fn weights(graph: &Graph) -> Vec<WeightTensor> {
    let row = |value: &crate::graph::Value| {
        let Def::Const(tensor) = &value.def else { return None };
        let (rows, columns) = rows_cols(&value.shape);
        Some(WeightTensor {
            name: value.name.clone(),
            format: value.ty.format.family().to_owned(),
            rows: rows as u64,
            columns: columns as u64,
            bits: u64::from(value.ty.format.bits),
            scaling: value.ty.to_string().split_once('/').map_or("none", |(_, scaling)| scaling).to_owned(),
            scales: value.ty.scale_count(rows, columns) as u64,
            sparsity: tensor.mask.as_ref().map_or(String::new(), |mask| mask.sparsity.to_string()),
            mask_bytes: tensor.mask_bytes() as u64,
            bytes: tensor.bytes() as u64,
        })
    };
    graph.values.iter().filter_map(row).collect()
}

fn peak(machine: &Machine, ledger: &Ledger) -> Peak {
    let mut pairs: BTreeMap<(Place, &str, &str), u64> = BTreeMap::new();
    for (key, count) in ledger.rows.iter().filter(|(key, _)| key.what == What::Mac) {
        *pairs.entry((key.place, key.weights, key.inputs)).or_default() += count;
    }
    let ceiling = |place: Place, weights: &str, inputs: &str| match (place, &machine.array) {
        (Place::Unit(crate::isa::Unit::M), Some(array)) => {
            let row_cycles = machine.array_row_cycles(weights, inputs).unwrap_or(1);
            let bits = |name: &str| crate::num::format::find(name).map_or(0, |format| format.bits);
            array.kind.peak(row_cycles, [weights, inputs].map(bits))
        }
        _ => machine.s_terms_per_cycle(weights, inputs).map_or(0.0, f64::from),
    };
    let mut rows: Vec<PairPeak> = Vec::new();
    for ((place, weights, inputs), macs) in pairs {
        let (unit, peak) = (place.name(machine), ceiling(place, weights, inputs));
        let (weights, inputs) = (family_of(weights), family_of(inputs));
        // Tables learned for several tensors are one row.
        let same = |row: &&mut PairPeak| {
            row.unit == unit && row.weights == weights && row.inputs == inputs && row.peak == peak
        };
        match rows.iter_mut().find(same) {
            Some(row) => row.macs += macs,
            None => rows.push(PairPeak { unit, weights: weights.into(), inputs: inputs.into(), peak, macs }),
        }
    }
    Peak { macs_per_cycle: rows, dram_bytes_per_cycle: machine.dram.bytes_per_cycle }
}

/// The figures of the machine that this run's totals rest on, each with its source.
fn assumptions(machine: &Machine, energy: &Energy) -> Vec<Assumption> {
    let cite = |key: &str| {
        let found = machine.sources.iter().find(|source| source.key == key);
        found.map_or_else(|| key.to_owned(), |source| format!("{} ({})", source.cite, source.trust))
    };
    let choice = "a choice of this machine file";
    let row = |(text, value)| Assumption { text, value, source: choice.to_owned() };
    let mut rows: Vec<Assumption> = sim::assumptions(machine).into_iter().map(row).collect();
    let mut used: BTreeMap<String, (&[i128; 3], String)> = BTreeMap::new();
    for row in &energy.rows {
        let (key, source) = match row.widened() {
            None => (row.price_key.clone(), cite(&row.source)),
            Some(pair) => {
                let wide = row.price_key.trim_start_matches("mac.");
                (
                    format!("mac.{pair} on {}", row.key.place.name(machine)),
                    format!("widened from {wide}: {}", cite(&row.source)),
                )
            }
        };
        used.insert(key, (&row.each, source));
    }
    for (key, (each, source)) in used {
        let [low, typical, high] = each.map(picojoule);
        let value =
            if low == high { format!("{typical:.4} pJ") } else { format!("{typical:.4} pJ ({low:.4} to {high:.4})") };
        rows.push(Assumption { text: format!("energy.{key}"), value, source });
    }
    rows
}
