//! The inside of a run: the init of its PID namespace, and the program that it starts.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process,
    time::Instant,
};

use crate::{
    artifact,
    cgroup::Entrances,
    collect, in_force, landlock,
    layer::Layer,
    packets,
    protocol::{Begin, Command, Limits, Message, Request},
    root::{self, during},
    sys::{self, Fork, Resource},
};

/// Who a program is inside.
pub(crate) const INSIDE_ID: u32 = 1000;

/// The program's streams, as the host gave them.
pub(crate) struct Streams {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Both streams of every step before the last.
    pub(crate) compile: Option<OwnedFd>,
    /// Where files go that are to be collected.
    pub(crate) collect: Option<OwnedFd>,
}

/// What init tells the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The world is there, and waits for its program. Comes with a descriptor of the work directory, whose size the helper may
    /// change: we have given up the power to.
    Furnished,
    /// The step's process is about to be. Init has used so much CPU time that is counted as the run's.
    Started { own_cpu_ns: u64 },
    /// It ended, after so many nanoseconds and so much CPU time of itself and of those that it waited for, with this raw
    /// status; and whether its file system was full.
    Ended { wall_ns: u64, cpu_ns: u64, status: i32, files_full: bool },
    /// Its command could not be executed.
    NotStarted(String),
    /// We failed.
    Failed(String),
}

impl News {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started { own_cpu_ns } => [&[0], &own_cpu_ns.to_le_bytes()[..]].concat(),
            Self::Ended { wall_ns, cpu_ns, status, files_full } => [
                &[1, u8::from(*files_full)],
                &wall_ns.to_le_bytes()[..],
                &cpu_ns.to_le_bytes(),
                &status.to_le_bytes(),
            ]
            .concat(),
            Self::Furnished => vec![4],
            Self::NotStarted(reason) => [&[2], reason.as_bytes()].concat(),
            Self::Failed(reason) => [&[3], reason.as_bytes()].concat(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        match tag {
            0 => Some(Self::Started { own_cpu_ns: u64::from_le_bytes(rest.try_into().ok()?) }),
            1 => {
                let (files_full, rest) = rest.split_first()?;
                let (wall_ns, rest) = rest.split_first_chunk()?;
                let (cpu_ns, status) = rest.split_first_chunk()?;
                let status = i32::from_le_bytes(status.try_into().ok()?);
                let [wall_ns, cpu_ns] = [wall_ns, cpu_ns].map(|bytes| u64::from_le_bytes(*bytes));
                Some(Self::Ended { wall_ns, cpu_ns, status, files_full: *files_full == 1 })
            }
            2 => Some(Self::NotStarted(text())),
            3 => Some(Self::Failed(text())),
            4 => Some(Self::Furnished),
            _ => None,
        }
    }
}

/// All that init needs to make a world.
pub(crate) struct World<'a> {
    /// How large the file system is at first: bytes and files.
    pub(crate) room: (u64, u32),
    /// To the helper. Its first packet is the go; its second has the program; each that follows is the go for the next step.
    pub(crate) control: OwnedFd,
    pub(crate) entrances: Entrances,
    pub(crate) seccomp: &'a [u8],
    /// The version to be used; 0 for none.
    pub(crate) landlock: u8,
    /// What is shown of the host's.
    pub(crate) shown: &'a [String],
    /// What the run's cgroups end in, where it has some.
    pub(crate) cgroup: Option<String>,
    /// The namespaces of whoever made this world.
    pub(crate) outside: &'a Namespaces,
    /// Who the program is, as seen from inside.
    pub(crate) user: u32,
    /// Whether the helper may change groups: not where an ordinary user started it.
    pub(crate) clear_groups: bool,
}

/// A program, and what it was given.
struct Tenant {
    limits: Vec<Limits>,
    request: Request,
    /// The files, one after the other.
    contents: File,
    streams: Streams,
    landlock: Option<OwnedFd>,
    /// So much CPU time is counted as the run's, and was ours.
    own_cpu_ns: u64,
}

