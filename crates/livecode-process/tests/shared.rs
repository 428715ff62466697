//! What a host shares with programs: read, executed, never written, and only where that is safe.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod ordinary_user;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use livecode_core::{ErrorKind, ExecutionSpec, Runner};
use livecode_process::{Builder, ProcessSandbox};
use tempfile::TempDir;

fn builder() -> Builder {
    ordinary_user::own_cgroup().into_iter().fold(ProcessSandbox::builder(), |b, path| b.cgroup(path))
}

/// A directory that everybody may write, out of the way of a program's own `/tmp`.
fn data() -> TempDir {
    let directory = tempfile::Builder::new().prefix("livecode-shared").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    fs::write(directory.path().join("data.csv"), "a,b\n1,2\n").unwrap();
    fs::set_permissions(directory.path().join("data.csv"), PermissionsExt::from_mode(0o666)).unwrap();
    fs::write(directory.path().join("tool"), "#!/bin/sh\necho tool\n").unwrap();
    fs::set_permissions(directory.path().join("tool"), PermissionsExt::from_mode(0o777)).unwrap();
    directory
}

#[tokio::test]
async fn a_shared_directory_is_read_and_executed_and_not_written() {
    let directory = data();
    let path = directory.path().display();
    let source = format!(
        "
import os, subprocess
print(open('{path}/data.csv').read().count('\\n'), subprocess.check_output(['{path}/tool']))
for change in (lambda: open('{path}/data.csv', 'a'), lambda: open('{path}/new', 'w'), lambda: os.unlink('{path}/tool'),
               lambda: os.rename('{path}/tool', '{path}/x'), lambda: os.chmod('{path}/tool', 0)):
    try: change(); print('changed')
    except OSError: pass
print(os.listdir('/var/tmp'))
"
    );
    let runner = Runner::new(builder().share(directory.path()).build().unwrap());
    let run = runner.run(&ExecutionSpec::new("python", source)).await.unwrap();
    let name = directory.path().file_name().unwrap().to_string_lossy();
    assert_eq!(run.captured.stdout, format!("2 b'tool\\n'\n['{name}']\n"), "{run:?}");
}

#[tokio::test]
async fn nobody_sees_what_is_not_shared_with_them() {
    let directory = data();
    let source = format!("import os; print(os.path.exists('{}'))", directory.path().display());
    let _other = builder().share(directory.path()).build().unwrap();
    let run =
        Runner::new(builder().build().unwrap()).run(&ExecutionSpec::new("python", source)).await.unwrap();
    assert_eq!(run.captured.stdout, "False\n");
}

#[test]
fn what_cannot_be_shared_is_refused_with_the_reason() {
    let directory = data();
    let link = directory.path().join("link");
    symlink("/proc", &link).unwrap();
    // Programs don't see it.
    let harmless = directory.path().join("harmless");
    symlink(directory.path(), &harmless).unwrap();
    let beneath = harmless.join("data.csv");
    let dotted = directory.path().join("../x");
    let missing = directory.path().join("missing");
    for path in [
        "/",
        "/proc",
        "/proc/self",
        "/sys/fs/cgroup",
        "/dev/shm",
        "/tmp",
        "/work",
        "/etc",
        "/etc/passwd",
        "relative",
    ]
    .map(Into::into)
    .into_iter()
    .chain([link, harmless, beneath, dotted, missing])
    {
        let error = builder().share(&path).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
}

#[test]
fn the_same_holds_for_an_ordinary_user() {
    ordinary_user::run_this_binary_again();
}
