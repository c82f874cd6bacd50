//! Bytes as lower-case hex digits.

use std::fmt::{Result, Write};

/// Writes two digits for each byte.
pub(super) fn write(bytes: &[u8], out: &mut impl Write) -> Result {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 0x0f)]);
    for byte in bytes {
        out.write_char(digit(byte >> 4))?;
        out.write_char(digit(*byte))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        let mut text = String::new();
        super::write(&[0, 0x0f, 0xa0, 0xff], &mut text).unwrap();
        assert_eq!(text, "000fa0ff");
    }
}
