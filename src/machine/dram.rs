//! DRAM as a cycle-level engine needs it: shape, timing figures, queues and the address map, all whole numbers.
//!
//! A [`Memory`] is what a `[dram]` table with `model = "cycle"` resolves to. The rows of [`STANDARDS`] give the figures of
//! one published device for each standard; a machine file names a standard and overrides what differs.

/// How DRAM is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DramModel {
    /// A first-come channel of stated bandwidth and latency.
    Bandwidth,
    /// Every command of every bank.
    Cycle,
    /// No latency and no limit.
    Ideal,
}

/// Timing figures in DRAM clocks, named as in data sheets without the `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Read command to first data.
    pub cl: u32,
    /// Write command to first data.
    pub cwl: u32,
    /// Activate to read.
    pub rcd_rd: u32,
    /// Activate to write.
    pub rcd_wr: u32,
    /// Precharge to activate.
    pub rp: u32,
    /// Activate to precharge.
    pub ras: u32,
    /// Activate to activate, same bank.
    pub rc: u32,
    /// Column command to column command, another bank group.
    pub ccd_s: u32,
    /// Column command to column command, same bank group.
    pub ccd_l: u32,
    /// Activate to activate, another bank group.
    pub rrd_s: u32,
    /// Activate to activate, same bank group.
    pub rrd_l: u32,
    /// Window of four activates of a rank.
    pub faw: u32,
    /// Last write data to precharge.
    pub wr: u32,
    /// Read to precharge.
    pub rtp: u32,
    /// Last write data to read, another bank group.
    pub wtr_s: u32,
    /// Last write data to read, same bank group.
    pub wtr_l: u32,
    /// Gap of the data bus between ranks, and from reads to writes.
    pub rtrs: u32,
    /// Precharge to precharge of a rank.
    pub ppd: u32,
    /// Refresh of a rank.
    pub rfc: u32,
    /// Between refreshes of a rank.
    pub refi: u32,
    /// Refresh of a bank; 0: the device has none.
    pub rfc_pb: u32,
    /// Clocks that a burst holds the data bus.
    pub burst: u32,
}

/// When rows are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// When another row is wanted, or for a refresh.
    Open,
    /// With every column command.
    Closed,
}

/// How rows are refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Every bank of a rank at once, the ranks staggered over the interval.
    AllBank,
    /// One bank after the other.
    PerBank,
    /// Not at all: for measuring what refresh costs.
    None,
}

/// DRAM, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Channels; a pseudo-channel counts as one.
    pub channels: u32,
    /// Ranks of a channel.
    pub ranks: u32,
    /// Bank groups of a rank.
    pub groups: u32,
    /// Banks of a group.
    pub banks: u32,
    /// Rows of a bank.
    pub rows: u32,
    /// Bursts of a row.
    pub columns: u32,
    /// Bytes of a burst.
    pub burst_bytes: u32,
    /// The DRAM clock.
    pub tck_ps: u32,
    /// Timing figures.
    pub timing: Timing,
    /// Address map.
    pub map: Map,
    /// Requests that wait for a bank's queue, reads and writes each, in a channel.
    pub queue: u32,
    /// Commands that wait for a bank.
    pub bank_queue: u32,
    /// Row hits after which a waiting request of another row may close the row.
    pub row_hit_cap: u32,
    /// Page policy.
    pub page: Page,
    /// Refresh policy.
    pub refresh: Refresh,
    /// Whether a row and a column command may issue in one clock.
    pub dual_command: bool,
    /// Requests that the memory system takes in a clock.
    pub issue: u32,
    /// DRAM clocks from a DMA engine to the channel's queue, and from the data bus back.
    pub crossing: [u32; 2],
    /// Bursts of transfers that may be unanswered at once.
    pub outstanding: u32,
}

