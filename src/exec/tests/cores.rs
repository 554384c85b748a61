//! Several cores: what is their own and what they share, what orders them, and what nothing orders.

use super::*;
use crate::isa::asm::{Options, Sources, assemble};

/// `count` cores on a program that begins with x1 = core, x2 = count, x3 = SRAM, x4 = shared SRAM, x5 = control memory.
fn cores(text: &str, count: u32) -> Cores {
    let head = "csr x1, core; csr x2, cores; li x3, 1 << 60; li x4, 2 << 60; li x5, 3 << 60; .fmt f1=int8, f2=fp32\n";
    let object = assemble(&Sources::single("t.vasm", format!("{head}{text}\nhalt\n")), &Options::default());
    let object = object.unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    Cores::new(object, Config { cores: count, ..config(512) }, Mode::Functional).expect("loads")
}

/// Runs to the end, taking the next step with whatever ready core `pick` names of their number.
fn run_by(all: &mut Cores, mut pick: impl FnMut(usize) -> usize) -> Result<()> {
    let mut event = Event::new();
    loop {
        let ready: Vec<usize> = (0..all.count()).filter(|&core| all.ready(core)).collect();
        match ready.get(pick(ready.len())) {
            Some(&core) => all.step(core, &mut event)?,
            None if all.halted() => return Ok(()),
            None => return Err(all.deadlock()),
        };
    }
}

/// The trap of `text`, which is the same whichever core goes first.
fn trap(text: &str, count: u32) -> Trap {
    let first = run_by(&mut cores(text, count), |_| 0).expect_err("traps");
    let last = run_by(&mut cores(text, count), |ready| ready.saturating_sub(1)).expect_err("traps");
    let mut turn = 0;
    let round = run_by(&mut cores(text, count), |ready| {
        turn += 1;
        turn % ready.max(1)
    });
    assert_eq!((first.kind(), first.kind()), (last.kind(), round.expect_err("traps").kind()), "{first}\n{last}");
    first
}

/// All memory after `text`, the same for every order that is tried.
fn memory(text: &str, count: u32) -> Vec<u8> {
    let mut results = Vec::new();
    for seed in 0..12u64 {
        let mut all = cores(text, count);
        let mut state = seed;
        let done = run_by(&mut all, |ready| match seed {
            0 => 0,
            1 => ready.saturating_sub(1),
            _ => {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as usize % ready.max(1)
            }
        });
        done.unwrap_or_else(|trap| panic!("order {seed}: {trap}"));
        let mut bytes = Vec::new();
        for core in 0..count as usize {
            bytes.extend_from_slice(all.read(core, SRAM, 4096).unwrap());
        }
        for addr in [0, SHARED, CONTROL] {
            bytes.extend_from_slice(all.read(0, addr, 4096).unwrap());
        }
        results.push(bytes);
    }
    assert!(results.iter().all(|result| *result == results[0]), "the order of the cores shows in memory");
    results.swap_remove(0)
}

#[test]
fn cores_share_all_but_registers_and_sram() {
    // Every core stores its number at byte 8 of its SRAM, and at byte 8 * number of control memory.
    let text = "sw.d x1, 8(x3); sll x6, x1, 3; add x6, x6, x5; sw.d x1, 0(x6)";
    let mut all = cores(text, 4);
    all.run().expect("halts");
    for core in 0..4 {
        assert_eq!((all.core(core).x(1), all.core(core).x(2)), (Some(core as u64), Some(4)));
        assert_eq!(all.read(core, SRAM + 8, 1).unwrap(), [core as u8]);
        for other in 0..4u64 {
            assert_eq!(all.read(core, CONTROL + 8 * other, 1).unwrap(), [other as u8]);
            let remote = (4 << 60) + (other << 48) + 8;
            assert_eq!(all.read(core, remote, 1).unwrap(), [other as u8], "space 4 names every core's SRAM");
        }
    }
    memory(text, 4);
}

