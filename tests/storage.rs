//! Stored layouts on the machine: what `unpack-ec` brings back from DRAM is the dense tensor, at any vector length, and
//! its time needs no weights.

use preon::compile::kernels::Kernels;
use preon::exec::{Config, Mode, Source, Status, Vm, event::Event};
use preon::isa::Object;
use preon::isa::asm::{Options, Sources, assemble};
use preon::machine::{self, Machine};
use preon::num::format::find;
use preon::sim::{Estimate, Outcome, Sim, What};
use preon::tensor::layout::entropy::Coded;
use preon::tensor::pack;

const CONTROL: u64 = 3 << 60;
const SRAM: u64 = 1 << 60;
const ROWS: usize = 50;
const COLS: usize = 130;
/// Rows of a tile; the last tile has two.
const TILE_ROWS: usize = 16;
/// DRAM address of the unpacked tensor.
const DENSE: u64 = 1 << 16;

/// Dense packed rows of a format with `zeros` of 8 codes zero.
fn dense(format: &str, zeros: usize) -> Vec<u8> {
    let format = find(format).unwrap();
    let code = |i: usize| match i.wrapping_mul(0x9e37_79b9) >> 9 & 7 {
        n if n < zeros => 0,
        n => (i as u32 / 3 * 5 + n as u32) & format.mask(),
    };
    let rows = (0..ROWS).map(|row| (0..COLS).map(|col| code(row * COLS + col)).collect::<Vec<u32>>());
    rows.flat_map(|row| pack::pack_row(format, &row)).collect()
}

fn program(format: &str) -> Object {
    let kernels = Kernels::builtin();
    let driver =
        ".entry main\n.include \"unpack-ec.vasm\"\nmain:\n  li x10, 0x3000000000000100\n  call entry\n  halt\n";
    let mut sources = Sources::single("driver.vasm", driver);
    kernels.iter().for_each(|(name, text)| sources.add(name, text.clone()));
    let options = Options { formats: [("W".to_owned(), format.to_owned())].into(), ..Options::default() };
    assemble(&sources, &options).unwrap_or_else(|errors| panic!("{}", errors[0].render(false)))
}

/// The program at its start, on a machine with vectors of `vlen` bits.
fn vm(machine: &Machine, vlen: u32, format: &str, coded: &Coded, mode: Mode) -> Vm {
    let config = Config { vlen_bits: vlen, fuel: Some(1 << 20), ..Config::of(machine) };
    let mut vm = Vm::new(program(format), config, mode).unwrap();
    let w_row = pack::row_bytes(find(format).unwrap(), COLS) as u64;
    let table = CONTROL + 0x200;
    let model = table + 16 * coded.tiles() as u64;
    let dense_tile = (TILE_ROWS as u64 * w_row).next_multiple_of(64);
    let buffers = [0x0, 0x1000, 0x2000, 0x2000 + dense_tile].map(|at| SRAM + at);
    let params = [coded.tiles() as u64, 0, table, model, COLS as u64, w_row, DENSE];
    let block: Vec<u8> = params.iter().chain(&buffers).flat_map(|value| value.to_le_bytes()).collect();
    vm.write(CONTROL + 0x100, &block).unwrap();
    vm.write(table, &coded.control_bytes()).unwrap();
    vm.write(0, coded.payload()).unwrap();
    vm
}

fn coded(format: &str, dense: &[u8]) -> Coded {
    Coded::of_rows(find(format).unwrap(), ROWS, COLS, dense, (TILE_ROWS * COLS) as u32).unwrap()
}

#[test]
fn the_kernel_unpacks_every_format_at_every_vector_length() {
    let machine = machine::load("edge").unwrap();
    for format in ["ternary", "int8", "fp4e2m1", "binary", "int3", "fp6e3m2", "fp8e4m3"] {
        let dense = dense(format, 5);
        let coded = coded(format, &dense);
        assert!(coded.tiles() == 4);
        for vlen in [32, 256, 2048, 16384] {
            let mut vm = vm(&machine, vlen, format, &coded, Mode::Functional);
            vm.run().unwrap_or_else(|trap| panic!("{format} at VLEN {vlen}: {trap}"));
            assert_eq!(vm.read(DENSE, dense.len() as u64).unwrap(), dense, "{format} at VLEN {vlen}");
        }
    }
}

fn timed(machine: &Machine, coded: &Coded, mode: Mode) -> Outcome {
    let mut vm = vm(machine, machine.vlen_bits, "ternary", coded, mode);
    let mut sim = Sim::new(machine, 1);
    let mut event = Event::new();
    while vm.next(&mut event).unwrap() == Status::Running {
        sim.account(&event);
    }
    sim.account(&event);
    sim.finish().unwrap()
}

#[test]
fn decoding_is_in_the_ledger_and_needs_no_weights() {
    for name in machine::general() {
        let machine = machine::load(name).unwrap();
        let sparse = coded("ternary", &dense("ternary", 7));
        let outcome = timed(&machine, &sparse, Mode::Functional);
        let blind = timed(&machine, &sparse, Mode::TimingOnly);
        assert_eq!((&outcome.timing, &outcome.ledger), (&blind.timing, &blind.ledger), "{name}");
        assert_eq!(outcome.ledger.count(|key| key.what == What::Decoded), (ROWS * COLS) as u64);
        let decode = machine.price("core.decode").unwrap().attojoule[Estimate::Typical as usize];
        let energy = outcome.ledger.energy(&machine).unwrap();
        let paid = energy.sum(Estimate::Typical, |row| row.price_key == "core.decode");
        assert_eq!(paid, decode * (ROWS * COLS) as i128, "{name}");
        // The load-store unit is busy for as many cycles as it has codes to decode.
        let cycles = (ROWS * COLS) as u64 / u64::from(machine.units.l_codes_per_cycle);
        assert!(outcome.timing.units[1].busy_cycles >= cycles, "{name}: {:?}", outcome.timing.units[1]);
        // Fewer bytes come from DRAM where more codes are zero.
        let even = timed(&machine, &coded("ternary", &dense("ternary", 1)), Mode::Functional);
        let read = |outcome: &Outcome| outcome.ledger.bytes(preon::sim::Place::Dram).0;
        assert!(read(&outcome) == sparse.payload().len() as u64 && read(&outcome) < read(&even), "{name}");
    }
}
