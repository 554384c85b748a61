//! From a checked tree to a [`Machine`]: units converted, prices per counted unit, what the schema cannot say checked.

use super::dram::{Map, Memory, Page, Refresh, Shape, Timing};
use super::tree::{Entry, Node, Origin, Value};
use super::widen::Widening;
use super::{
    Array, Dma, Dram, DramModel, Leakage, Machine, Noc, Price, Skip, Source, Sram, Units, array, dram, load, power,
    schema,
};
use crate::diag::{Error, Result};
use crate::num::format::find;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reads leaves of a tree that has passed the checks of `load.rs`.
pub(super) struct Reader<'a>(&'a Node);

impl<'a> Reader<'a> {
    pub(super) fn tree(&self) -> &'a Node {
        self.0
    }
    pub(super) fn node(&self, path: &str) -> Result<&'a Node> {
        self.0.at(path.split('.')).ok_or_else(|| Error::internal(format!("machine key `{path}` was not checked")))
    }
    fn count(&self, path: &str) -> Result<u64> {
        match self.node(path)?.value {
            Value::Int(i) => Ok(i.unsigned_abs()),
            _ => Err(Error::internal(format!("machine key `{path}` is not an integer"))),
        }
    }
    fn pair(&self, path: &str) -> Result<[u32; 2]> {
        let Value::List(items) = &self.node(path)?.value else {
            return Err(Error::internal(format!("machine key `{path}` is not a pair")));
        };
        let number = |at: usize| match items.get(at).map(|item| &item.value) {
            Some(Value::Int(i)) => Ok(i.unsigned_abs() as u32),
            _ => Err(Error::internal(format!("machine key `{path}` was not checked"))),
        };
        Ok([number(0)?, number(1)?])
    }
    pub(super) fn small(&self, path: &str) -> Result<u32> {
        u32::try_from(self.count(path)?).map_err(|_| Error::internal(format!("machine key `{path}` is too large")))
    }
    pub(super) fn text(&self, path: &str) -> Result<String> {
        Ok(self.0.at(path.split('.')).and_then(Node::text).unwrap_or_default().to_owned())
    }
    pub(super) fn figure(&self, path: &str) -> Result<(f64, String)> {
        let segments: Vec<&str> = path.split('.').collect();
        let found = load::figure(self.0, &segments);
        found
            .map(|(v, s)| (v, s.to_owned()))
            .ok_or_else(|| Error::internal(format!("machine key `{path}` was not checked")))
    }
    fn whole(&self, path: &str) -> Result<u32> {
        let (value, _) = self.figure(path)?;
        if value.fract() != 0.0 || value > f64::from(u32::MAX) {
            return Err(self.node(path)?.from.error(format!("`{path}` must be a whole number, not {value}")));
        }
        Ok(value as u32)
    }
}

