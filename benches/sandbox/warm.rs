//! Parts `warm`, `node` and `java`: hello where the interpreter has booted ahead.

use livecode::process::Warm;
use tokio::runtime::Runtime;

use crate::{
    Result,
    started::{HELLO_JAVA, HELLO_NODE, Started},
    turns::{Entry, HELLO, bare, command, in_turns},
};

/// A cold start takes longer than a round of all others.
const JAVA_COLD_EVERY: usize = 10;

pub(crate) fn python(runtime: &Runtime, rounds: usize) -> Result<()> {
    println!("{HELLO}, one at a time");
    let cold = Started::new("python", Warm::Off)?;
    let (single_use, fork) = (Started::new("python", Warm::SingleUse)?, Started::new("python", Warm::Fork)?);
    runtime.block_on(single_use.seen())?;
    runtime.block_on(fork.seen())?;
    let mut entries = vec![
        Entry::command("bare /usr/bin/python3 -c", 1, bare()),
        cold.entry("livecode, cold", 1, runtime),
        single_use.entry("livecode, warm, single use", 1, runtime).bound(0.15),
        fork.entry("livecode, warm, fork", 1, runtime),
    ];
    in_turns(rounds, &mut entries)?;
    entries.iter().for_each(Entry::print);
    single_use.print_stats("single use");
    fork.print_stats("fork");
    Ok(())
}

pub(crate) fn node(runtime: &Runtime, rounds: usize) -> Result<()> {
    println!("{HELLO_NODE}, one at a time");
    let (cold, warm) = (Started::new("javascript", Warm::Off)?, Started::new("javascript", Warm::SingleUse)?);
    runtime.block_on(warm.seen())?;
    let mut entries = vec![
        Entry::command("bare node -e", 1, command("node", &["-e", HELLO_NODE])),
        cold.entry("livecode, cold", 1, runtime),
        warm.entry("livecode, warm, single use", 1, runtime).bound(0.30),
    ];
    in_turns(rounds, &mut entries)?;
    entries.iter().for_each(Entry::print);
    warm.print_stats("single use");
    Ok(())
}

pub(crate) fn java(runtime: &Runtime, rounds: usize) -> Result<()> {
    println!("{HELLO_JAVA}, from source, one at a time");
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("Hello.java");
    std::fs::write(&file, HELLO_JAVA)?;
    let file = file.to_str().ok_or("the temporary directory's name isn't UTF-8")?;
    let (cold, warm) = (Started::new("java", Warm::Off)?, Started::new("java", Warm::SingleUse)?);
    runtime.block_on(warm.seen())?;
    let mut entries = vec![
        Entry::command("bare java Hello.java", 1, command("java", &[file])),
        cold.entry("livecode, cold", JAVA_COLD_EVERY, runtime),
        warm.entry("livecode, warm, single use", 1, runtime).bound(0.15),
    ];
    in_turns(rounds, &mut entries)?;
    entries.iter().for_each(Entry::print);
    warm.print_stats("single use");
    Ok(())
}
