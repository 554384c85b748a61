//! Element-wise f32 instructions. Elements of the destination from vl on become +0.

use super::Vm;
use super::event::{Event, EwKind, Work};
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;
use crate::isa::table::{Act, Ew, Sfu};
use crate::num::func::{self, canonical};
use crate::num::{gradient, trig};

impl Vm {
    /// vl, as the number of f32 elements of a register.
    ///
    /// # Errors
    /// SHAPE if vl was set for narrower elements.
    pub(super) fn f32_elements(&self) -> Result<u32> {
        if self.vl * 32 > self.config.vlen_bits {
            let message =
                format!("{} elements of fp32 do not fit a register of {} bits", self.vl, self.config.vlen_bits);
            return Err(Trap::new(TrapKind::Shape, message));
        }
        Ok(self.vl)
    }

    /// Writes vl elements of register `to`, each computed from its index.
    fn write_elements(&mut self, to: u8, vl: u32, value: impl Fn(&super::Vectors, usize) -> f32) {
        for i in 0..vl as usize {
            let value = canonical(value(&self.v, i));
            self.v.set_f32(to, i, value);
        }
        self.v.zero_f32_from(to, vl as usize);
    }
}

/// Two- and three-operand arithmetic.
pub fn ew(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let op = Ew::from_code(inst.mode.into()).expect("decode checks sub-operations");
    let kind = match op {
        Ew::Addv | Ew::Subv | Ew::Minv | Ew::Maxv => EwKind::Add,
        Ew::Mulv => EwKind::Mul,
        Ew::Divv => EwKind::Div,
        Ew::Fmav => EwKind::Fma,
    };
    let vl = vm.f32_elements()?;
    event.work = Work::Elementwise { kind, elements: vl };
    if vm.values {
        let (a, b, c) = (inst.rs1, inst.rs2, inst.rs3);
        vm.write_elements(inst.rd, vl, |v, i| {
            let (x, y) = (v.f32(a, i), v.f32(b, i));
            match op {
                Ew::Addv => x + y,
                Ew::Subv => x - y,
                Ew::Mulv => x * y,
                Ew::Divv => x / y,
                Ew::Minv => func::min(x, y),
                Ew::Maxv => func::max(x, y),
                Ew::Fmav => func::fma(x, y, v.f32(c, i)),
            }
        });
    }
    Ok(())
}

/// The same f32 in all elements.
pub fn bcast(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let vl = vm.f32_elements()?;
    event.work = Work::Elementwise { kind: EwKind::Copy, elements: vl };
    if vm.values {
        let bits = vm.x.get(inst.rs1) as u32;
        for i in 0..vl as usize {
            vm.v.set_f32(inst.rd, i, f32::from_bits(bits));
        }
        vm.v.zero_f32_from(inst.rd, vl as usize);
    }
    Ok(())
}

/// Positions of the elements.
pub fn idx(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let vl = vm.f32_elements()?;
    event.work = Work::Elementwise { kind: EwKind::Convert, elements: vl };
    if vm.values {
        let start = vm.x.get(inst.rs1) as i64;
        // One rounding: the sum is exact in 128 bits.
        vm.write_elements(inst.rd, vl, |_, i| (i128::from(start) + i as i128) as f32);
    }
    Ok(())
}

/// Special functions.
pub fn sfu(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let function = match Sfu::from_code(inst.mode.into()).expect("decode checks enumerations") {
        Sfu::Exp => func::exp,
        Sfu::Log => func::log,
        Sfu::Rsqrt => func::rsqrt,
        Sfu::Sqrt => func::sqrt,
        Sfu::Recip => func::recip,
        Sfu::Tanh => func::tanh,
        Sfu::Sigmoid => func::sigmoid,
        Sfu::Sin => trig::sin,
        Sfu::Cos => trig::cos,
    };
    let vl = vm.f32_elements()?;
    by_element(vm, inst, event, Work::Elementwise { kind: EwKind::Special, elements: vl }, function)
}

/// Activations. Those that bend at 0 are a comparison, which is priced as an addition, and a square: no special functions.
pub fn act(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let vl = vm.f32_elements()?;
    let smooth = Work::Elementwise { kind: EwKind::Special, elements: vl };
    let (function, work): (fn(f32) -> f32, _) = match activation(inst) {
        Act::Relu => (func::relu, Work::Elementwise { kind: EwKind::Add, elements: vl }),
        Act::Relu2 => (func::relu2, Work::Elementwise { kind: EwKind::Mul, elements: 2 * vl }),
        Act::Gelu => (func::gelu, smooth),
        Act::Silu => (func::silu, smooth),
        Act::Gelut => (func::gelut, smooth),
    };
    by_element(vm, inst, event, work, function)
}

