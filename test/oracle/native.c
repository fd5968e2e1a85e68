/*
 * Runs single instructions on the host's own processor, for test/oracle/native.ts.
 *
 * Records come in on stdin and go out on stdout, RECORD_BYTES each, little-endian; a 16-byte header
 * goes out first. The layout is test/oracle/record.ts's:
 *
 *   in   0 u8 length  1 u8[15] code  16 u32[8] EAX ECX EDX EBX ESP EBP ESI EDI  48 u32 EFLAGS
 *        52 u32 offset of the instruction in the code area  56 u32 option bits  60 u32 (unused)
 *        64 u8[512] FXSAVE image  576 u8[256] data window
 *   out  0 u32 vector or ~0  4 u32 error code  8 u32 CR2  12 u32 EIP  16 u32[8]  48 u32 EFLAGS
 *        52 u16 DS ES FS GS  60 u32 hash of the data page outside the window
 *        64 u8[512] FXSAVE image  576 u8[256] data window
 *
 * Memory: two code pages filled with INT3, one data page whose last 256 bytes are the window, and
 * the same data page again below 64 KiB (for 16-bit addressing) if the kernel allows it. The
 * neighbours of all three are not mapped. Built with: gcc -m32 -static -no-pie -O1.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE_BASE 0x00410000u
#define CODE_BYTES 0x2000u
#define DATA_BASE 0x00420000u
#define LOW_BASE 0x00008000u
#define PAGE_BYTES 0x1000u
#define WINDOW 0xf00u
#define RECORD_BYTES 832
#define BATCH 64
#define OPTION_TRAP_IS_RESULT 1u /* vector 3 is the instruction's own, not the filler's */
#define NO_VECTOR 0xffffffffu

struct input {
  uint8_t length, code[15];
  uint32_t gpr[8], eflags, offset, options, unused;
  uint8_t fx[512], window[256];
};
struct output {
  uint32_t vector, error, cr2, eip, gpr[8], eflags;
  uint16_t segments[4];
  uint32_t outside;
  uint8_t fx[512], window[256];
};

/* What the assembly below loads and stores; FXSAVE wants 16-byte alignment. */
static struct { uint32_t gpr[8], eflags, entry; } in_state __asm__("in_state")
    __attribute__((used));
static struct { uint32_t gpr[8], eflags, segments[4]; } out_state __asm__("out_state")
    __attribute__((used));
static uint8_t in_fx[512] __asm__("in_fx") __attribute__((aligned(64), used));
static uint8_t out_fx[512] __asm__("out_fx") __attribute__((aligned(64), used));
static uint32_t saved_esp __asm__("saved_esp") __attribute__((used));
static uint32_t saved_gs __asm__("saved_gs") __attribute__((used));
static uint32_t scratch_stack[64] __asm__("scratch_stack") __attribute__((used));

void run_case(void) __asm__("run_case");
void leave_case(void) __asm__("leave_case");
void recover_case(void) __asm__("recover_case");

__asm__(".text\n"
        "run_case:\n"
        "  pusha\n  pushf\n  mov %esp, saved_esp\n"
        "  xor %eax, %eax\n  mov %eax, %fs\n  mov %eax, %gs\n"
        "  fxrstor in_fx\n"
        "  push in_state+32\n  popf\n"
        "  mov in_state, %eax\n  mov in_state+4, %ecx\n  mov in_state+8, %edx\n"
        "  mov in_state+12, %ebx\n  mov in_state+16, %esp\n  mov in_state+20, %ebp\n"
        "  mov in_state+24, %esi\n  mov in_state+28, %edi\n"
        "  jmp *in_state+36\n"
        /* The instruction is followed by a jump to here. Only SS is sure to be usable. */
        "leave_case:\n"
        "  mov %eax, %ss:out_state\n  mov %ecx, %ss:out_state+4\n  mov %edx, %ss:out_state+8\n"
        "  mov %ebx, %ss:out_state+12\n  mov %esp, %ss:out_state+16\n  mov %ebp, %ss:out_state+20\n"
        "  mov %esi, %ss:out_state+24\n  mov %edi, %ss:out_state+28\n"
        "  mov $scratch_stack+252, %esp\n  pushf\n  pop %eax\n  mov %eax, %ss:out_state+32\n"
        "  mov %ds, %eax\n  mov %eax, %ss:out_state+36\n"
        "  mov %es, %eax\n  mov %eax, %ss:out_state+40\n"
        "  mov %fs, %eax\n  mov %eax, %ss:out_state+44\n"
        "  mov %gs, %eax\n  mov %eax, %ss:out_state+48\n"
        "  mov %ss, %eax\n  mov %eax, %ds\n  mov %eax, %es\n"
        "  fxsave out_fx\n"
        "recover_case:\n"
        "  mov saved_gs, %eax\n  mov %eax, %gs\n  fninit\n"
        "  mov saved_esp, %esp\n  popf\n  popa\n  ret\n");

static struct output *current;
static uint32_t current_options, current_start;