/// The machine of a checked tree.
pub(super) fn machine(mut root: Node) -> Result<Machine> {
    restate(&mut root)?;
    let r = Reader(&root);
    let found = power::supply(&r)?;
    let clock_hz = match &found.0 {
        Some(supply) => supply.hz,
        None => r.figure("machine.clock_hz")?.0,
    };
    let vlen_bits = r.small("core.vlen_bits")?;
    if !vlen_bits.is_power_of_two() {
        let node = r.node("core.vlen_bits")?;
        return Err(node.from.error(format!("`core.vlen_bits` must be a power of two, not {vlen_bits}")));
    }
    let mut sram = vec![sram(&r, "own")?];
    if root.at(["sram", "shared"]).is_some() {
        sram.push(self::sram(&r, "shared")?);
    }
    let dram = dram(&r, clock_hz)?;
    let mut prices = prices(&r, &sram, &dram)?;
    let mut leakage = leakage(&r, clock_hz, &prices, &dram)?;
    let power = power::power(&r, found, &sram, &dram)?;
    if let Some(supply) = &power.supply {
        power::scale(supply, &mut prices, &mut leakage);
    }
    countable(&r, &prices, &leakage)?;
    let array = array(&r)?;
    let rates = if root.at(["rate", "S"]).is_some() { pairs(&r, "rate.S", true)? } else { Vec::new() };
    Ok(Machine {
        name: r.text("name")?,
        doc: r.text("doc")?,
        clock_hz,
        node_nm: r.figure("machine.node_nm")?.0,
        vlen_bits,
        issue_per_cycle: r.small("core.issue_per_cycle")?,
        scalar_latency: r.small("core.scalar_latency")?,
        control_latency: r.small("core.control_latency")?,
        order_entries: r.small("core.order_entries")?,
        scale_entries: match r.0.at(["core", "scale_entries"]) {
            Some(_) => r.small("core.scale_entries")?,
            None => (vlen_bits / 16).max(16),
        },
        acc_tiles: r.small("core.acc.tiles")?,
        acc_sets: r.small("core.acc.sets")?,
        acc_rows: r.small("core.acc.rows")?,
        acc_cols: r.small("core.acc.cols")?,
        control_bytes: r.count("core.control_bytes")?,
        units: units(&r)?,
        sram,
        dram,
        dma: Dma {
            engines: r.small("dma.engines")?,
            queue: r.small("dma.queue")?,
            bytes_per_cycle: r.small("dma.bytes_per_cycle")?,
            setup_cycles: r.small("dma.setup_cycles")?,
            outstanding_bursts: r.small("dma.outstanding_bursts")?,
        },
        cores: r.small("machine.cores")?,
        noc: noc(&r, &prices)?,
        widening: Widening::new(&rates, array.as_ref(), &prices),
        rates,
        array,
        prices,
        leakage,
        power,
        sources: sources(&r),
        root: Arc::new(root),
    })
}

/// The network between cores: several cores need it, and its bytes need a price.
fn noc(r: &Reader<'_>, prices: &BTreeMap<String, Price>) -> Result<Option<Noc>> {
    let (bytes, latency) = ("noc.bytes_per_cycle", "noc.latency");
    let noc = match r.0.get("noc") {
        Some(_) => Some(Noc { bytes_per_cycle: r.small(bytes)?, latency_cycles: r.small(latency)? }),
        None => None,
    };
    let cores = r.small("machine.cores")?;
    if cores > 1 && noc.is_none() {
        let error = r.node("machine.cores")?.from.error(format!("{cores} cores need a network between them"));
        return Err(error.help("add [noc] with `bytes_per_cycle` and `latency`, and `energy.core.noc`"));
    }
    if noc.is_some() && !prices.contains_key("core.noc") {
        let error = r.node(bytes)?.from.error("a network between cores needs the price `energy.core.noc`");
        return Err(error.help("state what a byte costs on its way to another core"));
    }
    Ok(noc)
}

fn units(r: &Reader<'_>) -> Result<Units> {
    Ok(Units {
        l_queue: r.small("unit.L.queue")?,
        l_bytes_per_cycle: r.small("unit.L.bytes_per_cycle")?,
        l_codes_per_cycle: match r.0.at(["unit", "L", "codes_per_cycle"]) {
            Some(_) => r.small("unit.L.codes_per_cycle")?,
            None => 0,
        },
        l_latency: r.small("unit.L.latency")?,
        s_queue: r.small("unit.S.queue")?,
        s_latency: r.small("unit.S.latency")?,
        s_tile_lanes: r.small("unit.S.tile_lanes")?,
        s_skip: match r.text("unit.S.skip")?.as_str() {
            "none" => Skip::None,
            "max_over_lanes" => Skip::MaxOverLanes,
            _ => Skip::Balanced,
        },
        s_skip_granule: r.pair("unit.S.skip_granule")?,
        e_queue: r.small("unit.E.queue")?,
        e_lanes: r.small("unit.E.lanes")?,
        e_latency: r.small("unit.E.latency")?,
        e_special_lanes: r.small("unit.E.special_lanes")?,
        e_special_latency: r.small("unit.E.special_latency")?,
        m_queue: r.small("unit.M.queue")?,
    })
}

