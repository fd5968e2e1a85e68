// A small board for tests of the processor's system half: RAM, a device page that logs, and ways to
// write descriptors, gates and page tables. No engine: tests set EIP and call the helpers.

import { CR0_PE } from '../src/cpu/control-bits.ts';
import { Processor } from '../src/cpu/processor.ts';
import { CPUState } from '../src/cpu/state.ts';
import {
  CPL,
  CR0,
  EXCEPTION_ERROR,
  EXCEPTION_HAS_ERROR,
  EXCEPTION_VECTOR,
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
  STATE_BYTES,
} from '../src/cpu/state-layout.ts';
import { AddressSpace } from '../src/memory/address-space.ts';
import { GuestMemory } from '../src/memory/guest-memory.ts';
import { MemoryRegion } from '../src/memory/memory-region.ts';

export const RAM_BYTES = 0x100_0000;
/** One page of device registers: reads give the low byte of the offset, repeated. */
export const DEVICE_GPA = 0xf000_0000;
export const GDT = 0x1000;
export const IDT = 0x2000;

export class ProcessorBoard {
  readonly state: CPUState;
  readonly memory: AddressSpace;
  readonly processor: Processor;
  /** What the device saw: `r4@10`, `w1@fff=5a`. */
  readonly log: string[] = [];
  /** What the ports saw. */
  readonly portLog: string[] = [];
  flushes = 0;
  apicBase = 0xfee0_0900;
  tsc = 0n;

  constructor() {
    const guest = new GuestMemory({ ramCapacityBytes: RAM_BYTES, reservedBytes: STATE_BYTES });
    const ram = guest.ramList.alloc({ name: 'pc.ram', sizeBytes: RAM_BYTES });
    guest.root.addSubregion(0, MemoryRegion.ram('pc.ram', ram));
    guest.root.addSubregion(DEVICE_GPA, MemoryRegion.io('device', 0x1000, logging(this.log)));
    const portRoot = MemoryRegion.container('io', 0x1_0000);
    portRoot.addSubregion(0, MemoryRegion.io('ports', 0x1_0000, logging(this.portLog)));
    this.memory = guest.addressSpace;
    this.state = new CPUState(guest.buffer);
    const wiring = {
      memory: guest.addressSpace,
      ports: new AddressSpace({ name: 'I/O', root: portRoot }),
      interrupts: { hasInterrupt: () => false, acknowledge: () => 0 },
      readTSC: () => this.tsc,
      readAPICBase: () => this.apicBase,
      writeAPICBase: (value: number) => {
        this.apicBase = value;
      },
      readTPR: () => 0,
      writeTPR: () => {},
    };
    const flush = () => {
      this.flushes++;
    };
    const hooks = { flushCode: flush, flushCodePage: flush };
    this.processor = new Processor(this.state, wiring, { tlb: guest.tlb }, hooks);
    this.processor.reset();
  }

  /** Vector and error code of the exception that waits, as `14(0x7)` or `6`; undefined if none. */
  get fault(): string | undefined {
    const state = this.state;
    if (!state.hasException) return undefined;
    const vector = state.get32(EXCEPTION_VECTOR);
    if (state.get32(EXCEPTION_HAS_ERROR) === 0) return String(vector);
    return `${vector}(0x${state.get32(EXCEPTION_ERROR).toString(16)})`;
  }

  /** The same, and forgets it. */
  takeFault(): string | undefined {
    const fault = this.fault;
    this.state.clearException();
    return fault;
  }

  write32(gpa: number, ...values: number[]): void {
    for (const [index, value] of values.entries())
      this.memory.write(gpa + index * 4, 4, value >>> 0);
  }

  read32(gpa: number): number {
    return this.memory.read(gpa, 4);
  }

  read16(gpa: number): number {
    return this.memory.read(gpa, 2);
  }

