//! What contains a program, layer by layer, so that the tests of this crate can leave one out and see what it's for.
//! Compiled into both the host and `livecode-init`. Without the feature `leave-out` everything is in force, which the
//! compiler knows: no code that could leave anything out is in such a build.

/// One of the layers between a program and the host. What stands behind what is in `tests/escapes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layer {
    /// The system call filter.
    Seccomp,
    /// `no_new_privs`.
    NoNewPrivs,
    /// The loss of all capabilities. Never left out together with [`Layer::UserNamespace`].
    Capabilities,
    /// The run's user namespace. Only root's runs can be without.
    UserNamespace,
    /// A host user for each run, where we're root.
    OwnUser,
    /// The loss of the host's supplementary groups, where we're root.
    Groups,
    /// The run's PID namespace; the helper's stays, so that everything ends with it.
    PidNamespace,
    /// The run's mount namespace.
    MountNamespace,
    /// The run's network namespace.
    Network,
    /// The helper's network namespace, behind it.
    HelperNetwork,
    /// The run's IPC namespace.
    Ipc,
    /// The helper's IPC namespace, behind it.
    HelperIpc,
    /// The run's UTS namespace, and the name in it.
    Uts,
    /// The run's cgroup namespace.
    CgroupNamespace,
    /// That the host's root is let go of. Left out, it stays at `/old`, read-only.
    Root,
    /// Read-only: `/`, `/proc`, and of what is shown only directories that everybody may write.
    ReadOnly,
    /// No devices, in the same directories.
    NoDevices,
    /// No set-user-id and no file capabilities, in the same directories.
    NoSuid,
    /// The covers over files of `/proc`.
    Masks,
    /// The size of a run's file system.
    Size,
    /// Its number of files.
    Inodes,
    /// Landlock.
    Landlock,
    /// That init can't be looked into.
    Dumpable,
    /// That descriptors of others are closed.
    CloseOthers,
    /// That init's environment is empty.
    EmptyEnvironment,
    /// Sessions of our own.
    Session,
    /// That no link is followed to a file to be brought back.
    Links,
    /// Joining the cgroup.
    CgroupEntry,
    /// The cgroup's limit on memory.
    CgroupMemory,
    /// The cgroup's limit on processes.
    CgroupPids,
    /// The cgroup's share of processors.
    CgroupCpu,
    /// The end by wall time.
    WallTime,
    /// The end by the cgroup's CPU time.
    CpuTime,
    /// The resource limit of that name.
    LimitCpu,
    /// The resource limit of that name.
    LimitFsize,
    /// The resource limit of that name.
    LimitData,
    /// The resource limit of that name.
    LimitStack,
    /// The resource limit of that name.
    LimitCore,
    /// The resource limit of that name.
    LimitNproc,
    /// The resource limit of that name.
    LimitNofile,
    /// The resource limit of that name.
    LimitMemlock,
    /// The resource limit of that name.
    LimitSigpending,
    /// The resource limit of that name.
    LimitMsgqueue,
    /// The resource limit of that name.
    LimitNice,
    /// The resource limit of that name.
    LimitRtprio,
    /// Reading back what is in force, before the program begins.
    Verify,
}

/// What is left out, as bits. Nothing, unless this is a build for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut(#[cfg(feature = "leave-out")] pub(crate) u64);

impl LeftOut {
    #[cfg(not(feature = "leave-out"))]
    pub(crate) const fn has(self, _layer: Layer) -> bool {
        false
    }

    #[cfg(feature = "leave-out")]
    pub(crate) const fn has(self, layer: Layer) -> bool {
        self.0 & 1 << layer as u8 != 0
    }
}
