# Disks at work, for tests of snapshots: in each of ROUNDS rounds noise is written to the first ATA
# disk by PIO and by DMA, and to a virtio disk, and read back; what was read goes into a checksum.
#
# The host sets up the virtio queue: rings from 0x10000 on, chain 0 writes 0x14000 and chain 3 reads
# into 0x15000, with their header at 0x13000 and status at 0x13010; at 0x9000 is where to notify.
# At the end the checksum is at 0x9004, and 1 at 0x9008; 2 there is an error of a disk.

.intel_syntax noprefix
.code32

.set ROUNDS, 6
.set DATA, 0x1f0
.set MASTER, 0xc040
.set DWORDS, 256
.set NOTIFY, 0x9000
.set SUM, 0x9004
.set END, 0x9008

.section .multiboot, "ax"
.align 4
.long 0x1badb002, 3, -(0x1badb002 + 3)

.text
.globl _start
_start:
  cli
  cld
  mov esp, offset stack_end
round:
  call fill
  mov bl, 0x30 # WRITE SECTORS
  call command
  mov esi, offset written
  mov ebp, 2
1:
  call wait_data
  mov ecx, DWORDS
2:
  lodsw
  out dx, ax
  dec ecx
  jnz 2b
  dec ebp
  jnz 1b
  call wait_ready

  mov bl, 0x20 # READ SECTORS
  call command
  mov edi, offset read
  mov ebp, 2
1:
  call wait_data
  mov ecx, DWORDS
2:
  in ax, dx
  stosw
  dec ecx
  jnz 2b
  dec ebp
  jnz 1b
  mov esi, offset read
  call add_sum

  add dword ptr [lba], 100
  call fill
  mov eax, offset written
  mov bx, 0x00ca # WRITE DMA
  call dma
  mov eax, offset read
  mov bx, 0x08c8 # READ DMA
  call dma
  mov esi, offset read
  call add_sum
  sub dword ptr [lba], 98

  call fill
  mov esi, offset written
  mov edi, 0x14000
  mov ecx, DWORDS
  rep movsd
  mov eax, 1
  xor ebx, ebx
  call virtio
  xor eax, eax
  mov ebx, 3
  call virtio
  mov esi, 0x15000
  call add_sum
  dec dword ptr [rounds]
  jnz round
  mov dword ptr [END], 1
  hlt

fail:
  mov dword ptr [END], 2
  hlt

# Noise into `written`.
fill:
  mov edi, offset written
  mov ecx, DWORDS
  mov eax, [noise]
1:
  imul eax, eax, 1664525
  add eax, 1013904223
  stosd
  dec ecx
  jnz 1b
  mov [noise], eax
  ret

# 1 KiB at ESI.
add_sum:
  mov ecx, DWORDS
  mov edx, [SUM]
1:
  rol edx, 5
  lodsd
  add edx, eax
  dec ecx
  jnz 1b
  mov [SUM], edx
  ret

wait_ready:
  mov dx, DATA + 7
1:
  in al, dx
  test al, 0x80
  jnz 1b
  test al, 1
  jnz fail
  ret

# Leaves the data port in DX.
wait_data:
  call wait_ready
  test al, 8
  jz wait_data
  mov dx, DATA
  ret

# Command BL for two sectors at `lba`.
command:
  call wait_ready
  mov dx, DATA + 6
  mov al, 0xe0
  out dx, al
  mov dx, DATA + 2
  mov al, 2
  out dx, al
  inc edx
  mov al, [lba]
  out dx, al
  inc edx
  mov al, [lba + 1]
  out dx, al
  inc edx
  xor eax, eax
  out dx, al
  mov dx, DATA + 7
  mov al, bl
  out dx, al
  ret

# Command BL with 1 KiB at EAX; BH is the bus master's direction.
dma:
  mov [table], eax
  mov eax, offset table
  mov dx, MASTER + 4
  out dx, eax
  mov dx, MASTER + 2
  mov al, 6
  out dx, al
  mov dx, MASTER
  mov al, bh
  out dx, al
  call command
  mov dx, MASTER
  mov al, bh
  or al, 1
  out dx, al
  mov dx, MASTER + 2
1:
  in al, dx
  test al, 4
  jz 1b
  mov dx, MASTER
  xor eax, eax
  out dx, al
  jmp wait_ready

# Request of type EAX with chain EBX.
virtio:
  mov [0x13000], eax
  mov eax, [lba]
  mov [0x13008], eax
  movzx ecx, word ptr [0x11002]
  mov edx, ecx
  and edx, 7
  mov [0x11004 + edx * 2], bx
  inc ecx
  mov [0x11002], cx
  mov edx, [NOTIFY]
  mov word ptr [edx], 0
1:
  cmp [0x12002], cx
  jne 1b
  cmp byte ptr [0x13010], 0
  jne fail
  ret

.data
.align 8
table: .long 0, 0x80000400
lba: .long 0
noise: .long 1
rounds: .long ROUNDS

.bss
.align 4096
written: .skip 1024
read: .skip 1024
.skip 1024
stack_end:
