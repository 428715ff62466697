//! CPython's end is three times cheaper where its garbage collector leaves alone what was there before the program: these
//! objects are taken out of its lists, and put back when a program wants to talk to it. Nothing else of it is touched, so
//! that what it counts, and when it collects, is as it would be.
//!
//! By the C API of the interpreter that we are loaded into, found by name, and by the collector's lists, found by how they
//! look; where there are none this does nothing, and the end costs what it costs.
//!
//! <https://github.com/python/cpython/blob/3.11/InternalDocs/garbage_collector.md>

mod end;

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    mem::size_of,
    ptr::{self, addr_of_mut},
    sync::atomic::{AtomicPtr, Ordering},
};

pub(crate) use self::end::hear_of_signal;
use crate::hooks::dlsym;

/// An object of the interpreter's.
type Object = *mut c_void;

/// `PyGC_Head`: what the collector has before each object that it knows, in a ring with one of its own.
#[repr(C)]
struct Link {
    next: *mut Link,
    /// With two flags, for the alignment leaves their bits free.
    previous: *mut Link,
}

const FLAGS: usize = 0b11;

impl Link {
    const EMPTY: Self = Self { next: ptr::null_mut(), previous: ptr::null_mut() };
}

/// `struct gc_generation`.
#[repr(C)]
struct Generation {
    ring: Link,
    threshold: c_int,
    count: c_int,
}

/// By which they are found.
const THRESHOLDS: [c_int; 3] = [700, 10, 10];

/// So much of the interpreter's state is looked through: less than there is.
const STATE_BYTES: usize = 16 * 1024;

/// The collector's generations, while their objects are in `ASIDE`.
static GENERATIONS: AtomicPtr<Generation> = AtomicPtr::new(ptr::null_mut());
static mut ASIDE: [Link; 3] = [const { Link::EMPTY }; 3];

/// What makes the module `gc`.
type Init = extern "C" fn() -> Object;
static INIT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// `struct _inittab`.
#[repr(C)]
struct Builtin {
    name: *const c_char,
    init: Option<Init>,
}

/// Something of the interpreter's.
///
/// # Safety
///
/// `F` is the type of a pointer to what has that name.
unsafe fn find<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: a string that lives through the call; no handle means all that is loaded.
    let found = unsafe { dlsym(ptr::null_mut(), name.as_ptr()) };
    // SAFETY: what the caller promises.
    (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
}

/// Whether we're in a Python that has booted.
pub(crate) fn is_there() -> bool {
    // SAFETY: the type is that of the C API.
    let is_initialized: Option<extern "C" fn() -> c_int> = unsafe { find(c"Py_IsInitialized") };
    is_initialized.is_some_and(|is_initialized| is_initialized() != 0)
}

/// Called before the wait, by a thread that doesn't hold the interpreter's lock.
pub(crate) fn prepare() {
    // SAFETY: the types are those of <https://docs.python.org/3/c-api/>.
    unsafe {
        let ensure: Option<extern "C" fn() -> c_int> = find(c"PyGILState_Ensure");
        let release: Option<extern "C" fn(c_int)> = find(c"PyGILState_Release");
        if let (Some(ensure), Some(release)) = (ensure, release)
            && is_there()
        {
            let state = ensure();
            set_aside();
            release(state);
        }
    }
}

/// Called in a copy of the interpreter: what has to be another one's in each process, such as what random numbers are drawn
/// from, sees to that when it's told.
pub(crate) fn after_fork() {
    // SAFETY: the types are those of the C API; the thread that was copied doesn't hold the interpreter's lock.
    unsafe {
        let ensure: Option<extern "C" fn() -> c_int> = find(c"PyGILState_Ensure");
        let release: Option<extern "C" fn(c_int)> = find(c"PyGILState_Release");
        let after_fork: Option<extern "C" fn()> = find(c"PyOS_AfterFork_Child");
        if let (Some(ensure), Some(release), Some(after_fork)) = (ensure, release, after_fork) {
            let state = ensure();
            after_fork();
            rename_main_thread();
            release(state);
        }
    }
}

