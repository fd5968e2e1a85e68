# Virtual-8086 mode under a small monitor: entering by IRET, leaving by exceptions and gates, IOPL 3
# and 0, the I/O permission bitmap, interrupt reflection, and VME. SDM volume 3: 20.2 (entering and
# leaving), 20.2.7 and 20.2.8 (sensitive instructions, I/O), 20.3 (interrupts), 20.4 (VME).
# QEMU differs: word at ffff (TCG checks neither limits nor types of data; SDM 3, 20.1.1)
# QEMU differs: word of the stack at ffff (as above)
# QEMU differs: IRET to EIP 10000 (TCG cuts it to 16 bits; SDM 2, IRET)
# QEMU differs: VME: (TCG 7.2 has none)
#include "lib.inc"

.set SEG, 0x1000           # The 8086 program is copied to 0x10000.
.set STACK_SEG, 0x2000
.set STACK_TOP, 0x0ff0
.set BIG_TSS, 0x30
.set IO_BASE, 0x88         # Behind 32 bytes for the redirection of interrupts.
.set TSS_LIMIT, IO_BASE + 0x2000
.set IOPL3, 0x3000
.set VM, 0x20000
.set IF, 0x200
.set VIF, 0x80000
.set VIP, 0x100000

# Runs the 8086 program from `entry` with EFLAGS VM | flags, until an exception leaves it.
.macro RUN_V86 entry, flags, ax = 0
  BEGIN_TRY
  mov eax, \ax
  push 0x6000
  push 0x5000
  push 0x4000
  push 0x3000
  push STACK_SEG
  push STACK_TOP
  push VM | 2 | (\flags)
  push SEG
  push offset (\entry - v86)
  iretd
  RESUME
  call after_v86
.endm

# The same, and what ended it. An address is that in the segment.
.macro V86 name, entry, flags, vector, error, ax = 0
  RUN_V86 \entry, \flags, \ax
  REPORT "\name", \vector, \error
.endm

.macro V86_AT name, place
  mov eax, [fault_eip]
  VALUE "\name", eax, "offset (\place - v86)"
.endm

# DPL 3 for the gate of a vector.
.macro OPEN_GATE vector
  mov byte ptr [idt + (\vector) * 8 + 5], 0xee
.endm

