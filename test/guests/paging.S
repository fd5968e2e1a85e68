# 32-bit paging: every error code, accessed and dirty bits, WP, 4 MiB pages, INVLPG, accesses across
# pages, then PAE with NX. SDM volume 3: 4.3, 4.4, 4.6 (access rights), 4.7 (error codes), 4.8
# (A and D).
#include "lib.inc"

.set P, 1
.set W, 2
.set U, 4
.set A, 0x20
.set D, 0x40
.set PS, 0x80
.set AREA, 0x00800000        # Linear addresses of the pages under test.

# Entry of test page n (n from 0) in the page table.
#define ENTRY(n) dword ptr [test_table + (n) * 4]

.text
.globl main
main:
  # Identity for the first 4 MiB by small pages that user code may use, test pages at AREA.
  mov edi, offset low_table
  mov eax, P | W | U
1:
  stosd
  add eax, 0x1000
  cmp eax, 0x400000
  jb 1b
  mov eax, offset low_table
  or eax, P | W | U
  mov [directory], eax
  mov eax, offset test_table
  or eax, P | W | U
  mov [directory + 8], eax
  # 4 MiB page at 12 MiB -> 0, supervisor.
  mov dword ptr [directory + 12], P | W | PS
  mov eax, cr4
  or eax, 0x10
  mov cr4, eax
  mov eax, offset directory
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  jmp 1f
1:
  SAY "paging is on"

  # -- not present
  FAULT "read of nothing", 14, 0, mov al, [AREA + 0x123]
  VALUE "cr2", [fault_cr2], AREA+0x123
  FAULT "write to nothing", 14, 2, mov [AREA + 0x456], eax
  FAULT "no page table", 14, 0, mov al, [0x7f000123]
  FAULT "jump to nothing", 14, 0, jmp KCODE:AREA

  # -- accessed and dirty
  mov eax, offset page_a
  or eax, P | W
  mov ENTRY(0), eax
  invlpg [AREA]
  RUNS "read sets A only", mov al, [AREA]
  mov eax, ENTRY(0)
  and eax, 0xfff
  VALUE "entry after read", eax, P|W|A
  RUNS "write sets D", mov byte ptr [AREA], 1
  mov eax, ENTRY(0)
  and eax, 0xfff
  VALUE "entry after write", eax, P|W|A|D
  mov eax, [directory + 8]
  and eax, 0xfff
  VALUE "directory entry has A, not D", eax, P|W|U|A
  # A cleared without INVLPG may stay clear; with INVLPG the next access sets it.
  and ENTRY(0), ~(A | D)
  invlpg [AREA]
  mov al, [AREA]
  mov eax, ENTRY(0)
  and eax, 0xfff
  VALUE "A again", eax, P|W|A
  # A faulting write sets no D.
  mov eax, offset page_a
  or eax, P | U
  mov ENTRY(0), eax
  invlpg [AREA]

  # -- WP: supervisor writes to read-only pages
  RUNS "supervisor writes read-only with WP 0", mov byte ptr [AREA], 2
  mov eax, cr0
  or eax, 0x10000
  mov cr0, eax
  FAULT "supervisor writes read-only with WP 1", 14, 3, mov byte ptr [AREA], 3
  # The TLB must notice WP going back.
  mov eax, cr0
  and eax, ~0x10000
  mov cr0, eax
  RUNS "and again with WP 0", mov byte ptr [AREA], 4
  mov eax, cr0
  or eax, 0x10000
  mov cr0, eax
  RUNS "read-only may be read", mov al, [AREA]
  FAULT "read-modify-write faults as a write", 14, 3, add dword ptr [AREA], 1
  FAULT "xchg faults as a write", 14, 3, xchg [AREA], eax
  FAULT "cmpxchg that does not match writes too", 14, 3, lock cmpxchg [AREA], ecx

  # -- user mode
  mov dword ptr [user_code], offset user_read
  call to_user
  REPORT "user reads a user page", 3, 0
  mov dword ptr [user_code], offset user_write
  call to_user
  REPORT "user writes a read-only page", 14, 7
  and ENTRY(0), ~U
  invlpg [AREA]
  mov dword ptr [user_code], offset user_read
  call to_user
  REPORT "user reads a supervisor page", 14, 5
  mov dword ptr [user_code], offset user_write
  call to_user
  REPORT "user writes a supervisor page", 14, 7
  mov ENTRY(0), 0
  invlpg [AREA]
  call to_user
  REPORT "user writes to nothing", 14, 6
  mov dword ptr [user_code], offset user_read
  call to_user
  REPORT "user reads nothing", 14, 4
  mov dword ptr [user_code], AREA
  call to_user
  REPORT "user jumps to nothing", 14, 4
  # The directory entry's bits count as well.
  mov eax, offset page_a
  or eax, P | W | U
  mov ENTRY(0), eax
  and dword ptr [directory + 8], ~U
  mov eax, cr3
  mov cr3, eax
  mov dword ptr [user_code], offset user_read
  call to_user
  REPORT "directory says supervisor", 14, 5
  or dword ptr [directory + 8], U
  and dword ptr [directory + 8], ~W
  mov eax, cr3
  mov cr3, eax
  FAULT "directory says read-only", 14, 3, mov byte ptr [AREA], 3
  or dword ptr [directory + 8], W
  mov eax, cr3
  mov cr3, eax

  # -- across pages: the second one is missing
  mov dword ptr [AREA + 0xffc], 0x11223344
  FAULT "read across into nothing", 14, 0, mov eax, [AREA + 0xffe]
  VALUE "cr2 is the second page", [fault_cr2], AREA+0x1000
  FAULT "write across into nothing", 14, 2, mov dword ptr [AREA + 0xffe], 0
  VALUE "nothing was written", [AREA+0xffc], 0x11223344
  mov eax, offset page_b
  or eax, P | W
  mov ENTRY(1), eax
  mov dword ptr [page_b], 0x55667788
  VALUE "read across two pages", [AREA+0xffe], 0x77881122
  mov dword ptr [AREA + 0xffd], 0xaabbccdd
  VALUE "write across, first page", [page_a+0xffc], 0xbbccdd44
  VALUE "write across, second page", [page_b], 0x556677aa

  # -- string instructions that fault midway
  mov ENTRY(1), 0
  invlpg [AREA + 0x1000]
  mov edi, AREA + 0xff0
  mov ecx, 8
  mov eax, 0x5a5a5a5a
  FAULT "rep stosd into nothing", 14, 2, rep stosd
  VALUE "ecx left", ecx, 4
  VALUE "edi", edi, AREA+0x1000
  mov esi, AREA + 0xff8
  mov edi, offset page_b
  mov ecx, 16
  FAULT "rep movsb from nothing", 14, 0, rep movsb
  VALUE "bytes left", ecx, 8
  VALUE "esi", esi, AREA+0x1000
  std
  mov esi, AREA + 4
  mov ecx, 4
  mov edi, offset page_b + 64
  FAULT "backwards below the area", 14, 0, rep movsd
  cld
  VALUE "doublewords left", ecx, 2
  VALUE "esi below", esi, AREA-4

  # -- PUSH and CALL onto a missing stack page change nothing
  mov dword ptr [user_code], offset user_push
  call to_user
  REPORT "push onto nothing", 14, 6
  VALUE "esp at the fault", [fault_esp], AREA+0x2004
  # -- a 4 MiB page
  mov eax, [0xc00000 + page_a - 0]
  VALUE "4 MiB page shows low memory", eax, [page_a]
  mov eax, [directory + 12]
  and eax, 0xff
  VALUE "its A without D", eax, P|W|PS|A
  mov dword ptr [0xc00000 + page_b], 0x1234
  VALUE "written through it", [page_b], 0x1234
  mov eax, [directory + 12]
  and eax, 0xff
  VALUE "its D", eax, P|W|PS|A|D
  # -- stale translations: INVLPG and CR3
  mov eax, offset page_a
  or eax, P | W
  mov ENTRY(2), eax
  mov dword ptr [page_a], 0xaaaa
  mov dword ptr [page_b], 0xbbbb
  mov eax, [AREA + 0x2000]
  mov edx, offset page_b
  or edx, P | W
  mov ENTRY(2), edx
  invlpg [AREA + 0x2abc]
  VALUE "after INVLPG", [AREA+0x2000], 0xbbbb
  # -- global pages outlive CR3 loads, until INVLPG or a change of PGE
  mov eax, cr4
  or eax, 0x80
  mov cr4, eax
  mov eax, offset page_a
  or eax, P | W | 0x100
  mov ENTRY(3), eax
  mov eax, [AREA + 0x3000]
  mov ENTRY(3), 0
  mov eax, cr4
  and eax, ~0x80
  mov cr4, eax
  FAULT "a global page is gone when PGE changes", 14, 0, mov eax, [AREA + 0x3000]

  # -- code runs from an alias, and is rewritten through the other name
  mov dword ptr [page_a], 0x0001b8   # mov eax, 1
  mov byte ptr [page_a + 4], 0
  mov byte ptr [page_a + 5], 0xc3
  mov eax, offset page_a
  or eax, P | W
  mov ENTRY(4), eax
  mov ENTRY(5), eax
  mov ebx, AREA + 0x4000
  call ebx
  VALUE "code at an alias", eax, 1
  mov byte ptr [AREA + 0x5001], 7
  call ebx
  VALUE "rewritten through another alias", eax, 7

  # -- PAE
  mov eax, cr0
  and eax, 0x7fffffff
  mov cr0, eax
  mov edi, offset pae_directory
  mov eax, P | W | PS
  mov ecx, 8
