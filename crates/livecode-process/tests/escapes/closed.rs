//! Set-up that fails, or doesn't do what it should: no program begins, and it's said what was missing.

use livecode_core::{ErrorKind, Runner};
use livecode_process::{Layer, ProcessSandbox};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    attempt::{is_root, python},
    ordinary_user,
};

/// Makes a test of a set-up without these layers, and of what is said.
macro_rules! refused {
    ($($name:ident [$($layer:ident),*] $said:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            nothing_begins(&[$(Layer::$layer),*], $said).await;
        }
    )*};
}

async fn nothing_begins(left_out: &[Layer], reason: &str) {
    let builder =
        ordinary_user::own_cgroup().into_iter().fold(ProcessSandbox::builder(), |b, path| b.cgroup(path));
    let sandbox = left_out.iter().fold(builder, |builder, layer| builder.leave_out(*layer)).build().unwrap();
    let (sender, mut output) = mpsc::channel(16);
    let error = Runner::new(sandbox)
        .stream(&python("return True"), sender, &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(output.recv().await.is_none(), "the program has begun");
}

refused! {
    no_program_begins_without_a_filter [Seccomp] "check the confinement: Seccomp: is";
    // The powers are what installs a filter without it.
    no_program_begins_with_new_privileges [NoNewPrivs, Capabilities] "check the confinement: NoNewPrivs: is";
    // Even unread: Landlock is the first to refuse.
    nothing_is_installed_with_new_privileges [NoNewPrivs, Verify] "confine it by Landlock: Operation not permitted";
    no_program_begins_with_capabilities [Capabilities] "check the confinement: CapPrm: is";
    no_program_begins_outside_its_cgroup [CgroupEntry] "the process is not in the cgroup /livecode-";
    no_program_begins_in_another_pid_namespace [PidNamespace] "the pid namespace is not the run's own";
    no_program_begins_in_another_network [Network] "the net namespace is not the run's own";
    no_program_begins_in_another_ipc_namespace [Ipc] "the ipc namespace is not the run's own";
    no_program_begins_in_another_uts_namespace [Uts] "the uts namespace is not the run's own";
    no_program_begins_in_another_cgroup_namespace [CgroupNamespace] "the cgroup namespace is not the run's own";
    // Mounts of a namespace with more power can't be added to.
    no_program_begins_among_others_mounts [MountNamespace] "mount /proc: Operation not permitted";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_program_begins_as_a_user_of_the_hosts() {
    if is_root() {
        nothing_begins(&[Layer::UserNamespace], "the user namespace is not the run's own").await;
    }
}