/// What was imported before the fork knows the thread by the kernel's name of another: CPython sees to that since 3.13.
///
/// # Safety
///
/// The interpreter's lock is held.
unsafe fn rename_main_thread() -> Option<()> {
    type Call = unsafe extern "C" fn(Object, *const c_char, *const c_char, ...) -> Object;
    // SAFETY: the types are those of the C API; no format means no arguments.
    unsafe {
        let modules: extern "C" fn() -> Object = find(c"PyImport_GetModuleDict")?;
        let item: extern "C" fn(Object, *const c_char) -> Object = find(c"PyDict_GetItemString")?;
        let call: Call = find(c"PyObject_CallMethod")?;
        let release: extern "C" fn(Object) = find(c"Py_DecRef")?;
        let clear: extern "C" fn() = find(c"PyErr_Clear")?;
        let threading = item(modules(), c"threading".as_ptr());
        if threading.is_null() {
            return None;
        }
        let main = call(threading, c"main_thread".as_ptr(), ptr::null());
        if !main.is_null() {
            release(call(main, c"_set_native_id".as_ptr(), ptr::null()));
            release(main);
        }
        clear();
    }
    Some(())
}

/// Takes all objects but the main module's out of the collector's lists.
///
/// # Safety
///
/// The interpreter's lock is held.
unsafe fn set_aside() -> Option<()> {
    // SAFETY: the types are those of the C API, whose functions are called with the lock held.
    unsafe {
        let state: extern "C" fn() -> *mut u8 = find(c"PyInterpreterState_Get")?;
        let modules: extern "C" fn() -> Object = find(c"PyImport_GetModuleDict")?;
        let item: extern "C" fn(Object, *const c_char) -> Object = find(c"PyDict_GetItemString")?;
        let dict: extern "C" fn(Object) -> Object = find(c"PyModule_GetDict")?;
        let main = item(modules(), c"__main__".as_ptr());
        // Who has it already may look at it without our hearing of it.
        if main.is_null() || !item(modules(), c"gc".as_ptr()).is_null() {
            return None;
        }
        let generations = find_generations(state())?;
        hear_of_gc()?;
        for index in 0..THRESHOLDS.len() {
            let aside = addr_of_mut!(ASIDE).cast::<Link>().add(index);
            (*aside).next = aside;
            (*aside).previous = aside;
            splice(&raw mut (*generations.add(index)).ring, aside);
        }
        // What the program makes hangs on these: they stay.
        for kept in [main, dict(main)] {
            let link = kept.cast::<Link>().sub(1);
            let rings = (0..THRESHOLDS.len()).map(|index| addr_of_mut!(ASIDE).cast::<Link>().add(index));
            if let Some(index) = rings.into_iter().position(|ring| is_in(link, ring)) {
                let (next, previous) = ((*link).next, without_flags((*link).previous));
                (*previous).next = next;
                set_previous(next, previous);
                let ring = &raw mut (*generations.add(index)).ring;
                let last = without_flags((*ring).previous);
                (*last).next = link;
                set_previous(link, last);
                (*link).next = ring;
                set_previous(ring, link);
            }
        }
        GENERATIONS.store(generations, Ordering::Release);
        end::prepare()
    }
}

/// The collector's three generations, where there is one place only that looks like them.
///
/// # Safety
///
/// There is an interpreter's state, of more bytes than are looked at.
unsafe fn find_generations(state: *mut u8) -> Option<*mut Generation> {
    let mut found = None;
    for at in (0..STATE_BYTES).step_by(size_of::<usize>()) {
        // SAFETY: what the caller promises. Where the thresholds are right so are the links, which are looked at last.
        let looks_right = unsafe {
            let generations = state.add(at).cast::<Generation>();
            let all = || [0, 1, 2].into_iter().map(|index| generations.add(index));
            all().zip(THRESHOLDS).all(|(generation, threshold)| (*generation).threshold == threshold)
                && all().all(|generation| {
                    let ring = &raw mut (*generation).ring;
                    let (next, previous) = ((*ring).next, without_flags((*ring).previous));
                    !next.is_null()
                        && !previous.is_null()
                        && next.addr() & FLAGS == 0
                        && without_flags((*next).previous) == ring
                        && (*previous).next == ring
                })
        };
        if looks_right {
            // SAFETY: as before.
            let generations = unsafe { state.add(at).cast() };
            if found.replace(generations).is_some() {
                return None;
            }
        }
    }
    found
}

fn without_flags(link: *mut Link) -> *mut Link {
    link.map_addr(|address| address & !FLAGS)
}

