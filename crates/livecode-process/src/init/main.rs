//! `livecode-init`: makes worlds for programs, and is the init of each.
//!
//! One process of it serves one sandbox of a host: static, single-threaded and small, so that starting a run costs the
//! same whatever the host is. It does all cloning, in a PID namespace of its own, whose init it is: when it ends, however,
//! everything that it started is dead. It ends when the host's end of the socket is closed, however that happens.
//!
//! ```text
//! host ── outer (waits, so that the host has one child to reap)
//!           └── helper: PID 1 of all runs, at home in a minimal root   ← the socket
//!                 ├── init: PID 1 of one run, in namespaces of its own
//!                 │     └── the program
//!                 └── init …
//! ```

mod ahead;
mod artifact;
mod cgroup;
mod collect;
mod confine;
mod landlock;
#[path = "../layer.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the host's layers are there as well, and are its tests' to name"
)]
mod layer;
mod networks;
mod packets;
mod parked;
mod pool;
#[macro_use]
#[path = "../protocol.rs"]
mod protocol;
mod root;
mod run;
mod runs;
mod step;
mod sys;
mod told;
mod world;
mod worlds;
mod zygote;

use std::{
    env,
    fs::{self, File},
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use crate::{
    layer::{Layer, LeftOut},
    protocol::{Hello, Message},
    sys::Fork,
};

/// Of the helper, which gives itself no name: each run does. Its network comes later.
const NAMESPACES: [(u64, Option<Layer>); 3] =
    [(sys::CLONE_NEWPID, None), (sys::CLONE_NEWNS, None), (sys::CLONE_NEWIPC, Some(Layer::HelperIpc))];

/// Whether a layer is not left out, as tests do and nobody else can.
pub(crate) fn in_force(layer: Layer) -> bool {
    #[cfg(not(feature = "leave-out"))]
    let left_out = LeftOut();
    #[cfg(feature = "leave-out")]
    let left_out = LeftOut(left_out());
    !left_out.has(layer)
}

/// What is left out, as bits.
pub(crate) fn left_out() -> u64 {
    if cfg!(feature = "leave-out") {
        env::args().nth(2).and_then(|bits| bits.parse().ok()).unwrap_or(0)
    } else {
        0
    }
}

/// The flags of those namespaces that are not left out.
pub(crate) fn namespaces(all: &[(u64, Option<Layer>)]) -> u64 {
    let wanted = all.iter().filter(|(_, layer)| layer.is_none_or(in_force));
    wanted.fold(0, |flags, (flag, _)| flags | flag)
}

fn main() {
    // SAFETY: the host gave us its socket as standard input, and nothing else here owns that descriptor.
    let host = unsafe { OwnedFd::from_raw_fd(0) };
    if let Err(error) = begin(&host) {
        refuse(&host, &error);
    }
    sys::exit(0)
}

/// The answer to a greeting that can't be followed.
fn refuse(host: &OwnedFd, error: &io::Error) {
    // Where the host is gone, nobody wants to know.
    packets::send(host, error.to_string().as_bytes()).ok();
}

fn begin(host: &OwnedFd) -> io::Result<()> {
    if in_force(Layer::CloseOthers) {
        sys::close_others(&mut [])?;
    }
    // Nothing of the host's ways is a program's: it might ignore what reaps children, or be spared when memory is short.
    // A terminal's Ctrl-C is for the host, which may want to let its programs finish.
    if in_force(Layer::Session) {
        sys::setsid()?;
    }
    sys::reset_signals();
    // Some eight descriptors for each run.
    sys::raise_rlimit(sys::Resource::Nofile)?;
    no_privilege_when_memory_is_short()?;
    let ordinary_user = env::args().nth(1).as_deref() == Some("user");
    let (ours, theirs) = packets::pair()?;
    let namespaces = namespaces(&NAMESPACES) | if ordinary_user { sys::CLONE_NEWUSER } else { 0 };
    match root::during("make namespaces", sys::fork(namespaces, None))? {
        Fork::Parent { pid, .. } => {
            drop(theirs);
            if ordinary_user {
                root::during(
                    "map the user namespace",
                    map_ids(&format!("/proc/{pid}"), 0, own_ids()?, false),
                )?;
            }
            packets::send(&ours, b"g")?;
            // Only the helper holds the socket from here on: the host must see it end when the helper does.
            sys::dup2(&File::open("/dev/null")?, 0)?;
            sys::set_name(c"livecode-outer")?;
            sys::wait(pid);
        }
        Fork::Child => {
            drop(ours);
            // Our parent has one thread, so this can't strike while it lives.
            sys::die_with_parent()?;
            if packets::receive(&theirs, &mut [0; 1])?.0 == 0 {
                return Ok(());
            }
            drop(theirs);
            if let Err(error) = help(host) {
                refuse(host, &error);
            }
        }
    }
    Ok(())
}

fn no_privilege_when_memory_is_short() -> io::Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    match fs::read_to_string(FILE)?.trim().parse() {
        Ok(0..=1000) => Ok(()),
        Ok(i32::MIN..=i32::MAX) | Err(_) => fs::write(FILE, "0"),
    }
}

fn own_ids() -> io::Result<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let own = fs::metadata("/proc/self")?;
    Ok((own.uid(), own.gid()))
}

/// Maps `inside` in the user namespace of a process to one user and group outside.
fn map_ids(process: &str, inside: u32, outside: (u32, u32), may_set_groups: bool) -> io::Result<()> {
    if !may_set_groups {
        fs::write(format!("{process}/setgroups"), "deny")?;
    }
    fs::write(format!("{process}/uid_map"), format!("{inside} {} 1", outside.0))?;
    fs::write(format!("{process}/gid_map"), format!("{inside} {} 1", outside.1))
}

fn help(host: &OwnedFd) -> io::Result<()> {
    let mut packet = vec![0; 256 * 1024];
    let (len, fds) = packets::receive(host, &mut packet)?;
    let hello = Hello::decode(&packet[..len]).map_err(|_| io::Error::other("the greeting is damaged"))?;
    drop(packet);
    sys::set_name(c"livecode-helper")?;
    root::build(&hello.shown)?;
    let parents = cgroup::Parents {
        directories: hello.cgroups.iter().copied().zip(fds).collect(),
        name: hello.cgroup_name.clone(),
    };
    if hello.first_uid.is_some() {
        root::during("keep powers as another user", sys::keep_powers())?;
    }
    let landlock = landlock::version();
    packets::send(host, &[protocol::READY, &[landlock]].concat())?;
    runs::serve(host, &hello, &parents, landlock)
}
