//! Helpers of the kernel tests and benchmarks.

pub mod packets;
