# Task switches by JMP, CALL, IRET and task gate, with 32- and 16-bit TSSs. SDM volume 3: 7.2 (task
# management data structures), 7.3 (task switching, table 7-1: checks; table 7-2: busy, NT, link).
#include "lib.inc"

.set TSS_A, 0x30        # 32-bit, another task
.set TSS_B, 0x38        # 32-bit, the task of an exception (task gate)
.set TSS_C, 0x40        # 16-bit
.set GATE_A, 0x48       # task gate to TSS_A
.set TSS_SHORT, 0x50    # limit too small
.set TSS_ABSENT, 0x58

# Descriptor `selector` of a TSS at `base`, type and DPL in `access`, limit in `limit`.
.macro TSS_DESCRIPTOR selector, base, access, limit
  mov eax, offset \base
  mov word ptr [gdt + \selector], \limit
  mov [gdt + \selector + 2], ax
  shr eax, 16
  mov [gdt + \selector + 4], al
  mov byte ptr [gdt + \selector + 5], \access
  mov byte ptr [gdt + \selector + 6], 0
  mov [gdt + \selector + 7], ah
.endm

.macro ACCESS_OF selector
  movzx eax, byte ptr [gdt + \selector + 5]
.endm

.text
.globl main
main:
  TSS_DESCRIPTOR TSS_A, tss_a, 0x89, 0x67
  TSS_DESCRIPTOR TSS_B, tss_b, 0x89, 0x67
  TSS_DESCRIPTOR TSS_C, tss_c, 0x81, 0x2b
  TSS_DESCRIPTOR TSS_SHORT, tss_a, 0x89, 0x66
  TSS_DESCRIPTOR TSS_ABSENT, tss_a, 0x09, 0x67
  mov dword ptr [gdt + GATE_A], TSS_A << 16
  mov dword ptr [gdt + GATE_A + 4], 0x8500
  mov edi, offset tss_a
  mov eax, offset task_a
  call fill_tss
  mov edi, offset tss_b
  mov eax, offset task_b
  call fill_tss

  # -- CALL, and IRET back
  mov dword ptr [tss_a + 0x3c], 0x12345678    # EBP
  mov ebx, 0xcafe
  stc
  RUNS "CALL to a TSS", call TSS_A:0
  VALUE "the task ran", "dword ptr [task_count]", 1
  VALUE "EBX of this task", ebx, 0xcafe
  VALUE "its EBP", "dword ptr [task_ebp]", 0x12345678
  VALUE "NT in the task", "dword ptr [task_nt]", 0x4000
  VALUE "its back link", "dword ptr [task_link]", TSS_SEL
  VALUE "its TR", "dword ptr [task_tr]", TSS_A
  VALUE "its descriptor while it ran", "dword ptr [task_access]", 0x8b
  VALUE "the caller's descriptor meanwhile", "dword ptr [task_caller_access]", 0x8b
  VALUE "CR0.TS in the task", "dword ptr [task_ts]", 8
  ACCESS_OF TSS_A
  VALUE "not busy after IRET", eax, 0x89
  ACCESS_OF TSS_SEL
  VALUE "this task stays busy", eax, 0x8b
  mov eax, [tss_a + 0x24]
  and eax, 0x4000
  VALUE "NT was cleared in the TSS that IRET left", eax, 0
  mov eax, [tss + 0x34]
  VALUE "EBX was saved in the TSS", eax, 0xcafe
  # -- again: it goes on where it left
  clts
  RUNS "CALL again", call TSS_A:0
  VALUE "the task went on", "dword ptr [task_count]", 2
  # -- through a task gate in the GDT
  RUNS "CALL to a task gate", call GATE_A:0
  VALUE "the task went on again", "dword ptr [task_count]", 3
  # -- JMP there and JMP back
  mov dword ptr [task_jumps], 1
  RUNS "JMP to a TSS and back", jmp TSS_A:0
  VALUE "it ran", "dword ptr [task_count]", 4
  ACCESS_OF TSS_A
  VALUE "it is not busy", eax, 0x89
  mov dword ptr [task_jumps], 0
  VALUE "no NT from JMP", "dword ptr [task_nt]", 0
  # -- checks
  FAULT "CALL to the busy TSS", 13, TSS_SEL, call TSS_SEL:0
  FAULT "JMP to an absent TSS", 11, TSS_ABSENT, jmp TSS_ABSENT:0
  FAULT "JMP to a short TSS", 10, TSS_SHORT, jmp TSS_SHORT:0
  # -- IRET with NT to a TSS that is not busy
  and byte ptr [gdt + TSS_A + 5], ~2
  mov word ptr [tss], TSS_A
  BEGIN_TRY
  pushfd
  or dword ptr [esp], 0x4000
  popfd
  iretd
  RESUME
  REPORT "IRET to a TSS that is not busy", 10, TSS_A
  # -- an exception through a task gate
  mov eax, [idt + 6 * 8]
  mov [saved_gate], eax
  mov eax, [idt + 6 * 8 + 4]
  mov [saved_gate + 4], eax
  mov dword ptr [idt + 6 * 8], TSS_B << 16
  mov dword ptr [idt + 6 * 8 + 4], 0x8500
  mov dword ptr [b_eip], 0
