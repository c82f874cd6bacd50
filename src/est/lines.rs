//! Base64 as clients can read it: in one line, or in lines for those that need them.

use base64::prelude::{BASE64_STANDARD, Engine};
use hyper::{
    HeaderMap,
    header::{HeaderValue, USER_AGENT},
};

/// How base64 is broken into lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// One line without an end. RFC 8951 §3.1.
    One,
    /// Lines of 64 characters, each ended by LF: libest reads nothing else.
    Of64,
}

impl Lines {
    /// What the client that sent these headers can read.
    pub fn for_client(headers: &HeaderMap) -> Self {
        let libest = |agent: &HeaderValue| agent.as_bytes().starts_with(b"libest");
        if headers.get(USER_AGENT).is_some_and(libest) {
            Lines::Of64
        } else {
            Lines::One
        }
    }

    /// Appends `der` to `text` as base64. Nothing of it is left elsewhere in memory if `text` has room for
    /// [`Lines::length`] more bytes.
    pub fn encode(self, der: &[u8], text: &mut Vec<u8>) {
        match self {
            Lines::One => append(der, text),
            Lines::Of64 => {
                for line in der.chunks(48) {
                    append(line, text);
                    text.push(b'\n');
                }
            }
        }
    }

    /// How many bytes `length` bytes of DER take at most.
    pub fn length(self, length: usize) -> usize {
        let encoded = length.div_ceil(3) * 4;
        match self {
            Lines::One => encoded,
            Lines::Of64 => encoded + encoded.div_ceil(64),
        }
    }
}

fn append(der: &[u8], text: &mut Vec<u8>) {
    let start = text.len();
    text.resize(start + Lines::One.length(der.len()), 0);
    let end = match BASE64_STANDARD.encode_slice(der, &mut text[start..]) {
        Ok(written) => start + written,
        // Cannot happen: the room is what padded base64 takes.
        Err(_) => start,
    };
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libest_gets_lines() {
        for (agent, expected) in [
            ("libest 1.0", Lines::Of64),
            ("libest-2.1.0", Lines::Of64),
            ("curl/7.88 libest", Lines::One),
            ("", Lines::One),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            assert_eq!(Lines::for_client(&headers), expected, "{agent}");
        }
        assert_eq!(Lines::for_client(&HeaderMap::new()), Lines::One);
    }

    #[test]
    fn lines_are_64_characters_each_ended_by_a_line_feed() {
        for (bytes, lines) in [(0, 0), (1, 1), (48, 1), (49, 2), (96, 2), (1000, 21)] {
            let der = vec![7; bytes];
            let encoded = |lines: Lines| {
                let mut text = Vec::with_capacity(lines.length(bytes));
                let room = text.as_ptr();
                lines.encode(&der, &mut text);
                assert!(text.len() <= lines.length(bytes) && text.as_ptr() == room);
                String::from_utf8(text).unwrap()
            };
            let broken = encoded(Lines::Of64);
            assert_eq!(broken.lines().count(), lines, "{bytes}");
            assert!(broken.lines().rev().skip(1).all(|line| line.len() == 64));
            assert!(broken.is_empty() || broken.ends_with('\n'));
            assert_eq!(broken.replace('\n', ""), encoded(Lines::One));
            assert_eq!(encoded(Lines::One), BASE64_STANDARD.encode(&der));
        }
    }
}
