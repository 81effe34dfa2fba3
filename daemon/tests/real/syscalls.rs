//! System calls that another process is made to do: what pulls the memory away under a daemon whose memory is sealed.
//! It stands for what no test can have on demand: a page that fails, or that the kernel cannot bring back.
#![allow(unsafe_code, reason = "ptrace has no safe wrapper")]

use std::io;
use std::ptr::null_mut;

/// `syscall`, as x86-64 has it in memory.
const INSTRUCTION: u64 = 0x050f;

/// A thread of another process, stopped where it waits in a system call. Goes on when dropped.
pub(crate) struct Stopped {
    thread: i32,
    before: libc::user_regs_struct,
}

impl Stopped {
    /// Stops a thread that is a child of this process and waits in a system call; none if it is doing something else.
    pub(crate) fn waiting(thread: u32) -> Option<Stopped> {
        let thread = thread.cast_signed();
        request(libc::PTRACE_SEIZE, thread, 0, 0).expect("it is our child");
        request(libc::PTRACE_INTERRUPT, thread, 0, 0).expect("seized");
        wait(thread);
        let stopped = Stopped { thread, before: registers(thread) };
        let instruction = request(libc::PTRACE_PEEKTEXT, thread, stopped.before.rip - 2, 0).unwrap_or(0);
        (instruction & 0xffff == INSTRUCTION).then_some(stopped)
    }

    /// Has it do a system call; what that returned.
    pub(crate) fn call(&self, number: i64, arguments: [u64; 6]) -> Result<u64, io::Error> {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let (rax, rip) = (number.cast_unsigned(), self.before.rip - 2);
        // No system call is interrupted that the kernel would start again.
        let wanted = libc::user_regs_struct {
            rax,
            rip,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            orig_rax: u64::MAX,
            ..self.before
        };
        set_registers(self.thread, &wanted);
        request(libc::PTRACE_SINGLESTEP, self.thread, 0, 0)?;
        wait(self.thread);
        match registers(self.thread).rax.cast_signed() {
            error @ -4095..0 => Err(io::Error::from_raw_os_error(i32::try_from(-error).expect("an errno"))),
            result => Ok(result.cast_unsigned()),
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        set_registers(self.thread, &self.before);
        let _ = request(libc::PTRACE_DETACH, self.thread, 0, 0);
    }
}

fn request(what: libc::c_uint, thread: i32, address: u64, data: u64) -> io::Result<u64> {
    // SAFETY: none of the requests that come here writes to this process's memory: they act on a thread that is traced, or
    // fail.
    match unsafe { libc::ptrace(what, thread, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        word => Ok(word.cast_unsigned()),
    }
}

fn registers(thread: i32) -> libc::user_regs_struct {
    // SAFETY: a structure of integers, for which zeroes are values.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one such structure there.
    let got = unsafe { libc::ptrace(libc::PTRACE_GETREGS, thread, null_mut::<u8>(), &raw mut registers) };
    assert_eq!(got, 0, "{}", io::Error::last_os_error());
    registers
}

fn set_registers(thread: i32, registers: &libc::user_regs_struct) {
    // SAFETY: the kernel reads one such structure there.
    let set = unsafe { libc::ptrace(libc::PTRACE_SETREGS, thread, null_mut::<u8>(), registers) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// Until the thread has stopped.
fn wait(thread: i32) {
    let mut status = 0;
    // SAFETY: the kernel writes one integer there.
    let stopped = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
    assert!(stopped == thread && libc::WIFSTOPPED(status), "status {status:#x} of {stopped}");
}
