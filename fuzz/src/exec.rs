#![no_main]
//! See `exec` of targets.rs.

mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::exec(data));
