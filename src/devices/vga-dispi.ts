// The Bochs display interface of QEMU's standard VGA: modes of 4 to 32 bits a pixel in a linear
// framebuffer. QEMU documentation, "Standard VGA"; Bochs, "VBE Display API".
// Registers hold what a mode can have: a value out of range is brought into it as it is written.

import { defineState, type Savable, type SavedSection } from './saved-state.ts';
import {
  DISPI_BANK,
  DISPI_BPP,
  DISPI_COUNT,
  DISPI_ENABLE,
  DISPI_ID,
  DISPI_MEMORY_64K,
  DISPI_VIRT_HEIGHT,
  DISPI_VIRT_WIDTH,
  DISPI_X_OFFSET,
  DISPI_XRES,
  DISPI_Y_OFFSET,
  DISPI_YRES,
  ENABLE_8BIT_DAC,
  ENABLE_CAPABILITIES,
  ENABLE_LFB,
  ENABLE_NO_CLEAR,
  ENABLE_ON,
} from './vga-registers.ts';

const ID_FIRST = 0xb0c0;
const ID_LAST = 0xb0c5;
const XRES_MAX = 16000;
const YRES_MAX = 12000;
const BPP_MAX = 32;
/** The most pixels of a frame: what a picture of it may cost. */
const PIXELS_MAX = 2 ** 24;
const DEPTHS = [4, 8, 15, 16, 24, 32];

/** What the display shows while the interface is on. Bytes count from the start of video memory. */
export interface LinearMode {
  readonly bitsPerPixel: number;
  readonly width: number;
  readonly height: number;
  /** Of the first pixel; with 4 bits a pixel, of each plane. */
  readonly startByte: number;
  /** From one line to the next; with 4 bits a pixel, of each plane. */
  readonly pitchBytes: number;
}

function powerOnState() {
  return { index: 0, registers: new Uint16Array(DISPI_COUNT) };
}

type DISPIState = ReturnType<typeof powerOnState>;

export class BochsDISPI implements Savable {
  static readonly schema = defineState<DISPIState>('vga-dispi', 1, {
    index: { id: 1, type: 'u16', since: 1 },
    registers: { id: 2, type: 'u16', since: 1, length: DISPI_COUNT },
  });

  // Configuration.
  readonly #memoryBytes: number;
  // Wiring, set once by its VGA.
  /** What is shown may be another thing now. */
  onChange: () => void = () => {};
  /** A mode was set that begins with a black screen: so many bytes of video memory. */
  onClear: (sizeBytes: number) => void = () => {};
  // State, all of it saved.
  readonly state: DISPIState = powerOnState();

  constructor(memoryBytes: number) {
    this.#memoryBytes = memoryBytes;
    this.reset();
  }

  reset(): void {
    this.state.index = 0;
    this.state.registers.fill(0);
    this.state.registers[DISPI_ID] = ID_LAST;
    this.onChange();
  }

  save(): SavedSection {
    return BochsDISPI.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    BochsDISPI.schema.restore(section, this.state);
    // A state from elsewhere may not make a frame leave the memory either.
    if (this.isOn) this.#fit();
    this.onChange();
  }

  get isOn(): boolean {
    return (this.state.registers[DISPI_ENABLE]! & ENABLE_ON) !== 0;
  }

  /** On, and bytes of the window are bytes of video memory. */
  get isLinear(): boolean {
    return this.isOn && this.state.registers[DISPI_BPP] !== 4;
  }

  get hasWideDAC(): boolean {
    return (this.state.registers[DISPI_ENABLE]! & ENABLE_8BIT_DAC) !== 0;
  }

  /** Offset in video memory (of each plane, with 4 bits a pixel) that the window shows, bytes. */
  get bankBytes(): number {
    return this.isOn ? this.state.registers[DISPI_BANK]! * 0x1_0000 : 0;
  }

  /** What is shown, or undefined while the interface is off. */
  get mode(): LinearMode | undefined {
    if (!this.isOn) return undefined;
    const r = this.state.registers;
    const bitsPerPixel = r[DISPI_BPP]!;
    const pitchBytes = this.#bytesOf(r[DISPI_VIRT_WIDTH]!);
    const startByte = r[DISPI_Y_OFFSET]! * pitchBytes + this.#bytesOf(r[DISPI_X_OFFSET]!);
    return { bitsPerPixel, width: r[DISPI_XRES]!, height: r[DISPI_YRES]!, startByte, pitchBytes };
  }

  readIndex(): number {
    return this.state.index;
  }

  writeIndex(value: number): void {
    this.state.index = value & 0xffff;
  }

