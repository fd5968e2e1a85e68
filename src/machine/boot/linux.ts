// Linux by its 32-bit boot protocol. Linux documentation, "The Linux/x86 Boot Protocol"
// (Documentation/arch/x86/boot.rst), sections "The Real-Mode Kernel Header", "Details of Header
// Fields", "32-bit Boot Protocol"; the rest of boot_params: "Zero Page".
//
//   0x01000  GDT           0x02000  command line
//   0x10000  boot_params   0x11000 random seed
//   0x100000 protected-mode kernel; the initrd at the top of RAM

import { hex } from '../../base/hex.ts';
import { RAM_BELOW_4G_END } from '../memory-map.ts';
import { BootError, type BootImage, FLAT_GDT } from './boot-target.ts';
import { memoryMap } from './e820.ts';

/** Offsets of header fields, in the image and in boot_params alike. */
const SETUP_SECTS = 0x1f1;
const SYSSIZE = 0x1f4;
const BOOT_FLAG = 0x1fe;
const JUMP = 0x200;
const HEADER = 0x202;
const VERSION = 0x206;
const TYPE_OF_LOADER = 0x210;
const LOADFLAGS = 0x211;
const CODE32_START = 0x214;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const CMD_LINE_PTR = 0x228;
const INITRD_ADDR_MAX = 0x22c;
const CMDLINE_SIZE = 0x238;
const SETUP_DATA = 0x250;
const PREF_ADDRESS = 0x258;
const INIT_SIZE = 0x260;
const HEADER_END_MAX = 0x280;
const BOOT_FLAG_MAGIC = 0xaa55;
const HEADER_MAGIC = 0x5372_6448; // "HdrS"
const LOADED_HIGH = 0x01;
const LOADER_UNDEFINED = 0xff;
const SECTOR_BYTES = 512;
const SETUP_SECTS_DEFAULT = 4;
/** The first protocol with a 32-bit entry point for everybody, bzImage and an initrd. */
const VERSION_MIN = 0x0203;
const VERSION_CMDLINE_SIZE = 0x0206;
const VERSION_SETUP_DATA = 0x0209;
const VERSION_INIT_SIZE = 0x020a;
const CMDLINE_BYTES_OLD = 255;

/** Zero page fields outside the header. */
const BOOT_PARAMS_BYTES = 4096;
const SCREEN_INFO = 0x00;
const ALT_MEM_K = 0x1e0;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;
const E820_ENTRY_BYTES = 20;

const GDT_GPA = 0x1000;
const CMDLINE_GPA = 0x2000;
const CMDLINE_BYTES_MAX = 0x8000;
const BOOT_PARAMS_GPA = 0x1_0000;
const RNG_SEED_GPA = 0x1_1000;
/** A node of setup_data: u64 next, u32 type, u32 length, data. Types: uapi/asm/bootparam.h. */
const SETUP_NODE_BYTES = 16;
const SETUP_RNG_SEED = 9;
const RNG_SEED_BYTES = 32;
const KERNEL_GPA = 0x10_0000;
/** Selectors that the protocol fixes: __BOOT_CS and __BOOT_DS. */
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const PAGE_BYTES = 4096;

export interface LinuxOptions {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly commandLine?: string;
  readonly memoryBytes: number;
  /** Fills its argument with random bytes that nobody can guess: a seed for each start. */
  readonly fillRandom?: (bytes: Uint8Array) => void;
}

/** What a kernel image's setup header says. */
export interface LinuxHeader {
  readonly setupBytes: number;
  /** Major in the high byte, minor in the low. */
  readonly version: number;
  readonly initrdAddrMax: number;
  readonly commandLineBytesMax: number;
  /** RAM that the kernel needs from its load address on before it reads the memory map, bytes. */
  readonly initBytes: number;
  /** Where it wants to run, or 0. */
  readonly preferredGpa: number;
}

/** Whether `image` carries Linux's header magic. */
export function isLinuxImage(image: Uint8Array): boolean {
  return image.length >= HEADER_END_MAX && viewOf(image).getUint32(HEADER, true) === HEADER_MAGIC;
}

/**
 * Reads the setup header of a bzImage.
 * @throws {BootError} if it is missing, truncated, too old, or not a bzImage
 */
