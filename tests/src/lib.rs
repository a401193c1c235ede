//! Helpers of the kernel tests and benchmarks.

pub mod harness;
pub mod packets;
