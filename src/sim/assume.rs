//! What a machine's clock takes for granted, and what it leaves out: every report says it.

use crate::machine::{DramModel, Machine};

/// How the machine is timed, as (what, how), structural choices of its file: the array's first.
pub fn assumptions(machine: &Machine) -> Vec<(String, String)> {
    let mut rows = machine.array.as_ref().map_or_else(Vec::new, |array| array.kind.assumptions());
    let memory = machine.dram.memory.as_ref().filter(|_| machine.dram.model == DramModel::Cycle);
    let dram = match (machine.dram.model, memory) {
        (DramModel::Ideal, _) => "ideal: no time at all".to_owned(),
        (_, Some(memory)) => format!(
            "every command of {} x {} x {}, FR-FCFS over {} requests a channel",
            count(memory.channels, "channel"),
            count(memory.ranks, "rank"),
            count(memory.groups * memory.banks, "bank"),
            memory.queue
        ),
        _ => format!(
            "first come, first served at {:.2} bytes a cycle, {} cycles of latency",
            machine.dram.bytes_per_cycle, machine.dram.latency_cycles
        ),
    };
    rows.push(("DRAM".to_owned(), dram));
    let banks = if machine.own().modulo { "word after word, so that strides meet" } else { "spread by a hash" };
    rows.push(("SRAM banks".to_owned(), banks.to_owned()));
    rows
}

fn count(number: u32, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// What the clock of this machine leaves out.
pub fn not_modelled(machine: &Machine) -> Vec<&'static str> {
    let bandwidth = (machine.dram.model == DramModel::Bandwidth).then_some(
        "DRAM banks, row conflicts, refresh and read-write turnaround one by one: a stream's efficiency and one activation a row stand for them",
    );
    let always = [
        "conflicts between units and DMA for SRAM banks",
        "instruction fetch stalls and the cost of taken branches",
        "host link; temperature over time",
        "energy saved by zero operands",
    ];
    bandwidth.into_iter().chain(always).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::load_with;

    #[test]
    fn the_model_of_dram_is_told_with_its_figures() {
        let told = |model: &str| {
            let machine = load_with("hbm", &[("dram.model".into(), model.into())]).unwrap();
            let dram = assumptions(&machine).into_iter().find(|row| row.0 == "DRAM").unwrap().1;
            (dram, not_modelled(&machine).len())
        };
        let (cycle, left_out) = told("cycle");
        assert!(cycle.starts_with("every command of 8 channels x 1 rank x 16 banks"), "{cycle}");
        let (bandwidth, more) = told("bandwidth");
        assert!(bandwidth.contains("235.52 bytes a cycle"), "{bandwidth}");
        assert_eq!(more, left_out + 1);
        assert!(told("ideal").0.contains("no time"));
    }
}