1: ud2
  VALUE "#UD by a task gate, and back", "dword ptr [b_count]", 1
  mov eax, [b_eip]
  sub eax, offset 1b
  VALUE "EIP in the TSS of this task", eax, 0
  # #GP has an error code: it is pushed on the new task's stack.
  mov eax, [idt + 13 * 8]
  mov [saved_gate], eax
  mov eax, [idt + 13 * 8 + 4]
  mov [saved_gate + 4], eax
  mov dword ptr [idt + 13 * 8], TSS_B << 16
  mov dword ptr [idt + 13 * 8 + 4], 0x8500
  mov edi, offset tss_b
  mov eax, offset task_b_error
  call fill_tss
  mov ebx, 0x4000
1: mov es, ebx
2:
  VALUE "#GP by a task gate", "dword ptr [b_error]", 0x4000
  mov eax, [saved_gate]
  mov [idt + 13 * 8], eax
  mov eax, [saved_gate + 4]
  mov [idt + 13 * 8 + 4], eax
  # -- a 16-bit TSS
  mov edi, offset tss_c
  mov ecx, 0x2c
  xor eax, eax
  rep stosb
  mov word ptr [tss_c + 0x0e], offset low_task - low_task
  mov word ptr [tss_c + 0x10], 2
  mov word ptr [tss_c + 0x12], 0x1111
  mov word ptr [tss_c + 0x18], 0x2222
  mov word ptr [tss_c + 0x1a], 0x8000
  mov word ptr [tss_c + 0x22], KDATA
  mov word ptr [tss_c + 0x24], 0x68
  mov word ptr [tss_c + 0x26], KDATA
  mov word ptr [tss_c + 0x28], KDATA
  # Code segment 0x68: 32 bits, based at low_task.
  mov eax, offset low_task
  mov word ptr [gdt + 0x68], 0xffff
  mov [gdt + 0x68 + 2], ax
  shr eax, 16
  mov [gdt + 0x68 + 4], al
  mov word ptr [gdt + 0x68 + 5], 0x409b
  mov [gdt + 0x68 + 7], ah
  mov ebx, 0x12345678
  RUNS "CALL to a 16-bit TSS", call TSS_C:0
  VALUE "AX in it", "dword ptr [c_eax]", 0x1111
  VALUE "BX in it", "dword ptr [c_ebx]", 0x2222
  VALUE "EBX here", ebx, 0x12345678
  ret

# TSS at EDI: entry EAX, a stack, flat segments.
fill_tss:
  push ecx
  push edi
  push eax
  xor eax, eax
  mov ecx, 26
  rep stosd
  pop eax
  pop edi
  mov [edi + 0x20], eax
  mov dword ptr [edi + 0x24], 2
  lea ecx, [edi + 0x68 + 512]
  mov [edi + 0x38], ecx
  mov dword ptr [edi + 0x48], KDATA
  mov dword ptr [edi + 0x4c], KCODE
  mov dword ptr [edi + 0x50], KDATA
  mov dword ptr [edi + 0x54], KDATA
  mov dword ptr [edi + 0x58], KDATA
  mov dword ptr [edi + 0x5c], KDATA
  mov dword ptr [edi + 0x66], 0x680000
  pop ecx
  ret

task_a:
  inc dword ptr [task_count]
  mov [task_ebp], ebp
  pushfd
  pop eax
  and eax, 0x4000
  mov [task_nt], eax
  movzx eax, word ptr [tss_a]
  mov [task_link], eax
  str eax
  mov [task_tr], eax
  ACCESS_OF TSS_A
  mov [task_access], eax
  ACCESS_OF TSS_SEL
  mov [task_caller_access], eax
  mov eax, cr0
  and eax, 8
  mov [task_ts], eax
  cmp dword ptr [task_jumps], 0
  jne 1f
  iretd
  jmp task_a
1:
  jmp TSS_SEL:0
  jmp task_a

task_b:
  inc dword ptr [b_count]
  mov eax, [tss + 0x20]
  mov [b_eip], eax
  add dword ptr [tss + 0x20], 2      # behind UD2
  iretd
  jmp task_b

task_b_error:
  pop eax
  mov [b_error], eax
  add dword ptr [tss + 0x20], 2      # behind MOV ES
  iretd
  jmp task_b_error

low_task:
  mov [c_eax], eax
  and dword ptr [c_eax], 0xffff
  mov [c_ebx], ebx
  and dword ptr [c_ebx], 0xffff
  iretd

.data
.align 16
task_count: .long 0
task_ebp: .long 0
task_nt: .long 0
task_link: .long 0
task_tr: .long 0
task_access: .long 0
task_caller_access: .long 0
task_ts: .long 0
task_jumps: .long 0
b_count: .long 0
b_eip: .long 0
b_error: .long 0
c_eax: .long 0
c_ebx: .long 0
saved_gate: .long 0, 0
.bss
.align 128
tss_a: .skip 0x68 + 512
.align 128
tss_b: .skip 0x68 + 512
.align 128
tss_c: .skip 0x2c
