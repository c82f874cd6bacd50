//! The log: JSON lines, in the order in which they were handed in, written by one thread that may wait for a disk.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::timeout,
};

use super::{AuditError, Decision, OnFailure};
use crate::metrics::{AuditSink, Counters};

/// How many events may wait to be written.
const WAITING: usize = 1024;
/// How many are written, and reach the disk, together.
const TOGETHER: usize = 64;
/// How long an answer waits for its event to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The standard output.
    Stdout,
    /// A file, to which lines are appended. It is opened anew when it was moved away.
    File(PathBuf),
}

/// The way to the thread that writes.
#[derive(Clone)]
pub(super) struct Log {
    queue: mpsc::Sender<Entry>,
    on_failure: OnFailure,
    failing: Arc<AtomicBool>,
    counters: Counters,
}

enum Entry {
    Line {
        text: String,
        written: Option<oneshot::Sender<Result<(), Arc<io::Error>>>>,
    },
    Reopen,
    Flush(oneshot::Sender<()>),
}

impl Log {
    /// Opens it; the future is the writer, and ends after the last `Log` is gone.
    pub(super) fn open(
        target: LogTarget,
        on_failure: OnFailure,
        counters: Counters,
    ) -> Result<(Self, impl Future<Output = ()> + Send), AuditError> {
        let stream = Stream::open(target, on_failure)?;
        let (queue, entries) = mpsc::channel(WAITING);
        let failing = Arc::new(AtomicBool::new(false));
        let (told, counted) = (failing.clone(), counters.clone());
        let log = Self {
            queue,
            on_failure,
            failing,
            counters,
        };
        let task = async move {
            let writing =
                tokio::task::spawn_blocking(move || write_all(entries, stream, &told, &counted));
            if let Err(error) = writing.await {
                tracing::error!(%error, "the audit log is no longer written");
            }
        };
        Ok((log, task))
    }

    pub(super) fn blocks_issuing(&self) -> bool {
        self.on_failure == OnFailure::Refuse && self.failing.load(Ordering::Relaxed)
    }

    pub(super) async fn write(&self, decision: &Decision) -> Result<(), AuditError> {
        let text = decision.to_line().into_owned();
        match self.on_failure {
            OnFailure::Continue => {
                let line = Entry::Line {
                    text,
                    written: None,
                };
                if self.queue.try_send(line).is_err() {
                    self.lost();
                }
                Ok(())
            }
            OnFailure::Refuse => {
                let (written, outcome) = oneshot::channel();
                let line = Entry::Line {
                    text,
                    written: Some(written),
                };
                match self.queue.try_send(line) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                        self.lost();
                        return Err(AuditError::Late(Duration::ZERO));
                    }
                }
                match timeout(PATIENCE, outcome).await {
                    Ok(Ok(result)) => result.map_err(AuditError::Write),
                    // It may still be written; then it tells of an answer that was not given.
                    Ok(Err(_)) | Err(_) => {
                        self.failing.store(true, Ordering::Relaxed);
                        Err(AuditError::Late(PATIENCE))
                    }
                }
            }
        }
    }

    pub(super) async fn flush(&self, patience: Duration) {
        let (done, flushed) = oneshot::channel();
        let flush = async {
            if self.queue.send(Entry::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        if timeout(patience, flush).await.is_err() {
            tracing::warn!("the audit log could not be written to its end");
        }
    }

    pub(super) async fn reopen(&self) {
        // The other end is gone only when the process ends.
        let _ = self.queue.send(Entry::Reopen).await;
    }

    fn lost(&self) {
        self.counters.audit_lost(AuditSink::Log);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "audit events are being lost: the audit log is written more slowly than they come"
            );
        }
    }
}