/// Rows `"weights*inputs" = number` of a table; with `needed`, each must have a price.
fn pairs(r: &Reader<'_>, path: &str, needed: bool) -> Result<Vec<(String, String, u32)>> {
    let mut rows = Vec::new();
    for entry in r.node(path)?.entries() {
        let Some((weights, inputs)) = entry.key.split_once('*').filter(|(w, x)| !w.is_empty() && !x.is_empty()) else {
            let error = entry.at.error(format!("`{}` is not a pair of formats", entry.key));
            return Err(error.help("write \"weights*inputs\", for example \"ternary*int8\""));
        };
        for format in [weights, inputs] {
            find(format).map_err(|e| {
                let error = entry.at.error(e.message());
                if let Some(help) = e.help_text() { error.help(help) } else { error }
            })?;
        }
        if needed && r.0.at(["energy", "mac", &entry.key]).is_none() {
            let error = entry.at.error(format!("the pair `{}` has a rate but no price", entry.key));
            return Err(error.help(format!("add \"{}\" to [energy.mac]", entry.key)));
        }
        let Value::Int(rate) = entry.node.value else { continue };
        rows.push((weights.to_owned(), inputs.to_owned(), rate.unsigned_abs() as u32));
    }
    Ok(rows)
}

fn array(r: &Reader<'_>) -> Result<Option<Array>> {
    if r.0.get("array").is_none() {
        return Ok(None);
    }
    let cycles = if r.0.at(["array", "cycles"]).is_some() { pairs(r, "array.cycles", true)? } else { Vec::new() };
    array::read(r, cycles).map(Some)
}

fn sram(r: &Reader<'_>, name: &str) -> Result<Sram> {
    Ok(Sram {
        name: name.to_owned(),
        bytes: r.count(&format!("sram.{name}.bytes"))?,
        banks: r.small(&format!("sram.{name}.banks"))?,
        width_bytes: r.small(&format!("sram.{name}.width_bytes"))?,
        modulo: r.text(&format!("sram.{name}.bank_map"))? == "modulo",
        latency_cycles: r.small(&format!("sram.{name}.latency"))?,
    })
}

fn dram(r: &Reader<'_>, clock_hz: f64) -> Result<Dram> {
    let model = match r.text("dram.model")?.as_str() {
        "cycle" => DramModel::Cycle,
        "ideal" => DramModel::Ideal,
        _ => DramModel::Bandwidth,
    };
    let memory = memory(r)?;
    let by_command = memory.as_ref().filter(|_| model == DramModel::Cycle);
    let of_shape = |key: &str, shape: fn(&Memory) -> f64| match by_command {
        Some(memory) => agreed(r, key, shape(memory)),
        None => r.figure(key).map(|(stated, _)| stated),
    };
    let peak = of_shape("dram.peak_bytes_per_s", Memory::peak_bytes_per_s)?;
    let row_bytes = of_shape("dram.row_bytes", |memory| memory.row_bytes() as f64)?;
    let burst_bytes = of_shape("dram.burst_bytes", |memory| f64::from(memory.burst_bytes))?;
    for (key, value) in [("dram.row_bytes", row_bytes), ("dram.burst_bytes", burst_bytes)] {
        if value.fract() != 0.0 || value > f64::from(u32::MAX) {
            return Err(r.node(key)?.from.error(format!("`{key}` must be a whole number, not {value}")));
        }
    }
    let (efficiency, _) = r.figure("dram.efficiency")?;
    if efficiency > 1.0 {
        let node = r.node("dram.efficiency")?;
        return Err(node.from.error(format!("`dram.efficiency` must be at most 1, not {efficiency}")));
    }
    let sustained = peak * efficiency;
    if sustained < 1.0 {
        let slow = if peak < 1.0 { "dram.peak_bytes_per_s" } else { "dram.efficiency" };
        let from = &r.node(slow)?.from;
        return Err(
            from.error(format!("{peak:?} B/s at an efficiency of {efficiency:?} are less than a byte a second"))
        );
    }
    let (latency_ns, _) = r.figure("dram.latency_ns")?;
    if model == DramModel::Cycle {
        ["dram.latency_ns", "dram.efficiency"].iter().try_for_each(|key| without_effect(r, key))?;
    }
    let bytes = r.count("dram.bytes")?;
    if let Some(memory) = by_command.filter(|memory| bytes > memory.bytes()) {
        let from = &r.node("dram.bytes")?.from;
        let error = from.error(format!("`dram.bytes` is {bytes}, but the shape holds {}", memory.bytes()));
        return Err(error.help("state more rows, ranks or channels, or fewer bytes"));
    }
    Ok(Dram {
        model,
        standard: r.text("dram.standard")?,
        bytes,
        bytes_per_cycle: sustained / clock_hz,
        bytes_per_second: sustained.round() as u64,
        latency_cycles: if model == DramModel::Ideal { 0 } else { (latency_ns * clock_hz / 1e9).ceil() as u32 },
        row_bytes: row_bytes as u32,
        burst_bytes: burst_bytes as u32,
        memory,
    })
}

