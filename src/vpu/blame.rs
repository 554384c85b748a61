//! Which line of a kernel stored a wrong element: the program is run again and every store watched.
//!
//! The last store to the element's address is usually a DMA that copies a result out of SRAM. Such copies are followed
//! backwards, to the instruction that wrote the bytes which they moved.

use super::execute::start;
use crate::check::{CheckReport, Mismatch, Part};
use crate::compile::{Compiled, root};
use crate::diag::Result;
use crate::exec::{Access, Event, Mode, Space, Status, Work};
use crate::graph::{Graph, InputData};
use crate::isa::Op;
use crate::machine::Machine;
use crate::tensor::rows_cols;

/// Copies that are followed back at most.
const COPIES: usize = 4;

/// A byte of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Byte {
    space: Space,
    at: u64,
}

/// A store: the number of its instruction in the run, and its event.
struct Store {
    number: u64,
    event: Event,
}

/// Names the line behind the first mismatch of `report`, of a run of `compiled`. Those after it may follow from it.
///
/// # Errors
/// As the run itself.
pub fn name_line(
    report: &mut CheckReport,
    compiled: &Compiled,
    graph: &Graph,
    inputs: &[InputData],
    machine: &Machine,
) -> Result<()> {
    let Some(mismatch) = report.mismatches.first_mut() else { return Ok(()) };
    let Some((step, mut byte)) = place(mismatch, compiled, graph) else { return Ok(()) };
    let replay = |byte, until| last_store(compiled, graph, inputs, machine, step, byte, until);
    let mut found: Option<Store> = None;
    for _ in 0..COPIES {
        let Some(store) = replay(byte, found.as_ref().map_or(u64::MAX, |store| store.number))? else { break };
        let before = copied_from(&store.event, byte);
        found = Some(store);
        match before {
            Some(source) => byte = source,
            None => break,
        }
    }
    mismatch.line =
        found.and_then(|store| compiled.object.line(store.event.pc)).map(|(file, line)| (file.into(), line));
    Ok(())
}

/// The step that stores the mismatching bits, and where their first byte lies.
fn place(mismatch: &Mismatch, compiled: &Compiled, graph: &Graph) -> Option<(usize, Byte)> {
    let node = graph.nodes.iter().find(|node| node.name == mismatch.node)?;
    let value = root(graph, node.output);
    let step = compiled.steps.iter().position(|step| step.output.value == value)?;
    let (output, ty) = (&compiled.steps[step].output, &graph.value(node.output).ty);
    let (_, cols) = rows_cols(&graph.value(node.output).shape);
    let (row, col) = (mismatch.row as u64, mismatch.col as u64);
    let address = match mismatch.part {
        Part::Type => return None,
        Part::Codes | Part::Padding => {
            output.addr + row * ty.row_bytes(cols) as u64 + col * u64::from(ty.format.bits) / 8
        }
        Part::Scales => {
            let scale = row * ty.scales_per_row(cols) as u64 + col;
            output.scale_addr + scale * u64::from(ty.scale.format.bits) / 8
        }
    };
    let space = match address >> 60 {
        0 => Space::Dram,
        1 => Space::Sram,
        2 => Space::Shared,
        _ => return None,
    };
    Some((step, Byte { space, at: address & ((1 << 60) - 1) }))
}

/// The last store to `byte` before instruction `until` and before the end of `step`.
fn last_store(
    compiled: &Compiled,
    graph: &Graph,
    inputs: &[InputData],
    machine: &Machine,
    step: usize,
    byte: Byte,
    until: u64,
) -> Result<Option<Store>> {
    let mut vm = start(compiled, graph, inputs, machine, Mode::Functional)?;
    let (mut event, mut marked, mut last) = (Event::new(), 0, None);
    for number in 0..until {
        let status = vm.step(&mut event)?;
        marked += usize::from(event.op == Op::Node);
        if status == Status::Halted || marked > step + 1 {
            return Ok(last);
        }
        if event.touched().iter().any(|access| access.write && position(access, byte).is_some()) {
            last = Some(Store { number, event });
        }
    }
    Ok(last)
}

/// How many of the bytes of `access` come before `byte`, if it is one of them.
fn position(access: &Access, byte: Byte) -> Option<u64> {
    if access.space != byte.space || !(access.lo..access.hi).contains(&byte.at) {
        return None;
    }
    let (width, pitch) = runs(access)?;
    let (run, within) = ((byte.at - access.lo) / pitch, (byte.at - access.lo) % pitch);
    (within < width).then_some(run * width + within)
}

/// Bytes of a run and from run to run, of runs that lie evenly.
fn runs(access: &Access) -> Option<(u64, u64)> {
    let width = access.bytes / access.runs.max(1);
    let between = (access.hi - access.lo).checked_sub(width)?.checked_div(access.runs.saturating_sub(1));
    let pitch = between.unwrap_or(width).max(width);
    (width > 0).then_some((width, pitch))
}

/// Where the copy `event` took `byte` from; `None` if it is no copy.
fn copied_from(event: &Event, byte: Byte) -> Option<Byte> {
    let Work::Dma { .. } = event.work else { return None };
    let target = event.touched().iter().find(|access| access.write)?;
    let source = event.touched().iter().find(|access| !access.write)?;
    let position = position(target, byte)?;
    let (width, pitch) = runs(source)?;
    Some(Byte { space: source.space, at: source.lo + position / width * pitch + position % width })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(write: bool, lo: u64, hi: u64, bytes: u64, runs: u64) -> Access {
        Access { space: if write { Space::Dram } else { Space::Sram }, write, lo, hi, bytes, runs }
    }

    #[test]
    fn bytes_between_runs_are_not_stored() {
        // Three runs of 4 bytes, 16 apart.
        let store = access(true, 100, 136, 12, 3);
        let at = |at| position(&store, Byte { space: Space::Dram, at });
        assert_eq!(
            [at(100), at(103), at(104), at(116), at(135), at(136)],
            [Some(0), Some(3), None, Some(4), Some(11), None]
        );
        assert_eq!(position(&store, Byte { space: Space::Sram, at: 100 }), None);
    }

    #[test]
    fn copies_are_followed_byte_by_byte() {
        let mut event = Event::new();
        event.work = Work::Dma { bytes: 12, runs: 3, tag: 0 };
        event.access[0] = access(false, 1000, 1012, 12, 1);
        event.access[1] = access(true, 100, 136, 12, 3);
        event.accesses = 2;
        let from = copied_from(&event, Byte { space: Space::Dram, at: 117 });
        assert_eq!(from, Some(Byte { space: Space::Sram, at: 1005 }));
        event.work = Work::None;
        assert_eq!(copied_from(&event, Byte { space: Space::Dram, at: 117 }), None);
    }
}
