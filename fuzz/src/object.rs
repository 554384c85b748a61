#![no_main]
//! See `object` of targets.rs.

mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::object(data));
