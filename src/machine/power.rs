//! What a machine file says beside its prices: the supply it runs at, temperature, area and its limit, and figures of other
//! scopes that are shown but never added.

use super::build::{Reader, priced};
use super::energy::supply::{self, Point, Supply};
use super::tree::{Node, Value};
use super::{Dram, Leakage, Price, Sram, load, schema};
use crate::diag::Result;
use std::collections::BTreeMap;

/// Supply, temperature, area and figures of other scopes.
#[derive(Debug, Clone, PartialEq)]
pub struct Power {
    /// The supply; `None` for a machine without points of voltage and frequency.
    pub supply: Option<Supply>,
    /// Temperature, for k T ln 2 and leakage against voltage.
    pub kelvin: f64,
    /// Area of the chip without DRAM.
    pub area_mm2: Option<f64>,
    /// Power density that the machine's cooling bears.
    pub limit_w_per_mm2: Option<f64>,
    /// Prices of another scope by the key of the price that they stand beside.
    pub beside: BTreeMap<String, Price>,
}

/// Supply and temperature of a checked tree, and the clock that follows.
pub(super) fn supply(r: &Reader<'_>) -> Result<(Option<Supply>, f64)> {
    let kelvin = r.figure("machine.temperature_k")?.0;
    let (clock_hz, _) = r.figure("machine.clock_hz")?;
    let volts = optional(r, "machine.vdd");
    let Some(list) = r.tree().at(["machine", "vf"]) else {
        return match r.tree().at(["machine", "vdd"]) {
            None => Ok((None, kelvin)),
            Some(vdd) => {
                let error = vdd.from.error("this machine has no points of voltage and frequency to choose from");
                Err(error.help("add machine.vf = [[volts, hz, \"source\"], ..]: the first where its prices hold"))
            }
        };
    };
    let points = points(list);
    let nominal = points.first().map_or(0.0, |point| point.hz);
    if nominal != clock_hz {
        let text =
            format!("the first point of `machine.vf` runs at {nominal} Hz, but `machine.clock_hz` is {clock_hz}");
        return Err(list.from.error(text).help("the first point is the one at which clock and prices hold"));
    }
    let volts = volts.or(points.first().map(|point| point.volts)).unwrap_or_default();
    let (nm, _) = r.figure("machine.node_nm")?;
    let found = supply::at(&points, volts, optional(r, "machine.vth"), nm, kelvin);
    let place = r.tree().at(["machine", "vdd"]).unwrap_or(list);
    Ok((Some(found.map_err(|why| place.from.error(why))?), kelvin))
}

/// The figure at a path, if it is there.
fn optional(r: &Reader<'_>, path: &str) -> Option<f64> {
    let segments: Vec<&str> = path.split('.').collect();
    load::figure(r.tree(), &segments).map(|(value, _)| value)
}

/// Points of a checked list.
fn points(list: &Node) -> Vec<Point> {
    let Value::List(rows) = &list.value else { return Vec::new() };
    rows.iter().filter_map(point).collect()
}

/// `[volts, hz, "source"]`.
pub(super) fn point(row: &Node) -> Option<Point> {
    let Value::List(items) = &row.value else { return None };
    let [volts, hz, source] = items.as_slice() else { return None };
    let positive = |node: &Node| node.number().filter(|v| v.is_finite() && *v > 0.0);
    Some(Point { volts: positive(volts)?, hz: positive(hz)?, source: source.text()?.to_owned() })
}

/// Everything beside the prices.
pub(super) fn power(r: &Reader<'_>, found: (Option<Supply>, f64), sram: &[Sram], dram: &Dram) -> Result<Power> {
    let (supply, kelvin) = found;
    let [area_mm2, limit_w_per_mm2] = ["static.area_mm2", "static.limit_w_per_mm2"].map(|path| optional(r, path));
    if let (Some(_), None) = (limit_w_per_mm2, area_mm2) {
        let error = r.node("static.limit_w_per_mm2")?.from.error("a limit of power density needs `static.area_mm2`");
        return Err(error.help("state the area of the chip, with its source"));
    }
    let mut beside = BTreeMap::new();
    for row in r.tree().at(["energy", "beside"]).map(Node::entries).unwrap_or_default() {
        if schema::GROUP_WORDS.contains(&row.key.as_str()) {
            continue;
        }
        let counted = row.key.split_once('.').filter(|(group, name)| {
            schema::find(&["energy", group, name]).is_some_and(|key| key.kind == schema::Kind::Price)
        });
        let Some((group, name)) = counted else {
            let error = row.at.error(format!("`{}` is not the key of a price", row.key));
            return Err(error.help("name the price that this figure stands beside: \"dram.read\""));
        };
        beside.insert(row.key.clone(), priced(r, &["energy", "beside", &row.key], (group, name), sram, dram)?);
    }
    Ok(Power { supply, kelvin, area_mm2, limit_w_per_mm2, beside })
}

/// Lays the supply over the prices and the leakage of logic and SRAM; DRAM keeps its own.
pub(super) fn scale(supply: &Supply, prices: &mut BTreeMap<String, Price>, leakage: &mut [Leakage]) {
    let times = |attojoule: i128, factor: f64| (attojoule as f64 * factor).round() as i128;
    for (_, price) in prices.iter_mut().filter(|(key, _)| !key.starts_with("dram.")) {
        price.attojoule = price.attojoule.map(|aj| times(aj, supply.dynamic));
    }
    for part in leakage.iter_mut().filter(|part| part.part != "dram") {
        part.milliwatt *= supply.leakage;
        part.attojoule_per_cycle = (part.milliwatt * 1e15 / supply.hz).round() as i128;
    }
}