#[test]
fn fuel_is_spent_together() {
    let spend = |fuel| {
        let all = cores("", 3);
        let config = Config { cores: 3, fuel: Some(fuel), ..config(512) };
        Cores::new(all.core(0).object().clone(), config, Mode::Functional).unwrap().run()
    };
    let each = cores("", 1).core(0).object().words.len() as u64;
    assert_eq!(spend(3 * each), Ok(()));
    assert_eq!(spend(3 * each - 1).unwrap_err().kind(), TrapKind::Fuel);
}

#[test]
fn the_number_of_cores_is_checked() {
    let object = cores("", 1).core(0).object().clone();
    for count in [0, 65] {
        let config = Config { cores: count, ..config(512) };
        assert!(Cores::new(object.clone(), config, Mode::Functional).is_err(), "{count}");
    }
    assert!(Vm::new(object, Config { cores: 2, ..config(512) }, Mode::Functional).is_err(), "a Vm is one core");
}

#[test]
pub(super) fn a_signal_hands_bytes_from_producer_to_consumer() {
    // Core 0 makes a number in shared SRAM ten times, core 1 adds them up; each waits for the other.
    let text = "li x6, 10; setvl x0, x2, f2, f2; li x9, 0
        beq x1, x0, make
        loop x6, first; wait.sig 1; ld.bp v1, 0(x4), f2; st.bp v1, 0(x3), f2; lw.w x7, 0(x3); add x9, x9, x7; sig x0, 2; first: endl
        sw.d x9, 64(x3); j done
        make: loop x6, second; add x9, x9, 3; sw.w x9, 0(x3); ld.bp v1, 0(x3), f2; st.bp v1, 0(x4), f2; li x8, 1; sig x8, 1; wait.sig 2; second: endl
        done: nop";
    let bytes = memory(text, 2);
    assert_eq!(bytes[4096 + 64], (1..=10).map(|n| 3 * n).sum::<u64>() as u8);
}

#[test]
pub(super) fn a_wait_takes_a_signal_that_came_before_it() {
    let text = "bne x1, x0, other; sig x0, 5; sig x0, 5; wait.sig 5; wait.sig 5; sw.d x2, 0(x3); other: nop";
    assert_eq!(memory(text, 2)[0], 2);
    assert_eq!(memory(text, 1)[0], 1, "one core alone signals itself");
}

/// Every core writes a column of a matrix in shared SRAM and, after a barrier, adds up a row.
const PHASES: &str = "sll x6, x1, 2; add x6, x6, x4; li x7, 4; li x8, 0; add x10, x1, 1
    bar -1
    loop x7, first; mul x9, x10, x8; sw.w x9, 0(x3); li x9, 1; setvl x0, x9, f2, f2
    ld.bp v1, 0(x3), f2; st.bp v1, 0(x6), f2; add x6, x6, 16; add x8, x8, 1; first: endl
    bar 15
    sll x6, x1, 4; add x6, x6, x4; li x9, 4; setvl x0, x9, f2, f2; ld.bp v1, 0(x6), f2; st.bp v1, 0(x3), f2
    li x6, 0; mv x8, x3; loop x7, second; lw.w x9, 0(x8); add x6, x6, x9; add x8, x8, 4; second: endl; sw.d x6, 64(x3)";

#[test]
pub(super) fn a_barrier_separates_phases() {
    let bytes = memory(PHASES, 4);
    // Row r holds (core + 1) * r.
    let sums: Vec<u8> = (0..4).map(|core| bytes[4096 * core + 64]).collect();
    assert_eq!(sums, [0, 10, 20, 30]);
    let without = PHASES.replace("bar 15", "nop");
    let race = trap(&without, 4);
    assert_eq!(race.kind(), TrapKind::Race);
}

