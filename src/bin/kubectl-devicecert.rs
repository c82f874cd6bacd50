//! `kubectl devicecert`: the plugin for people.

use std::process::ExitCode;

use clap::Parser;
use devicecert::plugin::Plugin;

fn main() -> ExitCode {
    match devicecert::run_plugin(Plugin::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kubectl devicecert: {error}");
            ExitCode::FAILURE
        }
    }
}
