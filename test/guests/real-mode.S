# Real mode: the vector table, 16-bit addressing and its wraps, limits, far transfers, big segments
# ("unreal mode"), A20 by port 92. SDM volume 3: chapter 20 (8086 emulation), 20.1.4 (vector table);
# volume 1: 3.3.7 (16-bit addresses); volume 3: 9.9 (switching modes).
# QEMU differs: word at ffff (TCG checks neither limits nor types of data; SDM 3, 20.1.1)
# QEMU differs: where that was (as above)
# QEMU differs: doubleword at fffd (as above)
# QEMU differs: word of the stack at ffff (as above)
# QEMU differs: 32-bit offset beyond 64 KiB (as above)
# QEMU differs: code that runs over ffff (as above)
#include "lib.inc"

.set SEG, 0x1000           # The part below is copied to 0x10000 and runs there.
.set STACK_SEG, 0x2000
.set DATA_SEG, 0x3000
.set CODE16, 0x30
.set DATA16, 0x38
.set noted, 0

# EAX is a result; it is compared and printed when protected mode is back.
.macro NOTE name, expected
  mov cs:[results - real + noted * 4], eax
  .section .rodata
77: .asciz "\name"
  .data 1
  .long 77b, \expected
  .text
  .set noted, noted + 1
.endm

# Runs an instruction; `seen` is its exception or ffff, `seen_ip` where it was.
.macro TRY16 insn:vararg
  mov word ptr cs:[resume - real], offset 98f - real
  mov word ptr cs:[seen - real], -1
97:
  \insn
98:
.endm

.macro SEEN name, vector
  movsx eax, word ptr cs:[seen - real]
  NOTE "\name", \vector
.endm

.macro FAULT16 name, vector, insn:vararg
  TRY16 \insn
  SEEN "\name", \vector
  WHERE "its address"
.endm

.macro WHERE name
  mov ax, cs:[seen_ip - real]
  sub ax, offset 97b - real
  movzx eax, ax
  NOTE "\name", 0
.endm

.data 1
.align 4
notes:
.text
.globl main
main:
  # No chip shall interrupt while IF is set.
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  mov esi, offset real
  mov edi, SEG << 4
  mov ecx, offset real_end - real
  rep movsb
  mov dword ptr [gdt + CODE16], 0x0000ffff
  mov dword ptr [gdt + CODE16 + 4], 0x00009b01
  mov dword ptr [gdt + DATA16], 0x0000ffff
  mov dword ptr [gdt + DATA16 + 4], 0x00009301
  # The vectors that are used, and what is to be put back of the page at 0x101000.
  mov esi, 0
  mov edi, offset saved_vectors
  mov ecx, 256
  rep movsd
  mov [saved_esp], esp
  lidt [real_idt]
  jmp CODE16:offset enter_real - real

back:
  mov eax, KDATA
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov fs, eax
  mov gs, eax
  mov esp, [saved_esp]
  lidt [idt_pointer]
  mov esi, offset saved_vectors
  mov edi, 0
  mov ecx, 256
  rep movsd
  xor ebp, ebp
1:
  mov esi, [notes + ebp * 8]
  mov eax, [(SEG << 4) + results - real + ebp * 4]
  mov ebx, [notes + ebp * 8 + 4]
  pushad
  call report_value
  popad
  inc ebp
  cmp ebp, offset noted_count
  jb 1b
  ret

.data
.align 4
saved_esp: .long 0
real_idt:
  .word 0x3ff
  .long 0
.bss
.align 4
saved_vectors: .skip 1024

# ---- what is copied below 1 MiB

.text
.align 16
.code16
real:
enter_real:
  # FS keeps the flat limit: big real mode. The others get 64 KiB.
  mov ax, KDATA
  mov fs, ax
  mov ax, DATA16
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov gs, ax
  mov eax, cr0
  and al, 0xfe
  mov cr0, eax
  jmp SEG:(offset in_real - real)
in_real:
  mov ax, STACK_SEG
  mov ss, ax
  mov sp, 0x8000
  mov ax, DATA_SEG
  mov ds, ax
  mov es, ax
  xor ax, ax
  mov gs, ax
