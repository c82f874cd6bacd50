//! What the same primitives cost in OpenSSL, on this machine at this moment.

use std::process::{Command, Stdio};

use crate::{
    Failure, progress,
    report::{self, Report},
};

/// Runs `openssl speed` for three seconds.
pub async fn measure(report: &mut Report) -> Result<(), Failure> {
    progress("openssl speed");
    let speed = || {
        Command::new("openssl")
            .args(["speed", "-seconds", "1", "ecdsap256", "ecdhx25519"])
            .stderr(Stdio::null())
            .output()
    };
    let output = tokio::task::spawn_blocking(speed).await??;
    let text = String::from_utf8(output.stdout)?;
    // " 256 bits ecdsa (nistp256)   0.0000s   0.0001s  26165.2   8377.3", " 253 bits ecdh (X25519)   0.0001s  17761.3"
    let rates = |what: &str, columns: usize| -> Result<Vec<f64>, Failure> {
        let line = text
            .lines()
            .find(|line| line.contains(what))
            .ok_or_else(|| format!("openssl speed says nothing of {what}"))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(words[words.len() - columns..]
            .iter()
            .map(|word| word.parse())
            .collect::<Result<_, _>>()?)
    };
    let ecdsa = rates("ecdsa (nistp256)", 2)?;
    report.add(&report::SIGN, 1e6 / ecdsa[0]);
    report.add(&report::VERIFY, 1e6 / ecdsa[1]);
    report.add(&report::AGREE, 1e6 / rates("ecdh (X25519)", 1)?[0]);
    Ok(())
}