/// How late a value was given: by a base of the machine, by its own file, or by `--set`.
fn layer(r: &Reader<'_>, node: &Node) -> u8 {
    match (node.from.is_set(), node.from.text == r.tree().from.text) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}

/// A figure that the file states and the shape of a cycle-level DRAM gives too: the stated one.
///
/// # Errors
/// Bad input where the two differ by more than rounding.
fn agreed(r: &Reader<'_>, key: &str, of_shape: f64) -> Result<f64> {
    let (stated, _) = r.figure(key)?;
    if agree(stated, of_shape) {
        return Ok(stated);
    }
    let error = r.node(key)?.from.error(format!("`{key}` is {stated:?}, but the DRAM's shape gives {of_shape:?}"));
    let shape = "state a shape that fits (channels, bus_bits, burst_length, columns, tck_ps)";
    Err(error.help(format!("{shape}, or `dram.model = \"bandwidth\"`")))
}

/// Whether a stated figure is that of the shape, but for rounding.
pub(super) fn agree(stated: f64, of_shape: f64) -> bool {
    (stated / of_shape - 1.0).abs() <= 0.005
}

/// Where `--set` changed the shape of a cycle-level DRAM beneath figures that the file states, those of the shape stand.
fn restate(root: &mut Node) -> Result<()> {
    let r = Reader(root);
    let (Some(set), "cycle") = (set_in(r.node("dram")?), r.text("dram.model")?.as_str()) else { return Ok(()) };
    let Some(memory) = memory(&r)? else { return Ok(()) };
    let figures = [
        ("peak_bytes_per_s", memory.peak_bytes_per_s()),
        ("row_bytes", memory.row_bytes() as f64),
        ("burst_bytes", f64::from(memory.burst_bytes)),
    ];
    let node = |value| Node { value, from: set.clone() };
    let mut entries = Vec::new();
    for (key, of_shape) in figures {
        let path = format!("dram.{key}");
        if !agree(r.figure(&path)?.0, of_shape) && !r.node(&path)?.from.is_set() {
            let figure = Value::List(vec![node(Value::Float(of_shape)), node(Value::Str("--set".to_owned()))]);
            entries.push(Entry { key: key.to_owned(), at: set.clone(), node: node(figure) });
        }
    }
    let dram = Entry { key: "dram".to_owned(), at: set.clone(), node: node(Value::Table(entries)) };
    root.overlay(node(Value::Table(vec![dram])));
    Ok(())
}

