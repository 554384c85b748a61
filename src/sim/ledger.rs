//! The ledger: integer counts with an owner each, and their price.
//!
//! Joules are counts times the machine's table, in whole attojoules, so sums by node, by place and in total are equal to
//! the last digit, and changing one table entry moves the total by exactly its count.

use crate::diag::Result;
use crate::isa::Unit;
use crate::machine::Machine;
use crate::machine::schema::ELEMENTWISE;
use crate::num::format::family_of;
use std::collections::BTreeMap;

/// Where something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a unit.
    Unit(Unit),
    /// In the vector, mask and scale registers.
    Registers,
    /// In the accumulator tiles.
    Accumulators,
    /// In the core's own SRAM.
    Own,
    /// In the shared SRAM.
    Shared,
    /// In DRAM.
    Dram,
    /// In control memory.
    Control,
    /// In a part that leaks: index into [`Machine::leakage`].
    Static(u8),
}

impl Place {
    /// Its name in reports.
    pub fn name(self, machine: &Machine) -> String {
        match self {
            Place::Unit(unit) => super::UNIT_NAMES[unit as usize].to_owned(),
            Place::Registers => "registers".to_owned(),
            Place::Accumulators => "accumulators".to_owned(),
            Place::Own => "sram".to_owned(),
            Place::Shared => "shared-sram".to_owned(),
            Place::Dram => "dram".to_owned(),
            Place::Control => "control-memory".to_owned(),
            Place::Static(part) => {
                let part = machine.leakage.get(usize::from(part)).map_or("?", |l| l.part.as_str());
                let part = match part {
                    "own" => "sram",
                    "shared" => "shared-sram",
                    other => other,
                };
                format!("{part}-static")
            }
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Multiply-accumulates of a format pair.
    Mac,
    /// Multiply-accumulates that a mask saved; free, or what a gated lane still costs (`energy.core.gated`).
    MacSkipped,
    /// Elements of an element-wise kind (index into the machine's list of kinds).
    Elementwise(u8),
    /// Accumulator entries scaled and added.
    Fold,
    /// Instructions fetched, decoded and issued.
    Issue,
    /// Bytes of registers read or written.
    RegisterBytes,
    /// Accumulator entries read or written.
    AccumulatorEntries,
    /// Priced reads: accesses (SRAM), bytes on the bus (DRAM), words (control memory).
    Read,
    /// Priced writes, counted as reads are.
    Write,
    /// Bytes asked for; not priced.
    ReadBytes,
    /// Bytes given; not priced.
    WriteBytes,
    /// Rows activated; estimated where DRAM is not modelled by its commands.
    Activate,
    /// Refreshes of a rank, where DRAM is modelled by its commands. Without a price of their own the background power has them.
    Refresh,
    /// DRAM clocks of a rank with an open row, where the machine prices them; else the background power has them.
    ActiveClocks,
    /// DRAM clocks of a rank whose rows are closed.
    PrechargedClocks,
    /// Codes decoded by entropy decoders.
    Decoded,
    /// Bytes through DMA engines.
    DmaBytes,
    /// Bytes over the network between cores: to another core's SRAM, or to each member of a group.
    NocBytes,
    /// Bytes of the load-store unit in one storage format; not priced.
    FormatBytes,
    /// Cycles of leakage.
    Leak,
}

/// Which part of the total an amount belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Computing: multiply-accumulates, folds, element-wise work.
    Arithmetic,
    /// Everything that brings operands and instructions to where they are used: registers, accumulators, SRAM, DRAM, DMA,
    /// control memory, and fetching and issuing instructions.
    Movement,
    /// Being switched on: leakage, DRAM background and refresh.
    Leakage,
}

/// Names of [`Group`] in order.
pub const GROUPS: [&str; 3] = ["arithmetic", "movement", "leakage"];

/// Owner of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Graph node; the number of stated nodes stands for everything outside them.
    pub node: u32,
    /// Where.
    pub place: Place,
    /// What.
    pub what: What,
    /// Weight format of a mac, storage format of bytes, else empty.
    pub weights: &'static str,
    /// Input format of a mac, else empty.
    pub inputs: &'static str,
}

