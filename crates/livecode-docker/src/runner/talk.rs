//! The way to the sandbox: its frames on standard input, ours on standard output.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    io::{Errno, read, write},
    stdio::{stdin, stdout},
};
use serde::Serialize;

use crate::protocol::{CHUNK, Damaged, HEADER, Kind, Request, first, header};

/// As long as nobody has asked for anything. The sandbox makes a new one before that: what waits for longer has lost it.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// More is taken from the program only when this has been sent.
const PENDING: usize = 4 * CHUNK;

#[derive(Debug)]
pub(crate) struct Talk {
    heard: Vec<u8>,
    pending: Vec<u8>,
    /// The sandbox has closed its end.
    pub(crate) is_over: bool,
}

/// A frame of the sandbox's.
pub(crate) type Frame = (Kind, Vec<u8>);

impl Talk {
    pub(crate) fn new() -> io::Result<Self> {
        fcntl_setfl(stdin(), OFlags::NONBLOCK)?;
        fcntl_setfl(stdout(), OFlags::NONBLOCK)?;
        Ok(Self { heard: Vec::new(), pending: Vec::new(), is_over: false })
    }

    /// What is to be waited for here, besides the sandbox's frames.
    pub(crate) fn events(&self) -> PollFlags {
        if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT }
    }

    pub(crate) fn ends<'a>() -> [BorrowedFd<'a>; 2] {
        [stdin(), stdout()]
    }

    pub(crate) fn has_room(&self) -> bool {
        self.pending.len() < PENDING
    }

    /// Sends a message, when there's room for it.
    pub(crate) fn tell(&mut self, kind: Kind, message: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(message).map_err(io::Error::other)?;
        self.say(kind, &text)
    }

    pub(crate) fn say(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend(header(kind, bytes.len()));
        self.pending.extend(bytes);
        self.send()
    }

    /// Sends as much as there is room for.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match write(stdout(), &self.pending) {
                Ok(len) => drop(self.pending.drain(..len)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends all of it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        while !self.pending.is_empty() {
            wait(&mut [PollFd::from_borrowed_fd(stdout(), PollFlags::OUT)], None)?;
            self.send()?;
        }
        Ok(())
    }

    /// Takes a part of what the sandbox has sent: what isn't used yet is better kept on the way than here.
    pub(crate) fn hear(&mut self) -> io::Result<()> {
        match take(stdin())? {
            None => self.is_over = true,
            Some(bytes) => self.heard.extend(bytes),
        }
        Ok(())
    }

    /// The next frame that is there whole.
    pub(crate) fn frame(&mut self) -> io::Result<Option<Frame>> {
        let damaged = |Damaged| io::Error::new(ErrorKind::InvalidData, "what the sandbox says is no frame");
        let Some((kind, length)) = first(&self.heard).map_err(damaged)? else { return Ok(None) };
        let rest = self.heard.split_off(HEADER + length);
        let frame = std::mem::replace(&mut self.heard, rest).split_off(HEADER);
        Ok(Some((kind, frame)))
    }

    /// Waits for a frame; none where the sandbox is gone or says nothing for `patience`.
    fn next(&mut self, patience: Option<Duration>) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frame()? {
                return Ok(Some(frame));
            }
            if self.is_over || !wait(&mut [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)], patience)? {
                return Ok(None);
            }
            self.hear()?;
        }
    }

    /// What is to be run; nothing where nobody wants anything.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        self.flush()?;
        match self.next(Some(IDLE))? {
            Some((Kind::Request, text)) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
            Some(_) | None => Ok(None),
        }
    }

    /// The next bytes of files.
    pub(crate) fn file_bytes(&mut self) -> io::Result<Vec<u8>> {
        match self.next(None)? {
            Some((Kind::Files, bytes)) => Ok(bytes),
            Some(_) | None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether the next step may begin.
    pub(crate) fn may_go(&mut self) -> io::Result<bool> {
        self.flush()?;
        loop {
            match self.next(None)? {
                Some((Kind::Go, _)) => return Ok(true),
                Some((Kind::Kill, _)) | None => return Ok(false),
                Some(_) => {}
            }
        }
    }
}

/// Whether anything happened in time.
pub(crate) fn wait(on: &mut [PollFd<'_>], patience: Option<Duration>) -> io::Result<bool> {
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    match poll(on, patience.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// As much as there is now: none where it's at its end, empty where there's nothing yet.
pub(crate) fn take(from: impl AsFd) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; CHUNK];
    match read(from, &mut buffer) {
        Ok(0) => Ok(None),
        Ok(len) => {
            buffer.truncate(len);
            Ok(Some(buffer))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(Some(Vec::new())),
        Err(error) => Err(error.into()),
    }
}
