//! Nobody sees CPython take apart what is left when a program has ended, but by the clock: where nothing of that has
//! anything more to say, it's left to the kernel, as `os._exit` does. All that comes before is as it is: threads waited for,
//! `atexit` called, output written; and what comes behind, the exit status above all.
//!
//! Something to say have finalizers, weak references with callbacks, threads that run on, what C libraries make, whoever has
//! put something in the place of standard output. Then the end is what it always is.
//!
//! <https://github.com/python/cpython/blob/3.11/Python/pylifecycle.c> (`Py_FinalizeEx`)

use std::{
    ffi::{CStr, c_char, c_int, c_ulong, c_void},
    fs,
    os::unix::fs::MetadataExt,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
};

use super::{Generation, Link, Object, THRESHOLDS, find, generations};
#[cfg(target_arch = "x86_64")]
use crate::unwind::return_from;

/// Standard output and error, as they were before there was a program.
static STREAMS: [AtomicPtr<c_void>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// What they are called, and what is put back in their place when they have been replaced.
const NAMES: [[&CStr; 2]; 2] = [[c"stdout", c"__stdout__"], [c"stderr", c"__stderr__"]];

/// How many shared objects had been loaded before there was a program.
static LOADED: AtomicU64 = AtomicU64::new(0);

/// `Py_tp_del` and `Py_tp_finalize`: what an object's end may have to say.
const FINALIZERS: [c_int; 2] = [53, 80];

/// `Py_TPFLAGS_HAVE_GC`: whether the collector knows a type's objects.
const IS_COLLECTED: c_ulong = 1 << 14;

/// The first version whose types tell all of that.
const VERSION: c_ulong = 0x030b_0000;

/// Modules in C whose objects leave files behind where they aren't closed.
const KEEP_FILES: [&CStr; 3] = [c"_sqlite3", c"_dbm", c"_gdbm"];

/// `struct dl_phdr_info`.
#[repr(C)]
struct Loaded {
    address: usize,
    name: *const c_char,
    headers: *const c_void,
    header_count: u16,
    adds: u64,
    subs: u64,
}

unsafe extern "C" {
    fn dl_iterate_phdr(
        each: extern "C" fn(*const Loaded, usize, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
}

/// Called before there is a program.
///
/// # Safety
///
/// The interpreter's lock is held.
pub(super) unsafe fn prepare() -> Option<()> {
    // SAFETY: the types are those of the C API.
    let stream: extern "C" fn(*const c_char) -> Object = unsafe { find(c"PySys_GetObject")? };
    LOADED.store(count_loaded(), Ordering::Relaxed);
    for (place, [name, _]) in STREAMS.iter().zip(NAMES) {
        place.store(stream(name.as_ptr()), Ordering::Release);
    }
    Some(())
}

/// Hears that a signal is to be handled otherwise: when the interpreter that ends gives up its own handler for SIGINT, all
/// that the program asked for has been done.
pub(crate) fn hear_of_signal(signal: c_int) {
    const SIGINT: c_int = 2;
    // Where there are none, nothing was prepared, or it was tried before.
    if signal != SIGINT || STREAMS[0].load(Ordering::Acquire).is_null() {
        return;
    }
    // SAFETY: the types are those of the C API; only the thread that ends the interpreter is here while it's ending, and has
    // its lock.
    unsafe {
        let is_finalizing: Option<extern "C" fn() -> c_int> =
            find(c"Py_IsFinalizing").or_else(|| find(c"_Py_IsFinalizing"));
        if is_finalizing.is_some_and(|is_finalizing| is_finalizing() != 0) {
            if is_silent() == Some(true) && flush() == Some(true) {
                // It's what its callers wait for, who look at what it says and nothing else of the interpreter's.
                // Nobody has written down yet how other processors do that.
                #[cfg(target_arch = "x86_64")]
                find(c"Py_FinalizeEx").map(|finalize| return_from(finalize, 0));
            }
            STREAMS[0].store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// Whether nothing that the program has left has anything to say.
///
/// # Safety
///
/// The interpreter's lock is held.
unsafe fn is_silent() -> Option<bool> {
    // SAFETY: the types are those of the C API.
    unsafe {
        // Whoever has talked to the collector may have hidden something from it.
        let generations = generations()?;
        let version: *const c_ulong = find(c"Py_Version")?;
        let stream: extern "C" fn(*const c_char) -> Object = find(c"PySys_GetObject")?;
        let modules: extern "C" fn() -> Object = find(c"PyImport_GetModuleDict")?;
        let item: extern "C" fn(Object, *const c_char) -> Object = find(c"PyDict_GetItemString")?;
        let head: extern "C" fn() -> Object = find(c"PyInterpreterState_Head")?;
        let next: extern "C" fn(Object) -> Object = find(c"PyInterpreterState_Next")?;
        let is_as_before = |(place, names): (&AtomicPtr<c_void>, [&CStr; 2])| {
            names.iter().all(|name| stream(name.as_ptr()) == place.load(Ordering::Acquire))
        };
        Some(
            *version >= VERSION
                && STREAMS.iter().zip(NAMES).all(is_as_before)
                && KEEP_FILES.iter().all(|name| item(modules(), name.as_ptr()).is_null())
                && next(head()).is_null()
                && is_alone()
                && knows_all_code()
                && all_are_silent(generations)?,
        )
    }
}

/// Whether all that was written has been taken, of which the exit status tells; the interpreter asks twice as well.
///
/// # Safety
///
/// The interpreter's lock is held.
unsafe fn flush() -> Option<bool> {
    type Call = unsafe extern "C" fn(Object, *const c_char, *const c_char, ...) -> Object;
    // SAFETY: the types are those of the C API; no format means no arguments.
    unsafe {
        let call: Call = find(c"PyObject_CallMethod")?;
        let clear: extern "C" fn() = find(c"PyErr_Clear")?;
        for place in &STREAMS {
            if call(place.load(Ordering::Acquire), c"flush".as_ptr(), ptr::null()).is_null() {
                clear();
                return Some(false);
            }
        }
    }
    Some(true)
}

/// Whether there's no other thread: the directory of threads has one for each, and two links more.
fn is_alone() -> bool {
    fs::metadata("/proc/self/task").is_ok_and(|threads| threads.nlink() == 3)
}

/// Whether all code in C is the interpreter's own: its modules, without other libraries.
fn knows_all_code() -> bool {
    extern "C" fn look(loaded: *const Loaded, len: usize, strange: *mut c_void) -> c_int {
        // SAFETY: the loader passes one of its own, which lives through the call, and its size; and what we passed it.
        unsafe {
            let strange = &mut *strange.cast::<(u64, bool)>();
            strange.0 += 1;
            let name = CStr::from_ptr((*loaded).name).to_bytes();
            let is_module = name.windows(13).any(|part| part == b"/lib-dynload/") && !name.starts_with(b"/work/");
            let is_new = strange.0 > LOADED.load(Ordering::Relaxed);
            // One that is gone may have been any.
            let is_known = len >= size_of::<Loaded>() && (*loaded).subs == 0;
            strange.1 |= !is_known || is_new && !is_module;
        }
        0
    }
    let mut strange = (0_u64, false);
    // SAFETY: the data is what the function takes it for.
    unsafe { dl_iterate_phdr(look, (&raw mut strange).cast()) };
    !strange.1
}

/// How many shared objects are loaded.
fn count_loaded() -> u64 {
    extern "C" fn count(_: *const Loaded, _: usize, counted: *mut c_void) -> c_int {
        // SAFETY: what we passed.
        unsafe { *counted.cast::<u64>() += 1 };
        0
    }
    let mut counted = 0_u64;
    // SAFETY: the data is what the function takes it for.
    unsafe { dl_iterate_phdr(count, (&raw mut counted).cast()) };
    counted
}

/// Whether none of these objects does anything at its end but free its memory.
///
/// # Safety
///
/// They are the collector's, and the interpreter's lock is held.
unsafe fn all_are_silent(generations: *mut Generation) -> Option<bool> {
    /// `PyWeakReference`, as far as it matters.
    #[repr(C)]
    struct Weak {
        count: isize,
        kind: Object,
        object: Object,
        callback: Object,
    }
    // SAFETY: the types are those of the C API; each object is behind its link.
    unsafe {
        let slot: extern "C" fn(Object, c_int) -> *mut c_void = find(c"PyType_GetSlot")?;
        let flags: extern "C" fn(Object) -> c_ulong = find(c"PyType_GetFlags")?;
        let is_subtype: extern "C" fn(Object, Object) -> c_int = find(c"PyType_IsSubtype")?;
        let weak: [Object; 3] = [
            find(c"_PyWeakref_RefType")?,
            find(c"_PyWeakref_ProxyType")?,
            find(c"_PyWeakref_CallableProxyType")?,
        ];
        let types: Object = find(c"PyType_Type")?;
        let ends_loudly = |kind| FINALIZERS.iter().any(|finalizer| !slot(kind, *finalizer).is_null());
        // Most are of the kind of the one before.
        let mut last = (ptr::null_mut(), false, false);
        for index in 0..THRESHOLDS.len() {
            let ring = &raw mut (*generations.add(index)).ring;
            let mut link: *mut Link = (*ring).next;
            while link != ring {
                let object: Object = link.add(1).cast();
                let kind = (*object.cast::<Weak>()).kind;
                if kind != last.0 {
                    if ends_loudly(kind) {
                        return Some(false);
                    }
                    let is_weak = weak.iter().any(|weak| is_subtype(kind, *weak) != 0);
                    last = (kind, is_weak, is_subtype(kind, types) != 0);
                }
                let (_, is_weak, is_type) = last;
                if is_weak && !(*object.cast::<Weak>()).callback.is_null() {
                    return Some(false);
                }
                // Of such there may be some that we don't see here.
                if is_type && flags(object) & IS_COLLECTED == 0 && ends_loudly(object) {
                    return Some(false);
                }
                link = (*link).next;
            }
        }
    }
    Some(true)
}
