//! Counters of a trace: bandwidth, power and SRAM in use, a value a bin of time.

use crate::machine::Machine;
use crate::sim::history::{History, InUse, LEVELS};

/// Picojoule, millisecond and their like: attojoule a second in milliwatt.
const MILLIWATT: f64 = 1e-15;

/// Attojoule of leakage a cycle: of every core for the parts that each has, once for those that are shared.
fn leakage(machine: &Machine, cores: usize) -> i128 {
    let part = |leak: &crate::machine::Leakage| {
        let times = if matches!(leak.part.as_str(), "shared" | "dram") { 1 } else { cores.max(1) };
        leak.attojoule_per_cycle * times as i128
    };
    machine.leakage.iter().map(part).sum()
}

/// One counter: its process, its name, its series.
struct Counter {
    pid: usize,
    name: String,
    series: Vec<(&'static str, Vec<f64>)>,
}

/// The lines of all counters that are ever above zero.
pub fn lines(history: &History, machine: &Machine, cores: usize) -> Vec<String> {
    let scale = &history.scale;
    let used = scale.used();
    let per_second = |sum: f64, bin: usize| sum * machine.clock_hz / scale.cycles(bin).max(1) as f64;
    let mut counters = Vec::new();
    for (level, name) in LEVELS.iter().enumerate() {
        let rate = |way: usize| {
            let bytes = history.traffic(level, way)[..used].iter().enumerate();
            bytes.map(|(bin, bytes)| per_second(*bytes as f64, bin) / 1e9).collect()
        };
        let series = vec![("read", rate(0)), ("write", rate(1))];
        counters.push(Counter { pid: 0, name: format!("{name} bandwidth (GB/s)"), series });
    }
    let dynamic = history.energy[..used].iter().enumerate();
    let dynamic = dynamic.map(|(bin, energy)| per_second(*energy as f64, bin) * MILLIWATT).collect();
    let leaking = vec![leakage(machine, cores) as f64 * machine.clock_hz * MILLIWATT; used];
    let series = vec![("instructions", dynamic), ("leakage", leaking)];
    counters.push(Counter { pid: 0, name: "power (mW)".into(), series });
    let bytes = |used: &InUse| used.bytes(scale).iter().map(|bytes| *bytes as f64).collect();
    for (core, used) in history.in_use().iter().enumerate() {
        let series = vec![("bytes", bytes(used))];
        counters.push(Counter { pid: core + 1, name: "sram in use (bytes)".into(), series });
    }
    if let Some(used) = history.shared_in_use() {
        counters.push(Counter {
            pid: 0,
            name: "shared-sram in use (bytes)".into(),
            series: vec![("bytes", bytes(used))],
        });
    }
    let mut out = Vec::new();
    if used > 0 {
        out.push("{\"ph\":\"M\",\"pid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"machine\"}}".to_owned());
    }
    counters.iter().for_each(|counter| draw(counter, history, &mut out));
    out
}

/// A line wherever a value changes, and zeros at the end.
fn draw(counter: &Counter, history: &History, out: &mut Vec<String>) {
    if counter.series.iter().all(|(_, values)| values.iter().all(|value| *value == 0.0)) {
        return;
    }
    let scale = &history.scale;
    let mut line = |ts: u64, args: &str| {
        let (pid, name) = (counter.pid, &counter.name);
        out.push(format!("{{\"ph\":\"C\",\"pid\":{pid},\"ts\":{ts},\"name\":\"{name}\",\"args\":{{{args}}}}}"));
    };
    let args = |value: &dyn Fn(&Vec<f64>) -> f64| {
        let each = counter.series.iter().map(|(name, values)| format!("\"{name}\":{}", short(value(values))));
        each.collect::<Vec<_>>().join(",")
    };
    let mut last = String::new();
    for bin in 0..scale.used() {
        let now = args(&|values| values[bin]);
        if now != last {
            line(scale.from + bin as u64 * scale.width, &now);
            last = now;
        }
    }
    line(scale.end, &args(&|_| 0.0));
}

/// A number with three digits behind the point, or none if it is whole.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