#[cfg(test)]
mod tests {
    use crate::machine::energy::supply::Known;
    use crate::machine::{Machine, load, load_with, parse};

    const POINTS: &str = "[machine]\nvf = [[0.8, 1e9, \"choice\"], [0.6, 5e8, \"choice\"]]\nvth = [0.35, \"choice\"]\n";

    fn over_edge(text: &str) -> crate::diag::Result<Machine> {
        parse("m.toml", &format!("extends = \"edge\"\n{text}"))
    }

    #[test]
    fn a_supply_moves_logic_and_leaves_dram_alone() {
        let (edge, nominal) = (load("edge").unwrap(), over_edge(POINTS).unwrap());
        assert_eq!(
            (nominal.clock_hz, &nominal.prices),
            (edge.clock_hz, &edge.prices),
            "the first point changes nothing"
        );
        assert_eq!(nominal.leakage, edge.leakage);
        let low = over_edge(&format!("{POINTS}vdd = [0.6, \"choice\"]\n")).unwrap();
        assert_eq!((low.clock_hz, low.power.supply.as_ref().unwrap().known), (5e8, Known::Stated));
        for (key, price) in &low.prices {
            let before = edge.price(key).unwrap().attojoule[1];
            let factor = if key.starts_with("dram.") { 1.0 } else { 0.5625 };
            assert!((price.attojoule[1] as f64 - before as f64 * factor).abs() <= 0.5, "{key}");
        }
        // The same wall time is half as many cycles: bandwidth and latency of DRAM stay what they are in nanoseconds.
        assert_eq!(low.dram.bytes_per_second, edge.dram.bytes_per_second);
        assert_eq!(low.dram.latency_cycles, 25);
        for (a, b) in edge.leakage.iter().zip(&low.leakage) {
            let energy = b.attojoule_per_cycle as f64 / a.attojoule_per_cycle.max(1) as f64;
            match a.part.as_str() {
                "dram" => assert!((energy - 2.0).abs() < 1e-6, "the same power over cycles twice as long"),
                _ => assert!(energy < 1.5, "{}: {energy}", a.part),
            }
        }
        let again = parse("r.toml", &low.resolved_toml()).unwrap();
        assert_eq!((again.clock_hz, &again.prices), (low.clock_hz, &low.prices));
    }

    #[test]
    fn mistakes_about_power_are_told_with_their_place() {
        let cases = [
            ("[machine]\nvdd = [0.6, \"choice\"]", "m.toml:3:7: this machine has no points of voltage and frequency"),
            (
                "[machine]\nvf = [[0.8, 2e9, \"choice\"]]",
                "m.toml:3:6: the first point of `machine.vf` runs at 2000000000 Hz",
            ),
            ("[machine]\nvf = [[0.8, 1e9]]", "m.toml:3:7: `machine.vf` must be a list of [volts, hz, \"source\"]"),
            ("[machine]\nvf = []", "m.toml:3:6: `machine.vf` must be a list"),
            ("[machine]\nvf = [[0.8, 1e9, \"nobody\"]]", "m.toml:3:7: there is no source `nobody`"),
            (&format!("{POINTS}vdd = [0.9, \"choice\"]"), "m.toml:5:7: 0.9 V lies above 0.8 V"),
            (&format!("{POINTS}vdd = [0.36, \"choice\"]"), "m.toml:5:7: 0.36 V lies below 0.6 V"),
            ("[static]\nlimit_w_per_mm2 = [1, \"choice\"]", "m.toml:3:19: a limit of power density needs"),
            (
                "[energy.beside]\n\"dram.read\" = { pj = 4, per = \"bit\", scope = \"device+phy\", source = \"choice\" }",
                "m.toml:3:46: `energy.beside.dram.read` is of the scope `device+phy` that this machine counts",
            ),
            (
                "[energy.beside]\ndram = { pj = 4, per = \"bit\", scope = \"system\", source = \"choice\" }",
                "m.toml:3:1: `dram` is not the key of a price",
            ),
        ];
        for (text, expected) in cases {
            let error = over_edge(text).map(|m| m.name).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}\n got {error}\nwant {expected}");
        }
        let by_flag = load_with("edge", &[("machine.vdd".into(), "0.5".into())]).map(|m| m.name).unwrap_err();
        assert!(by_flag.to_string().starts_with("--set machine.vdd"), "{by_flag}");
    }

    #[test]
    fn figures_of_another_scope_stand_beside_and_never_in_the_table() {
        let text =
            "[energy.beside]\n\"dram.read\" = { pj = 13.1, per = \"bit\", scope = \"system\", source = \"choice\" }";
        let (edge, with) = (load("edge").unwrap(), over_edge(text).unwrap());
        assert_eq!(edge.prices, with.prices);
        let beside = &with.power.beside["dram.read"];
        assert_eq!((beside.attojoule[1], beside.scope.as_str()), (13_100_000 * 8, "system"));
        let again = parse("r.toml", &with.resolved_toml()).unwrap();
        assert_eq!(again.power.beside, with.power.beside);
    }
}
