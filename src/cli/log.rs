//! What is logged, and how lines look.

use std::{fmt, str::FromStr};

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The log.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How log lines look.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "DEVICECERT_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,

    /// What is logged: error, warn, info, debug or trace, or a tracing filter such as `info,kube=debug`.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "DEVICECERT_LOG_LEVEL",
        default_value = "info"
    )]
    log_level: LogLevel,
}

impl LogArgs {
    /// How lines look, and which there are.
    pub fn format_and_level(&self) -> (LogFormat, &LogLevel) {
        (self.log_format, &self.log_level)
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which lines are logged: a tracing filter. Unlike one, it takes no lone word but a level: `EnvFilter` takes a misspelt level
/// for the name of a target, and then logs nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    /// The filter.
    pub fn filter(&self) -> EnvFilter {
        // `FromStr` has checked it.
        EnvFilter::new(&self.0)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why text is no log level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} is no level: write error, warn, info, debug, trace or off, for all or for a part of the program: info,kube=debug"
)]
pub struct LogLevelError {
    part: String,
}

impl FromStr for LogLevel {
    type Err = LogLevelError;

    fn from_str(text: &str) -> Result<Self, LogLevelError> {
        let refused = |part: &str| LogLevelError { part: part.into() };
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        for part in &parts {
            let (_, level) = part.rsplit_once('=').unwrap_or(("", part));
            if level.is_empty() || level.parse::<LevelFilter>().is_err() {
                return Err(refused(part));
            }
        }
        let filter = parts.join(",");
        EnvFilter::try_new(&filter).map_err(|_| refused(&filter))?;
        Ok(Self(filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_a_filter_is_taken() {
        for text in ["info", "WARN", "off", "devicecert=debug,info"] {
            assert_eq!(text.parse(), Ok(LogLevel(text.into())));
        }
        assert_eq!(
            "info, kube=trace".parse(),
            Ok(LogLevel("info,kube=trace".into()))
        );
    }

    #[test]
    fn a_misspelt_level_is_refused_with_the_levels() {
        for (text, part) in [
            ("loud", "loud"),
            ("info,kube", "kube"),
            ("info,kube=loud", "kube=loud"),
            ("", ""),
            ("info,", ""),
        ] {
            let error = text.parse::<LogLevel>().unwrap_err();
            assert_eq!(error.part, part, "{text}");
            let words = error.to_string();
            assert!(
                words.contains("error, warn, info, debug, trace or off"),
                "{words}"
            );
        }
    }
}
