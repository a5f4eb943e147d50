// Runs instruction bytes on this machine's processor at CPL 3, from a given state, and reports the state after.
// stdin: one batch header, then records; stdout: as many records (layout in layout.ts, checked below).
//
// Two ways in:
//  - direct: load everything, jump to the bytes, and a jump behind them comes back. No system call unless the bytes
//    fault: about a microsecond per case.
//  - by signal return (FLAG_STEP, FLAG_COMPAT): a frame of the kernel's is edited, which alone can set TF or CS.
// Build: gcc -O2 -static -no-pie -fno-stack-protector -fcf-protection=none -mfsgsbase -mxsave -o oracle oracle.c
#define _GNU_SOURCE
#include <cpuid.h>
#include <immintrin.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define PAGE 4096UL
#define CODE 0x10000000UL /* one page that can be written and executed; the next one is not mapped */
#define CODE_AT (CODE + 0x800)
#define DATA 0x20000000UL /* one page; neither neighbour is mapped */
#define MAGIC 0x4c43524f
enum { FLAG_STEP = 1, FLAG_COMPAT = 2, FLAG_PAGE_END = 4 };
/* EFLAGS that a case may set: the status flags, DF, AC, ID. */
#define SETTABLE 0x240cd5UL

struct batch { uint32_t magic, count, window, reserved; };
struct state {
  uint64_t gpr[16]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8…R15 */
  uint64_t rip, rflags, fsbase, gsbase;
  uint32_t mxcsr;
  uint16_t fcw, fsw, ftw, fop;
  uint32_t pad;
  uint64_t fip, fdp;
  uint8_t st[8][16];
  uint8_t ymm[16][32];
};
struct record {
  union {
    struct { uint32_t length, flags; uint64_t pad; uint8_t code[48]; } in;
    struct { uint32_t signal, vector; uint64_t error, cr2; uint32_t stray, pad; uint8_t rest[32]; } out;
  };
  struct state s;
};
_Static_assert(sizeof(struct record) == 896, "layout.ts states 896 bytes before the window");
_Static_assert(offsetof(struct state, st) == 192 && offsetof(struct state, ymm) == 320, "layout.ts");

/* What the trampoline loads and stores; reached by absolute 32-bit addresses (the program is linked low). */
struct cell { uint64_t gpr[16], rflags, target, rsp, fs, gs, host_fs, host_gs; };
struct cell cell __attribute__((used));
uint8_t area[8192] __attribute__((aligned(64), used));
static uint8_t spare_stack[256] __attribute__((aligned(16), used));

void enter(void);
void leave(void);
void after_fault(void);
__asm__(
  ".text\n.globl enter\nenter:\n"
  "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
  "mov %rsp, cell+144\n"
  "mov $7, %eax; xor %edx, %edx; xrstor64 area\n"
  "mov cell+152, %rax; wrfsbase %rax; mov cell+160, %rax; wrgsbase %rax\n"
  "pushq cell+128\n"
  "mov cell+8, %rcx; mov cell+16, %rdx; mov cell+24, %rbx; mov cell+40, %rbp; mov cell+48, %rsi\n"
  "mov cell+56, %rdi; mov cell+64, %r8; mov cell+72, %r9; mov cell+80, %r10; mov cell+88, %r11\n"
  "mov cell+96, %r12; mov cell+104, %r13; mov cell+112, %r14; mov cell+120, %r15; mov cell, %rax\n"
  "popfq\n"
  "mov cell+32, %rsp\n"
  "jmp *cell+136\n"
  ".globl leave\nleave:\n"
  "mov %rsp, cell+32\n"
  "mov cell+144, %rsp\n"
  "pushfq; popq cell+128\n"
  "pushq $0x202; popfq\n"
  "mov %rax, cell; mov %rcx, cell+8; mov %rdx, cell+16; mov %rbx, cell+24; mov %rbp, cell+40; mov %rsi, cell+48\n"
  "mov %rdi, cell+56; mov %r8, cell+64; mov %r9, cell+72; mov %r10, cell+80; mov %r11, cell+88\n"
  "mov %r12, cell+96; mov %r13, cell+104; mov %r14, cell+112; mov %r15, cell+120\n"
  "rdfsbase %rax; mov %rax, cell+152; rdgsbase %rax; mov %rax, cell+160\n"
  "mov $7, %eax; xor %edx, %edx; xsave64 area\n"
  ".globl after_fault\nafter_fault:\n"
  "mov cell+168, %rax; wrfsbase %rax; mov cell+176, %rax; wrgsbase %rax\n"
  "fninit; movl $0x1f80, spare_stack; ldmxcsr spare_stack; vzeroupper\n"
  "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
  "ret\n");
_Static_assert(offsetof(struct cell, rflags) == 128 && offsetof(struct cell, host_fs) == 168, "enter, leave");

