//! The inside of a run: the init of its PID namespace, and the program that it starts.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    mem,
    os::fd::{AsRawFd, OwnedFd},
    process, thread,
    time::{Duration, Instant},
};

use crate::{
    artifact,
    cgroup::Entrances,
    collect,
    confine::{Namespaces, check_cgroup, prepare, verify},
    in_force, landlock,
    layer::Layer,
    packets,
    parked::{self, Ahead, Parked, strings},
    protocol::{Command, Limits, Message, Order, Request},
    root::{self, during},
    sys,
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
    /// What boots in here before there is a program.
    pub(crate) ahead: Option<Ahead<'a>>,
    /// The step whose interpreter we are a copy of, where we are one.
    pub(crate) interpreter: Option<usize>,
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

/// What follows a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Step,
    Nothing,
    /// This is the process that has become the program.
    Program,
}

/// Is the init of a run. What it holds of the helper's is closed first; its memory is a copy that no program can read. Only
/// comes back in a copy of an interpreter, in the process that is to be the program from there on.
pub(crate) fn be_init(mut world: World<'_>) {
    match live(&mut world) {
        Ok(Next::Program) => {
            // Its descriptors are closed.
            mem::forget(world);
            return;
        }
        Ok(Next::Step | Next::Nothing) => {}
        Err(error) => {
            let news = News::Failed(error.to_string()).encode();
            // Where the helper is gone, so are we.
            packets::send(&world.control, &news).ok();
        }
    }
    sys::exit(0)
}

fn live(world: &mut World<'_>) -> io::Result<Next> {
    let ahead = world.ahead.iter().flat_map(|ahead| [ahead.booted, ahead.library]);
    let mut keep: Vec<_> = std::iter::once(&world.control)
        .chain(ahead)
        .map(AsRawFd::as_raw_fd)
        .chain(world.entrances.descriptors())
        .collect();
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
    if world.interpreter.is_some() && !world.clear_groups && in_force(Layer::Masks) {
        root::hide_descriptors()?;
    }
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
    let mut parked = match world.ahead {
        Some(ahead) => parked::boot(world, ahead, landlock.as_ref())?.into_iter(),
        None => Vec::new().into_iter(),
    };
    packets::send_with(&world.control, &News::Furnished.encode(), &[sys::open_path("/work")?.as_raw_fd()])?;
    // Here it may be a while: no byte of a program's has been in this world so far.
    let Some(tenant) = receive_tenant(&world.control, landlock, own_cpu_ns)? else {
        return Ok(Next::Nothing);
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
            packets::send(&world.control, &news.encode())?;
            return Ok(Next::Nothing);
        }
        Err(error) => return Err(error),
    }
    for index in 0..tenant.limits.len() {
        if index > 0 {
            wait_for_go(&world.control)?;
        }
        let own = parked.next().flatten();
        match run_step(world, &tenant, index, own, parked.as_slice())? {
            Next::Step => {}
            Next::Nothing => break,
            Next::Program => {
                mem::forget(tenant);
                return Ok(Next::Program);
            }
        }
    }
    Ok(Next::Nothing)
}

