//! Stochastic streams and hypervectors: what docs/unconventional.md says about their statistics and their price, measured
//! on programs with fixed seeds.
#![expect(clippy::print_stdout, reason = "the measured tables are printed for the page under --nocapture")]

use preon::exec::{Config, Event, Mode, Status, Vm};
use preon::isa::Object;
use preon::isa::asm::{Options, Sources, assemble};
use preon::machine;
use preon::num::stream::{Source, Words};
use preon::sim::{Estimate, Sim, picojoule};

const CONTROL: u64 = 3 << 60;

fn assembled(text: &str) -> Object {
    assemble(&Sources::single("test.vasm", text), &Options::default())
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(|e| e.render(false)).collect::<Vec<_>>().join("\n")))
}

/// The edge machine with registers of `vlen` bits.
fn core(object: &Object, vlen: u32) -> Vm {
    let edge = machine::load("edge").expect("a built-in machine");
    let config = Config { vlen_bits: vlen, sram_bytes: 4096, control_bytes: 4096, ..Config::of(&edge) };
    Vm::new(object.clone(), config, Mode::Functional).expect("a machine for it")
}

/// The first `n` f32 of control memory after a run.
fn results(mut vm: Vm, n: u64) -> Vec<f32> {
    vm.run().unwrap_or_else(|trap| panic!("{trap}"));
    let bytes = vm.read(CONTROL, 4 * n).expect("control memory");
    bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Counts ones of x, y, x AND y, x XNOR y over streams of `n` bits; probabilities and keys lie at `args`.
fn counter(n: u32, source: &str) -> Object {
    assembled(&format!(
        ".control\ny: .zero 16\nargs: .zero 32\n.code\n.fmt f1=binary, f3=fp32\nli x5, args\n\
         lw.d x10, 0(x5); lw.d x11, 8(x5); lw.d x12, 16(x5); lw.d x13, 24(x5)\n\
         setacc c0, chain; setacc c1, chain; setacc c2, chain; setacc c3, chain\nli x8, {n}\n\
         steps: setvl x9, x8, f1, f1\nsc.gen v1, x10, x12, x7, {source}\nsc.gen v2, x11, x13, x7, {source}\n\
         sc.and v3, v1, v2; sc.xnor v4, v1, v2\n\
         red c0, v1, pop, x7; red c1, v2, pop, x7; red c2, v3, pop, x7; red c3, v4, pop, x7\n\
         add x7, x7, x9; sub x8, x8, x9; bnez x8, steps\nli x4, 1; setvl x4, x4, f3, f3\nli x5, y\n\
         red.end v1, c0, pop; st.bp v1, 0(x5)+, f3\nred.end v1, c1, pop; st.bp v1, 0(x5)+, f3\n\
         red.end v1, c2, pop; st.bp v1, 0(x5)+, f3\nred.end v1, c3, pop; st.bp v1, 0(x5)+, f3\nhalt\n"
    ))
}

/// Ones of x, y, x AND y, x XNOR y for these probabilities (in 2^-32) and keys.
fn counts(vm: &Vm, probabilities: [u64; 2], keys: [u64; 2]) -> [f64; 4] {
    let mut vm = vm.clone();
    let args: Vec<u8> = probabilities.iter().chain(&keys).flat_map(|arg| arg.to_le_bytes()).collect();
    vm.write(CONTROL + 16, &args).expect("control memory");
    let found = results(vm, 4);
    [0, 1, 2, 3].map(|i| f64::from(found[i]))
}

/// Root mean square errors of the unipolar and the bipolar product over uniform operands; `keys` of a trial.
fn errors(n: u32, source: &str, trials: u64, keys: impl Fn(u64) -> [u64; 2]) -> [f64; 2] {
    let vm = core(&counter(n, source), 4096);
    let mut operands = Words::new(Source::Philox, 0x5eed, 0).map(u64::from);
    let mut squares = [0.0; 2];
    for trial in 0..trials {
        let p = [(); 2].map(|()| operands.next().expect("words have no end"));
        let [_, _, both, equal] = counts(&vm, p, keys(trial));
        let [x, y] = p.map(|p| p as f64 / 4294967296.0);
        squares[0] += (both / f64::from(n) - x * y).powi(2);
        squares[1] += (2.0 * equal / f64::from(n) - 1.0 - (2.0 * x - 1.0) * (2.0 * y - 1.0)).powi(2);
    }
    squares.map(|sum| (sum / trials as f64).sqrt())
}

#[test]
fn independent_streams_multiply_with_the_error_of_theory() {
    for n in [256, 4096] {
        let root = f64::from(n).sqrt();
        let [unipolar, bipolar] = errors(n, "philox", 4000, |trial| [2 * trial, 2 * trial + 1]);
        let ratios = [unipolar * root / (5f64 / 36.0).sqrt(), bipolar * root / (8f64 / 9.0).sqrt()];
        println!("philox N = {n}: {unipolar:.5} {bipolar:.5}, over theory {ratios:.3?}");
        assert!(ratios.iter().all(|ratio| (ratio - 1.0).abs() < 0.04), "{ratios:?}");
        // One register polynomial, phases of its sequence as keys.
        let key = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let lfsr = errors(n, "lfsr", 2000, |trial| [key(2 * trial), key(2 * trial + 1)]);
        let ratios = [lfsr[0] * root / (5f64 / 36.0).sqrt(), lfsr[1] * root / (8f64 / 9.0).sqrt()];
        println!("lfsr N = {n}: {lfsr:.5?}, over theory {ratios:.3?}");
        assert!(ratios.iter().all(|ratio| (ratio - 1.0).abs() < 0.1), "{ratios:?}");
    }
}

#[test]
fn sobol_streams_converge_with_one_over_n() {
    let shift = |n: u64| Words::new(Source::Philox, 7, n).next().map_or(0, u64::from) << 32;
    let of = |n| errors(n, "sobol", 1000, |trial| [shift(2 * trial), shift(2 * trial + 1) | 1])[0];
    let (short, long) = (of(256), of(4096));
    println!("sobol: {short:.6} at 256 ({:.2} / N), {long:.7} at 4096 ({:.2} / N)", short * 256.0, long * 4096.0);
    assert!(short * 256.0 < 1.5 && long * 4096.0 < 1.5, "a small multiple of 1/N");
    assert!(short / long > 10.0, "16 times as long: 16 times as exact, not 4");
    // Dimensions 0 and 1 are a (0, 2)-sequence: products of 4-bit operands are exact with 2^8 bits.
    let vm = core(&counter(256, "sobol"), 512);
    for x in 0..=16u64 {
        for y in 0..=16u64 {
            assert_eq!(counts(&vm, [x << 28, y << 28], [0, 1])[2], (x * y) as f64, "{x}/16 * {y}/16");
        }
    }
}

#[test]
fn streams_of_one_key_give_minimum_and_distance() {
    for source in ["philox", "lfsr", "sobol"] {
        let vm = core(&counter(1000, source), 512);
        let mut operands = Words::new(Source::Philox, 3, 0).map(u64::from);
        for key in 0..50 {
            let p = [(); 2].map(|()| operands.next().expect("words have no end"));
            let [x, y, both, equal] = counts(&vm, p, [key, key]);
            assert_eq!((both, 1000.0 - equal), (x.min(y), (x - y).abs()), "{source}: AND = min, XOR = |x - y|");
        }
    }
}

#[test]
fn gates_of_correlated_streams_have_their_closed_forms() {
    // OR = max; AND with the complement of the complement's stream = max(0, x + y - 1); MUX of equal streams keeps them.
    let text = ".control\ny: .zero 16\n.code\n.fmt f1=binary, f3=fp32\nli x8, 512; setvl x9, x8, f1, f1\n\
        li x10, 0xc0000000; li x11, 0xa0000000; li x12, 0x60000000; li x13, 5\n\
        setacc c0, chain; setacc c1, chain; setacc c2, chain\n\
        sc.gen v1, x10, x0, x0, sobol; sc.gen v2, x11, x0, x0, sobol; sc.gen v3, x12, x0, x0, sobol\n\
        sc.or v4, v1, v2; red c0, v4, pop, x0\nsc.not v3, v3; sc.and v4, v1, v3; red c1, v4, pop, x0\n\
        sc.gen v5, x12, x13, x0, philox; sc.mux v4, v1, v1, v5; red c2, v4, pop, x0\n\
        li x4, 1; setvl x4, x4, f3, f3; li x5, y\nred.end v1, c0, pop; st.bp v1, 0(x5)+, f3\n\
        red.end v1, c1, pop; st.bp v1, 0(x5)+, f3\nred.end v1, c2, pop; st.bp v1, 0(x5)+, f3\nhalt\n";
    assert_eq!(results(core(&assembled(text), 512), 3), [0.75 * 512.0, (0.75 + 0.625 - 1.0) * 512.0, 0.75 * 512.0]);
}

/// Distances of each of `k` random members to their bundle, in bits of 10,000: planes v20.. count the members from a start
/// that makes the top plane the majority.
fn member_distances(k: u32) -> Vec<f64> {
    let planes = k.ilog2() + 1;
    let start = (1 << (planes - 1)) - k.div_ceil(2);
    let mut text = String::from(
        ".control\ny: .zero 8\nmember: .zero 8\n.code\n.fmt f1=binary, f3=fp32\nli x5, member; lw.d x6, 0(x5)\n\
         li x10, 0x80000000; setacc c0, chain; li x8, 10000\nsteps: setvl x9, x8, f1, f1\n",
    );
    for plane in 0..planes {
        text += &format!("bit v{0}, v0, v0, v0, {1}\n", 20 + plane, if start >> plane & 1 == 1 { 255 } else { 0 });
    }
    text += &format!("li x11, 1; li x12, {k}\nloop x12, voted\nsc.gen v1, x10, x11, x7, philox\n");
    for plane in 0..planes {
        let (carry, next) = (1 + plane % 2, 2 - plane % 2);
        text += &format!("sc.and v{next}, v{0}, v{carry}; hd.bind v{0}, v{0}, v{carry}\n", 20 + plane);
    }
    text += &format!(
        "add x11, x11, 1\nvoted: endl\nsc.gen v1, x10, x6, x7, philox\nhd.bind v2, v1, v{}\nred c0, v2, pop, x7\n\
         add x7, x7, x9; sub x8, x8, x9; bnez x8, steps\nli x4, 1; setvl x4, x4, f3, f3\nli x5, y\n\
         red.end v1, c0, pop; st.bp v1, 0(x5), f3\nhalt\n",
        19 + planes
    );
    let vm = core(&assembled(&text), 4096);
    let distance = |member: u32| {
        let mut vm = vm.clone();
        vm.write(CONTROL + 8, &u64::from(member).to_le_bytes()).expect("control memory");
        f64::from(results(vm, 1)[0])
    };
    (1..=k).map(distance).collect()
}

#[test]
fn members_lie_as_near_to_their_bundle_as_theory_says() {
    for k in [3u32, 5, 7, 9, 15, 31] {
        // 1/2 - C(k-1, (k-1)/2) / 2^k
        let half = u64::from(k - 1) / 2;
        let choose = (1..=half).fold(1.0, |c, i| c * (half + i) as f64 / i as f64);
        let theory = 0.5 - choose / f64::from(k).exp2();
        let sigma = (theory * (1.0 - theory) / 1e4).sqrt();
        let distances: Vec<f64> = member_distances(k).iter().map(|d| d / 1e4).collect();
        let mean = distances.iter().sum::<f64>() / f64::from(k);
        println!("k = {k}: {mean:.4}, theory {theory:.4}, member 1 {:.4}, sigma {sigma:.4}", distances[0]);
        assert!((mean - theory).abs() < 3.0 * sigma);
        assert!((distances[0] - theory).abs() < 3.0 * sigma, "a member given beforehand");
        // A stranger: 1/2 within 3 sigma of 1 / (2 sqrt D).
        assert!(distances.iter().all(|d| *d < 0.5 - 3.0 * 0.005), "every member is nearer than a stranger");
    }
}

#[test]
fn binding_is_its_own_inverse_and_keeps_distances() {
    let text = ".control\ny: .zero 16\n.code\n.fmt f1=binary, f3=fp32\n\
        li x8, 10000; li x10, 0x80000000; li x11, 1; li x12, 2; li x13, 3; li x14, 13\n\
        setacc c0, chain; setacc c1, chain; setacc c2, chain; setacc c3, chain\nsetvl x9, x8, f1, f1\n\
        sc.gen v1, x10, x11, x0, philox; sc.gen v2, x10, x12, x0, philox; sc.gen v3, x10, x13, x0, philox\n\
        hd.bind v4, v1, v2; red c0, v4, pop, x0\n\
        hd.bind v5, v1, v3; hd.bind v6, v2, v3; hd.bind v7, v5, v6; red c1, v7, pop, x0\n\
        rot v8, v1, v1, x14; rot v9, v2, v2, x14; hd.bind v7, v8, v9; red c2, v7, pop, x0\n\
        hd.bind v5, v5, v3; hd.bind v5, v5, v1; red c3, v5, pop, x0\n\
        li x4, 1; setvl x4, x4, f3, f3; li x5, y\nred.end v1, c0, pop; st.bp v1, 0(x5)+, f3\n\
        red.end v1, c1, pop; st.bp v1, 0(x5)+, f3\nred.end v1, c2, pop; st.bp v1, 0(x5)+, f3\n\
        red.end v1, c3, pop; st.bp v1, 0(x5)+, f3\nhalt\n";
    let found = results(core(&assembled(text), 16384), 4);
    assert!((found[0] - 5000.0).abs() < 150.0, "two random vectors differ in half of their bits: {}", found[0]);
    assert_eq!(found, [found[0], found[0], found[0], 0.0]);
}

/// Cycles, picojoule of everything, and picojoule of arithmetic, on the edge machine; timing-only mode must agree.
fn cost(text: &str) -> (u64, f64, f64) {
    let edge = machine::load("edge").expect("a built-in machine");
    let run = |mode| {
        let mut vm = Vm::new(assembled(text), Config::of(&edge), mode).expect("a machine for it");
        let (mut sim, mut event, mut status) = (Sim::new(&edge, 0), Event::new(), Status::Running);
        while status == Status::Running {
            status = vm.step(&mut event).unwrap_or_else(|trap| panic!("{trap}"));
            sim.account(&event);
        }
        sim.finish().expect("the machine serves it")
    };
    let (outcome, timed) = (run(Mode::Functional), run(Mode::TimingOnly));
    assert_eq!((outcome.timing.cycles, &outcome.ledger), (timed.timing.cycles, &timed.ledger));
    let energy = outcome.ledger.energy(&edge).expect("all prices");
    (outcome.timing.cycles, picojoule(energy.total(Estimate::Typical)), picojoule(energy.groups()[0]))
}

#[test]
fn the_examples_cost_the_same_without_values() {
    for text in
        [include_str!("../programs/examples/stochastic.vasm"), include_str!("../programs/examples/hypervector.vasm")]
    {
        let (cycles, all, arithmetic) = cost(text);
        assert!(cycles > 0 && arithmetic > 0.0 && arithmetic < all);
    }
}

/// Cost of one of the `products` that a body adds to an empty program, a thousand bodies.
fn each(set_up: &str, body: &str, products: f64) -> [f64; 3] {
    let program =
        |count| format!(".fmt f1=binary, f2=int8\n{set_up}\nli x31, {count}\nloop x31, end\n{body}\nend: endl\nhalt\n");
    let (more, less) = (cost(&program(2000)), cost(&program(1000)));
    let of = |more: f64, less: f64| (more - less) / 1000.0 / products;
    [of(more.0 as f64, less.0 as f64), of(more.1, less.1), of(more.2, less.2)]
}

#[test]
fn a_stochastic_product_costs_more_than_an_integer_one() {
    let stream = |n: u32, source: &str| {
        let set_up = format!("setacc c0, chain; li x10, 1; li x11, 2; li x8, {n}; setvl x9, x8, f1, f1");
        let body = format!(
            "sc.gen v1, x10, x10, x7, {source}; sc.gen v2, x11, x11, x7, {source}; sc.and v3, v1, v2; red c0, v3, pop, x7"
        );
        each(&set_up, &body, 1.0)
    };
    let gate = |n: u32| {
        let set_up = format!("setacc c0, chain; li x8, {n}; setvl x9, x8, f1, f1");
        each(&set_up, "sc.and v3, v1, v2; red c0, v3, pop, x7", 1.0)
    };
    let int8 =
        each("setacc c0, exact; li x8, 1; li x9, 256; setmac x10, x8, x9, f2, f2", "mac c0, v1, v2, f2, f2", 256.0);
    println!("int8 mac:            cycles, pJ, pJ of arithmetic {int8:.3?}");
    for n in [256, 2048] {
        for source in ["lfsr", "sobol", "philox"] {
            let found = stream(n, source);
            println!("AND of {source} N = {n}: {found:.3?}, {:.0} times", found[2] / int8[2]);
            assert!(found[2] > 50.0 * int8[2], "{source}: {found:?} against {int8:?}");
        }
        let found = gate(n);
        println!("AND, streams given, N = {n}: {found:.3?}, {:.1} times", found[2] / int8[2]);
        assert!(found[2] > 2.0 * int8[2], "{found:?} against {int8:?}");
    }
}
