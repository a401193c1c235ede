//! The embedded eBPF object.

/// The object that the build found; `None` if it was built without one.
pub const OBJECT: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/object.rs"));