#[test]
fn a_race_names_both_lines() {
    // Line 2 writes the bytes that line 3 reads on the other core.
    let text =
        "setvl x0, x2, f2, f2; bne x1, x0, read\n st.bp v1, 0(x4), f2\n j done\n read: ld.bp v1, 4(x4), f2\n done: nop";
    let mut all = cores(text, 2);
    let race = all.run().unwrap_err();
    let shown = Error::from(race.clone()).to_string();
    assert_eq!((race.kind(), race.line(), race.core()), (TrapKind::Race, Some(("t.vasm", 5)), Some(1)));
    assert!(shown.contains("core 1 reads byte 0x4 of shared SRAM, which core 0 writes at t.vasm:3"), "{shown}");
    assert!(shown.contains("bar of both"), "{shown}");
    assert_eq!(trap(text, 2).kind(), TrapKind::Race, "in every order");
    for fine in [text.replace("4(x4)", "8(x4)"), text.replace("st.bp", "ld.bp")] {
        memory(&fine, 2);
    }
}

#[test]
fn transfers_are_done_for_others_once_waited_for() {
    // Core 0 stores to DRAM and signals; core 1 fetches. Without dma.wait the bytes may still be on their way.
    let text = "li x6, 64; li x7, 0; li x8, 1; bne x1, x0, other
        sw.d x6, 0(x3); dma.st t3, x7, x3, x6
        dma.wait t3, 0
        sig x8, 0; j done
        other: wait.sig 0; dma.ld t0, x3, x7, x6; dma.wait t0, 0
        done: nop";
    assert_eq!(memory(text, 2)[4096], 64);
    let race = trap(&text.replace("dma.wait t3, 0", "nop"), 2);
    assert_eq!(race.kind(), TrapKind::Race);
    assert!(race.message().contains("dma.wait t3 in core 0"), "{race}");
    let epoch = text.replace("dma.wait t3, 0", "epoch");
    memory(&epoch, 2);
    // The newest of two transfers may still be open.
    let two = text.replace("dma.wait t3, 0", "dma.ld t3, x3, x6, x6; dma.wait t3, 1");
    memory(&two, 2);
}

#[test]
fn a_transfer_into_another_core_is_ordered_like_any_write() {
    let push = "li x6, 8; li x7, 4 << 60 | 1 << 48; li x8, 1; bne x1, x0, other
        sw.d x6, 0(x3); dma.st t0, x7, x3, x6; dma.wait t0, 0; sig x8, 0; j done
        other: wait.sig 0; lw.d x9, 0(x3); sw.d x9, 8(x3)
        done: nop";
    assert_eq!(memory(push, 2)[4096 + 8], 8);
    assert_eq!(trap(&push.replace("wait.sig 0;", ""), 2).kind(), TrapKind::Race);
}

#[test]
fn two_senders_of_one_semaphore_must_be_in_order() {
    let race = trap("beq x1, x0, take; sig x0, 1; j done; take: wait.sig 1; wait.sig 1; done: nop", 3);
    assert_eq!(race.kind(), TrapKind::Race);
    assert!(race.message().contains("semaphore 1 of core 0"), "{race}");
    let relay = "li x6, 1; li x7, 2; beq x1, x0, take; beq x1, x7, two
        sig x0, 1; sig x7, 0; j done
        two: wait.sig 0; sig x0, 1; j done
        take: wait.sig 1; wait.sig 1; done: nop";
    memory(relay, 3);
}

#[test]
fn deadlock_lists_who_waits_where_for_what() {
    let text = "bne x1, x0, other\n wait.sig 7\n other: li x6, 2; beq x1, x6, done\n bar 7\n done: nop";
    let dead = trap(text, 3);
    assert_eq!(dead.kind(), TrapKind::Deadlock);
    for part in ["core 0 at t.vasm:3 for semaphore 7", "core 1 at t.vasm:5 for core 0 and core 2, which has halted"] {
        assert!(dead.message().contains(part), "{dead}");
    }
    // The two directions of a handshake, and cores of groups that cross.
    let both = "xor x6, x1, 1; wait.sig 0; sig x6, 0";
    assert_eq!(trap(both, 2).kind(), TrapKind::Deadlock);
    memory(&both.replace("wait.sig 0; sig x6, 0", "sig x6, 0; wait.sig 0"), 2);
    let crossed = "li x6, 3; sll x6, x6, x1; li x7, 2; bne x1, x7, go; li x6, 5; go: bar x6";
    assert_eq!(trap(crossed, 3).kind(), TrapKind::Deadlock);
    let alone = trap("wait.sig 0", 1);
    assert_eq!(alone.kind(), TrapKind::Deadlock);
}