/// Is the init of a run. What it holds of the helper's is closed first; its memory is a copy that no program can read.
pub(crate) fn be_init(mut world: World<'_>) -> ! {
    if let Err(error) = live(&mut world) {
        let news = News::Failed(error.to_string()).encode();
        // Where the helper is gone, so are we.
        packets::send(&world.control, &news).ok();
    }
    sys::exit(0)
}

fn live(world: &mut World<'_>) -> io::Result<()> {
    let mut keep: Vec<_> =
        std::iter::once(world.control.as_raw_fd()).chain(world.entrances.descriptors()).collect();
    if in_force(Layer::CloseOthers) {
        sys::close_others(&mut keep)?;
    }
    sys::set_name(c"livecode-init")?;
    during("enter the cgroup", world.entrances.enter_all())?;
    if let Some(path) = &world.cgroup
        && in_force(Layer::Verify)
    {
        during("check the cgroup", check_cgroup(path))?;
    }
    // The first go: the user namespace is mapped.
    wait_for_go(&world.control)?;
    if !in_force(Layer::UserNamespace) {
        // Else all powers would be gone, which are given up below.
        sys::keep_powers()?;
    }
    during("become another user", sys::become_user(world.user, world.user, world.clear_groups))?;
    // Another user's process isn't by itself; an ordinary user's init is the same user.
    sys::set_process(sys::PR_SET_DUMPABLE, u64::from(!in_force(Layer::Dumpable)))?;
    if in_force(Layer::CgroupNamespace) {
        during("leave the cgroup's path", sys::unshare_cgroup())?;
    }
    during("leave the program's share", world.entrances.go_back())?;
    let own_cpu_ns = sys::own_cpu_ns()?;
    if in_force(Layer::Uts) {
        during("name the host", sys::sethostname(c"sandbox"))?;
    }
    sys::umask(0o022);
    root::furnish(world.room)?;
    let landlock = if in_force(Layer::Landlock) {
        during("make rules for Landlock", landlock::rules(world.landlock, world.shown))?
    } else {
        None
    };
    if in_force(Layer::Capabilities) || !in_force(Layer::UserNamespace) {
        during("give up capabilities", sys::drop_capabilities())?;
    }
    if in_force(Layer::NoNewPrivs) {
        during("give up new privileges", sys::set_process(sys::PR_SET_NO_NEW_PRIVS, 1))?;
    }
    if in_force(Layer::Verify) {
        during("check the confinement", verify(world.outside))?;
    }
    packets::send_with(&world.control, &News::Furnished.encode(), &[sys::open_path("/work")?.as_raw_fd()])?;
    // Here it may be a while: no byte of a program's has been in this world so far.
    let Some(tenant) = receive_tenant(&world.control, landlock, own_cpu_ns)? else {
        return Ok(());
    };
    let placed = match tenant.request.begins {
        true => artifact::place(&tenant.contents),
        false => place_files(&tenant.request.files, &tenant.contents),
    };
    match placed {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            // As if the program had written them and met its limit.
            const EXIT_1: i32 = 1 << 8;
            let news = News::Ended { wall_ns: 0, cpu_ns: 0, status: EXIT_1, files_full: true };
            return packets::send(&world.control, &news.encode());
        }
        Err(error) => return Err(error),
    }
    let steps = tenant.request.steps.iter().zip(&tenant.limits);
    for (index, (command, limits)) in steps.enumerate() {
        if index > 0 {
            wait_for_go(&world.control)?;
        }
        let is_last = index + 1 == tenant.limits.len();
        if !run_step(world, &tenant, command, limits, is_last)? {
            break;
        }
    }
    Ok(())
}

impl Limits {
    /// How large the file system has to be.
    pub(crate) fn room(&self) -> (u64, u32) {
        (self.file_bytes, self.files)
    }
}

