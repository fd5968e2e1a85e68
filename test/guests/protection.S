# Segments, gates and privilege. SDM volume 3: 5.3 (limits), 5.4 (types), 5.5–5.8 (privilege), 6.12
# (interrupts), volume 2: LAR, LSL, VERR, ARPL, far CALL, RET, IRET.
# QEMU differs: byte behind the limit (TCG checks no limits and types of data; SDM 3, 5.3, 5.5)
# QEMU differs: doubleword across the limit (as above)
# QEMU differs: doubleword across the limit, ModRM form (as above)
# QEMU differs: write across the limit (as above)
# QEMU differs: wrap at 4 GiB (as above)
# QEMU differs: expand-down: at the limit (as above)
# QEMU differs: expand-down: across the limit (as above)
# QEMU differs: 16-bit expand-down: beyond (as above)
# QEMU differs: 16-bit expand-down: across 64 KiB (as above)
# QEMU differs: read-only may not be written (as above)
# QEMU differs: code may not be written (as above)
# QEMU differs: use of null (as above)
# QEMU differs: its limit (as above)
# QEMU differs: LDT selector without LDT (TCG does not mind a null LDTR; SDM vol. 3, 3.5.1)
#include "lib.inc"

# Descriptors of this program, from 0x30 on.
.set SMALL, 0x30       # data, limit 0x0f, byte granular
.set DOWN, 0x38        # expand-down data, limit 0x0f, 32 bits
.set DOWN16, 0x40      # expand-down data, limit 0x0f, 16 bits
.set READONLY, 0x48
.set EXECONLY, 0x50
.set CONFORMING, 0x58  # conforming code, DPL 0
.set ABSENT, 0x60      # data, not present
.set CALLGATE, 0x68    # DPL 3, to privilege 0, two parameters
.set CALLGATE0, 0x70   # DPL 0
.set LDT_SEL, 0x78
.set ABSENTGATE, 0x80
.set BYTECODE, 0x88    # code, limit 0xffff, byte granular, 16 bits
.set GATE16, 0x90      # 16-bit call gate, DPL 3
.set BEYOND, 0x4000

.macro DESCRIPTOR selector, low, high
  mov dword ptr [gdt + \selector], \low
  mov dword ptr [gdt + \selector + 4], \high
.endm

