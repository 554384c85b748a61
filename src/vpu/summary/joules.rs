//! Where each joule of a run comes from: the part of a summary that lets anybody multiply again, and judge.

use serde::{Deserialize, Serialize};

use super::{EnergyPart, finite};

/// Prices with their counts, figures of other scopes beside them, and what the total means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joules {
    /// Every price that was used, by key; their energies sum to the run's total at each of the three ends.
    pub prices: Vec<PriceUse>,
    /// What the same counts make by figures of another scope: shown, never added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Beside>,
    /// Energy of one multiply-accumulate; absent in a run without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mac: Option<PerMac>,
    /// The supply of the run; absent for machines without points of voltage and frequency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supply: Option<SupplyUse>,
    /// Power density of the chip; absent for machines that state no area.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thermal: Option<Thermal>,
}

/// Low, typical and high end of a figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Low end.
    #[serde(serialize_with = "finite")]
    pub low: f64,
    /// What totals are made of.
    #[serde(serialize_with = "finite")]
    pub typical: f64,
    /// High end.
    #[serde(serialize_with = "finite")]
    pub high: f64,
}

/// One price and what it made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceUse {
    /// Key in the machine file.
    pub key: String,
    /// The part it counts under.
    pub part: EnergyPart,
    /// What is counted: `op`, `byte`, `access`, `row`, `instruction` or `cycle`.
    pub unit: String,
    /// How many.
    pub count: u64,
    /// Picojoule of one.
    pub each_pj: Band,
    /// Picojoule of all: count times each.
    pub pj: Band,
    /// Share of the run's energy, 0 to 1.
    #[serde(serialize_with = "finite")]
    pub share: f64,
    /// What is inside the figure.
    pub scope: String,
    /// How far to trust it.
    pub trust: String,
    /// Where it comes from.
    pub source: String,
}

/// A figure of another scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Key of the price that it stands beside.
    pub key: String,
    /// Its scope.
    pub scope: String,
    /// Count of that price.
    pub count: u64,
    /// What the counts would make, picojoule.
    #[serde(serialize_with = "finite")]
    pub pj: f64,
    /// Where it comes from.
    pub source: String,
}

/// Energy of one executed multiply-accumulate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerMac {
    /// The product and its sum alone, picojoule.
    #[serde(serialize_with = "finite")]
    pub product_pj: f64,
    /// Everything that the run spent, over its products, picojoule.
    #[serde(serialize_with = "finite")]
    pub total_pj: f64,
    /// The product as a multiple of k T ln 2.
    #[serde(serialize_with = "finite")]
    pub product_kt_ln2: f64,
    /// Everything as a multiple of k T ln 2.
    #[serde(serialize_with = "finite")]
    pub total_kt_ln2: f64,
    /// Temperature.
    #[serde(serialize_with = "finite")]
    pub temperature_k: f64,
}

/// The supply of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupplyUse {
    /// Supply.
    #[serde(serialize_with = "finite")]
    pub volts: f64,
    /// Supply at which the prices are stated.
    #[serde(serialize_with = "finite")]
    pub nominal_volts: f64,
    /// How the clock is known: `stated`, `interpolated` or `estimated`.
    pub clock: String,
    /// What prices of logic and SRAM were multiplied by.
    #[serde(serialize_with = "finite")]
    pub dynamic: f64,
    /// What leakage power of logic and SRAM was multiplied by.
    #[serde(serialize_with = "finite")]
    pub leakage: f64,
}

/// Power density of the chip, DRAM left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thermal {
    /// Mean power over the run.
    #[serde(serialize_with = "finite")]
    pub chip_w: f64,
    /// Area.
    #[serde(serialize_with = "finite")]
    pub area_mm2: f64,
    /// Their quotient.
    #[serde(serialize_with = "finite")]
    pub w_per_mm2: f64,
    /// What the machine's cooling bears; absent where it is not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_w_per_mm2: Option<f64>,
}

impl Thermal {
    /// The warning, if the limit is passed.
    pub fn warning(&self) -> Option<String> {
        let limit = self.limit_w_per_mm2.filter(|limit| self.w_per_mm2 > *limit)?;
        Some(format!("{:.3} W/mm2 on average pass the limit of {limit} W/mm2 that the machine states", self.w_per_mm2))
    }
}
