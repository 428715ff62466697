//! On cgroup version 2: where cgroups can be made, where not and why, and what the kernel is told and tells.
//!
//! These tests arrange the cgroups of a whole machine, so they are for one of their own: `scripts/test-cgroup-v2` boots it.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod hosts;

use std::{
    env, fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hosts::WISHED;
use livecode_core::{ExecutionSpec, Language, Languages};

const MOUNT: &str = "/sys/fs/cgroup";
const ENABLE: &str = "+memory +pids +cpu";
const NOBODY: u32 = 65_534;
const MIB: u64 = 1024 * 1024;

/// Cgroups of a test's own, removed on drop: what a failed test leaves is said by whoever looks afterwards.
struct Tree {
    root: PathBuf,
    made: Vec<PathBuf>,
}

impl Tree {
    /// Named after the test.
    fn new(name: &str) -> Self {
        let mut tree = Self { root: Path::new(MOUNT).join(name), made: Vec::new() };
        tree.add("");
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        // Joined to nothing it would end in a slash.
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    fn add(&mut self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
        self.made.push(self.path(name));
    }

    fn write(&self, file: &str, value: &str) {
        fs::write(self.root.join(file), value).unwrap();
    }

    /// What systemd hands over of a delegated unit.
    fn delegate(&self, name: &str) {
        let path = self.path(name);
        for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            chown(path.join(file), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }

    fn children(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap().map(|entry| entry.unwrap());
        let directories = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        directories.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    /// The directories of a sandbox and of a run of it.
    fn run_in(&self, name: &str) -> PathBuf {
        let below = |path: &Path| {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.is_dir() && !path.ends_with("main")).collect::<Vec<_>>()
        };
        let all: Vec<PathBuf> = below(&self.path(name)).iter().flat_map(|path| below(path)).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // Processes that have ended stay for a moment.
            until(|| fs::remove_dir(path).is_ok() || std::thread::panicking());
        }
    }
}

fn until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(120), "what was awaited did not come about");
        std::thread::yield_now();
    }
}