.text
.globl main
main:
  DESCRIPTOR SMALL, 0x0000000f, 0x00409300
  DESCRIPTOR DOWN, 0x0000000f, 0x00409700
  DESCRIPTOR DOWN16, 0x0000000f, 0x00009700
  DESCRIPTOR READONLY, 0x0000ffff, 0x00cf9100
  DESCRIPTOR EXECONLY, 0x0000ffff, 0x00cf9900
  DESCRIPTOR CONFORMING, 0x0000ffff, 0x00cf9f00
  DESCRIPTOR ABSENT, 0x0000ffff, 0x00cf1300
  mov eax, offset gate_entry
  call write_gate_low
  mov [gdt + CALLGATE], eax
  mov [gdt + CALLGATE0], eax
  mov [gdt + ABSENTGATE], eax
  mov eax, offset gate_entry
  and eax, 0xffff0000
  mov ebx, eax
  or ebx, 0xec02
  mov [gdt + CALLGATE + 4], ebx
  mov ebx, eax
  or ebx, 0x8c02
  mov [gdt + CALLGATE0 + 4], ebx
  mov ebx, eax
  or ebx, 0x6c02
  mov [gdt + ABSENTGATE + 4], ebx
  # LDT with one descriptor: data, limit 0xff.
  mov eax, offset ldt
  mov [gdt + LDT_SEL], ax
  shl dword ptr [gdt + LDT_SEL], 16
  mov word ptr [gdt + LDT_SEL], 0x0f
  mov dword ptr [gdt + LDT_SEL + 4], 0x00008200
  shr eax, 16
  mov [gdt + LDT_SEL + 4], al
  # INT 0x40: interrupt gate, DPL 3. INT 0x41: DPL 0. INT 0x42: not present. INT 0x43: trap gate.
  or dword ptr [idt + 0x40 * 8 + 4], 0x6000
  and dword ptr [idt + 0x42 * 8 + 4], ~0x8000
  or dword ptr [idt + 0x42 * 8 + 4], 0x6000
  or dword ptr [idt + 0x43 * 8 + 4], 0x6100
  or dword ptr [idt + 3 * 8 + 4], 0x6000

  # -- limits
  mov eax, SMALL
  mov es, eax
  RUNS "last byte", mov al, es:[0x0f]
  FAULT "byte behind the limit", 13, 0, mov al, es:[0x10]
  RUNS "last doubleword", mov eax, es:[0x0c]
  FAULT "doubleword across the limit", 13, 0, mov eax, es:[0x0d]
  FAULT "doubleword across the limit, ModRM form", 13, 0, mov ebx, es:[0x0d]
  FAULT "write across the limit", 13, 0, mov es:[0x0e], eax
  FAULT "wrap at 4 GiB", 13, 0, mov eax, es:[0xfffffffe]
  mov eax, DOWN
  mov es, eax
  FAULT "expand-down: at the limit", 13, 0, mov al, es:[0x0f]
  RUNS "expand-down: above the limit", mov al, es:[0x10]
  RUNS "expand-down: far above", mov al, es:[0x100000]
  FAULT "expand-down: across the limit", 13, 0, mov eax, es:[0x0e]
  mov eax, DOWN16
  mov es, eax
  RUNS "16-bit expand-down: up to 64 KiB", mov al, es:[0xffff]
  FAULT "16-bit expand-down: beyond", 13, 0, mov al, es:[0x10000]
  FAULT "16-bit expand-down: across 64 KiB", 13, 0, mov ax, es:[0xffff]

  # -- types
  mov eax, READONLY
  mov es, eax
  RUNS "read-only may be read", mov al, es:[0]
  FAULT "read-only may not be written", 13, 0, mov es:[boot_stack_end], al
  FAULT "code may not be written", 13, 0, mov byte ptr cs:[boot_stack_end], 1
  mov eax, EXECONLY
  FAULT "execute-only in a data register", 13, EXECONLY, mov es, eax
  mov eax, READONLY
  FAULT "read-only in SS", 13, READONLY, mov ss, eax
  mov eax, KCODE
  FAULT "code in SS", 13, KCODE, mov ss, eax
  RUNS "readable code in ES", mov es, eax
  mov eax, ABSENT
  FAULT "absent in DS", 11, ABSENT, mov ds, eax
  FAULT "absent in SS", 12, ABSENT, mov ss, eax
  mov eax, TSS_SEL
  FAULT "a TSS in ES", 13, TSS_SEL, mov es, eax
  mov eax, BEYOND
  FAULT "beyond the GDT", 13, BEYOND, mov es, eax
  mov eax, BEYOND + 3
  FAULT "error code drops RPL", 13, BEYOND, mov es, eax
  xor eax, eax
  RUNS "null in ES", mov es, eax
  FAULT "use of null", 13, 0, mov al, es:[0]
  mov eax, 3
  RUNS "null with RPL 3", mov es, eax
  mov eax, es
  VALUE "keeps its RPL", eax, 3
  xor eax, eax
  FAULT "null in SS", 13, 0, mov ss, eax
  mov eax, UDATA
  FAULT "user data in SS at privilege 0", 13, 0x20, mov ss, eax
  RUNS "user data in ES", mov es, eax
  mov eax, KDATA + 3
  FAULT "RPL 3 against DPL 0", 13, KDATA, mov es, eax
  # Accessed bit.
  and dword ptr [gdt + SMALL + 4], ~0x100
  mov eax, SMALL
  mov es, eax
  VALUE "accessed bit was set", "dword ptr [gdt + SMALL + 4]", 0x00409300

  # -- LDT
  mov eax, 4
  FAULT "LDT selector without LDT", 13, 4, mov es, eax
  mov eax, KDATA
  FAULT "LLDT of a data segment", 13, KDATA, lldt ax
  mov eax, LDT_SEL
  RUNS "LLDT", lldt ax
  sldt eax
  VALUE "SLDT", eax, LDT_SEL
  mov eax, 0x0c
  RUNS "LDT selector", mov es, eax
  FAULT "its limit", 13, 0, mov al, es:[0x100]
  mov eax, 0x14
  FAULT "beyond the LDT", 13, 0x14, mov es, eax
  mov eax, TSS_SEL
  FAULT "LTR of a busy TSS", 13, TSS_SEL, ltr ax

  # -- LAR, LSL, VERR, VERW, ARPL
  mov ecx, KCODE
  lar eax, ecx
  and eax, 0xf0ff00
  VALUE "LAR code", eax, 0x00c09b00
  lsl eax, ecx
  VALUE "LSL code", eax, 0xffffffff
  mov ecx, SMALL
  lsl eax, ecx
  VALUE "LSL small", eax, 0x0f
  mov ecx, BEYOND
  mov eax, 0x1234
  lar eax, ecx
  setz bl
  movzx ebx, bl
  VALUE "LAR beyond: ZF", ebx, 0
  VALUE "LAR beyond: result", eax, 0x1234
  mov ecx, CALLGATE
  lar eax, ecx
  setz bl
  movzx ebx, bl
  VALUE "LAR of a call gate: ZF", ebx, 1
  lsl eax, ecx
  setz bl
  movzx ebx, bl
  VALUE "LSL of a call gate: ZF", ebx, 0
  mov ecx, EXECONLY
  verr cx
  setz bl
  movzx ebx, bl
  VALUE "VERR execute-only", ebx, 0
  mov ecx, READONLY
  verw cx
  setz bl
  movzx ebx, bl
  VALUE "VERW read-only", ebx, 0
  mov ecx, KDATA
  verw cx
  setz bl
  movzx ebx, bl
  VALUE "VERW data", ebx, 1
  mov eax, 0x10
  mov ecx, 0x23
  arpl ax, cx
  VALUE "ARPL", eax, 0x13

  # -- far jumps at privilege 0
  FAULT "far jump to data", 13, KDATA, jmp KDATA:0
  FAULT "far jump to null", 13, 0, jmp 0:0
  FAULT "far jump to user code", 13, 0x18, jmp UCODE:0
  FAULT "far jump beyond", 13, BEYOND, jmp BEYOND:0
  BEGIN_TRY
  jmp CONFORMING:offset 1f
