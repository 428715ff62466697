//! What the kernel counts of this container, in either version of cgroups.

use std::{
    fs::File,
    io::{Read, Seek},
    path::Path,
};

/// Where the engine shows the container its own.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Files that were opened while they could be.
#[derive(Debug)]
pub(crate) struct Counters {
    memory_peak: Option<File>,
    memory_events: Option<File>,
    process_events: Option<File>,
    cpu: Option<File>,
    is_unified: bool,
}

/// What they say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) memory_peak_bytes: Option<u64>,
    pub(crate) oom_kills: u64,
    pub(crate) fork_failures: u64,
    pub(crate) cpu_ns: u64,
}

impl Counters {
    pub(crate) fn open() -> Self {
        let is_unified = Path::new(CGROUPS).join("cgroup.controllers").exists();
        let open = |unified: &str, controller: &str, file: &str| {
            let path = if is_unified { unified.to_owned() } else { format!("{controller}/{file}") };
            File::open(Path::new(CGROUPS).join(path)).ok()
        };
        Self {
            memory_peak: open("memory.peak", "memory", "memory.max_usage_in_bytes"),
            memory_events: open("memory.events", "memory", "memory.oom_control"),
            process_events: open("pids.events", "pids", "pids.events"),
            cpu: open("cpu.stat", "cpuacct", "cpuacct.usage"),
            is_unified,
        }
    }

    /// What isn't counted. A peak isn't promised: older kernels don't keep it.
    pub(crate) fn missing(&self) -> Vec<String> {
        let needed = [
            (&self.memory_events, "kills for memory"),
            (&self.process_events, "refused processes"),
            (&self.cpu, "CPU time of all processes together"),
        ];
        let missing = needed.into_iter().filter(|(file, _)| file.is_none());
        missing
            .map(|(_, what)| {
                format!(
                    "{what} can't be told, because the engine shows no cgroup of the container at {CGROUPS}: use a runtime and a kernel \
                     that do, as runc on Linux 4.15 and newer"
                )
            })
            .collect()
    }

    pub(crate) fn read(&mut self) -> Counted {
        let cpu = text(&mut self.cpu);
        Counted {
            memory_peak_bytes: text(&mut self.memory_peak).trim().parse().ok(),
            oom_kills: field(&text(&mut self.memory_events), "oom_kill"),
            fork_failures: field(&text(&mut self.process_events), "max"),
            cpu_ns: if self.is_unified {
                field(&cpu, "usage_usec").saturating_mul(1000)
            } else {
                cpu.trim().parse().unwrap_or_default()
            },
        }
    }
}

fn text(file: &mut Option<File>) -> String {
    let mut text = String::new();
    if let Some(file) = file {
        // What can't be read counts nothing.
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok();
    }
    text
}

/// The number behind a name, on a line of its own.
fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}
