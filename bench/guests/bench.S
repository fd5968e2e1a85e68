# The kernels of the comparison. Each writes its lower-case letter to COM1 when it begins and the
# upper-case one when it ends. Two symbols are given to the assembler:
#   TESTS    bit n: the test of the letter n after "a" is there
#   DIVISOR  1; more makes every loop shorter, to see only that all runs
#
#   a  1e9 ALU instructions            h  20 M x87 add and multiply
#   b  52 M load, add, store           i  60 M addsd and mulsd
#   c  20 M calls to another page      j  500 x 1 MiB rep movsd
#   d  6.4 M indirect calls, 64 pages  k  b with paging
#   e  100 k patches of code, and the  l  50 x 12,000 pages, a load each
#      call of it                      m  150 x 4,000 pages, a load each
#   f  1 M stores beside running code  n  100 k CR3 reloads, 16 code and 16 data pages

.include "start.inc"

.equ ARRAY, 0x400000
.equ COPY, 0x600000
.equ PAGE_DIRECTORY, 0x7ff000
.equ PAGE_TABLES, 0x800000
.equ PAGES, 0x1000000
.equ PAGE_TABLE_COUNT, 32 # 128 MiB

.set bit, 1
.irp letter, a, b, c, d, e, f, g, h, i, j, k, l, m, n
.set TEST_\letter, bit
.set bit, bit << 1
.endr

# 200 times over 1 MiB: load, add, store.
.macro WALK_ARRAY
  mov edi, 200 / DIVISOR
2:
  mov esi, ARRAY
  mov ecx, 262144
3:
  mov eax, [esi]
  add eax, edi
  mov [esi], eax
  add esi, 4
  dec ecx
  jnz 3b
  dec edi
  jnz 2b
.endm

# A load from each of `count` pages.
.macro TOUCH_PAGES count
  mov esi, PAGES
  mov ecx, \count
8:
  mov eax, [esi]
  add esi, 4096
  dec ecx
  jnz 8b
.endm

# Calls the functions below `count`, the last one first.
.macro CALL_PAGES count
  mov ecx, \count - 1
7:
  mov eax, [functions + ecx * 4]
  call eax
  dec ecx
  jns 7b
.endm

  START
  ENABLE_FLOAT

.if TESTS & TEST_a
  MARK 'a'
  mov ecx, 200000000 / DIVISOR
  mov eax, 1
  mov ebx, 2
.align 64
1:
  add eax, ebx
  xor ebx, ecx
  lea esi, [eax + ebx]
  dec ecx
  jnz 1b
  MARK 'A'
.endif

.if TESTS & TEST_b
  MARK 'b'
  WALK_ARRAY
  MARK 'B'
.endif

.if TESTS & TEST_c
  MARK 'c'
  mov ecx, 20000000 / DIVISOR
1:
  call other_page
  dec ecx
  jnz 1b
  MARK 'C'
.endif

.if TESTS & TEST_d
  MARK 'd'
  mov ebp, 100000 / DIVISOR
1:
  CALL_PAGES 64
  dec ebp
  jnz 1b
  MARK 'D'
.endif

.if TESTS & TEST_e
  MARK 'e'
  mov ecx, 100000 / DIVISOR
1:
  mov [patched + 1], ecx
  call patched
  dec ecx
  jnz 1b
  MARK 'E'
.endif

.if TESTS & TEST_f
  MARK 'f'
  mov ecx, 1000000 / DIVISOR
1:
  mov [data_beside_code], ecx
  call code_beside_data
  dec ecx
  jnz 1b
  MARK 'F'
.endif

.if TESTS & TEST_h
  MARK 'h'
  fld1
  fld1
  mov ecx, 10000000 / DIVISOR
1:
  fadd st(0), st(1)
  fmul st(0), st(1)
  dec ecx
  jnz 1b
  MARK 'H'
.endif

.if TESTS & TEST_i
  MARK 'i'
  mov ecx, 30000000 / DIVISOR
  xorps xmm0, xmm0
  xorps xmm1, xmm1
1:
  addsd xmm0, xmm1
  mulsd xmm1, xmm0
  dec ecx
  jnz 1b
  MARK 'I'
.endif

.if TESTS & TEST_j
  MARK 'j'
  cld
  mov ebp, 500 / DIVISOR
1:
  mov esi, ARRAY
  mov edi, COPY
  mov ecx, 262144
  rep movsd
  dec ebp
  jnz 1b
  MARK 'J'
.endif

# Paging on: pages of 4 KiB, linear is physical.
  cld
  mov edi, PAGE_DIRECTORY
  mov eax, PAGE_TABLES + 3
  mov ecx, PAGE_TABLE_COUNT
1:
  mov [edi], eax
  add eax, 0x1000
  add edi, 4
  dec ecx
  jnz 1b
  mov ecx, 1024 - PAGE_TABLE_COUNT
  xor eax, eax
  rep stosd
  mov edi, PAGE_TABLES
  mov eax, 3
  mov ecx, PAGE_TABLE_COUNT * 1024
1:
  mov [edi], eax
  add edi, 4
  add eax, 0x1000
  dec ecx
  jnz 1b
  mov eax, PAGE_DIRECTORY
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80010000
  mov cr0, eax
  jmp 1f
1:

.if TESTS & TEST_k
  MARK 'k'
  WALK_ARRAY
  MARK 'K'
.endif

.if TESTS & TEST_l
  MARK 'l'
  mov edi, (50 + DIVISOR - 1) / DIVISOR
1:
  TOUCH_PAGES 12000
  dec edi
  jnz 1b
  MARK 'L'
.endif

.if TESTS & TEST_m
  MARK 'm'
  mov edi, 150 / DIVISOR
1:
  TOUCH_PAGES 4000
  dec edi
  jnz 1b
  MARK 'M'
.endif

.if TESTS & TEST_n
  MARK 'n'
  mov ebp, 100000 / DIVISOR
1:
  mov eax, cr3
  mov cr3, eax
  CALL_PAGES 16
  TOUCH_PAGES 16
  dec ebp
  jnz 1b
  MARK 'N'
.endif

  FINISH

.align 4096
other_page:
  inc eax
  ret

.align 4096
patched:
  mov eax, 0
  ret

.align 4096
code_beside_data:
  inc eax
  ret
.align 64
data_beside_code:
  .long 0

# 64 functions, each on a page of its own, and their addresses.
.altmacro
.macro FUNCTION number
.align 4096
function_\number:
  add eax, \number
  ret
.endm
.macro ADDRESS number
  .long function_\number
.endm

.section .fpages, "ax"
.set number, 0
.rept 64
  FUNCTION %number
  .set number, number + 1
.endr

.section .data
.align 4096
functions:
.set number, 0
.rept 64
  ADDRESS %number
  .set number, number + 1
.endr