  readData(): number {
    return this.readRegister(this.state.index);
  }

  writeData(value: number): void {
    this.writeRegister(this.state.index, value);
  }

  /** Register `index`; unknown ones read as 0. */
  readRegister(index: number): number {
    const r = this.state.registers;
    if (index === DISPI_MEMORY_64K) return this.#memoryBytes / 0x1_0000;
    if ((r[DISPI_ENABLE]! & ENABLE_CAPABILITIES) !== 0) {
      if (index === DISPI_XRES) return XRES_MAX;
      if (index === DISPI_YRES) return YRES_MAX;
      if (index === DISPI_BPP) return BPP_MAX;
    }
    return r[index] ?? 0;
  }

  /** Unknown registers, and values that an ID or a depth cannot have, are ignored. */
  writeRegister(index: number, value: number): void {
    const r = this.state.registers;
    const word = value & 0xffff;
    switch (index) {
      case DISPI_ID:
        if (word >= ID_FIRST && word <= ID_LAST) r[DISPI_ID] = word;
        return;
      case DISPI_BPP:
        if (word === 0 || DEPTHS.includes(word)) r[DISPI_BPP] = word === 0 ? 8 : word;
        break;
      case DISPI_ENABLE:
        this.#enable(word);
        return;
      case DISPI_BANK:
        // Banks behind the end of memory show nothing, and are written all the same.
        r[DISPI_BANK] = word;
        return;
      case DISPI_XRES:
      case DISPI_YRES:
      case DISPI_VIRT_WIDTH:
      case DISPI_X_OFFSET:
      case DISPI_Y_OFFSET:
        r[index] = word;
        break;
      default:
        return; // The virtual height follows from the memory; the rest is not there.
    }
    if (this.isOn) this.#fit();
    this.onChange();
  }

  #enable(word: number): void {
    const r = this.state.registers;
    const wasOn = this.isOn;
    r[DISPI_ENABLE] =
      word & (ENABLE_ON | ENABLE_CAPABILITIES | ENABLE_8BIT_DAC | ENABLE_LFB | ENABLE_NO_CLEAR);
    if (this.isOn && !wasOn) {
      r[DISPI_VIRT_WIDTH] = 0;
      r[DISPI_X_OFFSET] = 0;
      r[DISPI_Y_OFFSET] = 0;
      this.#fit();
      const planes = r[DISPI_BPP] === 4 ? 4 : 1;
      if ((word & ENABLE_NO_CLEAR) === 0)
        this.onClear(r[DISPI_YRES]! * this.#bytesOf(r[DISPI_VIRT_WIDTH]!) * planes);
    }
    if (!this.isOn) r[DISPI_BANK] = 0;
    this.onChange();
  }

  /** Brings all registers into what fits the memory: a frame never leaves it. */
  #fit(): void {
    const r = this.state.registers;
    const clamp = (value: number, min: number, max: number) => Math.max(min, Math.min(max, value));
    if (!DEPTHS.includes(r[DISPI_BPP]!)) r[DISPI_BPP] = 8;
    r[DISPI_XRES] = clamp(r[DISPI_XRES]!, 8, XRES_MAX) & ~7;
    r[DISPI_VIRT_WIDTH] = clamp(r[DISPI_VIRT_WIDTH]!, r[DISPI_XRES]!, XRES_MAX) & ~7;
    const planes = r[DISPI_BPP] === 4 ? 4 : 1;
    const lineCount = Math.floor(this.#memoryBytes / planes / this.#bytesOf(r[DISPI_VIRT_WIDTH]!));
    const heightMax = Math.floor(PIXELS_MAX / r[DISPI_XRES]!);
    r[DISPI_YRES] = clamp(r[DISPI_YRES]!, 1, Math.min(YRES_MAX, lineCount, heightMax));
    r[DISPI_VIRT_HEIGHT] = Math.min(0xffff, lineCount);
    r[DISPI_X_OFFSET] = clamp(r[DISPI_X_OFFSET]!, 0, r[DISPI_VIRT_WIDTH]! - r[DISPI_XRES]!);
    // One pixel less than a line at the end may be cut off by the horizontal offset.
    r[DISPI_Y_OFFSET] = clamp(r[DISPI_Y_OFFSET]!, 0, lineCount - r[DISPI_YRES]!);
  }

  /** Bytes of `pixels` in a line; with 4 bits a pixel, of each plane. */
  #bytesOf(pixels: number): number {
    const bits = this.state.registers[DISPI_BPP]!;
    if (bits === 4) return pixels >> 3;
    return pixels * ((bits + 7) >> 3);
  }
}
