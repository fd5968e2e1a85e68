// QEMU's register dump, as `-d cpu` and `info registers` print it, in both directions of need: the
// first lines of each instruction compared as bytes, and a whole dump parsed to
// move a machine over.

/** Registers in encoding order. */
export const REGISTER_NAMES = ['EAX', 'ECX', 'EDX', 'EBX', 'ESP', 'EBP', 'ESI', 'EDI'] as const;

export interface SegmentDump {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  /** Second doubleword of the descriptor, as QEMU caches it. */
  readonly flags: number;
}

/** Everything of a dump that the processor state has. */
export interface RegisterDump {
  readonly registers: readonly number[];
  readonly eip: number;
  readonly eflags: number;
  readonly cpl: number;
  /** ES CS SS DS FS GS LDT TR. */
  readonly segments: readonly SegmentDump[];
  readonly gdt: readonly [base: number, limit: number];
  readonly idt: readonly [base: number, limit: number];
  readonly control: ReadonlyMap<string, number>;
  readonly debug: readonly number[];
  readonly fpu: FPUDump | undefined;
}

export interface FPUDump {
  readonly control: number;
  readonly status: number;
  /** One bit a physical register: 1 if it is in use. */
  readonly tags: number;
  readonly mxcsr: number;
  /** Physical registers: significand, and sign with exponent. */
  readonly registers: readonly (readonly [significand: bigint, signExponent: number])[];
  /** XMM0–XMM7 as 128-bit numbers. */
  readonly xmm: readonly bigint[];
}

function field(text: string, name: string): number {
  const match = new RegExp(`\\b${name} ?= *([0-9a-f]+)`).exec(text);
  if (!match) throw new Error(`Cannot read QEMU's register dump as it lacks "${name}"`);
  return Number.parseInt(match[1]!.slice(-8), 16);
}

function segment(text: string, name: string): SegmentDump {
  const match = new RegExp(
    `^${name} *=([0-9a-f]{4}) ([0-9a-f]+) ([0-9a-f]{8}) ([0-9a-f]{8})`,
    'm',
  ).exec(text);
  if (!match) throw new Error(`Cannot read QEMU's register dump as it lacks segment "${name}"`);
  const [selector, base, limit, flags] = match
    .slice(1)
    .map((digits) => Number.parseInt(digits.slice(-8), 16));
  return { selector: selector!, base: base!, limit: limit!, flags: flags! };
}

function table(text: string, name: string): [number, number] {
  const match = new RegExp(`^${name}= +([0-9a-f]+) ([0-9a-f]+)`, 'm').exec(text);
  if (!match) throw new Error(`Cannot read QEMU's register dump as it lacks "${name}"`);
  return [Number.parseInt(match[1]!.slice(-8), 16), Number.parseInt(match[2]!, 16)];
}

function fpu(text: string): FPUDump | undefined {
  if (!text.includes('FCW=')) return undefined;
  const registers = Array.from({ length: 8 }, (_, i) => {
    const match = new RegExp(`FPR${i}=([0-9a-f]{16}) ([0-9a-f]{4})`).exec(text);
    return [BigInt(`0x${match?.[1] ?? '0'}`), Number.parseInt(match?.[2] ?? '0', 16)] as const;
  });
  const xmm = Array.from({ length: 8 }, (_, i) => {
    const match = new RegExp(`XMM0${i}=([0-9a-f ]+?)\\s*(?=XMM|\\n|$)`).exec(text);
    return BigInt(`0x${match?.[1]?.replace(/ /g, '') ?? '0'}`);
  });
  const [control, status, tags, mxcsr] = ['FCW', 'FSW', 'FTW', 'MXCSR'].map((n) => field(text, n));
  return { control: control!, status: status!, tags: tags!, mxcsr: mxcsr!, registers, xmm };
}

/** Parses `info registers`. */
export function parseRegisterDump(text: string): RegisterDump {
  return {
    registers: REGISTER_NAMES.map((name) => field(text, name)),
    eip: field(text, 'EIP'),
    eflags: field(text, 'EFL'),
    cpl: field(text, 'CPL'),
    segments: ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDT', 'TR'].map((name) => segment(text, name)),
    gdt: table(text, 'GDT'),
    idt: table(text, 'IDT'),
    control: new Map(['CR0', 'CR2', 'CR3', 'CR4', 'EFER'].map((name) => [name, field(text, name)])),
    debug: ['DR0', 'DR1', 'DR2', 'DR3', 'DR6', 'DR7'].map((name) => field(text, name)),
    fpu: fpu(text),
  };
}