/// 256 bytes of DRAM at 512 to byte 1024 of every SRAM; core 1 wrote them.
const MULTICAST: &str = "li x6, 256; li x7, 512; li x8, 1; li x9, -1; add x10, x3, 1024
    bne x1, x8, go; sw.d x6, 0(x3); dma.st t1, x7, x3, x6; go: dma.mc t0, x10, x7, x6, x9
    lw.d x11, 1024(x3); sw.d x11, 8(x3)";

#[test]
pub(super) fn a_collective_copy_reaches_the_same_place_in_every_member() {
    for count in [1, 2, 4] {
        let bytes = memory(MULTICAST, count);
        let want = if count == 1 { 0 } else { 256u64 };
        for core in 0..count as usize {
            let at = 4096 * core;
            assert_eq!(bytes[at + 8..at + 16], want.to_le_bytes(), "core {core} of {count}");
        }
    }
    // By shape: every second block; the members' own work before it is ordered, and nothing else.
    let shaped = MULTICAST.replace(
        "dma.mc t0, x10, x7, x6, x9",
        "li x11, 2; li x12, 128; dma.dim d1, 1, x11, x12, x6; li x6, 8; dma.mc t0, x10, x7, x6, x9, d1",
    );
    memory(&shaped, 4);
    // What a member reads later from where core 1 wrote is its own affair.
    let read = format!("{MULTICAST}; dma.ld t2, x3, x7, x6");
    assert_eq!(trap(&read, 2).kind(), TrapKind::Race);
}

#[test]
fn members_of_a_collective_copy_agree() {
    let other = |change: &str| {
        format!("li x6, 256; li x7, 512; li x9, -1; beq x1, x0, go; {change}; go: dma.mc t0, x3, x7, x6, x9")
    };
    for change in ["li x6, 255", "li x7, 513", "add x3, x3, 8", "bar -1"] {
        assert_eq!(trap(&other(change), 2).kind(), TrapKind::Shape, "{change}");
    }
    memory(&other("nop"), 2);
}

#[test]
fn hostile_programs_get_one_sentence() {
    let cases = [
        ("bar 16", TrapKind::Shape, "has core 4; there are 4 cores"),
        ("bar 0", TrapKind::Shape, "core 0 is not in the group"),
        ("li x6, 1 << 40; bar x6", TrapKind::Shape, "has core 40"),
        ("li x6, 4; sig x6, 0", TrapKind::Shape, "no core 4 to signal"),
        ("li x6, -1; sig x6, 63", TrapKind::Shape, "there are 4"),
        ("li x6, 4 << 60 | 4 << 48; li x7, 8; dma.ld t0, x3, x6, x7", TrapKind::Addr, "SRAM of core 4; there are 4"),
        ("li x6, 4 << 60 | 1 << 48 | 1 << 47; li x7, 8; dma.ld t0, x3, x6, x7", TrapKind::Addr, "of SRAM of core 1"),
        ("li x6, 4 << 60 | 1 << 48; lw.b x7, 0(x6)", TrapKind::Addr, "another core, which only DMA reaches"),
        ("li x9, -1; li x6, 8; dma.mc t0, x4, x0, x6, x9", TrapKind::Addr, "not in space 1"),
        ("li x9, -1; li x6, 8; dma.mc t0, x3, x3, x6, x9", TrapKind::Addr, "space 4 names the SRAM of one"),
        ("li x9, -1; li x6, 1 << 59; dma.mc t0, x3, x0, x6, x9", TrapKind::Addr, "leave"),
        ("li x9, 6; li x6, 8; dma.mc t0, x3, x0, x6, x9", TrapKind::Shape, "core 0 is not in the group"),
    ];
    for (text, kind, part) in cases {
        let trap = cores(text, 4).run().unwrap_err();
        assert_eq!(trap.kind(), kind, "{text}: {trap}");
        assert!(trap.message().contains(part), "{text}: {trap}");
    }
}

