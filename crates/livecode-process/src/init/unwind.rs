//! The early return of a function that called us, through others.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

/// `_Unwind_Context`: a frame of the stack.
type Context = c_void;

unsafe extern "C" {
    fn _Unwind_Backtrace(each: extern "C" fn(*mut Context, *mut c_void) -> c_int, data: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
    fn _Unwind_GetCFA(context: *mut Context) -> usize;
    fn _Unwind_GetGR(context: *mut Context, register: c_int) -> usize;
    fn _Unwind_FindEnclosingFunction(instruction: *mut c_void) -> *mut c_void;
}

/// The registers that a function leaves as they were, by their DWARF numbers
/// (<https://gitlab.com/x86-psABIs/x86-64-ABI>, 3.6.2): rbx, rbp, r12 to r15.
const KEPT: [c_int; 6] = [3, 6, 12, 13, 14, 15];

/// Where a function goes back to: the place, the stack and those registers there.
#[repr(C)]
struct Caller {
    function: usize,
    is_next: bool,
    place: usize,
    stack: usize,
    kept: [usize; KEPT.len()],
}

extern "C" fn look(context: *mut Context, caller: *mut c_void) -> c_int {
    const GO_ON: c_int = 0;
    const STOP: c_int = 5;
    // SAFETY: the unwinder passes a frame that it knows, and what we passed it.
    unsafe {
        let caller = &mut *caller.cast::<Caller>();
        let place = _Unwind_GetIP(context);
        if !caller.is_next {
            // It's behind the call, which may be the last instruction.
            let function = _Unwind_FindEnclosingFunction(ptr::without_provenance_mut(place - 1));
            caller.is_next = function.addr() == caller.function;
            return GO_ON;
        }
        caller.place = place;
        caller.stack = _Unwind_GetCFA(context);
        caller.kept = KEPT.map(|register| _Unwind_GetGR(context, register));
        STOP
    }
}

/// Has that function return `value`, as `longjmp` would. Comes back where it isn't among our callers, or can't be left.
///
/// # Safety
///
/// Whatever is between us and it needs nothing more done: neither locks given back nor memory.
pub(crate) unsafe fn return_from(function: *const c_void, value: usize) {
    let mut caller =
        Caller { function: function.addr(), is_next: false, place: 0, stack: 0, kept: [0; KEPT.len()] };
    // SAFETY: the data is what the function takes it for.
    unsafe { _Unwind_Backtrace(look, (&raw mut caller).cast()) };
    if caller.place == 0 || has_shadow_stack() {
        return;
    }
    let Caller { place, stack, kept: [rbx, rbp, r12, r13, r14, r15], .. } = caller;
    let kept = [rbx, rbp, r12, r13, r14, r15];
    // SAFETY: these are the registers as they are when that function returns, by what its compiler wrote down of it.
    unsafe {
        std::arch::asm!(
            "mov rbx, [rcx]",
            "mov rbp, [rcx + 8]",
            "mov r12, [rcx + 16]",
            "mov r13, [rcx + 24]",
            "mov r14, [rcx + 32]",
            "mov r15, [rcx + 40]",
            "mov rsp, rdx",
            "jmp rsi",
            in("rcx") kept.as_ptr(), in("rdx") stack, in("rsi") place, in("rax") value,
            options(noreturn)
        )
    }
}

/// Whether the processor compares where functions return to with where they were called from.
fn has_shadow_stack() -> bool {
    let mut stack = 0_u64;
    // SAFETY: a processor that doesn't know the instruction does nothing.
    unsafe { std::arch::asm!("rdsspq {}", inout(reg) stack, options(nomem, nostack)) };
    stack != 0
}
