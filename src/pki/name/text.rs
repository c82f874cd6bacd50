//! Names as text: RFC 4514, and the slash form of OpenSSL.

use std::fmt::{self, Write as _};

use super::attribute::{Attribute, Kind, Value};
use super::decoded::{DecodedAttribute, DecodedRdn};
use super::{MAX_TEXT, NameError};
use crate::pki::hex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// RFC 4514.
    Commas,
    /// `openssl req -subj`.
    Slashes,
}

/// Reads either form into RDNs in the order of the encoding.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<Attribute>>, NameError> {
    if text.len() > MAX_TEXT {
        return Err(NameError::TooLong);
    }
    match text.strip_prefix('/') {
        _ if text.is_empty() => Ok(Vec::new()),
        Some(rest) => split(rest, '/')
            .into_iter()
            .map(|rdn| parse_rdn(rdn, Form::Slashes))
            .collect(),
        // RFC 4514 §2.1: the string starts with the last RDN.
        None => split(text, ',')
            .into_iter()
            .rev()
            .map(|rdn| parse_rdn(rdn, Form::Commas))
            .collect(),
    }
}

/// Writes RFC 4514 text.
pub(super) fn write(rdns: &[DecodedRdn<'_>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (position, rdn) in rdns.iter().rev().enumerate() {
        if position > 0 {
            f.write_char(',')?;
        }
        for (position, attribute) in rdn.iter().enumerate() {
            if position > 0 {
                f.write_char('+')?;
            }
            match (attribute.keyword(), attribute.text()) {
                (Some(keyword), Some(text)) => {
                    f.write_str(keyword)?;
                    f.write_char('=')?;
                    f.write_str(&escape(&text))?;
                }
                // RFC 4514 §2.4: a type without keyword is dotted, and its value hex.
                _ => write!(f, "{}={}", attribute.dotted(), hex_value(attribute))?,
            }
        }
    }
    Ok(())
}

/// `#` and the hex of the value's DER.
pub(super) fn hex_value(attribute: &DecodedAttribute<'_>) -> String {
    let mut text = "#".to_owned();
    // Writing to a String does not fail.
    let _ = hex::write(attribute.der, &mut text);
    text
}

fn parse_rdn(rdn: &str, form: Form) -> Result<Vec<Attribute>, NameError> {
    split(rdn, '+')
        .into_iter()
        .map(|part| parse_attribute(part, form))
        .collect()
}

fn parse_attribute(part: &str, form: Form) -> Result<Attribute, NameError> {
    if part.trim().is_empty() {
        return Err(NameError::EmptyPart);
    }
    let (keyword, value) = part.split_once('=').ok_or_else(|| NameError::NoEquals {
        part: part.trim().to_owned(),
    })?;
    let kind = Kind::find(keyword.trim())?;
    let value = value.trim_start_matches(' ');
    let value = match value.strip_prefix('#') {
        Some(hex) if form == Form::Commas => {
            let der = decode_hex(hex.trim_end_matches(' '));
            Value::Hex(der.ok_or_else(|| NameError::Hex {
                attribute: kind.label(),
            })?)
        }
        _ => Value::Text(unescape(value, form, &kind)?),
    };
    Ok(Attribute { kind, value })
}

/// Splits at a separator that no backslash escapes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let splits = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
    .collect()
}

/// Resolves escapes and drops the trailing spaces that are not escaped.
fn unescape(value: &str, form: Form, kind: &Kind) -> Result<String, NameError> {
    let bad_escape = || NameError::Escape {
        attribute: kind.label(),
    };
    let mut bytes = Vec::with_capacity(value.len());
    let mut end = 0;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let next = characters.next().ok_or_else(bad_escape)?;
                if form == Form::Slashes || "\"+,;<>\\ #=".contains(next) {
                    push(&mut bytes, next);
                } else {
                    let low = characters.next().and_then(|low| low.to_digit(16));
                    let (high, low) = next.to_digit(16).zip(low).ok_or_else(bad_escape)?;
                    // Two hex digits make a byte.
                    bytes.push((high * 16 + low) as u8);
                }
                end = bytes.len();
            }
            '"' | ';' | '<' | '>' if form == Form::Commas => {
                return Err(NameError::Unescaped {
                    attribute: kind.label(),
                    character,
                });
            }
            _ => {
                push(&mut bytes, character);
                if character != ' ' {
                    end = bytes.len();
                }
            }
        }
    }
    bytes.truncate(end);
    String::from_utf8(bytes).map_err(|_| bad_escape())
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let is_whole = !digits.is_empty() && digits.len().is_multiple_of(2);
    hex::read(digits).filter(|_| is_whole)
}

/// RFC 4514 §2.4.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    for (position, character) in text.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.extend(['\\', character]),
            '#' if position == 0 => escaped.push_str("\\#"),
            ' ' if position == 0 || position == last => escaped.push_str("\\ "),
            _ if character.is_control() => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a String does not fail.
                    let _ = write!(escaped, "\\{byte:02X}");
                }
            }
            _ => escaped.push(character),
        }
    }
    escaped
}
