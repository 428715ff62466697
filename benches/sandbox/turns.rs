//! What takes turns: a sandboxed run, bare python, bwrap, Docker.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    figures::{at_most, median, milliseconds},
};

pub(crate) const PYTHON: &str = "/usr/bin/python3";
pub(crate) const HELLO: &str = "print(\"hi\")";
pub(crate) const IMAGE: &str = "livecode-test/python";
/// A round with Docker takes as long as thirty others.
const DOCKER_EVERY: usize = 20;
/// The environment of a sandboxed program, for all.
const ENVIRONMENT: [(&str, &str); 4] =
    [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/tmp"), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8")];

/// One of those that take turns.
pub(crate) struct Entry<'a> {
    name: &'static str,
    /// It takes part in every so many rounds.
    every: usize,
    run: Box<dyn FnMut() -> Result<()> + 'a>,
    /// Waits, when its turn is over, for what it has set going.
    settle: Box<dyn FnMut() -> Result<()> + 'a>,
    /// The most that its ratio may be.
    bound: Option<f64>,
    pub(crate) times: Vec<f64>,
    /// To the first entry's time in the same round.
    pub(crate) ratios: Vec<f64>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(name: &'static str, every: usize, run: Box<dyn FnMut() -> Result<()> + 'a>) -> Self {
        let settle = Box::new(|| Ok(()));
        Self { name, every, run, settle, bound: None, times: Vec::new(), ratios: Vec::new() }
    }

    pub(crate) fn settled_by(mut self, settle: impl FnMut() -> Result<()> + 'a) -> Self {
        self.settle = Box::new(settle);
        self
    }

    pub(crate) fn bound(mut self, ratio: f64) -> Self {
        self.bound = Some(ratio);
        self
    }

    pub(crate) fn command(name: &'static str, every: usize, mut command: Command) -> Self {
        Self::new(name, every, Box::new(move || hello(&mut command)))
    }

    pub(crate) fn median(&self) -> f64 {
        median(&mut self.times.clone())
    }

    pub(crate) fn ratio(&self) -> f64 {
        median(&mut self.ratios.clone())
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn print(&self) {
        let (time, ratio, n) = (self.median(), self.ratio(), self.times.len());
        let bound = self.bound.map_or_else(String::new, |bound| format!(" ({})", at_most(ratio, bound)));
        println!("  {}: p50 {time:.2} ms, {ratio:.2} of bare, n = {n}{bound}", self.name);
    }
}

/// What one leaves for later (the kernel's taking down of namespaces, our making of the next world) isn't the next one's.
const PAUSE: Duration = Duration::from_millis(5);

/// Each round begins with another one, so that nobody always has the same one's remains to bear.
pub(crate) fn in_turns(rounds: usize, entries: &mut [Entry<'_>]) -> Result<()> {
    const WARM_UP: usize = 5;
    for round in 0..rounds + WARM_UP {
        let mut times = vec![None; entries.len()];
        for turn in 0..entries.len() {
            let index = (round + turn) % entries.len();
            let entry = &mut entries[index];
            if round % entry.every == 0 {
                thread::sleep(PAUSE);
                let began = Instant::now();
                (entry.run)()?;
                times[index] = Some(milliseconds(began.elapsed()));
                (entry.settle)()?;
            }
        }
        if round < WARM_UP {
            continue;
        }
        let first = times[0];
        for (entry, time) in entries.iter_mut().zip(times) {
            entry.times.extend(time);
            entry.ratios.extend(time.zip(first).map(|(time, first)| time / first));
        }
    }
    Ok(())
}

pub(crate) fn bare() -> Command {
    command(PYTHON, &["-c", HELLO])
}

/// In the environment of a sandboxed program.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(ENVIRONMENT);
    command
}

pub(crate) fn hello(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.stdout == b"hi\n" { Ok(()) } else { Err(format!("{command:?} gave {output:?}").into()) }
}

pub(crate) fn bwrap() -> std::result::Result<Entry<'static>, &'static str> {
    let mut command = Command::new("bwrap");
    if !command.arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Err("bwrap: not here, install bubblewrap");
    }
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr"]);
    for directory in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        match fs::read_link(directory) {
            Ok(target) => command.arg("--symlink").args([target.as_path(), Path::new(directory)]),
            Err(_) => command.args(["--ro-bind-try", directory, directory]),
        };
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    command.args([PYTHON, "-c", HELLO]).env_clear().envs(ENVIRONMENT);
    Ok(Entry::command("bwrap, all namespaces", 1, command))
}

/// What the engine is told of each container of others.
pub(crate) const DOCKER_LIMITS: &str = "--network none --read-only --tmpfs /tmp:size=64m --cap-drop ALL --user 1000:1000 \
                                        --security-opt no-new-privileges --memory 128m --memory-swap 128m --cpus 1 --pids-limit 64";

/// Why there's no Docker here.
pub(crate) fn no_docker() -> Option<&'static str> {
    let works = |arguments: &[&str]| {
        Command::new("docker").args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !works(&["version"]) {
        return Some("docker: no engine here, start dockerd and make the images by scripts/docker-images");
    }
    (!works(&["image", "inspect", IMAGE]))
        .then_some("docker: no images here, make them by scripts/docker-images")
}

pub(crate) fn docker() -> std::result::Result<Entry<'static>, &'static str> {
    match no_docker() {
        Some(reason) => Err(reason),
        None => Ok(docker_run(DOCKER_EVERY)),
    }
}

pub(crate) fn docker_run(every: usize) -> Entry<'static> {
    let mut command = Command::new("docker");
    command.args(["run", "--rm"]).args(DOCKER_LIMITS.split_whitespace()).args([IMAGE, PYTHON, "-c", HELLO]);
    Entry::command("docker run, no network, limits", every, command)
}
