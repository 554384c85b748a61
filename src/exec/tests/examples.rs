//! The examples of the instruction table run: each does what its row says on a machine of every size.

use super::*;
use crate::isa::asm::{Options, Sources, assemble};
use crate::isa::table::ROWS;

#[test]
fn every_example_runs() {
    for row in ROWS {
        let object = assemble(&Sources::single("example", row.example_program()), &Options::default());
        let object = object.unwrap_or_else(|errors| panic!("{}: {errors:?}", row.name));
        let example = row.example_word(object.symbol("target").expect("the label stands there"));
        for vlen_bits in [128, 512, 4096] {
            for mode in [Mode::Functional, Mode::TimingOnly] {
                let mut vm = Vm::new(object.clone(), config(vlen_bits), mode).expect("the example loads");
                let mut event = Event::new();
                loop {
                    let pc = vm.pc();
                    let status = vm.step(&mut event);
                    assert!(status.is_ok(), "{} at VLEN {vlen_bits}: {}", row.name, status.unwrap_err());
                    if pc == example {
                        break;
                    }
                    assert!(event.op != Op::Halt, "{}: the example was not reached", row.name);
                }
                assert_eq!(event.op, row.op);
            }
        }
    }
}
