//! What the verifier says of a program (R6).

use std::process::Command;

use anyhow::Context as _;

use crate::{
    figures::{Figures, Target},
    subject::Hopzero,
};

/// Instructions that were processed, and stack, of each program: no noise at all.
pub fn measure(hopzero: &mut Hopzero, figures: &mut Figures) -> anyhow::Result<()> {
    for (label, program) in [("xdp", "hopzero_xdp"), ("tc", "hopzero_tc")] {
        let program = hopzero.loaded.kernel.ebpf().program(program);
        let info = program.context("no program")?.info()?;
        let instructions = info
            .verified_instruction_count()
            .context("Linux 5.16 is needed")?;
        figures.add(
            &format!("R6.{label}.insns"),
            &format!("{instructions} instructions verified, of 1,000,000"),
            "ratio",
            Target::AtMost(0.25),
            vec![f64::from(instructions) / 1e6],
        );
        let stack = stack_bytes(info.id())?;
        figures.add(
            &format!("R6.{label}.stack"),
            &format!("{stack} bytes of stack, of 512"),
            "ratio",
            Target::AtMost(0.75),
            vec![f64::from(stack) / 512.0],
        );
    }
    Ok(())
}

/// Bytes of stack of a program and the deepest of its functions, from the disassembly: each
/// function's lowest access below its frame pointer, rounded up to 16 as the kernel does for JITs.
fn stack_bytes(program_id: u32) -> anyhow::Result<u32> {
    let output = Command::new("bpftool")
        .args(["prog", "dump", "xlated", "id", &program_id.to_string()])
        .output()
        .context("cannot run bpftool")?;
    let mut functions = vec![0u32];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // `i32 hopzero_tc(struct __sk_buff * ctx):` starts a function; instructions are indented numbers.
        let is_instruction = line.trim_start().starts_with(|c: char| c.is_ascii_digit());
        if !is_instruction && line.ends_with(':') && functions.last() != Some(&0) {
            functions.push(0);
        }
        if let Some(depth) = lowest_access(line)
            && let Some(function) = functions.last_mut()
        {
            *function = depth.max(*function);
        }
    }
    let rounded = |depth: &u32| depth.next_multiple_of(16);
    let (main, called) = functions.split_first().context("no function")?;
    Ok(rounded(main) + called.iter().map(rounded).max().unwrap_or(0))
}

/// `*(u64 *)(r10 -64) = r3`, `r2 = *(u64 *)(r10 -24)`
fn lowest_access(line: &str) -> Option<u32> {
    let (_, after) = line.split_once("(r10 -")?;
    after.split(')').next()?.parse().ok()
}

#[test]
fn reads_a_disassembly() {
    assert_eq!(lowest_access("  12: (7b) *(u64 *)(r10 -64) = r3"), Some(64));
    assert_eq!(lowest_access("  13: (bf) r3 = r4"), None);
}
