// Random programs that set and read arithmetic flags in every way, for comparing engines: 32-bit
// code at privilege 0 with paging, and a page fault handler that logs the flags it finds.
//
// Memory, bytes: 0x1000 GDT  0x2000 IDT  0x4000 page directory  0x5000 page table (linear is
// physical, one page is missing)  0x7000 handler  0x8000 log  0x9000 data  0xe000 end of the stack
// 0x10000 program

import fc from 'fast-check';

export const PROGRAM = 0x1_0000;
export const LOG = 0x8000;
export const DATA = 0x9000;
export const STACK = 0xe000;
/** Linear address of the page that is missing. */
export const MISSING = 0xf000;
export const HANDLER = 0x7000;
const LOG_END = 0x8ffc;
/** The data area that programs reach, behind ESI. */
const DATA_SPAN = 32;
const ROUNDS = 6;
/** The farthest that a short jump goes forward. */
const SHORT_MAX = 127;

const bytes32 = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

/** Logs EFLAGS and EIP of the fault, gives ESI an address that exists, and repeats. */
export const HANDLER_CODE: readonly number[] = [
  0x50, // push eax
  0x53, // push ebx
  0x8b,
  0x1d,
  ...bytes32(LOG_END), // mov ebx, [LOG_END]: where the log goes on
  0x81,
  0xe3,
  ...bytes32(0xff8), // and ebx, 0xff8
  0x8b,
  0x44,
  0x24,
  0x14, // mov eax, [esp + 20]: EFLAGS
  0x89,
  0x83,
  ...bytes32(LOG), // mov [ebx + LOG], eax
  0x8b,
  0x44,
  0x24,
  0x0c, // mov eax, [esp + 12]: EIP
  0x89,
  0x83,
  ...bytes32(LOG + 4), // mov [ebx + LOG + 4], eax
  0x83,
  0xc3,
  0x08, // add ebx, 8
  0x89,
  0x1d,
  ...bytes32(LOG_END), // mov [LOG_END], ebx
  0x5b, // pop ebx
  0x58, // pop eax
  0xbe,
  ...bytes32(DATA), // mov esi, DATA
  0x83,
  0xc4,
  0x04, // add esp, 4: the error code
  0xcf, // iret
];

/** EAX, ECX, EDX, EBX: ESI points to data, EBP counts rounds, EDI gathers what pairs read. */
const register = fc.constantFrom(0, 1, 2, 3);
/** AL CL DL BL AH CH DH BH. */
const byteRegister = fc.nat({ max: 7 });
const displacement = fc.nat({ max: DATA_SPAN - 4 });
const digit = fc.nat({ max: 7 });
const condition = fc.nat({ max: 15 });
const edge8 = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat({ max: 0xff }));
const edge32 = fc.oneof(
  fc.constantFrom(
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fffffff,
    0x80000000,
    0xffffffff,
  ),
  fc.integer(),
);

type Size = 1 | 2 | 4;
const size = fc.constantFrom<Size>(1, 2, 4, 4, 4);

/** ModRM bytes of an operand: a register, or [ESI + displacement]. */
const operand = (sizeBytes: Size) =>
  fc.oneof(
    (sizeBytes === 1 ? byteRegister : register).map((rm) => (reg: number) => [
      0xc0 | (reg << 3) | rm,
    ]),
    displacement.map((at) => (reg: number) => [0x46 | (reg << 3), at]),
  );

/** An opcode whose low bit is the width, with its prefix. */
const sized = (sizeBytes: Size, opcode: number) => [
  ...(sizeBytes === 2 ? [0x66] : []),
  sizeBytes === 1 ? opcode & ~1 : opcode | 1,
];
const sized0F = (sizeBytes: Size, opcode: number) => [
  ...(sizeBytes === 2 ? [0x66] : []),
  0x0f,
  sizeBytes === 1 ? opcode & ~1 : opcode | 1,
];
const wide0F = (isNarrow: boolean, opcode: number) => [...(isNarrow ? [0x66] : []), 0x0f, opcode];

const withOperand = (
  build: (sizeBytes: Size, modRM: (reg: number) => number[]) => fc.Arbitrary<number[]>,
) => size.chain((sizeBytes) => operand(sizeBytes).chain((modRM) => build(sizeBytes, modRM)));
const anyRegister = (sizeBytes: Size) => (sizeBytes === 1 ? byteRegister : register);