.set i, 0
.rept 14
  mov dword ptr gs:[i * 4], (SEG << 16) + (on_vector - real) + i * 5
  .set i, i + 1
.endr
  mov dword ptr gs:[0x80 * 4], (SEG << 16) + (on_int80 - real)
  mov dword ptr gs:[0x81 * 4], (SEG << 16) + (on_int81 - real)

  smsw ax
  and eax, 1
  NOTE "PE", 0
  # -- 16-bit addressing: every base and index, with bytes that are their own offsets
  xor bx, bx
1: mov [bx + 0x100], bl
  inc bl
  jnz 1b
  mov bx, 0x100
  mov si, 0x21
  mov di, 0x43
  mov bp, 0x100
  xor eax, eax
  mov al, [bx + si]
  NOTE "[bx+si]", 0x21
  xor eax, eax
  mov al, [bx + di]
  NOTE "[bx+di]", 0x43
  xor eax, eax
  mov al, ds:[bp + si + 1]
  NOTE "ds:[bp+si+1]", 0x22
  xor eax, eax
  mov al, ds:[bp + di - 3]
  NOTE "ds:[bp+di-3]", 0x40
  xor eax, eax
  mov al, [si + 0x110]
  NOTE "[si+110]", 0x31
  xor eax, eax
  mov al, [di + 0x7f]
  NOTE "[di+7f] is zero below the table", 0
  xor eax, eax
  mov al, [bx + 0x7f]
  NOTE "[bx+7f]", 0x7f
  xor eax, eax
  mov al, [0x1fe]
  NOTE "[1fe]", 0xfe
  mov word ptr ss:[0x100 + 0x21], 0x5a5a
  xor eax, eax
  mov al, [bp + si]
  NOTE "[bp+si] is in the stack segment", 0x5a
  mov byte ptr [1], 0x99
  mov bx, 0xfff0
  mov si, 0x11
  xor eax, eax
  mov al, [bx + si]
  NOTE "[bx+si] wraps at 64 KiB", 0x99
  mov bx, 2
  xor eax, eax
  mov al, [bx - 1]
  NOTE "[bx-1]", 0x99
  lea ax, [bx + si - 0x20]
  movzx eax, ax
  NOTE "LEA is 16 bits", 0xfff3
  mov ebx, 0x12340
  lea eax, [ebx + ebx * 2]
  NOTE "LEA with 32-bit addresses", 0x369c0
  mov dword ptr [0x200], 0xcafebabe
  mov ebx, 0x100
  mov eax, [ebx * 2]
  NOTE "32-bit address, 32-bit operand", 0xcafebabe

  # -- limits
  mov byte ptr [0xffff], 0x77
  TRY16 mov ax, [0xffff]
  SEEN "word at ffff", 13
  WHERE "where that was"
  TRY16 mov eax, [0xfffd]
  SEEN "doubleword at fffd", 13
  WHERE "where that was"
  TRY16 mov al, [0xffff]
  SEEN "byte at ffff", -1
  mov bp, 0xffff
  TRY16 mov ax, [bp]
  SEEN "word of the stack at ffff", 12
  mov ebx, 0x10000
  TRY16 mov al, [ebx]
  SEEN "32-bit offset beyond 64 KiB", 13

  # -- big real mode
  mov ebx, 0x100000
  mov eax, fs:[ebx]
  NOTE "FS keeps its limit: the multiboot header", 0x1badb002
  mov ax, 0x0fff
  mov fs, ax
  mov ebx, 0x100000 - 0xfff0
  mov eax, fs:[ebx]
  NOTE "a selector sets the base only", 0x1badb002

  # -- strings wrap SI and DI, counts are CX
  mov byte ptr [0xffff], 0x11
  mov byte ptr [0], 0x22
  mov si, 0xffff
  lodsb
  mov ah, al
  lodsb
  movzx eax, ax
  NOTE "LODSB across the wrap", 0x1122
  movzx eax, si
  NOTE "SI", 1
  mov ecx, 0x10003
  mov edi, 0x20400
  mov al, 0xee
  cld
  rep stosb
  mov eax, ecx
  NOTE "REP counts CX", 0x10000
  mov eax, edi
  NOTE "and leaves the high half of EDI", 0x20403
  mov ecx, 0x10002
  xor eax, eax
