//! The inside of a run: the init of its PID namespace, and the program that it starts.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    mem,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use crate::{
    artifact,
    cgroup::Entrances,
    confine::{Namespaces, check_cgroup, verify},
    in_force,
    landlock::Landlock,
    layer::Layer,
    packets,
    parked::{self, Ahead},
    protocol::{Limits, Message, Order, Request},
    root::{self, during},
    step::{Next, run_step},
    sys,
};

/// Who a program is inside.
pub(crate) const INSIDE_ID: u32 = 1000;

/// What init tells the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The world is there, and waits for its program. Comes with a descriptor of the work directory, whose size the helper may
    /// change: we have given up the power to; and one of its mounts, so that they are undone when everybody has been told of
    /// the end.
    Furnished,
    /// The step's process is about to be. Init has used so much CPU time that is counted as the run's.
    Started { own_cpu_ns: u64 },
    /// It ended, after so many nanoseconds and so much CPU time of itself and of those that it waited for, with this raw
    /// status; whether its file system was full, and whether it left other processes.
    Ended { wall_ns: u64, cpu_ns: u64, status: i32, files_full: bool, left_some: bool },
    /// Its command could not be executed.
    NotStarted(String),
    /// We failed.
    Failed(String),
}

impl News {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started { own_cpu_ns } => [&[0], &own_cpu_ns.to_le_bytes()[..]].concat(),
            Self::Ended { wall_ns, cpu_ns, status, files_full, left_some } => [
                &[1, u8::from(*files_full), u8::from(*left_some)],
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
                let ([files_full, left_some], rest) = rest.split_first_chunk()?;
                let (wall_ns, rest) = rest.split_first_chunk()?;
                let (cpu_ns, status) = rest.split_first_chunk()?;
                let status = i32::from_le_bytes(status.try_into().ok()?);
                let [wall_ns, cpu_ns] = [wall_ns, cpu_ns].map(|bytes| u64::from_le_bytes(*bytes));
                let [files_full, left_some] = [files_full, left_some].map(|flag| *flag == 1);
                Some(Self::Ended { wall_ns, cpu_ns, status, files_full, left_some })
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
    pub(crate) landlock: &'a Landlock,
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
pub(crate) struct Tenant {
    pub(crate) limits: Vec<Limits>,
    pub(crate) request: Request,
    /// The files, one after the other.
    contents: File,
    /// The same where they are few bytes, which were read with the request.
    few: Option<Vec<u8>>,
    /// Standard input, output and error of each step; none once they are its alone.
    pub(crate) streams: Vec<Option<[OwnedFd; 3]>>,
    /// Where files go that are to be brought back.
    pub(crate) collect: Option<OwnedFd>,
    pub(crate) landlock: Option<OwnedFd>,
    /// So much CPU time is counted as the run's, and was ours.
    pub(crate) own_cpu_ns: u64,
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
    let landlock = if in_force(Layer::Landlock) {
        during("make rules for Landlock", world.landlock.begin())?
    } else {
        None
    };
    let ahead = world.ahead.iter().flat_map(Ahead::descriptors);
    let mut keep: Vec<_> = std::iter::once(&world.control)
        .chain(ahead)
        .chain(&landlock)
        .map(AsRawFd::as_raw_fd)
        .chain(world.entrances.descriptors())
        .collect();
    if in_force(Layer::CloseOthers) {
        sys::close_others(&mut keep)?;
    }
    // The helper may have had many.
    world.control = world.control.try_clone()?;
    world.entrances.renumber()?;
    world.ahead.as_mut().map_or(Ok(()), Ahead::renumber)?;
    let landlock = landlock.map(|rules| rules.try_clone()).transpose()?;
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
    if let Some(rules) = &landlock {
        during("finish the rules for Landlock", world.landlock.finish(rules))?;
    }
    if in_force(Layer::Capabilities) || !in_force(Layer::UserNamespace) {
        during("give up capabilities", sys::drop_capabilities())?;
    }
    if in_force(Layer::NoNewPrivs) {
        during("give up new privileges", sys::set_process(sys::PR_SET_NO_NEW_PRIVS, 1))?;
    }
    if in_force(Layer::Verify) {
        during("check the confinement", verify(world.outside))?;
    }
    let controls = world.ahead.as_mut().map(|ahead| mem::take(&mut ahead.controls)).unwrap_or_default();
    let mut parked = match &world.ahead {
        Some(ahead) => parked::boot(world, ahead, controls, landlock.as_ref())?.into_iter(),
        None => Vec::new().into_iter(),
    };
    let given = [sys::open_path("/work")?, File::open("/proc/self/ns/mnt")?.into()];
    packets::send_with(&world.control, &News::Furnished.encode(), &given.each_ref().map(AsRawFd::as_raw_fd))?;
    drop(given);
    // Here it may be a while: no byte of a program's has been in this world so far.
    let Some(mut tenant) = receive_tenant(&world.control, landlock, own_cpu_ns)? else {
        return Ok(Next::Nothing);
    };
    let placed = match (tenant.request.begins, &tenant.few) {
        (true, _) => artifact::place(&tenant.contents),
        (false, Some(few)) => place_few(&tenant.request.files, few),
        (false, None) => place_files(&tenant.request.files, &tenant.contents),
    };
    match placed {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            // As if the program had written them and met its limit.
            const EXIT_1: i32 = 1 << 8;
            let news =
                News::Ended { wall_ns: 0, cpu_ns: 0, status: EXIT_1, files_full: true, left_some: false };
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
        match run_step(world, &mut tenant, index, own, parked.as_slice())? {
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
    let (request, few) = read_request(&mut contents)?;
    if request.steps.is_empty() || request.steps.len() != begin.steps.len() {
        return Err(io::Error::other("a request needs steps, and each of them limits"));
    }
    let program = [descriptor()?, descriptor()?, descriptor()?];
    let mut streams = Vec::new();
    if begin.steps.len() > 1 {
        let output = descriptor()?;
        streams.push(Some([File::open("/dev/null")?.into(), output.try_clone()?, output]));
    }
    streams.push(Some(program));
    let collect = begin.collects.then(descriptor).transpose()?;
    Ok(Some(Tenant { limits: begin.steps, request, contents, few, streams, collect, landlock, own_cpu_ns }))
}

/// Leaves what follows to be read, but where that is a few bytes of files.
fn read_request(file: &mut File) -> io::Result<(Request, Option<Vec<u8>>)> {
    const LENGTH: usize = size_of::<u64>();
    let decode =
        |bytes: &[u8]| Request::decode(bytes).map_err(|_| io::Error::other("the request is damaged"));
    // All of it, mostly. Not from where the host stopped writing.
    let mut start = [0; packets::MAX_LEN];
    let len = file.read_at(&mut start, 0)?;
    let length = start.first_chunk::<LENGTH>().copied().map_or(0, u64::from_le_bytes);
    let whole =
        usize::try_from(length).ok().and_then(|length| start[..len].get(LENGTH..)?.split_at_checked(length));
    if let Some((request, few)) = whole {
        let request = decode(request)?;
        if len < start.len() && !request.begins {
            return Ok((request, Some(few.to_vec())));
        }
    }
    let mut bytes = Vec::new();
    file.seek(io::SeekFrom::Start(LENGTH as u64))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok((decode(&bytes)?, None))
}

fn wait_for_go(control: &OwnedFd) -> io::Result<()> {
    match packets::receive(control, &mut [0; 1])? {
        (0, _) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the helper is gone")),
        _ => Ok(()),
    }
}

/// The paths were checked by the host: relative and plain. Nobody else is here yet.
fn create(path: &str) -> io::Result<File> {
    if let Some((directory, _)) = path.rsplit_once('/') {
        during(directory, fs::create_dir_all(directory))?;
    }
    during(path, File::create(path))
}

/// From file to file, since what we read would be the program's memory.
fn place_files(files: &[(String, u64)], contents: &File) -> io::Result<()> {
    for (path, len) in files {
        let mut file = create(path)?;
        if during(path, io::copy(&mut Read::take(contents, *len), &mut file))? != *len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
    }
    Ok(())
}

fn place_few(files: &[(String, u64)], mut contents: &[u8]) -> io::Result<()> {
    for (path, len) in files {
        let len = usize::try_from(*len).map_err(io::Error::other)?;
        let (content, rest) = contents.split_at_checked(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        during(path, create(path)?.write_all(content))?;
        contents = rest;
    }
    Ok(())
}
