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
    let digits: Vec<u32> = text
        .chars()
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let pairs = digits.rchunks(2).rev();
    // Two hex digits make a byte.
    Some(
        pairs
            .map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit) as u8)
            .collect(),
    )
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
    }
}
