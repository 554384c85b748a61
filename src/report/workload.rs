//! Workloads for people and for spreadsheets.

use super::csv;
use super::table::render;
use super::units;
use crate::diag::Result;
use crate::vpu::workload::WorkloadReport;
use std::path::Path;

/// One run in full: totals, then a line a layer.
pub fn run(run: &WorkloadReport) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| out += &format!("{name:<9}{text}\n");
    line("workload", format!("{}   {} MACs", run.workload, units::short(run.macs as f64)));
    line("machine", format!("{}   {}   policy {}", run.machine, units::clock(run.clock_hz), run.policy));
    let limited = match run.bound_by.as_str() {
        "unknown" => "estimated".to_owned(),
        what => format!("bound by {}", super::story::shown(what)),
    };
    let used = units::percent(run.utilisation);
    line("cycles", format!("{}   {}   {used} of peak   {limited}", units::count(run.cycles), units::time(run.time_ns)));
    if let (Some(e), Some(range)) = (&run.energy_pj, &run.energy_range_pj) {
        line("energy", super::story::energy(e, range));
        let [read, written, peak] = [run.dram_read_bytes, run.dram_write_bytes, run.peak_sram_bytes].map(shown);
        line("DRAM", format!("{read} read, {written} written   SRAM peak {peak}"));
        let segments = &run.segments;
        let [instances, simulated, programs] =
            [segments.instances, segments.simulated, segments.programs].map(units::count);
        line(
            "layers",
            match segments.programs {
                // Layers without an end between them.
                0 => format!("{instances} run as one program"),
                _ => format!("{instances} run, {simulated} simulated, {programs} different programs"),
            },
        );
    }
    if let (Some(error), Some(layers)) = (run.estimate.error, run.estimate.mean_layer_error) {
        line(
            "estimate",
            format!(
                "{} cycles: {:+.1} % in all, {:.1} % layer by layer",
                units::count(run.estimate.cycles),
                error * 100.0,
                layers * 100.0
            ),
        );
    }
    for phase in &run.phases {
        let energy = phase.energy_per_token_pj.map_or(String::new(), |pj| format!("   {} a token", units::energy(pj)));
        let speed = units::digits(phase.tokens_per_s);
        line(&phase.phase, format!("{} tokens   {speed} tokens/s{energy}", units::count(phase.tokens)));
    }
    out.push('\n');
    out += &layers(run);
    run.assumptions.iter().for_each(|text| out += &format!("assumed: {text}\n"));
    out
}

/// Bytes, where they are known.
fn shown(bytes: Option<u64>) -> String {
    bytes.map_or("–".into(), units::bytes)
}

fn both(read: Option<u64>, written: Option<u64>) -> Option<u64> {
    Some(read? + written?)
}

/// What limits a run; an estimate does not know.
fn limit(bound_by: &str) -> String {
    if bound_by == "unknown" { "–".into() } else { super::story::shown(bound_by) }
}

const FILES: [&str; 2] = ["workload.json", "workload.csv"];

/// Says beforehand whether a pair may be written to `folder`.
///
/// # Errors
/// Usage if it may not.
pub fn refuse(folder: &Path) -> Result<()> {
    super::folder::place(folder, FILES[0], &FILES).map(|_| ())
}

/// Writes `workload.json` (this text) and `workload.csv`. An older pair at the same place is replaced; anything else there is
/// left alone.
///
/// # Errors
/// Usage if `folder` exists and holds anything else, or cannot be written.
pub fn write(runs: &[WorkloadReport], json: &str, folder: &Path) -> Result<()> {
    super::folder::write_pair(folder, [(FILES[0], json), (FILES[1], &rows(runs))])
}

/// Most lines of the table of layers.
const MOST_LINES: usize = 64;

fn layers(run: &WorkloadReport) -> String {
    let header = [
        "layer", "kind", "shape", "times", "cycles", "share", "estimate", "bound by", "MACs", "peak", "DRAM", "energy",
    ];
    let rows: Vec<Vec<String>> = run
        .layers
        .iter()
        .take(MOST_LINES)
        .map(|layer| {
            vec![
                layer.layer.clone(),
                layer.kind.to_owned(),
                layer.shape.clone(),
                units::count(layer.count),
                units::count(layer.cycles),
                units::percent(layer.cycles as f64 / run.cycles.max(1) as f64),
                units::count(layer.estimate_cycles),
                limit(&layer.bound_by),
                units::short(layer.macs as f64),
                units::percent(layer.utilisation),
                shown(both(layer.dram_read_bytes, layer.dram_write_bytes)),
                layer.energy_pj.map_or("–".into(), |e| units::energy(e.total)),
            ]
        })
        .collect();
    let mut text = render(&header, &rows, &[3, 4, 5, 6, 8, 9, 10, 11]);
    if run.layers.len() > MOST_LINES {
        text += &format!("… and {} more; -f csv lists them all\n", run.layers.len() - MOST_LINES);
    }
    text
}

/// One row a layer.
pub fn rows(runs: &[WorkloadReport]) -> String {
    let header = "workload,machine,policy,mode,layer,kind,shape,kernels,formats,count,cycles,estimate_cycles,bound_by,macs,\
        utilisation,dram_read_bytes,dram_write_bytes,energy_pj";
    let rows = runs.iter().flat_map(|run| {
        run.layers.iter().map(move |layer| {
            vec![
                run.workload.clone(),
                run.machine.clone(),
                run.policy.clone(),
                run.mode.to_owned(),
                layer.layer.clone(),
                layer.kind.to_owned(),
                layer.shape.clone(),
                layer.kernels.join(" "),
                layer.formats.clone(),
                layer.count.to_string(),
                layer.cycles.to_string(),
                layer.estimate_cycles.to_string(),
                layer.bound_by.clone(),
                layer.macs.to_string(),
                layer.utilisation.to_string(),
                csv::number(layer.dram_read_bytes),
                csv::number(layer.dram_write_bytes),
                csv::number(layer.energy_pj.map(|e| e.total)),
            ]
        })
    });
    csv::table(header, rows)
}

/// One line a run, for several machines or policies.
pub fn runs(runs: &[WorkloadReport]) -> String {
    let header = ["machine", "policy", "cycles", "time", "of peak", "energy", "DRAM", "bound by", "estimate"];
    let row = |run: &WorkloadReport| {
        vec![
            run.machine.clone(),
            run.policy.clone(),
            units::count(run.cycles),
            units::time(run.time_ns),
            units::percent(run.utilisation),
            run.energy_pj.map_or("–".into(), |e| units::energy(e.total)),
            shown(both(run.dram_read_bytes, run.dram_write_bytes)),
            limit(&run.bound_by),
            run.estimate.error.map_or("–".into(), |error| format!("{:+.1} %", error * 100.0)),
        ]
    };
    render(&header, &runs.iter().map(row).collect::<Vec<_>>(), &[2, 3, 4, 5, 6, 8])
}
