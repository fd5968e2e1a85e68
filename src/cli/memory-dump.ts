// `xp` and `x`: memory as numbers, in QEMU's layout. QEMU documentation, "QEMU Monitor", x and xp.
// The one difference: `d` shows the sign, which QEMU 7.2 does not.

/** How to print: `/COUNT FORMAT SIZE`, such as `/16xw`. */
export interface DumpFormat {
  readonly count: number;
  /** Hexadecimal, decimal, unsigned, octal or character. */
  readonly radix: 'x' | 'd' | 'u' | 'o' | 'c';
  readonly sizeBytes: 1 | 2 | 4 | 8;
}

const SIZES: Readonly<Record<string, 1 | 2 | 4 | 8>> = { b: 1, h: 2, w: 4, g: 8 };
const COUNT_MAX = 65536;
const LINE_BYTES = 16;
const LINE_BYTES_NARROW = 8;

/**
 * Reads `/16xw`; parts that are missing are one word in hexadecimal, or a byte for `c`.
 * @throws {RangeError} for a letter that stands for nothing, or a count that is zero or too large
 */
export function parseDumpFormat(text: string): DumpFormat {
  const match = /^\/(\d*)([a-z]*)$/.exec(text);
  if (match === null) throw new RangeError(`The format must be like /16xw, got "${text}"`);
  const count = match[1] === '' ? 1 : Number(match[1]);
  if (count < 1 || count > COUNT_MAX)
    throw new RangeError(`The count must be from 1 to ${COUNT_MAX}, got ${match[1]}`);
  let radix: DumpFormat['radix'] = 'x';
  let sizeBytes: DumpFormat['sizeBytes'] | undefined;
  for (const letter of match[2]!) {
    if (letter in SIZES) sizeBytes = SIZES[letter]!;
    else if ('xduoc'.includes(letter)) radix = letter as DumpFormat['radix'];
    else if (letter === 'i') throw new RangeError('There is no disassembler: use /Nxb');
    else throw new RangeError(`The format has no letter "${letter}": x d u o c and b h w g`);
  }
  return { count, radix, sizeBytes: sizeBytes ?? (radix === 'c' ? 1 : 4) };
}

/** Characters a number may take, so that columns line up. */
function widthOf(radix: DumpFormat['radix'], sizeBytes: number): number {
  const bits = sizeBytes * 8;
  if (radix === 'o') return Math.ceil(bits / 3);
  return radix === 'x' ? bits / 4 : Math.ceil((bits * Math.LN2) / Math.LN10);
}

function character(code: number): string {
  const escapes: Readonly<Record<number, string>> = {
    9: '\\t',
    10: '\\n',
    13: '\\r',
    39: "\\'",
    92: '\\\\',
  };
  const isPrintable = code >= 0x20 && code < 0x7f;
  const plain = isPrintable
    ? String.fromCharCode(code)
    : `\\x${code.toString(16).padStart(2, '0')}`;
  return `'${escapes[code] ?? plain}'`;
}

function formatItem(view: DataView, offset: number, { radix, sizeBytes }: DumpFormat): string {
  let value = 0n;
  for (let index = sizeBytes - 1; index >= 0; index--)
    value = (value << 8n) | BigInt(view.getUint8(offset + index));
  const width = widthOf(radix, sizeBytes);
  switch (radix) {
    case 'x':
      return `0x${value.toString(16).padStart(width, '0')}`;
    case 'o':
      return `${value === 0n ? '' : '0'}${value.toString(8)}`.padStart(width);
    case 'u':
      return value.toString().padStart(width);
    case 'd':
      return BigInt.asIntN(sizeBytes * 8, value)
        .toString()
        .padStart(width);
    case 'c':
      return character(Number(value & 0xffn));
  }
}

/**
 * The lines for `bytes`, which begin at `address`.
 * @param addressDigits hexadecimal digits of the address before each line
 */
export function formatDump(
  bytes: Uint8Array,
  address: number,
  addressDigits: number,
  format: DumpFormat,
): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lineBytes = format.radix === 'c' || format.sizeBytes === 1 ? LINE_BYTES_NARROW : LINE_BYTES;
  let text = '';
  for (let start = 0; start < bytes.length; start += lineBytes) {
    text += `${(address + start).toString(16).padStart(addressDigits, '0')}:`;
    const end = Math.min(bytes.length, start + lineBytes);
    for (let offset = start; offset < end; offset += format.sizeBytes)
      text += ` ${formatItem(view, offset, format)}`;
    text += '\n';
  }
  return text;
}
