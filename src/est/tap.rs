//! Listens to a TLS handshake as it passes by, for the two things in it that rustls does not tell: the messages that
//! `tls-unique` hashes, and whether the extended master secret was agreed.
//!
//! Up to its ChangeCipherSpec, a TLS 1.2 handshake is in clear. The tap keeps those records of both directions, within
//! bounds, and is emptied when the handshake ends.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The records of one direction, in bytes. rustls takes no handshake message over 64 KiB.
const MAX_FLIGHT: usize = 80 * 1024;

/// TLS record types, RFC 5246 §6.2.1.
const HANDSHAKE: u8 = 22;
/// Handshake message types, RFC 5246 §7.4.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const SERVER_HELLO_DONE: u8 = 14;
/// RFC 7627 §5.1.
const EXTENDED_MASTER_SECRET: u16 = 23;

/// A stream that remembers the clear part of the handshake that passes through it.
pub(super) struct Tap<T> {
    stream: T,
    heard: Option<Box<Heard>>,
}

/// The clear part of a handshake.
#[derive(Default)]
pub(super) struct Heard {
    received: Flight,
    sent: Flight,
}

/// The plain handshake records of one direction, as far as they came before any other record.
#[derive(Default)]
struct Flight {
    records: Vec<u8>,
    /// Where the last record that is complete ends.
    complete: usize,
    state: State,
}

#[derive(Default, PartialEq)]
enum State {
    #[default]
    Listening,
    /// A record of another type came: what follows is encrypted.
    Done,
    /// More than we keep.
    TooLong,
}

impl<T> Tap<T> {
    /// Listens from now on.
    pub fn new(stream: T) -> Self {
        Self {
            stream,
            heard: Some(Box::default()),
        }
    }

    /// Listens no longer, and gives away what it heard; `None` the second time.
    pub fn close(&mut self) -> Option<Box<Heard>> {
        self.heard.take()
    }
}

impl Heard {
    /// What the client's Finished covers in a full TLS 1.2 handshake: all messages before it, in their order.
    /// RFC 5246 §7.4.9. `None` if that is not what was heard.
    pub fn before_client_finished(&self) -> Option<Vec<u8>> {
        let (received, sent) = (self.received.messages()?, self.sent.messages()?);
        let (hello, rest) = split_message(&received)?;
        if hello.first() != Some(&CLIENT_HELLO) {
            return None;
        }
        let sent = up_to_server_hello_done(&sent)?;
        Some([hello, sent, rest].concat())
    }

    /// Whether the TLS 1.2 session has the extended master secret, RFC 7627.
    pub fn extended_master_secret(&self) -> bool {
        let Some(sent) = self.sent.messages() else {
            return false;
        };
        let extensions = split_message(&sent).and_then(|(hello, _)| server_extensions(hello));
        extensions.is_some_and(|list| has_extension(list, EXTENDED_MASTER_SECRET))
    }

    /// What fuzzing calls: bytes of both directions, in chunks.
    pub(super) fn of(received: &[u8], sent: &[u8], chunk: usize) -> Self {
        let mut heard = Self::default();
        received
            .chunks(chunk)
            .for_each(|part| heard.received.add(part));
        sent.chunks(chunk).for_each(|part| heard.sent.add(part));
        heard
    }
}

impl Flight {
    fn add(&mut self, bytes: &[u8]) {
        if self.state != State::Listening {
            return;
        }
        if self.records.len() + bytes.len() > MAX_FLIGHT {
            self.records = Vec::new();
            self.state = State::TooLong;
            return;
        }
        self.records.extend_from_slice(bytes);
        while let Some([kind, _, _, high, low]) = self.records[self.complete..].first_chunk() {
            if *kind != HANDSHAKE {
                self.records.truncate(self.complete);
                self.state = State::Done;
                return;
            }
            let end = self.complete + 5 + usize::from(u16::from_be_bytes([*high, *low]));
            if end > self.records.len() {
                return;
            }
            self.complete = end;
        }
    }

    /// The contents of the records. `None` before the last of them came.
    fn messages(&self) -> Option<Vec<u8>> {
        if self.state != State::Done {
            return None;
        }
        let mut messages = Vec::with_capacity(self.records.len());
        let mut rest = self.records.as_slice();
        while let Some(([_, _, _, high, low], after)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (content, next) = after.split_at_checked(length)?;
            messages.extend_from_slice(content);
            rest = next;
        }
        Some(messages)
    }
}

/// The first handshake message, with its header, and what follows it. RFC 5246 §7.4.
fn split_message(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_, length @ ..] = messages.first_chunk::<4>()?;
    let [a, b, c] = length.map(usize::from);
    messages.split_at_checked(4 + (a << 16 | b << 8 | c))
}

