//! What tells one compiler from another, without asking it: a compiler that is asked takes milliseconds, and says its own version
//! but not its linker's or its headers'.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::toolchain::Tool;

/// Written by whoever installs, upgrades or removes a package, whatever of it a compiler uses: it or its parts, headers, libraries.
const PACKAGES: [&str; 5] = [
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/lib/apk/db/installed",
    "/var/lib/pacman/local",
];

/// For what is installed without: directories that change with what is put into them.
const SYSTEM: [&str; 10] = [
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/etc/alternatives",
    "/usr/include",
    "/usr/local/include",
    "/usr/local/lib",
    "/usr/local/lib/node_modules",
    "/usr/lib/node_modules",
    "/usr/lib",
];

/// The same, in an interpreter's or a compiler's own prefix.
const OWN: [&str; 5] = ["", "bin", "lib", "include", "lib/node_modules"];

/// What is in its directories never changes.
const NIX: &str = "/nix/store";

/// Another text once anything of that was replaced that shows in these places: two dozen looks at the file system, 30 µs.
pub(crate) fn identity(tools: &[Tool], shared: &[PathBuf]) -> String {
    let mut text = String::new();
    for tool in tools.iter().filter(|tool| tool.path.is_absolute()) {
        look(&mut text, &tool.path);
        for prefix in &tool.prefixes {
            // What is in that place goes by its name.
            let own: &[&str] = if prefix.starts_with(NIX) { &[] } else { &OWN };
            own.iter().for_each(|place| look(&mut text, &prefix.join(place)));
            text.push_str(&prefix.to_string_lossy());
        }
    }
    shared.iter().for_each(|path| look(&mut text, path));
    PACKAGES.iter().chain(&SYSTEM).for_each(|path| look(&mut text, Path::new(path)));
    text
}

/// What is there, links followed. The inode's own time can't be set back.
fn look(text: &mut String, path: &Path) {
    text.push_str(&path.to_string_lossy());
    if let Ok(found) = fs::metadata(path) {
        let (mtime, ctime) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        // Into a string it can't fail.
        write!(text, " {} {} {} {mtime:?} {ctime:?}", found.dev(), found.ino(), found.size()).ok();
    }
    text.push('\n');
}
