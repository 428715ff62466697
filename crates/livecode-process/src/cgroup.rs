//! Where on this machine cgroups of ours can be made: the directory, in each hierarchy, that all runs have theirs in.
//!
//! The cgroup that we find ourselves in is never touched. What a dead process of ours left is removed by the next one.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use livecode_core::{Error, Result};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat};

use crate::protocol::controller;

const REMEDY: &str = "run as the machine's root, or in a cgroup beneath one that belongs to its user (systemd 254 or newer: \
                      Delegate=yes and DelegateSubgroup=main), or name a directory that it may write, by \
                      `Builder::cgroup`, or lower the bar with `Isolation::BestEffort`";

/// The controllers that every run needs.
const NEEDED: [(&str, u8); 4] = [
    ("memory", controller::MEMORY),
    ("pids", controller::PIDS),
    ("cpu", controller::CPU),
    ("cpuacct", controller::CPUACCT),
];

/// The same on the unified hierarchy, where CPU time is counted without a controller.
const CONTROLLERS_V2: [&str; 3] = ["memory", "pids", "cpu"];
const ENABLE_V2: &str = "+memory +pids +cpu";

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
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .inspect_err(|_| remove_one(path))?;
        self.directories.push(Directory { controllers, path: path.to_owned(), fd });
        if controllers & controller::V2 != 0 {
            fs::write(path.join("cgroup.subtree_control"), ENABLE_V2)?;
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
    let read = |path| fs::read_to_string(path).map_err(|error| format!("can't read {path}: {error}"));
    let below = |mount: &Path, wished: &Path| mount.join(wished.strip_prefix("/").unwrap_or(wished));
    match Hierarchies::parse(&read("/proc/self/mountinfo")?)? {
        Hierarchies::V1(mounts) => {
            let base = |mount: PathBuf| wished.map_or(mount.clone(), |wished| below(&mount, wished));
            Ok(mounts.into_iter().map(|(controllers, mount)| (controllers, base(mount))).collect())
        }
        Hierarchies::V2(unified) => {
            let own = unified.own_directory(&read("/proc/self/cgroup")?);
            let base = match wished {
                Some(wished) => {
                    let base = below(&unified.mount, wished);
                    // Where it's not to be seen, we come from outside.
                    unified.open_for_us(&base, own.as_deref().unwrap_or(&unified.mount))?;
                    base
                }
                None => unified.nearest_delegated(&own?)?,
            };
            Ok(vec![(controller::V2 | controller::MEMORY | controller::PIDS | controller::CPU, base)])
        }
    }
}

/// What manages memory on this machine, by what is mounted.
#[derive(Debug, PartialEq)]
enum Hierarchies {
    V1(Vec<(u8, PathBuf)>),
    V2(Unified),
}

/// A mount of the unified hierarchy.
#[derive(Debug, PartialEq)]
struct Unified {
    mount: PathBuf,
    /// The cgroup that is seen there: in a container not always the root.
    root: PathBuf,
}

impl Hierarchies {
    /// Reads mountinfo. Where version 1 manages memory, a unified hierarchy beside it (systemd's hybrid) has no controllers.
    fn parse(mountinfo: &str) -> Result<Self, String> {
        let mut v1: Vec<(u8, PathBuf)> = Vec::new();
        let mut v2 = None;
        for Mount { root, path, kind, options } in mountinfo.lines().filter_map(Mount::parse) {
            match kind {
                "cgroup" => {
                    let has = |(name, bit): &(&str, u8)| {
                        options.split(',').any(|option| option == *name).then_some(*bit)
                    };
                    let controllers = NEEDED.iter().filter_map(has).fold(0, |all, bit| all | bit);
                    if controllers != 0 {
                        v1.push((controllers, path));
                    }
                }
                // The first: tools mount another one for themselves.
                "cgroup2" => {
                    v2.get_or_insert(Unified { mount: path, root });
                }
                _ => {}
            }
        }
        let there = v1.iter().fold(0, |all, (controllers, _)| all | controllers);
        if there & controller::MEMORY != 0 {
            return match NEEDED.iter().find(|(_, bit)| there & bit == 0) {
                None => Ok(Self::V1(v1)),
                Some((name, _)) => {
                    Err(format!("the cgroup controller {name} is not mounted on this machine"))
                }
            };
        }
        v2.map(Self::V2).ok_or_else(|| "no cgroups are mounted on this machine".into())
    }
}

/// A line of mountinfo.
struct Mount<'a> {
    root: PathBuf,
    path: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let (mut mount, mut file_system) = (mount.split(' ').skip(3), file_system.split(' '));
        Some(Self {
            root: mount.next()?.into(),
            path: mount.next()?.into(),
            kind: file_system.next()?,
            options: file_system.nth(1)?,
        })
    }
}

impl Unified {
    /// Where our own cgroup is, by what `/proc/self/cgroup` says.
    fn own_directory(&self, own: &str) -> Result<PathBuf, String> {
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .ok_or("we are in no cgroup of version 2")?;
        let inside = Path::new(own).strip_prefix(&self.root).ok();
        // It begins with `..` where the cgroup namespace isn't ours.
        let inside = inside.filter(|path| path.components().all(|part| matches!(part, Component::Normal(_))));
        match inside {
            // Joined to nothing, a path would end in a slash.
            Some(inside) if inside.as_os_str().is_empty() => Ok(self.mount.clone()),
            Some(inside) => Ok(self.mount.join(inside)),
            None => Err(format!("our cgroup {own} is not to be seen in {}", self.mount.display())),
        }
    }

