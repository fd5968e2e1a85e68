// Model-specific registers. Intel SDM volume 4, table 2-2 "IA-32 Architectural MSRs"; volume 3,
// sections 12.11 "Memory Type Range Registers", 12.12 "Page Attribute Table".

import { EFER_NXE, PHYSICAL_ADDRESS_BITS, VECTOR_GP } from './control-bits.ts';
import * as slot from './msr-slots.ts';
import type { CPUState } from './state.ts';
import { CPL, EFER, MSR } from './state-layout.ts';
import type { CPUWiring } from './vcpu.ts';

const TSC = 0x10;
const PLATFORM_ID = 0x17;
const APIC_BASE = 0x1b;
const MICROCODE_UPDATE = 0x79;
const MTRR_CAPABILITY = 0xfe;
const MCG_CAPABILITY = 0x179;
const PAT = 0x277;
const MTRR_DEFAULT = 0x2ff;
const EFER_NUMBER = 0xc000_0080;
/** Eight variable ranges, fixed ranges, write-combining. */
const MTRR_CAPABILITY_VALUE = 0x508n;
/** Power-on PAT: WB WT UC- UC, twice. */
export const PAT_RESET = 0x0007_0406_0007_0406n;

/** Registers that are plain storage: number → slot, and the bits that may be written. */
const STORED: ReadonlyMap<number, { readonly slot: number; readonly writable: bigint }> = storage();

function storage() {
  const all = 2n ** 64n - 1n;
  const address = 2n ** BigInt(PHYSICAL_ADDRESS_BITS) - 1n;
  const table = new Map<number, { slot: number; writable: bigint }>([
    [0x2a, { slot: slot.MSR_SLOT_POWER_ON, writable: 0xffff_ffffn }],
    [0x8b, { slot: slot.MSR_SLOT_MICROCODE, writable: all }],
    [0x174, { slot: slot.MSR_SLOT_SYSENTER_CS, writable: 0xffff_ffffn }],
    [0x175, { slot: slot.MSR_SLOT_SYSENTER_ESP, writable: 0xffff_ffffn }],
    [0x176, { slot: slot.MSR_SLOT_SYSENTER_EIP, writable: 0xffff_ffffn }],
    [0x17a, { slot: slot.MSR_SLOT_MCG_STATUS, writable: 7n }],
    [0x1a0, { slot: slot.MSR_SLOT_MISC_ENABLE, writable: all }],
    [0x1d9, { slot: slot.MSR_SLOT_DEBUG_CONTROL, writable: 0x7fn }],
    [PAT, { slot: slot.MSR_SLOT_PAT, writable: all }],
    [MTRR_DEFAULT, { slot: slot.MSR_SLOT_MTRR_DEFAULT, writable: 0xcffn }],
  ]);
  for (let index = 0; index < 8; index++) {
    const at = slot.MSR_SLOT_MTRR_VARIABLE + index * 2;
    table.set(0x200 + index * 2, { slot: at, writable: address & ~0xf00n });
    table.set(0x201 + index * 2, { slot: at + 1, writable: address & ~0x7ffn });
  }
  const fixed = [0x250, 0x258, 0x259];
  for (let number = 0x268; number <= 0x26f; number++) fixed.push(number);
  for (const [index, number] of fixed.entries())
    table.set(number, { slot: slot.MSR_SLOT_MTRR_FIXED + index, writable: all });
  return table;
}

export class ModelSpecificRegisters {
  readonly #state: CPUState;
  readonly #wiring: CPUWiring;

  constructor(state: CPUState, wiring: CPUWiring) {
    this.#state = state;
    this.#wiring = wiring;
  }

  /** Numbers of all registers, for tests that go through the table. */
  static get numbers(): number[] {
    return [TSC, PLATFORM_ID, APIC_BASE, MTRR_CAPABILITY, MCG_CAPABILITY, EFER_NUMBER].concat([
      ...STORED.keys(),
    ]);
  }

  /** The time-stamp counter as the guest sees it, modulo 2^64. */
  readTSC(): bigint {
    const offset = this.#state.u64[(MSR >> 3) + slot.MSR_SLOT_TSC_OFFSET]!;
    return BigInt.asUintN(64, this.#wiring.readTSC() + offset);
  }

  /** RDMSR: ECX → EDX:EAX; false with #GP(0) recorded if there is none or CPL is not 0. */
  read(): boolean {
    const value = this.#state.u32[CPL >> 2] === 0 ? this.get(this.#state.reg32(1)) : undefined;
    if (value === undefined) return this.#fault();
    this.#state.setReg32(0, Number(value & 0xffff_ffffn));
    this.#state.setReg32(2, Number(value >> 32n));
    return true;
  }

  /** WRMSR: EDX:EAX → ECX; false with #GP(0) recorded if it cannot hold that value. */
  write(): boolean {
    const state = this.#state;
    const value = (BigInt(state.reg32(2)) << 32n) | BigInt(state.reg32(0));
    if (state.u32[CPL >> 2] !== 0 || !this.set(state.reg32(1), value)) return this.#fault();
    return true;
  }

  #fault(): false {
    this.#state.raiseException(VECTOR_GP, 0);
    return false;
  }

  /** Value of register `number`, or undefined if there is none. */
  get(number: number): bigint | undefined {
    const stored = STORED.get(number);
    if (stored !== undefined) return this.#state.u64[(MSR >> 3) + stored.slot]!;
    if (number === TSC) return this.readTSC();
    if (number === APIC_BASE) return BigInt(this.#wiring.readAPICBase());
    if (number === EFER_NUMBER) return this.#state.u64[EFER >> 3]!;
    if (number === MTRR_CAPABILITY) return MTRR_CAPABILITY_VALUE;
    // No error-reporting banks; platform 0.
    return number === MCG_CAPABILITY || number === PLATFORM_ID ? 0n : undefined;
  }

  /** Writes register `number`; false, unchanged, if it does not exist or a bit is reserved. */
  set(number: number, value: bigint): boolean {
    const state = this.#state;
    const stored = STORED.get(number);
    if (stored !== undefined) {
      if ((value & ~stored.writable) !== 0n) return false;
      if (number === PAT && !isPAT(value)) return false;
      // Microcode revision: software writes 0 and reads what CPUID left there.
      state.u64[(MSR >> 3) + stored.slot] = value;
      return true;
    }
    if (number === TSC) {
      const offset = BigInt.asUintN(64, value - this.#wiring.readTSC());
      state.u64[(MSR >> 3) + slot.MSR_SLOT_TSC_OFFSET] = offset;
      return true;
    }
    if (number === APIC_BASE) {
      // BSP, enable and the page: no x2APIC.
      if ((value & ~0xf_ffff_f900n) !== 0n) return false;
      this.#wiring.writeAPICBase(Number(value));
      return true;
    }
    if (number === EFER_NUMBER) {
      if ((value & ~BigInt(EFER_NXE)) !== 0n) return false;
      state.u64[EFER >> 3] = value;
      return true;
    }
    return number === MICROCODE_UPDATE;
  }
}

/** Eight memory types, of which 2 and 3 and those above 7 do not exist. */
function isPAT(value: bigint): boolean {
  for (let index = 0n; index < 8n; index++) {
    const type = Number((value >> (index * 8n)) & 0xffn);
    if (type > 7 || type === 2 || type === 3) return false;
  }
  return true;
}