.text
.globl main
main:
  # No chip shall interrupt while IF is set.
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  mov esi, offset v86
  mov edi, SEG << 4
  mov ecx, offset v86_end - v86
  rep movsb
  # A TSS with both bitmaps: all ports but 60 and 1234 to 1237 are allowed.
  mov eax, offset tss
  mov word ptr [gdt + BIG_TSS], TSS_LIMIT
  mov [gdt + BIG_TSS + 2], ax
  shr eax, 16
  mov [gdt + BIG_TSS + 4], al
  mov word ptr [gdt + BIG_TSS + 5], 0x0089
  mov [gdt + BIG_TSS + 7], ah
  mov word ptr [tss + 0x66], IO_BASE
  mov byte ptr [tss + IO_BASE + 0x60 / 8], 1
  mov byte ptr [tss + IO_BASE + 0x1234 / 8], 0xf0
  mov byte ptr [tss + TSS_LIMIT], 0xff
  mov eax, BIG_TSS
  ltr ax

  # -- what the 8086 program sees, and what leaving shows
  V86 "HLT leaves", see_segments, IOPL3, 13, 0
  V86_AT "at the HLT", see_segments_end
  mov eax, [fault_cs]
  VALUE "CS in the frame", eax, SEG
  mov eax, [fault_esp]
  VALUE "ESP in the frame", eax, STACK_TOP
  mov eax, [fault_ss]
  VALUE "SS in the frame", eax, STACK_SEG
  mov eax, [fault_eflags]
  and eax, VM | IOPL3
  VALUE "VM and IOPL in the frame", eax, VM | IOPL3
  movzx eax, word ptr [fault_ds]
  VALUE "DS is null behind it", eax, 0
  movzx eax, word ptr [fault_fs]
  VALUE "and FS", eax, 0
  mov edx, [fault_stack]
  movzx eax, word ptr [edx + 32]
  VALUE "ES in the frame", eax, 0x3000
  movzx eax, word ptr [edx + 36]
  VALUE "DS in the frame", eax, 0x4000
  movzx eax, word ptr [edx + 40]
  VALUE "FS in the frame", eax, 0x5000
  movzx eax, word ptr [edx + 44]
  VALUE "GS in the frame", eax, 0x6000
  VALUE "CS and SS as the program sees them", "dword ptr [fault_eax]", 0x10002000
  VALUE "DS and ES", "dword ptr [(SEG << 4) + seen - v86]", 0x40003000
  VALUE "a store to DS:10", "dword ptr [0x40010]", 0x8086
  V86 "beyond ffff:000f", top_of_memory, IOPL3, 13, 0
  VALUE "is the multiboot header, not address 0", "dword ptr [fault_eax]", 0x1badb002
  V86 "a segment register is loaded as in real mode", load_segment, IOPL3, 13, 0
  VALUE "its base", "dword ptr [fault_eax]", 0x1badb002
  V86 "far CALL and RETF", far_call, IOPL3, 13, 0
  VALUE "they push words", "dword ptr [fault_eax]", 0x0fec0ff0

  # -- limits
  V86 "word at ffff", word_at_end, IOPL3, 13, 0
  V86 "word of the stack at ffff", stack_at_end, IOPL3, 12, 0

  # -- flags with IOPL 3
  V86 "PUSHF with IOPL 3", push_flags, IOPL3 | IF, 13, 0
  VALUE "its image", "dword ptr [fault_eax]", 0x3202
  V86 "PUSHFD with IOPL 3", push_flags32, IOPL3, 13, 0
  VALUE "VM is not in its image", "dword ptr [fault_eax]", 0x3002
  V86 "CLI with IOPL 3", clear_if, IOPL3 | IF, 13, 0
  mov eax, [fault_eflags]
  and eax, IF
  VALUE "IF", eax, 0
  V86 "STI with IOPL 3", set_if, IOPL3, 13, 0
  mov eax, [fault_eflags]
  and eax, IF
  VALUE "IF is set", eax, IF
  V86 "POPF with IOPL 3", pop_flags, IOPL3, 13, 0
  mov eax, [fault_eflags]
  and eax, VM | IOPL3 | 0x4fd5
  VALUE "all but VM and IOPL", eax, VM | IOPL3 | 0x4cd5
  V86 "POPFD with IOPL 3", pop_flags32, IOPL3, 13, 0
  mov eax, [fault_eflags]
  and eax, VM | VIF | VIP | IOPL3 | 0x240cd5
  VALUE "AC and ID, not VIF, VIP and VM", eax, VM | IOPL3 | 0x240cd5
  V86 "IRET with IOPL 3", iret_here, IOPL3, 13, 0
  mov eax, [fault_eflags]
  and eax, VM | IOPL3 | 0xcd5
  VALUE "its flags", eax, VM | IOPL3 | 0xcd5

  # -- and with IOPL 0: each traps where it is
  V86 "CLI", clear_if, 0, 13, 0
  V86_AT "at itself", clear_if
  V86 "STI", set_if, 0, 13, 0
  V86_AT "at itself", set_if
  V86 "PUSHF", push_flags, 0, 13, 0
  V86_AT "at itself", push_flags
  mov eax, [fault_esp]
  VALUE "nothing was pushed", eax, STACK_TOP
  V86 "PUSHFD", push_flags32, 0, 13, 0
  V86_AT "at itself", push_flags32
  V86 "POPF", pop_flags_only, 0, 13, 0
  V86_AT "at itself", pop_flags_only
  V86 "IRET", iret_only, 0, 13, 0
  V86_AT "at itself", iret_only
  V86 "INT 30", int_30, 0, 13, 0
  V86_AT "at itself", int_30
  OPEN_GATE 0x30
  V86 "INT 30 with a gate of DPL 3, IOPL 0", int_30, 0, 13, 0
  V86 "INT 30 with IOPL 3", int_30, IOPL3, 0x30, 0
  V86_AT "behind it", int_30_end
  V86 "INT 31 with IOPL 3, gate of DPL 0", int_31, IOPL3, 13, 0x31*8+2
  V86 "INT3 by a gate of DPL 0", int_3, 0, 13, 3*8+2
  OPEN_GATE 3
  V86 "INT3 needs no IOPL", int_3, 0, 3, 0
  OPEN_GATE 4
  V86 "INTO needs no IOPL", into, 0, 4, 0

  # -- privileged, and not there
  V86 "MOV from CR0", read_cr0, IOPL3, 13, 0
  V86 "LMSW", load_msw, IOPL3, 13, 0
  V86 "LGDT", load_gdt, IOPL3, 13, 0
  V86 "CLTS", clear_ts, IOPL3, 13, 0
  V86 "MOV to DR7", write_dr7, IOPL3, 13, 0
  V86 "INVLPG", invalidate, IOPL3, 13, 0
  V86 "WBINVD", write_back, IOPL3, 13, 0
  V86 "RDMSR", read_msr, IOPL3, 13, 0
  V86 "LLDT is undefined", load_ldt, IOPL3, 6, 0
  V86 "STR is undefined", store_tr, IOPL3, 6, 0
  V86 "ARPL is undefined", adjust_rpl, IOPL3, 6, 0
  V86 "LAR is undefined", load_rights, IOPL3, 6, 0
  V86 "SMSW is allowed", store_msw, IOPL3, 13, 0
  VALUE "PE", "dword ptr [fault_eax]", 1
  V86 "DIV by zero", divide, IOPL3, 0, 0

  # -- ports: the bitmap alone decides, whatever IOPL is
  V86 "IN from an allowed port", in_allowed, 0, 13, 0
  V86_AT "reached its end", in_allowed_end
  V86 "IN from a port that is not", in_denied, IOPL3, 13, 0
  V86_AT "at itself", in_denied
  V86 "a word half allowed", in_half, IOPL3, 13, 0
  V86_AT "at itself", in_half
  V86 "OUT to the last ports", out_last, 0, 13, 0
  V86_AT "at itself: they go beyond the bitmap", out_last_itself
  V86 "OUTSB to a port that is not allowed", outs_denied, IOPL3, 13, 0
  V86_AT "at itself", outs_denied_itself

  # -- a monitor that gives the 8086 program its interrupts
  mov eax, offset reflect
  mov [idt + 0x32 * 8], ax
  shr eax, 16
  mov [idt + 0x32 * 8 + 6], ax
  OPEN_GATE 0x32
  mov eax, [0x32 * 4]
  mov [saved_vector], eax
  mov dword ptr [0x32 * 4], (SEG << 16) + (on_int32 - v86)
  V86 "INT 32, reflected", int_32, IOPL3 | IF, 13, 0, 0x1000
  VALUE "the handler ran", "dword ptr [fault_eax]", 0x1032
  V86_AT "and came back", int_32_end
  mov eax, [fault_eflags]
  and eax, IF
  VALUE "with IF", eax, IF
  VALUE "IF was clear in it", "dword ptr [(SEG << 4) + seen - v86]", 0x3002

  # -- a frame that cannot be
  BEGIN_TRY
  push 0
  push 0
  push 0
  push 0
  push STACK_SEG
  push STACK_TOP
  push VM | 2
  push SEG
  push 0x10000
  iretd
  RESUME
  call after_v86
  REPORT "IRET to EIP 10000", 13, 0
  # -- single steps leave at each instruction
  V86 "TF", step, IOPL3 | 0x100, 1, 0
  V86_AT "behind the first", step_second
  xor eax, eax
  mov dr6, eax

  call vme
  mov eax, [saved_vector]
  mov [0x32 * 4], eax
  ret

