// The VGA: its registers by port, and its memory as the processor sees it through the window at
// 0xa0000. IBM VGA XGA Technical Reference (1992), chapter 2 "VGA Function".
//
// Video memory is `vram`: plane p's byte at offset o is byte 4·o + p, as the planes lie side by
// side behind a bus of 32 bits. While the Bochs interface has a mode of 8 bits a pixel or more,
// memory is plain bytes instead, in the window and in the linear framebuffer.

import type { VirtualClock } from '../base/device.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';
import { BochsDISPI } from './vga-dispi.ts';
import { PLANE_BYTES, planarRead, planarValue } from './vga-planes.ts';
import {
  ATTRIBUTE_COUNT,
  CR_CURSOR_END,
  CR_CURSOR_HIGH,
  CR_CURSOR_LOW,
  CR_CURSOR_START,
  CR_OVERFLOW,
  CR_RETRACE_END,
  CRTC_COUNT,
  GR_MISCELLANEOUS,
  GR_MODE,
  GR_READ_MAP,
  GRAPHICS_COUNT,
  MEMORY_CHAIN4,
  MEMORY_SEQUENTIAL,
  MISC_CHAIN_ODD_EVEN,
  MISC_COLOR_PORTS,
  MISC_ENABLE_RAM,
  MODE_ODD_EVEN,
  MODE_SHIFT_256,
  MODE_SHIFT_INTERLEAVE,
  OVERFLOW_LINE_COMPARE,
  RETRACE_END_PROTECT,
  SEQ_MAP_MASK,
  SEQ_MEMORY_MODE,
  SEQUENCER_COUNT,
  VGA_PORT_FIRST,
} from './vga-registers.ts';
import { beamStatus, frameTiming } from './vga-timing.ts';

const DAC_BYTES = 768;
/** Bits of the attribute controller's index register that exist. */
const ATTRIBUTE_INDEX = 0x3f;
/** Writable bits of the sequencer's, graphics controller's and attribute controller's registers. */
const SEQUENCER_BITS = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
const GRAPHICS_BITS = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const GRAPHICS_SHOWN = [0, 0, 0, 0, 0, MODE_SHIFT_256 | MODE_SHIFT_INTERLEAVE, 0x01, 0, 0];
const CURSOR_REGISTERS = [CR_CURSOR_START, CR_CURSOR_END, CR_CURSOR_HIGH, CR_CURSOR_LOW];
/** A colour monitor answers the sense test. */
const STATUS0_SENSE = 0x10;
/** The window: 128 KiB at 0xa0000, of which the memory map selects a part. */
const WINDOW_BYTES = 0x2_0000;
const WINDOW_PARTS = [
  [0, WINDOW_BYTES],
  [0, 0x1_0000],
  [0x1_0000, 0x8000],
  [0x1_8000, 0x8000],
] as const;

function powerOnState() {
  return {
    miscellaneous: 0,
    feature: 0,
    isOn: 1,
    sequencerIndex: 0,
    sequencer: new Uint8Array(SEQUENCER_COUNT),
    graphicsIndex: 0,
    graphics: new Uint8Array(GRAPHICS_COUNT),
    crtcIndex: 0,
    crtc: new Uint8Array(CRTC_COUNT),
    attributeIndex: 0,
    /** The next write of port 0x3c0 is data. */
    isAttributeData: false,
    attribute: new Uint8Array(ATTRIBUTE_COUNT),
    dac: new Uint8Array(DAC_BYTES),
    dacMask: 0xff,
    dacReadIndex: 0,
    dacWriteIndex: 0,
    /** 0 red, 1 green, 2 blue. */
    dacPart: 0,
    isDACReading: false,
    /** Red and green, until blue completes the colour. */
    dacHeld: new Uint8Array(2),
    latches: 0,
  };
}

type VGAState = ReturnType<typeof powerOnState>;

const u8 = (id: number) => ({ id, type: 'u8', since: 1 }) as const;
const bytes = (id: number, length: number) => ({ id, type: 'u8', since: 1, length }) as const;

