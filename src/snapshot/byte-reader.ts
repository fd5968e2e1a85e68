// Little-endian bytes in and out, for the two binary blobs. The reader checks every length against
// what is left before it is believed.

import { SnapshotError, type SnapshotErrorCode } from './snapshot-error.ts';

/** Arguments of one call, few enough for any stack. */
const PIECE_BYTES = 4096;

/** UTF-8 without TextDecoder, which is a platform's. */
export function decodeUTF8(bytes: Uint8Array): string | undefined {
  let bits = 0;
  for (let i = 0; i < bytes.length; i++) bits |= bytes[i]!;
  if (bits < 0x80) {
    let text = '';
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      const piece = bytes.subarray(start, start + PIECE_BYTES);
      // Spreading would ask an iterator for each byte: a manifest is read at every load.
      text += Reflect.apply(String.fromCharCode, undefined, piece);
    }
    return text;
  }
  let escaped = '';
  for (const byte of bytes) escaped += `%${byte.toString(16).padStart(2, '0')}`;
  try {
    return decodeURIComponent(escaped);
  } catch {
    return undefined;
  }
}

/** UTF-8 of `text`; a lone surrogate becomes U+FFFD. */
export function encodeUTF8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    let code = character.codePointAt(0)!;
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000)
      bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else
      bytes.push(
        0xf0 | (code >> 18),
        0x80 | ((code >> 12) & 63),
        0x80 | ((code >> 6) & 63),
        0x80 | (code & 63),
      );
  }
  return Uint8Array.from(bytes);
}

/** Reads a blob from front to back. */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #subject: string;
  #offset = 0;

  /** @param subject what is read, for messages: `page index of snapshot "x"` */
  constructor(bytes: Uint8Array, subject: string) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#subject = subject;
  }

  get offset(): number {
    return this.#offset;
  }

  get restBytes(): number {
    return this.bytes.length - this.#offset;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** An unsigned 64-bit number that must be exact as a double. */
  u64(): number {
    const low = this.u32();
    const high = this.u32();
    if (high >= 2 ** 21) this.fail('TOO_LARGE', 'a number is over 2^53');
    return high * 2 ** 32 + low;
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }

  /** The next `count` bytes, not copied. */
  take(count: number): Uint8Array {
    const start = this.#take(count);
    return this.bytes.subarray(start, start + count);
  }

  /** A name: its length as u16, then UTF-8. */
  name(lengthMax: number): string {
    const length = this.u16();
    if (length === 0 || length > lengthMax)
      this.fail('CORRUPT', `a name must have 1 to ${lengthMax} bytes, got ${length}`);
    return decodeUTF8(this.take(length)) ?? this.fail('CORRUPT', 'a name is not UTF-8');
  }

  /** A count, checked against its limit and against the bytes that are left. */
  count(what: string, value: number, max: number, bytesEach: number): number {
    if (value > max) this.fail('TOO_LARGE', `${what} must be at most ${max}, got ${value}`);
    if (value * bytesEach > this.restBytes)
      this.fail('CORRUPT', `${value} ${what} cannot be in the ${this.restBytes} bytes that follow`);
    return value;
  }

  /** @throws {SnapshotError} if bytes are left */
  end(): void {
    if (this.restBytes !== 0)
      this.fail('CORRUPT', `nothing must follow, ${this.restBytes} bytes do`);
  }

  fail(code: SnapshotErrorCode, detail: string): never {
    throw new SnapshotError(
      code,
      `Cannot read ${this.#subject} at byte ${this.#offset}: ${detail}`,
      { subject: this.#subject, offset: this.#offset },
    );
  }

  #take(count: number): number {
    const start = this.#offset;
    if (count > this.restBytes)
      this.fail('CORRUPT', `${count} bytes must follow, ${this.restBytes} do`);
    this.#offset += count;
    return start;
  }
}

const FIRST_CAPACITY_BYTES = 4096;

/** Builds a blob from front to back. */
export class ByteBuilder {
  #bytes = new Uint8Array(FIRST_CAPACITY_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  u8(value: number): void {
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
  }

  u16(value: number): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: number): void {
    this.u32(value % 2 ** 32);
    this.u32(Math.floor(value / 2 ** 32));
  }

  f64(value: number): void {
    const at = this.#grow(8);
    this.#view.setFloat64(at, value, true);
  }

  put(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length); // May change `#bytes`.
    this.#bytes.set(bytes, at);
  }

  /** A name as `ByteReader.name` reads it. */
  name(text: string, lengthMax: number): void {
    const bytes = encodeUTF8(text);
    if (bytes.length === 0 || bytes.length > lengthMax)
      throw new RangeError(
        `Cannot write name "${text}" as it must have 1 to ${lengthMax} bytes: ${bytes.length}`,
      );
    this.u16(bytes.length);
    this.put(bytes);
  }

  /** What was written; the builder must not be used again. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(count: number): number {
    const start = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, start));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }
}
