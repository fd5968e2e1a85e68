// ModRM, SIB and displacement bytes of a memory operand at a wanted address: some register or the
// displacement is chosen so that the sum comes out right (Intel SDM volume 2, section 2.1.5).

import type { Form } from './forms.ts';
import type { Random } from './random.ts';
import { RECORD_GPR } from './record.ts';

/** A case while it is put together. */
export interface MutableCase {
  readonly form: Form;
  readonly random: Random;
  readonly view: DataView;
  readonly operandBytes: 2 | 4;
  readonly addressBytes: 2 | 4;
  /** Registers whose value is settled. */
  readonly pinned: Set<number>;
  target: number | undefined;
  readonly bytes: number[];
  registerField: number;
  isMemory: boolean;
  rm: number;
  readonly hasRepeat: boolean;
}

/** What follows the opcode of a form. */
export interface OperandShape {
  readonly hasModRM: boolean;
  readonly canMemory: boolean;
  readonly canRegister: boolean;
  readonly memoryBytes: number;
  /** The operand is 16 bytes and wants alignment. */
  readonly isVector: boolean;
  /** A direct address (`O`). */
  readonly hasOffset: boolean;
  readonly immediateBytes: number;
  readonly branchBytes: number;
  readonly farBytes: number;
}

export function register(view: DataView, index: number): number {
  return view.getUint32(RECORD_GPR + index * 4, true);
}

export function setRegister(view: DataView, index: number, value: number): void {
  view.setUint32(RECORD_GPR + index * 4, value, true);
}

const TYPE_BYTES: Record<string, number> = {
  b: 1,
  w: 2,
  d: 4,
  q: 8,
  t: 10,
  dq: 16,
  ps: 16,
  pd: 16,
  u: 16,
  ss: 4,
  sd: 8,
  s: 6,
  '28': 28,
  '108': 108,
  '': 1,
};

function typeBytes(type: string, operandBytes: number): number {
  if (type === 'v') return operandBytes;
  if (type === 'z') return operandBytes;
  if (type === 'p') return operandBytes + 2;
  if (type === 'a') return operandBytes * 2;
  const bytes = TYPE_BYTES[type];
  if (bytes === undefined) throw new RangeError(`Cannot size operand type "${type}"`);
  return bytes;
}

/** Reads the operand notation of a form. */
export function operandShape(form: Form, operandBytes: 2 | 4): OperandShape {
  let [hasModRM, canMemory, canRegister] = [form.opcode.includes('/'), false, false];
  let [memoryBytes, immediateBytes, branchBytes, farBytes] = [0, 0, 0, 0];
  let [isVector, hasOffset] = [false, false];
  for (const kind of form.operands) {
    const match = /^([A-Z])([a-z0-9]*)$/.exec(kind);
    if (!match || kind === 'ST' || /^[A-Z][A-Z]$/.test(kind)) continue;
    const [, method, type] = match as unknown as [string, string, string];
    if ('EQWM'.includes(method)) {
      hasModRM = canMemory = true;
      canRegister = method !== 'M';
      memoryBytes = typeBytes(type, operandBytes);
      isVector = memoryBytes === 16 && type !== 'u';
    } else if ('NUR'.includes(method)) hasModRM = canRegister = true;
    else if ('GPVS'.includes(method)) hasModRM = true;
    else if (method === 'I') immediateBytes += typeBytes(type, operandBytes);
    else if (method === 'J') branchBytes = type === 'b' ? 1 : operandBytes;
    else if (method === 'A') farBytes = operandBytes + 2;
    else if (method === 'O') {
      hasOffset = true;
      memoryBytes = typeBytes(type, operandBytes);
    }
  }
  return {
    hasModRM,
    canMemory,
    canRegister,
    memoryBytes,
    isVector,
    hasOffset,
    immediateBytes,
    branchBytes,
    farBytes,
  };
}

function pushNumber(bytes: number[], value: number, sizeBytes: number): void {
  for (let i = 0; i < sizeBytes; i++) bytes.push((value >>> (8 * i)) & 0xff);
}

/** Appends ModRM, SIB and displacement so that the operand lies at `current.target` (32-bit). */
export function encodeMemory(current: MutableCase): void {
  const { random, view, pinned, bytes } = current;
  const target = current.target!;
  const reg = current.registerField << 3;
  const hasSIB = random.chance(0.45);
  let base = random.below(8);
  if (!hasSIB && base === 4) base = 0;
  const index = hasSIB ? random.below(8) : 4;
  const scale = hasSIB ? random.below(4) : 0;
  const indexValue = index === 4 ? 0 : (register(view, index) << scale) >>> 0;
  let mod = random.below(3);
  if (mod === 0 && base === 5) {
    // No base at all: a displacement of 32 bits.
    bytes.push(reg | (hasSIB ? 4 : 5));
    if (hasSIB) bytes.push((scale << 6) | (index << 3) | 5);
    pushNumber(bytes, (target - indexValue) >>> 0, 4);
    return;
  }
  // A settled register keeps its value; so does a base that is its own index.
  if (pinned.has(base) || base === index) mod = 2;
  let displacement = 0;
  if (mod === 2 && (pinned.has(base) || base === index || random.chance(0.5))) {
    displacement = (target - register(view, base) - indexValue) >>> 0;
  } else {
    if (mod === 1) displacement = (random.below(256) << 24) >> 24;
    if (mod === 2) displacement = random.edge32();
    setRegister(view, base, (target - displacement - indexValue) >>> 0);
  }
  bytes.push((mod << 6) | reg | (hasSIB ? 4 : base));
  if (hasSIB) bytes.push((scale << 6) | (index << 3) | base);
  if (mod > 0) pushNumber(bytes, displacement, mod === 1 ? 1 : 4);
}

/** BX+SI BX+DI BP+SI BP+DI SI DI BP BX (SDM volume 2, table 2-1). */
const BASES_16 = [[3, 6], [3, 7], [5, 6], [5, 7], [6], [7], [5], [3]] as const;

/** The same with 16-bit addressing; the target lies below 64 KiB. */
export function encodeMemory16(current: MutableCase): void {
  const { random, view, pinned, bytes } = current;
  const target = current.target!;
  const reg = current.registerField << 3;
  const rm = random.below(8);
  let mod = random.below(3);
  if (mod === 0 && rm === 6) {
    bytes.push(reg | 6);
    pushNumber(bytes, target, 2);
    return;
  }
  const registers = BASES_16[rm]!;
  const free = registers.find((index) => !pinned.has(index));
  if (free === undefined) mod = 2;
  let displacement = mod === 1 ? (random.below(256) << 24) >> 24 : 0;
  const sum = registers.reduce<number>((total, index) => total + register(view, index), 0);
  if (mod === 2) displacement = (target - sum) & 0xffff;
  else {
    const others = sum - register(view, free!);
    view.setUint16(RECORD_GPR + free! * 4, (target - displacement - others) & 0xffff, true);
  }
  bytes.push((mod << 6) | reg | rm);
  if (mod > 0) pushNumber(bytes, displacement, mod);
}