1: mov eax, cs
  mov [scratch], eax
  jmp KCODE:offset 1f
1:
  RESUME
  VALUE "conforming code at privilege 0", "dword ptr [scratch]", CONFORMING
  and dword ptr [gdt + CONFORMING + 4], ~0x8000
  FAULT "far jump to absent code", 11, CONFORMING, jmp CONFORMING:0
  or dword ptr [gdt + CONFORMING + 4], 0x8000
  DESCRIPTOR BYTECODE, 0x0000ffff, 0x00009b10
  FAULT "far jump beyond the code limit", 13, 0, jmp BYTECODE:0x10000

  # -- privilege 3
  mov dword ptr [user_code], offset user_plain
  call to_user
  REPORT "INT3 at privilege 3", 3, 0
  mov eax, [fault_cs]
  VALUE "its CS", eax, UCODE
  mov eax, [fault_ss]
  VALUE "its SS", eax, UDATA
  mov eax, [fault_esp]
  sub eax, offset user_stack_end
  VALUE "its ESP", eax, 0
  mov eax, [fault_stack]
  add eax, 7 * 4 + 4
  sub eax, offset kernel_stack_end
  VALUE "the stack came from the TSS", eax, 0
  # Data segments that privilege 3 may not use become null on the way down.
  VALUE "DS became null by IRET", "dword ptr [fault_ds]", 0
  mov dword ptr [user_code], offset user_hlt
  call to_user
  REPORT "HLT", 13, 0
  mov dword ptr [user_code], offset user_cli
  call to_user
  REPORT "CLI with IOPL 0", 13, 0
  mov dword ptr [user_code], offset user_out
  call to_user
  REPORT "OUT without permission", 13, 0
  mov dword ptr [user_code], offset user_cr0
  call to_user
  REPORT "MOV CR0", 13, 0
  mov dword ptr [user_code], offset user_kdata
  call to_user
  REPORT "kernel data", 13, KDATA
  mov dword ptr [user_code], offset user_int40
  call to_user
  REPORT "INT 40, DPL 3", 0x40, 0
  mov dword ptr [user_code], offset user_int41
  call to_user
  REPORT "INT 41, DPL 0", 13, "0x41 * 8 + 2"
  mov dword ptr [user_code], offset user_int42
  call to_user
  REPORT "INT 42, not present", 11, "0x42 * 8 + 2"
  mov dword ptr [user_code], offset user_jump0
  call to_user
  REPORT "far jump to kernel code", 13, KCODE
  mov dword ptr [user_code], offset user_conforming
  call to_user
  REPORT "far jump to conforming code", 3, 0
  mov eax, [fault_cs]
  VALUE "privilege stays", eax, "CONFORMING + 3"
  mov dword ptr [user_code], offset user_gate0
  call to_user
  REPORT "call gate of DPL 0", 13, CALLGATE0
  mov dword ptr [user_code], offset user_gate_absent
  call to_user
  REPORT "absent call gate", 11, ABSENTGATE
  mov dword ptr [user_code], offset user_gate
  call to_user
  REPORT "call gate and back", 3, 0
  VALUE "first parameter", "dword ptr [gate_first]", 0x1111
  VALUE "second parameter", "dword ptr [gate_second]", 0x2222
  VALUE "CS in the gate", "dword ptr [gate_cs]", KCODE
  VALUE "SS in the gate", "dword ptr [gate_ss]", KDATA
  VALUE "caller's SS on the new stack", "dword ptr [gate_old_ss]", UDATA
  mov eax, [fault_esp]
  sub eax, offset user_stack_end
  VALUE "RETF 8 released the parameters on both stacks", eax, 0
  mov dword ptr [user_code], offset user_popf
  call to_user
  REPORT "POPF at privilege 3", 3, 0
  mov eax, [fault_eflags]
  and eax, 0x3200
  VALUE "cannot change IF and IOPL", eax, 0
  # I/O permission bitmap: port 0x80 allowed, 0x81 not.
  mov word ptr [tss + 0x66], 0x68
  mov dword ptr [gdt + TSS_SEL], 0
  mov eax, offset tss
  mov [gdt + TSS_SEL + 2], ax
  mov word ptr [gdt + TSS_SEL], 0x68 + 0x20
  and dword ptr [gdt + TSS_SEL + 4], ~0x200
  mov ecx, 0x21
  mov edi, offset tss + 0x68
  mov al, 0xff
  rep stosb
  and byte ptr [tss + 0x68 + 0x10], ~1
  mov eax, TSS_SEL
  ltr ax
  mov dword ptr [user_code], offset user_port80
  call to_user
  REPORT "port 80 is allowed", 3, 0
  mov dword ptr [user_code], offset user_port81
  call to_user
  REPORT "port 81 is not", 13, 0
  mov dword ptr [user_code], offset user_port80w
  call to_user
  REPORT "16 bits at port 80 are not", 13, 0
  # IOPL 3 by IRET.
  mov dword ptr [user_flags], 0x3002
  mov dword ptr [user_code], offset user_cli
  call to_user
  REPORT "CLI with IOPL 3", 3, 0
  mov dword ptr [user_code], offset user_port81
  call to_user
  REPORT "port 81 with IOPL 3", 3, 0
  mov dword ptr [user_flags], 2

  # -- interrupt and trap gates and IF
  BEGIN_TRY
  sti
  int 0x40
  RESUME
  REPORT "INT 40 at privilege 0", 0x40, 0
  mov eax, [fault_eflags]
  and eax, 0x200
  VALUE "IF in its frame", eax, 0x200
  cli

  # -- IRET at one privilege
  BEGIN_TRY
  pushfd
  push KDATA
  push offset 1f
  iretd
