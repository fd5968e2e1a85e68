// 8237A DMA controller and the PC's page registers. Only devices request: a transfer by
// software, or from memory to memory, is no use in a PC and does nothing. Intel 8237A data
// sheet (231466-005), "Register Description", "Software Commands"; page registers: IBM PC AT
// Technical Reference, "DMA Controllers".

import type { DMAMemory } from './bus-master-ide.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const CHANNEL_COUNT = 4;
/**
 * Registers 8–15: status/command, request, single mask, mode, flip-flop, clear, mask, all masks.
 */
const COMMAND = 8;
const REQUEST = 9;
const SINGLE_MASK = 10;
const MODE = 11;
const CLEAR_FLIP_FLOP = 12;
const MASTER_CLEAR = 13;
const CLEAR_MASK = 14;
const ALL_MASKS = 15;
const ALL_MASKED = 0x0f;
const COMMAND_DISABLE = 0x04;
/** Mode register: transfer type, autoinitialize, address decrement, cascade. */
const MODE_TYPE = 0x0c;
const MODE_VERIFY = 0x00;
const MODE_WRITE = 0x04;
const MODE_READ = 0x08;
const MODE_AUTOINITIALIZE = 0x10;
const MODE_DECREMENT = 0x20;
const MODE_SELECT = 0xc0;
const MODE_CASCADE = 0xc0;
const COUNT_END = 0x1_0000;
/** Page register of channels 0–3 and 4–7, by their offset from port 0x80. */
const PAGE_OFFSETS = [0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa];

/** What came of a device's request. */
export interface DMAResult {
  /** Bytes that were moved; none while the channel is not ready. */
  readonly sizeBytes: number;
  /** The channel's count ran out with the last of them. */
  readonly isTerminal: boolean;
}

const NOT_READY: DMAResult = { sizeBytes: 0, isTerminal: false };

function powerOnState() {
  return {
    command: 0,
    status: 0,
    request: 0,
    mask: ALL_MASKED,
    mode: [0, 0, 0, 0],
    baseAddress: [0, 0, 0, 0],
    baseCount: [0, 0, 0, 0],
    address: [0, 0, 0, 0],
    count: [0, 0, 0, 0],
    isHighByte: false,
  };
}

type DMAState = ReturnType<typeof powerOnState>;

export class DMA8237 implements Savable {
  readonly #schema;
  // Wiring, set once by the machine.
  memory: DMAMemory | undefined;
  /** Bits 16–23 of a channel's addresses. */
  pageOf: (channel: number) => number = () => 0;
  /** A channel may have become ready. */
  onReady: () => void = () => {};
  // State, all of it saved.
  readonly state: DMAState = powerOnState();

