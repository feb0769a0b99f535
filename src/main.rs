//! The `granary` program: reads the command line and runs one command.

mod cli;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Bodies, rows and pages are asked for on one thread and given back on another, for which glibc's
/// allocator takes locks and puts neighbours together again and again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
