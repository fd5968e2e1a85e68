# Long mode: the ALU loop of bench.S's test a with 64-bit code, between `a` and `A`.

.include "start.inc"

.equ PML4, 0x70000
.equ PDPT, 0x71000
.equ DIRECTORY, 0x72000

  START
  mov dword ptr [PML4], PDPT + 3
  mov dword ptr [PML4 + 4], 0
  mov dword ptr [PDPT], DIRECTORY + 3
  mov dword ptr [PDPT + 4], 0
  mov edi, DIRECTORY # 1 GiB in pages of 2 MiB.
  mov eax, 0x83
  mov ecx, 512
1:
  mov [edi], eax
  mov dword ptr [edi + 4], 0
  add eax, 0x200000
  add edi, 8
  dec ecx
  jnz 1b
  mov eax, cr4
  or eax, 0x20 # PAE
  mov cr4, eax
  mov eax, PML4
  mov cr3, eax
  mov ecx, 0xc0000080 # EFER.LME
  rdmsr
  or eax, 0x100
  wrmsr
  mov eax, cr0
  or eax, 0x80000001
  mov cr0, eax
  lgdt [gdt_pointer]
  .byte 0xea # jmp 8:long_mode
  .long long_mode
  .word 8

.align 8
gdt:
  .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
  .word 23
  .long gdt

.code64
long_mode:
  mov ax, 16
  mov ds, ax
  mov es, ax
  mov ss, ax
  MARK 'a'
  mov ecx, 200000000
1:
  add eax, ebx
  xor ebx, ecx
  lea esi, [rax + rbx]
  dec ecx
  jnz 1b
  MARK 'A'
  FINISH
