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
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Generation, Link, Object, THRESHOLDS, find, generations};
#[cfg(target_arch = "x86_64")]
use crate::unwind::return_from;

/// What is known before there is a program, and what is asked behind it: looked up when nobody waits for it.
static BEFORE: OnceLock<Before> = OnceLock::new();

/// Whether an end was heard of that had something to say.
static IS_LOUD: AtomicBool = AtomicBool::new(false);

struct Before {
    /// Standard output and error.
    streams: [Object; 2],
    /// How many shared objects had been loaded.
    loaded: u64,
    /// 0 as soon as there was a second thread.
    is_single_threaded: *const c_char,
    stream: extern "C" fn(*const c_char) -> Object,
    modules: extern "C" fn() -> Object,
    item: extern "C" fn(Object, *const c_char) -> Object,
    call: unsafe extern "C" fn(Object, *const c_char, *const c_char, ...) -> Object,
    clear: extern "C" fn(),
    first_interpreter: extern "C" fn() -> Object,
    next_interpreter: extern "C" fn(Object) -> Object,
    slot: extern "C" fn(Object, c_int) -> *mut c_void,
    flags: extern "C" fn(Object) -> c_ulong,
    is_subtype: extern "C" fn(Object, Object) -> c_int,
    /// The types of weak references, and that of types.
    weak: [Object; 3],
    types: Object,
    is_finalizing: extern "C" fn() -> c_int,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "nothing is returned from there"))]
    finalize: *const c_void,
}

// SAFETY: all of it is the interpreter's, there as long as the process, and only used with its lock held.
unsafe impl Send for Before {}
// SAFETY: as before.
unsafe impl Sync for Before {}

/// What the streams are called, and what is put back in their place when they have been replaced.
const NAMES: [[&CStr; 2]; 2] = [[c"stdout", c"__stdout__"], [c"stderr", c"__stderr__"]];

/// `Py_tp_del` and `Py_tp_finalize`: what an object's end may have to say.
const FINALIZERS: [c_int; 2] = [53, 80];

/// `Py_TPFLAGS_HAVE_GC`: whether the collector knows a type's objects.
const IS_COLLECTED: c_ulong = 1 << 14;

/// The first version whose types tell all of that.
const VERSION: c_ulong = 0x030b_0000;

/// Modules with libraries in C, for interpreters that have these in themselves.
const LIBRARIES: [&CStr; 6] = [c"_sqlite3", c"_dbm", c"_gdbm", c"_ctypes", c"_tkinter", c"readline"];

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
    // SAFETY: the types are those of the C API and of the C library.
    let before = unsafe {
        let version: *const c_ulong = find(c"Py_Version")?;
        if *version < VERSION {
            return None;
        }
        let stream: extern "C" fn(*const c_char) -> Object = find(c"PySys_GetObject")?;
        Before {
            streams: NAMES.map(|[name, _]| stream(name.as_ptr())),
            loaded: count_loaded(),
            is_single_threaded: find(c"__libc_single_threaded")?,
            stream,
            modules: find(c"PyImport_GetModuleDict")?,
            item: find(c"PyDict_GetItemString")?,
            call: find(c"PyObject_CallMethod")?,
            clear: find(c"PyErr_Clear")?,
            first_interpreter: find(c"PyInterpreterState_Head")?,
            next_interpreter: find(c"PyInterpreterState_Next")?,
            slot: find(c"PyType_GetSlot")?,
            flags: find(c"PyType_GetFlags")?,
            is_subtype: find(c"PyType_IsSubtype")?,
            weak: [
                find(c"_PyWeakref_RefType")?,
                find(c"_PyWeakref_ProxyType")?,
                find(c"_PyWeakref_CallableProxyType")?,
            ],
            types: find(c"PyType_Type")?,
            is_finalizing: find(c"Py_IsFinalizing").or_else(|| find(c"_Py_IsFinalizing"))?,
            finalize: find(c"Py_FinalizeEx")?,
        }
    };
    BEFORE.set(before).ok()
}

/// Hears that a signal is to be handled otherwise: when the interpreter that ends gives up its own handler for SIGINT, all
/// that the program asked for has been done.
pub(crate) fn hear_of_signal(signal: c_int) {
    const SIGINT: c_int = 2;
    let Some(before) = BEFORE.get() else { return };
    if signal != SIGINT || IS_LOUD.load(Ordering::Relaxed) || (before.is_finalizing)() == 0 {
        return;
    }
    // SAFETY: only the thread that ends the interpreter is here while it's ending, and has its lock. That function is what its
    // callers wait for, who look at what it says and nothing else of the interpreter's.
    unsafe {
        if before.is_silent() && before.flush() {
            // Nobody has written down yet how other processors do that.
            #[cfg(target_arch = "x86_64")]
            return_from(before.finalize, 0);
        }
    }
    IS_LOUD.store(true, Ordering::Relaxed);
}