1: inc ax
  loop 1b
  NOTE "LOOP counts CX", 2

  # -- the stack wraps
  mov sp, 0
  push 0x1234
  movzx eax, sp
  NOTE "PUSH with SP 0", 0xfffe
  movzx eax, word ptr ss:[0xfffe]
  NOTE "what it wrote", 0x1234
  pop ax
  movzx eax, sp
  NOTE "POP back to 0", 0
  mov sp, 0x8000
  push esp
  pop eax
  movzx eax, ax
  NOTE "PUSH ESP", 0x8000
  enter 8, 0
  movzx eax, sp
  NOTE "ENTER 8", 0x7ff6
  leave
  movzx eax, sp
  NOTE "LEAVE", 0x8000

  # -- far transfers
  call SEG:(offset far_near - real)
1:
  movzx eax, sp
  NOTE "SP after a far CALL and RETF", 0x8000
  mov eax, cs:[far_frame - real]
  NOTE "return address of a far CALL", "(SEG << 16) + (1b - real)"
  mov word ptr [0x300], offset far_pop - real
  mov word ptr [0x302], SEG
  push 0x1111
  push 0x2222
  call dword ptr [0x300]
  movzx eax, sp
  NOTE "RETF 4 takes two words along", 0x8000
  push SEG
  push offset 1f - real
  retf
1: mov ax, cs
  movzx eax, ax
  NOTE "RETF as a jump", SEG
  .byte 0xea
  .word 1f - real + 16, SEG - 1
1: mov ax, cs
  movzx eax, ax
  jmp SEG:(offset 1f - real)
1:
  NOTE "the same code by another segment", "SEG - 1"
  # -- IP
  mov byte ptr es:[0xfff0], 0xeb     # jmp +0x40, to 0032, and there RETF
  mov byte ptr es:[0xfff1], 0x40
  mov byte ptr es:[0x32], 0xcb
  call DATA_SEG:0xfff0
  mov eax, 1
  NOTE "a jump wraps IP", 1
  mov word ptr es:[0xfffe], 0x9090
  mov word ptr cs:[resume - real], offset 1f - real
  mov word ptr cs:[seen - real], -1
  mov ax, 0x4000                     # Where IP is not checked it goes on there: jmp back.
  mov es, ax
  mov byte ptr es:[0], 0xea
  mov dword ptr es:[1], (SEG << 16) + (1f - real)
  jmp DATA_SEG:0xfffe
1: SEEN "code that runs over ffff", 13
  mov sp, 0x8000

  # -- interrupts
  mov ax, 0x1234
  stc
  sti
  int 0x80
