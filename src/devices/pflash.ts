// A NOR flash chip of 8 bits with Intel's command set, as firmware finds on a board. JEDEC JEP137B
// (command set 0x0001), JESD68.01 "Common Flash Interface (CFI)"; Intel StrataFlash Memory (J3)
// data sheet (290667), table 4 "Command Bus-Cycle Definitions" and section 7.5 "Write Buffer".
//
// In read-array mode the chip is memory (the region is in ROMD mode); a command takes it out of it,
// until 0xff. Erasing and programming take no time: status reads as ready at once.

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const READ_ARRAY = 0xff;
const READ_IDENTIFIER = 0x90;
const READ_QUERY = 0x98;
const READ_STATUS = 0x70;
const CLEAR_STATUS = 0x50;
const PROGRAM = 0x40;
const PROGRAM_ALTERNATE = 0x10;
const BLOCK_ERASE = 0x20;
const LOCK = 0x60;
const BUFFERED_PROGRAM = 0xe8;
const SUSPEND = 0xb0;
const CONFIRM = 0xd0;
const LOCK_CONFIRM = 0x01;

const STATUS_READY = 0x80;
const STATUS_ERASE_ERROR = 0x20;
const STATUS_PROGRAM_ERROR = 0x10;
const STATUS_LOCKED = 0x02;
/** Both error bits: a command sequence that makes no sense. */
const STATUS_SEQUENCE_ERROR = STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR;

const MAKER = 0x89;
const DEVICE = 0x18;
export const FLASH_BLOCK_BYTES = 0x1_0000;
/** Write buffer: 2^6 bytes. */
const BUFFER_BITS = 6;
const BUFFER_BYTES = 1 << BUFFER_BITS;

/** What the chip does with the next write. Reads follow `readMode`. */
const EXPECT_COMMAND = 0;
const EXPECT_PROGRAM = 1;
const EXPECT_ERASE_CONFIRM = 2;
const EXPECT_LOCK_CONFIRM = 3;
const EXPECT_COUNT = 4;
const EXPECT_DATA = 5;
const EXPECT_PROGRAM_CONFIRM = 6;

const READ_MODES = [READ_ARRAY, READ_IDENTIFIER, READ_QUERY, READ_STATUS];

function powerOnState() {
  return {
    readMode: READ_ARRAY,
    expected: EXPECT_COMMAND,
    status: STATUS_READY,
    /** Buffered program: where it began, how many bytes are to come, and what came. */
    bufferAt: 0,
    bufferLeft: 0,
    bufferOffsets: [] as number[],
    bufferValues: [] as number[],
  };
}

type FlashState = ReturnType<typeof powerOnState> & { locks: Uint8Array };

/** CFI query table, from its address 0x10 on: JESD68.01, sections 4.3.2 to 4.3.4. */
function queryTable(sizeBytes: number): Uint8Array {
  const blocks = sizeBytes / FLASH_BLOCK_BYTES - 1;
  const table = new Uint8Array(0x40);
  table.set([0x51, 0x52, 0x59], 0x10); // "QRY"
  table.set([0x01, 0x00, 0x31, 0x00, 0, 0, 0, 0], 0x13); // Command set 1, table at 0x31.
  table.set([0x45, 0x55, 0, 0], 0x1b); // Volts.
  table.set([7, 7, 10, 0, 4, 4, 4, 0], 0x1f); // Times, as powers of two.
  table[0x27] = Math.ceil(Math.log2(sizeBytes));
  table.set([0x00, 0x00, BUFFER_BITS, 0x00, 1], 0x28); // 8 bits wide; one region of equal blocks:
  table.set([blocks & 0xff, blocks >> 8, (FLASH_BLOCK_BYTES >> 8) & 0xff, 1], 0x2d);
  table.set([0x50, 0x52, 0x49, 0x31, 0x30], 0x31); // "PRI", version 1.0
  return table;
}

