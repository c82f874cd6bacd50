//! The characters in values of the ASN.1 string types.

/// The text of a string with this universal tag number; `None` for other types, broken encodings and text with a NUL, which
/// some programs read to the end and others do not.
pub(super) fn characters(tag: u32, content: &[u8]) -> Option<String> {
    let text: String = match tag {
        12 => String::from_utf8(content.to_vec()).ok(),
        // Numeric, Printable, IA5 and Visible; issuers take liberties with the exact sets.
        18 | 19 | 22 | 26 => content
            .is_ascii()
            .then(|| content.iter().map(|&byte| char::from(byte)).collect()),
        // TeletexString is Latin-1 in practice; so do OpenSSL and NSS read it.
        20 => Some(content.iter().map(|&byte| char::from(byte)).collect()),
        28 => wide(content)
            .map(char::from_u32)
            .collect::<Option<String>>()
            .filter(|_| content.len().is_multiple_of(4)),
        30 => {
            let units = content
                .chunks_exact(2)
                .map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
            char::decode_utf16(units)
                .collect::<Result<String, _>>()
                .ok()
                .filter(|_| content.len().is_multiple_of(2))
        }
        _ => None,
    }?;
    (!text.contains('\0')).then_some(text)
}

fn wide(content: &[u8]) -> impl Iterator<Item = u32> + '_ {
    content
        .chunks_exact(4)
        .map(|unit| u32::from_be_bytes([unit[0], unit[1], unit[2], unit[3]]))
}
