# Self-modifying code in every form, and debugging: single steps, breakpoints, DR6. SDM volume 3:
# 8.1.3 (self-modifying code), 17.2 and 17.3 (debug registers and exceptions). Processors of the P6
# family notice a store to the next instruction at once (volume 3, 11.6).
# QEMU differs: DR6.BD (TCG has no general detect)
# QEMU differs: INT1 (TCG 7.2 takes F1 for an invalid opcode)
#include "lib.inc"

.set TF, 0x100

.text
.globl main
main:
  # -- the next instruction
  mov byte ptr [1f + 1], 0x22
1: mov al, 0x11
  movzx eax, al
  VALUE "patch of the next instruction", eax, 0x22
  # -- the immediate of the running loop
  mov ecx, 10
  xor eax, eax
1: add eax, 1
  inc byte ptr [1b + 2]
  loop 1b
  VALUE "immediate of the running loop", eax, 55
  # -- an instruction of a loop becomes another: ADD EAX to SUB EAX
  mov ecx, 6
  xor eax, eax
1: add eax, 0x100
  cmp ecx, 4
  jne 2f
  mov byte ptr [1b], 0x2d
2: loop 1b
  VALUE "opcode of the running loop", eax, -0x000
  # -- code that another store on the same page does not touch
  mov ecx, 1000
1: inc dword ptr [near_data]
  loop 1b
  jmp 2f
near_data: .long 0
2:
  VALUE "data beside code", "dword ptr [near_data]", 1000
  # -- REP STOSB over itself: the string ends where the instruction was replaced by itself
  call over_itself
  VALUE "rep stosb over what follows", eax, 0x90909090
  # -- rewritten by REP MOVS, called over and over
  xor ebp, ebp
  mov ebx, 50
1: mov esi, offset template_a
  test ebx, 1
  jz 2f
  mov esi, offset template_b
2: mov edi, offset place
  mov ecx, 8
  rep movsb
  call place
  add ebp, eax
  dec ebx
  jnz 1b
  VALUE "routine replaced 50 times", ebp, 25*3+25*5
  # -- a store across two lines, and across two pages, of code
  call far_code
  VALUE "before", eax, 0x44332211
  mov dword ptr [far_code_immediate - 2], 0x0201b890
  call far_code
  VALUE "immediate half rewritten", eax, 0x44330201
  mov dword ptr [cross_immediate], 0x0badf00d
  call cross_code
  VALUE "an instruction across two pages, rewritten whole", eax, 0x0badf00d
  mov byte ptr [cross_immediate + 3], 0x77
  call cross_code
  VALUE "only its second page rewritten", eax, 0x77adf00d
  # -- CALL and PUSH that overwrite code below the stack pointer
  call stack_over_code
  VALUE "code overwritten by PUSH", eax, 0x1234
  # -- the same bytes at another address
  mov edi, offset place
  mov dword ptr [edi], 0x000001b8
  mov dword ptr [edi + 4], 0xc300
  call place
  VALUE "code written by data stores", eax, 1
  # -- XCHG and LOCK on code
  mov al, 9
  xchg [place + 1], al
  call place
  VALUE "XCHG on code", eax, 9
  lock add byte ptr [place + 1], 4
  call place
  VALUE "LOCK ADD on code", eax, 13

  # -- single steps
  mov dword ptr [idt + 1 * 8], 0
  mov eax, offset on_debug
  and eax, 0xffff
  or eax, KCODE << 16
  mov [idt + 1 * 8], eax
  mov eax, offset on_debug
  and eax, 0xffff0000
  or eax, 0x8e00
  mov [idt + 1 * 8 + 4], eax
  call clear_steps
  pushfd
  or dword ptr [esp], TF
  popfd
  nop
step_first:
  nop
  mov eax, 5
  pushfd
  and dword ptr [esp], ~TF
  popfd
step_last:
  mov eax, [step_count]
  VALUE "steps over six instructions", eax, 6
  mov eax, [step_first_eip]
  sub eax, offset step_first
  VALUE "first step is behind the instruction after POPF", eax, 0
  mov eax, [step_last_eip]
  sub eax, offset step_last
  VALUE "the POPF that clears TF is stepped", eax, 0
  mov eax, [step_dr6]
  and eax, 0xe00f
  VALUE "DR6.BS", eax, 0x4000
  # -- a step over REP: one for each iteration
  call clear_steps
  mov ecx, 4
  mov edi, offset scratch
  pushfd
  or dword ptr [esp], TF
  popfd
  rep stosb
  pushfd
  and dword ptr [esp], ~TF
  popfd
  mov eax, [step_count]
  VALUE "steps over REP STOSB of 4", eax, 7
  # -- MOV SS and POP SS delay the step
  call clear_steps
  mov ebx, ss
  pushfd
  or dword ptr [esp], TF
  popfd
  mov ss, ebx
  nop
  pushfd
  and dword ptr [esp], ~TF
  popfd
  mov eax, [step_count]
  VALUE "steps with MOV SS", eax, 4
  # -- data breakpoints
  call clear_steps
  mov eax, offset scratch
  mov dr0, eax
  mov eax, 0x000d0001    # DR0: write, 4 bytes, local
  mov dr7, eax
  mov eax, [scratch]
  VALUE "a read does not hit", "dword ptr [step_count]", 0
  mov dword ptr [scratch], 1