1:
  mov [edi], eax
  mov dword ptr [edi + 4], 0
  add edi, 8
  add eax, 0x200000
  loop 1b
  mov eax, offset pae_table
  or eax, P | W | U
  mov [pae_directory + 8 * 8], eax   # 16 MiB
  mov eax, offset pae_directory
  or eax, P
  mov [pae_pointers], eax
  mov eax, offset page_a
  or eax, P | W
  mov [pae_table], eax
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, offset pae_pointers
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  SAY "PAE is on"
  VALUE "through PAE", [0x1000000], [page_a]
  FAULT "PAE: nothing", 14, 0, mov eax, [0x1001000]
  FAULT "PAE: no directory", 14, 2, mov [0x50000000], eax
  mov dword ptr [pae_table + 12], 0x00000001
  mov eax, offset page_a
  or eax, P | W
  mov [pae_table + 8], eax
  mov dword ptr [pae_table + 12], 0
  RUNS "PAE: now there", mov eax, [0x1001000]
  mov eax, [pae_table + 8]
  and eax, 0xfff
  VALUE "PAE: A", eax, P|W|A
  # NX, where CPUID has it.
  mov eax, 0x80000000
  cpuid
  cmp eax, 0x80000001
  jb 9f
  mov eax, 0x80000001
  cpuid
  test edx, 1 << 20
  jz 9f
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x800
  wrmsr
  mov dword ptr [pae_table + 12], 0x80000000
  invlpg [0x1001000]
  RUNS "NX page may be read", mov eax, [0x1001000]
  mov byte ptr [page_a], 0xc3
  mov ebx, 0x1001000
  FAULT "NX page may not run", 14, 0x11, call ebx
  mov ebx, 0x1000000
  RUNS "the same page without NX runs", call ebx
  mov dword ptr [pae_table + 4], 0x80000000
  invlpg [0x1000000]
  FAULT "until it gets NX", 14, 0x11, call ebx
