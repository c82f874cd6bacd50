//! The operator: arguments in, one role started.

use std::process::ExitCode;

use clap::Parser;
use devicecert::cli::{Cli, Role};

/// An enrolment is some hundred small allocations, on whichever thread is free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Cli::parse().role {
        Role::Run(arguments) => devicecert::start(arguments.validate()),
        Role::Controller(arguments) => devicecert::start(arguments.validate()),
        Role::Est(arguments) => devicecert::start(arguments.validate()),
        Role::Crds { output_dir } => devicecert::write_crds(output_dir.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("devicecert-operator: {error}");
            ExitCode::FAILURE
        }
    }
}
