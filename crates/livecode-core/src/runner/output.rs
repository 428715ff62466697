//! From the sandbox to whoever reads: each stream up to its limit, characters whole.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{Output, Stdio};

/// How long a reader is waited for once the run was cancelled.
const READ_AFTER_CANCEL: Duration = Duration::from_secs(5);

/// Passes chunks on, each stream up to `limit` bytes, characters whole. Says for each stream whether there was more.
pub(super) async fn forward(
    mut from: mpsc::Receiver<Output>,
    delivery: &mut Delivery<'_>,
    limit: u64,
    overflowed: impl Fn(),
) -> (bool, bool) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut stdout, mut stderr) = (Stream::new(limit), Stream::new(limit));
    while let Some(Output { stdio, bytes }) = from.recv().await {
        let stream = match stdio {
            Stdio::Stdout => &mut stdout,
            Stdio::Stderr => &mut stderr,
        };
        let bytes = stream.take(bytes);
        if stream.truncated {
            overflowed();
        }
        if let Some(bytes) = bytes {
            delivery.send(Output { stdio, bytes }).await;
        }
    }
    for (stdio, stream) in [(Stdio::Stdout, &mut stdout), (Stdio::Stderr, &mut stderr)] {
        if !stream.held.is_empty() {
            delivery.send(Output { stdio, bytes: std::mem::take(&mut stream.held) }).await;
        }
    }
    (stdout.truncated, stderr.truncated)
}

/// The way to whoever reads the output.
pub(super) struct Delivery<'a> {
    to: mpsc::Sender<Output>,
    cancel: &'a CancellationToken,
    given_up: bool,
    held_up: HeldUp,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(to: mpsc::Sender<Output>, cancel: &'a CancellationToken) -> Self {
        Self { to, cancel, given_up: false, held_up: HeldUp::default() }
    }

    pub(super) fn held_up(&self) -> HeldUp {
        self.held_up.clone()
    }

    /// Waits for room, but after a cancellation not for ever.
    async fn send(&mut self, output: Output) {
        let output = match self.to.try_send(output) {
            // Nobody listens any more: the program goes on unheard.
            Ok(()) | Err(TrySendError::Closed(_)) => return,
            Err(TrySendError::Full(_)) if self.given_up => return,
            Err(TrySendError::Full(output)) => output,
        };
        self.held_up.begins();
        let no_longer = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(READ_AFTER_CANCEL).await;
        };
        tokio::select! {
            biased;
            // Either it's taken or nobody listens.
            _ = self.to.send(output) => {}
            () = no_longer => self.given_up = true,
        }
        self.held_up.ends();
    }
}

/// Since when a reader hasn't held up the sandbox; none while one does.
#[derive(Clone)]
pub(super) struct HeldUp(Arc<Mutex<Option<Instant>>>);

impl Default for HeldUp {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }
}

impl HeldUp {
    fn begins(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn ends(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Comes back when nobody has held up the sandbox for so long.
    pub(super) async fn not_for(&self, patience: Duration) {
        loop {
            let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let left = since.map_or(patience, |since| patience.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// One output stream: what is left of its limit, and the begun character at its end.
struct Stream {
    left: usize,
    held: Bytes,
    truncated: bool,
}

impl Stream {
    fn new(limit: usize) -> Self {
        Self { left: limit, held: Bytes::new(), truncated: false }
    }

    /// What of `bytes` can be passed on now.
    fn take(&mut self, bytes: Bytes) -> Option<Bytes> {
        if self.truncated {
            return None;
        }
        let mut bytes = if self.held.is_empty() {
            bytes
        } else {
            let mut joined = BytesMut::from(std::mem::take(&mut self.held));
            joined.extend_from_slice(&bytes);
            joined.freeze()
        };
        if bytes.len() > self.left {
            self.truncated = true;
            bytes.truncate(self.left);
            bytes.truncate(bytes.len() - unfinished(&bytes));
        } else {
            self.held = bytes.split_off(bytes.len() - unfinished(&bytes));
        }
        self.left -= bytes.len();
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// How many bytes at the end begin a UTF-8 character that more bytes could finish: 0 to 3.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        if byte & 0b1100_0000 != 0b1000_0000 {
            let width = match byte {
                0xC2..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF4 => 4,
                _ => 1,
            };
            return if width > back { back } else { 0 };
        }
    }
    0
}
