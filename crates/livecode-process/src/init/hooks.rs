//! The C library's ways to look at a file by its path, and the wait in them.

use std::{
    cell::Cell,
    env,
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    fs, io, mem,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr, slice,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
    },
};

use crate::{
    LEFT_OUT,
    cgroup::Entrances,
    confine::Namespaces,
    landlock::Landlock,
    node, packets,
    parked::{CONTROL, FAILED, FAILED_STATUS, GO, LIBRARY, STOPPED},
    protocol::Message,
    python, sys,
    told::{Copied, Settings, Told},
    world::{World, be_init},
};

/// Whether there is nothing to wait for: there was, or there never is.
static PASSED: AtomicBool = AtomicBool::new(true);

/// Whether somebody waits already, for other threads of the interpreter to wait as well.
static STARTED: Mutex<bool> = Mutex::new(false);
static OVER: Condvar = Condvar::new();

/// What `/proc` tells of the command line: where it is, and its length.
static ARGUMENTS: (AtomicPtr<c_char>, AtomicUsize) = (AtomicPtr::new(ptr::null_mut()), AtomicUsize::new(0));

/// What it tells of an init.
const INIT_NAME: &[u8] = b"livecode-init";

thread_local! {
    /// In this thread, what is opened meanwhile is opened by us.
    static OURS: Cell<bool> = const { Cell::new(false) };
}

const RTLD_NEXT: *mut c_void = ptr::without_provenance_mut(usize::MAX);

unsafe extern "C" {
    pub(crate) fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char) -> *mut c_void;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn close(fd: c_int) -> c_int;
}

/// Called by the loader when the library is there. Where no init is at the other end it has nothing to do.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn(c_int, *mut *mut c_char) = {
    extern "C" fn loaded(argc: c_int, argv: *mut *mut c_char) {
        const F_SETFD: c_int = 2;
        const FD_CLOEXEC: c_int = 1;
        // SAFETY: no memory is involved; these numbers are ours by agreement.
        let has_init = unsafe {
            close(LIBRARY);
            fcntl(CONTROL, F_SETFD, FD_CLOEXEC) == 0
        };
        PASSED.store(!has_init, Ordering::Release);
        let last = usize::try_from(argc).ok().and_then(|count| count.checked_sub(1));
        // SAFETY: the loader passes what `main` will get: so many strings, which the kernel has put one behind the other.
        let (first, len) = last.map_or((ptr::null_mut(), 0), |last| unsafe {
            let (first, last) = (*argv, *argv.add(last));
            (first, last.addr() - first.addr() + CStr::from_ptr(last).count_bytes() + 1)
        });
        ARGUMENTS.0.store(first, Ordering::Relaxed);
        ARGUMENTS.1.store(len, Ordering::Relaxed);
    }
    loaded
};

/// Waits, where this is the first look at what is beneath the work directory, which is where we are: but for a JVM, which goes
/// elsewhere and back for its perf data, long before it has booted.
fn reads(path: *const c_char) {
    look_at(path, may_be_beneath);
}

/// The same for who opens it in another way. Python does before it reads it: it may be an archive or a directory, which no
/// program is that finds an interpreter booted. What stands in for it while an interpreter boots is neither.
fn opens(path: *const c_char) {
    look_at(path, |path| may_be_beneath(path) && !is_asked_by_python(path));
}

/// The same for who asks about a file: by its whole path, since interpreters ask about where they are while they boot.
fn asks(path: *const c_char) {
    look_at(path, |path| is_beneath(path) && !is_asked_by_python(path));
}

fn is_asked_by_python(path: &[u8]) -> bool {
    python::is_there() && fs::symlink_metadata(OsStr::from_bytes(path)).is_ok()
}

fn may_be_beneath(path: &[u8]) -> bool {
    let is_here = || env::current_dir().is_ok_and(|directory| directory == Path::new("/work"));
    is_beneath(path) || path.first() != Some(&b'/') && path != b"." && is_here()
}

fn is_beneath(path: &[u8]) -> bool {
    path.strip_prefix(b"/work/").is_some_and(|rest| !matches!(rest, b"" | b"."))
}

