//! The table of packets, through the loaded programs.

fn main() {}
