#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailferry_proxy::fuzz::header(input));