impl Streams {
    /// Standard input, output and error of a step.
    fn of_step(&self, is_last: bool) -> io::Result<[OwnedFd; 3]> {
        Ok(match (&self.compile, is_last) {
            (Some(output), false) => {
                [File::open("/dev/null")?.into(), output.try_clone()?, output.try_clone()?]
            }
            (None | Some(_), _) => {
                [self.stdin.try_clone()?, self.stdout.try_clone()?, self.stderr.try_clone()?]
            }
        })
    }
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
    let Ok(Order::Run(begin)) = Order::decode(&packet[..len]) else {
        return Err(io::Error::other("the beginning is damaged"));
    };
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

/// Runs a step to its end, in the interpreter that waits for it, where there is one.
fn run_step(
    world: &World<'_>,
    tenant: &Tenant,
    index: usize,
    parked: Option<Parked>,
    waiting: &[Option<Parked>],
) -> io::Result<Next> {
    let (command, limits) = (&tenant.request.steps[index], &tenant.limits[index]);
    let is_last = index + 1 == tenant.limits.len();
    // An interpreter that is dead has used no more than it had.
    let booted = parked.iter().chain(waiting.iter().flatten());
    let booted_ns: u64 = booted.map(|parked| parked.cpu_ns().unwrap_or(0)).sum();
    let news = News::Started { own_cpu_ns: tenant.own_cpu_ns + booted_ns };
    packets::send(&world.control, &news.encode())?;
    let began = Instant::now();
    let gone_on = parked
        .map(|parked| parked.go(tenant.streams.of_step(is_last)?.each_ref(), limits, world.cgroup.is_some()));
    let main = match gone_on {
        Some(Ok(pid)) => pid,
        // It died while it waited, or has to be another for such limits: as if there had been none.
        Some(Err(_)) | None => match start(world, tenant, command, limits, index)? {
            Started::Process(pid) => pid,
            Started::Not(news) => {
                packets::send(&world.control, &news.encode())?;
                return Ok(Next::Nothing);
            }
            Started::Program => return Ok(Next::Program),
        },
    };
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
    if !is_last {
        end_all_but(waiting)?;
    }
    packets::send(&world.control, &ended)?;
    if let (Some(max_bytes), Some(to)) = (tenant.request.keep, &tenant.streams.collect)
        && !is_last
        && status == 0
    {
        artifact::send(max_bytes, to)?;
    }
    if let Some(to) = tenant.streams.collect.as_ref().filter(|_| is_last) {
        end_all_but(&[])?;
        collect::send(&tenant.request.collect, tenant.request.collect_bytes, to)?;
    }
    Ok(if status == 0 && !is_last { Next::Step } else { Next::Nothing })
}

/// Ends what a step left running, but not the interpreters that wait for a further step, unless there's no end to it.
fn end_all_but(waiting: &[Option<Parked>]) -> io::Result<()> {
    /// What is killed is gone soon; who makes others faster than that isn't spared for anybody's sake.
    const TRIES: usize = 50;
    let spared: Vec<i32> = waiting.iter().flatten().map(Parked::pid).collect();
    if process::id() != 1 {
        // It's the helper's own namespace.
        while spared.is_empty() && sys::wait(-1).is_some() {}
        return Ok(());
    }
    for _ in 0..if spared.is_empty() { 0 } else { TRIES } {
        while sys::reap_dead() {}
        let mut others = 0;
        for entry in fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|pid| *pid != 1 && !spared.contains(pid)) {
                sys::kill_pid(pid);
                others += 1;
            }
        }
        if others == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_micros(200));
    }
    sys::kill_all_but_me();
    while sys::wait(-1).is_some() {}
    Ok(())
}

/// What came of starting a step's process.
enum Started {
    Process(i32),
    /// It could not be, or has ended in that.
    Not(News),
    /// We are it.
    Program,
}

fn start(
    world: &World<'_>,
    tenant: &Tenant,
    command: &Command,
    limits: &Limits,
    index: usize,
) -> io::Result<Started> {
    let (path, argv, env) = strings(command)?;
    let is_last = index + 1 == tenant.limits.len();
    let (mut trouble, report) = io::pipe()?;
    let pid = match sys::fork_program()? {
        None => {
            let prepared = tenant.streams.of_step(is_last).and_then(|streams| {
                let keep = &mut [report.as_raw_fd()];
                prepare(world, streams.each_ref(), tenant.landlock.as_ref(), limits, keep)?;
                mem::forget(streams);
                Ok(())
            });
            let error = match prepared {
                Ok(()) if world.interpreter == Some(index) => {
                    // Already closed.
                    mem::forget(trouble);
                    return Ok(Started::Program);
                }
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
        Some(pid) => pid,
    };
    drop(report);
    let mut said = Vec::new();
    trouble.read_to_end(&mut said)?;
    let Some((&kind, reason)) = said.split_first() else {
        return Ok(Started::Process(pid));
    };
    let reason = String::from_utf8_lossy(reason).into_owned();
    Ok(Started::Not(match kind {
        // As a shell says it: for the kernel its arguments are too many, or its stack too small for them.
        b'a' => {
            const EXIT_126: i32 = 126 << 8;
            News::Ended { wall_ns: 0, cpu_ns: 0, status: EXIT_126, files_full: false }
        }
        b'x' => News::NotStarted(reason),
        _ => News::Failed(reason),
    }))
}