export class VGA implements Savable {
  static readonly schema = defineState<VGAState>('vga', 1, {
    miscellaneous: u8(1),
    feature: u8(2),
    isOn: u8(3),
    sequencerIndex: u8(4),
    sequencer: bytes(5, SEQUENCER_COUNT),
    graphicsIndex: u8(6),
    graphics: bytes(7, GRAPHICS_COUNT),
    crtcIndex: u8(8),
    crtc: bytes(9, CRTC_COUNT),
    attributeIndex: u8(10),
    isAttributeData: { id: 11, type: 'boolean', since: 1 },
    attribute: bytes(12, ATTRIBUTE_COUNT),
    dac: bytes(13, DAC_BYTES),
    dacMask: u8(14),
    dacReadIndex: u8(15),
    dacWriteIndex: u8(16),
    dacPart: u8(17),
    isDACReading: { id: 18, type: 'boolean', since: 1 },
    dacHeld: bytes(19, 2),
    latches: { id: 20, type: 'u32', since: 1 },
  });

  // Parts with a state of their own.
  readonly dispi: BochsDISPI;
  // Wiring, set once by the machine.
  readonly #clock: VirtualClock;
  /** Video memory; who writes it from outside tells those who watch it. */
  readonly vram: Uint8Array;
  /** The same by planes: one word for each offset. */
  readonly planes: Uint32Array;
  /** Bytes [offset, offset + size) of video memory are about to be written through the window. */
  beforeWrite: (offset: number, sizeBytes: number) => void = () => {};
  /** Bytes [offset, offset + size) of video memory were written through the window. */
  onWrite: (offset: number, sizeBytes: number) => void = () => {};
  /** Grows with each change of a register that may change the picture, but for the cursor's. */
  changeCount = 0;
  // State, all of it saved.
  readonly state: VGAState = powerOnState();

  /** @param vram 256 KiB or more, a multiple of 64 KiB, aligned to 4 bytes */
  constructor(clock: VirtualClock, vram: Uint8Array) {
    this.#clock = clock;
    this.vram = vram;
    this.planes = new Uint32Array(vram.buffer, vram.byteOffset, vram.length >> 2);
    this.dispi = new BochsDISPI(vram.length);
    this.dispi.onChange = () => {
      this.changeCount++;
    };
    this.dispi.onClear = (sizeBytes) => {
      this.beforeWrite(0, Math.min(sizeBytes, this.vram.length));
      this.vram.fill(0, 0, sizeBytes);
      this.onWrite(0, Math.min(sizeBytes, this.vram.length));
    };
  }

  /** Registers as after power-on; video memory keeps what it holds. */
  reset(): void {
    Object.assign(this.state, powerOnState());
    this.dispi.reset();
    this.changeCount++;
  }

  save(): SavedSection {
    return VGA.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    VGA.schema.restore(section, this.state);
    this.state.dacPart %= 3;
    this.changeCount++;
  }

  /** Now, for the blinking of what is shown. */
  nowNs(): number {
    return this.#clock.nowNs();
  }

  get timing() {
    const { miscellaneous, sequencer, crtc } = this.state;
    return frameTiming(miscellaneous, sequencer, crtc);
  }

  /** Port 0x3b0 + `offset`, 0–0x2f; what is not there reads as 0xff. */
  readPort(offset: number): number {
    const s = this.state;
    const port = VGA_PORT_FIRST + offset;
    switch (port) {
      case 0x3c0:
        return s.attributeIndex;
      case 0x3c1:
        return s.attribute[s.attributeIndex & 0x1f] ?? 0;
      case 0x3c2:
        return STATUS0_SENSE;
      case 0x3c3:
        return s.isOn;
      case 0x3c4:
        return s.sequencerIndex;
      case 0x3c5:
        return s.sequencer[s.sequencerIndex] ?? 0;
      case 0x3c6:
        return s.dacMask;
      case 0x3c7:
        return s.isDACReading ? 3 : 0;
      case 0x3c8:
        return s.dacWriteIndex;
      case 0x3c9:
        return this.#readDAC();
      case 0x3ca:
        return s.feature;
      case 0x3cc:
        return s.miscellaneous;
      case 0x3ce:
        return s.graphicsIndex;
      case 0x3cf:
        return s.graphics[s.graphicsIndex] ?? 0;
      default:
        return this.#isCRTCPort(port) ? this.#readCRTC(port & 0xf) : 0xff;
    }
  }