export function parseLinuxHeader(image: Uint8Array): LinuxHeader {
  const fail = (detail: string): never => {
    throw new BootError('Linux kernel', detail);
  };
  if (image.length < HEADER_END_MAX)
    fail(`the image must hold a setup header, it is ${image.length} bytes long`);
  const view = viewOf(image);
  if (view.getUint16(BOOT_FLAG, true) !== BOOT_FLAG_MAGIC)
    fail(`boot_flag must be 0xaa55, got ${hex(view.getUint16(BOOT_FLAG, true))}`);
  if (view.getUint32(HEADER, true) !== HEADER_MAGIC)
    fail(`the header's magic must be "HdrS", got ${hex(view.getUint32(HEADER, true))}`);
  const version = view.getUint16(VERSION, true);
  if (version < VERSION_MIN)
    fail(`boot protocol must be at least 2.03, got ${version >> 8}.${version & 0xff}`);
  if ((image[LOADFLAGS]! & LOADED_HIGH) === 0)
    fail('the image must be a bzImage (loaded high), it is a zImage');
  const setupBytes = ((image[SETUP_SECTS]! || SETUP_SECTS_DEFAULT) + 1) * SECTOR_BYTES;
  // From protocol 2.04 on the field has 32 bits; before, 16 are certain.
  const paragraphs =
    version >= 0x0204 ? view.getUint32(SYSSIZE, true) : view.getUint16(SYSSIZE, true);
  const needBytes = setupBytes + Math.max(1, paragraphs) * 16;
  // The last paragraph may be cut short.
  if (image.length + 15 < needBytes)
    fail(`the image must be ${needBytes} bytes long, as its header says, but has ${image.length}`);
  const isSizeKnown = version >= VERSION_CMDLINE_SIZE;
  const isInitKnown = version >= VERSION_INIT_SIZE;
  return {
    setupBytes,
    version,
    initrdAddrMax: view.getUint32(INITRD_ADDR_MAX, true),
    commandLineBytesMax: isSizeKnown ? view.getUint32(CMDLINE_SIZE, true) : CMDLINE_BYTES_OLD,
    initBytes: isInitKnown ? view.getUint32(INIT_SIZE, true) : 0,
    preferredGpa: isInitKnown ? Number(view.getBigUint64(PREF_ADDRESS, true)) : 0,
  };
}

/**
 * Lays a kernel, its initrd and its command line out in memory.
 * @throws {BootError} if one of them is broken or does not fit
 */
export function loadLinux(options: LinuxOptions): BootImage {
  const { kernel, initrd, memoryBytes, fillRandom } = options;
  const header = parseLinuxHeader(kernel);
  const payload = kernel.subarray(header.setupBytes);
  const ramEnd = Math.min(memoryBytes, RAM_BELOW_4G_END);
  const kernelEnd = checkKernelFits(header, payload.length, ramEnd);
  const commandLine = encodeCommandLine(options.commandLine ?? '', header.commandLineBytesMax);
  const initrdGpa = initrd === undefined ? 0 : placeInitrd(header, initrd, kernelEnd, ramEnd);

  const params = new Uint8Array(BOOT_PARAMS_BYTES);
  // The header ends where the jump over it leads to.
  const headerEnd = Math.min(HEADER_END_MAX, JUMP + 2 + kernel[JUMP + 1]!);
  params.set(kernel.subarray(SETUP_SECTS, headerEnd), SETUP_SECTS);
  const view = viewOf(params);
  params[TYPE_OF_LOADER] = LOADER_UNDEFINED;
  view.setUint32(CODE32_START, KERNEL_GPA, true);
  view.setUint32(RAMDISK_IMAGE, initrdGpa, true);
  view.setUint32(RAMDISK_SIZE, initrd?.length ?? 0, true);
  view.setUint32(CMD_LINE_PTR, CMDLINE_GPA, true);
  setScreenInfo(params);
  setMemoryMap(params, memoryBytes);

  const segments: { readonly gpa: number; readonly bytes: Uint8Array }[] = [
    { gpa: GDT_GPA, bytes: FLAT_GDT },
    { gpa: CMDLINE_GPA, bytes: commandLine },
    { gpa: BOOT_PARAMS_GPA, bytes: params },
    { gpa: KERNEL_GPA, bytes: payload },
  ];
  if (initrd !== undefined) segments.push({ gpa: initrdGpa, bytes: initrd });
  if (fillRandom !== undefined && header.version >= VERSION_SETUP_DATA) {
    view.setBigUint64(SETUP_DATA, BigInt(RNG_SEED_GPA), true);
    // Drawn whenever the image is loaded: a guest that is reset gets another one.
    segments.push({
      gpa: RNG_SEED_GPA,
      get bytes() {
        return rngSeedNode(fillRandom);
      },
    });
  }
  return {
    segments,
    entry: {
      eip: KERNEL_GPA,
      codeSelector: BOOT_CS,
      dataSelector: BOOT_DS,
      gdtGpa: GDT_GPA,
      gdtBytes: FLAT_GDT.length,
      esi: BOOT_PARAMS_GPA,
      // The protocol asks for no stack; one below boot_params does no harm.
      esp: BOOT_PARAMS_GPA,
    },
  };
}

