//! What a host may share with programs.

use std::path::{Component, Path};

use livecode_core::{Error, Result};

/// What [`Builder::share`](crate::Builder::share) says.
///
/// # Errors
///
/// `InvalidArgument`, with what to do.
pub(crate) fn check(path: &Path) -> Result<()> {
    let refuse = |reason: &str| Err(Error::invalid(format!("{} can't be shared: {reason}", path.display())));
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return refuse("give it as an absolute path without '..'");
    }
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) => return refuse(&error.to_string()),
    };
    if real != path {
        return refuse(&format!(
            "it's reached by a link, which programs don't see: share {}",
            real.display()
        ));
    }
    if path.to_str().is_none() {
        return refuse("its name is not UTF-8");
    }
    const OWN_FILES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf"];
    for own in ["/tmp", "/work", "/proc", "/dev", "/sys"].into_iter().chain(OWN_FILES).map(Path::new) {
        if path.starts_with(own) || own.starts_with(path) {
            return refuse(
                "it's in or above a place that is the program's own or the kernel's: keep it elsewhere",
            );
        }
    }
    Ok(())
}
