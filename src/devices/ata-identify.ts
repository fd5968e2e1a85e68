// What IDENTIFY DEVICE and IDENTIFY PACKET DEVICE say: ATA/ATAPI-6 (T13/1410D), sections 8.15 and
// 8.16, tables 27 and 28.

import { SECTOR_BYTES } from './block/block-device.ts';

const WORD_COUNT = 256;
const LBA28_SECTORS_MAX = 0x0fff_ffff;
const CYLINDERS_MAX = 16_383;
const HEADS = 16;
const SECTORS_PER_TRACK = 63;
/** Most sectors of a DRQ block that SET MULTIPLE MODE may set. */
export const MULTIPLE_SECTORS_MAX = 16;
/** ATA/ATAPI-4, 5 and 6. */
const MAJOR_VERSIONS = 0x0070;
const SIGNATURE = 0xa5;

/** The geometry that a disk of so many sectors has by default. */
export function defaultGeometry(sectorCount: number): {
  cylinders: number;
  heads: number;
  sectors: number;
} {
  const cylinders = Math.floor(sectorCount / (HEADS * SECTORS_PER_TRACK));
  return {
    cylinders: Math.max(1, Math.min(CYLINDERS_MAX, cylinders)),
    heads: HEADS,
    sectors: SECTORS_PER_TRACK,
  };
}

/** What a disk tells of itself beside its size. */
export interface DiskIdentity {
  readonly sectorCount: number;
  readonly serial: string;
  /** Translation that INITIALIZE DEVICE PARAMETERS set. */
  readonly heads: number;
  readonly sectors: number;
  readonly multipleSectors: number;
  /** As SET FEATURES takes it. */
  readonly transferMode: number;
  readonly isWriteCacheOn: boolean;
  readonly isLookAheadOn: boolean;
}

/** 512 bytes of IDENTIFY DEVICE. */
export function identifyDisk(disk: DiskIdentity): Uint8Array {
  const { sectorCount, heads, sectors } = disk;
  const words = new Uint16Array(WORD_COUNT);
  const geometry = defaultGeometry(sectorCount);
  words[0] = 0x0040;
  words[1] = geometry.cylinders;
  words[3] = geometry.heads;
  words[6] = geometry.sectors;
  putNames(words, disk.serial, 'QUIRE HARDDISK');
  words[47] = 0x8000 | MULTIPLE_SECTORS_MAX;
  words[49] = 0x0f00; // IORDY, its disabling, LBA, DMA.
  words[50] = 0x4000;
  words[53] = 0x0007;
  const cylinders = Math.min(0xffff, Math.floor(sectorCount / (heads * sectors)));
  words[54] = cylinders;
  words[55] = heads;
  words[56] = sectors;
  putDouble(words, 57, cylinders * heads * sectors);
  words[59] = disk.multipleSectors === 0 ? 0 : 0x0100 | disk.multipleSectors;
  putDouble(words, 60, Math.min(LBA28_SECTORS_MAX, sectorCount));
  putModes(words, disk.transferMode);
  words[80] = MAJOR_VERSIONS;
  // NOP, write cache and look-ahead, power management; FLUSH CACHE (EXT), 48-bit addresses.
  words[82] = 0x4068;
  words[83] = 0x7400;
  words[84] = 0x4000;
  words[85] = 0x4008 | (disk.isLookAheadOn ? 0x0040 : 0) | (disk.isWriteCacheOn ? 0x0020 : 0);
  words[86] = 0x3400;
  words[87] = 0x4000;
  putDouble(words, 100, sectorCount % 2 ** 32);
  words[102] = Math.floor(sectorCount / 2 ** 32) & 0xffff;
  return sealed(words);
}

/** 512 bytes of IDENTIFY PACKET DEVICE, for a CD-ROM drive. */
export function identifyCDROM(serial: string, transferMode: number): Uint8Array {
  const words = new Uint16Array(WORD_COUNT);
  // ATAPI, CD-ROM, removable, DRQ within 50 µs of the packet, packets of 12 bytes.
  words[0] = 0x85c0;
  putNames(words, serial, 'QUIRE CD-ROM');
  words[49] = 0x0f00;
  words[50] = 0x4000;
  words[53] = 0x0006;
  putModes(words, transferMode);
  words[80] = MAJOR_VERSIONS;
  // NOP, DEVICE RESET, PACKET, power management.
  words[82] = 0x4218;
  words[83] = 0x4000;
  words[84] = 0x4000;
  words[85] = 0x4218;
  words[87] = 0x4000;
  return sealed(words);
}

/** Modes that the device has, and the one that is selected (words 62–68 and 88). */
function putModes(words: Uint16Array, transferMode: number): void {
  const selected = 0x100 << (transferMode & 7);
  words[63] = 0x0007 | ((transferMode & 0xf8) === 0x20 ? selected : 0);
  words[64] = 0x0003;
  words.fill(120, 65, 69);
  words[88] = 0x003f | ((transferMode & 0xf8) === 0x40 ? selected : 0);
}

function putNames(words: Uint16Array, serial: string, model: string): void {
  putText(words, 10, 10, serial);
  putText(words, 23, 4, '1.0');
  putText(words, 27, 20, model);
}

/** ASCII, first character in the high byte of a word, padded with spaces. */
function putText(words: Uint16Array, at: number, count: number, text: string): void {
  const padded = text.slice(0, count * 2).padEnd(count * 2);
  for (let i = 0; i < count; i++)
    words[at + i] = (padded.charCodeAt(2 * i) << 8) | padded.charCodeAt(2 * i + 1);
}

function putDouble(words: Uint16Array, at: number, value: number): void {
  words[at] = value & 0xffff;
  words[at + 1] = Math.floor(value / 0x1_0000) & 0xffff;
}

/** Little-endian bytes with the checksum of word 255. */
function sealed(words: Uint16Array): Uint8Array {
  const bytes = new Uint8Array(SECTOR_BYTES);
  for (const [i, word] of words.entries()) {
    bytes[2 * i] = word & 0xff;
    bytes[2 * i + 1] = word >> 8;
  }
  bytes[510] = SIGNATURE;
  bytes[511] = -bytes.subarray(0, 511).reduce((sum, byte) => sum + byte, 0) & 0xff;
  return bytes;
}
