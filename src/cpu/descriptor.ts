// A segment or gate descriptor, as eight bytes in a table, and the selector that names it.
// Intel SDM volume 3, sections 3.4.2 "Segment Selectors", 3.4.5 "Segment Descriptors", 3.5 "System
// Descriptor Types", 6.11 "IDT Descriptors".

/** Bits of SEG_ATTRIBUTES: descriptor bits 40–55, with the limit's four bits as zero. */
export const ATTR_TYPE = 0xf;
export const ATTR_ACCESSED = 1;
/** Data: writable. Code: readable. */
export const ATTR_WRITABLE = 2;
export const ATTR_READABLE = 2;
/** Data: expand-down. Code: conforming. */
export const ATTR_EXPAND_DOWN = 4;
export const ATTR_CONFORMING = 4;
export const ATTR_CODE = 8;
/** Code or data, as opposed to a system descriptor. */
export const ATTR_NOT_SYSTEM = 0x10;
export const ATTR_DPL_SHIFT = 5;
export const ATTR_PRESENT = 0x80;
/** D or B: 32-bit operands, 32-bit stack pointer, expand-down to 4 GiB. */
export const ATTR_BIG = 0x4000;
export const ATTR_GRANULAR = 0x8000;
/** Not in a descriptor: the register holds a null selector and can address nothing. */
export const ATTR_UNUSABLE = 0x1_0000;

/** System types (S = 0). */
export const TYPE_TSS16 = 1;
export const TYPE_LDT = 2;
export const TYPE_TSS16_BUSY = 3;
export const TYPE_CALL_GATE16 = 4;
export const TYPE_TASK_GATE = 5;
export const TYPE_INTERRUPT_GATE16 = 6;
export const TYPE_TRAP_GATE16 = 7;
export const TYPE_TSS32 = 9;
export const TYPE_TSS32_BUSY = 11;
export const TYPE_CALL_GATE32 = 12;
export const TYPE_INTERRUPT_GATE32 = 14;
export const TYPE_TRAP_GATE32 = 15;

export const SELECTOR_RPL = 3;
export const SELECTOR_TI = 4;

/** A descriptor and where it was found; instances are reused, so copy what must last. */
export class Descriptor {
  selector = 0;
  /** Linear address of its first byte. */
  linear = 0;
  low = 0;
  high = 0;

  get attributes(): number {
    return (this.high >>> 8) & 0xf0ff;
  }

  get type(): number {
    return (this.high >>> 8) & 15;
  }

  get isSystem(): boolean {
    return (this.high & 0x1000) === 0;
  }

  get dpl(): number {
    return (this.high >>> 13) & 3;
  }

  get rpl(): number {
    return this.selector & SELECTOR_RPL;
  }

  get isPresent(): boolean {
    return (this.high & 0x8000) !== 0;
  }

  get isCode(): boolean {
    return (this.high & 0x1800) === 0x1800;
  }

  get isConformingCode(): boolean {
    return (this.high & 0x1c00) === 0x1c00;
  }

  get isReadable(): boolean {
    return !this.isSystem && (!this.isCode || (this.high & 0x200) !== 0);
  }

  get isWritableData(): boolean {
    return (this.high & 0x1a00) === 0x1200;
  }

  get base(): number {
    return ((this.low >>> 16) | ((this.high & 0xff) << 16) | (this.high & 0xff00_0000)) >>> 0;
  }

  /** In bytes, inclusive. */
  get limit(): number {
    const raw = (this.low & 0xffff) | (this.high & 0xf_0000);
    return (this.high & 0x80_0000) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw;
  }

  /** Gates: the target's selector, offset (16 bits in a 16-bit gate) and parameter count. */
  get gateSelector(): number {
    return this.low >>> 16;
  }

  get gateOffset(): number {
    const low = this.low & 0xffff;
    return (this.type & 8) !== 0 ? (low | (this.high & 0xffff_0000)) >>> 0 : low;
  }

  get gateParameterCount(): number {
    return this.high & 0x1f;
  }
}
