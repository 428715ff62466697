//! Counts what a process of ours has: what it started, and what it and these hold.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A process by its pid and start, so that a pid that was used again is another one.
pub(crate) type Process = (u32, u64);

/// `pid`'s children and theirs.
pub(crate) fn descendants(pid: u32) -> BTreeSet<Process> {
    let all: Vec<(u32, u32, u64)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| stat(pid).map(|(parent, began)| (pid, parent, began)))
        .collect();
    let mut found: BTreeSet<Process> = BTreeSet::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (pid, _, began) in all.iter().filter(|(_, of, _)| *of == parent) {
            found.insert((*pid, *began));
            parents.push(*pid);
        }
    }
    found
}

fn stat(pid: u32) -> Option<(u32, u64)> {
    let fields = fields(pid)?;
    Some((fields[1].parse().ok()?, fields[19].parse().ok()?))
}

/// What follows the name in `/proc/pid/stat`.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// A process's group and session.
pub(crate) fn group_and_session(pid: u32) -> Option<(String, String)> {
    fields(pid).map(|fields| (fields[2].clone(), fields[3].clone()))
}

pub(crate) fn is_alive((pid, began): Process) -> bool {
    stat(pid).is_some_and(|(_, of_that_pid)| of_that_pid == began)
}

/// The cgroups that a host has made, and those beneath.
pub(crate) fn cgroups(host: u32) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    let below = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("livecode-") && name.split('-').nth(2) == Some(&host.to_string())
    };
    // At the top, or where they were delegated.
    let near = hierarchies.flat_map(|hierarchy| {
        let top = below(&hierarchy);
        top.iter().flat_map(|path| below(path)).chain(top.clone()).chain([hierarchy]).collect::<Vec<_>>()
    });
    let parents: BTreeSet<PathBuf> = near.filter(is_ours).collect();
    parents.iter().flat_map(|parent| below(parent)).chain(parents.clone()).collect()
}

/// All that there is too much of when something is left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) processes: usize,
    pub(crate) cgroups: usize,
    /// Of this process and of those that it started.
    pub(crate) descriptors: usize,
    /// The same.
    pub(crate) mounts: usize,
    /// The same, each once.
    pub(crate) namespaces: usize,
}

impl Census {
    /// None as long as a helper is making its spare world, or removing the cgroup of what was before. Each has to have had a
    /// run, for there is no spare world before.
    pub(crate) fn at_rest() -> Option<Self> {
        let own = std::process::id();
        let processes = descendants(own);
        let pids = || processes.iter().map(|(pid, _)| *pid).chain([own]);
        let mountinfo = |pid| fs::read_to_string(format!("/proc/{pid}/mountinfo"));
        let is_asleep = |pid| fields(pid).is_some_and(|fields| fields[0] == "S");
        // An ordinary user isn't told.
        let is_furnished = |pid| mountinfo(pid).map_or(true, |mounts| mounts.contains(" /work "));
        let is_helper = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "livecode-helper")
        };
        for helper in pids().filter(is_helper) {
            match &descendants(helper).iter().collect::<Vec<_>>()[..] {
                // Awake, it might not have heard yet that the other waits.
                [(init, _)] if is_asleep(*init) && is_furnished(*init) && is_asleep(helper) => {}
                _ => return None,
            }
        }
        let groups = cgroups(own);
        let beneath = |parent: &PathBuf| groups.iter().filter(|path| path.parent() == Some(parent)).count();
        if groups.iter().any(|path| beneath(path) > 1) {
            return None;
        }
        let namespaces = |pid| {
            let all = fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
            all.filter_map(|entry| fs::read_link(entry.path()).ok()).collect::<Vec<_>>()
        };
        let open = |pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let census = Self {
            cgroups: groups.len(),
            descriptors: pids().map(open).sum(),
            mounts: pids().map(|pid| mountinfo(pid).map_or(0, |text| text.lines().count())).sum(),
            namespaces: pids().flat_map(namespaces).collect::<BTreeSet<_>>().len(),
            processes: processes.len(),
        };
        // Nothing came or went meanwhile.
        (descendants(own) == processes).then_some(census)
    }
}
