//! The file system that every run of this helper starts from: read-only, built from a list, the host's left behind.
//!
//! It's built once. A run gets a copy of these few mounts, which it can't undo since they come from a namespace with more
//! power, and adds what is its own: `/proc`, and one small file system in memory for `/work`, `/tmp` and `/dev/shm`.

use std::{
    env,
    fs::{self, Metadata},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, symlink},
    },
    path::{Component, Path},
};

use crate::{
    in_force,
    layer::Layer,
    sys::{
        self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MS_NODEV, MS_NOEXEC, MS_NOSUID,
        MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, bind, mount, pivot_root, unmount,
    },
};

/// What holds for all that is the host's.
const LOCKED: u64 = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Files in /proc that tell about the host or reach into its kernel, beyond what permissions keep away.
const MASKED: [&str; 19] = [
    "/proc/cgroups",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/crypto",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/softirqs",
    "/proc/iomem",
    "/proc/modules",
    "/proc/partitions",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kallsyms",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/kmsg",
    "/proc/kpagecount",
];

/// Directories of the same kind, which are covered by an empty one.
const HIDDEN: [&str; 8] = [
    "/proc/acpi",
    "/proc/bus",
    "/proc/driver",
    "/proc/fs",
    "/proc/irq",
    "/proc/pressure",
    "/proc/scsi",
    "/proc/tty",
];

/// What the loader reads before it loads a program, by this link: a file that is there only as long as an interpreter boots.
const PRELOAD_LINK: &str = "/new/etc/ld.so.preload";
pub(crate) const PRELOAD: &str = "/work/.livecode-preload";

/// What our own directories and the program's entry file take, and are not counted.
const OWN_INODES: u64 = 4;

/// Covers what is hidden: an empty directory of the root's, before it's covered itself.
const EMPTY: &str = "/dev/shm";

