# RAM above 4 GiB through PAE paging: windows at 1 GiB show 2 MiB each of it. For a machine of
# 6 GiB, whose RAM ends at 6.5 GiB. SDM volume 3: 4.4 "PAE Paging", table 4-9 (2 MiB pages).
# Its test compares memory and dirty pages afterwards: each window's first and last doubleword.
#include "lib.inc"

.set P, 1
.set W, 2
.set PS, 0x80
.set WINDOW, 0x40000000
.set WINDOW_BYTES, 0x200000
.set WINDOW_COUNT, 5
.set LAST, WINDOW_BYTES - 4

.text
.globl main
main:
  # Identity for the first 16 MiB.
  mov edi, offset low_directory
  mov eax, P | W | PS
1:
  mov [edi], eax
  mov dword ptr [edi + 4], 0
  add edi, 8
  add eax, WINDOW_BYTES
  cmp eax, 8 * WINDOW_BYTES
  jb 1b
  mov esi, offset targets
  mov edi, offset window_directory
  mov ecx, WINDOW_COUNT * 2
  rep movsd
  mov eax, offset low_directory
  or eax, P
  mov [pointers], eax
  mov eax, offset window_directory
  or eax, P
  mov [pointers + 8], eax
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, offset pointers
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  jmp 1f
1:
  SAY "paging is on"
  mov eax, [0x500]
  mov [below], eax

  # Every window is written before any is read.
  mov ebx, WINDOW
  mov eax, 0x5a000000
  mov ecx, WINDOW_COUNT
1:
  mov [ebx], eax
  mov [ebx + 0x500], eax
  mov [ebx + LAST], eax
  add ebx, WINDOW_BYTES
  inc eax
  loop 1b
  VALUE "first", [WINDOW], 0x5a000000
  VALUE "first, end", [WINDOW + LAST], 0x5a000000
  VALUE "second", [WINDOW + WINDOW_BYTES], 0x5a000001
  VALUE "third", [WINDOW + 2 * WINDOW_BYTES], 0x5a000002
  VALUE "third, end", [WINDOW + 2 * WINDOW_BYTES + LAST], 0x5a000002
  VALUE "fourth", [WINDOW + 3 * WINDOW_BYTES], 0x5a000003
  VALUE "fifth", [WINDOW + 4 * WINDOW_BYTES], 0x5a000004
  VALUE "fifth, end", [WINDOW + 4 * WINDOW_BYTES + LAST], 0x5a000004
  VALUE "across 6 GiB", [WINDOW + 3 * WINDOW_BYTES - 2], 0x00035a00
  mov eax, [0x500]
  xor eax, [below]
  mov [below], eax
  VALUE "nothing changed below 4 GiB", [below], 0
  ret

.data
.align 8
targets:                        # 4, 5 and 6 GiB, with what ends there, and the end.
  .long 0x00000000 + P + W + PS, 1
  .long 0x3fe00000 + P + W + PS, 1
  .long 0x7fe00000 + P + W + PS, 1
  .long 0x80000000 + P + W + PS, 1
  .long 0x9fe00000 + P + W + PS, 1

.bss
.align 4096
low_directory: .skip 4096
window_directory: .skip 4096
pointers: .skip 32
below: .skip 4
