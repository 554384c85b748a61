//! Tables for the terminal.

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::report::{RunSummary, story, units};

/// A table from its header and rows; columns named in `right` are aligned to the right.
pub fn render(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let align = |index: usize, cell: Cell| {
        let alignment = if right.contains(&index) { CellAlignment::Right } else { CellAlignment::Left };
        cell.set_alignment(alignment)
    };
    table.set_header(header.iter().enumerate().map(|(i, text)| align(i, Cell::new(text))));
    for row in rows {
        table.add_row(row.iter().enumerate().map(|(i, text)| align(i, Cell::new(text))));
    }
    let text = table.to_string();
    text.lines().map(|line| line.trim_end().to_string() + "\n").collect()
}

/// One line a run, for `preon demo` and for several policies or machines.
pub fn runs(runs: &[RunSummary]) -> String {
    let header =
        ["machine", "policy", "quality", "cycles", "time", "energy", "vs fp32", "weights", "DRAM", "bound by", "check"];
    let rows: Vec<Vec<String>> = runs.iter().map(run_line).collect();
    let mut text = render(&header, &rows, &[2, 3, 4, 5, 6, 7, 8]);
    if let Some(run) = runs.first() {
        text += &format!("quality is {}; vs fp32 is energy on the same machine\n", run.quality.metric);
    }
    story::kernels(runs).iter().for_each(|line| text += &format!("kernel: {line}\n"));
    text
}

fn run_line(run: &RunSummary) -> Vec<String> {
    vec![
        run.machine.clone(),
        run.policy.clone(),
        story::quality(run),
        units::count(run.cycles),
        units::time(run.time_ns),
        units::energy(run.energy_pj.total),
        run.saved_vs_fp32.map_or("–".into(), |saved| units::times(saved.energy)),
        units::bytes(run.bytes.weights),
        units::bytes(run.dram_bytes()),
        story::shown(&run.bound_by.what),
        story::check_short(run),
    ]
}

/// A bar of `share` (0 to 1) of `width` characters, in eighths of a character.
fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * 8.0 * width as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// One run in full.
pub fn run(run: &RunSummary) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| out += &format!("{name:<9}{text}\n");
    let weights = units::bytes(run.bytes.weights);
    let formats: Vec<&str> = run.bytes.by_format.keys().map(String::as_str).collect();
    line(
        "model",
        format!(
            "{}   {} parameters   tokens {} (+{} padding)",
            run.model,
            units::short(run.parameters as f64),
            run.tokens,
            run.padding
        ),
    );
    line(
        "machine",
        format!(
            "{}   {}   DRAM {} B/cycle",
            run.machine,
            units::clock(run.clock_hz),
            units::digits(run.peak.dram_bytes_per_cycle)
        ),
    );
    line("policy", format!("{}   weights {weights} in {}", run.policy, formats.join(", ")));
    story::kernels(std::slice::from_ref(run)).into_iter().for_each(|text| line("kernel", text));
    line(
        "cycles",
        format!(
            "{}   {}   {} of peak   bound by {}",
            units::count(run.cycles),
            units::time(run.time_ns),
            units::percent(run.utilisation()),
            story::shown(&run.bound_by.what)
        ),
    );
    let worked = run.units.iter().filter(|unit| unit.busy_cycles > 0);
    let busy: Vec<String> = worked.map(|unit| format!("{} {}", unit.unit, units::count(unit.busy_cycles))).collect();
    line("busy", busy.join("   ") + " cycles");
    line("energy", format!("{}   {:.3} W", story::energy(&run.energy_pj, &run.energy_range_pj), story::watts(run)));
    story::joules(run).into_iter().for_each(|(name, text)| line(name, text));
    line(
        "DRAM",
        format!(
            "{} read, {} written   SRAM peak {}",
            units::bytes(run.bytes.dram_read),
            units::bytes(run.bytes.dram_write),
            units::bytes(run.bytes.peak_sram)
        ),
    );
    story::assumptions(run).into_iter().for_each(|text| line("assumes", text));
    if run.quality.metric != "none" {
        line("quality", format!("{} {}", run.quality.metric, units::quality(run.quality.value)));
    }
    line("check", story::check(run));
    if let Some(saved) = run.saved_vs_fp32.filter(|_| run.policy != "fp32") {
        line(
            "vs fp32",
            format!(
                "{} fewer cycles, {} less energy, {} less DRAM traffic, {} smaller weights",
                units::times(saved.cycles),
                units::times(saved.energy),
                units::times(saved.dram_bytes),
                units::times(saved.weight_bytes)
            ),
        );
    }
    out + &run.notes.iter().map(|note| format!("note     {note}\n")).collect::<String>() + &bars(run)
}

/// Where time and energy go, side by side, largest first.
fn bars(run: &RunSummary) -> String {
    let mut layers: Vec<(&str, f64)> = run.layers.iter().map(|l| (l.name.as_str(), l.cycles as f64)).collect();
    let mut parts: Vec<(&str, f64)> = run.energy_by_component.iter().map(|c| (c.component.as_str(), c.pj)).collect();
    let by_size = |a: &(&str, f64), b: &(&str, f64)| b.1.total_cmp(&a.1);
    layers.sort_by(by_size);
    parts.sort_by(by_size);
    let cell = |entry: Option<&(&str, f64)>, total: f64, width: usize| {
        entry.filter(|_| total > 0.0).map_or(String::new(), |(name, value)| {
            let name = super::charts::shorten(name, width);
            format!("{name:<width$} {:<10} {:>6}", bar(value / total, 10), units::percent(value / total))
        })
    };
    let mut out = format!("\n {:<45} {}\n", "where the time goes", "where the energy goes");
    for index in 0..layers.len().max(parts.len()).min(6) {
        let left = cell(layers.get(index), run.cycles as f64, 26);
        let right = cell(parts.get(index), run.energy_pj.total, 18);
        out += format!(" {left:<45} {right}").trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    #[test]
    fn a_table_has_a_line_a_run() {
        let text = runs(&sample::two_machines());
        assert_eq!(text.lines().count(), 1 + 18 + 1);
        assert!(text.lines().all(|line| line == line.trim_end() && line.chars().count() < 130), "{text}");
        assert!(text.contains("8/8 exact"), "{text}");
    }

    #[test]
    fn one_run_tells_everything() {
        let text = run(&sample::runs()[4]);
        for word in [
            "tokens 12 (+0 padding)",
            "\nbusy     array 36 864 cycles",
            "bit-exact",
            "vs fp32",
            "where the energy goes",
            "bound by DRAM",
        ] {
            assert!(text.contains(word), "{word} is not in:\n{text}");
        }
        assert!(!text.contains("NaN"));
    }

    #[test]
    fn bars_have_eighths() {
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(0.28, 4), "█▏");
        assert_eq!(bar(9.0, 2), "██");
    }
}
