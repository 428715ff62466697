//! What makes Node's first line of output and its end cheaper, and can't be seen.
//!
//! A program that prints through `console` has Node load its module `net`, which takes as long as all the rest of a short program.
//! So it's loaded here already. And what Node does when a program has ended, its handlers of `exit` have run and all that it made was
//! taken down, is to take itself down, piece by piece, which the kernel does anyway.
//!
//! Both by functions that Node gives to addons, by their names in C++, which tell their arguments' types. Where one isn't there
//! nothing is done.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    fs, mem, ptr,
    sync::OnceLock,
};

use crate::{hooks::dlsym, sys};

/// A pointer to something of V8's, or one of its handles, which is one.
type Thing = *mut c_void;

/// Gives a function that tells the status that the process will end with; -1 where that can't be told, or where something else is
/// written at the end.
const SOURCE: &CStr = c"(() => {
    const p = process;
    try { p.getBuiltinModule('net'); } catch {}
    const plain = p.execArgv.every(a => a === '--enable-source-maps')
        && !['NODE_OPTIONS', 'NODE_V8_COVERAGE', 'NODE_COMPILE_CACHE'].some(name => name in p.env);
    const code = Object.getOwnPropertyDescriptor(p, 'exitCode')?.get;
    if (!plain || !code) return () => -1;
    return () => {
        const c = code.call(p);
        return c == null ? (p.mainModule === undefined ? -1 : 0) : c & 255;
    };
})()";

/// What `SOURCE` gave, and what is needed to call it.
struct End {
    v8: V8,
    isolate: Thing,
    status: Thing,
    company: Company,
}

// SAFETY: Only the thread that made it looks into it: that of Node's main environment.
unsafe impl Send for End {}
// SAFETY: The same.
unsafe impl Sync for End {}

static END: OnceLock<End> = OnceLock::new();

/// An object of V8's that lives on the stack. The largest of those used here has 24 bytes.
#[repr(C, align(16))]
struct OnStack([u8; 128]);