/// Gradients through activations.
pub fn act_g(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let vl = vm.f32_elements()?;
    let smooth = Work::Elementwise { kind: EwKind::Special, elements: 2 * vl };
    let (slope, work): (fn(f32) -> f32, _) = match activation(inst) {
        Act::Relu => (gradient::relu, Work::Elementwise { kind: EwKind::Mul, elements: vl }),
        Act::Relu2 => (gradient::relu2, Work::Elementwise { kind: EwKind::Mul, elements: 2 * vl }),
        // The function of the activation, and a second one or a division.
        Act::Gelu => (gradient::gelu, smooth),
        Act::Silu => (gradient::silu, smooth),
        Act::Gelut => (gradient::gelut, smooth),
    };
    event.work = work;
    if vm.values {
        let (at, of) = (inst.rs1, inst.rs2);
        vm.write_elements(inst.rd, vl, |v, i| v.f32(of, i) * slope(v.f32(at, i)));
    }
    Ok(())
}

fn activation(inst: &Inst) -> Act {
    Act::from_code(inst.mode.into()).expect("decode checks enumerations")
}

/// A function of each element, which costs `work`.
fn by_element(vm: &mut Vm, inst: &Inst, event: &mut Event, work: Work, function: fn(f32) -> f32) -> Result<()> {
    let vl = vm.f32_elements()?;
    event.work = work;
    if vm.values {
        let from = inst.rs1;
        vm.write_elements(inst.rd, vl, |v, i| function(v.f32(from, i)));
    }
    Ok(())
}

/// Rotates pairs of elements of two registers.
pub fn rope(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    if inst.rd.max(inst.rs1).max(inst.rs2) == 31 {
        return Err(Trap::new(TrapKind::Shape, "rope works on register pairs; v31 has no next register"));
    }
    let vl = vm.f32_elements()?;
    event.work = Work::Elementwise { kind: EwKind::Mul, elements: 6 * vl };
    if vm.values {
        let (d, a, b) = (inst.rd, inst.rs1, inst.rs2);
        for i in 0..vl as usize {
            let (x1, x2, cos, sin) = (vm.v.f32(a, i), vm.v.f32(a + 1, i), vm.v.f32(b, i), vm.v.f32(b + 1, i));
            vm.v.set_f32(d, i, canonical(x1 * cos - x2 * sin));
            vm.v.set_f32(d + 1, i, canonical(x2 * cos + x1 * sin));
        }
        vm.v.zero_f32_from(d, vl as usize);
        vm.v.zero_f32_from(d + 1, vl as usize);
    }
    Ok(())
}

/// Elements of a Hadamard transform.
const RUN: usize = 16;

/// Hadamard transforms of runs of 16 elements with signs.
pub fn had(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let vl = vm.f32_elements()?;
    if !(vl as usize).is_multiple_of(RUN) {
        let message = format!("had transforms runs of {RUN} elements, vl is {vl}; shorter vectors use addv and subv");
        return Err(Trap::new(TrapKind::Shape, message));
    }
    event.work = Work::Elementwise { kind: EwKind::Add, elements: 4 * vl };
    if vm.values {
        for start in (0..vl as usize).step_by(RUN) {
            let mut run: [f32; RUN] = std::array::from_fn(|i| {
                let (x, sign) = (vm.v.f32(inst.rs1, start + i), vm.v.f32(inst.rs2, start + i));
                if sign.is_sign_negative() { -x } else { x }
            });
            butterflies(&mut run);
            for (i, x) in run.into_iter().enumerate() {
                vm.v.set_f32(inst.rd, start + i, canonical(0.25 * x));
            }
        }
        vm.v.zero_f32_from(inst.rd, vl as usize);
    }
    Ok(())
}

/// Sums and differences over distances 1, 2, 4, 8.
fn butterflies(run: &mut [f32; RUN]) {
    for distance in [1, 2, 4, 8] {
        for i in (0..RUN).filter(|i| i & distance == 0) {
            let (a, b) = (run[i], run[i + distance]);
            (run[i], run[i + distance]) = (a + b, a - b);
        }
    }
}
