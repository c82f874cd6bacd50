//! RSA keys that can be factored: the fingerprint of ROCA (CVE-2017-15361).
//!
//! A library in chips of Infineon made primes of the form k·M + (65537^a mod M), where M is the product of the first
//! primes. So the modulus N is a power of 65537 modulo M, thus modulo each of these primes, with one exponent for all; that
//! is next to impossible by chance. (M. Nemec, M. Sys, P. Svenda, D. Klinec, V. Matyas: The Return of Coppersmith's Attack,
//! CCS 2017, §2.)

/// The odd primes of the smallest M that was used, which divide the bigger ones. (2 tells nothing: N is odd.)
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

const GENERATOR: u32 = 65_537;

/// All exponents of 65537 that give a residue: `exponent` plus any multiple of `order`.
#[derive(Clone, Copy)]
struct Logarithm {
    exponent: u32,
    order: u32,
}

/// True if an RSA modulus (big-endian) has the fingerprint.
pub(super) fn is_vulnerable(modulus: &[u8]) -> bool {
    let logarithms: Option<Vec<Logarithm>> = PRIMES
        .iter()
        .map(|&prime| logarithm(residue(modulus, prime), prime))
        .collect();
    // One exponent fits all of them if it fits every two (Chinese remainder theorem).
    logarithms.is_some_and(|all| {
        all.iter()
            .enumerate()
            .all(|(position, a)| all[position..].iter().all(|b| agree(*a, *b)))
    })
}

fn residue(number: &[u8], prime: u32) -> u32 {
    number
        .iter()
        .fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime)
}

/// The logarithm to the base 65537 modulo a prime below 2⁸, if there is one.
fn logarithm(of: u32, prime: u32) -> Option<Logarithm> {
    let powers = std::iter::successors(Some(1), |power| Some(power * (GENERATOR % prime) % prime));
    let order = 1 + powers
        .clone()
        .skip(1)
        .take_while(|&power| power != 1)
        .count();
    let exponent = powers.take(order).position(|power| power == of)?;
    // Both are below the prime.
    Some(Logarithm {
        exponent: exponent as u32,
        order: order as u32,
    })
}

fn agree(a: Logarithm, b: Logarithm) -> bool {
    a.exponent
        .abs_diff(b.exponent)
        .is_multiple_of(greatest_common_divisor(a.order, b.order))
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{PublicKeyError, SubjectPublicKey, fixtures};

    /// A 2048-bit modulus out of a chip, published by the discoverers (github.com/crocs-muni/roca, mod03.txt).
    const VULNERABLE: &str = "9dcd7420e420c270a68060eb8b5aa7457a9f6648f86fafed2775cc1f79ae962f1e63f1b9e51c55f9ea6fdc7332e9b0058c9ff2eb1fc89855029cf6aafe21e689feb38ac9ffb12f1ce371bb5d0e9aae64161abce74b4244bf68f1edb4411f756a097c8929c14740245ea355f8332d1aa36bb50c7dcb4505da8de02e4e53d38f8df06097da7524df0df93db48eac8cc4af2d3a16257eb2b2adca6ba464e5974fa92550d31b1babf161e7692d00b86e3dd886ecab4abfbe1a8f8cc263ff4af55cdb45f4249a5193925f5e983d762f0b6800943eb0267b08f42ed311ce1f5c86eacbc8ce4d3cb7a2fee1ef5641423a1cf4114e5ecf50034a60a412523af9e6f4aa11";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|position| u8::from_str_radix(&hex[2 * position..2 * position + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn a_published_vulnerable_key_is_refused_in_words() {
        let error =
            SubjectPublicKey::from_spki_der(&fixtures::rsa_spki(&bytes(VULNERABLE))).unwrap_err();
        assert_eq!(error, PublicKeyError::Roca);
        assert!(error.to_string().contains("CVE-2017-15361"), "{error}");
    }

    #[test]
    fn the_neighbours_of_a_vulnerable_modulus_are_not_blamed() {
        for change in [2, 4, 0x80] {
            let mut modulus = bytes(VULNERABLE);
            modulus[255] ^= change;
            assert!(!is_vulnerable(&modulus), "{change}");
        }
    }

    #[test]
    fn healthy_keys_are_accepted() {
        for _ in 0..3 {
            let spki =
                fixtures::openssl_spki(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
            SubjectPublicKey::from_spki_der(&spki).unwrap();
        }
    }

    #[test]
    fn an_exponent_that_fits_each_prime_but_not_all_together_is_chance() {
        let logarithm = |exponent, order| Logarithm { exponent, order };
        assert!(agree(logarithm(3, 4), logarithm(7, 10)));
        assert!(!agree(logarithm(3, 4), logarithm(6, 10)));
        assert!(agree(logarithm(0, 3), logarithm(1, 2)));
    }
}