macro_rules! functions {
    ($($field:ident: fn($($argument:ty),*) $(-> $result:ty)?, $name:literal;)*) => {
        #[derive(Clone, Copy)]
        struct V8 {
            $($field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl V8 {
            fn find() -> Option<Self> {
                Some(Self {
                    // SAFETY: The name tells the arguments' types. A class with one member is passed as that.
                    $($field: unsafe { mem::transmute::<Thing, unsafe extern "C" fn($($argument),*) $(-> $result)?>(find($name)?) },)*
                })
            }
        }
    };
}
functions! {
    isolate: fn() -> Thing, c"_ZN2v87Isolate13TryGetCurrentEv";
    context: fn(Thing) -> Thing, c"_ZN2v87Isolate17GetCurrentContextEv";
    open_scope: fn(*mut OnStack, Thing), c"_ZN2v811HandleScopeC1EPNS_7IsolateE";
    close_scope: fn(*mut OnStack), c"_ZN2v811HandleScopeD1Ev";
    allow: fn(*mut OnStack, Thing), c"_ZN2v87Isolate29AllowJavascriptExecutionScopeC1EPS0_";
    allow_no_more: fn(*mut OnStack), c"_ZN2v87Isolate29AllowJavascriptExecutionScopeD1Ev";
    string: fn(Thing, *const c_char, c_int, c_int) -> Thing, c"_ZN2v86String11NewFromUtf8EPNS_7IsolateEPKcNS_13NewStringTypeEi";
    compile: fn(Thing, Thing, Thing) -> Thing,
        c"_ZN2v86Script7CompileENS_5LocalINS_7ContextEEENS1_INS_6StringEEEPNS_12ScriptOriginE";
    run: fn(Thing, Thing) -> Thing, c"_ZN2v86Script3RunENS_5LocalINS_7ContextEEE";
    call: fn(Thing, Thing, Thing, c_int, Thing) -> Thing,
        c"_ZN2v88Function4CallENS_5LocalINS_7ContextEEENS1_INS_5ValueEEEiPS5_";
    number: fn(Thing, Thing) -> u64, c"_ZNK2v85Value10Int32ValueENS_5LocalINS_7ContextEEE";
    at_end: fn(Thing, extern "C" fn(Thing), Thing), c"_ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_";
}

fn find(name: &CStr) -> Option<Thing> {
    // SAFETY: A string that lives through the call.
    let found = unsafe { dlsym(ptr::null_mut(), name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Keeps what a handle stands for. Its argument was the handle's place, and is what's in there since V8 12.
fn keep(isolate: Thing, handle: Thing) -> Option<Thing> {
    type Keep = unsafe extern "C" fn(Thing, Thing) -> Thing;
    let by_place = find(c"_ZN2v812api_internal18GlobalizeReferenceEPNS_8internal7IsolateEPm");
    let by_content = find(c"_ZN2v812api_internal18GlobalizeReferenceEPNS_8internal7IsolateEm");
    let (keep, argument) = match (by_place, by_content) {
        (Some(keep), _) => (keep, handle),
        // SAFETY: A handle is a pointer to a word.
        (None, Some(keep)) => (keep, unsafe { *handle.cast::<Thing>() }),
        (None, None) => return None,
    };
    // SAFETY: As the names say.
    let kept = unsafe { mem::transmute::<Thing, Keep>(keep)(isolate, argument) };
    (!kept.is_null()).then_some(kept)
}

/// Called before the wait, by the thread that waits: where that's Node's main thread it's in a function that JavaScript called.
pub(crate) fn prepare() {
    let Some(v8) = V8::find() else { return };
    // SAFETY: What V8 is asked for is this thread's, and null elsewhere. Handles live until their scope is closed.
    unsafe {
        let isolate = (v8.isolate)();
        if isolate.is_null() {
            return;
        }
        let mut scope = OnStack([0; 128]);
        (v8.open_scope)(&raw mut scope, isolate);
        let context = (v8.context)(isolate);
        let source = (v8.string)(isolate, SOURCE.as_ptr(), 0, -1);
        if !context.is_null() && !source.is_null() {
            let script = (v8.compile)(context, source, ptr::null_mut());
            let status = if script.is_null() { script } else { (v8.run)(script, context) };
            let kept = if status.is_null() { None } else { keep(isolate, status) };
            if let (Some(status), Some(company)) = (kept, Company::now())
                && END.set(End { v8, isolate, status, company }).is_ok()
            {
                (v8.at_end)(isolate, end, ptr::null_mut());
            }
        }
        (v8.close_scope)(&raw mut scope);
    }
}

/// Called by Node when what the program made was taken down and all else begins to be: that was there before it.
extern "C" fn end(_: Thing) {
    let Some(End { v8, isolate, status, company }) = END.get() else { return };
    if Company::now().as_ref() != Some(company) {
        return;
    }
    let (mut scope, mut allowed) = (OnStack([0; 128]), OnStack([0; 128]));
    // SAFETY: Node calls this in the thread that asked for it, before the isolate is disposed of.
    unsafe {
        (v8.open_scope)(&raw mut scope, *isolate);
        (v8.allow)(&raw mut allowed, *isolate);
        let context = (v8.context)(*isolate);
        let told = (v8.call)(*status, context, *status, 0, ptr::null_mut());
        if !told.is_null() {
            // `Maybe<int32_t>`: whether there is one, and it.
            let number = (v8.number)(told, context);
            let status = (number >> 32) as i32;
            if number & 1 == 1 && status >= 0 {
                fflush(ptr::null_mut());
                sys::exit(status);
            }
        }
        (v8.allow_no_more)(&raw mut allowed);
        (v8.close_scope)(&raw mut scope);
    }
}

/// What else may have something to do at the end: a thread that writes a log, a library with buffers of its own.
#[derive(PartialEq, Eq)]
struct Company {
    threads: usize,
    libraries: usize,
}

impl Company {
    fn now() -> Option<Self> {
        extern "C" fn count(_: Thing, _: usize, counted: Thing) -> c_int {
            // SAFETY: What is passed below.
            unsafe { *counted.cast::<usize>() += 1 };
            0
        }
        let mut libraries = 0usize;
        // SAFETY: The number lives through the call.
        unsafe { dl_iterate_phdr(count, (&raw mut libraries).cast()) };
        Some(Self { threads: fs::read_dir("/proc/self/task").ok()?.count(), libraries })
    }
}

unsafe extern "C" {
    fn fflush(stream: Thing) -> c_int;
    fn dl_iterate_phdr(callback: extern "C" fn(Thing, usize, Thing) -> c_int, data: Thing) -> c_int;
}