/// None where the helper has no use for this world.
fn receive_tenant(
    control: &OwnedFd,
    landlock: Option<OwnedFd>,
    own_cpu_ns: u64,
) -> io::Result<Option<Tenant>> {
    let mut packet = [0; packets::MAX_LEN];
    let (len, fds) = packets::receive(control, &mut packet)?;
    if len == 0 {
        return Ok(None);
    }
    let begin = Begin::decode(&packet[..len]).map_err(|_| io::Error::other("the beginning is damaged"))?;
    let mut fds = fds.into_iter();
    let mut descriptor = || fds.next().ok_or_else(|| io::Error::other("a descriptor is missing"));
    let mut contents = File::from(descriptor()?);
    let request = read_request(&mut contents)?;
    if request.steps.is_empty() || request.steps.len() != begin.steps.len() {
        return Err(io::Error::other("a request needs steps, and each of them limits"));
    }
    let streams = Streams {
        stdin: descriptor()?,
        stdout: descriptor()?,
        stderr: descriptor()?,
        compile: (begin.steps.len() > 1).then(&mut descriptor).transpose()?,
        collect: begin.collects.then(descriptor).transpose()?,
    };
    Ok(Some(Tenant { limits: begin.steps, request, contents, streams, landlock, own_cpu_ns }))
}

/// Leaves what follows to be read.
fn read_request(file: &mut File) -> io::Result<Request> {
    let (mut length, mut bytes) = ([0; 8], Vec::new());
    file.rewind()?;
    file.read_exact(&mut length)?;
    file.take(u64::from_le_bytes(length)).read_to_end(&mut bytes)?;
    Request::decode(&bytes).map_err(|_| io::Error::other("the request is damaged"))
}

fn wait_for_go(control: &OwnedFd) -> io::Result<()> {
    match packets::receive(control, &mut [0; 1])? {
        (0, _) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the helper is gone")),
        _ => Ok(()),
    }
}

/// The paths were checked by the host: relative and plain. Nobody else is here yet. From file to file, since what we read
/// would be the program's memory.
fn place_files(files: &[(String, u64)], contents: &File) -> io::Result<()> {
    for (path, len) in files {
        if let Some((directory, _)) = path.rsplit_once('/') {
            during(directory, fs::create_dir_all(directory))?;
        }
        let mut file = during(path, File::create(path))?;
        if during(path, io::copy(&mut Read::take(contents, *len), &mut file))? != *len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
    }
    Ok(())
}