hit_first:
  nop
  VALUE "a write hits", "dword ptr [step_count]", 1
  mov eax, [step_first_eip]
  sub eax, offset hit_first
  VALUE "behind the instruction", eax, 0
  mov eax, [step_dr6]
  and eax, 0xe00f
  VALUE "DR6.B0", eax, 1
  mov byte ptr [scratch + 3], 1
  VALUE "its last byte", "dword ptr [step_count]", 2
  mov byte ptr [scratch + 4], 1
  VALUE "the byte behind", "dword ptr [step_count]", 2
  mov word ptr [scratch - 1], 0
  VALUE "a word that touches it", "dword ptr [step_count]", 3
  mov eax, 0x000f0001    # read or write
  mov dr7, eax
  mov eax, [scratch]
  VALUE "a read hits now", "dword ptr [step_count]", 4
  mov esi, offset scratch
  mov edi, offset scratch + 8
  movsd
  VALUE "a read by MOVS", "dword ptr [step_count]", 5
  push dword ptr [scratch]
  pop eax
  VALUE "a read by PUSH", "dword ptr [step_count]", 6
  mov eax, 0
  mov dr7, eax
  mov eax, [scratch]
  VALUE "disabled", "dword ptr [step_count]", 6
  # -- instruction breakpoints are faults; RF passes over them once
  call clear_steps
  mov eax, offset break_here
  mov dr1, eax
  mov eax, 0x0004        # DR1: execute
  mov dr7, eax
  xor eax, eax
break_here:
  inc eax
  mov ecx, eax
  mov eax, 0
  mov dr7, eax
  VALUE "instruction breakpoint, once", "dword ptr [step_count]", 1
  mov eax, [step_first_eip]
  sub eax, offset break_here
  VALUE "before the instruction", eax, 0
  VALUE "which then ran", ecx, 1
  mov eax, [step_dr6]
  and eax, 0xe00f
  VALUE "DR6.B1", eax, 2
  # -- general detect
  call clear_steps
  mov eax, 0x2000
  mov dr7, eax
  mov eax, dr0
  mov eax, [step_dr6]
  and eax, 0xe00f
  VALUE "DR6.BD", eax, 0x2000
  mov eax, 0
  mov dr7, eax
  # -- DR4 and DR5 with CR4.DE
  mov eax, cr4
  or eax, 8
  mov cr4, eax
  FAULT "DR4 with CR4.DE", 6, 0, mov eax, dr4
  mov eax, cr4
  and eax, ~8
  mov cr4, eax
  RUNS "DR4 without", mov eax, dr4
  # -- INT1 and INT3
  call clear_steps
  RUNS "INT1 comes back", .byte 0xf1
  VALUE "INT1 counted", "dword ptr [step_count]", 1
  ret

clear_steps:
  xor eax, eax
  mov [step_count], eax
  mov [step_first_eip], eax
  mov dr6, eax
  ret

on_debug:
  push eax
  inc dword ptr [step_count]
  mov eax, dr6
  mov [step_dr6], eax
  mov eax, [esp + 4]
  mov [step_last_eip], eax
  cmp dword ptr [step_first_eip], 0
  jne 1f
  mov [step_first_eip], eax
1:
  # An instruction breakpoint would come again: RF in the frame stops that.
  mov eax, dr6
  and eax, 0x0f
  jz 2f
  or dword ptr [esp + 12], 0x10000
2:
  xor eax, eax
  mov dr6, eax
  pop eax
  iretd

# Fills the place behind REP STOSB with NOPs, the MOV there included.
over_itself:
  mov edi, offset 1f
  mov ecx, 5
  mov al, 0x90
  rep stosb
1: mov eax, 0x12345678
  mov eax, [1b]
  ret

template_a:
  mov eax, 3
  ret
  nop
  nop
template_b:
  mov eax, 5
  ret
  nop
  nop

.align 128
.skip 124
far_code:
  nop
  nop
  .byte 0xb8
far_code_immediate = . 
  .long 0x44332211
  ret

.align 4096
.skip 4093
cross_code:
  .byte 0xb8
cross_immediate:
  .long 0x11111111
  ret

# Moves the stack pointer into code and pushes `mov eax, 0x1234; ret` over what is there.
stack_over_code:
  mov edx, esp
  mov esp, offset pushed_end
  push 0x000000c3
  push 0x00001234
  mov esp, edx
  nop
pushed_code:
  .byte 0xb8
  .long 0x5678
  .byte 0xc3
  nop
  nop
pushed_end_minus = pushed_code + 1
pushed_end = pushed_code + 9

.align 16
place: .skip 16

.data
step_count: .long 0
step_first_eip: .long 0
step_last_eip: .long 0
step_dr6: .long 0
.align 8
.long 0
.long 0
scratch: .skip 32