impl Key {
    /// Key of the price (of a listed pair for a mac), and the group it counts under; `None` for what is counted but free.
    pub fn price(&self) -> Option<(String, Group)> {
        let level = |way: &str| match self.place {
            Place::Own => Some((format!("own.{way}"), Group::Movement)),
            Place::Shared => Some((format!("shared.{way}"), Group::Movement)),
            Place::Dram => Some((format!("dram.{way}"), Group::Movement)),
            _ => Some(("core.control".to_owned(), Group::Movement)),
        };
        let movement = |key: &str| Some((key.to_owned(), Group::Movement));
        match self.what {
            What::Mac => Some((format!("mac.{}*{}", self.weights, self.inputs), Group::Arithmetic)),
            What::Elementwise(kind) => {
                let kind = ELEMENTWISE.get(usize::from(kind)).copied().unwrap_or("?");
                Some((format!("elementwise.{kind}"), Group::Arithmetic))
            }
            What::Fold => Some(("core.fold".to_owned(), Group::Arithmetic)),
            What::Issue => movement("core.issue"),
            What::RegisterBytes => movement("core.register"),
            What::AccumulatorEntries => movement("core.accumulator"),
            What::Decoded => movement("core.decode"),
            What::DmaBytes => movement("core.dma"),
            What::NocBytes => movement("core.noc"),
            What::Activate => movement("dram.activate"),
            What::Read => level("read"),
            What::Write => level("write"),
            What::MacSkipped | What::ReadBytes | What::WriteBytes | What::FormatBytes | What::Leak => None,
            What::Refresh | What::ActiveClocks | What::PrechargedClocks => None,
        }
    }
    /// Key of a price that a machine need not have, and the group it counts under where it has it.
    fn optional_price(&self) -> Option<(&'static str, Group)> {
        match self.what {
            What::MacSkipped => Some(("core.gated", Group::Arithmetic)),
            What::Refresh => Some(("dram.refresh", Group::Leakage)),
            What::ActiveClocks => Some(("dram.active", Group::Leakage)),
            What::PrechargedClocks => Some(("dram.precharged", Group::Leakage)),
            _ => None,
        }
    }
}

/// Everything that was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Stated nodes: rows of node `nodes` lie outside all of them.
    pub nodes: u32,
    /// Counts by owner; no zeros.
    pub rows: BTreeMap<Key, u64>,
}

/// One priced row.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyRow {
    /// Owner.
    pub key: Key,
    /// Count.
    pub count: u64,
    /// Key of the price in the machine file, without `energy.` (`static.core` for leakage); of a pair of formats that
    /// the file does not list, that of the pair on whose datapath it ran.
    pub price_key: String,
    /// Low, typical and high price of one, attojoule.
    pub each: [i128; 3],
    /// Low, typical and high energy, attojoule.
    pub attojoule: [i128; 3],
    /// Its part of the total.
    pub group: Group,
    /// Key of the price's source.
    pub source: String,
}

/// Which of the three figures of a price to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimate {
    /// The low end.
    Low,
    /// The typical one: what reports show.
    Typical,
    /// The high end.
    High,
}

/// A priced ledger.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Energy {
    /// One row a priced key, in the order of the ledger.
    pub rows: Vec<EnergyRow>,
}

/// Picojoule of an amount in attojoule.
pub fn picojoule(attojoule: i128) -> f64 {
    attojoule as f64 / 1e6
}

