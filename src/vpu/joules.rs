//! From a priced ledger to [`Joules`]: every price with its count, share, scope and trust.

use super::summary::{Band, Beside, EnergyPart, Joules, PerMac, PriceUse, SupplyUse, Thermal};
use crate::machine::Machine;
use crate::machine::energy::landauer;
use crate::sim::{Energy, EnergyRow, Estimate, Group, Place, What, picojoule};
use std::collections::BTreeMap;

/// Where each joule comes from.
pub(super) fn joules(machine: &Machine, energy: &Energy, executed: u64, time_ns: f64) -> Joules {
    let mut uses: BTreeMap<&str, (&EnergyRow, u64, [i128; 3])> = BTreeMap::new();
    for row in &energy.rows {
        let (_, count, sum) = uses.entry(&row.price_key).or_insert((row, 0, [0; 3]));
        *count += row.count;
        sum.iter_mut().zip(row.attojoule).for_each(|(sum, part)| *sum += part);
    }
    let total = energy.total(Estimate::Typical);
    let prices = uses.iter().map(|(key, &(row, count, sum))| PriceUse {
        key: if key.starts_with("static.") { format!("{key}_mw") } else { format!("energy.{key}") },
        part: part(row.group),
        unit: unit(key).to_owned(),
        count,
        each_pj: band(row.each),
        pj: band(sum),
        share: if total > 0 { sum[1] as f64 / total as f64 } else { 0.0 },
        scope: machine.prices.get(*key).map_or("power", |price| price.scope.as_str()).to_owned(),
        trust: source(machine, &row.source).1,
        source: source(machine, &row.source).0,
    });
    let beside = machine.power.beside.iter().filter_map(|(key, price)| {
        let &(_, count, _) = uses.get(key.as_str())?;
        Some(Beside {
            key: format!("energy.{key}"),
            scope: price.scope.clone(),
            count,
            pj: picojoule(price.attojoule[1] * i128::from(count)),
            source: source(machine, &price.source).0,
        })
    });
    let supply = machine.power.supply.as_ref().map(|supply| SupplyUse {
        volts: supply.volts,
        nominal_volts: supply.nominal_volts,
        clock: supply.known.name().to_owned(),
        dynamic: supply.dynamic,
        leakage: supply.leakage,
    });
    Joules {
        prices: prices.collect(),
        beside: beside.collect(),
        per_mac: per_mac(machine, energy, executed),
        supply,
        thermal: thermal(machine, energy, time_ns),
    }
}

fn part(group: Group) -> EnergyPart {
    match group {
        Group::Arithmetic => EnergyPart::Arithmetic,
        Group::Movement => EnergyPart::Movement,
        Group::Leakage => EnergyPart::Leakage,
    }
}

fn band(attojoule: [i128; 3]) -> Band {
    let [low, typical, high] = attojoule.map(picojoule);
    Band { low, typical, high }
}

/// What the ledger counts under a price.
fn unit(key: &str) -> &'static str {
    match key.split_once('.').unwrap_or_default() {
        ("static", _) => "cycle",
        ("own" | "shared", _) | ("core", "control") => "access",
        ("core", "issue") => "instruction",
        ("core", "register" | "dma" | "noc") | ("dram", "read" | "write") => "byte",
        ("dram", "activate") => "row",
        ("dram", _) => "event",
        _ => "op",
    }
}

/// Cite and trust of a source key.
fn source(machine: &Machine, key: &str) -> (String, String) {
    let found = machine.sources.iter().find(|source| source.key == key);
    found.map_or((key.to_owned(), "choice".to_owned()), |source| (source.cite.clone(), source.trust.clone()))
}

fn per_mac(machine: &Machine, energy: &Energy, executed: u64) -> Option<PerMac> {
    if executed == 0 {
        return None;
    }
    let each = |attojoule: i128| picojoule(attojoule) / executed as f64;
    let product_pj = each(energy.sum(Estimate::Typical, |row| row.key.what == What::Mac));
    let total_pj = each(energy.total(Estimate::Typical));
    let kelvin = machine.power.kelvin;
    Some(PerMac {
        product_pj,
        total_pj,
        product_kt_ln2: landauer(product_pj, kelvin),
        total_kt_ln2: landauer(total_pj, kelvin),
        temperature_k: kelvin,
    })
}

/// DRAM is another chip: neither its traffic nor its background power heats this one.
fn thermal(machine: &Machine, energy: &Energy, time_ns: f64) -> Option<Thermal> {
    let area_mm2 = machine.power.area_mm2?;
    let outside = |row: &EnergyRow| row.key.place == Place::Dram || row.price_key == "static.dram";
    let chip_pj = picojoule(energy.sum(Estimate::Typical, |row| !outside(row)));
    let chip_w = if time_ns > 0.0 { chip_pj / time_ns * 1e-3 } else { 0.0 };
    Some(Thermal { chip_w, area_mm2, w_per_mm2: chip_w / area_mm2, limit_w_per_mm2: machine.power.limit_w_per_mm2 })
}
