//! Trials: of the tilings of a short product that the estimate can hardly tell apart, the engine decides.
//!
//! Fills, latencies and the order of DRAM's commands are some percent of what a long program takes, up to a third of what a
//! short one does. A short one is quick to simulate, so its best few tilings are.

use super::kernels::Kernels;
use super::link::{self, Bodies, BodyKey};
use super::lower::{Call, Lowered};
use super::tile::{Product, Tiling, choose, rivals};
use crate::diag::Result;
use crate::isa::Object;
use crate::machine::Machine;
use std::cell::RefCell;
use std::sync::Arc;

/// Cycles of a program on a machine, by the engine; `None` if it traps or does not end in time.
pub type Timer = fn(&Arc<Object>, &Machine) -> Option<u64>;

/// What is short: at most so many cycles, and bytes of DRAM.
const SHORT: [u64; 2] = [1 << 17, 7 << 18];

/// A tiling that asks for more of DRAM, or of the multiplying unit, is worth it if it takes a hundredth less.
const WORTH: u64 = 100;

/// Whatever it takes to make a program of one call, and to time it.
pub struct Trial<'a> {
    /// The engine.
    pub timer: Timer,
    /// The kernels to link.
    pub kernels: &'a Kernels,
    /// Bodies of them, and what was tried before.
    pub bodies: &'a RefCell<&'a mut Bodies>,
}

/// All of a product that counts for what it takes, but for where its operands lie.
#[derive(Debug, PartialEq)]
pub struct Tried {
    product: Product,
    body: BodyKey,
    /// Whether there are a bias and a residual; the activation.
    then: [u64; 3],
}

impl Tried {
    fn of(product: &Product, call: &Call) -> Tried {
        let value = |name| call.params.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value);
        let then = [value("bias").min(1), value("res").min(1), value("act")];
        Tried { product: *product, body: link::body_key(call), then }
    }
}

/// The tiling of a product: of a short one that which takes the engine the shortest, if there is a `trial` of what `call` makes
/// of them, of others that with the least estimate.
///
/// # Errors
/// Those of [`choose`].
pub fn tiling(
    trial: Option<&Trial<'_>>,
    machine: &Machine,
    product: &Product,
    room: u64,
    call: impl Fn(&Tiling) -> Result<Call>,
) -> Result<Tiling> {
    let first = choose(machine, product, room)?;
    let short = [first.cycles, product.dram_bytes(first.mt)].iter().zip(SHORT).all(|(much, most)| *much <= most);
    // Tables of entropy codes and bits of masks decide what follows, and a trial has neither.
    let (Some(trial), true) = (trial, short && product.coded.is_none() && product.mask_row == 0) else {
        return Ok(first);
    };
    let call_of_first = call(&first)?;
    let tried = Tried::of(product, &call_of_first);
    let known = |bodies: &Bodies| bodies.tried.iter().find(|(of, _)| *of == tried).map(|(_, best)| *best);
    if let Some(best) = known(&trial.bodies.borrow()) {
        return Ok(best);
    }
    let best = trial.best(machine, first, call_of_first, &rivals(machine, product, room, &first), call);
    trial.bodies.borrow_mut().tried.push((tried, best));
    Ok(best)
}

impl Trial<'_> {
    /// The first tiling, or a rival that is worth it.
    fn best(
        &self,
        machine: &Machine,
        first: Tiling,
        call_of_first: Call,
        rivals: &[Tiling],
        call: impl Fn(&Tiling) -> Result<Call>,
    ) -> Tiling {
        let Some(known) = (if rivals.is_empty() { None } else { self.cycles(machine, call_of_first) }) else {
            return first;
        };
        let mut best = (known - known / WORTH, first);
        for rival in rivals {
            // Some tilings have no kernel.
            match call(rival).ok().and_then(|call| self.cycles(machine, call)) {
                Some(cycles) if cycles < best.0 => best = (cycles, *rival),
                _ => {}
            }
        }
        best.1
    }

    fn cycles(&self, machine: &Machine, call: Call) -> Option<u64> {
        let step = Lowered { calls: vec![call], workspace_bytes: 0, macs_dense: 0, loops: Vec::new() };
        let object = link::link(&[step], self.kernels, 0, machine, &mut self.bodies.borrow_mut()).ok()?;
        (self.timer)(&Arc::new(object), machine)
    }
}
