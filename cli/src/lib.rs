//! The `millstream` command line: the demo, and a look into topics.
//!
//! Thin by intent: a command reads its arguments, opens a log through the processor's seam, and prints. Results go to
//! standard output, everything else (progress, logs, errors) to standard error, so that a pipe carries results only.
#![deny(clippy::indexing_slicing)]
#![deny(missing_docs)]

pub mod args;
pub mod cat;
pub mod demo;
pub mod describe;
pub mod failure;
pub mod format;
pub mod logging;
pub mod memory;
pub mod place;
pub mod reader;
pub mod stop;
pub mod topics;

use std::io::{self, BufWriter};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::failure::Failure;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    memory::keep_small();
    let args = Args::parse();
    logging::start(args.verbose);
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough: `millstream cat flights.raw | head`.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("millstream: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    match command {
        Command::Demo(options) => demo::run(&options, &mut out),
        Command::Topics(options) => topics::run(&options, &mut out),
        Command::Cat(options) => cat::run(&options, &mut out),
        Command::Describe => describe::run(&mut out),
    }
}
