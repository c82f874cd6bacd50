//! What OpenSSL takes for the cryptography that an enrolment cannot do without.

use std::process::Stdio;

use crate::{
    Failure,
    processors::{Processors, command_on},
};

/// OpenSSL's times, in µs.
#[derive(Clone, Copy)]
pub struct Primitives {
    /// ECDSA P-256 signature.
    pub sign: f64,
    /// ECDSA P-256 verification.
    pub verify: f64,
    /// X25519; making a key takes as long as agreeing.
    pub agree: f64,
}

impl Primitives {
    /// Runs `openssl speed` on every processor at once for three seconds: while the server works, its clients work beside it,
    /// and processors that share a core or a power budget slow each other down.
    pub fn measure(processors: &Processors) -> Result<Self, Failure> {
        let output = command_on(&processors.all, "openssl")
            .args(["speed", "-seconds", "1"])
            .args(["-multi", &processors.count.to_string()])
            .args(["ecdsap256", "ecdhx25519"])
            .stderr(Stdio::null())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let micros = |what: &str, from_end: usize| -> Result<f64, Failure> {
            // Before the sums, it prints what each process found.
            let line = text.lines().rfind(|line| line.contains(what));
            let words = line.unwrap_or_default().split_whitespace();
            let word = words.rev().nth(from_end);
            let per_second: f64 = word.ok_or("openssl speed says nothing")?.parse()?;
            Ok(1e6 / per_second * processors.count as f64)
        };
        Ok(Self {
            sign: micros("ecdsa (nistp256)", 1)?,
            verify: micros("ecdsa (nistp256)", 0)?,
            agree: micros("ecdh (X25519)", 0)?,
        })
    }

    /// A full TLS 1.3 handshake (RFC 8446 §2) with a client certificate, as the server does it: its key share is made and
    /// agreed upon, it signs, and it checks the client's CertificateVerify.
    pub fn handshake(self) -> f64 {
        2.0 * self.agree + self.sign + self.verify
    }

    /// A renewal: the CSR's signature and that of the presented certificate are checked, the new one is signed.
    pub fn renewal(self) -> f64 {
        2.0 * self.verify + self.sign
    }
}
