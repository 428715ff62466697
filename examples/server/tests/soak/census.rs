//! What there is of processes, descriptors, memory, cgroups, mounts and files: every second, and when all is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    clients::Load,
    faults::Fault,
    nodes::{Node, descriptors},
    place::Place,
};

/// What is there a while after the end must have gone.
const GONE: Duration = Duration::from_secs(60);

/// A process by its pid and start, so that a pid that was used again is another one.
type Process = (u32, String);

#[derive(Debug)]
pub(crate) struct Census {
    began: Instant,
    last: Instant,
    samples: File,
    /// All that were started by processes of ours.
    started: BTreeSet<Process>,
}

impl Census {
    pub(crate) fn begin(place: &Place) -> Self {
        let mut samples = File::create(place.logs.join("samples.csv")).unwrap();
        let first = firsts(place).map(|node| format!("{0}_mib,{0}_files", node.role)).collect::<Vec<_>>();
        writeln!(samples, "seconds,accepted,ended,fault,processes,cgroups,{}", first.join(",")).unwrap();
        let began = Instant::now();
        Self { began, last: began, samples, started: BTreeSet::new() }
    }

    /// Once a second.
    pub(crate) fn sample(&mut self, place: &Place, load: &Load, fault: Option<Fault>) {
        if self.last.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.last = Instant::now();
        let all = processes();
        let own: Vec<Process> =
            place.nodes.iter().filter_map(Node::pid).flat_map(|pid| below(pid, &all)).collect();
        let of_each = firsts(place).map(|node| {
            let pid = node.pid().unwrap_or_default();
            format!("{:.1},{}", resident(pid), descriptors(pid))
        });
        let line = [
            format!("{:.1}", self.began.elapsed().as_secs_f64()),
            load.accepted().to_string(),
            load.ended().to_string(),
            fault.map_or(String::new(), |fault| fault.to_string()),
            own.len().to_string(),
            cgroups(place).len().to_string(),
        ];
        let line: Vec<String> = line.into_iter().chain(of_each).collect();
        writeln!(self.samples, "{}", line.join(",")).unwrap();
        self.started.extend(own);
    }

    /// A while without load, for the picture.
    pub(crate) fn rest(&mut self, place: &mut Place, load: &Load) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            thread::sleep(Duration::from_millis(100));
            place.keep_alive();
            self.sample(place, load, None);
        }
    }

    /// Ends all processes of ours; what of it went wrong, and what is left of them.
    pub(crate) fn end(self, mut place: Place) -> Vec<String> {
        let all = processes();
        let last = place.nodes.iter().filter_map(Node::pid).flat_map(|pid| below(pid, &all));
        let started: BTreeSet<Process> = self.started.iter().cloned().chain(last).collect();
        let mut wrong = place.stop();
        let began = Instant::now();
        loop {
            let alive = processes();
            let left: Vec<String> = [
                started
                    .iter()
                    .filter(|(pid, start)| alive.get(pid).is_some_and(|(_, now, _)| now == start))
                    .map(|(pid, _)| format!("process {pid} {} is left", alive[pid].2))
                    .collect::<Vec<_>>(),
                cgroups(&place).iter().map(|path| format!("{} is left", path.display())).collect(),
                fs::read_dir(place.disk.directory.join("tmp"))
                    .unwrap()
                    .map(|entry| format!("{} is left", entry.unwrap().path().display()))
                    .collect(),
                mounts(&place).into_iter().map(|line| format!("a mount is left: {line}")).collect(),
            ]
            .concat();
            if left.is_empty() || began.elapsed() > GONE {
                wrong.extend(left);
                return wrong;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Of each role the one that nobody kills.
fn firsts(place: &Place) -> impl Iterator<Item = &Node> {
    let nodes = &place.nodes;
    let is_first = |at: usize| nodes[..at].iter().all(|before| before.role != nodes[at].role);
    (0..nodes.len()).filter(move |at| is_first(*at)).map(|at| &nodes[at])
}

/// Parent, start and name of each.
fn processes() -> BTreeMap<u32, (u32, String, String)> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Nobody has looked at its end yet.
        let name = if fields[0] == "Z" { return None } else { name.rsplit_once('(')?.1 };
        Some((pid, (fields[1].parse().ok()?, fields[19].to_owned(), name.to_owned())))
    };
    pids.filter_map(of).collect()
}

fn below(pid: u32, all: &BTreeMap<u32, (u32, String, String)>) -> Vec<Process> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (pid, (_, start, _)) in all.iter().filter(|(_, (of, _, _))| *of == parent) {
            parents.push(*pid);
            found.push((*pid, start.clone()));
        }
    }
    found
}

/// MiB in memory.
fn resident(pid: u32) -> f64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: f64 = statm.split(' ').nth(1).map_or(0.0, |pages| pages.parse().unwrap());
    pages * 4096.0 / f64::from(1 << 20)
}

/// Those that processes of ours made.
fn cgroups(place: &Place) -> Vec<PathBuf> {
    let below = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let makers: BTreeSet<String> =
        place.nodes.iter().flat_map(|node| node.pids()).map(u32::to_string).collect();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("livecode-") && name.split('-').nth(2).is_some_and(|maker| makers.contains(maker))
    };
    let top: Vec<PathBuf> = below(Path::new("/sys/fs/cgroup")).iter().flat_map(|of| below(of)).collect();
    let own = top.iter().filter(|path| path.to_string_lossy().contains("/soak-"));
    own.flat_map(|path| below(path)).chain(top.clone()).filter(is_ours).collect()
}

/// On the disk, but for the disk itself.
fn mounts(place: &Place) -> Vec<String> {
    let beneath = format!("{}/", place.disk.directory.display());
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    all.lines().filter(|line| line.contains(&beneath)).map(str::to_owned).collect()
}