impl Before {
    /// Whether nothing that the program has left has anything to say.
    ///
    /// # Safety
    ///
    /// The interpreter's lock is held.
    unsafe fn is_silent(&self) -> bool {
        // Whoever has talked to the collector may have hidden something from it.
        let Some(generations) = generations() else { return false };
        let is_as_before = |(stream, names): (&Object, [&CStr; 2])| {
            names.iter().all(|name| (self.stream)(name.as_ptr()) == *stream)
        };
        let modules = (self.modules)();
        // SAFETY: what the caller promises, and the C library has that as long as there is a process.
        unsafe {
            *self.is_single_threaded != 0
                && self.streams.iter().zip(NAMES).all(is_as_before)
                && LIBRARIES.iter().all(|name| (self.item)(modules, name.as_ptr()).is_null())
                && (self.next_interpreter)((self.first_interpreter)()).is_null()
                && knows_all_code(self.loaded)
                && self.all_are_silent(generations)
        }
    }

    /// Whether all that was written has been taken, of which the exit status tells; the interpreter asks twice as well.
    ///
    /// # Safety
    ///
    /// As before.
    unsafe fn flush(&self) -> bool {
        for stream in self.streams {
            // SAFETY: what the caller promises; no format means no arguments.
            if unsafe { (self.call)(stream, c"flush".as_ptr(), ptr::null()) }.is_null() {
                (self.clear)();
                return false;
            }
        }
        true
    }

    /// Whether none of these objects does anything at its end but free its memory.
    ///
    /// # Safety
    ///
    /// They are the collector's, and the interpreter's lock is held.
    unsafe fn all_are_silent(&self, generations: *mut Generation) -> bool {
        let ends_loudly =
            |kind| FINALIZERS.iter().any(|finalizer| !(self.slot)(kind, *finalizer).is_null());
        // Most are of the kind of the one before.
        let mut last = (ptr::null_mut(), false, false);
        for index in 0..THRESHOLDS.len() {
            // SAFETY: what the caller promises; each object is behind its link.
            unsafe {
                let ring = &raw mut (*generations.add(index)).ring;
                let mut link: *mut Link = (*ring).next;
                while link != ring {
                    let object: Object = link.add(1).cast();
                    let kind = (*object.cast::<Weak>()).kind;
                    if kind != last.0 {
                        if ends_loudly(kind) {
                            return false;
                        }
                        let is_weak = self.weak.iter().any(|weak| (self.is_subtype)(kind, *weak) != 0);
                        last = (kind, is_weak, (self.is_subtype)(kind, self.types) != 0);
                    }
                    let (_, is_weak, is_type) = last;
                    if is_weak && !(*object.cast::<Weak>()).callback.is_null() {
                        return false;
                    }
                    // Of such there may be some that we don't see here.
                    if is_type && (self.flags)(object) & IS_COLLECTED == 0 && ends_loudly(object) {
                        return false;
                    }
                    link = (*link).next;
                }
            }
        }
        true
    }
}

/// `PyWeakReference`, as far as it matters; of all objects the first two.
#[repr(C)]
struct Weak {
    count: isize,
    kind: Object,
    object: Object,
    callback: Object,
}

/// Whether all code in C is the interpreter's own: its modules, without other libraries.
fn knows_all_code(before: u64) -> bool {
    extern "C" fn look(loaded: *const Loaded, len: usize, strange: *mut c_void) -> c_int {
        // SAFETY: the loader passes one of its own, which lives through the call, and its size; and what we passed it.
        unsafe {
            let strange = &mut *strange.cast::<(u64, bool)>();
            let is_new = strange.0 == 0;
            strange.0 = strange.0.saturating_sub(1);
            let is_module = || {
                let name = CStr::from_ptr((*loaded).name).to_bytes();
                name.windows(13).any(|part| part == b"/lib-dynload/") && !name.starts_with(b"/work/")
            };
            // One that is gone may have been any.
            let is_known = len >= size_of::<Loaded>() && (*loaded).subs == 0;
            strange.1 |= !is_known || is_new && !is_module();
        }
        0
    }
    let mut strange = (before, false);
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
