//! SHA-256 of a key, certificate or request: what we call it by.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

use super::hex;

/// A SHA-256 digest. Written as 64 lower-case hex digits; read in either case, with or without colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Why text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is a SHA-256 digest: write its 64 hex digits")]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = [0; 32];
        // SHA-256 has 32 bytes.
        sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(sum)
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits: String = text.chars().filter(|&c| c != ':').take(65).collect();
        let bytes = hex::read(&digits).filter(|_| digits.len() == 64);
        let sum = bytes.and_then(|bytes| bytes.try_into().ok());
        sum.map(Self).ok_or(FingerprintError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4 example.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn text_is_lower_case_hex_and_reads_back() {
        let fingerprint = Fingerprint::of(b"abc");
        assert_eq!(fingerprint.to_string(), ABC);
        assert_eq!(ABC.parse(), Ok(fingerprint));
        assert_eq!(ABC.to_uppercase().parse(), Ok(fingerprint));
    }

    #[test]
    fn other_text_is_none() {
        for bad in [
            "",
            &ABC[1..],
            &format!("{ABC}0"),
            &ABC.replace('b', "g"),
            &ABC.replace("a7", "ä"),
        ] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(FingerprintError), "{bad}");
        }
    }

    #[test]
    fn openssl_colons_are_ignored() {
        let pairs: Vec<_> = ABC
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap())
            .collect();
        assert_eq!(pairs.join(":").parse(), Ok(Fingerprint::of(b"abc")));
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        for text in [
            "",
            "ab",
            &ABC[1..],
            &format!("{ABC}0"),
            &format!("{ABC}00"),
            &ABC.replace('a', "g"),
            &"é".repeat(32),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text}");
        }
    }
}
