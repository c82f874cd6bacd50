//! Fields as bytes: numbers are big-endian, everything of variable length says its length first. What is written may be
//! secret, so every buffer is wiped.

use std::net::IpAddr;

use zeroize::Zeroizing;

/// What most messages need, so that they grow no buffer.
const ROOM: usize = 4096;

/// A message that does not follow the rules of [`super::message`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is malformed: {0}")]
pub(super) struct Malformed(pub &'static str);

/// Writes fields one after the other.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(ROOM)))
    }

    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// Appends. A buffer that is too small is replaced and wiped, never reallocated: that would leave its contents behind.
    pub fn raw(&mut self, bytes: &[u8]) {
        let length = self.0.len() + bytes.len();
        if length > self.0.capacity() {
            let mut bigger = Zeroizing::new(Vec::with_capacity(length * 2));
            bigger.extend_from_slice(&self.0);
            self.0 = bigger;
        }
        self.0.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    /// Writes the length as 32 bits. Nothing longer than 4 GiB comes this far; if it did, the length would be a lie that
    /// the limit of frames catches.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.raw(&(bytes.len() as u32).to_be_bytes());
        self.raw(bytes);
    }

    pub fn optional(&mut self, bytes: Option<&[u8]>) {
        self.u8(u8::from(bytes.is_some()));
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }

    pub fn list(&mut self, items: &[Vec<u8>]) {
        self.raw(&(items.len() as u32).to_be_bytes());
        for item in items {
            self.bytes(item);
        }
    }

    pub fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }
}

/// Reads fields one after the other. Allocates no more than what has arrived.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing may be left over.
    pub fn end(&self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed("there is something after its end")),
        }
    }

    fn raw(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("it ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.raw(N)?);
        Ok(array)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn length(&mut self, limit: usize) -> Result<usize, Malformed> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        if length > limit {
            return Err(Malformed("a field is longer than it may be"));
        }
        Ok(length)
    }

    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = self.length(limit)?;
        self.raw(length)
    }

    pub fn text(&mut self, limit: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(limit)?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// Reads a field that may be absent.
    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Malformed("a field is neither present nor absent")),
        }
    }

    /// At most `most` items of at most `limit` bytes.
    pub fn list(&mut self, most: usize, limit: usize) -> Result<Vec<Vec<u8>>, Malformed> {
        let count = self.length(most)?;
        (0..count)
            .map(|_| self.bytes(limit).map(<[u8]>::to_vec))
            .collect()
    }

    pub fn address(&mut self) -> Result<IpAddr, Malformed> {
        let bytes = self.bytes(16)?;
        match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            (Ok(v4), _) => Ok(v4.into()),
            (_, Ok(v6)) => Ok(v6.into()),
            _ => Err(Malformed("an address has neither 4 nor 16 bytes")),
        }
    }
}