impl Memory {
    /// Banks of a channel.
    pub fn banks_of_channel(&self) -> u32 {
        self.ranks * self.groups * self.banks
    }
    /// Bytes of all channels.
    pub fn bytes(&self) -> u64 {
        u64::from(self.channels)
            * u64::from(self.banks_of_channel())
            * u64::from(self.rows)
            * u64::from(self.columns)
            * u64::from(self.burst_bytes)
    }
    /// Bytes a second over all data buses.
    pub fn peak_bytes_per_s(&self) -> f64 {
        let burst_ps = f64::from(self.timing.burst) * f64::from(self.tck_ps);
        f64::from(self.channels) * f64::from(self.burst_bytes) * 1e12 / burst_ps
    }
    /// The number of a burst in its channel: consecutive in a row.
    #[inline]
    pub(crate) fn key(&self, at: &Location) -> u64 {
        (u64::from(at.row) * u64::from(self.banks_of_channel()) + u64::from(at.bank)) * u64::from(self.columns)
            + u64::from(at.column)
    }
    /// Bytes that one activation opens.
    pub fn row_bytes(&self) -> u64 {
        u64::from(self.columns) * u64::from(self.burst_bytes)
    }
}

/// A field of [`Timing`].
type Figure = fn(&mut Timing) -> &mut u32;

/// Names of the figures of [`Timing`], as keys of `[dram.timing]`.
pub(super) const TIMING: [(&str, Figure); 22] = [
    ("cl", |t| &mut t.cl),
    ("cwl", |t| &mut t.cwl),
    ("rcd_rd", |t| &mut t.rcd_rd),
    ("rcd_wr", |t| &mut t.rcd_wr),
    ("rp", |t| &mut t.rp),
    ("ras", |t| &mut t.ras),
    ("rc", |t| &mut t.rc),
    ("ccd_s", |t| &mut t.ccd_s),
    ("ccd_l", |t| &mut t.ccd_l),
    ("rrd_s", |t| &mut t.rrd_s),
    ("rrd_l", |t| &mut t.rrd_l),
    ("faw", |t| &mut t.faw),
    ("wr", |t| &mut t.wr),
    ("rtp", |t| &mut t.rtp),
    ("wtr_s", |t| &mut t.wtr_s),
    ("wtr_l", |t| &mut t.wtr_l),
    ("rtrs", |t| &mut t.rtrs),
    ("ppd", |t| &mut t.ppd),
    ("rfc", |t| &mut t.rfc),
    ("refi", |t| &mut t.refi),
    ("rfc_pb", |t| &mut t.rfc_pb),
    ("burst", |t| &mut t.burst),
];

/// The figures of one published device: what a machine file that names the standard does not say itself.
#[derive(Debug, Clone, Copy)]
pub struct Standard {
    /// Name, with which `dram.standard` begins.
    pub name: &'static str,
    /// Where the figures come from.
    pub cite: &'static str,
    /// Channels and the rest of the shape.
    pub shape: Shape,
    /// Data bus of a channel or pseudo-channel.
    pub bus_bits: u32,
    /// Beats of a burst.
    pub burst_length: u32,
    /// The clock.
    pub tck_ps: u32,
    /// Timing figures.
    pub timing: Timing,
    /// Address map.
    pub address_map: &'static str,
    /// A row and a column command may issue in one clock.
    pub dual_command: bool,
}

const fn shape(
    channels: u32,
    pseudo_channels: u32,
    ranks: u32,
    groups: u32,
    banks: u32,
    rows: u32,
    columns: u32,
) -> Shape {
    Shape { channels, pseudo_channels, ranks, groups, banks, rows, columns }
}

