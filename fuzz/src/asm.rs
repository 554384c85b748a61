#![no_main]
//! See `asm` of targets.rs.

mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::asm(data));