/// Starts one of the hosts in a cgroup, as root or as an ordinary user.
fn start(host: &str, cgroup: &Path, is_root: bool, wished: Option<&str>) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "echo 0 >\"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup);
    if !is_root {
        let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        command.arg("setpriv").args(ids).arg("--clear-groups");
    }
    let host = format!("hosts::{host}");
    command.arg(env::current_exe().unwrap()).args([&*host, "--exact", "--ignored", "--nocapture"]);
    command.env_remove(WISHED).envs(wished.map(|wished| (WISHED, wished)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

fn limits_hold(cgroup: &Path, is_root: bool, wished: Option<&str>) {
    let output = start("limits_hold", cgroup, is_root, wished).wait_with_output().unwrap();
    let said = said(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn is_refused(cgroup: &Path, is_root: bool, wished: Option<&str>, because: &str) {
    let output = start("is_refused", cgroup, is_root, wished).wait_with_output().unwrap();
    let said = said(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert!(said.contains(because) && said.contains("Delegate=yes"), "{said}");
}

#[test]
#[ignore = "for a machine of its own: scripts/test-cgroup-v2"]
fn a_delegated_unit_is_found_by_an_ordinary_user() {
    let mut tree = Tree::new("delegated.service");
    tree.add("main");
    tree.delegate("");
    tree.delegate("main");
    limits_hold(&tree.path("main"), false, None);
    assert_eq!(tree.children(""), ["main"]);
    // The user's to give, and not taken back: the next one begins with it.
    limits_hold(&tree.path("main"), false, None);
}

#[test]
#[ignore = "for a machine of its own: scripts/test-cgroup-v2"]
fn a_directory_is_taken_that_the_host_names() {
    let mut tree = Tree::new("named.service");
    tree.add("main");
    tree.add("runs");
    tree.delegate("");
    tree.delegate("main");
    tree.delegate("runs");
    tree.write("cgroup.subtree_control", ENABLE);
    limits_hold(&tree.path("main"), false, Some("/named.service/runs"));
    limits_hold(&tree.path("main"), true, Some("named.service/runs"));
    assert_eq!(tree.children("runs"), [""; 0]);
    is_refused(&tree.path("main"), false, Some("/named.service/none"), "No such file or directory");
}

#[test]
#[ignore = "for a machine of its own: scripts/test-cgroup-v2"]
fn root_goes_beside_its_own_cgroup() {
    let mut tree = Tree::new("system.slice");
    tree.add("some.service");
    tree.write("cgroup.subtree_control", "+memory");
    limits_hold(&tree.path("some.service"), true, None);
    assert_eq!(tree.children(""), ["some.service"]);
    // And beneath the root of all where it's there itself.
    limits_hold(Path::new(MOUNT), true, None);
}

#[test]
#[ignore = "for a machine of its own: scripts/test-cgroup-v2"]
fn whoever_was_given_nothing_is_told_what_to_do() {
    let mut tree = Tree::new("refused.slice");
    tree.add("alone.service");
    is_refused(&tree.path("alone.service"), false, None, "/sys/fs/cgroup/refused.slice can't be written");
    // Delegated, but with the host in the unit itself: limits can't be below that.
    tree.write("cgroup.subtree_control", ENABLE);
    tree.delegate("alone.service");
    is_refused(&tree.path("alone.service"), false, Some("refused.slice/alone.service"), "has processes");
    // A directory that is ours, with somebody else's above it and us: nobody may go there.
    tree.add("runs");
    tree.delegate("runs");
    is_refused(&tree.path("alone.service"), false, Some("refused.slice/runs"), "nobody may go");
    // Ours in all, but without all controllers.
    tree.add("poor.service");
    tree.write("cgroup.subtree_control", "-cpu");
    tree.add("poor.service/main");
    tree.delegate("poor.service");
    tree.delegate("poor.service/main");
    is_refused(&tree.path("poor.service/main"), false, None, "was not given the controller cpu");
}

#[test]
#[ignore = "for a machine of its own: scripts/test-cgroup-v2"]
fn a_run_is_limited_and_killed_as_a_whole() {
    use std::io::{BufRead, BufReader};
    let mut tree = Tree::new("held.service");
    tree.add("main");
    let mut host = start("cancels", &tree.path("main"), true, None);
    let mut lines = BufReader::new(host.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));

    let group = tree.run_in("");
    let read = |file: &str| fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    for (file, value) in [
        ("memory.max", &*(64 * MIB).to_string()),
        ("memory.swap.max", "0"),
        ("memory.oom.group", "1"),
        ("pids.max", "8"),
        ("cpu.max", "5000 20000"),
        ("cgroup.subtree_control", ""),
    ] {
        assert_eq!(read(file), value, "{file}");
    }
    // Our init and the program.
    assert_eq!(read("cgroup.procs").lines().count(), 2);

    // Whoever is in the cgroup and not in the PID namespace dies by `cgroup.kill` alone.
    let mut stray = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(group.join("cgroup.procs"), stray.id().to_string()).unwrap();
    drop(host.stdin.take());
    assert!(host.wait().unwrap().success());
    assert!(!stray.wait().unwrap().success());
    assert!(!group.exists() && tree.children("") == ["main"]);
}

#[test]
#[ignore = "for a machine of its own: scripts/test-cgroup-v2"]
fn a_limit_above_that_is_met_is_not_the_programs() {
    let mut tree = Tree::new("tight.service");
    tree.add("main");
    tree.add("runs");
    tree.write("cgroup.subtree_control", ENABLE);
    tree.write("runs/memory.max", "40M");
    let wished = Some("tight.service/runs");
    let output = start("is_short_of_memory", &tree.path("main"), true, wished);
    let output = output.wait_with_output().unwrap();
    assert!(output.status.success() && said(&output).contains("1 passed"), "{}", said(&output));
}

/// A compiler that needs much, and a program that doesn't: kernels from 6.12 on tell of the program alone, and before that
/// nobody knows.
#[tokio::test]
#[ignore = "for a machine of its own: scripts/test-cgroup-v2"]
async fn the_compilers_peak_is_not_taken_for_the_programs() {
    let mut language = Language::new("compiled", "compiler.py", ["python3", "program.py"]);
    language.compile = Some(["python3", "compiler.py"].map(String::from).to_vec());
    let mut languages = Languages::none();
    languages.add(language).unwrap();
    let runner = hosts::runner().languages(languages);
    let peak = async |compiler: u64, program: u64| {
        let source = format!(
            "held = b'x' * {}\nopen('program.py', 'w').write('held = b\"x\" * {}')",
            compiler * MIB,
            program * MIB
        );
        let run = runner.run(&ExecutionSpec::new("compiled", source)).await.unwrap();
        assert!(run.outcome.is_success(), "{run:?}");
        run.outcome.usage.memory_peak_bytes
    };
    let near =
        |peak: Option<u64>, mib: u64| peak.is_some_and(|peak| (mib * MIB..(mib + 12) * MIB).contains(&peak));
    let more = peak(1, 50).await;
    assert!(near(more, 50), "{more:?}");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
    let less = peak(60, 20).await;
    if (numbers[0], numbers[1]) >= (6, 12) {
        assert!(near(less, 20), "{less:?}");
    } else {
        assert_eq!(less, None);
    }
}