/// The origin of the first value below `node` that `--set` gave.
fn set_in(node: &Node) -> Option<Origin> {
    let of = |entry: &Entry| {
        if entry.node.from.is_set() { Some(entry.node.from.clone()) } else { set_in(&entry.node) }
    };
    node.entries().iter().find_map(of)
}

/// Largest price of a counted unit, and largest leakage of a cycle, in attojoule: as many as 2^64 of them, for every key,
/// fit the ledger's integers.
const MOST_ATTOJOULE: i128 = 1_000_000_000_000_000_000;

/// Refuses prices and leakage that are small enough as they stand, but not by the unit or at the clock and supply of this
/// machine.
fn countable(r: &Reader<'_>, prices: &BTreeMap<String, Price>, leakage: &[Leakage]) -> Result<()> {
    let huge = |price: &Price| price.attojoule.iter().any(|aj| *aj > MOST_ATTOJOULE);
    if let Some((key, _)) = prices.iter().find(|(_, price)| huge(price)) {
        let error = r.node("energy")?.from.error(format!("`energy.{key}` is more than 1 J of what is counted"));
        return Err(error.help("state a smaller price, or the supply and sizes that it is scaled to"));
    }
    if let Some(part) = leakage.iter().find(|part| part.attojoule_per_cycle > MOST_ATTOJOULE) {
        let error = r.node("static")?.from.error(format!("`static.{}_mw` is more than 1 J a cycle", part.part));
        return Err(error.help("state a smaller power, or a faster clock"));
    }
    Ok(())
}

/// Refuses a figure of the bandwidth model that was changed on a machine whose DRAM is timed by its commands.
fn without_effect(r: &Reader<'_>, key: &str) -> Result<()> {
    let (node, model) = (r.node(key)?, r.node("dram.model")?);
    if layer(r, node) <= layer(r, model) {
        return Ok(());
    }
    let error = node.from.error(format!("`{key}` has no effect on a DRAM that is timed by its commands"));
    Err(error.help("change `dram.timing`, such as `dram.timing.cl`, or ask for `dram.model = \"bandwidth\"`"))
}

/// The memory of the cycle-level model: the figures of the file over those of its standard. None if the standard is
/// unknown and another model is asked for.
fn memory(r: &Reader<'_>) -> Result<Option<Memory>> {
    let text = r.text("dram.standard")?;
    let Some(standard) = dram::standard(&text) else {
        if r.text("dram.model")? == "cycle" {
            let names: Vec<&str> = dram::STANDARDS.iter().map(|s| s.name).collect();
            let error = r.node("dram.standard")?.from.error(format!("no standard is known whose name begins `{text}`"));
            return Err(error.help(format!("begin with one of {}, and state what differs", names.join(", "))));
        }
        return Ok(None);
    };
    let given = |key: &str| r.0.at(["dram", key]);
    let home = || given("standard").map_or_else(|| r.0.from.clone(), |node| node.from.clone());
    let shape = shape(r, &standard.shape)?;
    let banks = shape.ranks * shape.groups * shape.banks;
    if banks > 64 {
        let node = ["ranks", "bank_groups", "banks"].into_iter().find_map(given);
        let from = node.map_or_else(home, |node| node.from.clone());
        return Err(from.error(format!("a channel has {banks} banks in its ranks; at most 64 are served")));
    }
    let bus_bytes = power_of_two(r, "bus_bits", standard.bus_bits)? / 8;
    let burst_bytes = bus_bytes * power_of_two(r, "burst_length", standard.burst_length)?;
    let timing = timing(r, standard.timing)?;
    let refresh = refresh(r, &timing, &shape, standard.name)?;
    let number = |key: &str, otherwise: u32| number(r, key, otherwise);
    // A map goes with the standard that it was stated for.
    let stated_for = given("standard").map_or(0, |node| layer(r, node));
    let given_map = given("address_map").filter(|node| layer(r, node) >= stated_for);
    let text = given_map.and_then(Node::text).unwrap_or(standard.address_map);
    let map = Map::parse(text, &shape)
        .map_err(|(what, help)| given_map.map_or_else(home, |node| node.from.clone()).error(what).help(help))?;
    let channels = shape.channels * shape.pseudo_channels;
    Ok(Some(Memory {
        channels,
        ranks: shape.ranks,
        groups: shape.groups,
        banks: shape.banks,
        rows: shape.rows,
        columns: shape.columns,
        burst_bytes,
        tck_ps: number("tck_ps", standard.tck_ps)?,
        timing,
        map,
        queue: r.small("dram.queue")?,
        bank_queue: r.small("dram.bank_queue")?,
        row_hit_cap: r.small("dram.row_hit_cap")?,
        page: if r.text("dram.page")? == "closed" { Page::Closed } else { Page::Open },
        refresh,
        dual_command: match given("commands").and_then(Node::text) {
            Some(word) => word == "row_and_column",
            None => standard.dual_command,
        },
        issue: number("issue", channels)?,
        crossing: [r.small("dram.crossing_in")?, r.small("dram.crossing_out")?],
        outstanding: r.small("dma.outstanding_bursts")?,
    }))
}

