//! The host's end of a `livecode-init`: starts it, hands runs over, sees to its end.

use std::{
    fs::{self, File},
    io::{self, IoSlice, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use livecode_core::{Error, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, recv, sendmsg, socketpair,
    },
    process::{PidfdFlags, pidfd_open},
};

use crate::{
    cgroup::Parent,
    layer::{Layer, LeftOut},
    protocol::{Begin, Hello, Message, READY},
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
/// (<https://systemd.io/UIDS-GIDS/>). Each sandbox has 1,024 of its own.
const FIRST_UID: u32 = 0x7000_0000;

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
    landlock: u8,
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
    ) -> Result<Self> {
        let privileged = may_administrate();
        if !privileged && rustix::process::geteuid().is_root() {
            return Err(Error::unsupported(
                "this process is root without one of CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID and CAP_SETPCAP, so that \
                 a program would be host's root: run as an ordinary user, or grant them",
            ));
        }
        let mode = if privileged { "root" } else { "user" };
        let (socket, theirs) = packet_pair().map_err(internal("make a socket"))?;
        let child = spawn(theirs, mode, left_out).map_err(internal("start livecode-init"))?;
        let hello = Hello {
            first_uid: privileged.then(|| FIRST_UID + child.id() % 0x4_0000 * 1024),
            seccomp: seccomp.to_vec(),
            shown: shown(appearance),
            cgroups: cgroups.as_ref().map(Parent::controllers).unwrap_or_default(),
            cgroup_name: cgroups.as_ref().map(|cgroups| cgroups.name.clone()).unwrap_or_default(),
        };
        let fds: Vec<BorrowedFd<'_>> =
            cgroups.iter().flat_map(Parent::descriptors).map(AsFd::as_fd).collect();
        let greeted = send(socket.as_fd(), &hello.encode(), &fds, SendFlags::empty());
        let mut helper = Self { socket: Some(socket), child, landlock: 0, _cgroups: cgroups };
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

    /// Hands a run over, with the descriptors that [`Begin`] lists. Doesn't wait for its beginning.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the helper is gone.
    pub(crate) async fn begin(&self, begin: &Begin, fds: Vec<OwnedFd>) -> Result<()> {
        let socket = self.socket.as_ref().ok_or_else(gone)?;
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let packet = begin.encode();
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

    /// Whether it can't be asked any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.socket.as_ref().is_none_or(|socket| ready_within(socket.as_fd(), Duration::ZERO).unwrap_or(true))
    }
}

impl Drop for Helper {
    /// Closes the socket, upon which the helper ends and everything with it, and waits until that is so.
    fn drop(&mut self) {
        self.socket = None;
        let ended = rustix::process::Pid::from_raw(self.child.id().cast_signed())
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(io::Error::from)
            .and_then(|pidfd| ready_within(pidfd.as_fd(), PATIENCE));
        if !matches!(ended, Ok(true)) {
            tracing::warn!(?ended, "livecode-init did not end by itself and is killed");
            if let Err(error) = self.child.kill() {
                tracing::warn!(%error, "livecode-init could not be killed");
            }
        }
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

/// Whether we can make namespaces without a user namespace, and give runs users of their own.
fn may_administrate() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let needed =
        CapabilitySet::SYS_ADMIN | CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP;
    rustix::process::geteuid().is_root()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
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
pub(crate) fn sealed(name: &str, bytes: &[u8], flags: MemfdFlags) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

fn spawn(socket: OwnedFd, mode: &str, left_out: LeftOut) -> io::Result<Child> {
    // Kernels before 6.3 don't know the flag, and need it not.
    let program = sealed("livecode-init", INIT, MemfdFlags::EXEC)
        .or_else(|_| sealed("livecode-init", INIT, MemfdFlags::empty()))?;
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
