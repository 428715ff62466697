//! Makes worlds: a cgroup and namespaces, with an init in them that furnishes them and waits for its program.

use std::{
    io, mem,
    os::fd::{AsRawFd, OwnedFd},
    time::Instant,
};

use crate::{
    cgroup::{Entrances, Group, Parents, Weight},
    confine::Namespaces,
    in_force,
    landlock::Landlock,
    layer::Layer,
    left_out, map_ids, namespaces,
    networks::{Network, Networks},
    packets,
    parked::Ahead,
    protocol::{Hello, Limits},
    root::during,
    run::in_cgroup,
    sys::{self, Fork, PollFd},
    told::{Copied, Settings, Told},
    world::{INSIDE_ID, World, be_init},
    zygote::Zygote,
};

const NAMESPACES: [(u64, Option<Layer>); 5] = [
    (sys::CLONE_NEWUSER, Some(Layer::UserNamespace)),
    (sys::CLONE_NEWPID, Some(Layer::PidNamespace)),
    (sys::CLONE_NEWNS, Some(Layer::MountNamespace)),
    (sys::CLONE_NEWIPC, Some(Layer::Ipc)),
    (sys::CLONE_NEWUTS, Some(Layer::Uts)),
];

/// The host uids that belong to one helper.
const WORLDS_AT_A_TIME: u32 = 1024;

/// What init needs to furnish a world, however little the program may use: that is put in force when it comes.
const ENOUGH_MEMORY: u64 = 16 << 20;
const ENOUGH_PROCESSES: u32 = 16;
const ENOUGH_CPU_MILLIS: u32 = 1000;

/// So many cgroups that have served are kept for runs to come, and as many networks.
pub(crate) const KEPT: usize = 32;

/// What a fork server may hold at the least: it makes more copies than its program makes.
const ZYGOTE_MEMORY: u64 = 256 << 20;

/// A world that no program is in yet.
pub(crate) struct Vacant {
    pub(crate) slot: u32,
    /// None where it's the helper's own.
    pub(crate) uid: Option<u32>,
    pub(crate) group: Option<Group>,
    /// None where it has the helper's.
    pub(crate) network: Option<Network>,
    pub(crate) control: OwnedFd,
    pub(crate) pidfd: OwnedFd,
    /// Where its files will be; none as long as init hasn't told.
    pub(crate) work: Option<OwnedFd>,
    /// Its mounts.
    pub(crate) mounts: Option<OwnedFd>,
    /// What it was made for.
    pub(crate) limits: Limits,
    pub(crate) made: Instant,
    /// What it held when it was ready; 0 where nobody counts it.
    pub(crate) bytes: u64,
}

/// What is in a world before its program.
pub(crate) enum Content<'a> {
    Nothing,
    /// Interpreters that boot in it.
    Booted(Ahead<'a>),
    /// The copy of one.
    Copy(&'a mut Zygote),
}

impl Vacant {
    /// Hears what init has to say, which is there; says whether it's well.
    pub(crate) fn listen(&mut self) -> bool {
        match packets::receive(&self.control, &mut [0; 1]) {
            Ok((1, fds)) => {
                let mut fds = fds.into_iter();
                (self.work, self.mounts) = (fds.next(), fds.next());
            }
            Ok(_) | Err(_) => return false,
        }
        self.bytes = self.group.as_ref().and_then(Group::memory_bytes).unwrap_or(0);
        self.is_ready()
    }

    /// Puts in force what its cgroup limits.
    pub(crate) fn confine(&mut self, limits: &Limits) -> io::Result<()> {
        if let Some(group) = &mut self.group {
            group.limit(&in_cgroup(limits))?;
            group.weigh(Weight::Usual)?;
        }
        let (file_bytes, files) = self.limits.room();
        self.limits = Limits { file_bytes, files, ..*limits };
        Ok(())
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.work.is_some()
    }
}

pub(crate) struct Worlds<'a> {
    hello: &'a Hello,
    parents: &'a Parents,
    landlock: Landlock,
    outside: Namespaces,
    networks: Networks,
    /// Cgroups that have served a run and can serve another.
    groups: Vec<Group>,
    /// Host uids that no world has, as offsets; and the first that none ever had.
    free_slots: Vec<u32>,
    slots: u32,
    made: u64,
}

