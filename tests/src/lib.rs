//! Helpers of the kernel tests and benchmarks.

pub mod beside;
pub mod cleanup;
pub mod client;
pub mod daemon;
pub mod harness;
pub mod loaded;
pub mod namespace;
pub mod network;
pub mod node;
pub mod offload;
pub mod packets;
pub mod pins;
pub mod window;
