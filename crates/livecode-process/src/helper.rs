//! The host's end of a `livecode-init`: starts it, hands runs over, sees to its end.

use std::{
    fs::{self, File},
    io::{self, IoSlice, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use livecode_core::{Error, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
        SocketFlags, SocketType, recv, sendmsg, shutdown, socketpair,
    },
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::{
    cgroup::Parent,
    layer::{Layer, LeftOut},
    protocol::{Booted, Hello, Kind, Message, Order, READY},
    warm::{Kinds, WarmStats},
};

/// The program, static, of this build.
static INIT: &[u8] = include_bytes!(env!("LIVECODE_INIT"));

/// How long the helper may take to greet back, and to take its runs with it at the end, before it's killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shown to every program where they exist. Nothing else of the host's is, but the prefix of an interpreter.
const SHOWN: [&str; 14] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
];

/// Settings of runtimes, whose directories are named by version: where they are, how they begin, and what of them is shown. Of
/// PHP's only the command line's, for others may hold secrets.
const SETTINGS: [(&str, &str, &str); 3] =
    [("/etc", "java-", ""), ("/etc/php", "", "cli"), ("/etc/php", "", "mods-available")];

/// The first host uid of runs where we're root: above what systemd and the container tools hand out
/// (<https://systemd.io/UIDS-GIDS/>). Each helper has 1,024 of its own, of as many as there are for 262,144 of them.
const FIRST_UID: u32 = 0x7000_0000;
const UIDS: u32 = 1024;
const SETS_OF_UIDS: u64 = 0x4_0000;

/// What tells the worlds of one helper from another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Appearance {
    /// Shown besides the system's directories.
    pub(crate) shown: Vec<PathBuf>,
}

/// A running helper. Its end is the end of all that it started: see [`Helper::drop`].
#[derive(Debug)]
pub(crate) struct Helper {
    /// None only while being dropped.
    socket: Option<OwnedFd>,
    child: Child,
    /// The same: its pid may be another's by the time we look, where the host reaps everybody's children.
    pidfd: OwnedFd,
    landlock: u8,
    /// What it makes sandboxes ahead for.
    pub(crate) kinds: Mutex<Kinds>,
    /// What it last said of these.
    pub(crate) stats: Mutex<WarmStats>,
    /// Removed after the helper's end, which fields' order sees to.
    _cgroups: Option<Parent>,
}

