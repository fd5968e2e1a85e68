// The comparison itself: one record of QEMU's trace after the other against Quire's state. What
// depends on the surroundings (input, time, interrupts) is taken over from QEMU, so that only the
// processors differ.

import { GPR } from '../../src/cpu/state-layout.ts';
import type { BareMachine } from '../../test/oracle/bare-machine.ts';
import { codeAddress, isInput, looseFlags, readLinear, translate } from './guest-code.ts';
import type { TraceRecord } from './qemu-trace.ts';
import { REGISTER_NAMES } from './register-dump.ts';

const ARITHMETIC = 0x8d5;
const RF = 0x10000;
const ECX = 1;
const REPEATS_MAX = 0x1000_0000;
const NMI = 2;
const FIRST_EXTERNAL_VECTOR = 0x20;

/** Where trace records come from. */
export interface TraceSource {
  next(record: TraceRecord): boolean;
}

export interface Difference {
  /** Instructions compared before. */
  readonly count: number;
  /** EIP of the instruction after which both differ. */
  readonly eip: number;
  readonly lines: readonly string[];
}

const emptyRecord = (): TraceRecord => ({ registers: new Uint32Array(8), eip: 0, eflags: 0 });
const hex = (value: number) => (value >>> 0).toString(16).padStart(8, '0');

export class Comparison {
  readonly #machine: BareMachine;
  readonly #source: TraceSource;
  #current = emptyRecord();
  #ahead = emptyRecord();
  #hasAhead = false;
  #lastEip = 0;
  #lastBytes: Uint8Array = new Uint8Array(0);
  #lastIoCount = 0;
  /** Instructions executed on both sides. */
  count = 0;
  /** What was taken over from QEMU: input, interrupts, undefined flags. */
  readonly adopted = { input: 0, interrupts: 0, flags: 0 };

  constructor(machine: BareMachine, source: TraceSource) {
    this.#machine = machine;
    this.#source = source;
  }