/// Every standard.
#[rustfmt::skip] // a figure beside its kin
pub const STANDARDS: &[Standard] = &[
    Standard {
        name: "HBM2", cite: "DRAMsim3 HBM2_8Gb_x128.ini (rtp and rtrs: its defaults)",
        shape: shape(8, 1, 1, 4, 4, 32768, 32), bus_bits: 128, burst_length: 4, tck_ps: 1000,
        timing: Timing { cl: 14, cwl: 4, rcd_rd: 14, rcd_wr: 14, rp: 14, ras: 34, rc: 48, ccd_s: 1, ccd_l: 2, rrd_s: 4, rrd_l: 6, faw: 30,
            wr: 16, rtp: 5, wtr_s: 6, wtr_l: 8, rtrs: 2, ppd: 0, rfc: 260, refi: 3900, rfc_pb: 0, burst: 2 },
        address_map: "rorabgbachco", dual_command: true,
    },
    Standard {
        name: "HBM3", cite: "Ramulator 2 HBM3 6.4 Gb/s, 8 Gb a pseudo-channel; the two stack IDs are ranks",
        shape: shape(16, 2, 2, 4, 4, 16384, 32), bus_bits: 32, burst_length: 8, tck_ps: 625,
        timing: Timing { cl: 20, cwl: 10, rcd_rd: 31, rcd_wr: 15, rp: 26, ras: 45, rc: 72, ccd_s: 2, ccd_l: 4, rrd_s: 4, rrd_l: 5, faw: 24,
            wr: 33, rtp: 9, wtr_s: 7, wtr_l: 10, rtrs: 1, ppd: 0, rfc: 560, refi: 6240, rfc_pb: 320, burst: 2 },
        address_map: "rorabacobgchpc", dual_command: true,
    },
    Standard {
        name: "LPDDR4", cite: "DRAMsim3 LPDDR4_8Gb_x16_2400.ini (rtrs and ppd identified from its published runs)",
        shape: shape(1, 1, 2, 2, 4, 65536, 64), bus_bits: 64, burst_length: 16, tck_ps: 830,
        timing: Timing { cl: 17, cwl: 14, rcd_rd: 15, rcd_wr: 15, rp: 15, ras: 32, rc: 47, ccd_s: 4, ccd_l: 6, rrd_s: 8, rrd_l: 8, faw: 32,
            wr: 30, rtp: 12, wtr_s: 8, wtr_l: 16, rtrs: 1, ppd: 2, rfc: 392, refi: 8660, rfc_pb: 0, burst: 8 },
        address_map: "rochrababgco", dual_command: false,
    },
    Standard {
        name: "LPDDR5", cite: "Ramulator 2 LPDDR5-6400, 16 Gb, four channels of 16 bit",
        shape: shape(4, 1, 1, 4, 4, 65536, 64), bus_bits: 16, burst_length: 16, tck_ps: 1250,
        timing: Timing { cl: 17, cwl: 9, rcd_rd: 15, rcd_wr: 15, rp: 15, ras: 34, rc: 49, ccd_s: 2, ccd_l: 4, rrd_s: 4, rrd_l: 4, faw: 16,
            wr: 28, rtp: 8, wtr_s: 5, wtr_l: 10, rtrs: 1, ppd: 2, rfc: 224, refi: 3125, rfc_pb: 112, burst: 2 },
        address_map: "rorabacobgch", dual_command: false,
    },
    Standard {
        name: "DDR4", cite: "DRAMsim3 DDR4_8Gb_x8_3200.ini",
        shape: shape(1, 1, 2, 4, 4, 65536, 128), bus_bits: 64, burst_length: 8, tck_ps: 630,
        timing: Timing { cl: 22, cwl: 16, rcd_rd: 22, rcd_wr: 22, rp: 22, ras: 52, rc: 74, ccd_s: 4, ccd_l: 8, rrd_s: 4, rrd_l: 8, faw: 34,
            wr: 24, rtp: 12, wtr_s: 4, wtr_l: 12, rtrs: 1, ppd: 0, rfc: 560, refi: 12480, rfc_pb: 0, burst: 4 },
        address_map: "rochrababgco", dual_command: false,
    },
    Standard {
        name: "DDR3", cite: "DRAMsim3 DDR3_8Gb_x8_1600.ini (refi 7.8 us)",
        shape: shape(1, 1, 2, 1, 8, 65536, 256), bus_bits: 64, burst_length: 8, tck_ps: 1250,
        timing: Timing { cl: 11, cwl: 8, rcd_rd: 11, rcd_wr: 11, rp: 11, ras: 28, rc: 39, ccd_s: 4, ccd_l: 4, rrd_s: 6, rrd_l: 6, faw: 32,
            wr: 12, rtp: 6, wtr_s: 6, wtr_l: 6, rtrs: 1, ppd: 0, rfc: 280, refi: 6240, rfc_pb: 0, burst: 4 },
        address_map: "rochrababgco", dual_command: false,
    },
];

