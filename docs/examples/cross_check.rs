//! Are the simulated values right? Every node of the virtual run against the native backend, bit by bit; then the three
//! layers that cost the most energy.
//!
//! Run with `cargo run --release --example cross_check`.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use preon::{Vpu, machine, model, policy};

fn main() -> preon::Result<()> {
    let input = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    let mut vpu = Vpu::new(machine::load("hbm")?);
    vpu.set_precision(policy::load("w1.58a8")?);

    let report = vpu.check(&input)?;
    println!("{} nodes, {} mismatches", report.nodes, report.mismatches.len());
    assert!(report.is_bit_exact(), "the two backends must agree");

    let mut layers = vpu.profile(&input)?;
    layers.sort_by(|a, b| b.energy_pj.total.total_cmp(&a.energy_pj.total));
    for layer in layers.iter().take(3) {
        println!("{:<24} {:>8} cycles {:>10.1} nJ", layer.name, layer.cycles, layer.energy_pj.total * 1e-3);
    }
    Ok(())
}
