// Runs x87 instructions on the host's own processor. One case on standard input:
//   0 u32 operation   4 u32 control word   8 u8[16] ST(0)   24 u8[16] ST(1), or memory operand
// and one result on standard output:
//   0 u32 status word   4 u32 tag word   8 u8[16] ST(0)   24 u8[16] ST(1)   40 u8[16] memory
// Exceptions are cleared before anything that waits for them, so that unmasked ones can be seen.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct { uint32_t op, cw; uint8_t a[16], b[16]; } Case;
typedef struct { uint32_t sw, tag; uint8_t st0[16], st1[16], mem[16]; } Result;
static uint8_t image[128];

#define RUN(number, instruction)                                                              \
  case number:                                                                                \
    __asm__ volatile("fninit\n\tfldt %2\n\tfldt %1\n\tfldcw %3\n\t" instruction               \
                     "\n\tfnstsw %0\n\tfnclex\n\t"                                            \
                     : "=m"(sw) : "m"(c->a), "m"(c->b), "m"(cw), "m"(memory)  \
                     : "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",  \
                       "st(7)");                                                              \
    break;
#define MEM "%4"

static void run(const Case *c, Result *r) {
  static uint8_t memory[16];

  uint16_t sw = 0, cw = c->cw;
  memcpy(memory, c->b, 16);
  switch (c->op) {
    RUN(0, "fadd %%st(1), %%st")
    RUN(1, "fmul %%st(1), %%st")
    RUN(2, ".byte 0xd8,0xe1")
    RUN(3, ".byte 0xd8,0xe9")
    RUN(4, ".byte 0xd8,0xf1")
    RUN(5, ".byte 0xd8,0xf9")
    RUN(6, ".byte 0xde,0xe9")
    RUN(7, "fsqrt")
    RUN(8, "fprem")
    RUN(9, "fprem1")
    RUN(10, "fscale")
    RUN(11, "frndint")
    RUN(12, "fxtract")
    RUN(13, "fcom %%st(1)")
    RUN(14, "fucom %%st(1)")
    RUN(15, "fxam")
    RUN(16, "ftst")
    RUN(17, "fstps " MEM)
    RUN(18, "fstpl " MEM)
    RUN(19, "fistps " MEM)
    RUN(20, "fistpl " MEM)
    RUN(21, "fistpll " MEM)
    RUN(22, "fbstp " MEM)
    RUN(23, "fbld " MEM)
    RUN(24, "fadds " MEM)
    RUN(25, "faddl " MEM)
    RUN(26, "fdivrs " MEM)
    RUN(27, "flds " MEM)
    RUN(28, "fldl " MEM)
    RUN(29, "fimull " MEM)
    RUN(30, "fcoms " MEM)
    RUN(31, "fcompp")
    RUN(32, "fchs")
    RUN(33, "fxch %%st(1)")
    RUN(34, "fadd %%st(3), %%st")
    RUN(35, "fld %%st(4)")
    RUN(36, "fldpi")
    RUN(37, "fldl2t")
    RUN(38, "fsts " MEM)
    RUN(39, "fildll " MEM)
    RUN(40, "fisubs " MEM)
    RUN(41, "fxch %%st(3)")
    RUN(64, "f2xm1")
    RUN(65, "fyl2x")
    RUN(66, "fyl2xp1")
    RUN(67, "fptan")
    RUN(68, "fpatan")
    RUN(69, "fsin")
    RUN(70, "fcos")
    RUN(71, "fsincos")
  }
  __asm__ volatile("fnsave %0" : "=m"(image) : : "memory");
  memset(r, 0, sizeof *r);
  r->sw = sw;
  memcpy(&r->tag, image + 8, 2);
  memcpy(r->st0, image + 28, 10);
  memcpy(r->st1, image + 38, 10);
  memcpy(r->mem, memory, 16);
}

int main(void) {
  Case c;
  Result r;
  while (fread(&c, sizeof c, 1, stdin) == 1) {
    run(&c, &r);
    fwrite(&r, sizeof r, 1, stdout);
  }
  return 0;
}
