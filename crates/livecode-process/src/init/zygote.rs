//! A fork server, as the helper sees it: an interpreter that booted once and stopped at its first look at a program, outside any
//! run's world. Each run's init is a copy of it, and the program a copy of that.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use crate::{
    cgroup::Group,
    confine::soft_stack,
    in_force,
    layer::Layer,
    packets,
    parked::{self, Ahead, CONTROL, LIBRARY, STOPPED, strings},
    protocol::Message,
    root::during,
    sys::{self, Fork, PollFd, Resource},
    told::{Settings, Told},
};

/// After so many copies, or so long, another one boots to take its place: they share what it drew at random when it began.
const COPIES: u32 = 500;
const AGE: Duration = Duration::from_secs(60);

/// When it's ended though the other one isn't ready, which takes a while where all processors are busy.
const MOST_COPIES: u32 = 1_000;
const GREATEST_AGE: Duration = Duration::from_secs(120);

/// How long it may take to answer.
const ANSWER_MS: i32 = 2_000;

/// How long it may take to boot.
const BOOT: Duration = Duration::from_secs(60);

pub(crate) struct Zygote {
    pub(crate) control: OwnedFd,
    pidfd: OwnedFd,
    pub(crate) group: Option<Group>,
    /// What it writes while it boots.
    output: PipeReader,
    began: Instant,
    copies: u32,
    /// What it held when it was ready; 0 where nobody counts it.
    pub(crate) bytes: u64,
    pub(crate) is_ready: bool,
    /// Whether it didn't do what it was told.
    pub(crate) is_broken: bool,
}

impl Zygote {
    /// Starts one; it will say when it has stopped.
    pub(crate) fn start(ahead: &Ahead<'_>, group: Option<Group>, stack_bytes: u64) -> io::Result<Self> {
        let (control, theirs) = packets::pair()?;
        let (output, written) = io::pipe()?;
        let unified = group.as_ref().and_then(Group::unified);
        match during("fork", sys::fork(sys::CLONE_NEWNS, unified))? {
            Fork::Child => {
                // Said to nobody: the helper sees its end of the socket close.
                boot(ahead, &theirs, &written, group.as_ref(), stack_bytes).ok();
                sys::exit(127)
            }
            Fork::Parent { pidfd, .. } => {
                let (began, copies, bytes) = (Instant::now(), 0, 0);
                let (is_ready, is_broken) = (false, false);
                Ok(Self { control, pidfd, group, output, began, copies, bytes, is_ready, is_broken })
            }
        }
    }

    /// Hears that it has stopped, and tells it all that its copies have to know. Fails where it won't do.
    pub(crate) fn listen(&mut self, settings: &Settings) -> io::Result<()> {
        let mut said = [0; 1];
        let (len, _) = packets::receive(&self.control, &mut said)?;
        if self.is_ready || &said[..len] != STOPPED {
            return Err(io::Error::other("the interpreter ended before it looked for a program"));
        }
        let mut polled = [PollFd::readable(&self.output)];
        sys::poll(&mut polled, Some(0))?;
        if polled[0].is_ready() {
            // It belongs to each program's output.
            return Err(io::Error::other("the interpreter wrote while it booted"));
        }
        packets::send(&self.control, &Told::Settings(settings.clone()).encode())?;
        self.bytes = self.group.as_ref().and_then(Group::memory_bytes).unwrap_or(0);
        self.is_ready = true;
        Ok(())
    }

    /// Whether another one should take its place.
    pub(crate) fn is_ageing(&self) -> bool {
        self.copies >= COPIES || self.began.elapsed() > AGE
    }

    /// Whether it's no good any more, another one or not.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.copies >= MOST_COPIES || self.began.elapsed() > GREATEST_AGE
    }

    pub(crate) fn is_stuck(&self) -> bool {
        !self.is_ready && self.began.elapsed() > BOOT
    }

    /// Makes a copy of it as the init of a world: its pid and pidfd. It's our child.
    pub(crate) fn copy(&mut self, told: &Told, fds: &[i32]) -> io::Result<(i32, OwnedFd)> {
        let copied = self.try_copy(told, fds);
        self.is_broken |= copied.is_err();
        copied
    }

    fn try_copy(&mut self, told: &Told, fds: &[i32]) -> io::Result<(i32, OwnedFd)> {
        self.copies += 1;
        packets::send_with(&self.control, &told.encode(), fds)?;
        let mut polled = [PollFd::readable(&self.control)];
        sys::poll(&mut polled, Some(ANSWER_MS))?;
        if !polled[0].is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the fork server doesn't answer"));
        }
        let mut answer = [0; 256];
        let (len, fds) = packets::receive(&self.control, &mut answer)?;
        let pid = answer[..len].try_into().map(i32::from_le_bytes);
        match (pid, fds.into_iter().next()) {
            (Ok(pid), Some(pidfd)) => Ok((pid, pidfd)),
            _ if len == 0 => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the fork server is gone")),
            _ => Err(io::Error::other(String::from_utf8_lossy(&answer[..len]).into_owned())),
        }
    }

    /// Ends it; its copies live on.
    pub(crate) fn end(self) -> Option<Group> {
        // Where it can't be killed or reaped it's dead already.
        sys::kill(&self.pidfd).ok();
        sys::reap(&self.pidfd).ok();
        self.group
    }
}

/// Becomes the interpreter. It keeps three powers of ours: to make a world as the user that pays for it, in a network and in a
/// cgroup of ours.
fn boot(
    ahead: &Ahead<'_>,
    control: &OwnedFd,
    output: &PipeWriter,
    group: Option<&Group>,
    stack_bytes: u64,
) -> io::Result<()> {
    if let Some(group) = group {
        group.enter()?;
    }
    let booted = parked::read_booted(&ahead.booted)?;
    let command = booted.steps.iter().flatten().next_back().ok_or(io::ErrorKind::NotFound)?;
    let (path, argv, env) = strings(command)?;
    crate::root::mount_for_boot()?;
    // Numbers that are copied to could be what is copied from: the helper may have many. Now these are the lowest.
    sys::close_others(&mut [control.as_raw_fd(), ahead.library.as_raw_fd(), output.as_raw_fd()])?;
    let (control, library, output) = (control.try_clone()?, ahead.library.try_clone()?, output.try_clone()?);
    let (nothing, input) = io::pipe()?;
    drop(input);
    sys::dup2(&nothing, 0)?;
    sys::dup2(&output, 1)?;
    sys::dup2(&output, 2)?;
    sys::dup2(&control, CONTROL)?;
    sys::dup2(&library, LIBRARY)?;
    sys::close_others(&mut [CONTROL, LIBRARY])?;
    if in_force(Layer::LimitStack) {
        // The C library reads it once.
        sys::lower_rlimit(Resource::Stack, soft_stack(stack_bytes, group.is_some()), u64::MAX)?;
    }
    sys::umask(0o022);
    if in_force(Layer::Session) {
        sys::setsid()?;
    }
    // What stays out for an init must not be missing for another reason.
    if in_force(Layer::NoNewPrivs) && in_force(Layer::Capabilities) {
        sys::keep_few_powers()?;
    }
    parked::with_library(&booted.files, || Err(sys::execve(&path, &argv, &env)))
}