impl Helper {
    /// Starts one and waits until its root is built: about 2 ms.
    ///
    /// # Errors
    ///
    /// `Unsupported` where this machine doesn't let us make namespaces or mounts, with the remedy; `Internal`.
    pub(crate) fn start(
        appearance: &Appearance,
        cgroups: Option<Parent>,
        seccomp: &[u8],
        left_out: LeftOut,
        warm_bytes: u64,
    ) -> Result<Self> {
        let privileged = may_administrate();
        if !privileged && rustix::process::geteuid().is_root() {
            return Err(Error::unsupported(
                "this process is root without one of CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_CHOWN, CAP_KILL and \
                 CAP_DAC_OVERRIDE, without which programs can't be other users, or not be ended: run as an ordinary user, or grant them",
            ));
        }
        let mode = if privileged { "root" } else { "user" };
        let (socket, theirs) = packet_pair().map_err(internal("make a socket"))?;
        let first_uid = if privileged { Some(first_uid()?) } else { None };
        let child = spawn(theirs, mode, left_out).map_err(internal("start livecode-init"))?;
        let pidfd = Pid::from_raw(child.id().cast_signed())
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|error| internal("watch livecode-init")(error.into()))?;
        let hello = Hello {
            first_uid,
            seccomp: seccomp.to_vec(),
            shown: shown(appearance),
            cgroups: cgroups.as_ref().map(Parent::controllers).unwrap_or_default(),
            cgroup_name: cgroups.as_ref().map(|cgroups| cgroups.name.clone()).unwrap_or_default(),
            warm_bytes,
        };
        let fds: Vec<BorrowedFd<'_>> =
            cgroups.iter().flat_map(Parent::descriptors).map(AsFd::as_fd).collect();
        let greeted = send(socket.as_fd(), &hello.encode(), &fds, SendFlags::empty());
        let mut helper = Self {
            socket: Some(socket),
            child,
            pidfd,
            landlock: 0,
            kinds: Mutex::default(),
            stats: Mutex::default(),
            _cgroups: cgroups,
        };
        greeted.map_err(internal("greet livecode-init"))?;
        helper.landlock = helper.hear_greeting()?;
        Ok(helper)
    }

    /// The version of Landlock that its programs get, 0 for none.
    pub(crate) fn landlock(&self) -> u8 {
        self.landlock
    }

    fn hear_greeting(&self) -> Result<u8> {
        let Some(socket) = &self.socket else {
            return Err(gone());
        };
        if !ready_within(socket.as_fd(), PATIENCE).map_err(internal("wait for livecode-init"))? {
            return Err(Error::internal(format!(
                "livecode-init did not answer within {} s",
                PATIENCE.as_secs()
            )));
        }
        let mut answer = vec![0; 4096];
        match recv(socket, &mut answer[..], RecvFlags::empty()) {
            Ok((_, len)) if len == READY.len() + 1 && answer.starts_with(READY) => Ok(answer[len - 1]),
            Ok((_, 0)) => Err(Error::internal("livecode-init died while it was setting up")),
            Ok((_, len)) => Err(Error::unsupported(format!(
                "this machine does not let us build a sandbox: {}: {}",
                String::from_utf8_lossy(&answer[..len]),
                remedy()
            ))),
            Err(error) => Err(internal("hear from livecode-init")(error.into())),
        }
    }

    /// Hands an order over, with the descriptors that [`Order`] lists. Doesn't wait for what comes of it.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the helper is gone.
    pub(crate) async fn order(&self, order: &Order, fds: Vec<OwnedFd>) -> Result<()> {
        let socket = self.socket.as_ref().ok_or_else(gone)?;
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let packet = order.encode();
        match send(socket.as_fd(), &packet, &borrowed, SendFlags::DONTWAIT) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Hundreds of runs were handed over at once: wait where nobody is held up.
                let socket = socket.try_clone().map_err(internal("copy a descriptor"))?;
                let sent = tokio::task::spawn_blocking(move || {
                    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
                    send(socket.as_fd(), &packet, &borrowed, SendFlags::empty())
                });
                sent.await
                    .map_err(|error| internal("hand a run over")(io::Error::other(error)))?
                    .map_err(|_| gone())
            }
            Err(_) => Err(gone()),
        }
    }

    /// Tells it of a kind of program, and what boots ahead for it.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the helper is gone.
    pub(crate) async fn learn(&self, kind: Kind, booted: &Booted, archive: Option<OwnedFd>) -> Result<()> {
        let booted = sealed("kind", &[&booted.encode()], MemfdFlags::empty())
            .map_err(internal("make a memory file"))?;
        let fds = std::iter::once(booted).chain(archive).collect();
        self.order(&Order::Learn(kind), fds).await
    }

    /// Ends it and all that it started, and waits until that is so.
    pub(crate) fn end(&self) {
        if let Some(socket) = &self.socket {
            // Where that's impossible the other end is gone.
            shutdown(socket, Shutdown::Both).ok();
        }
        let ended = ready_within(self.pidfd.as_fd(), PATIENCE);
        if !matches!(ended, Ok(true)) {
            tracing::warn!(?ended, "livecode-init did not end by itself and is killed");
            if let Err(error) = pidfd_send_signal(&self.pidfd, Signal::KILL) {
                tracing::warn!(%error, "livecode-init could not be killed");
            }
        }
    }

    /// Whether it can't be asked any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.socket.as_ref().is_none_or(|socket| ready_within(socket.as_fd(), Duration::ZERO).unwrap_or(true))
    }
}

impl Drop for Helper {
    /// Closes the socket, upon which the helper ends and everything with it, and waits until that is so.
    fn drop(&mut self) {
        self.end();
        // A host that ignores SIGCHLD has had it reaped already.
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "livecode-init was reaped by somebody else");
        }
    }
}

fn gone() -> Error {
    Error::unavailable("livecode-init is gone: the run can be tried again")
}

fn internal(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::internal(format!("can't {what}")).with_source(error)
}