/// Runs a step to its end; says whether the next one may follow.
fn run_step(
    world: &World<'_>,
    tenant: &Tenant,
    command: &Command,
    limits: &Limits,
    is_last: bool,
) -> io::Result<bool> {
    let env = strings(&command.env)?;
    let (path, argv) = (sys::c_string(command.path.clone())?, strings(&command.argv)?);
    let (mut trouble, report) = io::pipe()?;
    packets::send(&world.control, &News::Started { own_cpu_ns: tenant.own_cpu_ns }.encode())?;
    let began = Instant::now();
    let main = match sys::fork(0, None)? {
        Fork::Child => {
            let error = match prepare(world, tenant, limits, is_last, report.as_raw_fd()) {
                Ok(()) => match sys::execve(&path, &argv, &env) {
                    error if error.kind() == io::ErrorKind::ArgumentListTooLong => (b'a', error),
                    error => (b'x', error),
                },
                Err(error) => (b'p', error),
            };
            // Where nobody listens, the exit status says it.
            (&report).write_all(&[&[error.0], error.1.to_string().as_bytes()].concat()).ok();
            sys::exit(127)
        }
        Fork::Parent { pid, .. } => pid,
    };
    drop(report);
    let mut said = Vec::new();
    trouble.read_to_end(&mut said)?;
    if let Some((&kind, reason)) = said.split_first() {
        let reason = String::from_utf8_lossy(reason).into_owned();
        if kind == b'a' {
            // As a shell says it: for the kernel its arguments are too many, or its stack too small for them.
            const EXIT_126: i32 = 126 << 8;
            let ended = News::Ended { wall_ns: 0, cpu_ns: 0, status: EXIT_126, files_full: false };
            packets::send(&world.control, &ended.encode())?;
            return Ok(false);
        }
        let news = if kind == b'x' { News::NotStarted(reason) } else { News::Failed(reason) };
        packets::send(&world.control, &news.encode())?;
        return Ok(false);
    }
    let (status, cpu_ns) = loop {
        match sys::wait(-1) {
            Some((pid, status, cpu_ns)) if pid == main => break (status, cpu_ns),
            Some(_) => {}
            None => {
                return Err(io::Error::other("the program's process is not there to be waited for"));
            }
        }
    };
    let wall_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let files_full = status != 0 && sys::is_full("/work")?;
    let ended = News::Ended { wall_ns, cpu_ns, status, files_full }.encode();
    // Whatever a step left running must see neither the next one nor a file being read. Else it goes with us.
    let end_all = || {
        if process::id() == 1 {
            sys::kill_all_but_me();
        }
        while sys::wait(-1).is_some() {}
    };
    if !is_last {
        end_all();
    }
    packets::send(&world.control, &ended)?;
    if let (Some(max_bytes), Some(to)) = (tenant.request.keep, &tenant.streams.collect)
        && !is_last
        && status == 0
    {
        artifact::send(max_bytes, to)?;
    }
    if let Some(to) = tenant.streams.collect.as_ref().filter(|_| is_last) {
        end_all();
        collect::send(&tenant.request.collect, tenant.request.collect_bytes, to)?;
    }
    Ok(status == 0 && !is_last)
}

fn strings(list: &[Vec<u8>]) -> io::Result<Vec<CString>> {
    list.iter().map(|bytes| sys::c_string(bytes.clone())).collect()
}

/// The last of our own instructions in the process that becomes the program.
fn prepare(world: &World<'_>, tenant: &Tenant, step: &Limits, is_last: bool, report: i32) -> io::Result<()> {
    during("enter the program's share", world.entrances.enter_for_programs())?;
    if in_force(Layer::Session) {
        sys::setsid()?;
    }
    let streams = &tenant.streams;
    match (&streams.compile, is_last) {
        (Some(output), false) => {
            sys::dup2(&File::open("/dev/null")?, 0)?;
            sys::dup2(output, 1)?;
            sys::dup2(output, 2)?;
        }
        (None | Some(_), _) => {
            sys::dup2(&streams.stdin, 0)?;
            sys::dup2(&streams.stdout, 1)?;
            sys::dup2(&streams.stderr, 2)?;
        }
    }
    if let Some(rules) = &tenant.landlock {
        during("confine it by Landlock", sys::landlock_restrict(rules))?;
    }
    // It closes itself on exec, which is how init learns of it.
    if in_force(Layer::CloseOthers) {
        sys::close_others(&mut [report])?;
    }
    // Where a cgroup counts, it has to be met first, for it tells of it.
    let counted = world.cgroup.is_some();
    let processes = u64::from(step.processes) * if counted { 2 } else { 1 } + 1;
    // Stacks of threads, as large as the soft limit, count as data from the beginning, used or not.
    let (data, stack) = if counted {
        (u64::MAX, step.stack_bytes)
    } else {
        let stack = step.stack_bytes.min(8 << 20);
        (step.memory_bytes.saturating_add(u64::from(step.processes) * stack), stack)
    };
    let open_files = u64::from(step.open_files);
    // Whole seconds: where a cgroup counts, it's more exact and has to be met first.
    let cpu_seconds = step.cpu_ns.div_ceil(1_000_000_000) + u64::from(counted);
    for (resource, layer, soft, hard) in [
        (Resource::Cpu, Layer::LimitCpu, cpu_seconds, cpu_seconds + 1),
        (Resource::Fsize, Layer::LimitFsize, step.file_bytes, step.file_bytes),
        (Resource::Data, Layer::LimitData, data, data),
        (Resource::Stack, Layer::LimitStack, stack, step.stack_bytes),
        // Not 0, with which a `core_pattern` with a pipe is started all the same: core(5).
        (Resource::Core, Layer::LimitCore, 1, 1),
        (Resource::Nproc, Layer::LimitNproc, processes, processes),
        (Resource::Nofile, Layer::LimitNofile, open_files, open_files),
        (Resource::Memlock, Layer::LimitMemlock, 64 << 10, 64 << 10),
        (Resource::Sigpending, Layer::LimitSigpending, 1024, 1024),
        (Resource::Msgqueue, Layer::LimitMsgqueue, 0, 0),
        (Resource::Nice, Layer::LimitNice, 0, 0),
        (Resource::Rtprio, Layer::LimitRtprio, 0, 0),
    ] {
        if in_force(layer) {
            during("lower a resource limit", sys::lower_rlimit(resource, soft, hard))?;
        }
    }
    if in_force(Layer::Seccomp) {
        during("install the system call filter", sys::install_seccomp(world.seccomp))?;
    }
    if in_force(Layer::Verify) {
        during("check the confinement", verify_filter())?;
    }
    Ok(())
}