9:
  ret

# Runs [user_code] at privilege 3; comes back by any exception, INT3 among them.
to_user:
  pop dword ptr [user_return]
  mov dword ptr [idt + 3 * 8 + 4], 0
  mov eax, [idt + 13 * 8 + 4]
  and eax, 0xffff0000
  mov ecx, offset stubs + 3 * stub_bytes
  and ecx, 0xffff0000
  or ecx, 0xee00
  mov [idt + 3 * 8 + 4], ecx
  BEGIN_TRY
  push UDATA
  push offset user_stack_end
  push 2
  push UCODE
  push dword ptr [user_code]
  iretd
  RESUME
  mov eax, KDATA
  mov es, eax            # IRET to privilege 3 left it null.
  # Offsets from the tried code are not interesting here.
  mov eax, [fault_eip]
  mov [try_eip], eax
  jmp dword ptr [user_return]

user_read:
  mov eax, dword ptr ss:[AREA]
  int3
user_push:
  mov esp, AREA + 0x2004
  push eax
  int3
user_write:
  mov dword ptr ss:[AREA], eax
  int3

.data
user_code: .long 0
user_return: .long 0
.bss
.align 4096
directory: .skip 4096
low_table: .skip 4096
test_table: .skip 4096
page_a: .skip 4096
page_b: .skip 4096
pae_directory: .skip 4096
pae_table: .skip 4096
pae_pointers: .skip 32
