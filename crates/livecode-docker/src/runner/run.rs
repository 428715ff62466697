//! One step, from its start until nothing of it is alive.

use std::{
    env,
    ffi::OsString,
    io,
    io::{PipeReader, PipeWriter, pipe},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread::available_parallelism,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{Access, Mode, OFlags, access, fcntl_setfl, open, statvfs},
    io::Errno,
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getrlimit, kill_process_group,
        pidfd_open, prlimit, setrlimit, wait as wait_for_child,
    },
};

use crate::{
    WORK, WRITABLE,
    counters::{Counted, Counters},
    protocol::{End, Kind, OWN_FILES, Report, Request, Step},
    talk::{Talk, take, wait},
};

/// Orphans wait so long at most until they're reaped.
const TICK: Duration = Duration::from_millis(50);

/// A step of a request.
pub(crate) struct Ran<'a> {
    pub(crate) request: &'a Request,
    pub(crate) place: usize,
    pub(crate) talk: &'a mut Talk,
    pub(crate) counters: &'a mut Counters,
}

/// A step that runs, and our ends of its pipes; none of one that's at its end.
struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    input: Option<PipeWriter>,
    outputs: [(Kind, Option<PipeReader>); 2],
    began: Instant,
    /// Of the input, what the program is yet to take.
    unread: Vec<u8>,
    status: Option<WaitStatus>,
}

impl Ran<'_> {
    fn step(&self) -> &Step {
        &self.request.steps[self.place]
    }

    fn is_last(&self) -> bool {
        self.place + 1 == self.request.steps.len()
    }

    pub(crate) fn finish(mut self) -> io::Result<Report> {
        let before = self.counters.read();
        if has_more(self.step())? {
            return Ok(Report { end: End::FilesFull, step: self.place, ..Report::default() });
        }
        self.limit()?;
        let mut running = match self.start()? {
            Ok(running) => running,
            Err((end, message)) => {
                return Ok(Report { end, step: self.place, message, ..Report::default() });
            }
        };
        let cut_off = self.watch(&mut running, &before)?;
        let wall = running.began.elapsed();
        end_all(&mut running)?;
        self.rest(&mut running)?;
        let counted = self.counters.read();
        Ok(Report {
            end: cut_off.unwrap_or_else(|| ended(running.status)),
            step: self.place,
            wall_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            cpu_ns: counted.cpu_ns.saturating_sub(before.cpu_ns),
            memory_peak_bytes: counted.memory_peak_bytes,
            oom_kills: counted.oom_kills.saturating_sub(before.oom_kills),
            fork_failures: counted.fork_failures.saturating_sub(before.fork_failures),
            files_full: is_full(),
            message: String::new(),
        })
    }

    /// What a process inherits from us, before its first instruction; the rest it has from the engine. It can raise none beyond what
    /// this step or a later one may have.
    fn limit(&self) -> io::Result<()> {
        let inherit = |resource, least: u64, of: fn(&Step) -> u64| {
            let known = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let wanted = |step: &Step| of(step).max(least).min(known);
            let most = self.request.steps[self.place..].iter().map(wanted).max();
            setrlimit(resource, Rlimit { current: Some(wanted(self.step())), maximum: most })
        };
        inherit(Resource::Stack, LEAST_STACK, |step| step.stack_bytes)?;
        inherit(Resource::Nofile, OWN_OPEN_FILES, |step| step.open_files)?;
        Ok(())
    }

    /// Starts it, or says why it can't be started.
    fn start(&self) -> io::Result<Result<Running, (End, String)>> {
        let step = self.step();
        let Some((name, arguments)) = step.command.split_first() else {
            return Err(io::Error::other("a step has no command"));
        };
        let env: Vec<(String, String)> = environment(&step.env);
        // The step before, or what it compiled, may have thrown it away.
        let work = open(WORK, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
        if work.is_err() || access(WORK, Access::EXEC_OK).is_err() {
            return Ok(Err((End::Exited(126), String::new())));
        }
        let program = match find(name, &env) {
            Ok(program) => program,
            Err(message) => return Ok(Err((End::NotStarted, message))),
        };
        let (input, our_input) = pipe()?;
        let (our_output, output) = pipe()?;
        let (our_errors, errors) = pipe()?;
        let is_compiler = !self.is_last();
        let (kind, second) =
            if is_compiler { (Kind::Compiler, output.try_clone()?) } else { (Kind::Stdout, errors) };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(env)
            .current_dir(WORK)
            .stdin(Stdio::from(OwnedFd::from(input)))
            .stdout(Stdio::from(OwnedFd::from(output)))
            .stderr(Stdio::from(OwnedFd::from(second)))
            .process_group(0);
        let began = Instant::now();
        let child = match command.spawn() {
            Ok(child) => child,
            // Arguments that don't fit are the program's doing: as a shell says it.
            Err(error) if error.raw_os_error() == Some(Errno::TOOBIG.raw_os_error()) => {
                return Ok(Err((End::Exited(126), String::new())));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Err((End::Exited(126), String::new())));
            }
            Err(error) => return Ok(Err((End::NotStarted, error.to_string()))),
        };
        // So that nobody but the program has the other ends.
        drop(command);
        let pid = Pid::from_child(&child);
        let limit = |resource, value: u64| {
            let limit = Rlimit { current: Some(value), maximum: Some(value) };
            prlimit(Some(pid), resource, limit).ok();
        };
        // Its number is its own until it's reaped, which is ours to do. Fewer than ours only now, so that we have enough ourselves.
        limit(Resource::Nofile, step.open_files);
        limit(Resource::Cpu, Duration::from_nanos(step.cpu_ns).as_secs() + 2);
        for end in [our_output.as_fd(), our_errors.as_fd(), our_input.as_fd()] {
            fcntl_setfl(end, OFlags::NONBLOCK)?;
        }
        let wants_input = self.request.has_input && !is_compiler;
        Ok(Ok(Running {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            input: wants_input.then_some(our_input),
            outputs: [(kind, Some(our_output)), (Kind::Stderr, Some(our_errors))],
            began,
            unread: Vec::new(),
            status: None,
        }))
    }

    /// Until its main process has ended, or it's to be ended, and why.
    fn watch(&mut self, running: &mut Running, before: &Counted) -> io::Result<Option<End>> {
        let step = self.step();
        let (wall, cpu) = (Duration::from_nanos(step.wall_ns), Duration::from_nanos(step.cpu_ns));
        let processors = u32::try_from(available_parallelism().map_or(1, usize::from)).unwrap_or(1);
        if running.input.is_some() {
            self.talk.say(Kind::More, &[])?;
        }
        loop {
            let used = Duration::from_nanos(self.counters.read().cpu_ns.saturating_sub(before.cpu_ns));
            let (Some(wall_left), Some(cpu_left)) =
                (wall.checked_sub(running.began.elapsed()), cpu.checked_sub(used))
            else {
                return Ok(Some(if used >= cpu { End::CpuTime } else { End::WallTime }));
            };
            let least = Duration::from_millis(1);
            self.wait(running, TICK.min(wall_left).min(cpu_left / processors).max(least))?;
            self.talk.send()?;
            self.talk.hear()?;
            self.pass_on(running)?;
            if self.feed(running)? || self.talk.is_over {
                return Ok(Some(End::Killed));
            }
            reap(running, WaitOptions::NOHANG)?;
            if running.status.is_some() {
                return Ok(None);
            }
        }
    }

    fn wait(&self, running: &Running, patience: Duration) -> io::Result<()> {
        let [from, to] = Talk::ends();
        let mut on = vec![
            PollFd::new(&running.pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(from, PollFlags::IN),
            PollFd::from_borrowed_fd(to, self.talk.events()),
        ];
        if self.talk.has_room() {
            let open = running.outputs.iter().filter_map(|(_, output)| output.as_ref());
            on.extend(open.map(|output| PollFd::new(output, PollFlags::IN)));
        }
        if let Some(input) = running.input.as_ref().filter(|_| !running.unread.is_empty()) {
            on.push(PollFd::new(input, PollFlags::OUT));
        }
        wait(&mut on, Some(patience)).map(drop)
    }

    /// Passes on what the program has written, as long as there's room.
    fn pass_on(&mut self, running: &mut Running) -> io::Result<()> {
        for (kind, output) in &mut running.outputs {
            while let Some(open) = output
                && self.talk.has_room()
            {
                match take(open)? {
                    None => *output = None,
                    Some(bytes) if bytes.is_empty() => break,
                    Some(bytes) => self.talk.say(*kind, &bytes)?,
                }
            }
        }
        Ok(())
    }

    /// Gives the program what is there for it. Whether it's to be ended.
    fn feed(&mut self, running: &mut Running) -> io::Result<bool> {
        while let Some((kind, bytes)) = self.talk.frame()? {
            match kind {
                Kind::Kill => return Ok(true),
                Kind::Input if bytes.is_empty() => running.input = None,
                Kind::Input => running.unread = bytes,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        if running.unread.is_empty() {
            return Ok(false);
        }
        let Some(input) = &running.input else { return Ok(false) };
        match rustix::io::write(input, &running.unread) {
            Ok(len) => drop(running.unread.drain(..len)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // It doesn't want any more.
            Err(_) => {
                running.unread.clear();
                running.input = None;
                self.talk.say(Kind::NoMore, &[])?;
            }
        }
        if running.unread.is_empty() && running.input.is_some() {
            self.talk.say(Kind::More, &[])?;
        }
        Ok(false)
    }

    /// What was written before the end. Nobody is left who could write, though a pipe's other end may still be there: sent through a
    /// socket to itself it's garbage that the kernel collects when it likes.
    fn rest(&mut self, running: &mut Running) -> io::Result<()> {
        for (kind, output) in &running.outputs {
            let Some(open) = output else { continue };
            while let Some(bytes) = take(open)?.filter(|bytes| !bytes.is_empty()) {
                self.talk.say(*kind, &bytes)?;
                self.talk.flush()?;
            }
        }
        Ok(())
    }
}

/// A process that has less can't even begin.
const LEAST_STACK: u64 = 128 * 1024;

/// What we open ourselves is fewer.
const OWN_OPEN_FILES: u64 = 32;

/// What the image says, where it says something; the usual; and what is asked for.
fn environment(asked: &[(String, String)]) -> Vec<(String, String)> {
    let usual =
        [("HOME", WORK), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin")];
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let mut env: Vec<(String, String)> = env::vars_os()
        .filter_map(text)
        .filter(|(name, _)| !["HOME", "HOSTNAME", "TMPDIR"].contains(&&name[..]))
        .collect();
    for (name, value) in usual {
        if !env.iter().any(|(known, _)| known == name) {
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    for (name, value) in asked {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    env
}

/// Where a command is.
fn find(name: &str, env: &[(String, String)]) -> Result<PathBuf, String> {
    let is_program = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if name.contains('/') {
        let path = Path::new(WORK).join(name);
        return if is_program(&path) { Ok(path) } else { Err("it isn't there, or can't be executed".into()) };
    }
    let search = env.iter().find(|(known, _)| known == "PATH").map_or("", |(_, value)| value);
    let found = env::split_paths(search).map(|directory| directory.join(name)).find(|path| is_program(path));
    found.ok_or_else(|| format!("the image has none on its PATH ({search})"))
}

/// Ends all processes of the container but this one, and waits for that.
fn end_all(running: &mut Running) -> io::Result<()> {
    // As a process group, this is all that there are.
    match kill_process_group(Pid::INIT, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    reap(running, WaitOptions::empty())
}

/// Takes note of what has ended, until there's nothing more to take note of.
fn reap(running: &mut Running, how: WaitOptions) -> io::Result<()> {
    loop {
        match wait_for_child(how) {
            Ok(Some((pid, status))) if pid == running.pid => running.status = Some(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn ended(status: Option<WaitStatus>) -> End {
    let Some(status) = status.map(|status| ExitStatus::from_raw(status.as_raw())) else { return End::Failed };
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, Some(signal)) => End::Signaled(signal),
        (None, None) => End::Failed,
    }
}

/// Whether the step before left more than this one may have. The file system can't be made smaller for it.
fn has_more(step: &Step) -> io::Result<bool> {
    let files = statvfs(WRITABLE[0])?;
    let bytes = (files.f_blocks - files.f_bfree) * files.f_frsize;
    let count = (files.f_files - files.f_ffree).saturating_sub(OWN_FILES);
    Ok(bytes > step.file_bytes || count > step.files)
}

fn is_full() -> bool {
    WRITABLE.iter().any(|path| statvfs(*path).is_ok_and(|free| free.f_bavail == 0 || free.f_ffree == 0))
}