/// Who the program is, by name.
const ACCOUNTS: [(&str, &str); 4] = [
    ("/new/etc/passwd", "root:x:0:0:root:/:/bin/false\nsandbox:x:1000:1000:sandbox:/work:/bin/sh\n"),
    ("/new/etc/group", "root:x:0:\nsandbox:x:1000:\n"),
    ("/new/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"),
    ("/new/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// Adds to an error what was being done.
pub(crate) fn during<T>(what: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{what}: {error}")))
}

/// Builds it and makes it the root of this process, which must be alone in its mount and PID namespaces.
pub(crate) fn build(shown: &[String]) -> io::Result<()> {
    during("make mounts private", mount("none", "/", "", MS_REC | MS_PRIVATE, ""))?;
    // Two steps, since what is shown may be beneath the directory that we begin in.
    during(
        "mount a tmpfs on /tmp",
        mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=755"),
    )?;
    fs::create_dir("/tmp/old")?;
    fs::create_dir("/tmp/new")?;
    during("leave the host's root", pivot_root("/tmp", "/tmp/old"))?;
    env::set_current_dir("/")?;
    during("mount the new root", mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755"))?;
    for directory in ["etc", "proc", "dev", "dev/shm", "tmp", "work"] {
        fs::create_dir(format!("/new/{directory}"))?;
    }
    for (path, text) in ACCOUNTS {
        fs::write(path, text)?;
    }
    symlink(PRELOAD, PRELOAD_LINK)?;
    for device in DEVICES {
        let (from, to) = (format!("/old/dev/{device}"), format!("/new/dev/{device}"));
        fs::write(&to, "")?;
        during(
            &from,
            bind(&from, &to).and_then(|()| sys::lock_down(&to, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID)),
        )?;
    }
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), format!("/new/dev/{name}"))?;
    }
    for path in shown {
        during(&format!("show {path}"), show(path))?;
    }
    if !in_force(Layer::Root) {
        fs::create_dir("/new/old")?;
        bind("/old", "/new/old")?;
        sys::lock_down("/new/old", LOCKED)?;
    }
    // A new /proc can only be mounted by somebody without power over the host where a whole one is visible already: this is
    // the one that each run's own covers. It holds the helper and its runs, not the host.
    during("mount /proc", mount("proc", "/new/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""))?;
    during("let go of the host's root", unmount("/old"))?;
    env::set_current_dir("/new")?;
    during("enter the new root", pivot_root(".", "."))?;
    during("let go of the passage", unmount("."))?;
    env::set_current_dir("/")?;
    if !in_force(Layer::ReadOnly) {
        return Ok(());
    }
    during("make / read-only", mount("none", "/", "", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, ""))
}

/// Shows a path of the host's at the same place, as it is there: a link as a link, else by a read-only bind mount.
fn show(path: &str) -> io::Result<()> {
    let path = Path::new(path);
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let inside = path.strip_prefix("/").unwrap_or(path);
    let (from, to) = (Path::new("/old").join(inside), Path::new("/new").join(inside));
    let metadata = match fs::symlink_metadata(&from) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if to.symlink_metadata().is_ok() {
        // Beneath something that is shown already.
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    if metadata.is_symlink() {
        return symlink(fs::read_link(&from)?, &to);
    }
    if metadata.is_dir() {
        fs::create_dir(&to)?
    } else {
        fs::write(&to, "")?
    }
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    bind(&from, &to)?;
    sys::lock_down(&to, attributes(&metadata))
}

/// Of a mount of the host's. What somebody leaves out stays where only few may write: such a directory is not a test's.
fn attributes(metadata: &Metadata) -> u64 {
    let everybody_writes = metadata.mode() & 0o002 != 0;
    [
        (MOUNT_ATTR_RDONLY, Layer::ReadOnly),
        (MOUNT_ATTR_NOSUID, Layer::NoSuid),
        (MOUNT_ATTR_NODEV, Layer::NoDevices),
    ]
    .into_iter()
    .filter(|(_, layer)| in_force(*layer) || !everybody_writes)
    .fold(0, |all, (attribute, _)| all | attribute)
}

/// What is a run's own. For its init, which is alone in its namespaces.
pub(crate) fn furnish((file_bytes, files): (u64, u32)) -> io::Result<()> {
    let read_only = if in_force(Layer::ReadOnly) { MS_RDONLY } else { 0 };
    // Without a PID namespace the helper's /proc has to do.
    if in_force(Layer::PidNamespace) {
        let flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | read_only;
        during("mount /proc", mount("proc", "/proc", "proc", flags, ""))?;
    }
    for (cover, paths) in [("/dev/null", &MASKED[..]), (EMPTY, &HIDDEN[..])] {
        for path in paths.iter().filter(|_| in_force(Layer::Masks)) {
            match bind(cover, path) {
                Ok(()) => {}
                // This kernel has no such file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return during(path, Err(error)),
            }
        }
    }
    let size = format!("{},mode=755,uid=1000,gid=1000", room(file_bytes, files));
    during("mount the work directory", mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, &size))?;
    for (directory, at) in [("work", "/work"), ("shm", "/dev/shm"), ("tmp", "/tmp")] {
        let directory = format!("/tmp/{directory}");
        fs::create_dir(&directory)?;
        during(at, bind(&directory, at))?;
    }
    env::set_current_dir("/work")
}

/// Hides how many descriptors init has, where it's the copy of an interpreter that an ordinary user's helper has started: the
/// kernel takes its memory for that user's, whatever is done to it.
pub(crate) fn hide_descriptors() -> io::Result<()> {
    ["/proc/1/fd", "/proc/1/fdinfo"].into_iter().try_for_each(|path| during(path, bind(EMPTY, path)))
}

/// Gives an interpreter that boots outside a run's world a work directory, which nobody else sees.
pub(crate) fn mount_for_boot() -> io::Result<()> {
    let options = "size=1m,mode=755";
    during("mount a work directory", mount("tmpfs", "/work", "tmpfs", MS_NOSUID | MS_NODEV, options))?;
    env::set_current_dir("/work")
}

fn inodes(files: u32) -> u64 {
    u64::from(files) + OWN_INODES
}

fn room(file_bytes: u64, files: u32) -> String {
    let size = if in_force(Layer::Size) { file_bytes } else { 0 };
    let inodes = if in_force(Layer::Inodes) { inodes(files) } else { 0 };
    // 0 is no limit.
    format!("size={size},nr_inodes={inodes}")
}

/// Gives a run's file system, by a directory that it's mounted at, another size: for a step that may have less or more than
/// the one before. Fails where it holds more.
pub(crate) fn resize(directory: &OwnedFd, (file_bytes, files): (u64, u32)) -> io::Result<()> {
    let options = [("size", file_bytes.to_string()), ("nr_inodes", inodes(files).to_string())];
    let options = options.each_ref().map(|(name, value)| (*name, value.as_str()));
    sys::reconfigure(directory, &options)
}
