//! Looks for bytes in the memory of a process.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

/// Something that should, or should not, be found.
pub struct Needle {
    /// What it is.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Needle {
    /// Bytes as they are.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let (name, bytes) = (name.into(), bytes.into());
        assert!(
            bytes.len() >= 16,
            "{name} is too short to be found by its bytes"
        );
        Self { name, bytes }
    }

    /// The number that a private key (PKCS#8 DER of an EC key) is, in both of the orders in which memory has it.
    pub fn of_key(name: &str, pkcs8: &[u8]) -> Vec<Self> {
        // ECPrivateKey ::= SEQUENCE { INTEGER 1, OCTET STRING of 32 bytes, … }, RFC 5915 §3.
        let head = [2, 1, 1, 4, 32];
        let at = pkcs8.windows(5).position(|window| window == head);
        let at = at.expect("a P-256 key") + head.len();
        let scalar = pkcs8[at..at + 32].to_vec();
        let reversed: Vec<u8> = scalar.iter().rev().copied().collect();
        vec![
            Self::new(name, scalar),
            Self::new(format!("{name} (backwards)"), reversed),
        ]
    }

    /// Whether the bytes have it.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        let first = self.bytes[0];
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == first) {
            if rest[at..].starts_with(&self.bytes) {
                return true;
            }
            rest = &rest[at + 1..];
        }
        false
    }
}

/// The names of those that are in the memory of a process.
pub fn in_memory(pid: u32, needles: &[Needle]) -> Vec<&str> {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let (mut read, mut found) = (0, Vec::new());
    // Secrets get into memory that can be written, or into mapped files.
    for line in maps.lines().filter(|line| {
        let (written, file) = (line.contains(" rw"), line.contains('/'));
        written || (file && !line.contains("/devicecert-operator") && !line.contains(".so"))
    }) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        // The kernel's own pages cannot be read.
        let Ok(count) = memory.read_at(&mut bytes, from) else {
            continue;
        };
        read += count;
        for needle in needles {
            if !found.contains(&needle.name.as_str()) && needle.is_in(&bytes[..count]) {
                found.push(&needle.name);
            }
        }
    }
    assert!(read > 1 << 20, "only {read} bytes of memory were read");
    found
}
