/*
 * SSE float instructions on the host's own processor, for src/cpu/simd/float.test.ts.
 * Records on stdin: u32 operation, u32 MXCSR, u8[16] a, u8[16] b; on stdout: u8[16] result,
 * u32 MXCSR afterwards, u32 1 if the instruction faulted. Little-endian. Operations are numbered in
 * the order of FLOAT_PROGRAMS in test/simd/float-programs.ts.
 */
#define _GNU_SOURCE
#include <emmintrin.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

struct input { uint32_t operation, mxcsr; uint8_t a[16], b[16]; };
struct output { uint8_t result[16]; uint32_t mxcsr, faulted; };

static sigjmp_buf after;
static volatile uint32_t fault_mxcsr;

static void on_fault(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  fault_mxcsr = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  siglongjmp(after, 1);
}

#define TWO(n, code) case n: __asm__ volatile(code " %1, %0" : "+x"(x) : "x"(y)); break;
#define FOUR(n, name) \
  TWO(n, name "ps") TWO(n + 1, name "pd") TWO(n + 2, name "ss") TWO(n + 3, name "sd")
#define CMP(n, name, p) case n: __asm__ volatile(name " $" #p ", %1, %0" : "+x"(x) : "x"(y)); break;
#define CMPS(n, name) CMP(n, name, 0) CMP(n + 1, name, 1) CMP(n + 2, name, 2) CMP(n + 3, name, 3) \
  CMP(n + 4, name, 4) CMP(n + 5, name, 5) CMP(n + 6, name, 6) CMP(n + 7, name, 7)
#define ORDER(n, code) case n: { unsigned long f; \
  __asm__ volatile(code " %2, %1\n\tpushf\n\tpop %0" : "=r"(f) : "x"(x), "x"(y) : "cc"); \
  x = _mm_cvtsi32_si128((int)f & 0x8d5); break; }
#define TO_INT(n, code) case n: { int r; __asm__ volatile(code " %1, %0" : "=r"(r) : "x"(y)); \
  x = _mm_cvtsi32_si128(r); break; }

static __m128i run(uint32_t operation, __m128i x, __m128i y) {
  switch (operation) {
    FOUR(0, "add") FOUR(4, "sub") FOUR(8, "mul") FOUR(12, "div") FOUR(16, "sqrt")
    FOUR(20, "min") FOUR(24, "max")
    CMPS(28, "cmpps") CMPS(36, "cmppd") CMPS(44, "cmpss") CMPS(52, "cmpsd")
    ORDER(60, "ucomiss") ORDER(61, "ucomisd") ORDER(62, "comiss") ORDER(63, "comisd")
    TO_INT(64, "cvtss2si") TO_INT(65, "cvttss2si") TO_INT(66, "cvtsd2si") TO_INT(67, "cvttsd2si")
    TWO(68, "cvtps2dq") TWO(69, "cvttps2dq") TWO(70, "cvtpd2dq") TWO(71, "cvttpd2dq")
    TWO(72, "cvtdq2ps") TWO(73, "cvtps2pd") TWO(74, "cvtpd2ps") TWO(75, "cvtss2sd")
    TWO(76, "cvtsd2ss")
    case 77: __asm__ volatile("cvtsi2ssl %1, %0" : "+x"(x) : "r"(_mm_cvtsi128_si32(y))); break;
    TWO(78, "rcpps") TWO(79, "rsqrtps")
  }
  return x;
}

int main(void) {
  struct sigaction action = {0};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGFPE, &action, 0);
  struct input in;
  while (fread(&in, sizeof in, 1, stdin) == 1) {
    struct output out = {0};
    __m128i x = _mm_loadu_si128((void *)in.a), y = _mm_loadu_si128((void *)in.b);
    if (sigsetjmp(after, 0) == 0) {
      _mm_setcsr(in.mxcsr);
      __m128i r = run(in.operation, x, y);
      out.mxcsr = _mm_getcsr();
      _mm_setcsr(0x1f80);
      _mm_storeu_si128((void *)out.result, r);
    } else {
      _mm_setcsr(0x1f80);
      out.mxcsr = fault_mxcsr;
      out.faulted = 1;
    }
    fwrite(&out, sizeof out, 1, stdout);
  }
  return 0;
}
