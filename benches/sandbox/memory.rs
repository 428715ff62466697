//! Part `memory`: what a waiting interpreter holds.

use std::{
    collections::{HashMap, HashSet},
    fs, process,
};

use livecode::process::Warm;
use tokio::runtime::Runtime;

use crate::{Result, figures::median, started::Started};

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn memory(runtime: &Runtime) -> Result<()> {
    println!("memory for each program that waits");
    for (language, name, bound) in
        [("python", "python", Some(12.0)), ("javascript", "node", None), ("java", "java", None)]
    {
        let started = Started::new(language, Warm::SingleUse)?;
        runtime.block_on(started.seen())?;
        let stats = started.stats();
        let mut worlds = worlds_with(name)?;
        if worlds.is_empty() {
            println!("  {name}: none waits");
            continue;
        }
        let mut of = |which: fn(&Memory) -> f64| {
            median(&mut worlds.iter_mut().map(|world| which(world)).collect::<Vec<_>>())
        };
        let (own, share, resident) = (of(|it| it.own), of(|it| it.share), of(|it| it.resident));
        let bound = bound.map_or_else(String::new, |bound| {
            format!(" (at most {bound:.0}: {})", if own <= bound { "kept" } else { "NOT KEPT" })
        });
        println!(
            "  {name}, {} waiting: of its own (USS) {own:.1} MiB{bound}, with its share of what is shared (PSS) {share:.1}, \
             resident {resident:.1}, by its cgroup {:.1}",
            worlds.len(),
            stats.waiting_bytes as f64 / MIB / stats.waiting.max(1) as f64
        );
    }
    Ok(())
}

/// Of all processes of a world, in MiB.
#[derive(Clone, Copy, Default)]
struct Memory {
    own: f64,
    share: f64,
    resident: f64,
}

/// Our descendants by their PID namespace, where one of them is that interpreter: it and its init.
fn worlds_with(interpreter: &str) -> Result<Vec<Memory>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Whoever has ended meanwhile isn't waiting.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut worlds, mut matching) = (HashMap::<_, Memory>::new(), HashSet::new());
    let mut pids = vec![process::id()];
    while let Some(pid) = pids.pop() {
        pids.extend(children.get(&pid).into_iter().flatten());
        let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/pid")) else {
            continue;
        };
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
        let program =
            String::from_utf8_lossy(program.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
        if program.starts_with(interpreter) {
            matching.insert(namespace.clone());
        }
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let mib = |name: &str| -> f64 {
            let line =
                rollup.lines().find_map(|line| line.strip_prefix(name)?.trim_start().split(' ').next());
            line.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        let memory = worlds.entry(namespace).or_default();
        memory.own += mib("Private_Clean:") + mib("Private_Dirty:");
        memory.share += mib("Pss:");
        memory.resident += mib("Rss:");
    }
    Ok(worlds
        .into_iter()
        .filter(|(namespace, _)| matching.contains(namespace))
        .map(|(_, memory)| memory)
        .collect())
}
