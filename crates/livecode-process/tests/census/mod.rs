//! Counts what a process of ours has: what it started, and what it and these hold.

use std::{
    collections::BTreeSet,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use livecode_process::ProcessSandbox;

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

pub(crate) fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn is_asleep(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| fields[0] == "S")
}

/// None where we aren't told, as an ordinary user isn't of an init.
fn mounts(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()
}

fn namespaces(pid: u32) -> BTreeSet<PathBuf> {
    let all = fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
    all.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

/// Those that a process of ours doesn't change: a fork server stays in the network of its last copy.
fn lasting_namespaces(pid: u32) -> impl Iterator<Item = PathBuf> {
    namespaces(pid).into_iter().filter(|link| !link.to_string_lossy().starts_with("net:"))
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// What is in a world that waits for a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct World {
    pub(crate) processes: usize,
    pub(crate) descriptors: usize,
    pub(crate) mounts: usize,
    pub(crate) namespaces: usize,
}

/// All that there is too much of when something is left behind. Of worlds that wait there may be more or fewer, as programs
/// come: what is in them is counted apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// How many wait, and what kinds of them.
    pub(crate) waiting: usize,
    pub(crate) worlds: BTreeSet<World>,
    pub(crate) processes: usize,
    pub(crate) cgroups: usize,
    /// Of this process and of those that it started, outside of worlds: some of them for worlds.
    pub(crate) descriptors: usize,
    /// The same.
    pub(crate) mounts: usize,
    /// The same, each once.
    pub(crate) namespaces: usize,
}

impl Census {
    /// None as long as anything is on its way: each helper has its spare world, and so many worlds more wait. Each helper has
    /// to have had a run, for there is no spare world before.
    pub(crate) fn at_rest(waiting: u64) -> Option<Self> {
        let own = std::process::id();
        let all = descendants(own);
        let mut outside: BTreeSet<u32> = all.iter().map(|(pid, _)| *pid).chain([own]).collect();
        let (mut worlds, mut inits) = (BTreeSet::new(), 0);
        let helpers: Vec<u32> =
            outside.iter().copied().filter(|pid| name(*pid) == "livecode-helper").collect();
        for helper in &helpers {
            // Awake, it might not have heard yet that the others wait.
            if !is_asleep(*helper) {
                return None;
            }
            let beneath = descendants(*helper);
            for init in beneath.iter().map(|(pid, _)| *pid).filter(|pid| name(*pid) == "livecode-init") {
                let processes: Vec<u32> =
                    descendants(init).iter().map(|(pid, _)| *pid).chain([init]).collect();
                let mounts = mounts(init);
                if !processes.iter().all(|pid| is_asleep(*pid))
                    || mounts.as_ref().is_some_and(|mounts| !mounts.contains(" /work "))
                {
                    return None;
                }
                outside.retain(|pid| !processes.contains(pid));
                inits += 1;
                worlds.insert(World {
                    processes: processes.len(),
                    descriptors: processes.iter().copied().map(descriptors).sum(),
                    mounts: mounts.map_or(0, |text| text.lines().count()),
                    namespaces: processes.iter().copied().flat_map(namespaces).collect::<BTreeSet<_>>().len(),
                });
            }
        }
        if inits != helpers.len() + usize::try_from(waiting).unwrap() {
            return None;
        }
        let groups = cgroups(own);
        let is_parent = |path: &&PathBuf| groups.iter().any(|other| other.parent() == Some(path));
        let of_each_world = groups.iter().filter(is_parent).count().checked_div(helpers.len())?;
        let census = Self {
            waiting: inits,
            worlds,
            processes: outside.len(),
            cgroups: groups.len().checked_sub(inits * of_each_world)?,
            descriptors: outside.iter().copied().map(descriptors).sum(),
            mounts: outside.iter().map(|pid| mounts(*pid).map_or(0, |text| text.lines().count())).sum(),
            namespaces: outside.iter().copied().flat_map(lasting_namespaces).collect::<BTreeSet<_>>().len(),
        };
        // Nothing came or went meanwhile.
        (descendants(own) == all).then_some(census)
    }

    /// Waits for it, with what waits as that sandbox says: until it's the same for longer than parts of worlds are kept for
    /// runs to come.
    pub(crate) async fn of(sandbox: &ProcessSandbox) -> Self {
        const KEPT: Duration = Duration::from_millis(1_500);
        let began = Instant::now();
        let (mut last, mut since) = (None, began);
        loop {
            sandbox.warmed().await.unwrap();
            let waiting = sandbox.warm_stats().waiting;
            let now = Self::at_rest(waiting);
            assert!(began.elapsed() < Duration::from_secs(120), "no rest, {waiting} waiting: {now:?}");
            match now {
                Some(now) if last.as_ref() == Some(&now) && since.elapsed() > KEPT => return now,
                Some(now) if last.as_ref() != Some(&now) => (last, since) = (Some(now), Instant::now()),
                // One that is awake says nothing.
                Some(_) | None => {}
            }
            // Between two looks: what is awake as long as it is looked at comes to no rest.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether all is as it was, but for how many worlds wait.
    fn is_like(&self, before: &Self) -> bool {
        /// As many of the helper's descriptors, at the least and at the most, are for one world: its socket, its init, its
        /// files, its network, and its cgroups.
        const OF_EACH_WORLD: RangeInclusive<usize> = 4..=20;
        let (least, most) = if self.waiting < before.waiting { (self, before) } else { (before, self) };
        let (more, descriptors) =
            (most.waiting - least.waiting, most.descriptors.checked_sub(least.descriptors));
        let of_each_world =
            descriptors.filter(|count| more > 0 && count % more == 0).map(|count| count / more);
        let same = Self {
            waiting: before.waiting,
            worlds: before.worlds.clone(),
            descriptors: before.descriptors,
            ..self.clone()
        };
        same == *before
            && self.worlds.is_subset(&before.worlds)
            && (descriptors == Some(0) && more == 0
                || of_each_world.is_some_and(|it| OF_EACH_WORLD.contains(&it)))
    }

    /// Waits until all is as it was then.
    pub(crate) async fn is_of(&self, sandbox: &ProcessSandbox) {
        let began = Instant::now();
        loop {
            let now = Self::of(sandbox).await;
            if now.is_like(self) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{now:?} in place of {self:?}");
        }
    }
}