1: movzx eax, word ptr cs:[int_frame - real]
  NOTE "IP that INT pushes", "(1b - real)"
  movzx eax, word ptr cs:[int_frame + 2 - real]
  NOTE "CS", SEG
  movzx eax, word ptr cs:[int_frame + 4 - real]
  and eax, 0x301
  NOTE "FLAGS: IF and CF set", 0x201
  movzx eax, word ptr cs:[int_flags - real]
  and eax, 0x301
  NOTE "IF is clear in the handler", 1
  pushf
  pop ax
  and eax, 0x200
  NOTE "IRET sets it again", 0x200
  cli
  int 0x81
  movzx eax, sp
  NOTE "IRETD from a frame of doublewords", 0x8000
  TRY16 int3
  SEEN "INT3", 3
  mov al, 0x7f
  add al, 1
  TRY16 into
  SEEN "INTO", 4
  mov word ptr [0x310], 1
  mov word ptr [0x312], 5
  mov ax, 6
  FAULT16 "BOUND", 5, bound ax, [0x310]
  mov ax, 0x1000
  mov bl, 1
  FAULT16 "DIV overflow", 0, div bl
  FAULT16 "UD2", 6, ud2
  FAULT16 "ARPL is not there", 6, arpl ax, cx
  FAULT16 "LLDT is not there", 6, lldt ax
  FAULT16 "VERR is not there", 6, verr ax
  FAULT16 "LAR is not there", 6, lar ax, cx
  FAULT16 "LOCK on a register", 6, .byte 0xf0, 0x01, 0xc0

  # -- another vector table, and one that is too short
  mov dword ptr [0x400 + 0x20 * 4], (SEG << 16) + (on_int81 - real)
  mov dword ptr [0x400 + 13 * 4], (SEG << 16) + (on_vector - real) + 13 * 5
  mov word ptr [0x320], 0x20 * 4 + 3
  mov dword ptr [0x322], (DATA_SEG << 4) + 0x400
  lidtd [0x320]
  int 0x20
  movzx eax, word ptr cs:[int_flags - real]
  NOTE "INT by a table elsewhere", 0x81
  FAULT16 "INT behind the limit of the table", 13, int 0x21
  mov word ptr [0x320], 0x3ff
  mov dword ptr [0x322], 0
  lidtd [0x320]
  sidtd [0x328]
  mov eax, [0x328]
  movzx eax, ax
  NOTE "SIDT", 0x3ff

  # -- A20: 0x101000 holds RETF behind MOV AX, 2222; 0x1000 the same with 1111
  mov ax, 0xffff
  mov fs, ax
  mov eax, fs:[0x1010]
  mov cs:[saved_code - real], eax
  mov dword ptr fs:[0x1010], 0xcb2222b8
  mov eax, gs:[0x1000]
  mov cs:[saved_low - real], eax
  mov dword ptr gs:[0x1000], 0xcb1111b8
  call 0xffff:0x1010
  movzx eax, ax
  NOTE "A20 on: code above 1 MiB", 0x2222
  in al, 0x92
  and al, 0xfc
  out 0x92, al
  mov eax, fs:[0x1010]
  NOTE "A20 off: data wraps to 0x1000", 0xcb1111b8
  call 0xffff:0x1010
  movzx eax, ax
  NOTE "and so does code", 0x1111
  mov word ptr fs:[0x1011], 0x3333
  call 0:0x1000
  movzx eax, ax
  NOTE "a store through the wrap changes code below", 0x3333
  in al, 0x92
  or al, 2
  out 0x92, al
  call 0xffff:0x1010
  movzx eax, ax
  NOTE "A20 on again: the code above is as it was", 0x2222
  call 0:0x1000
  movzx eax, ax
  NOTE "and that below is the new one", 0x3333
  mov eax, cs:[saved_code - real]
  mov fs:[0x1010], eax
  mov eax, cs:[saved_low - real]
  mov gs:[0x1000], eax
.set noted_count, noted

  # -- back to protected mode
  cli
  mov eax, cr0
  or al, 1
  mov cr0, eax
  .byte 0x66, 0xea
  .long back
  .word KCODE

far_near:
  mov eax, ss:[0x7ffc]
  mov cs:[far_frame - real], eax
  retf
far_pop:
  retf 4

on_int80:
  push bp
  mov bp, sp
  mov eax, [bp + 2]
  mov cs:[int_frame - real], eax
  mov ax, [bp + 6]
  mov cs:[int_frame + 4 - real], ax
  pushf
  pop ax
  mov cs:[int_flags - real], ax
  pop bp
  iret

# Makes the frame one of doublewords, and returns by it.
on_int81:
  mov word ptr cs:[int_flags - real], 0x81
  pop ax
  pop bx
  pop cx
  movzx eax, ax
  movzx ebx, bx
  movzx ecx, cx
  push ecx
  push ebx
  push eax
  iretd

# One of five bytes for each vector: PUSH of a byte, JMP of three.
on_vector:
.set i, 0
.rept 14
  .byte 0x6a, i, 0xe9
  .word on_exception - (. + 2)
  .set i, i + 1
.endr
on_exception:
  pop word ptr cs:[seen - real]
  pop word ptr cs:[seen_ip - real]
  add sp, 4
  jmp word ptr cs:[resume - real]

.align 4
seen: .word 0
seen_ip: .word 0
resume: .word 0
int_frame: .word 0, 0, 0
int_flags: .word 0
.align 4
far_frame: .long 0
saved_code: .long 0
saved_low: .long 0
results: .skip 4 * 128
real_end:
.code32
