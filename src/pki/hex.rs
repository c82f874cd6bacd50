//! Bytes as hex digits.

use std::fmt::{Result, Write};

/// Writes two lower-case digits for each byte.
pub(super) fn write(bytes: &[u8], out: &mut impl Write) -> Result {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 0x0f)]);
    for byte in bytes {
        out.write_char(digit(byte >> 4))?;
        out.write_char(digit(*byte))?;
    }
    Ok(())
}

/// Reads digits in either case; `None` for other characters. An odd number lacks its leading zero.
pub(super) fn read(text: &str) -> Option<Vec<u8>> {
    // A byte of a character outside ASCII is no digit.
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let byte = |pair: &[u8]| {
        let value = pair
            .iter()
            .try_fold(0, |sum, byte| Some(sum * 16 + digit(byte)?));
        // Two hex digits make a byte.
        value.map(|value| value as u8)
    };
    text.as_bytes().rchunks(2).rev().map(byte).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        let mut text = String::new();
        super::write(&[0, 0x0f, 0xa0, 0xff], &mut text).unwrap();
        assert_eq!(text, "000fa0ff");
        assert_eq!(super::read("000FA0ff"), Some(vec![0, 0x0f, 0xa0, 0xff]));
    }

    #[test]
    fn an_odd_number_of_digits_lacks_the_leading_zero() {
        assert_eq!(super::read("fa0"), Some(vec![0x0f, 0xa0]));
        assert_eq!(super::read(""), Some(vec![]));
        assert_eq!(super::read("0g"), None);
        assert_eq!(super::read("é"), None);
    }
}
