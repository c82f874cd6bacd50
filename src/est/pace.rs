//! Slow clients: a connection must finish each phase of a request in time, or it is cut.
//!
//! hyper has one timer, for headers. Here the stream itself knows the phase: idle, reading a header, at work. Both ends
//! of that knowledge, the stream and the service, run in the same task, so the lock is never contended.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    limits::Limits,
    places::{Evicted, Place},
};

/// How much longer than the request a client may take to accept its answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Which phase a connection is in, and until when.
pub(super) struct Pace {
    phase: Mutex<Phase>,
    place: Place,
    idle: Duration,
    header: Duration,
    request: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing of a request has arrived.
    Idle { until: Instant },
    /// The header is arriving.
    Header { until: Instant, answer_by: Instant },
    /// The header is complete; the body is arriving, or we are at work.
    Working { answer_by: Instant },
    /// The answer is being written.
    Answering { until: Instant },
}

impl Pace {
    /// A connection that was just opened, and now waits for its first request.
    pub fn new(limits: &Limits, place: Place) -> Self {
        place.rest();
        Self {
            place,
            phase: Mutex::new(Phase::Idle {
                until: Instant::now() + limits.idle_timeout,
            }),
            idle: limits.idle_timeout,
            header: limits.header_timeout,
            request: limits.request_timeout,
        }
    }

    /// A request header is complete. Returns the moment by which the answer must be ready.
    pub fn request_begins(&self) -> Instant {
        self.change(|phase| {
            let answer_by = match *phase {
                Phase::Header { answer_by, .. } => answer_by,
                _ => Instant::now() + self.request,
            };
            *phase = Phase::Working { answer_by };
            answer_by
        })
    }

    /// The answer is ready and will now be written.
    pub fn answer_begins(&self) {
        self.change(|phase| {
            *phase = Phase::Answering {
                until: Instant::now() + ANSWER_TIME,
            }
        });
    }

    /// Resolves when the connection must leave for another. Never while it has a request.
    pub async fn evicted(&self) {
        self.place.evicted().await;
    }

    /// Something arrived. Line ends between requests do not begin one. RFC 9112 §2.2.
    fn arrived(&self, bytes: &[u8]) -> Result<(), Evicted> {
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return Ok(());
        }
        self.change(|phase| {
            if let Phase::Idle { .. } = phase {
                self.place.work()?;
                let now = Instant::now();
                *phase = Phase::Header {
                    until: now + self.header,
                    answer_by: now + self.request,
                };
            }
            Ok(())
        })
    }

    /// Everything that was written has left.
    fn flushed(&self) {
        self.change(|phase| {
            if let Phase::Answering { .. } = phase {
                self.place.rest();
                *phase = Phase::Idle {
                    until: Instant::now() + self.idle,
                };
            }
        });
    }

    fn deadline(&self) -> Instant {
        self.change(|phase| match *phase {
            Phase::Idle { until } | Phase::Header { until, .. } | Phase::Answering { until } => {
                until
            }
            Phase::Working { answer_by } => answer_by + ANSWER_TIME,
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Phase) -> T) -> T {
        change(&mut self.phase.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A stream that fails with `TimedOut` when it would have to wait longer than its phase may last.
pub(super) struct Paced<T> {
    stream: T,
    pace: Arc<Pace>,
    timer: Pin<Box<Sleep>>,
}

impl<T> Paced<T> {
    /// Watches over `stream`.
    pub fn new(stream: T, pace: Arc<Pace>) -> Self {
        let timer = Box::pin(sleep_until(pace.deadline()));
        Self {
            stream,
            pace,
            timer,
        }
    }

    fn wait<R>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let deadline = self.pace.deadline();
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let arrived = self.pace.arrived(&buf.filled()[before..]);
                Poll::Ready(
                    arrived.map_err(|gone| io::Error::new(io::ErrorKind::ConnectionAborted, gone)),
                )
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending => self.wait(cx),
            written => written,
        }
    }

    // With this hyper hands over an answer where it lies, and keeps no copy of it.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bufs) {
            Poll::Pending => self.wait(cx),
            written => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(result) => {
                self.pace.flushed();
                Poll::Ready(result)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => self.wait(cx),
            closed => closed,
        }
    }
}
