//! CPython's end is three times cheaper where its collector leaves alone what was there before the program. That can't be
//! seen: the collector's counts are as they were, and a program that imports `gc` finds everything thawed.
//!
//! By the C API of the interpreter that we are loaded into, found by name; where there is none this does nothing.

use std::{
    ffi::{CStr, c_char, c_int, c_long, c_void},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::hooks::dlsym;

/// An object of the interpreter's.
type Object = *mut c_void;

/// `gc.unfreeze`, as long as something is frozen.
static THAW: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// What the first import of all leaves in the interpreter's lists of free objects, which are counted until they are used
/// again. As seen with 3.11; elsewhere a collection may come so many objects sooner or later.
const FIRST_IMPORT: c_long = 15;

/// The functions of the C API that are needed.
struct Api {
    ensure: extern "C" fn() -> c_int,
    release: extern "C" fn(c_int),
    import: extern "C" fn(*const c_char) -> Object,
    modules: extern "C" fn() -> Object,
    delete: extern "C" fn(Object, *const c_char) -> c_int,
    attribute: extern "C" fn(Object, *const c_char) -> Object,
    call: unsafe extern "C" fn(Object, *const c_char, ...) -> Object,
    item: extern "C" fn(Object, isize) -> Object,
    number: extern "C" fn(Object) -> c_long,
    new_set: extern "C" fn(Object) -> Object,
    add_hook: extern "C" fn(Hook, *mut c_void) -> c_int,
    clear_error: extern "C" fn(),
    forget: extern "C" fn(Object),
}

type Hook = extern "C" fn(*const c_char, Object, *mut c_void) -> c_int;

/// A function of the interpreter's.
///
/// # Safety
///
/// `F` is the type of a pointer to the function of that name.
unsafe fn find<F: Copy>(name: &CStr) -> Option<F> {
    // SAFETY: a string that lives through the call; no handle means all that is loaded.
    let found = unsafe { dlsym(ptr::null_mut(), name.as_ptr()) };
    // SAFETY: what the caller promises.
    (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
}

impl Api {
    fn find() -> Option<Self> {
        // SAFETY: the types are those of <https://docs.python.org/3/c-api/>.
        unsafe {
            let is_initialized: extern "C" fn() -> c_int = find(c"Py_IsInitialized")?;
            if is_initialized() == 0 {
                return None;
            }
            Some(Self {
                ensure: find(c"PyGILState_Ensure")?,
                release: find(c"PyGILState_Release")?,
                import: find(c"PyImport_ImportModule")?,
                modules: find(c"PyImport_GetModuleDict")?,
                delete: find(c"PyDict_DelItemString")?,
                attribute: find(c"PyObject_GetAttrString")?,
                call: find(c"PyObject_CallFunction")?,
                item: find(c"PyTuple_GetItem")?,
                number: find(c"PyLong_AsLong")?,
                new_set: find(c"PySet_New")?,
                add_hook: find(c"PySys_AddAuditHook")?,
                clear_error: find(c"PyErr_Clear")?,
                forget: find(c"Py_DecRef")?,
            })
        }
    }

    /// Imports the collector's module as a program would, and leaves no trace of that.
    fn collector(&self) -> Option<Object> {
        let module = (self.import)(c"gc".as_ptr());
        (!module.is_null() && (self.delete)((self.modules)(), c"gc".as_ptr()) == 0).then_some(module)
    }

    fn function(&self, module: Object, name: &CStr) -> Option<Object> {
        let function = (self.attribute)(module, name.as_ptr());
        (!function.is_null()).then_some(function)
    }

    fn call(&self, function: Object) -> Option<()> {
        // SAFETY: an empty format takes no arguments.
        let result = unsafe { (self.call)(function, ptr::null()) };
        (!result.is_null()).then(|| (self.forget)(result))
    }

    /// What the collector counts of each generation.
    fn counts(&self, count: Object) -> Option<[c_long; 3]> {
        // SAFETY: as before.
        let counts = unsafe { (self.call)(count, ptr::null()) };
        if counts.is_null() {
            return None;
        }
        let found = [0, 1, 2].map(|generation| (self.number)((self.item)(counts, generation)));
        (self.forget)(counts);
        Some(found)
    }

    /// Freezes, and has the collector count on from where it was: collections of a generation are counted by those of the
    /// next one, and the objects that it tracks by the first.
    fn freeze(&self) -> Option<()> {
        let module = self.collector()?;
        let [count, freeze, collect] =
            [c"get_count", c"freeze", c"collect"].map(|name| self.function(module, name));
        let [disable, enable, thaw] =
            [c"disable", c"enable", c"unfreeze"].map(|name| self.function(module, name));
        let (count, freeze, collect, thaw) = (count?, freeze?, collect?, thaw?);
        self.call(disable?)?;
        let [young, middle, old] = self.counts(count)?;
        // What the import has added, since a program that asks will import it, too.
        let again = self.collector()?;
        let added = self.counts(count)?[0] - young;
        (self.forget)(again);
        self.call(freeze)?;
        for (generation, times) in [(1, old), (0, middle)] {
            for _ in 0..times {
                // SAFETY: the format takes one number.
                let collected = unsafe { (self.call)(collect, c"i".as_ptr(), generation as c_int) };
                (!collected.is_null()).then(|| (self.forget)(collected))?;
            }
        }
        while self.counts(count)?[0] < young - added - FIRST_IMPORT {
            // Kept, to be counted. Of sets, unlike lists, no free ones are held ready, which aren't counted.
            (!(self.new_set)(ptr::null_mut()).is_null()).then_some(())?;
        }
        self.call(enable?)?;
        THAW.store(thaw, Ordering::Release);
        ((self.add_hook)(hear, ptr::null_mut()) == 0).then_some(())
    }
}

/// Called before the wait, by a thread that doesn't hold the interpreter's lock.
pub(crate) fn prepare() {
    let Some(api) = Api::find() else { return };
    let state = (api.ensure)();
    if api.freeze().is_none() {
        (api.clear_error)();
    }
    (api.release)(state);
}

/// Hears of all that the interpreter reports to audit hooks, with its lock held.
extern "C" fn hear(event: *const c_char, arguments: Object, _: *mut c_void) -> c_int {
    if event.is_null() {
        return 0;
    }
    // SAFETY: an event is a string.
    let event = unsafe { CStr::from_ptr(event) }.to_bytes();
    if event.starts_with(b"gc.") || event == b"import" && imports_gc(arguments) {
        thaw();
    }
    0
}

fn imports_gc(arguments: Object) -> bool {
    type Item = extern "C" fn(Object, isize) -> Object;
    type Compare = extern "C" fn(Object, *const c_char) -> c_int;
    // SAFETY: the types are those of the C API.
    let functions = unsafe { (find::<Item>(c"PyTuple_GetItem"), find::<Compare>(c"PyUnicode_CompareWithASCIIString")) };
    let (Some(item), Some(compare)) = functions else { return false };
    let name = item(arguments, 0);
    !name.is_null() && compare(name, c"gc".as_ptr()) == 0
}

fn thaw() {
    let thaw = THAW.swap(ptr::null_mut(), Ordering::AcqRel);
    type Call = extern "C" fn(Object, Object) -> Object;
    // SAFETY: the types are those of the C API.
    let functions = unsafe { (find::<Call>(c"PyObject_CallObject"), find::<extern "C" fn(Object)>(c"Py_DecRef")) };
    if let (false, (Some(call), Some(release))) = (thaw.is_null(), functions) {
        let none = call(thaw, ptr::null_mut());
        if !none.is_null() {
            release(none);
        }
    }
}