  /**
   * Runs until a difference, `countMax` instructions, or the end of the trace (undefined).
   * @param skipCount differences among the first so many instructions are taken over from QEMU
   */
  run(countMax: number, skipCount = 0): Difference | undefined {
    while (this.count < countMax) {
      if (!this.#advance()) return undefined;
      const lines = this.#reconcile();
      if (lines.length > 0) {
        if (this.count >= skipCount) return { count: this.count, eip: this.#lastEip, lines };
        this.#adopt();
      }
      if (!this.#step()) return this.#stopped();
    }
    return undefined;
  }

  #shutdown: string | undefined;

  #stopped(): Difference {
    const lines = [`Quire stopped: ${this.#shutdown}`, `QEMU is at ${hex(this.#current.eip)}`];
    return { count: this.count, eip: this.#lastEip, lines };
  }

  #advance(): boolean {
    if (!this.#hasAhead) return this.#source.next(this.#current);
    [this.#current, this.#ahead] = [this.#ahead, this.#current];
    this.#hasAhead = false;
    return true;
  }

  #peek(): TraceRecord | undefined {
    if (!this.#hasAhead) this.#hasAhead = this.#source.next(this.#ahead);
    return this.#hasAhead ? this.#ahead : undefined;
  }

  #equals(record: TraceRecord): boolean {
    const { state } = this.#machine.vcpu;
    const words = state.u32;
    const r = record.registers;
    for (let i = 0; i < 8; i++) if (words[(GPR >> 2) + i * 2] !== r[i]) return false;
    return state.eip === record.eip && ((state.eflags ^ record.eflags) & ~RF) === 0;
  }

  /** Explains what it can of a difference; returns what is left. */
  #reconcile(): string[] {
    if (this.#equals(this.#current)) return [];
    const { vcpu } = this.#machine;
    if (vcpu.state.eip !== this.#current.eip) {
      const vector = this.#externalVector(this.#current.eip);
      if (vector !== undefined) {
        this.#machine.pendingVectors.push(vector);
        vcpu.requestEvent();
        vcpu.run(1);
        this.adopted.interrupts++;
      }
      // QEMU shows no record of an instruction that cannot be fetched.
      const { state } = vcpu;
      if (readLinear(this.#machine, codeAddress(this.#machine, state.eip), 1).length === 0)
        vcpu.run(1);
      // An engine may go on from a delivered event to the handler's first instruction.
      const next = vcpu.state.eip === this.#current.eip ? undefined : this.#peek();
      if (next && this.#equals(next)) {
        this.#advance();
        this.count++;
        return [];
      }
    }
    if (this.#equals(this.#current)) return [];
    const lines = this.#describe();
    if (vcpu.state.eip !== this.#current.eip) return lines;
    const isSurroundings =
      isInput(this.#lastBytes) || this.#machine.ioCount() !== this.#lastIoCount;
    if (isSurroundings) {
      this.adopted.input++;
      this.#adopt();
      return [];
    }
    if (this.#isFrameOfFault()) {
      this.adopted.flags++;
      this.#adopt();
      return [];
    }
    const differing = (vcpu.state.eflags ^ this.#current.eflags) & ~RF;
    const registersAgree = lines.every((line) => line.startsWith('EFLAGS'));
    if (registersAgree && (differing & ~(looseFlags(this.#lastBytes) & ARITHMETIC)) === 0) {
      this.adopted.flags++;
      this.#adopt();
      return [];
    }
    return lines;
  }

  #describe(): string[] {
    const { state } = this.#machine.vcpu;
    const lines: string[] = [];
    const check = (name: string, qemu: number, quire: number) => {
      if (qemu !== quire) lines.push(`${name}: QEMU ${hex(qemu)}, Quire ${hex(quire)}`);
    };
    REGISTER_NAMES.forEach((name, i) => {
      check(name, this.#current.registers[i]!, state.reg32(i));
    });
    check('EIP', this.#current.eip, state.eip);
    check('EFLAGS', this.#current.eflags & ~RF, (state.eflags & ~RF) >>> 0);
    return lines;
  }

  /**
   * QEMU does not set RF in the EFLAGS that a fault pushes (SDM volume 3, 17.3.1.1); one was read.
   */
  #isFrameOfFault(): boolean {
    const { state } = this.#machine.vcpu;
    if (((state.eflags ^ this.#current.eflags) & ~RF) !== 0) return false;
    const apart = this.#current.registers.map((value, i) => (value ^ state.reg32(i)) >>> 0);
    return apart.filter((bits) => bits !== 0).length === 1 && apart.includes(RF);
  }

  /** Takes over QEMU's registers. */
  #adopt(): void {
    const { state } = this.#machine.vcpu;
    this.#current.registers.forEach((value, i) => {
      state.setReg32(i, value);
    });
    state.eflags = this.#current.eflags;
    if (state.eip !== this.#current.eip) {
      state.eip = this.#current.eip;
      this.#machine.vcpu.synchronize();
    }
  }

  /** Executes the instruction that both are at; false when Quire has stopped for good. */
  #step(): boolean {
    const { vcpu } = this.#machine;
    const { state } = vcpu;
    const eip = this.#current.eip;
    this.#lastEip = eip;
    this.#lastBytes = readLinear(this.#machine, codeAddress(this.#machine, eip), 4);
    this.#lastIoCount = this.#machine.ioCount();
    this.count++;
    const before = this.#current.registers[ECX]!;
    const next = this.#peek();
    const isRepeating = next?.eip === eip && next.registers[ECX] === before - 1;
    if (!isRepeating) {
      const exit = vcpu.run(1);
      if (exit.kind === 'shutdown') this.#shutdown = exit.reason;
      return exit.kind !== 'shutdown';
    }
    // QEMU shows each iteration; Quire may do them all at once. Find out how it ended first.
    let remaining = before;
    for (let record: TraceRecord | undefined = next; record?.eip === eip; record = this.#peek()) {
      remaining = record.registers[ECX]!;
      this.#advance();
    }
    const after = this.#peek();
    const wasInterrupted = after !== undefined && this.#externalVector(after.eip) !== undefined;
    if (wasInterrupted) state.setReg32(ECX, before - remaining);
    for (let i = 0; i < REPEATS_MAX && state.eip === eip; i++) {
      const exit = vcpu.run(1);
      if (exit.kind === 'shutdown') {
        this.#shutdown = exit.reason;
        return false;
      }
    }
    if (wasInterrupted) {
      state.setReg32(ECX, remaining);
      state.eip = eip;
      vcpu.synchronize();
    }
    return true;
  }

  /** The vector of an external interrupt whose gate leads to `eip`, if interrupts are on. */
  #externalVector(eip: number): number | undefined {
    const { state } = this.#machine.vcpu;
    const isProtected = (state.cr0 & 1) !== 0;
    const base = state.get32(0x210); // IDTR_BASE.
    const size = isProtected ? 8 : 4;
    for (let vector = 0; vector < 256; vector++) {
      if (vector < FIRST_EXTERNAL_VECTOR && vector !== NMI && isProtected) continue;
      const gpa = translate(this.#machine, (base + vector * size) >>> 0);
      if (gpa === undefined) return undefined;
      const space = this.#machine.memory.addressSpace;
      const low = space.read(gpa, 4);
      if (!isProtected) {
        if ((low & 0xffff) === eip && vector >= 8) return vector;
        continue;
      }
      const high = space.read(gpa + 4, 4);
      if (((high & 0xffff0000) | (low & 0xffff)) >>> 0 === eip && high & 0x8000) return vector;
    }
    return undefined;
  }
}