fn write_all(
    mut entries: mpsc::Receiver<Entry>,
    mut stream: Stream,
    failing: &AtomicBool,
    counters: &Counters,
) {
    let mut batch = Vec::with_capacity(TOGETHER);
    while entries.blocking_recv_many(&mut batch, TOGETHER) > 0 {
        stream.follow();
        let mut waiting = Vec::new();
        for entry in batch.drain(..) {
            match entry {
                Entry::Line { text, written } => {
                    let result = stream.write(&text);
                    note(&result, failing, counters);
                    waiting.extend(written.map(|written| (written, result.map_err(Arc::new))));
                }
                Entry::Reopen => stream.reopen(),
                Entry::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
        if waiting.is_empty() {
            continue;
        }
        // One wait for the disk serves all.
        let synced = stream.sync();
        if synced.is_err() {
            waiting
                .iter()
                .for_each(|_| note(&synced, failing, counters));
        }
        let synced = synced.map_err(Arc::new);
        for (written, result) in waiting {
            // Whoever waited may have lost patience.
            let _ = written.send(result.and(synced.clone()));
        }
    }
}

/// Counts what is lost, and says once that it begins and once that it ends.
fn note(result: &io::Result<()>, failing: &AtomicBool, counters: &Counters) {
    match result {
        Ok(()) => {
            if failing.swap(false, Ordering::Relaxed) {
                tracing::info!("the audit log is being written again");
            }
        }
        Err(error) => {
            counters.audit_lost(AuditSink::Log);
            if !failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "the audit log cannot be written: events are being lost");
            }
        }
    }
}

/// The open stream.
struct Stream {
    target: LogTarget,
    file: File,
    /// Whether a line is good only once it has reached the disk.
    durable: OnFailure,
    /// Whether the last line was cut off in its middle.
    torn: bool,
}

impl Stream {
    fn open(target: LogTarget, durable: OnFailure) -> Result<Self, AuditError> {
        let file = open(&target).map_err(|source| AuditError::Open {
            path: match &target {
                LogTarget::Stdout => "stdout".into(),
                LogTarget::File(path) => path.clone(),
            },
            source,
        })?;
        Ok(Self {
            target,
            file,
            durable,
            torn: false,
        })
    }

    /// Writes one line with its end.
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = &rest[count..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let is_file = self.file.metadata().is_ok_and(|facts| facts.is_file());
        match self.durable {
            OnFailure::Refuse if is_file => self.file.sync_data(),
            _ => Ok(()),
        }
    }

    /// Opens the file anew if another is there now, or none.
    fn follow(&mut self) {
        if let LogTarget::File(path) = &self.target
            && !is_same(&self.file, path)
        {
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        match open(&self.target) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
            }
            // The old one is better than nothing.
            Err(error) => tracing::warn!(%error, "the audit log cannot be opened anew"),
        }
    }
}

fn open(target: &LogTarget) -> io::Result<File> {
    match target {
        // Its own descriptor, so that no buffer stands between.
        LogTarget::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        LogTarget::File(path) => OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(path),
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn stream(path: &Path) -> Stream {
        Stream::open(LogTarget::File(path.into()), OnFailure::Refuse).unwrap()
    }

    #[test]
    fn lines_are_appended_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        fs::write(&path, "old\n").unwrap();
        stream(&path).write("new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
    }

    #[test]
    fn a_file_that_was_moved_or_deleted_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("audit"), dir.path().join("audit.1"));
        let mut stream = stream(&path);
        stream.write("a\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        stream.follow();
        stream.write("b\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "a\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
        fs::remove_file(&path).unwrap();
        stream.follow();
        stream.write("c\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "c\n");
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_directory_is_no_log() {
        let full = stream(Path::new("/dev/full")).write("x\n").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let dir = tempfile::tempdir().unwrap();
        let target = LogTarget::File(dir.path().into());
        let words = Stream::open(target, OnFailure::Continue)
            .err()
            .unwrap()
            .to_string();
        assert!(words.contains("correct --audit-log"), "{words}");
    }

    #[test]
    fn a_line_after_a_torn_one_begins_on_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let mut stream = stream(&path);
        stream.write("tor").unwrap();
        stream.torn = true;
        stream.write("whole\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "tor\nwhole\n");
    }
}