/** End of what the kernel uses before it knows the memory map. */
function checkKernelFits(header: LinuxHeader, payloadBytes: number, ramEnd: number): number {
  const start = Math.max(KERNEL_GPA, header.preferredGpa);
  const end = Math.max(KERNEL_GPA + payloadBytes, start + header.initBytes);
  if (end > ramEnd)
    throw new BootError(
      'Linux kernel',
      `it needs RAM up to ${hex(end)} (${Math.ceil(end / 0x10_0000)} MiB), ` +
        `the machine has it up to ${hex(ramEnd)}`,
    );
  return end;
}

function encodeCommandLine(commandLine: string, bytesMax: number): Uint8Array {
  const limit = Math.min(bytesMax, CMDLINE_BYTES_MAX);
  const bytes: number[] = [];
  for (const character of commandLine) {
    const code = character.codePointAt(0)!;
    if (code === 0 || code > 0xff)
      throw new BootError(
        'Linux kernel',
        `the command line must hold Latin-1 characters other than NUL, found ${hex(code)}`,
      );
    bytes.push(code);
  }
  if (bytes.length > limit)
    throw new BootError(
      'Linux kernel',
      `the command line must be at most ${limit} bytes long, it has ${bytes.length}`,
    );
  return Uint8Array.from([...bytes, 0]);
}

/** A seed that Linux 6.0 and later counts as randomness; earlier kernels pass it over. */
function rngSeedNode(fillRandom: (bytes: Uint8Array) => void): Uint8Array {
  const node = new Uint8Array(SETUP_NODE_BYTES + RNG_SEED_BYTES);
  const view = viewOf(node);
  view.setUint32(8, SETUP_RNG_SEED, true);
  view.setUint32(12, RNG_SEED_BYTES, true);
  fillRandom(node.subarray(SETUP_NODE_BYTES));
  return node;
}

/** As high as header and RAM allow, on a page boundary, above the kernel. */
function placeInitrd(
  header: LinuxHeader,
  initrd: Uint8Array,
  kernelEnd: number,
  ramEnd: number,
): number {
  const end = Math.min(ramEnd, header.initrdAddrMax + 1);
  const gpa = Math.floor((end - initrd.length) / PAGE_BYTES) * PAGE_BYTES;
  if (gpa < kernelEnd)
    throw new BootError(
      'Linux kernel',
      `the initrd of ${initrd.length} bytes must fit between the kernel's end ${hex(kernelEnd)} ` +
        `and ${hex(end)}`,
    );
  return gpa;
}

/** Text mode 3, 80 by 25, on a VGA. */
function setScreenInfo(params: Uint8Array): void {
  params[SCREEN_INFO + 0x06] = 3; // orig_video_mode
  params[SCREEN_INFO + 0x07] = 80; // orig_video_cols
  params[SCREEN_INFO + 0x0e] = 25; // orig_video_lines
  params[SCREEN_INFO + 0x0f] = 1; // orig_video_isVGA
  params[SCREEN_INFO + 0x10] = 16; // orig_video_points
}

function setMemoryMap(params: Uint8Array, memoryBytes: number): void {
  const view = viewOf(params);
  const map = memoryMap(memoryBytes);
  const extended = Math.min(memoryBytes, RAM_BELOW_4G_END) - KERNEL_GPA;
  view.setUint32(ALT_MEM_K, Math.max(0, Math.floor(extended / 1024)), true);
  view.setUint16(0x02, Math.min(0xffff, Math.max(0, Math.floor(extended / 1024))), true);
  params[E820_ENTRIES] = map.length;
  for (const [index, entry] of map.entries()) {
    const at = E820_TABLE + index * E820_ENTRY_BYTES;
    view.setBigUint64(at, BigInt(entry.start), true);
    view.setBigUint64(at + 8, BigInt(entry.sizeBytes), true);
    view.setUint32(at + 16, entry.type, true);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
