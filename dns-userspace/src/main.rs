//! The `hopzero` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hopzero::cli::main()
}