const arithmetic = withOperand((s, modRM) =>
  fc.oneof(
    fc
      .tuple(digit, anyRegister(s), fc.constantFrom(0, 2))
      .map(([op, reg, direction]) => [...sized(s, op * 8 + direction), ...modRM(reg)]),
    fc
      .tuple(digit, edge8)
      .map(([op, value]) => [...sized(s, s === 1 ? 0x80 : 0x83), ...modRM(op), value]),
    anyRegister(s).map((reg) => [...sized(s, 0x84), ...modRM(reg)]), // TEST
    fc.constantFrom(0, 1).map((op) => [...sized(s, 0xfe), ...modRM(op)]), // INC, DEC
    fc.constantFrom(2, 3, 4, 5).map((op) => [...sized(s, 0xf6), ...modRM(op)]), // NOT NEG MUL IMUL
    anyRegister(s).map((reg) => [...sized0F(s, 0xc0), ...modRM(reg)]), // XADD
    anyRegister(s).map((reg) => [...sized0F(s, 0xb0), ...modRM(reg)]), // CMPXCHG
  ),
);
const shift = withOperand((s, modRM) =>
  fc.oneof(
    fc.tuple(digit, edge8).map(([op, by]) => [...sized(s, 0xc0), ...modRM(op), by & 0x9f]),
    digit.map((op) => [...sized(s, 0xd0), ...modRM(op)]),
    digit.map((op) => [...sized(s, 0xd2), ...modRM(op)]),
  ),
);
const wide = fc.boolean().chain((isNarrow) =>
  operand(4).chain((modRM) =>
    fc.oneof(
      fc
        .tuple(fc.constantFrom(0xa4, 0xac), register, edge8)
        .map(([op, reg, by]) => [...wide0F(isNarrow, op), ...modRM(reg), by & 31]),
      fc
        .tuple(fc.constantFrom(0xa5, 0xad), register)
        .map(([op, reg]) => [...wide0F(isNarrow, op), ...modRM(reg)]),
      fc
        .tuple(fc.constantFrom(0xaf, 0xbc, 0xbd), register)
        .map(([op, reg]) => [...wide0F(isNarrow, op), ...modRM(reg)]), // IMUL BSF BSR
      fc
        .tuple(fc.constantFrom(4, 5, 6, 7), edge8)
        .map(([op, bit]) => [...wide0F(isNarrow, 0xba), ...modRM(op), bit]), // BT BTS BTR BTC
    ),
  ),
);
const setOrMove = operand(4).chain((modRM) =>
  fc.oneof(
    condition.chain((code) => operand(1).map((byte) => [0x0f, 0x90 | code, ...byte(0)])),
    fc.tuple(condition, register).map(([code, reg]) => [0x0f, 0x40 | code, ...modRM(reg)]),
    register.map((reg) => [0x8b, ...modRM(reg)]),
    register.map((reg) => [0x89, ...modRM(reg)]),
  ),
);
const lone = fc.constantFrom(
  [0xf8], // CLC
  [0xf9], // STC
  [0xf5], // CMC
  [0x9f], // LAHF
  [0x9e], // SAHF
  [0xd6], // SALC
  [0x9c, 0x5a], // PUSHF, POP EDX
  [0x27], // DAA
  [0x3f], // AAS
  [0xbe, ...bytes32(MISSING)], // MOV ESI, MISSING: the next access faults
  [0xbe, ...bytes32(MISSING), 0x0f, 0xba, 0xe2, 3, 0x8b, 0x0e], // BT EDX, 3 between
  [0xbe, ...bytes32(DATA)],
);
const constant = fc.tuple(register, edge32).map(([reg, value]) => [0xb8 | reg, ...bytes32(value)]);

/** SETcc CL; MOVZX ECX, CL; LEA EDI, [ECX + EDI * 2]. */
const setAndGather = (code: number) => [
  ...[0x0f, 0x90 | code, 0xc1],
  ...[0x0f, 0xb6, 0xc9],
  ...[0x8d, 0x3c, 0x79],
];