/// A number of `[dram]`, or what the standard says.
fn number(r: &Reader<'_>, key: &str, otherwise: u32) -> Result<u32> {
    match r.0.at(["dram", key]) {
        Some(_) => r.small(&format!("dram.{key}")),
        None => Ok(otherwise),
    }
}

/// The same for a number that address bits count.
fn power_of_two(r: &Reader<'_>, key: &str, otherwise: u32) -> Result<u32> {
    let value = number(r, key, otherwise)?;
    match r.0.at(["dram", key]) {
        Some(node) if !value.is_power_of_two() => {
            Err(node.from.error(format!("`dram.{key}` must be a power of two, not {value}")))
        }
        _ => Ok(value),
    }
}

fn shape(r: &Reader<'_>, of: &Shape) -> Result<Shape> {
    Ok(Shape {
        channels: power_of_two(r, "channels", of.channels)?,
        pseudo_channels: power_of_two(r, "pseudo_channels", of.pseudo_channels)?,
        ranks: power_of_two(r, "ranks", of.ranks)?,
        groups: power_of_two(r, "bank_groups", of.groups)?,
        banks: power_of_two(r, "banks", of.banks)?,
        rows: power_of_two(r, "rows", of.rows)?,
        columns: power_of_two(r, "columns", of.columns)?,
    })
}

/// The timing figures of the file over those of its standard.
fn timing(r: &Reader<'_>, mut timing: Timing) -> Result<Timing> {
    for (name, field) in dram::TIMING {
        if r.0.at(["dram", "timing", name]).is_some() {
            let path = format!("dram.timing.{name}");
            let value = r.whole(&path)?;
            let low = u32::from(matches!(name, "burst" | "rfc" | "refi"));
            let high = if matches!(name, "rfc" | "refi" | "rfc_pb") { 1 << 24 } else { 500 };
            if !(low..=high).contains(&value) {
                let from = &r.node(&path)?.from;
                return Err(from.error(format!("`{path}` must lie in {low}..={high} clocks, not {value}")));
            }
            *field(&mut timing) = value;
        }
    }
    Ok(timing)
}