    /// The nearest ancestor of our own cgroup that lets its children be limited by us. Our own isn't, since we're in it: but
    /// for the root of all, where processes and limits may be side by side.
    fn nearest_delegated(&self, own: &Path) -> Result<PathBuf, String> {
        let above = own.ancestors().skip(usize::from(own != self.mount));
        let mut refused = Vec::new();
        for base in above.take_while(|path| path.starts_with(&self.mount)) {
            match self.open_for_us(base, own) {
                Ok(()) => return Ok(base.to_owned()),
                Err(reason) => refused.push(reason),
            }
        }
        // The farther away, the more are refused for the same reason.
        refused.truncate(2);
        Err(format!("no cgroup lets us limit children of ours ({})", refused.join("; ")))
    }

    /// Makes sure that cgroups can be made in `base`, limited, and entered from `own`.
    fn open_for_us(&self, base: &Path, own: &Path) -> Result<(), String> {
        let at = base.display();
        let missing_in = |file: &str| {
            let list =
                fs::read_to_string(base.join(file)).map_err(|error| format!("{at}/{file}: {error}"))?;
            let missing = |name: &&str| !list.split_whitespace().any(|other| other == *name);
            Ok::<_, String>(CONTROLLERS_V2.into_iter().find(missing))
        };
        if let Some(name) = missing_in("cgroup.controllers")? {
            return Err(format!("{at} was not given the controller {name}"));
        }
        let may_write = |path: &Path| {
            accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)
                .map_err(|error| format!("{} can't be written: {}", path.display(), io::Error::from(error)))
        };
        may_write(base)?;
        // Whoever starts a process in another cgroup needs this of the nearest that is above both.
        let common = own.ancestors().find(|path| base.starts_with(path)).unwrap_or(&self.mount);
        may_write(&common.join("cgroup.procs"))
            .map_err(|reason| format!("nobody may go from {} to {at}: {reason}", own.display()))?;
        if missing_in("cgroup.subtree_control")?.is_none() {
            return Ok(());
        }
        fs::write(base.join("cgroup.subtree_control"), ENABLE_V2).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                format!("{at} has processes, which belong in a cgroup beneath it")
            }
            _ => format!("{at}/cgroup.subtree_control: {error}"),
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of mountinfo.
    fn line(root: &str, path: &str, kind: &str, options: &str) -> String {
        format!("30 23 0:26 {root} {path} rw,nosuid shared:9 - {kind} {kind} rw,{options}\n")
    }

    fn v1(controllers: &[&str]) -> String {
        let one = |name: &&str| line("/", &format!("/sys/fs/cgroup/{name}"), "cgroup", name);
        controllers.iter().map(one).collect()
    }

    #[test]
    fn version_1_is_found_by_its_controllers() {
        let mounts = v1(&["memory", "pids", "cpu,cpuacct", "freezer"]);
        let expected = [
            (controller::MEMORY, "memory"),
            (controller::PIDS, "pids"),
            (controller::CPU | controller::CPUACCT, "cpu,cpuacct"),
        ];
        let expected = expected.map(|(bits, name)| (bits, Path::new("/sys/fs/cgroup").join(name)));
        assert_eq!(Hierarchies::parse(&mounts), Ok(Hierarchies::V1(expected.to_vec())));
        assert_eq!(
            Hierarchies::parse(&v1(&["memory", "cpu,cpuacct"])),
            Err("the cgroup controller pids is not mounted on this machine".into())
        );
        assert!(Hierarchies::parse("").is_err());
    }

    #[test]
    fn a_unified_hierarchy_beside_version_1_is_ignored() {
        let unified = line("/", "/sys/fs/cgroup/unified", "cgroup2", "nsdelegate");
        let all = v1(&["memory", "pids", "cpu,cpuacct"]);
        for mounts in [format!("{unified}{all}"), format!("{all}{unified}")] {
            assert!(matches!(Hierarchies::parse(&mounts), Ok(Hierarchies::V1(_))), "{mounts}");
        }
    }

    #[test]
    fn version_2_manages_memory_where_version_1_does_not() {
        let first = line("/", "/sys/fs/cgroup", "cgroup2", "nsdelegate");
        let mounts = v1(&["net_cls"]) + &first + &line("/", "/run/tool/cgroup2", "cgroup2", "");
        let expected = Unified { mount: "/sys/fs/cgroup".into(), root: "/".into() };
        assert_eq!(Hierarchies::parse(&mounts), Ok(Hierarchies::V2(expected)));
    }

    #[test]
    fn our_own_cgroup_is_found_where_it_is_mounted() {
        let own = |root: &str, own: &str| {
            let unified = Unified { mount: "/sys/fs/cgroup".into(), root: root.into() };
            unified.own_directory(&format!("1:name=systemd:/x\n0::{own}\n")).ok()
        };
        assert_eq!(own("/", "/"), Some("/sys/fs/cgroup".into()));
        assert_eq!(own("/", "/a.slice/b.service"), Some("/sys/fs/cgroup/a.slice/b.service".into()));
        // A container that sees the machine's names, and its own subtree.
        assert_eq!(own("/docker/1", "/docker/1/main"), Some("/sys/fs/cgroup/main".into()));
        assert_eq!(own("/docker/1", "/docker/1"), Some("/sys/fs/cgroup".into()));
        assert_eq!(own("/docker/1", "/docker/2"), None);
        // Outside of our cgroup namespace.
        assert_eq!(own("/", "/../a.slice"), None);
    }
}
