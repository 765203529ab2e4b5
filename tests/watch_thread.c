/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trapping a thread's system calls and allocations (watch_thread.h). x86-64.
 */
#include "watch_thread.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* Sanitizers bring a malloc of their own: gcc tells by macro, clang by feature. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

static _Atomic bool is_counting;
static _Atomic uint64_t syscalls, allocations;
static _Atomic long last_syscall;
#if !HAS_SANITIZER
static __thread bool is_watched;

/* The one place from which the filter lets system calls through. */
long watch_gadget(long number, long a, long b, long c, long d, long e, long f);
extern const char watch_gadget_return[];
__asm__(".text\n"
	".globl watch_gadget\n"
	".type watch_gadget, @function\n"
	"watch_gadget:\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	".globl watch_gadget_return\n"
	"watch_gadget_return:\n"
	"	ret\n"
	".size watch_gadget, . - watch_gadget\n");

static void on_trap(int signal, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	if (atomic_load(&is_counting)) {
		atomic_fetch_add(&syscalls, 1);
		atomic_store(&last_syscall, regs[REG_RAX]);
	}
	/* rt_sigreturn has the frame of its caller as its argument: the filter lets it pass. */
	regs[REG_RAX] = watch_gadget(regs[REG_RAX], regs[REG_RDI], regs[REG_RSI], regs[REG_RDX],
		regs[REG_R10], regs[REG_R8], regs[REG_R9]);
}

static bool install_filter(void)
{
	uint64_t ip = (uint64_t)(uintptr_t)watch_gadget_return;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 4, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, instruction_pointer)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)ip, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, instruction_pointer) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(ip >> 32), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return false;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

#endif

bool watch_thread_begin(void)
{
#if HAS_SANITIZER
	return false;
#else
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};

	if (sigaction(SIGSYS, &action, NULL) != 0 || !install_filter())
		return false;
	is_watched = true;
	return true;
#endif
}

void watch_thread_count(bool is_on)
{
	if (is_on) {
		atomic_store(&syscalls, 0);
		atomic_store(&allocations, 0);
	}
	atomic_store(&is_counting, is_on);
}

uint64_t watch_thread_syscalls(void)
{
	return atomic_load(&syscalls);
}

uint64_t watch_thread_allocations(void)
{
	return atomic_load(&allocations);
}

long watch_thread_last_syscall(void)
{
	return atomic_load(&last_syscall);
}

#if !HAS_SANITIZER
/* The C library's own, under the names it keeps for this purpose. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *old);

static void note_allocation(void)
{
	if (is_watched && atomic_load_explicit(&is_counting, memory_order_relaxed))
		atomic_fetch_add(&allocations, 1);
}

void *malloc(size_t size)
{
	note_allocation();
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	note_allocation();
	return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	note_allocation();
	return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	note_allocation();
	return __libc_memalign(alignment, size);
}

void free(void *old)
{
	note_allocation();
	__libc_free(old);
}
#endif
