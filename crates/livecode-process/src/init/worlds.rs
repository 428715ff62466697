//! Makes worlds: a cgroup and namespaces, with an init in them that furnishes them and waits for its program.

use std::{io, os::fd::OwnedFd};

use crate::{
    cgroup::{Entrances, Group, Parents},
    in_force,
    layer::Layer,
    map_ids, namespaces, packets,
    protocol::{Hello, Limits},
    root::during,
    run::in_cgroup,
    sys::{self, Fork},
    world::{INSIDE_ID, Namespaces, World, be_init},
};

const NAMESPACES: [(u64, Option<Layer>); 6] = [
    (sys::CLONE_NEWUSER, Some(Layer::UserNamespace)),
    (sys::CLONE_NEWPID, Some(Layer::PidNamespace)),
    (sys::CLONE_NEWNS, Some(Layer::MountNamespace)),
    (sys::CLONE_NEWNET, Some(Layer::Network)),
    (sys::CLONE_NEWIPC, Some(Layer::Ipc)),
    (sys::CLONE_NEWUTS, Some(Layer::Uts)),
];

/// The host uids that belong to one helper.
const WORLDS_AT_A_TIME: u32 = 1024;

/// What init needs to furnish a world, however little the program may use: that is put in force when it comes.
const ENOUGH_MEMORY: u64 = 16 << 20;
const ENOUGH_PROCESSES: u32 = 16;
const ENOUGH_CPU_MILLIS: u32 = 1000;

/// A world that no program is in yet.
pub(crate) struct Vacant {
    pub(crate) slot: u32,
    /// None where it's the helper's own.
    pub(crate) uid: Option<u32>,
    pub(crate) group: Option<Group>,
    pub(crate) control: OwnedFd,
    pub(crate) pidfd: OwnedFd,
    /// Where its files will be; none as long as init hasn't told.
    pub(crate) work: Option<OwnedFd>,
    /// What it was made for.
    pub(crate) limits: Limits,
}

impl Vacant {
    /// Hears what init has to say, which is there; says whether it's well.
    pub(crate) fn listen(&mut self) -> bool {
        match packets::receive(&self.control, &mut [0; 1]) {
            Ok((1, fds)) => self.work = fds.into_iter().next(),
            Ok(_) | Err(_) => return false,
        }
        self.work.is_some()
    }
}

pub(crate) struct Worlds<'a> {
    hello: &'a Hello,
    parents: &'a Parents,
    landlock: u8,
    outside: Namespaces,
    /// Host uids that no world has, as offsets; and the first that none ever had.
    free_slots: Vec<u32>,
    slots: u32,
    made: u64,
}

impl<'a> Worlds<'a> {
    pub(crate) fn new(hello: &'a Hello, parents: &'a Parents, landlock: u8) -> io::Result<Self> {
        let outside = Namespaces::own()?;
        Ok(Self { hello, parents, landlock, outside, free_slots: Vec::new(), slots: 0, made: 0 })
    }

    /// Makes one for a program with these limits. Doesn't wait for it to be furnished. What's left of one that fails is put
    /// into `rest`.
    pub(crate) fn make(&mut self, limits: &Limits, rest: &mut Vec<Group>) -> io::Result<Vacant> {
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
        let mut group = None;
        let made = self.make_in(slot, limits, &mut group);
        match made {
            Ok((control, pidfd)) => {
                Ok(Vacant { slot, uid: self.uid(slot), group, control, pidfd, work: None, limits: *limits })
            }
            Err(error) => {
                self.free(slot);
                rest.extend(group);
                Err(error)
            }
        }
    }

    /// Nothing has that uid any more.
    pub(crate) fn free(&mut self, slot: u32) {
        self.free_slots.push(slot);
    }

    fn uid(&self, slot: u32) -> Option<u32> {
        self.hello.first_uid.map(|first| first + if in_force(Layer::OwnUser) { slot } else { 0 })
    }

    fn make_in(
        &mut self,
        slot: u32,
        limits: &Limits,
        made: &mut Option<Group>,
    ) -> io::Result<(OwnedFd, OwnedFd)> {
        if slot >= WORLDS_AT_A_TIME {
            return Err(io::Error::other("too many runs at a time for one sandbox: 1,024 are possible"));
        }
        let payer = self.uid(slot);
        let uid = payer.unwrap_or(0);
        self.made += 1;
        let mut entrances = Entrances::default();
        let group = if self.parents.directories.is_empty() {
            None
        } else {
            let group = during("make a cgroup", self.parents.make_group(self.made.to_string()))?;
            let group = made.insert(group);
            during("limit the cgroup", group.limit(&in_cgroup(limits)))?;
            if in_force(Layer::CgroupEntry) {
                entrances = during("open the cgroup", self.parents.entrances(group))?;
            }
            Some(&*group)
        };
        let (control, inner) = packets::pair()?;
        let entered = group.filter(|_| in_force(Layer::CgroupEntry)).and_then(Group::unified);
        // Who makes a user namespace pays for what is counted by user in it, such as pending signals and inotify's: else all
        // runs and the host's root would share one purse.
        match during("make namespaces", sys::fork_as(payer, namespaces(&NAMESPACES), entered))? {
            Fork::Child => be_init(World {
                room: limits.room(),
                control: inner,
                entrances,
                seccomp: &self.hello.seccomp,
                landlock: self.landlock,
                shown: &self.hello.shown,
                cgroup: group.map(|_| format!("/{}/{}", self.parents.name, self.made)),
                outside: &self.outside,
                user: if in_force(Layer::UserNamespace) { INSIDE_ID } else { uid },
                clear_groups: self.hello.first_uid.is_some() && in_force(Layer::Groups),
            }),
            Fork::Parent { pid, pidfd } => {
                let may_set_groups = self.hello.first_uid.is_some();
                let mapped = if in_force(Layer::UserNamespace) {
                    map_ids(&format!("/proc/{pid}"), INSIDE_ID, (uid, uid), may_set_groups)
                } else {
                    Ok(())
                };
                let ready = mapped.and_then(|()| packets::send(&control, b"g"));
                if let Err(error) = during("map the user namespace", ready) {
                    sys::kill(&pidfd)?;
                    sys::reap(&pidfd)?;
                    return Err(error);
                }
                Ok((control, pidfd))
            }
        }
    }
}