  writePort(offset: number, value: number): void {
    const s = this.state;
    const port = VGA_PORT_FIRST + offset;
    const byte = value & 0xff;
    switch (port) {
      case 0x3c0:
        this.#writeAttribute(byte);
        return;
      case 0x3c2:
        s.miscellaneous = byte;
        this.changeCount++;
        return;
      case 0x3c3:
        s.isOn = byte & 1;
        return;
      case 0x3c4:
        s.sequencerIndex = byte & 7;
        return;
      case 0x3c5:
        this.#writeSequencer(s.sequencerIndex, byte);
        return;
      case 0x3c6:
        s.dacMask = byte;
        this.changeCount++;
        return;
      case 0x3c7:
        s.dacReadIndex = byte;
        s.dacPart = 0;
        s.isDACReading = true;
        return;
      case 0x3c8:
        s.dacWriteIndex = byte;
        s.dacPart = 0;
        s.isDACReading = false;
        return;
      case 0x3c9:
        this.#writeDAC(byte);
        return;
      case 0x3ce:
        s.graphicsIndex = byte & 0xf;
        return;
      case 0x3cf:
        this.#writeGraphics(s.graphicsIndex, byte);
        return;
      default:
        if (this.#isCRTCPort(port)) this.#writeCRTC(port & 0xf, byte);
    }
  }

  // Hot: each byte that a guest reads in a planar or text mode.
  /** A byte of the window, `offset` from 0xa0000; outside the selected part 0xff. */
  readMemory(offset: number): number {
    const s = this.state;
    const address = this.#windowAddress(offset);
    if (address < 0) return 0xff;
    if (this.dispi.isLinear) return this.vram[this.dispi.bankBytes + address] ?? 0xff;
    const { graphics } = s;
    let plane = graphics[GR_READ_MAP]!;
    let at = this.#planeOffset(address);
    if (s.sequencer[SEQ_MEMORY_MODE]! & MEMORY_CHAIN4) {
      plane = address & 3;
      at = address & ~3;
    } else if (graphics[GR_MODE]! & MODE_ODD_EVEN) plane = (plane & 2) | (address & 1);
    at = this.#wrapped(at);
    if (at < 0) return 0xff;
    s.latches = this.planes[at]!;
    return planarRead(graphics, s.latches, plane);
  }

  // Hot: each byte that a guest writes in a planar or text mode.
  /** Writes a byte of the window; outside the selected part nothing happens. */
  writeMemory(offset: number, value: number): void {
    const s = this.state;
    const address = this.#windowAddress(offset);
    if (address < 0) return;
    if (this.dispi.isLinear) {
      const at = this.dispi.bankBytes + address;
      if (at >= this.vram.length) return;
      this.beforeWrite(at, 1);
      this.vram[at] = value;
      this.onWrite(at, 1);
      return;
    }
    let planes = s.sequencer[SEQ_MAP_MASK]!;
    let at = this.#planeOffset(address);
    const memoryMode = s.sequencer[SEQ_MEMORY_MODE]!;
    if (memoryMode & MEMORY_CHAIN4) {
      planes &= 1 << (address & 3);
      at = address & ~3;
    } else if ((memoryMode & MEMORY_SEQUENTIAL) === 0) planes &= address & 1 ? 0b1010 : 0b0101;
    at = this.#wrapped(at);
    if (at < 0 || planes === 0) return;
    const mask = PLANE_BYTES[planes]!;
    const word = planarValue(s.graphics, s.latches, value);
    this.beforeWrite(at * 4, 4);
    this.planes[at] = (this.planes[at]! & ~mask) | (word & mask);
    this.onWrite(at * 4, 4);
  }

  /** Address within the selected part of the window, or -1. */
  #windowAddress(offset: number): number {
    const s = this.state;
    if ((s.miscellaneous & MISC_ENABLE_RAM) === 0) return -1;
    const [start, sizeBytes] = WINDOW_PARTS[(s.graphics[GR_MISCELLANEOUS]! >> 2) & 3]!;
    const address = offset - start;
    return address >= 0 && address < sizeBytes ? address : -1;
  }

