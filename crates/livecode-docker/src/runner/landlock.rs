//! A second layer: what the image and the engine show, but for `/sys`, can be read; where programs may write is all else. Of the engine's
//! devices there are five: no terminals, of which the host has but so many for all containers together.

use std::{fs, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus,
};

/// The newest version whose rights are known here; an older kernel's are taken as far as they go.
const VERSION: ABI = ABI::V5;

const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Restricts this process and all that come of it. Whether the kernel can.
pub(crate) fn restrict(writable: &[&str]) -> io::Result<bool> {
    let all = AccessFs::from_all(VERSION);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        // None is allowed.
        .and_then(|rules| rules.handle_access(AccessNet::from_all(VERSION)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let path = entry.path();
        // A link's target is there by itself.
        if path.ends_with("sys") || entry.file_type()?.is_symlink() {
            continue;
        }
        let rights = match path.to_str() {
            Some("/dev") => AccessFs::ReadDir.into(),
            Some(_) | None => AccessFs::from_read(VERSION),
        };
        let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(VERSION) };
        rules = allow(rules, &path, rights)?;
    }
    for path in DEVICES {
        rules = allow(rules, path.as_ref(), all & AccessFs::from_file(VERSION))?;
    }
    for path in writable {
        rules = allow(rules, path.as_ref(), all)?;
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn allow(
    rules: RulesetCreated,
    path: &std::path::Path,
    rights: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    // What can't be opened can't be read by the program either.
    let Ok(open) = PathFd::new(path) else { return Ok(rules) };
    rules.add_rule(PathBeneath::new(open, rights)).map_err(io::Error::other)
}