static struct record *now;         /* the case that is running: its record is overwritten with the answer */
static volatile int running;       /* 1 between enter and leave, 2 while a frame is to be edited */
static volatile uint32_t serial;   /* counts cases, so that the clock knows one that hangs */
static uint32_t off_ymm;
static uint64_t start;             /* where the bytes of the case lie */
static uint64_t host_rsp;
static const int G[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
  REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static void to_area(uint8_t *f, const struct state *s) {
  memcpy(f, &s->fcw, 2); memcpy(f + 2, &s->fsw, 2); f[4] = s->ftw; f[5] = 0; memcpy(f + 6, &s->fop, 2);
  memcpy(f + 8, &s->fip, 8); memcpy(f + 16, &s->fdp, 8);
  uint32_t mxcsr = s->mxcsr & 0xffff; memcpy(f + 24, &mxcsr, 4);
  memcpy(f + 32, s->st, 128);
  for (int i = 0; i < 16; i++) { memcpy(f + 160 + 16 * i, s->ymm[i], 16); memcpy(f + off_ymm + 16 * i, s->ymm[i] + 16, 16); }
  uint64_t bv; memcpy(&bv, f + 512, 8); bv |= 7; memcpy(f + 512, &bv, 8);
}
static void from_area(const uint8_t *f, struct state *s) {
  uint64_t bv; memcpy(&bv, f + 512, 8);
  static const uint8_t zero[16];
  if (bv & 1) {
    memcpy(&s->fcw, f, 2); memcpy(&s->fsw, f + 2, 2); s->ftw = f[4]; memcpy(&s->fop, f + 6, 2);
    memcpy(&s->fip, f + 8, 8); memcpy(&s->fdp, f + 16, 8); memcpy(s->st, f + 32, 128);
  } else { s->fcw = 0x37f; s->fsw = s->ftw = s->fop = 0; s->fip = s->fdp = 0; memset(s->st, 0, 128); }
  memcpy(&s->mxcsr, f + 24, 4);
  for (int i = 0; i < 16; i++) {
    memcpy(s->ymm[i], bv & 2 ? f + 160 + 16 * i : zero, 16);
    memcpy(s->ymm[i] + 16, bv & 4 ? f + off_ymm + 16 * i : zero, 16);
  }
}
static void handler(int sig, siginfo_t *info, void *context) {
  __asm__ volatile("pushq $0x202; popfq" ::: "memory", "cc"); /* a case may have left AC set */
  ucontext_t *uc = context; greg_t *g = uc->uc_mcontext.gregs; uint8_t *f = (uint8_t *)uc->uc_mcontext.fpregs;
  static uint32_t seen;
  if (sig == SIGALRM) {
    if (running != 1 || seen != serial) { seen = serial; return; } /* the case is new since the last tick */
  }
  if (running == 2) { /* our own int3: turn this frame into the case's state */
    const struct state *s = &now->s;
    running = 1; host_rsp = g[REG_RSP];
    for (int i = 0; i < 16; i++) g[G[i]] = s->gpr[i];
    g[REG_RIP] = start;
    g[REG_EFL] = (s->rflags & SETTABLE) | 0x202 | (now->in.flags & FLAG_STEP ? 0x100 : 0);
    if (now->in.flags & FLAG_COMPAT) g[REG_CSGSFS] = (g[REG_CSGSFS] & 0x0000ffffffff0000LL) | 0x23 | (0x2bLL << 48);
    to_area(f, s);
    _writefsbase_u64(s->fsbase); _writegsbase_u64(s->gsbase);
    return;
  }
  if (running != 1) _exit(90);
  struct state *s = &now->s;
  uint32_t step = now->in.flags & FLAG_STEP;
  s->fsbase = _readfsbase_u64(); s->gsbase = _readgsbase_u64();
  for (int i = 0; i < 16; i++) s->gpr[i] = g[G[i]];
  s->rip = g[REG_RIP] - start;
  s->rflags = g[REG_EFL] & (step ? ~0x10100UL : ~0x10000UL); /* RF is the kernel's, TF ours */
  from_area(f, s);
  now->out.signal = sig; now->out.vector = g[REG_TRAPNO]; now->out.error = g[REG_ERR]; now->out.cr2 = g[REG_CR2];
  if (step && sig == SIGTRAP && g[REG_TRAPNO] == 1) now->out.signal = 0; /* the step ended as wanted */
  (void)info;
  g[REG_CSGSFS] = (g[REG_CSGSFS] & 0x0000ffffffff0000LL) | 0x33 | (0x2bLL << 48);
  g[REG_RIP] = (greg_t)after_fault; g[REG_RSP] = cell.rsp; g[REG_EFL] = 0x202;
  running = 0;
}

/* The same frame as enter's, then int3: the handler takes it from there and comes back to after_fault. */
void enter_by_frame(void);
__asm__(
  ".text\n.globl enter_by_frame\nenter_by_frame:\n"
  "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
  "mov %rsp, cell+144\n"
  "int3\n"
  "ud2\n");

static int get(void *p, size_t n) {
  for (uint8_t *b = p; n;) { ssize_t k = read(0, b, n); if (k <= 0) return 0; b += k; n -= k; }
  return 1;
}
static void put(const void *p, size_t n) {
  for (const uint8_t *b = p; n;) { ssize_t k = write(1, b, n); if (k <= 0) _exit(1); b += k; n -= k; }
}

static void run(struct record *r, uint32_t window) {
  uint8_t *code = (uint8_t *)CODE, *data = (uint8_t *)DATA;
  uint32_t length = r->in.length, flags = r->in.flags;
  static uint32_t dirty_from = 0, dirty_to = PAGE;
  memset(code + dirty_from, 0xcc, dirty_to - dirty_from);
  start = flags & FLAG_PAGE_END ? CODE + PAGE - length : CODE_AT;
  memcpy((void *)start, r->in.code, length);
  int direct = !(flags & (FLAG_STEP | FLAG_COMPAT));
  if (direct && !(flags & FLAG_PAGE_END)) {
    static const uint8_t jump[6] = { 0xff, 0x25 }; /* JMP [RIP+0] */
    uint64_t to = (uint64_t)leave;
    memcpy((void *)(start + length), jump, 6); memcpy((void *)(start + length + 6), &to, 8);
  }
  dirty_from = start - CODE; dirty_to = flags & FLAG_PAGE_END ? PAGE : dirty_from + length + 14;
  memcpy(data + PAGE - window, r + 1, window);
  now = r; serial++;
  if (!direct) { running = 2; enter_by_frame(); }
  else {
    to_area(area, &r->s);
    memcpy(cell.gpr, r->s.gpr, 128);
    cell.rflags = (r->s.rflags & SETTABLE) | 0x202; cell.target = start; cell.fs = r->s.fsbase; cell.gs = r->s.gsbase;
    running = 1; enter();
    if (running) { /* came back by leave */
      running = 0;
      memcpy(r->s.gpr, cell.gpr, 128);
      r->s.rflags = cell.rflags; r->s.fsbase = cell.fs; r->s.gsbase = cell.gs; r->s.rip = length;
      from_area(area, &r->s);
      memset(&r->out, 0, sizeof r->out);
    }
  }
  r->out.stray = 0;
  memcpy(r + 1, data + PAGE - window, window);
  for (const uint64_t *p = (uint64_t *)data, *end = (uint64_t *)(data + PAGE - window); p < end; p += 8)
    if (p[0] | p[1] | p[2] | p[3] | p[4] | p[5] | p[6] | p[7]) { r->out.stray = 1; memset(data, 0, PAGE - window); break; }
}

extern char __executable_start, etext;
int main(int argc, char **argv, char **environment) {
  /* A randomised heap may begin anywhere up to 1 GiB, also where cases expect nothing. */
  int persona = personality(0xffffffff);
  if (argc > 0 && persona >= 0 && !(persona & ADDR_NO_RANDOMIZE) && personality((unsigned long)persona | ADDR_NO_RANDOMIZE) >= 0)
    execve("/proc/self/exe", argv, environment);
  uint32_t a = 0, b = 0, c = 0, d = 0;
  __get_cpuid_count(0xd, 2, &a, &b, &c, &d); off_ymm = b;
  if (mmap((void *)CODE, PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)CODE) return 2;
  if (mmap((void *)DATA, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)DATA) return 2;
  stack_t stack = { .ss_sp = mmap(0, 1 << 18, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = 1 << 18 };
  sigaltstack(&stack, 0);
  struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
  sigfillset(&action.sa_mask);
  static const int signals[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGALRM };
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, 0);
  cell.host_fs = _readfsbase_u64(); cell.host_gs = _readgsbase_u64();
  struct batch batch;
  if (!get(&batch, sizeof batch) || batch.magic != MAGIC || batch.window > PAGE - 64 || batch.window & 63) return 4;
  size_t stride = sizeof(struct record) + batch.window, total = stride * batch.count;
  uint8_t *records = aligned_alloc(64, (total + 63) & ~63UL);
  if (!records || !get(records, total)) return 4;
  /* A system call made from anywhere but this program's own text becomes SIGSYS. */
  if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, &__executable_start, &etext - &__executable_start, 0)) return 3;
  struct itimerval tick = { { 0, 100000 }, { 0, 100000 } }, off = { { 0, 0 }, { 0, 0 } };
  setitimer(ITIMER_REAL, &tick, 0);
  for (uint32_t i = 0; i < batch.count; i++) {
    struct record *r = (struct record *)(records + stride * i);
    if (r->in.length > sizeof r->in.code) return 4;
    run(r, batch.window);
  }
  setitimer(ITIMER_REAL, &off, 0);
  put(records, total);
  return 0;
}