  /** Puts a descriptor into the GDT. @param rights bits 40–55, such as 0xc09b */
  describe(selector: number, base: number, limit: number, rights: number): void {
    const at = GDT + (selector & 0xfff8);
    const raw = (rights & 0x8000) !== 0 ? limit >>> 12 : limit;
    this.write32(at, (raw & 0xffff) | (base << 16));
    const high = ((base >>> 16) & 0xff) | (rights << 8) | (raw & 0xf_0000) | (base & 0xff00_0000);
    this.write32(at + 4, high);
  }

  /** Writes a gate at `gpa`. @param rights bits 40–47: P, DPL, type */
  gate(gpa: number, selector: number, offset: number, rights: number, parameters = 0): void {
    const high = (offset & 0xffff_0000) | (rights << 8) | parameters;
    this.write32(gpa, (selector << 16) | (offset & 0xffff), high);
  }

  /**
   * Protected mode with flat segments at every level: 08/10 ring 0 code/data, 1b/23 ring 3, 28 LDT,
   * 30 the TSS at 0x3000 (ring 0 stack 10:9000, limit 0x2067 with an I/O bitmap at its end).
   */
  enterProtected(): void {
    const { state, processor } = this;
    this.describe(0x08, 0, 0xffff_ffff, 0xc09b);
    this.describe(0x10, 0, 0xffff_ffff, 0xc093);
    this.describe(0x18, 0, 0xffff_ffff, 0xc0fb);
    this.describe(0x20, 0, 0xffff_ffff, 0xc0f3);
    this.describe(0x28, 0x1800, 0x7f, 0x0082);
    this.describe(0x30, 0x3000, 0x87, 0x0089);
    this.write32(0x3004, 0x9000, 0x10, 0x8000, 0x39);
    this.write32(0x3064, 0x68 << 16);
    state.setWide(GDTR_BASE, GDT);
    state.set32(GDTR_LIMIT, 0x7ff);
    state.setWide(IDTR_BASE, IDT);
    state.set32(IDTR_LIMIT, 0x7ff);
    state.setWide(CR0, state.cr0 | CR0_PE);
    processor.synchronize();
    processor.farJump(0x08, 0x5000, 4);
    for (const segment of [0, 2, 3, 4, 5]) processor.segmentation.loadSegment(segment, 0x10);
    processor.ltr(0x30);
    state.setReg32(4, 0x7000);
    state.eflags = 2;
  }

  /** Goes to ring 3 through IRET: EIP 0x6000, ESP 0xa000. @param flags EFLAGS there */
  enterUser(flags = 2): void {
    this.enterWith([0x6000, 0x1b, flags, 0xa000, 0x23]);
    for (const segment of [0, 3, 4, 5]) this.processor.segmentation.loadSegment(segment, 0x23);
  }

  /** Goes to V86 mode: CS 1000, IP 0x200, SS 2000, SP 0xff0, ES DS FS GS 3000 4000 5000 6000. */
  enterV86(flags: number): void {
    const image = flags | 0x2_0002;
    this.enterWith([0x200, 0x1000, image, 0xff0, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000]);
  }

  /** IRETD from ring 0 with this frame. */
  enterWith(frame: readonly number[]): void {
    const { state, processor } = this;
    state.setReg32(4, 0x7000);
    this.write32(0x7000, ...frame);
    processor.iret32();
    if (this.fault !== undefined) throw new Error(`IRET faulted: ${this.fault}`);
  }

  setCPL(cpl: number): void {
    this.state.set32(CPL, cpl);
    this.processor.segmentation.updateMode();
  }
}

function logging(log: string[]) {
  return {
    read(offset: number, sizeBytes: number): number {
      log.push(`r${sizeBytes}@${offset.toString(16)}`);
      return ((offset & 0xff) * 0x0101_0101) >>> 0;
    },
    write(offset: number, value: number, sizeBytes: number): void {
      log.push(`w${sizeBytes}@${offset.toString(16)}=${value.toString(16)}`);
    },
  };
}