# ---- virtual interrupts, where the processor has them

vme:
  mov eax, 1
  cpuid
  test dl, 2
  jz 9f
  mov eax, cr4
  or eax, 1
  mov cr4, eax
  V86 "VME: CLI with IOPL 0", clear_if, VIF, 13, 0
  V86_AT "VME: reached its end", clear_if_end
  mov eax, [fault_eflags]
  and eax, VIF | IF
  VALUE "VME: VIF is cleared, IF not touched", eax, 0
  V86 "VME: STI with IOPL 0", set_if, IF, 13, 0
  V86_AT "VME: reached its end too", set_if_end
  mov eax, [fault_eflags]
  and eax, VIF | IF
  VALUE "VME: VIF is set", eax, VIF | IF
  V86 "VME: STI with an interrupt pending", set_if, VIP, 13, 0
  V86_AT "VME: at itself", set_if
  V86 "VME: PUSHF", push_flags, VIF, 13, 0
  VALUE "VME: IOPL 3 and IF for VIF", "dword ptr [fault_eax]", 0x3202
  V86 "VME: PUSHFD still traps", push_flags32, VIF, 13, 0
  V86_AT "VME: at the PUSHFD", push_flags32
  V86 "VME: POPF of IF", pop_flags, 0, 13, 0
  mov eax, [fault_eflags]
  and eax, VIF | IF
  VALUE "VME: goes to VIF", eax, 0
  V86 "VME: INT 32 by the redirection bitmap", int_32, VIF, 13, 0, 0x2000
  VALUE "VME: the handler ran without a monitor", "dword ptr [fault_eax]", 0x2032
  VALUE "VME: in it IF looked clear", "dword ptr [(SEG << 4) + seen - v86]", 0x3002
  mov eax, [fault_eflags]
  and eax, VIF
  VALUE "VME: IRET brought VIF back", eax, VIF
  or byte ptr [tss + 0x68 + 0x32 / 8], 1 << (0x32 & 7)
  V86 "VME: INT 32 not redirected, IOPL 0", int_32, 0, 13, 0
  V86_AT "VME: traps at itself", int_32
  and byte ptr [tss + 0x68 + 0x32 / 8], ~(1 << (0x32 & 7))
  mov eax, cr4
  and eax, ~1
  mov cr4, eax