  /** With odd and even chained, address bit 0 chooses the plane and bit 16 takes its place. */
  #planeOffset(address: number): number {
    if ((this.state.graphics[GR_MISCELLANEOUS]! & MISC_CHAIN_ODD_EVEN) === 0) return address;
    return (address & ~1) | (address >> 16);
  }

  /** A plane has 64 KiB; with the Bochs interface as much as there is, by banks; or -1. */
  #wrapped(at: number): number {
    if (!this.dispi.isOn) return at & 0xffff;
    const banked = this.dispi.bankBytes + at;
    return banked < this.planes.length ? banked : -1;
  }

  #isCRTCPort(port: number): boolean {
    const row = this.state.miscellaneous & MISC_COLOR_PORTS ? 0x3d0 : 0x3b0;
    return (port & 0x3f0) === row;
  }

  #readCRTC(offset: number): number {
    const s = this.state;
    if (offset === 4) return s.crtcIndex;
    if (offset === 5) return s.crtc[s.crtcIndex] ?? 0;
    if (offset !== 0xa) return 0xff;
    s.isAttributeData = false;
    return beamStatus(this.timing, this.#clock.nowNs());
  }

  #writeCRTC(offset: number, byte: number): void {
    const s = this.state;
    if (offset === 4) s.crtcIndex = byte & 0x1f;
    else if (offset === 0xa) s.feature = byte & 3;
    if (offset !== 5 || s.crtcIndex >= CRTC_COUNT) return;
    const index = s.crtcIndex;
    let next = byte;
    if (index <= CR_OVERFLOW && s.crtc[CR_RETRACE_END]! & RETRACE_END_PROTECT) {
      if (index !== CR_OVERFLOW) return;
      const kept = s.crtc[CR_OVERFLOW]! & ~OVERFLOW_LINE_COMPARE;
      next = kept | (byte & OVERFLOW_LINE_COMPARE);
    }
    if (s.crtc[index] === next) return;
    s.crtc[index] = next;
    if (!CURSOR_REGISTERS.includes(index)) this.changeCount++;
  }

  #writeSequencer(index: number, byte: number): void {
    const s = this.state;
    if (index >= SEQUENCER_COUNT) return;
    s.sequencer[index] = byte & SEQUENCER_BITS[index]!;
    if (index !== SEQ_MAP_MASK && index !== SEQ_MEMORY_MODE) this.changeCount++;
  }

  #writeGraphics(index: number, byte: number): void {
    const s = this.state;
    if (index >= GRAPHICS_COUNT) return;
    const before = s.graphics[index]!;
    s.graphics[index] = byte & GRAPHICS_BITS[index]!;
    if ((before ^ s.graphics[index]!) & GRAPHICS_SHOWN[index]!) this.changeCount++;
  }

  #writeAttribute(byte: number): void {
    const s = this.state;
    if (!s.isAttributeData) {
      if ((s.attributeIndex ^ byte) & ~0x1f & ATTRIBUTE_INDEX) this.changeCount++;
      s.attributeIndex = byte & ATTRIBUTE_INDEX;
    } else {
      const index = s.attributeIndex & 0x1f;
      const next = index < 0x10 ? byte & 0x3f : byte;
      if (index < ATTRIBUTE_COUNT && s.attribute[index] !== next) {
        s.attribute[index] = next;
        this.changeCount++;
      }
    }
    s.isAttributeData = !s.isAttributeData;
  }

  #readDAC(): number {
    const s = this.state;
    const byte = s.dac[s.dacReadIndex * 3 + s.dacPart]!;
    s.dacPart++;
    if (s.dacPart === 3) {
      s.dacPart = 0;
      s.dacReadIndex = (s.dacReadIndex + 1) & 0xff;
    }
    return byte;
  }

  #writeDAC(byte: number): void {
    const s = this.state;
    const part = this.dispi.hasWideDAC ? byte : byte & 0x3f;
    if (s.dacPart < 2) {
      s.dacHeld[s.dacPart++] = part;
      return;
    }
    s.dac.set(s.dacHeld, s.dacWriteIndex * 3);
    s.dac[s.dacWriteIndex * 3 + 2] = part;
    s.dacPart = 0;
    s.dacWriteIndex = (s.dacWriteIndex + 1) & 0xff;
    this.changeCount++;
  }
}