/// The standards as the table of docs/dram.md.
pub fn standards_table() -> String {
    let mut rows = vec![vec!["".to_owned()], vec!["---".to_owned()]];
    let names =
        ["channels x pseudo", "ranks", "groups x banks", "rows", "row, B", "bus, bit", "burst, B", "clock, ps", "map"];
    rows.extend(names.iter().chain(&TIMING.map(|(name, _)| name)).chain(&["source"]).map(|n| vec![(*n).to_owned()]));
    for standard in STANDARDS {
        let (s, mut timing) = (&standard.shape, standard.timing);
        let burst = standard.bus_bits / 8 * standard.burst_length;
        let mut cells = vec![
            standard.name.to_owned(),
            "---".to_owned(),
            format!("{} x {}", s.channels, s.pseudo_channels),
            s.ranks.to_string(),
            format!("{} x {}", s.groups, s.banks),
            s.rows.to_string(),
            (s.columns * burst).to_string(),
            standard.bus_bits.to_string(),
            burst.to_string(),
            standard.tck_ps.to_string(),
            format!("`{}`", standard.address_map),
        ];
        cells.extend(TIMING.iter().map(|(_, field)| field(&mut timing).to_string()));
        cells.push(standard.cite.to_owned());
        rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
    }
    rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect()
}

/// The standard that a `dram.standard` such as `LPDDR4-2400 x64` begins with.
pub fn standard(text: &str) -> Option<&'static Standard> {
    let name = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    STANDARDS.iter().find(|s| s.name == name)
}

/// Where a burst lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Channel (channel and pseudo-channel).
    pub channel: u32,
    /// Bank in the channel: rank, group, bank.
    pub bank: u32,
    /// Row.
    pub row: u32,
    /// Burst in the row.
    pub column: u32,
}

/// A field of an address map: a run of address bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Field {
    shift: u32,
    bits: u32,
}

impl Field {
    fn of(self, burst: u64) -> u32 {
        ((burst >> self.shift) & ((1 << self.bits) - 1)) as u32
    }
}

/// A permutation of the bits of a burst's number: a string of fields, most significant first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    row: Field,
    rank: Field,
    group: Field,
    bank: Field,
    channel: Field,
    pseudo: Field,
    column: Field,
    run: u32,
    /// Where channels stand lowest: the mask of their bits, and from one to the next.
    beside: (u64, u32),
    /// Channels, where their fields alone stand lowest, else 0.
    sweep: u32,
}

/// Numbers of each kind that an address map places; every one a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Channels.
    pub channels: u32,
    /// Pseudo-channels of a channel.
    pub pseudo_channels: u32,
    /// Ranks.
    pub ranks: u32,
    /// Bank groups.
    pub groups: u32,
    /// Banks of a group.
    pub banks: u32,
    /// Rows.
    pub rows: u32,
    /// Bursts of a row.
    pub columns: u32,
}

