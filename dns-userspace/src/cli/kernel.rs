//! `hopzero kernel off` and `on`: what a running daemon's programs answer, at once.

use std::{fmt::Write as _, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use crate::{
    control,
    kernel::{HookSwitch, Switch, Switched, Target},
};

const AFTER_HELP: &str = "\
Examples:
  Answer nothing in the kernel; every query goes where it would go without hopzero:
    hopzero kernel off

  Only the names of a zone, or only the queries that come in by XDP:
    hopzero kernel off --zone cluster.local
    hopzero kernel off --hook xdp

  Answer everything again:
    hopzero kernel on

What is off passes, and is counted as switched_off in `hopzero stats`, which shows as hooks_off and
zones_off what is off. It holds from the next packet on until the daemon ends: one that starts has
everything on. The daemon's own socket answers as before.

Exit status: 0, 1 when no daemon answers or it refuses, 2 on a wrong command line.";

/// Switch answering in the kernel off or on, at once.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Without --zone and --hook: off switches all hooks off, on switches all hooks and zones on.
    #[arg(value_enum)]
    state: State,

    /// Only names of this zone, one of the daemon's --zone and --reverse-zone.
    #[arg(long, value_name = "NAME", conflicts_with = "hook")]
    zone: Option<String>,

    /// Only this hook, on all devices.
    #[arg(long, value_enum)]
    hook: Option<HookSwitch>,

    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = control::PATH_DEFAULT)]
    control: PathBuf,

    /// Print what is off now as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// Pass
    Off,
    /// Answer
    On,
}

pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let target = match (args.zone, args.hook) {
        (Some(zone), _) => Target::Zone(zone),
        (None, Some(hook)) => Target::Hook(hook),
        (None, None) => Target::All,
    };
    let on = args.state == State::On;
    let off = control::switch(&args.control, Switch { on, target })?;
    let text = if args.json {
        serde_json::to_string_pretty(&off)? + "\n"
    } else {
        sentence(&off)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What is off, in words.
fn sentence(off: &Switched) -> String {
    if off.hooks.is_empty() && off.zones.is_empty() {
        return "the kernel answers: nothing is switched off\n".to_owned();
    }
    let mut text = String::new();
    for hook in &off.hooks {
        let name = hook.to_possible_value();
        let name = name.as_ref().map_or("", |name| name.get_name());
        // Writing to a string does not fail.
        let _ = writeln!(text, "hook {name} is off");
    }
    for zone in &off.zones {
        let _ = writeln!(text, "zone {zone} is off");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_said() {
        let off = |hooks: &[HookSwitch], zones: &[&str]| Switched {
            hooks: hooks.to_vec(),
            zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        };
        assert!(sentence(&off(&[], &[])).contains("nothing is switched off"));
        assert_eq!(
            sentence(&off(&[HookSwitch::Xdp, HookSwitch::Tc], &["cluster.local"])),
            "hook xdp is off\nhook tc is off\nzone cluster.local is off\n"
        );
    }
}