/// The server's messages without the session ticket that may follow them, which only its own Finished covers.
fn up_to_server_hello_done(messages: &[u8]) -> Option<&[u8]> {
    let mut rest = messages;
    loop {
        let (message, after) = split_message(rest)?;
        if message[0] == SERVER_HELLO_DONE {
            return Some(&messages[..messages.len() - after.len()]);
        }
        rest = after;
    }
}

/// The extensions of a ServerHello. RFC 5246 §7.4.1.3.
fn server_extensions(hello: &[u8]) -> Option<&[u8]> {
    let [SERVER_HELLO, ..] = hello else {
        return None;
    };
    let (session, rest) = hello.get(4 + 2 + 32..)?.split_first()?;
    let after = rest.get(usize::from(*session) + 2 + 1..)?;
    let (length, list) = after.split_first_chunk::<2>()?;
    list.get(..usize::from(u16::from_be_bytes(*length)))
}

fn has_extension(mut list: &[u8], wanted: u16) -> bool {
    while let Some(([a, b, c, d], rest)) = list.split_first_chunk() {
        if u16::from_be_bytes([*a, *b]) == wanted {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        list = rest.get(length..).unwrap_or_default();
    }
    false
}

impl<T: AsyncRead + Unpin> AsyncRead for Tap<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(heard) = &mut self.heard {
            heard.received.add(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        if let Some(heard) = &mut self.heard {
            heard.sent.add(&buf[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        if let Some(heard) = &mut self.heard {
            let mut left = written;
            for buf in bufs {
                let part = &buf[..left.min(buf.len())];
                heard.sent.add(part);
                left -= part.len();
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHANGE_CIPHER_SPEC: [u8; 6] = [20, 3, 3, 0, 1, 1];

    fn record(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[HANDSHAKE, 3, 3], &length[..], content].concat()
    }

    fn message(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[kind], &length[1..], content].concat()
    }

    fn server_hello(extensions: &[u8]) -> Vec<u8> {
        let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
        let fixed = [&[3, 3][..], &[7; 32], &[2, 8, 8], &[0xc0, 0x2b, 0]].concat();
        message(SERVER_HELLO, &[&fixed[..], &length, extensions].concat())
    }

    #[test]
    fn messages_are_put_in_their_order_however_they_are_cut() {
        let hello = message(CLIENT_HELLO, &[1; 300]);
        let answer = server_hello(&[]);
        let certificate = message(11, &[2; 1000]);
        let done = message(SERVER_HELLO_DONE, &[]);
        let ticket = message(4, &[9; 50]);
        let exchange = message(16, &[3; 70]);
        let received = [
            record(&hello[..100]),
            record(&hello[100..]),
            record(&exchange),
            CHANGE_CIPHER_SPEC.to_vec(),
            record(&[0xff; 40]),
        ];
        let sent = [
            record(&[answer.clone(), certificate.clone()].concat()),
            record(&done),
            record(&ticket),
            CHANGE_CIPHER_SPEC.to_vec(),
        ];
        let expected = [hello, answer, certificate, done, exchange].concat();
        for chunk in [1, 5, 64, 10_000] {
            let heard = Heard::of(&received.concat(), &sent.concat(), chunk);
            assert_eq!(heard.before_client_finished().unwrap(), expected, "{chunk}");
        }
        let early = Heard::of(&received[..3].concat(), &sent.concat(), 64);
        assert_eq!(early.before_client_finished(), None);
    }

    #[test]
    fn the_extended_master_secret_is_found_among_the_extensions() {
        let ems = |extensions: &[u8]| {
            let sent = [record(&server_hello(extensions)), CHANGE_CIPHER_SPEC.into()].concat();
            Heard::of(&[], &sent, 64).extended_master_secret()
        };
        assert!(ems(&[0, 23, 0, 0]));
        assert!(ems(&[0xff, 1, 0, 1, 0, 0, 23, 0, 0]));
        assert!(!ems(&[0xff, 1, 0, 1, 0]));
        assert!(!ems(&[]));
        assert!(!Heard::default().extended_master_secret());
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let mut flight = Flight::default();
        let full = record(&[0; 16_000]);
        for _ in 0..10 {
            flight.add(&full);
            assert!(flight.records.len() <= MAX_FLIGHT);
        }
        assert!(flight.state == State::TooLong && flight.records.capacity() == 0);
        assert_eq!(flight.messages(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_heard_without_harm(received: Vec<u8>, sent: Vec<u8>, chunk in 1usize..50) {
            let heard = Heard::of(&received, &sent, chunk);
            heard.before_client_finished();
            heard.extended_master_secret();
        }

        #[test]
        fn any_messages_are_read_without_harm(received: Vec<u8>, sent: Vec<u8>) {
            let flight = |content: &[u8]| [record(content), CHANGE_CIPHER_SPEC.into()].concat();
            let heard = Heard::of(&flight(&received), &flight(&sent), 64);
            heard.before_client_finished();
            heard.extended_master_secret();
        }
    }
}