#[test]
fn a_core_without_values_does_not_go_on_from_what_another_did_not_compute() {
    // Core 0 stores a vector to control memory; core 1 reads a scalar there.
    let text = |at: u64| {
        format!(
            "setvl x0, x2, f1, f1; bne x1, x0, second; st.bp v1, 8(x5), f1; li x8, 1; sig x8, 0; halt; second: wait.sig 0; lw.w x6, {at}(x5)"
        )
    };
    let run = |at, mode| {
        let object = cores(&text(at), 2).core(0).object().clone();
        Cores::new(object, Config { cores: 2, ..config(512) }, mode).unwrap().run()
    };
    for (at, want) in [(8, Some(TrapKind::Data)), (16, None)] {
        assert!(run(at, Mode::Functional).is_ok(), "{at}");
        assert_eq!(run(at, Mode::TimingOnly).err().map(|trap| trap.kind()), want, "{at}");
    }
}

#[test]
fn histories_take_bounded_memory() {
    // Core 0 writes every second byte of DRAM, again and again, in pieces that never merge.
    let scatter =
        "bne x1, x0, later; li x6, 60000; li x7, 1; li x8, 2; li x9, 4000; dma.dim d1, 1, x6, x8, x8; li x10, 1 << 20
        loop x9, e; dma.st t0, x10, x3, x7, d1; add x10, x10, 1 << 17; e: endl; later: wait.sig 0";
    let object = cores(scatter, 2).core(0).object().clone();
    let config = Config { cores: 2, fuel: Some(3_000_000), ..config(512) };
    let trap = Cores::new(object, config, Mode::TimingOnly).unwrap().run().unwrap_err();
    assert_eq!(trap.kind(), TrapKind::Fuel);
    assert!(trap.message().contains("too many pieces"), "{trap}");
}

/// Y = W.x for 16 x 64 ternary weights, four rows at a time, the groups of four divided among the cores.
const PRODUCT: &str = ".fmt f3=ternary
    li x6, 4; divu x7, x6, x2; mul x8, x1, x7; li x9, 64; li x10, 0
    dma.ld t0, x3, x10, x9
    setmac x14, x6, x9, f3, f1; setvl x0, x9, f1, f1; li x16, 1; settile.m x0, x16; settile.n x0, x6; li x16, 16
    loop x7, e
      sll x11, x8, 6; add x11, x11, 1024; add x12, x3, 256; dma.ld t0, x12, x11, x9
      c.fill c0, zero; ld.bp v1, 0(x12) rows x16, f3; ld.bp v2, 0(x3), f1; mac.tern c0, v1, v2, f3, f1
      add x12, x3, 512; st.c c0, 0(x12), f2; sll x11, x8, 4; add x11, x11, 2048; dma.st t1, x11, x12, x16
      add x8, x8, 1
    e: endl
    dma.wait t1, 0";

#[test]
fn four_cores_make_the_product_of_one() {
    let mut results = Vec::new();
    for count in [1u32, 2, 4] {
        let mut all = cores(PRODUCT, count);
        let x: Vec<u8> = (0..64u8).map(|k| k.wrapping_mul(37)).collect();
        // Codes 0, 1, 2 in a pattern without period of a row.
        let w: Vec<u8> =
            (0..256usize).map(|i| (0..4).map(|j| (((i * 4 + j) * 7 / 3 % 3) as u8) << (2 * j)).sum()).collect();
        all.write(0, 0, &x).unwrap();
        all.write(0, 1024, &w).unwrap();
        all.run().unwrap_or_else(|trap| panic!("{count} cores: {trap}"));
        let y = all.read(0, 2048, 64).unwrap();
        let y: Vec<f32> = y.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let row = |n: usize| -> i32 {
            let term =
                |k: usize| [0, 1, -1, 0][usize::from(w[n * 16 + k / 4] >> (2 * (k % 4)) & 3)] * i32::from(x[k] as i8);
            (0..64).map(term).sum()
        };
        assert_eq!(y, (0..16).map(|n| row(n) as f32).collect::<Vec<_>>(), "{count} cores");
        results.push(y);
    }
    assert!(results.iter().all(|y| *y == results[0]));
}
