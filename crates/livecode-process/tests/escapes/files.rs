//! The host's files: what isn't shown, what is, and what came by mistake.

use std::{
    ffi::CString,
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{PermissionsExt, chown},
        },
    },
    path::Path,
};

use livecode_process::{Layer, Warm};

use crate::attempt::{Attempt, GROUP, directory, is_left, is_root, python};

/// A file that everybody on the host may read.
fn secret(directory: &Path) -> String {
    let path = directory.join("secret");
    fs::write(&path, "the host's").unwrap();
    path.display().to_string()
}

/// As a descriptor that any process inherits, by mistake.
fn leak(file: &File) {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) }, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_files_are_not_read() {
    let directory = directory();
    let path = secret(directory.path());
    Attempt::against(&[Layer::Root, Layer::Landlock])
        .python(&format!("return open('/old{path}').read() == \"the host's\""))
        .await;
}

/// Nor found: a name tells as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_files_are_not_found() {
    let directory = directory();
    let path = secret(directory.path());
    Attempt::against(&[Layer::Root]).python(&format!("return os.path.exists('/old{path}')")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shared_is_not_written() {
    let directory = directory();
    let path = secret(directory.path());
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    Attempt::against(&[Layer::ReadOnly, Layer::Landlock])
        .sharing(directory.path())
        .python(&format!("return open('{path}', 'a').write('!') == 1"))
        .await;
    assert_eq!(fs::read_to_string(path).unwrap(), "the host's!!!", "once by each way to start a program");
}

/// As root permissions are in its way as well; an ordinary user's programs own the root that they see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_not_written() {
    if !is_root() {
        is_left(
            Attempt::against(&[Layer::ReadOnly, Layer::Landlock]),
            "open('/etc/left', 'w'); return True",
            "return os.path.exists('/etc/left')",
        )
        .await;
    }
}

/// Modes, times and owners are nothing to Landlock. Only an ordinary user's programs can be what a file's owner is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_of_what_is_shared_is_not_changed() {
    if !is_root() {
        let directory = directory();
        let path = secret(directory.path());
        Attempt::against(&[Layer::ReadOnly])
            .sharing(directory.path())
            .python(&format!("os.chmod('{path}', 0o600); return True"))
            .await;
    }
}

/// Who opens such a file for writing would have to wait. Only an ordinary user's programs can be what its owner is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lease_is_taken_on_what_is_shared() {
    if !is_root() {
        let directory = directory();
        let path = secret(directory.path());
        Attempt::against(&[Layer::Seccomp])
            .sharing(directory.path())
            .python(&format!("return fcntl.fcntl(open('{path}'), fcntl.F_SETLEASE, fcntl.F_RDLCK) == 0"))
            .await;
    }
}

/// 1:5 is `/dev/zero`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_not_opened() {
    if is_root() {
        let directory = directory();
        let path = directory.path().join("device");
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a string that lives through the call.
        assert_eq!(unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 5)) }, 0);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        Attempt::against(&[Layer::NoDevices])
            .sharing(directory.path())
            .python(&format!("return open('{}', 'rb').read(1) == b'\\0'", path.display()))
            .await;
    }
}

/// Where there is no `no_new_privs`, who has no power over the namespace may have neither a filter nor Landlock.
const NEED_NO_NEW_PRIVS: [Layer; 2] = [Layer::Seccomp, Layer::Landlock];

/// A program with the capability to bind to low ports, as the host installed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_gives_no_capabilities() {
    if is_root() {
        let directory = directory();
        let path = directory.path().join("cat");
        fs::copy("/bin/cat", &path).unwrap();
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // Version 2, effective; permitted and inheritable, low and high.
        let value: Vec<u8> =
            [0x0200_0001u32, 1 << 10, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        // SAFETY: strings and bytes that live through the call, with their length.
        let result = unsafe {
            libc::setxattr(
                name.as_ptr(),
                c"security.capability".as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        };
        assert_eq!(result, 0);
        let source = format!(
            "
status = subprocess.check_output(['{}', '/proc/self/status']).decode()
return int(status.split('CapEff:')[1].split()[0], 16) != 0
",
            path.display()
        );
        let stopped_by =
            |layers: &[Layer]| Attempt::against(layers).besides(&NEED_NO_NEW_PRIVS).sharing(directory.path());
        for way in [Warm::Off, Warm::SingleUse] {
            let attempt = stopped_by(&[Layer::NoSuid, Layer::NoNewPrivs, Layer::Capabilities]);
            attempt.python_one_way(way, &source).await;
        }
        // Nothing is executed between init and such a program: what init didn't give up would be the program's.
        stopped_by(&[Layer::NoSuid, Layer::Capabilities])
            .besides(&[Layer::Seccomp, Layer::Landlock, Layer::NoNewPrivs])
            .python_one_way(Warm::Fork, &source)
            .await;
    }
}

/// A program that is another user's, set-user-id. That user is nobody on the host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_becomes_another_user() {
    if is_root() {
        let directory = directory();
        let path = directory.path().join("id");
        fs::copy("/usr/bin/id", &path).unwrap();
        chown(&path, Some(0x7100_0000), Some(0x7100_0000)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o4755)).unwrap();
        Attempt::against(&[Layer::NoSuid, Layer::NoNewPrivs, Layer::UserNamespace])
            .besides(&NEED_NO_NEW_PRIVS)
            .sharing(directory.path())
            .python(&format!(
                "return int(subprocess.check_output(['{}', '-u'])) != os.getuid()",
                path.display()
            ))
            .await;
    }
}

/// Not an ordinary user's, who can't shed groups: the kernel forbids it in a user namespace of one's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_hosts_groups_may_read_is_not_read() {
    if is_root() {
        let directory = directory();
        let path = secret(directory.path());
        chown(&path, Some(0), Some(GROUP)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        Attempt::against(&[Layer::Groups])
            .sharing(directory.path())
            .python(&format!("return open('{path}').read() == \"the host's\""))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_descriptor_of_the_hosts_is_not_inherited() {
    let directory = directory();
    let path = secret(directory.path());
    let file = File::open(&path).unwrap();
    leak(&file);
    Attempt::against(&[Layer::CloseOthers])
        .python(
            "
for fd in range(3, 100):
    try:
        if os.pread(fd, 100, 0) == b\"the host's\": return True
    except OSError: pass
return False
",
        )
        .await;
}

/// CVE-2024-21626.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_the_hosts_is_no_way_out() {
    let directory = directory();
    secret(directory.path());
    let file = File::open(directory.path()).unwrap();
    leak(&file);
    Attempt::against(&[Layer::CloseOthers, Layer::Landlock])
        .python(
            "
for fd in range(3, 100):
    try:
        if os.read(os.open('secret', os.O_RDONLY, dir_fd=fd), 100) == b\"the host's\": return True
    except OSError: pass
return False
",
        )
        .await;
}

/// Ours to follow when files are brought back; CVE-2024-28185 and CVE-2024-28189 were such links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_link_is_followed_for_a_program() {
    for target in ["/etc/passwd", "../etc/passwd"] {
        Attempt::against(&[Layer::Links])
            .made_by(async |runner| {
                let run =
                    runner.collect(["out"]).run(&python(&format!("os.symlink('{target}', 'out')"))).await;
                let run = run.unwrap();
                assert!(run.outcome.is_success(), "{run:?}");
                run.outcome.files[0].content.as_ref().is_ok_and(|content| content.starts_with(b"root:"))
            })
            .await;
    }
}
