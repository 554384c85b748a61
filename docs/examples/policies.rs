//! What does precision cost, and what does it buy? One model under four policies, on one machine.
//!
//! Run with `cargo run --release --example policies`.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use preon::{Vpu, machine, model, policy};

fn main() -> preon::Result<()> {
    let model = model::load("builtin:bitnet-tiny")?;
    let input = model.prepare(&model::Input::Text("low-bit".into()))?;
    let mut vpu = Vpu::new(machine::load("edge")?);
    println!("{:<10} {:>10} {:>10} {:>8}", "policy", "cycles", "uJ", "cosine");
    for name in ["fp32", "int8", "w1.58a8", "w1a1"] {
        vpu.set_precision(policy::load(name)?);
        let run = vpu.run(&input)?.summary;
        println!("{name:<10} {:>10} {:>10.2} {:>8.4}", run.cycles, run.energy_pj.total * 1e-6, run.quality.value);
    }
    Ok(())
}