export class PFlash implements Savable {
  // Configuration.
  readonly #bytes: Uint8Array;
  readonly #query: Uint8Array;
  readonly #schema;
  // Wiring, set once by the machine.
  /** Whether reads come from memory now. */
  onReadMode: (isArray: boolean) => void = () => {};
  /** The chip changed `sizeBytes` of its memory at `offset`. */
  onChange: (offset: number, sizeBytes: number) => void = () => {};
  // State, all of it saved; the memory is a RAM block.
  readonly state: FlashState;

  /**
   * @param bytes the chip's memory, which its owner shows to the guest and keeps
   * @throws {RangeError} if it is not whole blocks of 64 KiB
   */
  constructor(name: string, bytes: Uint8Array) {
    if (bytes.length === 0 || bytes.length % FLASH_BLOCK_BYTES !== 0)
      throw new RangeError(
        `Cannot create flash "${name}" as its size must be a multiple of 64 KiB: ` +
          `it is ${bytes.length} bytes`,
      );
    this.#bytes = bytes;
    this.#query = queryTable(bytes.length);
    const blockCount = bytes.length / FLASH_BLOCK_BYTES;
    this.state = { ...powerOnState(), locks: new Uint8Array(blockCount) };
    this.#schema = defineState<FlashState>(name, 1, {
      readMode: { id: 1, type: 'u8', since: 1 },
      expected: { id: 2, type: 'u8', since: 1 },
      status: { id: 3, type: 'u8', since: 1 },
      bufferAt: { id: 4, type: 'u32', since: 1 },
      bufferLeft: { id: 5, type: 'u8', since: 1 },
      bufferOffsets: { id: 6, type: 'u32', since: 1, maxLength: BUFFER_BYTES },
      bufferValues: { id: 7, type: 'u8', since: 1, maxLength: BUFFER_BYTES },
      locks: { id: 8, type: 'u8', since: 1, length: blockCount },
    });
  }

  get schema() {
    return this.#schema;
  }

  /** Power-on state: reads are memory, no block is locked. Memory keeps what it holds. */
  reset(): void {
    Object.assign(this.state, powerOnState());
    this.state.locks.fill(0);
    this.onReadMode(true);
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
    this.onReadMode(this.state.readMode === READ_ARRAY);
  }

  /** A read at `offset` while the chip is not memory. */
  read(offset: number): number {
    const s = this.state;
    switch (s.readMode) {
      case READ_IDENTIFIER:
        return this.#identifier(offset);
      case READ_QUERY:
        return this.#query[offset & 0xff] ?? 0;
      case READ_STATUS:
        return s.status;
      default:
        return this.#bytes[offset] ?? 0xff;
    }
  }

  /** A write of a byte at `offset`: a command, or what one waits for. */
  write(offset: number, value: number): void {
    if (offset >= this.#bytes.length) return;
    const byte = value & 0xff;
    const s = this.state;
    switch (s.expected) {
      case EXPECT_PROGRAM:
        s.expected = EXPECT_COMMAND;
        this.#program([offset], [byte]);
        break;
      case EXPECT_ERASE_CONFIRM:
        s.expected = EXPECT_COMMAND;
        if (byte === CONFIRM) this.#erase(offset);
        else this.#fail(STATUS_SEQUENCE_ERROR);
        break;
      case EXPECT_LOCK_CONFIRM:
        s.expected = EXPECT_COMMAND;
        if (byte === LOCK_CONFIRM) s.locks[this.#blockOf(offset)] = 1;
        else if (byte === CONFIRM)
          s.locks.fill(0); // "Clear block lock-bits" clears all.
        else this.#fail(STATUS_SEQUENCE_ERROR);
        break;
      case EXPECT_COUNT:
        this.#beginBuffer(offset, byte);
        break;
      case EXPECT_DATA:
        this.#fillBuffer(offset, byte);
        break;
      case EXPECT_PROGRAM_CONFIRM:
        this.#endBuffer(byte);
        break;
      default:
        this.#command(byte);
    }
  }

  #command(byte: number): void {
    const s = this.state;
    if (READ_MODES.includes(byte)) {
      this.#setReadMode(byte);
      return;
    }
    switch (byte) {
      case CLEAR_STATUS:
        s.status = STATUS_READY;
        break;
      case PROGRAM:
      case PROGRAM_ALTERNATE:
        s.expected = EXPECT_PROGRAM;
        this.#setReadMode(READ_STATUS);
        break;
      case BLOCK_ERASE:
        s.expected = EXPECT_ERASE_CONFIRM;
        this.#setReadMode(READ_STATUS);
        break;
      case LOCK:
        s.expected = EXPECT_LOCK_CONFIRM;
        this.#setReadMode(READ_STATUS);
        break;
      case BUFFERED_PROGRAM:
        s.expected = EXPECT_COUNT;
        this.#setReadMode(READ_STATUS);
        break;
      case SUSPEND:
      case CONFIRM: // Resume: nothing is ever under way.
        this.#setReadMode(READ_STATUS);
        break;
      default:
        // What guests write to see whether this is a flash chip at all, zeros among it.
        this.#setReadMode(READ_ARRAY);
    }
  }

  #beginBuffer(offset: number, lessOne: number): void {
    const s = this.state;
    if (lessOne >= BUFFER_BYTES) {
      s.expected = EXPECT_COMMAND;
      this.#fail(STATUS_SEQUENCE_ERROR);
      return;
    }
    s.bufferAt = this.#blockOf(offset);
    s.bufferLeft = lessOne + 1;
    s.bufferOffsets = [];
    s.bufferValues = [];
    s.expected = EXPECT_DATA;
  }

  #fillBuffer(offset: number, byte: number): void {
    const s = this.state;
    s.bufferOffsets.push(offset);
    s.bufferValues.push(byte);
    s.bufferLeft--;
    if (s.bufferLeft <= 0) s.expected = EXPECT_PROGRAM_CONFIRM;
  }

  #endBuffer(byte: number): void {
    const s = this.state;
    const { bufferOffsets: offsets, bufferValues: values } = s;
    s.expected = EXPECT_COMMAND;
    s.bufferOffsets = [];
    s.bufferValues = [];
    const isInBlock = offsets.every((each) => this.#blockOf(each) === s.bufferAt);
    if (byte !== CONFIRM || !isInBlock) this.#fail(STATUS_SEQUENCE_ERROR);
    else this.#program(offsets, values);
  }

  /** Programming clears bits; only an erase sets them. */
  #program(offsets: readonly number[], values: readonly number[]): void {
    if (offsets.some((offset) => this.#isLocked(offset))) {
      this.#fail(STATUS_PROGRAM_ERROR | STATUS_LOCKED);
      return;
    }
    for (const [i, offset] of offsets.entries()) {
      this.#bytes[offset]! &= values[i]!;
      this.onChange(offset, 1);
    }
  }

  #erase(offset: number): void {
    if (this.#isLocked(offset)) {
      this.#fail(STATUS_ERASE_ERROR | STATUS_LOCKED);
      return;
    }
    const start = this.#blockOf(offset) * FLASH_BLOCK_BYTES;
    this.#bytes.fill(0xff, start, start + FLASH_BLOCK_BYTES);
    this.onChange(start, FLASH_BLOCK_BYTES);
  }

  #fail(bits: number): void {
    this.state.status |= bits;
  }

  #identifier(offset: number): number {
    switch (offset & 0xff) {
      case 0:
        return MAKER;
      case 1:
        return DEVICE;
      case 2:
        return this.#isLocked(offset) ? 1 : 0;
      default:
        return 0;
    }
  }

  #isLocked(offset: number): boolean {
    return this.state.locks[this.#blockOf(offset)] === 1;
  }

  #blockOf(offset: number): number {
    return Math.floor(offset / FLASH_BLOCK_BYTES);
  }

  #setReadMode(mode: number): void {
    const wasArray = this.state.readMode === READ_ARRAY;
    this.state.readMode = mode;
    const isArray = mode === READ_ARRAY;
    if (isArray !== wasArray) this.onReadMode(isArray);
  }
}
