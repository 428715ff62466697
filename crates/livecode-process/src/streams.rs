//! A run's pipes and its socket, on the host's side.

use std::{
    io,
    os::{fd::OwnedFd, unix::net},
};

use bytes::{Bytes, BytesMut};
use livecode_core::{Artifact, CollectedFile, Error, ExecutionSpec, Output, Program, Result, Reuse, Stdio};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::pipe},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::protocol::{Message, Report};

/// How much is read from a pipe at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

pub(crate) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        let message = format!("can't {what}");
        // No descriptors or no memory left: better later.
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
                Error::unavailable(message).with_source(error)
            }
            Some(_) | None => Error::internal(message).with_source(error),
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("make a pipe")(error.into()))
}

/// Our end of a pipe, that nobody waits for in it. The other end is the program's, who expects to wait.
fn ours(end: OwnedFd) -> Result<OwnedFd> {
    fcntl_setfl(&end, OFlags::NONBLOCK).map_err(|error| failed("watch a pipe")(error.into()))?;
    Ok(end)
}

/// A pipe that we write and the program reads; one that is at its end already where there is nothing to write.
pub(crate) fn outward(is_empty: bool) -> Result<(OwnedFd, Option<pipe::Sender>)> {
    let (reading, writing) = pipe()?;
    if is_empty {
        return Ok((reading, None));
    }
    let writing = pipe::Sender::from_owned_fd_unchecked(ours(writing)?).map_err(failed("watch a pipe"))?;
    Ok((reading, Some(writing)))
}

/// A pipe that the program writes and we read.
pub(crate) fn inward() -> Result<(pipe::Receiver, OwnedFd)> {
    let (reading, writing) = pipe()?;
    let reading = pipe::Receiver::from_owned_fd_unchecked(ours(reading)?).map_err(failed("watch a pipe"))?;
    Ok((reading, writing))
}

/// Our end of a socket, and the helper's.
pub(crate) fn socket_pair() -> Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = net::UnixStream::pair().map_err(failed("make a socket"))?;
    ours.set_nonblocking(true).map_err(failed("make a socket"))?;
    Ok((UnixStream::from_std(ours).map_err(failed("make a socket"))?, theirs.into()))
}

/// Gives the program what it reads; what comes later is taken only when there is room for it.
pub(crate) async fn feed(mut stdin: pipe::Sender, bytes: Bytes, more: Option<mpsc::Receiver<Bytes>>) {
    // A program that has closed its input doesn't want any more of it: whoever would send it learns that from the channel.
    let Ok(()) = stdin.write_all(&bytes).await else { return };
    let Some(mut more) = more else { return };
    while let Some(bytes) = more.recv().await {
        let Ok(()) = stdin.write_all(&bytes).await else { return };
    }
}

/// Passes on what the program writes, until nobody is left who could write.
pub(crate) async fn pass_on(
    mut from: pipe::Receiver,
    stdio: Stdio,
    to: mpsc::Sender<Output>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        // What a short piece left of it is room for the next one.
        if buffer.capacity() < CHUNK / 4 {
            buffer.reserve(CHUNK);
        }
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        // Where nobody listens any more, the program goes on unheard.
        to.send(Output::new(stdio, buffer.split().freeze())).await.ok();
    }
}

/// Keeps the first `limit` bytes.
pub(crate) async fn keep(mut from: pipe::Receiver, limit: u64) -> io::Result<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut kept, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        kept.extend_from_slice(&buffer[..len.min(limit - kept.len())]);
    }
}

/// What is brought back of a run: of what its compile step left, and the files that it left itself.
pub(crate) type Brought = (Option<Artifact>, Vec<CollectedFile>);

/// Whether anything is to be brought back of a run.
pub(crate) fn brings(program: &Program) -> bool {
    keeps(program).is_some() || !program.collect.is_empty()
}

/// How large an artifact may be that is to be kept.
pub(crate) fn keeps(program: &Program) -> Option<u64> {
    match program.reuse {
        Reuse::Keep { max_bytes } if program.compile.is_some() => Some(max_bytes),
        Reuse::Keep { .. } | Reuse::Nothing | Reuse::Begin(_) => None,
    }
}

/// Takes what is to be brought back. A file that doesn't come says why.
pub(crate) async fn take_back(mut from: pipe::Receiver, program: &Program) -> Brought {
    let (mut artifact, mut is_whole) = (None, true);
    if let Some(max_bytes) = keeps(program) {
        match take_file(&mut from, usize::try_from(max_bytes).unwrap_or(usize::MAX)).await {
            Ok(Ok(bytes)) => artifact = Some(Artifact::new(bytes)),
            Ok(Err(reason)) => tracing::debug!(reason, "what a compile step left is not kept"),
            Err(_) => is_whole = false,
        }
    }
    let mut files = Vec::with_capacity(program.collect.len());
    let mut left = ExecutionSpec::MAX_TOTAL_BYTES;
    for path in &program.collect {
        let mut content = Err("the run ended before it could be read".to_owned());
        if is_whole {
            match take_file(&mut from, left).await {
                Ok(taken) => content = taken,
                // What follows can't be told apart any more.
                Err(_) => is_whole = false,
            }
        }
        left -= content.as_ref().map_or(0, Bytes::len);
        files.push(CollectedFile { path: path.clone(), content });
    }
    (artifact, files)
}

async fn take_file(
    from: &mut pipe::Receiver,
    limit: usize,
) -> io::Result<std::result::Result<Bytes, String>> {
    /// A reason is short.
    const REASON: usize = 1024;
    let is_content = from.read_u8().await? == 0;
    let len = usize::try_from(from.read_u64_le().await?).unwrap_or(usize::MAX);
    if len > if is_content { limit } else { REASON } {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).await?;
    Ok(if is_content { Ok(bytes.into()) } else { Err(String::from_utf8_lossy(&bytes).into_owned()) })
}

/// Waits for what the helper says on a socket of its own.
pub(crate) async fn hear<T: Message>(mut socket: impl AsyncRead + Unpin) -> Result<T> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.map_err(failed("hear from livecode-init"))?;
    T::decode(&bytes).map_err(|_| Error::unavailable("livecode-init died meanwhile: it can be tried again"))
}

/// Waits for the report that all is over; tells the helper where that is wanted sooner. Dropping the future closes the
/// socket, which has the same effect.
pub(crate) async fn hear_end(socket: UnixStream, cancel: &CancellationToken) -> Result<Report> {
    let (mut reading, mut writing) = socket.into_split();
    let report = hear(&mut reading);
    tokio::pin!(report);
    tokio::select! {
        biased;
        report = &mut report => return report,
        () = cancel.cancelled() => {
            // Fails where it's over already, and then the report is on its way.
            writing.shutdown().await.ok();
        }
    }
    report.await
}