/// What to do where namespaces or mounts are refused.
fn remedy() -> &'static str {
    "as root it needs CAP_SYS_ADMIN; as an ordinary user it needs user namespaces \
     (sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1, \
     kernel.apparmor_restrict_unprivileged_userns=0 where they exist) and a whole /proc \
     (in a container: --security-opt systempaths=unconfined --security-opt seccomp=unconfined)"
}

/// Whether we can make namespaces without a user namespace, and give runs users of their own: hand them their pipes, let them into
/// their cgroups, and end them.
fn may_administrate() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let needed = CapabilitySet::SYS_ADMIN
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP
        | CapabilitySet::CHOWN
        | CapabilitySet::KILL
        | CapabilitySet::DAC_OVERRIDE;
    rustix::process::geteuid().is_root()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// The first of a helper's uids: the sets go round by how many helpers this process has started, from where its pid and its
/// PID namespace say, so that two hosts with the same pid in two containers don't have the same ones.
fn first_uid() -> Result<u32> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let namespace = fs::metadata("/proc/self/ns/pid").map_err(internal("read /proc/self"))?.ino();
    let own = (namespace.rotate_left(32) ^ u64::from(std::process::id())).wrapping_mul(SPREAD) >> 32;
    let set = own.wrapping_add(STARTED.fetch_add(1, Ordering::Relaxed)) % SETS_OF_UIDS;
    let first = FIRST_UID + u32::try_from(set).unwrap_or(0) * UIDS;
    for map in ["uid_map", "gid_map"] {
        let text = fs::read_to_string(format!("/proc/self/{map}")).map_err(internal("read /proc/self"))?;
        if !is_mapped(&text, first) {
            return Err(Error::unsupported(format!(
                "this process is root in a user namespace without the users and groups {FIRST_UID} and up, which runs                  get: map them ({map} has {}), or run as an ordinary user",
                text.trim()
            )));
        }
    }
    Ok(first)
}

/// Whether a user namespace has all of a helper's ids, by its map: ranges of first inside, first outside, length.
fn is_mapped(map: &str, first: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [inside, _, len] = numbers[..] else { return false };
        let first = u64::from(first);
        inside <= first && first + u64::from(UIDS) <= inside + len
    })
}

fn shown(appearance: &Appearance) -> Vec<String> {
    let more = appearance.shown.iter().map(|path| path.to_string_lossy().into_owned());
    SHOWN.into_iter().map(str::to_owned).chain(settings()).chain(more).collect()
}

fn settings() -> impl Iterator<Item = String> {
    SETTINGS.into_iter().flat_map(|(directory, start, part)| {
        let versions = fs::read_dir(directory).into_iter().flatten().flatten();
        let ours =
            versions.filter(move |entry| entry.file_name().as_encoded_bytes().starts_with(start.as_bytes()));
        ours.map(move |entry| entry.path().join(part).to_string_lossy().trim_end_matches('/').to_owned())
    })
}

/// Two ends of a packet socket, closed on exec.
fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Bytes as a file in memory that nobody can change any more.
pub(crate) fn sealed(name: &str, parts: &[&[u8]], flags: MemfdFlags) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    parts.iter().try_for_each(|part| file.write_all(part))?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

fn spawn(socket: OwnedFd, mode: &str, left_out: LeftOut) -> io::Result<Child> {
    // Kernels before 6.3 don't know the flag, and need it not.
    let program = sealed("livecode-init", &[INIT], MemfdFlags::EXEC)
        .or_else(|_| sealed("livecode-init", &[INIT], MemfdFlags::empty()))?;
    // std starts it by posix_spawn, whatever the size of this process.
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.arg0("livecode-init").arg(mode);
    #[cfg(feature = "leave-out")]
    command.arg(left_out.0.to_string());
    if !left_out.has(Layer::EmptyEnvironment) {
        command.env_clear();
    }
    command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn send(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one packet"));
    }
    sendmsg(socket, &[IoSlice::new(packet)], &mut control, flags | SendFlags::NOSIGNAL)?;
    Ok(())
}

fn ready_within(fd: BorrowedFd<'_>, time: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::INIT;

    #[test]
    fn only_a_build_for_tests_can_leave_layers_out() {
        // Where the host's root would stay.
        let name = b"/new/old";
        assert_eq!(INIT.windows(name.len()).any(|bytes| bytes == name), cfg!(feature = "leave-out"));
    }
}
