//! The operator: arguments in, one role started.

use std::process::ExitCode;

use clap::Parser;
use devicecert::cli::{Cli, Role};

fn main() -> ExitCode {
    let result = match Cli::parse().role {
        Role::Run(arguments) => devicecert::start(*arguments),
        Role::Crds => devicecert::print_crds(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("devicecert-operator: {error}");
            ExitCode::FAILURE
        }
    }
}
