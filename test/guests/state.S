# FPU, MMX and SSE state and the fast system calls: #NM for lazy switching, FXSAVE and FXRSTOR,
# FNSAVE and FRSTOR, #MF and #XM, SYSENTER and SYSEXIT, SDM volume 1: 8.1, 10.5; volume 3: 2.5
# (CR0.EM, MP, TS), 13.3; volume 2: FXSAVE, SYSENTER.
# QEMU differs: division by zero (TCG 7.2 raises no SIMD exceptions; SDM vol. 1, 11.5)
# QEMU differs: reserved bits of MXCSR (TCG takes them)
# QEMU differs: FXRSTOR of reserved MXCSR bits (TCG takes them)
# QEMU differs: the instruction after it (TCG waits at FWAIT only; SDM vol. 1, 8.7)
# QEMU differs: exponent after MMX (TCG leaves it; SDM vol. 1, 9.2)
#include "lib.inc"

.macro CR0_BITS clear, set
  mov eax, cr0
  and eax, ~(\clear)
  or eax, \set
  mov cr0, eax
.endm
.set MP, 2
.set EM, 4
.set TS, 8
.set NUMERIC, 0x20

.text
.globl main
main:
  CR0_BITS EM, NUMERIC
  fninit
  # -- device not available, by EM, MP and TS (SDM volume 3, table 2-2 and 13.1.1)
  CR0_BITS MP, TS
  FAULT "FLD1 with TS", 7, 0, fld1
  RUNS "FWAIT with TS but not MP", fwait
  CR0_BITS 0, MP
  FAULT "FWAIT with TS and MP", 7, 0, fwait
  FAULT "MMX with TS", 7, 0, paddb mm0, mm1
  clts
  RUNS "after CLTS", fld1
  fninit
  CR0_BITS 0, EM
  FAULT "FLD1 with EM", 7, 0, fld1
  FAULT "MMX with EM", 6, 0, paddb mm0, mm1
  RUNS "FWAIT with EM, MP, not TS", fwait
  CR0_BITS EM, MP
  # -- SSE needs OSFXSR
  mov eax, cr4
  and eax, ~0x600
  mov cr4, eax
  FAULT "SSE without OSFXSR", 6, 0, addps xmm0, xmm1
  mov eax, cr4
  or eax, 0x200
  mov cr4, eax
  RUNS "SSE with it", xorps xmm0, xmm0
  CR0_BITS 0, TS
  FAULT "SSE with TS", 7, 0, addps xmm0, xmm1
  FAULT "FXSAVE with TS", 7, 0, fxsave [image]
  clts
  CR0_BITS 0, EM
  FAULT "SSE with EM", 6, 0, addps xmm0, xmm1
  CR0_BITS EM, MP
  # -- SIMD exceptions: #UD without OSXMMEXCPT, #XM with it
  mov dword ptr [word_a], 0x1d00      # all masked but ZE
  ldmxcsr [word_a]
  mov dword ptr [word_a], 0x3f800000
  movss xmm0, [word_a]
  xorps xmm1, xmm1
  FAULT "division by zero without OSXMMEXCPT", 6, 0, divss xmm0, xmm1
  mov eax, cr4
  or eax, 0x400
  mov cr4, eax
  FAULT "division by zero with it", 19, 0, divss xmm0, xmm1
  stmxcsr [word_a]
  VALUE "MXCSR says why", "dword ptr [word_a]", 0x1d04
  mov dword ptr [word_a], 0x10000
  FAULT "reserved bits of MXCSR", 13, 0, ldmxcsr [word_a]
  mov dword ptr [word_a], 0x1f80
  ldmxcsr [word_a]
  # -- FXSAVE, FXRSTOR
  fninit
  fldpi
  fld1
  mov dword ptr [word_a], 0x11223344
  movss xmm3, [word_a]
  fxsave [image]
  VALUE "FCW", "dword ptr [image]", 0x3000037f
  movzx eax, byte ptr [image + 4]
  VALUE "tags: two registers in use", eax, 0xc0
  VALUE "MXCSR", "dword ptr [image + 24]", 0x1f80
  VALUE "ST0 is 1, its significand", "dword ptr [image + 36]", 0x80000000
  VALUE "ST1 is pi, its significand", "dword ptr [image + 52]", 0xc90fdaa2
  VALUE "XMM3", "dword ptr [image + 160 + 48]", 0x11223344
  fninit
  xorps xmm3, xmm3
  fxrstor [image]
  fxsave [image_2]
  mov esi, offset image
  mov edi, offset image_2
  mov ecx, 288 / 4
  repe cmpsd
  VALUE "restored and saved again: the same", ecx, 0
  FAULT "unaligned FXSAVE", 13, 0, fxsave [image + 4]
  or dword ptr [image_2 + 24], 0x80000000
  FAULT "FXRSTOR of reserved MXCSR bits", 13, 0, fxrstor [image_2]
  # -- FNSAVE initializes; FRSTOR brings all back
  fxrstor [image]
  fnsave [image_2]
  movzx eax, word ptr [image_2 + 8]
  VALUE "full tag word", eax, 0x0fff
  fxsave [image_3]
  movzx eax, byte ptr [image_3 + 4]
  VALUE "empty after FNSAVE", eax, 0
  frstor [image_2]
  fxsave [image_3]
  movzx eax, byte ptr [image_3 + 4]
  VALUE "FRSTOR", eax, 0xc0
  # -- x87 exceptions wait for the next waiting instruction
  fninit
  mov word ptr [word_a], 0x37b        # zero divide unmasked
  fldcw [word_a]
  fld1
  fldz
  RUNS "the division itself", fdivp st(1), st
  FAULT "the instruction after it", 16, 0, fld1
  RUNS "FNSTSW does not wait", fnstsw ax
  movzx eax, ax
  and eax, 0x80ff
  VALUE "status", eax, 0x8084
  fnclex
  RUNS "after FNCLEX", fld1
  fninit
  # -- MMX marks all registers used, EMMS none
  movq mm0, [image]
  fxsave [image_3]
  movzx eax, byte ptr [image_3 + 4]
  VALUE "tags after MMX", eax, 0xff
  movzx eax, word ptr [image_3 + 32 + 8]
  VALUE "exponent after MMX", eax, 0xffff
  emms
  fxsave [image_3]
  movzx eax, byte ptr [image_3 + 4]
  VALUE "tags after EMMS", eax, 0
  # -- SYSENTER and SYSEXIT
  xor edx, edx
  mov ecx, 0x174
  xor eax, eax
  wrmsr
  FAULT "SYSENTER with null SYSENTER_CS", 13, 0, sysenter
  mov eax, KCODE
  wrmsr
  mov ecx, 0x175
  mov eax, offset kernel_stack_end
  wrmsr
  mov ecx, 0x176
  mov eax, offset fast_entry
  wrmsr
  rdmsr
  sub eax, offset fast_entry
  VALUE "MSR reads back", eax, 0
  or dword ptr [idt + 3 * 8 + 4], 0x6000
  BEGIN_TRY
  push UDATA
  push offset user_stack_end
  push 0x202
  push UCODE
  push offset user_fast
  iretd
  RESUME
  VALUE "came back to privilege 3", "dword ptr [fault_vector]", 3
  VALUE "CS in SYSENTER", "dword ptr [fast_cs]", KCODE
  VALUE "SS in SYSENTER", "dword ptr [fast_ss]", KDATA
  mov eax, [fast_esp]
  sub eax, offset kernel_stack_end
  VALUE "ESP in SYSENTER", eax, 0
  VALUE "IF in SYSENTER", "dword ptr [fast_if]", 0
  VALUE "CS after SYSEXIT", "dword ptr [fault_cs]", UCODE
  VALUE "SS after SYSEXIT", "dword ptr [fault_ss]", UDATA
  mov eax, [fault_esp]
  sub eax, offset user_stack_end - 64
  VALUE "ESP after SYSEXIT", eax, 0
  BEGIN_TRY
  push UDATA
  push offset user_stack_end
  push 2
  push UCODE
  push offset user_exit
  iretd
  RESUME
  mov eax, [fault_eip]
  mov [try_eip], eax
  REPORT "SYSEXIT at privilege 3", 13, 0
  mov eax, KDATA
  mov es, eax
  ret

user_fast:
  mov ebp, esp
  sysenter
  hlt
user_back:
  int3
user_exit:
  sysexit
fast_entry:
  mov eax, cs
  mov ss:[fast_cs], eax
  mov eax, ss
  mov ss:[fast_ss], eax
  mov ss:[fast_esp], esp
  pushfd
  pop eax
  and eax, 0x200
  mov ss:[fast_if], eax
  mov edx, offset user_back
  lea ecx, [ebp - 64]
  sysexit

.data
.align 16
word_a: .long 0
fast_cs: .long 0
fast_ss: .long 0
fast_esp: .long 0
fast_if: .long 0
.align 16
image: .skip 512
image_2: .skip 512
image_3: .skip 512
