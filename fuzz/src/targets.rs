//! What is fuzzed, as functions of bytes: `fuzz/run` lets libFuzzer choose the bytes, `tests/corpus.rs` replays those that
//! were worth keeping. Each function panics where Preon answers neither with a result nor with a sentence.
#![allow(dead_code, reason = "every target uses its own function")]

use preon::diag::Kind;
use preon::exec::event::Event;
use preon::exec::{Config, Cores, Mode, Source, Status, Vm};
use preon::isa::asm::{Options, Sources, assemble};
use preon::isa::table::ROWS;
use preon::isa::{Inst, Object, decode, disasm};
use preon::machine::{self, Machine};
use preon::sim::{Sim, several};
use std::sync::OnceLock;

/// Instructions, bytes and terms that one program may spend.
const FUEL: u64 = 20_000;

/// Assembly text: objects that come of it survive their container and their own disassembly.
pub fn asm(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match assemble(&Sources::single("fuzz.vasm", text), &Options::default()) {
        Ok(object) => {
            let bytes = object.to_bytes();
            assert_eq!(Object::from_bytes(&bytes).expect("its own container"), object);
            again(&object);
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a word");
            for error in errors {
                assert!(!error.render(false).trim().is_empty());
            }
        }
    }
}

/// A container, with the checksum put right unless the first byte is odd.
pub fn object(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let mut bytes = data.to_vec();
    if choice & 1 == 0 {
        seal(&mut bytes);
    }
    match Object::from_bytes(&bytes) {
        Ok(object) => {
            assert_eq!(Object::from_bytes(&object.to_bytes()).expect("its own container"), object);
            if again(&object) {
                execute(&object, 0);
            }
        }
        // A name of a format that no program can use is known, and unsupported.
        Err(error) => {
            let refused = matches!(error.kind(), Kind::BadInput | Kind::Unsupported);
            assert!(refused && !error.message().is_empty(), "{error}");
        }
    }
}

/// A program after a prologue that makes registers point into every space: one word of every eight bytes, made valid by
/// clearing what its row does not use.
pub fn exec(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let mut object = prologue().clone();
    let halt = object.words.pop().expect("a halt");
    let words = data.chunks_exact(8).map(|word| valid(u64::from_le_bytes(word.try_into().expect("eight bytes"))));
    object.words.extend(words.take(400));
    object.words.push(halt);
    again(&object);
    execute(&object, *choice);
}

/// asm(disasm(b)) == b; whether `object` is a program at all.
fn again(object: &Object) -> bool {
    let Ok(text) = disasm::disassemble(object) else { return false };
    let again = assemble(&Sources::single("again.vasm", text.as_str()), &Options::default())
        .unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]));
    let same = again.words == object.words && again.formats == object.formats && again.control == object.control;
    assert!(same, "not the same again:\n{text}");
    true
}

/// The same on several cores, which may race, wait for ever or disagree.
fn execute_on_cores(object: &Object, config: Config, mode: Mode) {
    let Ok(mut cores) = Cores::new(object.clone(), config, mode) else { return };
    match several(edge(), 4, &mut cores) {
        Ok(outcome) => {
            for unit in outcome.cores.iter().flat_map(|core| &core.units) {
                let sum = unit.busy_cycles + unit.stalled() + unit.idle_cycles;
                assert_eq!(sum, outcome.cycles(), "the books of a unit");
            }
        }
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
}

/// Runs on machines of several widths, with values and without, priced by the simulator.
fn execute(object: &Object, choice: u8) {
    let machine = edge();
    let config = Config {
        vlen_bits: 32 << (choice >> 1 & 7).min(6),
        acc_rows: 4,
        acc_cols: 1 + u32::from(choice >> 4),
        tile_k: 64,
        scale_entries: 16,
        sram_bytes: 1 << 16,
        shared_bytes: 1 << 12,
        control_bytes: 1 << 16,
        dram_bytes: 1 << 20,
        cores: if choice >> 6 == 3 { 3 } else { 1 },
        fuel: Some(FUEL),
        skip_granule: [2, 4],
        array_block: [8, 8],
    };
    let mode = if choice & 1 == 0 { Mode::Functional } else { Mode::TimingOnly };
    if config.cores > 1 {
        return execute_on_cores(object, config, mode);
    }
    let Ok(mut vm) = Vm::new(object.clone(), config, mode) else { return };
    let mut sim = Sim::new(machine, 4);
    let mut event = Event::default();
    loop {
        match vm.next(&mut event) {
            Ok(Status::Running) => sim.account(&event),
            Ok(Status::Halted) => break,
            Ok(Status::Blocked) => unreachable!("a core alone waits for nobody"),
            Err(trap) => {
                assert!(!trap.to_string().trim().is_empty());
                return;
            }
        }
    }
    sim.account(&event);
    if let Ok(outcome) = sim.finish() {
        let timing = outcome.timing;
        for unit in &timing.units {
            assert_eq!(unit.busy_cycles + unit.stalled() + unit.idle_cycles, timing.cycles, "the books of a unit");
        }
    }
}

fn edge() -> &'static Machine {
    static EDGE: OnceLock<Machine> = OnceLock::new();
    EDGE.get_or_init(|| machine::load("edge").expect("a built-in machine"))
}

fn prologue() -> &'static Object {
    static PROLOGUE: OnceLock<Object> = OnceLock::new();
    PROLOGUE.get_or_init(|| {
        let text = "
            li x1, 0\n li x2, 0x1000000000000000\n li x3, 0x1000000000000100\n li x4, 4\n li x5, 3\n li x6, 1
            li x7, 0x2000000000000040\n li x8, 0x3000000000000080\n li x9, 16\n li x10, 0x3000000000000000
            li x11, 64\n li x12, 0x3f800000\n li x13, 7\n li x14, 0x0000000000000200\n li x15, 0xfffffffffffffff0
            .fmt f0=fp32, f1=int8, f2=ternary, f3=fp32, f4=binary, f5=fp8e4m3, f6=bf16, f7=triplet, f8=fp4e2m1, f9=fp16
            setvl x16, x4, f3, f3\n setmac x18, x5, x4, f1, f1\n settile.m x20, x5\n settile.n x21, x4\n settile.k x22, x4
            halt";
        assemble(&Sources::single("prologue", text), &Options::default())
            .unwrap_or_else(|errors| panic!("{}", errors[0]))
    })
}

/// Bits that single changes of a row's plain word leave decodable.
fn used(row: usize) -> u64 {
    static USED: OnceLock<Vec<u64>> = OnceLock::new();
    let used = USED.get_or_init(|| {
        let bits = |row: &preon::isa::table::Row| {
            let plain = Inst::new(row.op).encode();
            (0..64).map(|bit| 1 << bit).filter(|bit| decode(plain ^ bit).is_ok()).sum()
        };
        ROWS.iter().map(bits).collect()
    });
    used[row]
}

/// A word that decodes stays; of any other the low byte chooses the row and the rest its fields. Jumps stay near.
fn valid(word: u64) -> u64 {
    let row = (word & 0xff) as usize % ROWS.len();
    let plain = Inst::new(ROWS[row].op).encode();
    let Ok(mut inst) = decode(word).or_else(|_| decode(plain ^ word & used(row) & !0xff)) else { return plain };
    let name = inst.op.row().name;
    if name.starts_with(['j', 'b']) || name.starts_with("loop") || name.starts_with("next") {
        inst.imm %= 16;
    }
    if inst.check().is_ok() { inst.encode() } else { plain }
}

/// The CRC-32 at the end of a container, made right.
fn seal(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(4) else { return };
    let crc = !bytes[..end].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
}