9:
  ret

# ES and FS are null after V86 mode.
after_v86:
  push KDATA
  pop es
  push KDATA
  pop fs
  mov dword ptr [try_eip], 0
  ret

# INT n in V86 mode: error (of the stub, none here), EIP, CS, EFLAGS, ESP, SS.
reflect:
  push eax
  push ebx
  mov eax, KDATA
  mov ds, eax
  sub dword ptr [esp + 20], 6
  movzx ebx, word ptr [esp + 24]
  shl ebx, 4
  movzx eax, word ptr [esp + 20]
  add ebx, eax
  mov eax, [esp + 8]
  mov [ebx], ax
  mov eax, [esp + 12]
  mov [ebx + 2], ax
  mov eax, [esp + 16]
  mov [ebx + 4], ax
  and dword ptr [esp + 16], ~IF
  movzx eax, word ptr [0x32 * 4]
  mov [esp + 8], eax
  movzx eax, word ptr [0x32 * 4 + 2]
  mov [esp + 12], eax
  pop ebx
  pop eax
  iretd

.data
.align 4
saved_vector: .long 0

# ---- the 8086 program

.text
.align 16
.code16
v86:
see_segments:
  mov ax, ds
  mov cs:[seen + 2 - v86], ax
  mov ax, es
  mov cs:[seen - v86], ax
  mov word ptr [0x10], 0x8086
  mov word ptr [0x12], 0
  mov ax, cs
  shl eax, 16
  mov ax, ss
see_segments_end:
  hlt
top_of_memory:
  mov ax, 0xffff
  mov ds, ax
  mov eax, [0x10]
  hlt
load_segment:
  mov ax, 0xfff0
  mov fs, ax
  mov eax, fs:[0x100]
  hlt
far_call:
  call SEG:(offset 1f - v86)
  mov ax, sp
  hlt
1: mov ax, sp
  shl eax, 16
  retf
word_at_end:
  mov ax, [0xffff]
  hlt
stack_at_end:
  mov ax, ss:[0xffff]
  hlt
push_flags:
  pushf
  pop ax
  movzx eax, ax
  hlt
push_flags32:
  pushfd
  pop eax
  hlt
clear_if:
  cli
clear_if_end:
  hlt
set_if:
  sti
set_if_end:
  hlt
pop_flags:
  push 0x4cd5
pop_flags_only:
  popf
  hlt
pop_flags32:
  push 0x003c
  push 0x0cd5
  popfd
  hlt
iret_here:
  push 0x0cd5
  push cs
  push offset 1f - v86
iret_only:
  iret
1: hlt
int_30:
  int 0x30
int_30_end:
  hlt
int_31:
  int 0x31
int_3:
  int3
into:
  mov al, 0x7f
  add al, 1
  into
read_cr0:
  mov eax, cr0
load_msw:
  lmsw ax
load_gdt:
  lgdt [0]
clear_ts:
  clts
write_dr7:
  mov dr7, eax
invalidate:
  invlpg [0]
write_back:
  wbinvd
read_msr:
  rdmsr
load_ldt:
  lldt ax
store_tr:
  str ax
adjust_rpl:
  arpl ax, cx
load_rights:
  lar ax, cx
store_msw:
  smsw ax
  and eax, 1
  hlt
divide:
  xor cx, cx
  div cx
in_allowed:
  mov dx, 0x4321
  in al, dx
in_allowed_end:
  hlt
in_denied:
  in al, 0x60
in_half:
  in ax, 0x5f
out_last:
  mov dx, 0xffff
out_last_itself:
  out dx, ax
outs_denied:
  mov dx, 0x60
outs_denied_itself:
  outsb
int_32:
  int 0x32
int_32_end:
  hlt
on_int32:
  mov al, 0x32
  push eax
  pushf
  pop word ptr cs:[seen - v86]
  mov word ptr cs:[seen + 2 - v86], 0
  pop eax
  iret
step:
  nop
step_second:
  hlt
.align 4
seen: .long 0
v86_end:
.code32