impl Ledger {
    /// Sum of the counts whose key passes.
    pub fn count(&self, mut pass: impl FnMut(&Key) -> bool) -> u64 {
        self.rows.iter().filter(|(key, _)| pass(key)).map(|(_, count)| count).sum()
    }
    /// Bytes read and written at a memory level.
    pub fn bytes(&self, place: Place) -> (u64, u64) {
        let of = |what| self.count(|k| k.place == place && k.what == what);
        (of(What::ReadBytes), of(What::WriteBytes))
    }
    /// Multiply-accumulates: dense, executed, skipped; dense is the sum of the others.
    pub fn macs(&self) -> (u64, u64, u64) {
        let (live, skipped) = (self.count(|k| k.what == What::Mac), self.count(|k| k.what == What::MacSkipped));
        (live + skipped, live, skipped)
    }
    /// Bytes of the load-store unit by storage format.
    pub fn bytes_by_format(&self) -> BTreeMap<&'static str, u64> {
        let mut by = BTreeMap::new();
        for (key, count) in self.rows.iter().filter(|(key, _)| key.what == What::FormatBytes) {
            *by.entry(key.weights).or_default() += count;
        }
        by
    }
    /// Counts times prices.
    ///
    /// # Errors
    /// Unsupported, naming the key, when the machine has no price for something that happened.
    pub fn energy(&self, machine: &Machine) -> Result<Energy> {
        let mut rows = Vec::new();
        for (key, &count) in &self.rows {
            let priced = match (key.price(), key.place) {
                (Some((_, group)), place) if key.what == What::Mac => {
                    let array = place == Place::Unit(Unit::M);
                    let (name, price) = machine.mac_price(key.weights, key.inputs, array)?;
                    Some((name, group, price.attojoule, price.source.clone()))
                }
                (Some((name, group)), _) => {
                    let price = machine.price(&name)?;
                    Some((name, group, price.attojoule, price.source.clone()))
                }
                (None, Place::Static(part)) => machine.leakage.get(usize::from(part)).map(|l| {
                    (format!("static.{}", l.part), Group::Leakage, [l.attojoule_per_cycle; 3], l.source.clone())
                }),
                _ => key.optional_price().and_then(|(name, group)| {
                    let price = machine.prices.get(name)?;
                    Some((name.to_owned(), group, price.attojoule, price.source.clone()))
                }),
            };
            if let Some((price_key, group, each, source)) = priced {
                let attojoule = each.map(|e| e * i128::from(count));
                rows.push(EnergyRow { key: *key, count, price_key, each, attojoule, group, source });
            }
        }
        Ok(Energy { rows })
    }
}

impl EnergyRow {
    /// The pair `weights*inputs` that ran on a wider datapath, which is the one that `price_key` names.
    pub fn widened(&self) -> Option<String> {
        let pair = format!("{}*{}", family_of(self.key.weights), family_of(self.key.inputs));
        (self.key.what == What::Mac && self.price_key != format!("mac.{pair}")).then_some(pair)
    }
}

impl Energy {
    /// Attojoule of the rows that pass.
    pub fn sum(&self, estimate: Estimate, mut pass: impl FnMut(&EnergyRow) -> bool) -> i128 {
        self.rows.iter().filter(|row| pass(row)).map(|row| row.attojoule[estimate as usize]).sum()
    }
    /// Attojoule of everything.
    pub fn total(&self, estimate: Estimate) -> i128 {
        self.sum(estimate, |_| true)
    }
    /// Attojoule of arithmetic, movement and leakage, typical; they sum to the total.
    pub fn groups(&self) -> [i128; 3] {
        [Group::Arithmetic, Group::Movement, Group::Leakage].map(|g| self.sum(Estimate::Typical, |row| row.group == g))
    }
    /// Attojoule of arithmetic, movement and leakage of one node, typical.
    pub fn node(&self, node: u32) -> [i128; 3] {
        let of = |g| self.sum(Estimate::Typical, |row| row.group == g && row.key.node == node);
        [Group::Arithmetic, Group::Movement, Group::Leakage].map(of)
    }
    /// Typical attojoule by place and group, in the order of places.
    pub fn by_place(&self) -> Vec<(Place, Group, i128)> {
        let mut by: BTreeMap<(Place, Group), i128> = BTreeMap::new();
        for row in &self.rows {
            *by.entry((row.key.place, row.group)).or_default() += row.attojoule[1];
        }
        by.into_iter().map(|((place, group), aj)| (place, group, aj)).collect()
    }
    /// Arithmetic rows summed over nodes: each is one (operation, formats, unit) with its count and price, so that
    /// anybody can multiply again.
    pub fn operations(&self) -> Vec<EnergyRow> {
        let mut by: BTreeMap<(Key, &str), EnergyRow> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.group == Group::Arithmetic) {
            // Tables learned for several tensors are one format here.
            let key =
                Key { node: 0, weights: family_of(row.key.weights), inputs: family_of(row.key.inputs), ..row.key };
            let sum = by.entry((key, &row.price_key)).or_insert_with(|| EnergyRow {
                key,
                count: 0,
                attojoule: [0; 3],
                ..row.clone()
            });
            sum.count += row.count;
            for (total, part) in sum.attojoule.iter_mut().zip(row.attojoule) {
                *total += part;
            }
        }
        by.into_values().collect()
    }
}