/// How rows are refreshed, if there is time for it.
fn refresh(r: &Reader<'_>, timing: &Timing, shape: &Shape, standard: &str) -> Result<Refresh> {
    let refresh = match r.text("dram.refresh")?.as_str() {
        "per_bank" if timing.rfc_pb == 0 => {
            let error = r.node("dram.refresh")?.from.error(format!("{standard} has no refresh of single banks"));
            return Err(error.help("state `dram.timing.rfc_pb`, or refresh all banks at once"));
        }
        "per_bank" => Refresh::PerBank,
        "off" => return Ok(Refresh::None),
        _ => Refresh::AllBank,
    };
    // Between two refresh commands there is time to close the banks, between two of a bank to refresh it.
    let (units, length) = match refresh {
        Refresh::PerBank => (shape.ranks * shape.groups * shape.banks, timing.rfc_pb),
        _ => (shape.ranks, timing.rfc),
    };
    if timing.refi / units <= timing.rc || timing.refi / 2 <= length + timing.rc {
        let node = r.node("dram.timing.refi").or_else(|_| r.node("dram.standard"))?;
        let error = format!("`dram.timing.refi` of {} clocks leaves no time between refreshes", timing.refi);
        return Err(node.from.error(error));
    }
    Ok(refresh)
}

fn leakage(r: &Reader<'_>, clock_hz: f64, prices: &BTreeMap<String, Price>, dram: &Dram) -> Result<Vec<Leakage>> {
    let by_command = dram.model == DramModel::Cycle && prices.contains_key("dram.active");
    let part = |part: &str| {
        let (stated, source) = r.figure(&format!("static.{part}_mw"))?;
        let milliwatt = if part == "dram" && by_command { 0.0 } else { stated };
        let attojoule_per_cycle = (milliwatt * 1e15 / clock_hz).round() as i128;
        Ok(Leakage { part: part.to_owned(), milliwatt, attojoule_per_cycle, source })
    };
    ["core", "array", "own", "shared", "dram"].into_iter().map(part).collect()
}

fn sources(r: &Reader<'_>) -> Vec<Source> {
    let text = |node: &Node, key: &str| node.get(key).and_then(Node::text).unwrap_or_default().to_owned();
    let entries = r.0.get("sources").map(Node::entries).unwrap_or_default();
    let row =
        |key: &String, node: &Node| Source { key: key.clone(), cite: text(node, "cite"), trust: text(node, "trust") };
    entries.iter().map(|e| row(&e.key, &e.node)).collect()
}

fn prices(r: &Reader<'_>, sram: &[Sram], dram: &Dram) -> Result<BTreeMap<String, Price>> {
    let mut prices = BTreeMap::new();
    for group in r.node("energy")?.entries().iter().filter(|group| group.key != "beside") {
        for row in group.node.entries().iter().filter(|e| e.node.is_table()) {
            let key = format!("{}.{}", group.key, row.key);
            let price = price(r, &group.key, &row.key, sram, dram)?;
            prices.insert(key, price);
        }
    }
    let home = &r.node("energy")?.from;
    let elementwise = r.node("energy.elementwise")?;
    if let Some(odd) =
        elementwise.entries().iter().find(|e| e.node.is_table() && !schema::ELEMENTWISE.contains(&e.key.as_str()))
    {
        let error = odd.at.error(format!("there is no element-wise kind `{}`", odd.key));
        return Err(error.help(format!("the kinds are: {}", schema::ELEMENTWISE.join(", "))));
    }
    let missing = |key: &String| !prices.contains_key(key);
    let kinds = schema::ELEMENTWISE[..schema::BITWISE].iter().map(|kind| format!("elementwise.{kind}"));
    let levels = sram.iter().flat_map(|s| ["read", "write"].map(|way| format!("{}.{way}", s.name)));
    match kinds.chain(levels).find(missing) {
        Some(key) => Err(home.error(format!("this machine has no price `energy.{key}`"))),
        None => Ok(prices),
    }
}

/// One price, converted from what it is stated per to the unit that the ledger counts.
fn price(r: &Reader<'_>, group: &str, row: &str, sram: &[Sram], dram: &Dram) -> Result<Price> {
    priced(r, &["energy", group, row], (group, row), sram, dram)
}