/// The namespaces that a process is in, by their links in `/proc`.
pub(crate) struct Namespaces([(&'static str, PathBuf); 7]);

impl Namespaces {
    pub(crate) fn own() -> io::Result<Self> {
        let mut all =
            ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"].map(|name| (name, PathBuf::new()));
        for (name, link) in &mut all {
            *link = fs::read_link(format!("/proc/self/ns/{name}"))?;
        }
        Ok(Self(all))
    }
}

/// Before the program's first instruction: whether the kernel says that we are where we mean to be. Only our own cgroup's
/// end of the path is known here, and enough.
fn check_cgroup(path: &str) -> io::Result<()> {
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let missing = ["memory", "pids", "cpu"].into_iter().find(|name| {
        let is_in = |line: &&str| {
            let mut parts = line.splitn(3, ':');
            let controllers = parts.nth(1).unwrap_or_default();
            // The one without names is the unified hierarchy.
            controllers.is_empty() || controllers.split(',').any(|controller| controller == *name)
        };
        !cgroups.lines().filter(is_in).any(|line| line.ends_with(path))
    });
    match missing {
        None => Ok(()),
        Some(name) => Err(io::Error::other(format!("the process is not in the cgroup {path} of {name}"))),
    }
}

/// Reads back from the kernel what must be in force, and what a process hands on to those that it starts. Fails closed.
fn verify(outside: &Namespaces) -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let none = "0000000000000000";
    let expected = [
        ("NoNewPrivs:", "1"),
        ("CapInh:", none),
        ("CapPrm:", none),
        ("CapEff:", none),
        ("CapBnd:", none),
        ("CapAmb:", none),
    ];
    for (name, value) in expected {
        let found = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if found != Some(value) {
            return Err(io::Error::other(format!("{name} is {found:?}, not {value}")));
        }
    }
    for ((name, inside), (_, outside)) in Namespaces::own()?.0.iter().zip(&outside.0) {
        if inside == outside {
            return Err(io::Error::other(format!("the {name} namespace is not the run's own")));
        }
    }
    Ok(())
}

/// The same for the filter, in the process that becomes the program: what `Seccomp:` in its status would say.
fn verify_filter() -> io::Result<()> {
    match sys::get_process(sys::PR_GET_SECCOMP)? {
        sys::SECCOMP_MODE_FILTER => Ok(()),
        mode => Err(io::Error::other(format!("Seccomp: is {mode}, not 2"))),
    }
}