/** An operation on EAX and EBX, of values close to each other, and what reads its flags. */
const pair = fc
  .tuple(
    fc.tuple(edge32, fc.constantFrom(0, 0, 1, -1, 0x80, 0x8000, 0x80000000)),
    fc.tuple(
      fc.constantFrom<Size>(1, 2, 4),
      fc.constantFrom(0, 1, 2, 2, 3, 3, 4, 5, 6, 7, 7, 7),
      // Nothing, STC, BT ECX, 1 before it; nothing, SHL, ROL or SAR of EAX by 1 behind it.
      fc.constantFrom([], [0xf9], [0x0f, 0xba, 0xe1, 1]),
      fc.constantFrom([], [], [0xd1, 0xe0], [0xd1, 0xc0], [0xd1, 0xf8]),
    ),
    fc.oneof(
      { weight: 4, arbitrary: condition.map(setAndGather) },
      { weight: 2, arbitrary: fc.constant([0xbe, ...bytes32(MISSING), 0x8b, 0x16]) },
    ),
  )
  .map(([[value, more], [s, op, before, behind], reader]) => [
    ...[0xb8, ...bytes32(value), 0xbb, ...bytes32(value + more)],
    ...before,
    ...sized(s, op * 8),
    0xd8,
    ...behind,
    ...reader,
  ]);

const straight = fc.oneof(
  { weight: 8, arbitrary: arithmetic },
  { weight: 3, arbitrary: shift },
  { weight: 2, arbitrary: wide },
  { weight: 5, arbitrary: setOrMove },
  { weight: 3, arbitrary: lone },
  { weight: 1, arbitrary: constant },
  { weight: 8, arbitrary: pair },
);

/**
 * Jcc to a block that no other way leads to, over one that ends in JMP: what is known of the flags
 * goes along both ways.
 */
const diamond = fc
  .tuple(
    condition,
    fc.array(straight, { minLength: 1, maxLength: 2 }),
    fc.array(straight, { minLength: 1, maxLength: 2 }),
  )
  .map(([code, left, right]) => {
    const [one, other] = [left.flat(), right.flat()];
    return [0x70 | code, one.length + 2, ...one, 0xeb, other.length, ...other];
  });

/** An instruction, or a jump over some that follow. */
type Piece =
  | { readonly code: readonly number[] }
  | { readonly jump: number; readonly over: number };

const piece: fc.Arbitrary<Piece> = fc.oneof(
  { weight: 5, arbitrary: straight.map((code) => ({ code })) },
  { weight: 2, arbitrary: diamond.map((code) => ({ code })) },
  {
    weight: 2,
    arbitrary: fc
      // Jcc, and LOOPNE, LOOPE, LOOP, JCXZ.
      .tuple(
        fc.oneof(
          condition.map((code) => 0x70 | code),
          fc.constantFrom(0xe0, 0xe1, 0xe2, 0xe3),
        ),
        fc.nat({ max: 4 }),
      )
      .map(([jump, over]) => ({ jump, over })),
  },
);

/** Lays out the pieces and puts the loop around them. */
function assemble(pieces: readonly Piece[]): number[] {
  const sizes = pieces.map((each) => ('code' in each ? each.code.length : 2));
  const body = pieces.flatMap((each, index): readonly number[] => {
    if ('code' in each) return each.code;
    let distance = 0;
    for (const bytes of sizes.slice(index + 1, index + 1 + each.over)) {
      if (distance + bytes > SHORT_MAX) break;
      distance += bytes;
    }
    return [each.jump, distance];
  });
  const start = [0xbd, ...bytes32(ROUNDS)]; // mov ebp, ROUNDS
  const back = -(body.length + 1 + 6);
  // dec ebp; jnz; and HLT.
  return [...start, ...body, 0x4d, 0x0f, 0x85, ...bytes32(back), 0xf4];
}

export interface FlagProgram {
  readonly code: readonly number[];
  readonly registers: readonly number[];
  readonly eflags: number;
  /** Instructions to run between two comparisons, in turn. */
  readonly slices: readonly number[];
}

const ARITHMETIC_FLAGS = 0x8d5;

export const flagProgram: fc.Arbitrary<FlagProgram> = fc.record({
  code: fc.array(piece, { minLength: 1, maxLength: 24 }).map(assemble),
  registers: fc.array(edge32, { minLength: 8, maxLength: 8 }),
  eflags: fc.nat({ max: 0xfff }).map((bits) => (bits & ARITHMETIC_FLAGS) | 2),
  slices: fc.array(fc.oneof(fc.constant(1000), fc.integer({ min: 1, max: 40 })), {
    minLength: 1,
    maxLength: 5,
  }),
});