/// Whether it's in that ring.
///
/// # Safety
///
/// As for [`splice`].
unsafe fn is_in(link: *mut Link, ring: *mut Link) -> bool {
    // SAFETY: what the caller promises.
    let mut next = unsafe { (*ring).next };
    while next != ring && next != link {
        // SAFETY: as before.
        next = unsafe { (*next).next };
    }
    next == link
}

/// Moves all that is in one ring to the front of another.
///
/// # Safety
///
/// Both are rings, and the interpreter's lock is held.
unsafe fn splice(from: *mut Link, to: *mut Link) {
    // SAFETY: what the caller promises: every link of a ring is there.
    unsafe {
        let (first, last) = ((*from).next, without_flags((*from).previous));
        if first == from {
            return;
        }
        let behind = (*to).next;
        set_previous(first, to);
        (*to).next = first;
        (*last).next = behind;
        set_previous(behind, last);
        (*from).next = from;
        (*from).previous = from;
    }
}

/// # Safety
///
/// As for [`splice`].
unsafe fn set_previous(link: *mut Link, previous: *mut Link) {
    // SAFETY: what the caller promises.
    unsafe {
        let flags = (*link).previous.addr() & FLAGS;
        (*link).previous = previous.map_addr(|address| address | flags);
    }
}

/// Has the interpreter call us when somebody imports the collector's module, by the table that it makes such modules by; and
/// by its audit events, since later versions have a table of their own.
///
/// # Safety
///
/// The interpreter's lock is held.
unsafe fn hear_of_gc() -> Option<()> {
    // SAFETY: the types are those of the C API; the table ends with an entry without a name.
    unsafe {
        let add_hook: extern "C" fn(Hook, *mut c_void) -> c_int = find(c"PySys_AddAuditHook")?;
        let table: *mut *mut Builtin = find(c"PyImport_Inittab")?;
        let mut entry = *table;
        while !entry.is_null() && !(*entry).name.is_null() {
            if CStr::from_ptr((*entry).name) == c"gc" {
                INIT.store((*entry).init? as *mut c_void, Ordering::Release);
                (*entry).init = Some(init_gc);
                return (add_hook(hear, ptr::null_mut()) == 0).then_some(());
            }
            entry = entry.add(1);
        }
    }
    None
}

extern "C" fn init_gc() -> Object {
    put_back();
    // SAFETY: it was stored before we could be called, as what it is.
    let init: Init = unsafe { std::mem::transmute(INIT.load(Ordering::Acquire)) };
    init()
}

type Hook = extern "C" fn(*const c_char, Object, *mut c_void) -> c_int;

/// Hears of all that the interpreter reports to audit hooks, with its lock held.
extern "C" fn hear(event: *const c_char, arguments: Object, _: *mut c_void) -> c_int {
    if event.is_null() {
        return 0;
    }
    // SAFETY: an event is a string.
    let event = unsafe { CStr::from_ptr(event) }.to_bytes();
    // Who hears of what the interpreter does hears of its end.
    let is_listener = event == b"sys.addaudithook";
    if event.starts_with(b"gc.") || is_listener || event == b"import" && imports_gc(arguments) {
        put_back();
    }
    0
}

fn imports_gc(arguments: Object) -> bool {
    type Item = extern "C" fn(Object, isize) -> Object;
    type Compare = extern "C" fn(Object, *const c_char) -> c_int;
    // SAFETY: the types are those of the C API.
    let functions =
        unsafe { (find::<Item>(c"PyTuple_GetItem"), find::<Compare>(c"PyUnicode_CompareWithASCIIString")) };
    let (Some(item), Some(compare)) = functions else { return false };
    let name = item(arguments, 0);
    !name.is_null() && compare(name, c"gc".as_ptr()) == 0
}

/// The collector's lists, as long as they have the program's objects alone.
fn generations() -> Option<*mut Generation> {
    let generations = GENERATIONS.load(Ordering::Acquire);
    (!generations.is_null()).then_some(generations)
}

/// Puts everything back where it was, once. Whoever calls holds the interpreter's lock.
fn put_back() {
    let generations = GENERATIONS.swap(ptr::null_mut(), Ordering::AcqRel);
    if generations.is_null() {
        return;
    }
    for index in 0..THRESHOLDS.len() {
        // SAFETY: the rings were made by `set_aside`, and the collector's are still where they were.
        unsafe {
            let aside = addr_of_mut!(ASIDE).cast::<Link>().add(index);
            splice(aside, &raw mut (*generations.add(index)).ring);
        }
    }
}