impl Map {
    /// The map of a string such as `rorabgbachco`: two letters a field (`ro ra bg ba ch pc co`), most significant first,
    /// each once. A field that the shape has only one of may be left out.
    ///
    /// # Errors
    /// One sentence and a help, if a field is unknown, repeated or missing.
    pub fn parse(text: &str, shape: &Shape) -> Result<Map, (String, String)> {
        let help =
            || "write each of ro ra bg ba ch co once (and pc for pseudo-channels), most significant first".to_owned();
        let sizes = [
            ("ro", shape.rows),
            ("ra", shape.ranks),
            ("bg", shape.groups),
            ("ba", shape.banks),
            ("ch", shape.channels),
            ("pc", shape.pseudo_channels),
            ("co", shape.columns),
        ];
        let mut fields = [None; 7];
        let (mut shift, mut run) = (0, None);
        let odd = |what: String| Err((format!("the address map `{text}` {what}"), help()));
        if !text.is_ascii() || !text.len().is_multiple_of(2) {
            return odd("is not a row of two-letter fields".to_owned());
        }
        for at in (0..text.len()).step_by(2).rev() {
            let name = &text[at..at + 2];
            let Some(index) = sizes.iter().position(|(n, _)| *n == name) else {
                return odd(format!("has an unknown field `{name}`"));
            };
            if fields[index].is_some() {
                return odd(format!("has `{name}` twice"));
            }
            let bits = sizes[index].1.trailing_zeros();
            fields[index] = Some(Field { shift, bits });
            if bits > 0 && run.is_none() {
                run = Some(if name == "co" { 1 << bits } else { 1 });
            }
            shift += bits;
        }
        let found = |index: usize| match (fields[index], sizes[index]) {
            (Some(field), _) => Ok(field),
            (None, (_, 1)) => Ok(Field::default()),
            (None, (name, size)) => {
                Err((format!("the address map `{text}` has no `{name}`, of which there are {size}"), help()))
            }
        };
        let (channel, pseudo) = (found(4)?, found(5)?);
        let lowest = |field: Field| field.shift == 0 && field.bits > 0;
        let beside = match (lowest(channel), lowest(pseudo)) {
            (true, _) => ((1 << channel.bits) - 1, 1 << pseudo.bits),
            (_, true) => ((1 << pseudo.bits) - 1, 1),
            _ => (0, 1),
        };
        let low = channel.bits + pseudo.bits;
        let lowest_two = low > 0 && [channel, pseudo].iter().all(|field| field.shift + field.bits <= low);
        Ok(Map {
            sweep: if lowest_two { 1 << low } else { 0 },
            row: found(0)?,
            rank: found(1)?,
            group: found(2)?,
            bank: found(3)?,
            channel,
            pseudo,
            column: found(6)?,
            run: run.unwrap_or(1),
            beside,
        })
    }
    /// Where the burst with this number (address / bytes of a burst) lies. Numbers beyond the capacity wrap.
    #[inline]
    pub fn locate(&self, burst: u64) -> Location {
        let bank = (self.rank.of(burst) << (self.group.bits + self.bank.bits))
            | (self.group.of(burst) << self.bank.bits)
            | self.bank.of(burst);
        let channel = (self.channel.of(burst) << self.pseudo.bits) | self.pseudo.of(burst);
        Location { channel, bank, row: self.row.of(burst), column: self.column.of(burst) }
    }
    /// True if bursts with consecutive numbers never lie in one row of one channel.
    #[inline]
    pub fn is_interleaved(&self) -> bool {
        self.run == 1
    }
    /// Bursts with consecutive numbers, from this one on, that differ by the channel alone, and from one channel to the next.
    #[inline]
    pub(crate) fn beside(&self, burst: u64) -> (u64, u32) {
        let (mask, step) = self.beside;
        (mask + 1 - (burst & mask), step)
    }
    /// Bursts with consecutive numbers, from a multiple of so many on, that lie at one place of every channel; 0 if there are
    /// none.
    #[inline]
    pub(crate) fn sweep(&self) -> u32 {
        self.sweep
    }
    /// Bursts with consecutive numbers, from this one on, that lie in the same row.
    #[inline]
    pub fn run_from(&self, burst: u64) -> u32 {
        self.run - (burst & u64::from(self.run - 1)) as u32
    }
}
