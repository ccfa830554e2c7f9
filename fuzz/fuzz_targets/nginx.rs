#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| app_monitor::fuzzing::run("nginx", bytes));
