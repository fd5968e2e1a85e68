// Multiboot images. Multiboot Specification version 0.6.96, sections 3.1 "OS image format", 3.2
// "Machine state" and 3.3 "Boot information format".
//
//   0x01000  GDT    0x02000  boot information, memory map, strings    the image where it asks
//   modules on page boundaries above the image

import { hex } from '../../base/hex.ts';
import { RAM_BELOW_4G_END, VGA_HOLE } from '../memory-map.ts';
import { BootError, type BootImage, type BootSegment, FLAT_GDT } from './boot-target.ts';
import { BASE_MEMORY_END, memoryMap, TABLES_END, TABLES_START } from './e820.ts';

const HEADER_MAGIC = 0x1bad_b002;
const LOADER_MAGIC = 0x2bad_b002;
/** The header lies in the first 8192 bytes of the image, on a multiple of four. */
const SEARCH_BYTES = 8192;
const FLAG_PAGE_ALIGN = 0x1;
const FLAG_MEMORY = 0x2;
const FLAG_VIDEO = 0x4;
/** Flags of the low half that the loader must know, or refuse. */
const FLAGS_KNOWN = FLAG_PAGE_ALIGN | FLAG_MEMORY | FLAG_VIDEO;
const FLAG_ADDRESSES = 0x1_0000;
const HEADER_BYTES = 12;
const HEADER_ADDRESSES_BYTES = 32;
const INFO_MEMORY = 0x001;
const INFO_COMMAND_LINE = 0x004;
const INFO_MODULES = 0x008;
const INFO_MEMORY_MAP = 0x040;
const INFO_LOADER_NAME = 0x200;
const LOADER_NAME = 'quire';
const GDT_GPA = 0x1000;
const INFO_GPA = 0x2000;
/** Boot information, strings and tables end before this. */
const INFO_END = 0x1_0000;
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
const PAGE_BYTES = 4096;
const MODULE_COUNT_MAX = 256;
const ELF_SEGMENT_COUNT_MAX = 256;
const ELF_PT_LOAD = 1;
const WHAT = 'multiboot kernel';

export interface MultibootOptions {
  readonly kernel: Uint8Array;
  readonly modules: readonly { readonly bytes: Uint8Array; readonly commandLine?: string }[];
  readonly commandLine: string;
  readonly memoryBytes: number;
}

/** Where in the image the header is, and its flags. */
export interface MultibootHeader {
  readonly offset: number;
  readonly flags: number;
}

