//! Where on this machine cgroups of ours can be made: the directory, in each hierarchy, that all runs have theirs in.
//!
//! The cgroup that we find ourselves in is never touched. What a dead process of ours left is removed by the next one.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use livecode_core::{Error, Result};
use rustix::fs::{Mode, OFlags};

use crate::protocol::controller;

const REMEDY: &str = "run as root, or give it a cgroup of its own (systemd: Delegate=yes and DelegateSubgroup=main; \
                      otherwise a directory that it may write, by `Builder::cgroup`), or lower the bar with \
                      `Isolation::BestEffort`";

/// The controllers that every run needs.
const NEEDED: [(&str, u8); 4] = [
    ("memory", controller::MEMORY),
    ("pids", controller::PIDS),
    ("cpu", controller::CPU),
    ("cpuacct", controller::CPUACCT),
];

/// A directory of our own in each hierarchy, removed on drop.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) name: String,
    directories: Vec<Directory>,
}

#[derive(Debug)]
struct Directory {
    controllers: u8,
    path: PathBuf,
    fd: OwnedFd,
}

impl Parent {
    /// Makes one, in `wished` where the host says so, or where it can be.
    ///
    /// # Errors
    ///
    /// `Unsupported` with the reason and the remedy.
    pub(crate) fn make(wished: Option<&Path>) -> Result<Self> {
        let bases = bases(wished).map_err(|reason| Error::unsupported(format!("{reason}: {REMEDY}")))?;
        let mut parent = Self { name: own_name().map_err(unreadable)?, directories: Vec::new() };
        for (controllers, base) in bases {
            remove_stale(&base);
            let path = base.join(&parent.name);
            parent.add(controllers, &path).map_err(|error| {
                Error::unsupported(format!("can't make the cgroup {}: {error}: {REMEDY}", path.display()))
            })?;
        }
        Ok(parent)
    }

    fn add(&mut self, controllers: u8, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        self.directories.push(Directory { controllers, path: path.to_owned(), fd });
        if controllers & controller::V2 != 0 {
            fs::write(path.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
        }
        Ok(())
    }

    pub(crate) fn controllers(&self) -> Vec<u8> {
        self.directories.iter().map(|directory| directory.controllers).collect()
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.directories.iter().map(|directory| &directory.fd)
    }
}

impl Drop for Parent {
    /// The helper has removed all of it, unless it was killed.
    fn drop(&mut self) {
        for directory in &self.directories {
            remove(&directory.path);
        }
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::internal("can't read /proc/self").with_source(error)
}

/// The directories that ours may be made in, with their controllers.
fn bases(wished: Option<&Path>) -> Result<Vec<(u8, PathBuf)>, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("can't read mountinfo: {error}"))?;
    let below = |mount: PathBuf| match wished {
        Some(path) => mount.join(path.strip_prefix("/").unwrap_or(path)),
        None => mount,
    };
    let mut v1: Vec<(u8, PathBuf)> = Vec::new();
    let mut v2 = None;
    for Mount { path, kind, options } in mounts.lines().filter_map(Mount::parse) {
        match kind {
            "cgroup" => {
                let has = |(name, bit): &(&str, u8)| {
                    options.split(',').any(|option| option == *name).then_some(*bit)
                };
                let controllers = NEEDED.iter().filter_map(has).fold(0, |all, bit| all | bit);
                if controllers != 0 {
                    v1.push((controllers, below(path)));
                }
            }
            "cgroup2" => v2 = Some(path),
            _ => {}
        }
    }
    let there = v1.iter().fold(0, |all, (controllers, _)| all | controllers);
    if there & controller::MEMORY != 0 {
        return match NEEDED.iter().find(|(_, bit)| there & bit == 0) {
            None => Ok(v1),
            Some((name, _)) => Err(format!("the cgroup controller {name} is not mounted on this machine")),
        };
    }
    let mount = v2.ok_or("no cgroups are mounted on this machine")?;
    let base = match wished {
        Some(_) => below(mount),
        None => nearest_delegated(&mount)?,
    };
    Ok(vec![(controller::V2 | controller::MEMORY | controller::PIDS | controller::CPU, base)])
}

/// A line of mountinfo.
struct Mount<'a> {
    path: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        Some(Self {
            path: mount.split(' ').nth(4)?.into(),
            kind: file_system.next()?,
            options: file_system.nth(1)?,
        })
    }
}

/// On the unified hierarchy: the nearest ancestor of our own cgroup that lets its children be limited by us.
fn nearest_delegated(mount: &Path) -> Result<PathBuf, String> {
    let own =
        fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("can't read our cgroup: {error}"))?;
    let own =
        own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("we are in no cgroup of version 2")?;
    let own = mount.join(own);
    let candidates: Vec<&Path> = own.ancestors().skip(1).take_while(|path| path.starts_with(mount)).collect();
    let usable = |path: &Path| {
        let control = path.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&control).unwrap_or_default();
        let all =
            ["memory", "pids", "cpu"].iter().all(|name| enabled.split_whitespace().any(|word| word == *name));
        (all || fs::write(&control, "+memory +pids +cpu").is_ok())
            && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
            && rustix::fs::access(path.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
    };
    candidates
        .into_iter()
        .find(|path| usable(path))
        .map(Path::to_owned)
        .ok_or_else(|| format!("no cgroup above {} lets us limit children of ours", own.display()))
}

/// Tells whose it is: our PID namespace, our pid, when we began, and which of our sandboxes.
fn own_name() -> io::Result<String> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    let began = start_time(pid).ok_or_else(|| io::Error::other("no start time in /proc/self/stat"))?;
    Ok(format!("livecode-{}-{pid}-{began}-{}", pid_namespace()?, MADE.fetch_add(1, Ordering::Relaxed)))
}

fn pid_namespace() -> io::Result<u64> {
    fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino())
}

/// In ticks since boot; none where there is no such process.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Removes what processes of our PID namespace left that are no more.
fn remove_stale(base: &Path) {
    let Ok(namespace) = pid_namespace() else { return };
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let numbers: Option<Vec<u64>> = name
            .to_str()
            .and_then(|name| name.strip_prefix("livecode-"))
            .and_then(|rest| rest.split('-').map(|number| number.parse().ok()).collect());
        let Some([made_in, pid, began, _]) = numbers.as_deref() else {
            continue;
        };
        let alive = u32::try_from(*pid).ok().and_then(start_time) == Some(*began);
        if *made_in == namespace && !alive {
            remove(&entry.path());
        }
    }
}

/// Removes a directory of ours and those of its runs. Whatever is in use stays, which the kernel decides.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_one(&entry.path());
        }
    }
    remove_one(path);
}

fn remove_one(path: &Path) {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(path = %path.display(), %error, "a cgroup stays");
        }
        Ok(()) | Err(_) => {}
    }
}