static void on_fault(int signal_number, siginfo_t *info, void *context) {
  (void)signal_number;
  (void)info;
  ucontext_t *uc = context;
  greg_t *g = uc->uc_mcontext.gregs;
  static const int ORDER[8] = {REG_EAX, REG_ECX, REG_EDX, REG_EBX,
                               REG_ESP, REG_EBP, REG_ESI, REG_EDI};
  current->vector = g[REG_TRAPNO];
  current->error = g[REG_ERR];
  current->cr2 = current->vector == 14 ? uc->uc_mcontext.cr2 : 0;
  current->eip = g[REG_EIP];
  if (current->vector == 3 && !(current_options & OPTION_TRAP_IS_RESULT)) {
    current->vector = NO_VECTOR; /* A branch that reached the filler. */
    current->error = 0;
    current->eip--;
  }
  for (int i = 0; i < 8; i++) current->gpr[i] = g[ORDER[i]];
  current->gpr[4] = g[REG_UESP];
  current->eflags = g[REG_EFL];
  current->segments[0] = g[REG_DS];
  current->segments[1] = g[REG_ES];
  current->segments[2] = g[REG_FS];
  current->segments[3] = g[REG_GS];
  /* A 32-bit signal frame holds an FSAVE image of 112 bytes and then the FXSAVE image. */
  memcpy(current->fx, (uint8_t *)uc->uc_mcontext.fpregs + 112, 512);
  g[REG_EIP] = (greg_t)recover_case;
  g[REG_UESP] = g[REG_ESP] = (greg_t)saved_esp;
  g[REG_EFL] = 0x202;
  g[REG_DS] = g[REG_ES] = g[REG_SS];
}

/* <linux/signal.h>; the C library's headers do not have it everywhere. */
#define KERNEL_SS_AUTODISARM (1u << 31)

static uint32_t outside_hash(const uint32_t *page) {
  uint32_t hash = 0;
  for (uint32_t i = 0; i < WINDOW / 4; i++) hash += page[i] * (2 * i + 1);
  return hash;
}

static void run_record(const struct input *in, struct output *out) {
  uint8_t *code = (uint8_t *)CODE_BASE + in->offset;
  uint8_t *page = (uint8_t *)DATA_BASE;
  uint32_t room = CODE_BYTES - in->offset;
  uint32_t length = in->length < room ? in->length : room;
  uint32_t filled = length;
  memcpy(code, in->code, length);
  if (length + 5 <= room) {
    uint32_t relative = (uint32_t)leave_case - (uint32_t)(code + length + 5);
    code[length] = 0xe9;
    memcpy(code + length + 1, &relative, 4);
    filled += 5;
  }
  memcpy(page + WINDOW, in->window, 256);
  memcpy(in_fx, in->fx, 512);
  memcpy(in_state.gpr, in->gpr, 32);
  in_state.eflags = in->eflags;
  in_state.entry = (uint32_t)code;
  memset(out, 0, sizeof *out);
  out->vector = NO_VECTOR;
  current = out;
  current_options = in->options;
  current_start = (uint32_t)code;
  out->eip = NO_VECTOR;
  run_case();
  if (out->eip == NO_VECTOR) { /* Came through leave_case. */
    out->eip = (uint32_t)code + length;
    memcpy(out->gpr, out_state.gpr, 32);
    out->eflags = out_state.eflags;
    for (int i = 0; i < 4; i++) out->segments[i] = (uint16_t)out_state.segments[i];
    memcpy(out->fx, out_fx, 512);
  }
  memset(code, 0xcc, filled);
  memcpy(out->window, page + WINDOW, 256);
  out->outside = outside_hash((uint32_t *)page);
  if (out->outside) memset(page, 0, WINDOW);
}

static int write_all(const void *bytes, size_t size) {
  for (const char *at = bytes; size;) {
    ssize_t n = write(1, at, size);
    if (n <= 0) return -1;
    at += n;
    size -= n;
  }
  return 0;
}

static struct input inputs[BATCH];
static struct output outputs[BATCH];

int main(void) {
  _Static_assert(sizeof(struct input) == RECORD_BYTES, "input record");
  _Static_assert(sizeof(struct output) == RECORD_BYTES, "output record");
  int memory = memfd_create("data", 0);
  if (memory < 0 || ftruncate(memory, PAGE_BYTES)) return 2;
  const int fixed = MAP_FIXED_NOREPLACE;
  if (mmap((void *)CODE_BASE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
           fixed | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != (void *)CODE_BASE)
    return 3;
  if (mmap((void *)DATA_BASE, PAGE_BYTES, PROT_READ | PROT_WRITE, fixed | MAP_SHARED, memory, 0) !=
      (void *)DATA_BASE)
    return 4;
  uint32_t has_low = mmap((void *)LOW_BASE, PAGE_BYTES, PROT_READ | PROT_WRITE, fixed | MAP_SHARED,
                          memory, 0) == (void *)LOW_BASE;
  memset((void *)CODE_BASE, 0xcc, CODE_BYTES);

  static uint8_t handler_stack[65536];
  /* A case's ESP may lie in this very stack: without the flag the kernel would take it for a nested
     signal and push the frame there (sigaltstack(2), SS_AUTODISARM). */
  stack_t stack = {.ss_sp = handler_stack,
                   .ss_size = sizeof handler_stack,
                   .ss_flags = (int)KERNEL_SS_AUTODISARM};
  sigaltstack(&stack, 0);
  struct sigaction action = {.sa_sigaction = on_fault,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS};
  for (int i = 0; i < 5; i++) sigaction(signals[i], &action, 0);
  __asm__ volatile("mov %%gs, %0" : "=r"(saved_gs));

  uint32_t header[4] = {0x31524f51 /* "QOR1" */, has_low, 0, 0};
  if (write_all(header, sizeof header)) return 5;
  size_t held = 0;
  for (;;) {
    ssize_t n = read(0, (char *)inputs + held, sizeof inputs - held);
    if (n <= 0) return held ? 6 : 0;
    held += n;
    size_t count = held / RECORD_BYTES;
    for (size_t i = 0; i < count; i++) run_record(&inputs[i], &outputs[i]);
    if (count && write_all(outputs, count * RECORD_BYTES)) return 5;
    held -= count * RECORD_BYTES;
    memmove(inputs, (char *)inputs + count * RECORD_BYTES, held);
  }
}