impl<'a> Worlds<'a> {
    pub(crate) fn new(hello: &'a Hello, parents: &'a Parents, landlock_version: u8) -> io::Result<Self> {
        let networks = Networks::new()?;
        // With the one that this has entered.
        let outside = Namespaces::own()?;
        Ok(Self {
            hello,
            parents,
            landlock: Landlock::new(landlock_version, &hello.shown)?,
            outside,
            networks,
            groups: Vec::new(),
            free_slots: Vec::new(),
            slots: 0,
            made: 0,
        })
    }

    /// Makes one for a program with these limits. Doesn't wait for it to be furnished. What's left of one that fails is put
    /// into `rest`.
    pub(crate) fn make(
        &mut self,
        limits: &Limits,
        content: Content<'_>,
        rest: &mut Vec<Group>,
    ) -> io::Result<Vacant> {
        let made = Instant::now();
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        let limits = &Limits {
            memory_bytes: limits.memory_bytes.max(ENOUGH_MEMORY),
            processes: limits.processes.max(ENOUGH_PROCESSES),
            cpu_millis: limits.cpu_millis.max(ENOUGH_CPU_MILLIS),
            ..*limits
        };
        let network = if in_force(Layer::Network) {
            match during("make a network namespace", self.networks.take()) {
                Ok(network) => Some(network),
                Err(error) => {
                    self.free(slot, None);
                    return Err(error);
                }
            }
        } else {
            None
        };
        let mut group = None;
        match self.make_in(slot, limits, content, network.as_ref(), &mut group) {
            Ok((control, pidfd)) => {
                let (uid, limits, work, mounts, bytes) = (self.uid(slot), *limits, None, None, 0);
                Ok(Vacant { slot, uid, group, network, control, pidfd, work, mounts, limits, made, bytes })
            }
            Err(error) => {
                self.free(slot, network);
                rest.extend(group);
                Err(error)
            }
        }
    }

    /// Takes apart a world in which nothing is alive. Gives back a cgroup that can't serve another.
    pub(crate) fn take_apart(
        &mut self,
        slot: u32,
        network: Option<Network>,
        group: Option<Group>,
    ) -> Option<Group> {
        self.free(slot, network);
        let mut group = group?;
        if self.groups.len() >= KEPT || !group.begin_anew() {
            return Some(group);
        }
        self.groups.push(group);
        None
    }

    fn free(&mut self, slot: u32, network: Option<Network>) {
        self.free_slots.push(slot);
        network.into_iter().for_each(|network| self.networks.give_back(network));
    }

    /// Whether anything is kept for runs to come.
    pub(crate) fn keeps_parts(&self) -> bool {
        !self.groups.is_empty() || self.networks.has_free()
    }

    /// Keeps nothing; gives back the cgroups.
    pub(crate) fn let_go(&mut self) -> Vec<Group> {
        self.networks.let_go();
        mem::take(&mut self.groups)
    }

    fn uid(&self, slot: u32) -> Option<u32> {
        self.hello.first_uid.map(|first| first + if in_force(Layer::OwnUser) { slot } else { 0 })
    }