/// The price at `path`, which counts what `energy.<group>.<row>` counts: of the scope that this machine adds, or, where it
/// stands beside such a price, of another.
pub(super) fn priced(
    r: &Reader<'_>,
    path: &[&str; 3],
    (group, row): (&str, &str),
    sram: &[Sram],
    dram: &Dram,
) -> Result<Price> {
    let name = path.join(".");
    let lost = || Error::internal(format!("`{name}` was not checked"));
    let word = |word: &str| load::price_word(r.0, path, word).ok_or_else(lost);
    let kin = match group {
        "own" | "shared" => "sram",
        "dram" => "dram",
        _ => "logic",
    };
    let scope = word("scope")?;
    let counted = r.text(&format!("machine.scopes.{kin}"))?;
    let stated = scope.text().unwrap_or_default();
    let beside = path[1] == "beside";
    if beside && stated == counted {
        let error = scope.from.error(format!("`{name}` is of the scope `{stated}` that this machine counts"));
        return Err(error.help("a figure of the counted scope belongs into the table of prices"));
    }
    if !beside && stated != counted {
        let error =
            scope.from.error(format!("the scope of `{name}` is `{stated}`, but this machine counts `{counted}`"));
        return Err(error.help(
            "figures of different scope do not add: find one of the right scope; [energy.beside] shows one of another",
        ));
    }
    let stated_scope = stated.to_owned();
    let per = word("per")?;
    let stated = per.text().unwrap_or_default();
    let level = sram.iter().find(|s| s.name == group);
    let factor = match (group, row, stated) {
        ("mac" | "elementwise", _, "op") | ("core", "fold" | "accumulator" | "decode" | "gated", "op") => Some(1.0),
        ("core", "issue", "instruction") | ("core", "control", "access") => Some(1.0),
        ("core", "register" | "dma" | "noc", "byte") | ("dram", "read" | "write", "byte") => Some(1.0),
        ("core", "register" | "dma" | "noc", "bit") | ("dram", "read" | "write", "bit") => Some(8.0),
        ("own" | "shared", _, _) => {
            sized(stated, "access of ").filter(|b| level.is_some_and(|l| *b == l.width_bytes)).map(|_| 1.0)
        }
        ("dram", "refresh", "refresh") => Some(1.0),
        ("dram", "active" | "precharged", "ns of a rank") => {
            Some(dram.memory.as_ref().map_or(1.0, |memory| f64::from(memory.tck_ps) / 1000.0))
        }
        ("dram", "activate", _) => sized(stated, "row of ").map(|b| f64::from(dram.row_bytes) / f64::from(b)),
        _ => None,
    };
    let Some(factor) = factor else {
        let want = match (group, row) {
            ("own" | "shared", _) => {
                format!("access of {} B (the width of this level)", level.map_or(0, |l| l.width_bytes))
            }
            ("dram", "activate") => "row of N B".to_owned(),
            ("dram", "refresh") => "refresh".to_owned(),
            ("dram", "active" | "precharged") => "ns of a rank".to_owned(),
            ("dram", _) | ("core", "register" | "dma" | "noc") => "bit or byte".to_owned(),
            ("core", "issue") => "instruction".to_owned(),
            ("core", "control") => "access".to_owned(),
            _ => "op".to_owned(),
        };
        return Err(per.from.error(format!("`{name}` cannot be per `{stated}`")).help(format!("it is per {want}")));
    };
    let pj = load::pj_of(r.0.at(path.iter().copied()).and_then(|n| n.get("pj")).ok_or_else(lost)?);
    let pj = pj.map_err(|_| lost())?;
    Ok(Price {
        attojoule: pj.map(|p| (p * factor * 1e6).round() as i128),
        pj,
        per: stated.to_owned(),
        scope: stated_scope,
        source: word("source")?.text().unwrap_or_default().to_owned(),
    })
}

/// `N` of `"<prefix>N B"`, if it is a positive number.
fn sized(text: &str, prefix: &str) -> Option<u32> {
    text.strip_prefix(prefix)?.strip_suffix(" B")?.parse().ok().filter(|n| *n > 0)
}