fn look_at(path: *const c_char, is_a_look: impl Fn(&[u8]) -> bool) {
    if PASSED.load(Ordering::Acquire) || path.is_null() || OURS.get() {
        return;
    }
    // SAFETY: whoever opens a file passes a string.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    OURS.set(true);
    let is_a_look = is_a_look(path);
    OURS.set(false);
    if is_a_look {
        stop();
    }
}

fn stop() {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if *started {
        while !PASSED.load(Ordering::Acquire) {
            started = OVER.wait(started).unwrap_or_else(PoisonError::into_inner);
        }
        return;
    }
    *started = true;
    drop(started);
    OURS.set(true);
    python::prepare();
    node::prepare();
    // SAFETY: the descriptor is there, since there is an init, and nobody else owns it.
    let control = unsafe { OwnedFd::from_raw_fd(CONTROL) };
    if wait(&control).is_err() {
        // Where init is gone, so are we.
        packets::send(&control, FAILED).ok();
        sys::exit(FAILED_STATUS);
    }
    // In a copy it's closed already, and what else was: who closes it finds nothing.
    drop(control);
    OURS.set(false);
    PASSED.store(true, Ordering::Release);
    OVER.notify_all();
}

/// Comes back in the process that is to be the program.
fn wait(control: &OwnedFd) -> io::Result<()> {
    packets::send(control, STOPPED)?;
    let mut packet = [0; 16 * 1024];
    let mut settings = None;
    loop {
        let (len, fds) = packets::receive(control, &mut packet)?;
        if &packet[..len] == GO {
            // The kernel leaves out what there is no room for.
            if fds.len() != 3 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            for (stream, number) in fds.iter().zip(0..) {
                sys::dup2(stream, number)?;
            }
            return Ok(());
        }
        match Told::decode(&packet[..len]) {
            Ok(Told::Settings(told)) => {
                // Of threads only the one that forks is in a copy.
                if fs::read_dir("/proc/self/task")?.count() != 1 {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                LEFT_OUT.store(told.left_out, Ordering::Relaxed);
                let landlock = Landlock::new(told.landlock, &told.shown)?;
                settings = Some((told, Namespaces::own()?, landlock));
            }
            Ok(Told::Copy(copied)) => {
                let Some((settings, outside, landlock)) = &settings else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                match copy(&copied, settings, outside, landlock, fds) {
                    Ok(Some((pid, pidfd))) => {
                        use std::os::fd::AsRawFd;
                        packets::send_with(control, &pid.to_le_bytes(), &[pidfd.as_raw_fd()])?;
                    }
                    // The program from here on.
                    Ok(None) => return Ok(()),
                    Err(error) => packets::send(control, format!("copy: {error}").as_bytes())?,
                }
            }
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Puts that in the place of the command line, cut to its length; gives back what it was.
fn tell_command_line(told: &[u8]) -> Vec<u8> {
    let (first, len) = (ARGUMENTS.0.load(Ordering::Relaxed), ARGUMENTS.1.load(Ordering::Relaxed));
    if first.is_null() {
        return Vec::new();
    }
    // SAFETY: it's there as long as the process, writable, and nobody else looks at it while we do: who could waits with us.
    let line = unsafe { slice::from_raw_parts_mut(first.cast::<u8>(), len) };
    let before = line.to_vec();
    line.fill(0);
    line.iter_mut().zip(told).for_each(|(byte, told)| *byte = *told);
    before
}

/// Makes a copy of this process the init of a world. None in the program that it starts.
fn copy(
    copied: &Copied,
    settings: &Settings,
    outside: &Namespaces,
    landlock: &Landlock,
    mut fds: Vec<OwnedFd>,
) -> io::Result<Option<(i32, OwnedFd)>> {
    if fds.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let name = sys::own_name()?;
    let control = fds.remove(0);
    let entrances = Entrances::from_counted(copied.entrances, &mut fds);
    if copied.has_network && !fds.is_empty() {
        // Until the next copy: nothing is done there.
        sys::enter(&fds.remove(0), sys::CLONE_NEWNET)?;
    }
    if let sys::Fork::Parent { pid, pidfd } =
        sys::fork_sibling_as(copied.payer, copied.namespaces, fds.first().map(std::os::fd::AsFd::as_fd))?
    {
        return Ok(Some((pid, pidfd)));
    }
    let command_line = tell_command_line(INIT_NAME);
    be_init(World {
        room: copied.room,
        control,
        entrances,
        seccomp: &settings.seccomp,
        landlock,
        cgroup: copied.cgroup.clone(),
        outside,
        user: copied.user,
        clear_groups: copied.clear_groups,
        ahead: None,
        interpreter: usize::try_from(settings.step).ok(),
    });
    mem::forget(fds);
    tell_command_line(&command_line);
    // What an exec would have done.
    sys::set_name(&name)?;
    sys::set_process(sys::PR_SET_DUMPABLE, 1)?;
    python::after_fork();
    Ok(None)
}

/// The function that ours stands before.
fn real<F: Copy>(name: &CStr, found: &AtomicPtr<c_void>) -> F {
    let mut function = found.load(Ordering::Relaxed);
    if function.is_null() {
        // SAFETY: a string that lives through the call.
        function = unsafe { dlsym(RTLD_NEXT, name.as_ptr()) };
        // What the C library only keeps for what was built with an older one, by its first version for each kind of machine.
        for version in [c"GLIBC_2.2.5", c"GLIBC_2.17"] {
            if function.is_null() {
                // SAFETY: two strings that live through the call.
                function = unsafe { dlvsym(RTLD_NEXT, name.as_ptr(), version.as_ptr()) };
            }
        }
        found.store(function, Ordering::Relaxed);
    }
    if function.is_null() {
        sys::exit(127);
    }
    // SAFETY: each caller names the type of the function of that name, which is a pointer.
    unsafe { mem::transmute_copy(&function) }
}

/// The C library's.
#[unsafe(no_mangle)]
extern "C" fn sigaction(signal: c_int, action: *const c_void, before: *mut c_void) -> c_int {
    static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    python::hear_of_signal(signal);
    type Function = extern "C" fn(c_int, *const c_void, *mut c_void) -> c_int;
    real::<Function>(c"sigaction", &REAL)(signal, action, before)
}

macro_rules! hooks {
    ($look:ident; $($name:ident($($before:ident: $kind:ty)?; $($after:ident: $other:ty),*) -> $result:ty;)*) => {$(
        /// The C library's, which is variadic where it has a mode: that is passed as others are.
        #[unsafe(no_mangle)]
        extern "C" fn $name($($before: $kind,)? path: *const c_char $(, $after: $other)*) -> $result {
            static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
            const NAME: &str = concat!(stringify!($name), "\0");
            type Function = extern "C" fn($($kind,)? *const c_char $(, $other)*) -> $result;
            $look(path);
            match CStr::from_bytes_with_nul(NAME.as_bytes()) {
                Ok(name) => real::<Function>(name, &REAL)($($before,)? path $(, $after)*),
                Err(_) => sys::exit(127),
            }
        }
    )*};
}
// What comes before the path and what comes behind it.
hooks! { reads;
    fopen(; mode: *const c_char) -> *mut c_void;
    fopen64(; mode: *const c_char) -> *mut c_void;
}
hooks! { opens;
    open(; flags: c_int, mode: c_int) -> c_int;
    open64(; flags: c_int, mode: c_int) -> c_int;
    openat(directory: c_int; flags: c_int, mode: c_int) -> c_int;
    openat64(directory: c_int; flags: c_int, mode: c_int) -> c_int;
    __open_2(; flags: c_int) -> c_int;
    __open64_2(; flags: c_int) -> c_int;
}
hooks! { asks;
    stat(; into: *mut c_void) -> c_int;
    stat64(; into: *mut c_void) -> c_int;
    lstat(; into: *mut c_void) -> c_int;
    lstat64(; into: *mut c_void) -> c_int;
    __xstat(version: c_int; into: *mut c_void) -> c_int;
    __xstat64(version: c_int; into: *mut c_void) -> c_int;
    __lxstat(version: c_int; into: *mut c_void) -> c_int;
    __lxstat64(version: c_int; into: *mut c_void) -> c_int;
    fstatat(directory: c_int; into: *mut c_void, flags: c_int) -> c_int;
    fstatat64(directory: c_int; into: *mut c_void, flags: c_int) -> c_int;
    access(; mode: c_int) -> c_int;
    faccessat(directory: c_int; mode: c_int, flags: c_int) -> c_int;
}
