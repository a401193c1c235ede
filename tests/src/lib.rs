//! Helpers of the kernel tests and benchmarks.
