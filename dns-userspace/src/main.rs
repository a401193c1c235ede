//! The `hopzero` command.

fn main() {}
