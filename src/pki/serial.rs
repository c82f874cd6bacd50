//! Serial numbers of certificates.

use std::fmt;
use std::str::FromStr;

use der::Tag;
use der::asn1::AnyRef;

use super::hex;

/// Longest serial that RFC 5280 §4.1.2.2 lets a certificate have, in bytes.
const MAX_BYTES: usize = 20;

/// A serial number: the content of the INTEGER in the certificate, so foreign ones stay what they are.
///
/// Written as lower-case hex without colons and without the sign byte, as `openssl x509 -serial` does but for the case; a
/// (forbidden, but existing) negative one gets a `-` in front of its two's complement. Read in either case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial {
    /// Big endian two's complement, as short as possible.
    content: Vec<u8>,
}

/// Why bytes or text are no serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// Not hex digits.
    #[error(
        "a serial number is written as hex digits: copy it from `kubectl get` or `openssl x509 -serial`"
    )]
    Syntax,
    /// Longer than 20 bytes.
    #[error(
        "the serial number has more than {MAX_BYTES} bytes (RFC 5280 §4.1.2.2): have the certificate issued again"
    )]
    TooLong,
}

impl Serial {
    /// A fresh serial number from 16 random bytes.
    ///
    /// The top bit is cleared (positive) and the next one set (never zero, always 16 bytes), which leaves 126 random bits;
    /// CAs must have 64.
    pub fn from_random(mut random: [u8; 16]) -> Self {
        random[0] = random[0] & 0x3f | 0x40;
        Self {
            content: random.to_vec(),
        }
    }

    /// A serial number from the content of a DER INTEGER.
    ///
    /// # Errors
    /// [`SerialError::TooLong`] beyond 20 bytes, [`SerialError::Syntax`] for no bytes or superfluous leading ones.
    pub fn from_integer(content: &[u8]) -> Result<Self, SerialError> {
        if content.len() > MAX_BYTES {
            return Err(SerialError::TooLong);
        }
        if content.is_empty() || content != shortest(content) {
            return Err(SerialError::Syntax);
        }
        Ok(Self {
            content: content.to_vec(),
        })
    }

    /// The content of the DER INTEGER: big endian two's complement.
    pub fn as_bytes(&self) -> &[u8] {
        &self.content
    }

    /// True for what RFC 5280 §4.1.2.2 asks of issuers: positive and not zero.
    pub fn is_positive(&self) -> bool {
        !self.is_negative() && self.content != [0]
    }

    fn is_negative(&self) -> bool {
        self.content[0] & 0x80 != 0
    }

    pub(super) fn to_asn1(&self) -> der::Result<AnyRef<'_>> {
        AnyRef::new(Tag::Integer, &self.content)
    }
}

/// The same two's complement without superfluous sign bytes.
fn shortest(mut content: &[u8]) -> &[u8] {
    while let [0x00, next, ..] | [0xff, next, ..] = content {
        if (content[0] ^ next) & 0x80 != 0 {
            break;
        }
        content = &content[1..];
    }
    content
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_negative() {
            f.write_str("-")?;
        }
        let digits = match self.content.as_slice() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        hex::write(digits, f)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (None, digits),
            None => (Some(0), text),
        };
        if digits.len() > 2 * (MAX_BYTES + 1) {
            return Err(SerialError::TooLong);
        }
        let bytes = hex::read(digits).ok_or(SerialError::Syntax)?;
        let content: Vec<u8> = sign.into_iter().chain(bytes).collect();
        if digits.is_empty() || (sign.is_none() && content[0] & 0x80 == 0) {
            return Err(SerialError::Syntax);
        }
        Self::from_integer(shortest(&content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_fresh_serial_is_positive_and_16_bytes(random: [u8; 16]) {
            let serial = Serial::from_random(random);
            prop_assert!(serial.is_positive());
            prop_assert_eq!(serial.as_bytes().len(), 16);
            prop_assert_eq!(serial.to_string().len(), 32);
            prop_assert_eq!(&serial.as_bytes()[1..], &random[1..]);
        }

        #[test]
        fn text_of_any_serial_reads_back(content in proptest::collection::vec(any::<u8>(), 1..=20)) {
            let serial = Serial::from_integer(shortest(&content)).unwrap();
            prop_assert_eq!(serial.to_string().parse(), Ok(serial.clone()));
            prop_assert_eq!(serial.to_string().to_uppercase().parse(), Ok(serial));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = text.parse::<Serial>();
        }
    }

    #[test]
    fn text_has_no_sign_byte() {
        let text = |content: &[u8]| Serial::from_integer(content).unwrap().to_string();
        assert_eq!(text(&[0]), "00");
        assert_eq!(text(&[1]), "01");
        assert_eq!(text(&[0, 0xff]), "ff");
        assert_eq!(text(&[0xff]), "-ff");
    }

    #[test]
    fn more_than_20_bytes_or_padding_is_refused() {
        assert_eq!(Serial::from_integer(&[1; 21]), Err(SerialError::TooLong));
        assert_eq!("f".repeat(40).parse::<Serial>(), Err(SerialError::TooLong));
        assert_eq!("1".repeat(43).parse::<Serial>(), Err(SerialError::TooLong));
        assert_eq!(Serial::from_integer(&[]), Err(SerialError::Syntax));
        assert_eq!(Serial::from_integer(&[0, 1]), Err(SerialError::Syntax));
        for text in ["", "-", "xyz", "01:02", "-7f"] {
            assert_eq!(text.parse::<Serial>(), Err(SerialError::Syntax), "{text}");
        }
    }
}