/** Finds the header, or undefined: magic, flags and checksum add up to zero. */
export function findMultibootHeader(image: Uint8Array): MultibootHeader | undefined {
  const view = viewOf(image);
  const end = Math.min(image.length, SEARCH_BYTES) - HEADER_BYTES;
  for (let offset = 0; offset <= end; offset += 4) {
    if (view.getUint32(offset, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(offset + 4, true);
    const sum = HEADER_MAGIC + flags + view.getUint32(offset + 8, true);
    if (sum % 2 ** 32 === 0) return { offset, flags };
  }
  return undefined;
}

/**
 * Lays an image, its modules and the boot information out in memory.
 * @throws {BootError} if one of them is broken or does not fit
 */
export function loadMultiboot(options: MultibootOptions): BootImage {
  const { kernel, memoryBytes, modules } = options;
  const header = findMultibootHeader(kernel);
  if (header === undefined)
    throw new BootError(WHAT, 'a multiboot header must be in its first 8192 bytes, there is none');
  const unknown = header.flags & 0xffff & ~FLAGS_KNOWN;
  if (unknown !== 0) throw new BootError(WHAT, `it requires unknown features ${hex(unknown)}`);
  const ramEnd = Math.min(memoryBytes, RAM_BELOW_4G_END);
  const image = header.flags & FLAG_ADDRESSES ? loadPlain(kernel, header) : loadELF(kernel);
  for (const segment of image.segments) checkInRAM(segment, ramEnd);

  if (modules.length > MODULE_COUNT_MAX)
    throw new BootError(WHAT, `at most ${MODULE_COUNT_MAX} modules, got ${modules.length}`);
  const segments = [...image.segments];
  // No segment lies below 1 MiB's tables and above; modules follow the highest.
  let next = Math.max(TABLES_END, ...segments.map((segment) => endOf(segment)));
  const placed = modules.map(({ bytes, commandLine }) => {
    next = Math.ceil(next / PAGE_BYTES) * PAGE_BYTES;
    const segment = { gpa: next, bytes };
    if (endOf(segment) > ramEnd)
      throw new BootError(WHAT, `a module of ${bytes.length} bytes must fit below ${hex(ramEnd)}`);
    segments.push(segment);
    next = endOf(segment);
    return { start: segment.gpa, end: next, commandLine: commandLine ?? '' };
  });
  segments.push({ gpa: GDT_GPA, bytes: FLAT_GDT });
  segments.push({ gpa: INFO_GPA, bytes: buildInfo(options, placed) });
  return {
    segments,
    entry: {
      eip: image.entry,
      codeSelector: CODE_SELECTOR,
      dataSelector: DATA_SELECTOR,
      gdtGpa: GDT_GPA,
      gdtBytes: FLAT_GDT.length,
      eax: LOADER_MAGIC,
      ebx: INFO_GPA,
    },
  };
}

interface Loaded {
  readonly segments: readonly BootSegment[];
  readonly entry: number;
}

/** The "a.out kludge": the header itself says what goes where. */
function loadPlain(kernel: Uint8Array, header: MultibootHeader): Loaded {
  const { offset } = header;
  if (offset + HEADER_ADDRESSES_BYTES > kernel.length)
    throw new BootError(WHAT, `its header must hold addresses, the image ends in it`);
  const view = viewOf(kernel);
  const [headerGpa, loadGpa, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((at) =>
    view.getUint32(offset + at, true),
  ) as [number, number, number, number, number];
  const fileStart = offset - (headerGpa - loadGpa);
  if (headerGpa < loadGpa || fileStart < 0)
    throw new BootError(
      WHAT,
      `load address ${hex(loadGpa)} must lie at or before the header's ${hex(headerGpa)} and in ` +
        'the file',
    );
  const sizeBytes = loadEnd === 0 ? kernel.length - fileStart : loadEnd - loadGpa;
  if (sizeBytes <= 0 || fileStart + sizeBytes > kernel.length)
    throw new BootError(
      WHAT,
      `the image must hold ${hex(sizeBytes)} bytes from ${hex(fileStart)} on, ` +
        `it has ${hex(kernel.length)}`,
    );
  const zeroBytes = bssEnd === 0 ? 0 : bssEnd - (loadGpa + sizeBytes);
  if (zeroBytes < 0)
    throw new BootError(WHAT, `the end of its BSS ${hex(bssEnd)} must not lie in its data`);
  const bytes = kernel.subarray(fileStart, fileStart + sizeBytes);
  return { segments: [{ gpa: loadGpa, bytes, zeroBytes }], entry };
}

/** ELF, 32 bits: System V ABI, "Object Files", "Program Loading". Physical addresses count. */
function loadELF(kernel: Uint8Array): Loaded {
  const fail = (detail: string): never => {
    throw new BootError(WHAT, detail);
  };
  const view = viewOf(kernel);
  if (kernel.length < 52 || view.getUint32(0, false) !== 0x7f45_4c46)
    return fail('without addresses in its header it must be an ELF file');
  if (kernel[4] !== 1 || kernel[5] !== 1) return fail('its ELF must be 32 bits and little-endian');
  if (view.getUint16(18, true) !== 3) return fail('its ELF must be for i386');
  const entry = view.getUint32(24, true);
  const tableStart = view.getUint32(28, true);
  const entryBytes = view.getUint16(42, true);
  const count = view.getUint16(44, true);
  if (entryBytes < 32 || count === 0 || count > ELF_SEGMENT_COUNT_MAX)
    return fail(`it must have 1 to ${ELF_SEGMENT_COUNT_MAX} program headers, it has ${count}`);
  if (tableStart + count * entryBytes > kernel.length)
    return fail(`its program headers at ${hex(tableStart)} must lie in the file`);
  const segments: BootSegment[] = [];
  let physicalEntry = entry;
  for (let i = 0; i < count; i++) {
    const at = tableStart + i * entryBytes;
    const field = (index: number) => view.getUint32(at + index * 4, true);
    if (field(0) !== ELF_PT_LOAD) continue;
    const [start, linear, gpa, fileBytes, memoryBytes] = [1, 2, 3, 4, 5].map(field) as [
      number,
      number,
      number,
      number,
      number,
    ];
    if (memoryBytes === 0) continue;
    if (fileBytes > memoryBytes || start + fileBytes > kernel.length)
      return fail(`program header ${i} must describe bytes in the file`);
    const bytes = kernel.subarray(start, start + fileBytes);
    segments.push({ gpa, bytes, zeroBytes: memoryBytes - fileBytes });
    // The entry point is linear; it is called without paging.
    if (entry >= linear && entry - linear < memoryBytes) physicalEntry = entry - linear + gpa;
  }
  if (segments.length === 0) return fail('it must have something to load');
  return { segments, entry: physicalEntry };
}

function endOf(segment: BootSegment): number {
  return segment.gpa + segment.bytes.length + (segment.zeroBytes ?? 0);
}

function checkInRAM(segment: BootSegment, ramEnd: number): void {
  const { gpa } = segment;
  const end = endOf(segment);
  const isLow = gpa >= INFO_END && end <= BASE_MEMORY_END;
  const isBetween = gpa >= VGA_HOLE.end && end <= TABLES_START;
  const isHigh = gpa >= TABLES_END && end <= ramEnd;
  if (!isLow && !isBetween && !isHigh)
    throw new BootError(
      WHAT,
      `it must lie in free RAM (${hex(INFO_END)}–${hex(BASE_MEMORY_END)} or ` +
        `${hex(TABLES_END)}–${hex(ramEnd)}), it wants ${hex(gpa)}–${hex(end)}`,
    );
}

/** Boot information, with all that it points to behind it. */
function buildInfo(
  options: MultibootOptions,
  modules: readonly {
    readonly start: number;
    readonly end: number;
    readonly commandLine: string;
  }[],
): Uint8Array {
  const { commandLine, memoryBytes } = options;
  const bytes = new Uint8Array(INFO_END - INFO_GPA);
  const view = viewOf(bytes);
  let next = 128;
  const take = (sizeBytes: number): number => {
    const at = next;
    next += (sizeBytes + 3) & ~3;
    if (next > bytes.length)
      throw new BootError(WHAT, `its strings must fit in ${bytes.length} bytes with the tables`);
    return at;
  };
  const putText = (text: string): number => {
    const codes = [...text].map((character) => character.codePointAt(0)!);
    const bad = codes.find((code) => code === 0 || code > 0xff);
    if (bad !== undefined)
      throw new BootError(WHAT, `its strings must hold Latin-1 characters, found ${hex(bad)}`);
    const at = take(codes.length + 1);
    bytes.set(codes, at);
    return INFO_GPA + at;
  };
  const flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MEMORY_MAP | INFO_LOADER_NAME;
  const upperBytes = Math.min(memoryBytes, RAM_BELOW_4G_END) - TABLES_END;
  view.setUint32(0, flags, true);
  view.setUint32(4, BASE_MEMORY_END >> 10, true);
  view.setUint32(8, Math.max(0, upperBytes) >>> 10, true);
  view.setUint32(16, putText(commandLine), true);
  const table = take(modules.length * 16);
  view.setUint32(20, modules.length, true);
  view.setUint32(24, INFO_GPA + table, true);
  for (const [index, one] of modules.entries()) {
    view.setUint32(table + index * 16, one.start, true);
    view.setUint32(table + index * 16 + 4, one.end, true);
    view.setUint32(table + index * 16 + 8, putText(one.commandLine), true);
  }
  const map = memoryMap(memoryBytes);
  const mapStart = take(map.length * 24);
  view.setUint32(44, map.length * 24, true);
  view.setUint32(48, INFO_GPA + mapStart, true);
  for (const [index, entry] of map.entries()) {
    const at = mapStart + index * 24;
    view.setUint32(at, 20, true); // Size of the entry without this field.
    view.setBigUint64(at + 4, BigInt(entry.start), true);
    view.setBigUint64(at + 12, BigInt(entry.sizeBytes), true);
    view.setUint32(at + 20, entry.type, true);
  }
  view.setUint32(64, putText(LOADER_NAME), true);
  return bytes.subarray(0, next);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
