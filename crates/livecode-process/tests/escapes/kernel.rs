//! What the kernel tells, and our own process inside.

use std::{fs, os::unix::fs::MetadataExt};

use livecode_core::ErrorKind;
use livecode_process::{Layer, Warm};

use crate::attempt::{Attempt, WAYS, attempts, is_root, judge, python};

attempts! {
    /// A copy of the helper's, with what it knows of other runs.
    the_memory_of_init_is_not_read [Dumpable, Landlock] "
first = int(open('/proc/1/maps').readline().split('-')[0], 16)
with open('/proc/1/mem', 'rb', buffering=0) as memory:
    memory.seek(first)
    return memory.read(4) == b'\\x7fELF'
";

    /// CVE-2019-5736 begins here.
    the_executable_of_init_is_not_opened [Dumpable, Landlock] "
return open('/proc/1/exe', 'rb').read(4) == b'\\x7fELF'
";

    init_is_not_traced [Seccomp, Dumpable, Landlock] "return call(101, 117, 0x4206, 1, 0, 0) == 0";

    /// Nothing here is anybody's but the program's own; `/proc/sys` would be the host's.
    proc_is_not_written [ReadOnly, Landlock] "return open('/proc/self/oom_score_adj', 'w').write('500') == 3";

    the_cgroups_path_is_not_seen [CgroupNamespace] "return 'livecode-' in open('/proc/self/cgroup').read()";
}

/// Neither host nor helper has something to hide there, but where somebody forgot to empty it. A copied interpreter has what
/// any program of its kind has, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_of_init_is_not_read() {
    let of_programs = ["PATH", "HOME", "LANG", "TMPDIR"];
    let own = std::env::vars().map(|(name, _)| name).find(|name| !of_programs.contains(&&**name)).unwrap();
    let source = format!("return b'{own}=' in open('/proc/1/environ', 'rb').read()");
    for way in WAYS {
        Attempt::against(&[Layer::Dumpable, Layer::Landlock, Layer::EmptyEnvironment])
            .where_possible(way != Warm::Fork)
            .python_one_way(way, &source)
            .await;
    }
}

/// Their number and nothing else, of which Landlock knows nothing. An ordinary user's copy of an interpreter is that user's to
/// the kernel, and is covered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_of_init_are_not_listed() {
    for way in WAYS {
        let layer = if way == Warm::Fork && !is_root() { Layer::Masks } else { Layer::Dumpable };
        Attempt::against(&[layer]).python_one_way(way, "return len(os.listdir('/proc/1/fd')) > 0").await;
    }
}

/// CVE-2019-5736. Where it can be opened at all, it's busy as long as any init or the helper lives; and sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_executable_of_init_is_not_written() {
    Attempt::against(&[Layer::Dumpable, Layer::Landlock])
        .where_possible(false)
        .python(
            "
try: return os.open('/proc/1/exe', os.O_WRONLY) > 2
except OSError as error: print(error)
try: return os.open('/proc/1/exe', os.O_RDONLY | os.O_TRUNC) > 2
except OSError as error: print(error)
return False
",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_name_is_not_seen() {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    Attempt::against(&[Layer::Uts])
        .python(&format!("return socket.gethostname() == '{}'", name.trim()))
        .await;
}

/// All that this kernel has and everybody may read. `keys` and `key-users` tell each user namespace of its own alone, and
/// are covered all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_proc_that_tell_of_the_host_are_covered() {
    let files = [
        "cmdline",
        "config.gz",
        "diskstats",
        "interrupts",
        "iomem",
        "modules",
        "partitions",
        "kallsyms",
        "sched_debug",
        "bus/pci/devices",
        "fs/ext4",
        "irq/default_smp_affinity",
        "pressure/cpu",
        "tty/drivers",
    ];
    let of_the_host = |name: &&str| {
        let path = format!("/proc/{name}");
        let open_to_all = fs::metadata(&path).is_ok_and(|it| it.mode() & 0o004 != 0);
        open_to_all && fs::read(&path).is_ok_and(|content| !content.is_empty())
            || fs::read_dir(path).is_ok_and(|all| all.count() > 0)
    };
    let there: Vec<&str> = files.into_iter().filter(of_the_host).collect();
    assert!(there.len() > 5, "{there:?}");
    Attempt::against(&[Layer::Masks])
        .made_by(async |runner| {
            let source = format!(
                "
def tells(path):
    try: return bool(os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(1))
    except OSError: return False
told = [name for name in {there:?} if tells('/proc/' + name)]
if told: print('told:', *told)
return len(told) > 0
"
            );
            let run = runner.run(&python(&source)).await.unwrap();
            let escaped = judge(&run);
            let said = String::from_utf8_lossy(&run.captured.stdout).into_owned();
            assert!(!escaped || there.iter().all(|name| said.contains(name)), "{there:?}");
            escaped
        })
        .await;
}

/// Even where it's seen: the kernel asks for power over its user namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_helper_is_not_looked_into() {
    let look = "
for name in ('environ', 'maps', 'mem', 'exe', 'auxv'):
    try:
        if open(f'/proc/1/{name}', 'rb').read(1): return True
    except OSError: pass
return False
";
    Attempt::against(&[Layer::PidNamespace])
        .besides(&[Layer::Landlock, Layer::OwnUser])
        .where_possible(false)
        .python(look)
        .await;
}

/// Which would be our failure, and tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_is_not_ended() {
    Attempt::against(&[Layer::PidNamespace, Layer::Landlock])
        .made_by(async |runner| {
            let kill = python("os.kill(os.getppid(), 9); os.kill(1, 9); time.sleep(1)");
            match runner.run(&kill).await {
                Ok(run) => judge(&run),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
                    true
                }
            }
        })
        .await;
}
