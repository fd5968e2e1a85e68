# A machine to save and load: 256 MiB touched, `z` when that is done, and then a loop whose results
# lie at 0x80004 and on, all of which depend on state that is easily forgotten in a snapshot: MXCSR,
# the x87 status word with C3 and TOP, and flags that are only computed when somebody asks.

.include "start.inc"

  START
  ENABLE_FLOAT
  mov dword ptr [0x80000], 0xdfc0 # FZ, DAZ, round up, all masked.
  ldmxcsr [0x80000]
  fld1
  fld1
  fcom st(1) # C3; and TOP is 6.
  mov esi, 0x1000000
  mov ecx, 65536
1:
  mov [esi], ecx
  add esi, 4096
  dec ecx
  jnz 1b
  MARK 'z'
  mov ebx, 5
  mov dx, 0x3ff
1:
  in al, dx
  cmp ebx, 5 # ZF, which crosses two jumps.
  jmp 2f
2:
  jmp 3f
3:
  pushfd
  pop edi
  stmxcsr [0x80004]
  fnstsw [0x80008]
  mov [0x8000c], edi
  inc dword ptr [0x80010]
  jmp 1b
