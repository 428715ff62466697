//! What is PID 1 in a container: waits for a program, runs it, and says what became of it.
//!
//! build.rs compiles it static, and the sandbox puts it into images, which need no shell and no C library for it. It is the init
//! that reaps what the program leaves, and the program's user, so that it needs no capability; that nobody looks into it is by its file,
//! which can be executed but not read, and by its being PID 1, which no signal from inside ends.

#![forbid(unsafe_code)]

mod collect;
mod counters;
mod landlock;
#[path = "../protocol.rs"]
mod protocol;
mod run;
mod talk;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
};

use rustix::process::{DumpableBehavior, getpid, set_dumpable_behavior};

use crate::{
    counters::Counters,
    protocol::{End, Kind, Ready, Report, Request},
    run::Ran,
    talk::Talk,
};

/// Where programs are, by its own name and not by that of the link to it.
const WORK: &str = "/box/work";
/// Where programs may write. The image's `/work` and `/tmp` are links into the first, so that one limit is for both.
const WRITABLE: [&str; 2] = ["/box", "/dev/shm"];

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        // The sandbox is gone, or reads this from the container's standard error.
        Err(error) => {
            writeln!(io::stderr(), "livecode-container-runner: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    if getpid().as_raw_nonzero().get() != 1 {
        return Err(io::Error::other("it's for containers, where it's the first process"));
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    for directory in [WORK, "/box/tmp"] {
        fs::create_dir(directory)?;
    }
    // Nobody opens them afterwards.
    let mut counters = Counters::open();
    let mut missing = counters.missing();
    missing.extend(not_in_force(&fs::read_to_string("/proc/self/status")?));
    if !landlock::restrict(&WRITABLE)? {
        missing.push(
            "what is in /sys is not hidden, because this kernel has no Landlock: run the engine on Linux 5.13 or newer with it".into(),
        );
    }
    let mut talk = Talk::new()?;
    talk.tell(Kind::Ready, &Ready { missing })?;
    let Some(request) = talk.request()? else { return Ok(()) };
    let report = match place(&request, &mut talk) {
        Ok(()) => steps(&request, &mut talk, &mut counters)?,
        Err(error) if is_full(&error) => Report { end: End::FilesFull, ..Report::default() },
        Err(error) => return Err(error),
    };
    collect::send(&request, &report, &mut talk)?;
    talk.tell(Kind::End, &report)?;
    talk.flush()
}

/// What the engine was told and the kernel doesn't say of this process, from which programs have it.
fn not_in_force(status: &str) -> Vec<String> {
    let is = |name: &str, wanted: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.is_some_and(|value| value.trim() == wanted)
    };
    let none = "0000000000000000";
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let missing = [
        (is("Seccomp", "2"), "the system call filter"),
        (is("NoNewPrivs", "1"), "that no new privileges are had"),
        (sets.into_iter().all(|set| is(set, none)), "that there are no capabilities"),
    ];
    let missing = missing.into_iter().filter(|(holds, _)| !holds);
    missing
        .map(|(_, what)| format!("{what} isn't in force: use a runtime that puts it in force, as runc"))
        .collect()
}

/// One after the other, as long as each exits with 0.
fn steps(request: &Request, talk: &mut Talk, counters: &mut Counters) -> io::Result<Report> {
    let mut report = Report { message: "there is nothing to run".into(), ..Report::default() };
    for place in 0..request.steps.len() {
        if place > 0 {
            talk.tell(Kind::Compiled, &())?;
            if !talk.may_go()? {
                return Ok(Report { end: End::Killed, step: place, ..report });
            }
        }
        report = Ran { request, place, talk, counters }.finish()?;
        if report.end != End::Exited(0) {
            break;
        }
    }
    Ok(report)
}

/// Puts the program's files where it finds them.
fn place(request: &Request, talk: &mut Talk) -> io::Result<()> {
    let mut full = None;
    for (path, length) in &request.files {
        let path = Path::new(WORK).join(path);
        let file = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path));
        let mut file = match file {
            Ok(file) => Some(file),
            Err(error) => {
                full.get_or_insert(error);
                None
            }
        };
        let mut left = usize::try_from(*length).map_err(io::Error::other)?;
        while left > 0 {
            let bytes = talk.file_bytes()?;
            left = left.checked_sub(bytes.len()).ok_or(io::ErrorKind::InvalidData)?;
            if let Some(open) = &mut file
                && let Err(error) = open.write_all(&bytes)
            {
                full.get_or_insert(error);
                file = None;
            }
        }
    }
    // What comes after the files is understood all the same.
    full.map_or(Ok(()), Err)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