  /** @param name its name in a saved state, such as `dma0` */
  constructor(name: string) {
    const u16x4 = (id: number) => ({ id, type: 'u16', since: 1, length: CHANNEL_COUNT }) as const;
    this.#schema = defineState<DMAState>(name, 1, {
      command: { id: 1, type: 'u8', since: 1 },
      status: { id: 2, type: 'u8', since: 1 },
      request: { id: 3, type: 'u8', since: 1 },
      mask: { id: 4, type: 'u8', since: 1 },
      mode: { id: 5, type: 'u8', since: 1, length: CHANNEL_COUNT },
      baseAddress: u16x4(6),
      baseCount: u16x4(7),
      address: u16x4(8),
      count: u16x4(9),
      isHighByte: { id: 10, type: 'boolean', since: 1 },
    });
  }

  get schema() {
    return this.#schema;
  }

  reset(): void {
    Object.assign(this.state, powerOnState());
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
  }

  /** Register 0–15; the second controller's lie two ports apart, which is the machine's matter. */
  read(offset: number): number {
    const s = this.state;
    const register = offset & 0xf;
    if (register < 8) {
      const channel = register >> 1;
      const value = register & 1 ? s.count[channel]! : s.address[channel]!;
      return this.#takeFlipFlop() ? value >> 8 : value & 0xff;
    }
    if (register === COMMAND) {
      const status = s.status | (s.request << 4);
      s.status = 0; // Terminal counts are cleared by the read.
      return status & 0xff;
    }
    // The temporary register, and what cannot be read.
    return register === ALL_MASKS ? 0xf0 | s.mask : 0;
  }

  write(offset: number, value: number): void {
    const s = this.state;
    const byte = value & 0xff;
    const register = offset & 0xf;
    const channel = register >> 1;
    switch (register) {
      case COMMAND:
        s.command = byte;
        break;
      case REQUEST:
        s.request = setBit(s.request, byte & 3, (byte & 4) !== 0);
        break;
      case SINGLE_MASK:
        s.mask = setBit(s.mask, byte & 3, (byte & 4) !== 0);
        break;
      case MODE:
        s.mode[byte & 3] = byte & ~3;
        break;
      case CLEAR_FLIP_FLOP:
        s.isHighByte = false;
        break;
      case MASTER_CLEAR:
        Object.assign(s, {
          command: 0,
          status: 0,
          request: 0,
          isHighByte: false,
          mask: ALL_MASKED,
        });
        break;
      case CLEAR_MASK:
        s.mask = 0;
        break;
      case ALL_MASKS:
        s.mask = byte & ALL_MASKED;
        break;
      default: {
        const isHigh = this.#takeFlipFlop();
        const base = register & 1 ? s.baseCount : s.baseAddress;
        const current = register & 1 ? s.count : s.address;
        const old = base[channel]!;
        base[channel] = isHigh ? (old & 0x00ff) | (byte << 8) : (old & 0xff00) | byte;
        current[channel] = base[channel]!;
      }
    }
    if (register >= COMMAND) this.onReady();
  }

  /**
   * A device on an 8-bit channel asks to move `bytes`, from the first on.
   * @param isToMemory which way the device wants it; a channel set up otherwise is not ready
   */
  transfer(channel: number, bytes: Uint8Array, isToMemory: boolean): DMAResult {
    const s = this.state;
    const mode = s.mode[channel]!;
    const type = mode & MODE_TYPE;
    const isReady =
      (s.mask & (1 << channel)) === 0 &&
      (s.command & COMMAND_DISABLE) === 0 &&
      (mode & MODE_SELECT) !== MODE_CASCADE &&
      (type === MODE_VERIFY || type === (isToMemory ? MODE_WRITE : MODE_READ));
    if (!isReady) return NOT_READY;
    const sizeBytes = Math.min(bytes.length, s.count[channel]! + 1);
    if (sizeBytes === 0) return NOT_READY;
    const page = this.pageOf(channel) * COUNT_END;
    const step = mode & MODE_DECREMENT ? -1 : 1;
    for (let done = 0; done < sizeBytes; ) {
      const address = s.address[channel]!;
      // The page does not count on; a run downwards goes byte by byte.
      const run = step < 0 ? 1 : Math.min(sizeBytes - done, COUNT_END - address);
      const part = bytes.subarray(done, done + run);
      if (type === MODE_WRITE) this.memory?.writeBytes(page + address, part);
      else if (type === MODE_READ) this.memory?.readBytes(page + address, part);
      s.address[channel] = (address + step * run) & 0xffff;
      done += run;
    }
    const isTerminal = sizeBytes === s.count[channel]! + 1;
    s.count[channel] = (s.count[channel]! - sizeBytes) & 0xffff;
    if (isTerminal) this.#terminate(channel);
    return { sizeBytes, isTerminal };
  }

  /** Terminal count: "Autoinitialize", or the channel is masked. */
  #terminate(channel: number): void {
    const s = this.state;
    s.status |= 1 << channel;
    s.request &= ~(1 << channel);
    if (s.mode[channel]! & MODE_AUTOINITIALIZE) {
      s.address[channel] = s.baseAddress[channel]!;
      s.count[channel] = s.baseCount[channel]!;
    } else s.mask |= 1 << channel;
  }

  #takeFlipFlop(): boolean {
    const isHigh = this.state.isHighByte;
    this.state.isHighByte = !isHigh;
    return isHigh;
  }
}

function setBit(bits: number, index: number, isSet: boolean): number {
  return isSet ? bits | (1 << index) : bits & ~(1 << index);
}

function pageState() {
  return { pages: new Uint8Array(16) };
}

type PageState = ReturnType<typeof pageState>;

/** Ports 0x80–0x8f: sixteen bytes that can be read back; the first is where POST codes go. */
export class DMAPageRegisters implements Savable {
  static readonly schema = defineState<PageState>('dma-pages', 1, {
    pages: { id: 1, type: 'u8', since: 1, length: 16 },
  });

  // Wiring, set once by the machine.
  onPOSTCode: (code: number) => void = () => {};
  // State, all of it saved.
  readonly state: PageState = pageState();

  reset(): void {
    this.state.pages.fill(0);
  }

  save(): SavedSection {
    return DMAPageRegisters.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    DMAPageRegisters.schema.restore(section, this.state);
  }

  read(offset: number): number {
    return this.state.pages[offset & 0xf]!;
  }

  /** Bits 16–23 of the addresses of channel 0–7. */
  pageOf(channel: number): number {
    return this.state.pages[PAGE_OFFSETS[channel]!]!;
  }

  write(offset: number, value: number): void {
    this.state.pages[offset & 0xf] = value & 0xff;
    if ((offset & 0xf) === 0) this.onPOSTCode(value & 0xff);
  }
}
