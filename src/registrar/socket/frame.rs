//! Frames: how messages lie on the stream.
//!
//! ```text
//! length   4 bytes, big-endian: how many bytes follow
//! version  1 byte
//! kind     1 byte
//! id       8 bytes, big-endian: an answer bears the id of its request, what nobody asked for bears 0
//! body     the rest
//! ```
//!
//! This layout, and the kind [`super::message::UNSUPPORTED`] with a sentence as its body, hold for every version, so that
//! two programs of different versions can say so to each other.

use std::{future::Future, io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use zeroize::Zeroizing;

use super::bytes::{Malformed, Reader, Writer};

/// The version that this program speaks. Changes with every change of a message.
pub(super) const VERSION: u8 = 1;
/// The longest frame from the front end, in bytes after the length: a CSR of 48 KiB, a header of 16 KiB and a chain of
/// 16 KiB fit.
pub(super) const REQUEST_LIMIT: usize = 128 * 1024;
/// The longest frame from the controller, in bytes after the length.
pub(super) const RESPONSE_LIMIT: usize = 256 * 1024;
/// How long a frame's length may take from its first byte on, and then the rest of it, in either direction.
pub(super) const FRAME_TIME: Duration = Duration::from_secs(10);

const LENGTH: usize = 4;
const HEAD: usize = 10;

/// A frame as it arrived.
pub(super) struct Frame {
    pub version: u8,
    pub kind: u8,
    pub id: u64,
    /// The head and the body.
    bytes: Zeroizing<Vec<u8>>,
}

impl Frame {
    /// Reads the head; `bytes` is what followed the length.
    pub fn parse(bytes: Zeroizing<Vec<u8>>) -> Result<Self, Malformed> {
        let mut head = Reader::new(&bytes);
        let (version, kind, id) = (head.u8()?, head.u8()?, head.u64()?);
        Ok(Self {
            version,
            kind,
            id,
            bytes,
        })
    }

    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEAD..).unwrap_or_default()
    }
}

/// A frame, ready to be sent.
pub(super) fn build(kind: u8, id: u64, body: impl FnOnce(&mut Writer)) -> Zeroizing<Vec<u8>> {
    let mut writer = Writer::new();
    writer.raw(&[0; LENGTH]);
    writer.u8(VERSION);
    writer.u8(kind);
    writer.u64(id);
    body(&mut writer);
    let mut frame = writer.finish();
    let length = u32::try_from(frame.len() - LENGTH).unwrap_or(u32::MAX);
    frame[..LENGTH].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Whether a frame of [`build`] is within a limit.
pub(super) fn fits(frame: &[u8], limit: usize) -> bool {
    frame.len() <= LENGTH + limit
}

/// The next frame, or `None` at the end of the stream. Waits for its first byte as long as it takes.
///
/// # Errors
/// If the stream breaks, ends within the frame or is too slow, or the frame is longer than `limit` or no frame.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<Frame>> {
    read_within(FRAME_TIME, stream, limit).await
}

async fn read_within(
    time: Duration,
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<Frame>> {
    match read_length(stream, limit, time).await? {
        Some(length) => read_rest(stream, length, time).await.map(Some),
        None => Ok(None),
    }
}

/// How many bytes follow in the next frame, or `None` at the end of the stream. Waits for the first byte as long as it takes,
/// and for the others only for some `time`.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_length(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
    time: Duration,
) -> io::Result<Option<usize>> {
    let mut length = [0; LENGTH];
    let first = stream.read(&mut length).await?;
    if first == 0 {
        return Ok(None);
    }
    in_time(time, stream.read_exact(&mut length[first..])).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        let words = format!("a frame of {length} bytes; {limit} is the limit");
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    Ok(Some(length))
}

/// The frame whose length was read.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_rest(
    stream: &mut (impl AsyncRead + Unpin),
    length: usize,
    time: Duration,
) -> io::Result<Frame> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    in_time(time, stream.read_exact(&mut bytes)).await?;
    Frame::parse(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

async fn in_time<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends a frame.
///
/// # Errors
/// If the stream breaks, or the other end does not take the frame in time.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    write_within(FRAME_TIME, stream, frame).await
}

async fn write_within(
    time: Duration,
    stream: &mut (impl AsyncWrite + Unpin),
    frame: &[u8],
) -> io::Result<()> {
    in_time(time, stream.write_all(frame)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(body: usize) -> Zeroizing<Vec<u8>> {
        build(9, 7, |writer| writer.raw(&vec![1; body]))
    }

    #[tokio::test]
    async fn a_frame_at_the_limit_passes_and_one_byte_more_does_not() {
        for limit in [REQUEST_LIMIT, RESPONSE_LIMIT] {
            let longest = framed(limit - HEAD);
            assert!(fits(&longest, limit));
            let frame = read(&mut longest.as_slice(), limit).await.unwrap().unwrap();
            assert_eq!((frame.version, frame.kind, frame.id), (VERSION, 9, 7));
            assert_eq!(frame.body().len(), limit - HEAD);

            let longer = framed(limit - HEAD + 1);
            assert!(!fits(&longer, limit));
            let error = read(&mut longer.as_slice(), limit).await.err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_no_error_between_frames_and_one_within() {
        assert!(read(&mut [].as_slice(), 99).await.unwrap().is_none());
        let whole = framed(5);
        for end in 1..whole.len() {
            assert!(read(&mut &whole[..end], 99).await.is_err(), "{end}");
        }
        // Too short for a head.
        let short = [0, 0, 0, 2, 1, 1];
        assert!(read(&mut short.as_slice(), 99).await.is_err());
    }

    #[tokio::test]
    async fn a_frame_that_trickles_is_given_up() {
        let soon = Duration::from_millis(20);
        let (mut theirs, mut ours) = tokio::io::duplex(64);
        theirs.write_all(&[0, 0, 0]).await.unwrap();
        let error = read_within(soon, &mut ours, 99).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = write_within(soon, &mut ours, &[0; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