1: RESUME
  REPORT "IRET to data", 13, KDATA
  BEGIN_TRY
  push 2
  push KCODE
  push offset 1f
  iretd
1: RESUME
  REPORT "IRET to the same privilege", -1, 0
  BEGIN_TRY
  push UDATA
  push offset user_stack_end
  push 2
  push KCODE + 3
  push 0
  iretd
  RESUME
  REPORT "IRET to RPL 3 of DPL 0", 13, KCODE
  BEGIN_TRY
  push KDATA
  push offset user_stack_end
  push 2
  push UCODE
  push 0
  iretd
  RESUME
  REPORT "IRET with kernel SS", 13, KDATA
  # -- double fault: the handler of #NP is absent
  and dword ptr [idt + 13 * 8 + 4], ~0x8000
  mov eax, BEYOND
  FAULT "#GP whose gate is absent", 8, 0, mov es, eax
  or dword ptr [idt + 13 * 8 + 4], 0x8000
  ret

write_gate_low:
  and eax, 0xffff
  or eax, KCODE << 16
  ret

gate_entry:
  mov eax, ss
  mov ds, eax
  mov eax, cs
  mov [gate_cs], eax
  mov eax, ss
  mov [gate_ss], eax
  mov eax, [esp + 8]
  mov [gate_second], eax
  mov eax, [esp + 12]
  mov [gate_first], eax
  mov eax, [esp + 20]
  mov [gate_old_ss], eax
  retf 8

to_user:
  pop dword ptr [user_return]
  BEGIN_TRY
  push UDATA
  push offset user_stack_end
  push dword ptr [user_flags]
  push UCODE
  push dword ptr [user_code]
  iretd
  RESUME
  mov eax, KDATA
  mov es, eax            # IRET to privilege 3 left it null.
  mov eax, [fault_eip]
  mov [try_eip], eax
  jmp dword ptr [user_return]

user_plain: int3
user_hlt: hlt
user_cli:
  cli
  int3
user_out: out 0x80, al
user_cr0: mov eax, cr0
user_kdata:
  mov eax, KDATA
  mov ds, eax
user_int40: int 0x40
user_int41: int 0x41
user_int42: int 0x42
user_jump0: jmp KCODE:0
user_conforming:
  jmp CONFORMING:offset 1f
1: int3
user_gate0: call CALLGATE0:0
user_gate_absent: call ABSENTGATE:0
user_gate:
  push 0x1111
  push 0x2222
  call CALLGATE:0
  int3
user_popf:
  push 0x3202
  popfd
  int3
user_port80:
  in al, 0x80
  int3
user_port81:
  in al, 0x81
  int3
user_port80w:
  in ax, 0x80
  int3

.data
ldt:
  .quad 0
  .quad 0x00409300000000ff
scratch: .long 0
user_code: .long 0
user_return: .long 0
user_flags: .long 2
gate_cs: .long 0
gate_ss: .long 0
gate_first: .long 0
gate_second: .long 0
gate_old_ss: .long 0