    fn make_in(
        &mut self,
        slot: u32,
        limits: &Limits,
        content: Content<'_>,
        network: Option<&Network>,
        made: &mut Option<Group>,
    ) -> io::Result<(OwnedFd, OwnedFd)> {
        if slot >= WORLDS_AT_A_TIME {
            return Err(io::Error::other("too many runs at a time for one sandbox: 1,024 are possible"));
        }
        let payer = self.uid(slot);
        let uid = payer.unwrap_or(0);
        let group = if self.parents.directories.is_empty() {
            None
        } else {
            let group = made.insert(self.groups.pop().map_or_else(|| self.make_group(), Ok)?);
            let is_booting = matches!(content, Content::Booted(_));
            let weight = if is_booting { Weight::Idle } else { Weight::Usual };
            during("limit the cgroup", group.limit(&in_cgroup(limits)).and_then(|()| group.weigh(weight)))?;
            Some(group)
        };
        let (control, inner) = packets::pair()?;
        let entered = group.as_deref().filter(|_| in_force(Layer::CgroupEntry)).and_then(Group::unified);
        // Who makes a user namespace pays for what is counted by user in it, such as pending signals and inotify's: else all
        // runs and the host's root would share one purse.
        let namespaces = namespaces(&NAMESPACES);
        let user = if in_force(Layer::UserNamespace) { INSIDE_ID } else { uid };
        let clear_groups = self.hello.first_uid.is_some() && in_force(Layer::Groups);
        let cgroup = group.as_deref().map(|group| self.parents.path(group));
        let room = limits.room();
        let ahead = match content {
            Content::Copy(zygote) => {
                let none = Entrances::default();
                let (kinds, entrances) = group.as_deref().map_or(&none, |group| &group.entrances).counted();
                let copied = Copied {
                    payer,
                    namespaces,
                    room,
                    user,
                    clear_groups,
                    cgroup,
                    entrances: kinds,
                    has_network: network.is_some(),
                };
                let fds: Vec<_> = [inner.as_raw_fd()]
                    .into_iter()
                    .chain(entrances)
                    .chain(network.map(|network| network.namespace.as_raw_fd()))
                    .chain(entered.map(|directory| directory.as_raw_fd()))
                    .collect();
                let (pid, pidfd) = during("copy an interpreter", zygote.copy(&Told::Copy(copied), &fds))?;
                return self.admit(pid, pidfd, control, uid);
            }
            Content::Booted(ahead) => Some(ahead),
            Content::Nothing => None,
        };
        let forked = match network {
            Some(network) => self.networks.within(network, || sys::fork_as(payer, namespaces, entered)),
            None => sys::fork_as(payer, namespaces, entered),
        };
        match during("make namespaces", forked)? {
            Fork::Child => {
                be_init(World {
                    room,
                    control: inner,
                    entrances: group.map(|group| mem::take(&mut group.entrances)).unwrap_or_default(),
                    seccomp: &self.hello.seccomp,
                    landlock: &self.landlock,
                    cgroup,
                    outside: &self.outside,
                    user,
                    clear_groups,
                    ahead,
                    interpreter: None,
                });
                sys::exit(0)
            }
            Fork::Parent { pid, pidfd } => self.admit(pid, pidfd, control, uid),
        }
    }

    /// Tells a new init who it is, and that it may go on.
    fn admit(&self, pid: i32, pidfd: OwnedFd, control: OwnedFd, uid: u32) -> io::Result<(OwnedFd, OwnedFd)> {
        let may_set_groups = self.hello.first_uid.is_some();
        let mapped = if in_force(Layer::UserNamespace) {
            map_ids(&format!("/proc/{pid}"), INSIDE_ID, (uid, uid), may_set_groups)
        } else {
            Ok(())
        };
        let ready = mapped.and_then(|()| packets::send(&control, b"g"));
        if let Err(error) = during("map the user namespace", ready) {
            let mut polled = [PollFd::readable(&control)];
            // One that has ended by itself has said why, and will be heard.
            if sys::poll(&mut polled, Some(0)).is_err() || !polled[0].is_ready() {
                sys::kill(&pidfd)?;
                sys::reap(&pidfd)?;
                return Err(error);
            }
        }
        Ok((control, pidfd))
    }

    /// What a fork server has to know.
    pub(crate) fn settings(&self, step: usize) -> Settings {
        Settings {
            seccomp: self.hello.seccomp.clone(),
            landlock: self.landlock.version,
            shown: self.hello.shown.clone(),
            left_out: left_out(),
            step: u32::try_from(step).unwrap_or(u32::MAX),
        }
    }

    fn make_group(&mut self) -> io::Result<Group> {
        self.made += 1;
        let mut group = during("make a cgroup", self.parents.make_group(self.made.to_string()))?;
        if in_force(Layer::CgroupEntry)
            && let Err(error) = self.parents.open(&mut group)
        {
            self.parents.remove(&group).ok();
            return during("open the cgroup", Err(error));
        }
        Ok(group)
    }

    /// A cgroup for a fork server, where there are cgroups.
    pub(crate) fn group_of_zygote(&mut self, limits: &Limits) -> io::Result<Option<Group>> {
        if self.parents.directories.is_empty() {
            return Ok(None);
        }
        let mut group = self.make_group()?;
        let limits =
            Limits { memory_bytes: limits.memory_bytes.max(ZYGOTE_MEMORY), processes: 64, ..*limits };
        match group.limit(&limits) {
            Ok(()) => Ok(Some(group)),
            Err(error) => {
                self.parents.remove(&group).ok();
                during("limit the cgroup", Err(error))
            }
        }
    }
}
