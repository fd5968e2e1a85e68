// A snapshot as an ELF core: which blocks lie where in guest-physical memory, told from the saved
// state of the chips that decide it, and the core's bytes in pieces.

import { PAGE_SIZE } from '../base/pages.ts';
import { CS, DS, ES, FS, GS, SS } from '../cpu/state-layout.ts';
import { HostBridge, PAM_SEGMENTS } from '../devices/i440fx.ts';
import type { PCIFunction } from '../devices/pci-config.ts';
import type { SavedSection } from '../devices/saved-state.ts';
import { createVGAFunction } from '../devices/vga-pci.ts';
import { RAM_BELOW_4G_END, VGA_HOLE } from '../machine/memory-map.ts';
import { type CoreRegion, type CoreRegisters, elfCoreHeader } from './elf-core.ts';
import { PROCESSOR_SECTION, readProcessor } from './processor-state.ts';
import { type LoadedSection, sectionKey } from './sections.ts';
import { SnapshotError } from './snapshot-error.ts';
import type { SnapshotReader } from './snapshot-reader.ts';
import type { CancelOptions } from './store.ts';
import { releaseOf, vmcoreinfoAt } from './vmcoreinfo.ts';

/** A run of guest-physical memory and the block that shows there. */
export interface MappedRegion extends CoreRegion {
  readonly blockId: string;
  /** Where in the block it starts, bytes. */
  readonly offset: number;
}

/** A piece of a core file. */
export interface CorePart {
  readonly fileOffset: number;
  /** Valid until the next step of the iteration. */
  readonly bytes: Uint8Array;
}

/** A core file that is about to be written. Bytes that are in no part are zeros. */
export interface CoreImage {
  readonly sizeBytes: number;
  readonly regions: readonly MappedRegion[];
  /** Release of the Linux kernel that runs, once all parts are there, if there is just one. */
  readonly kernelRelease: string | undefined;
  parts(options?: CancelOptions): AsyncGenerator<CorePart>;
}

/** What a core is made from. */
export type CoreSource = Pick<SnapshotReader, 'name' | 'sections' | 'pageIndex' | 'pages'>;

const MIB = 0x10_0000;
const GIB4 = 2 ** 32;
const RAM_ID = 'pc.ram';
const VRAM_ID = 'vga.vram';
/** The firmware's chip: it ends at 4 GiB, and 128 KiB of it at 1 MiB too. */
const ROM_IDS = ['bios.bin', 'system.flash0'];
const ROM_LOW_BYTES_MAX = 0x2_0000;
const OPTION_ROM_ID = 'pc.rom';
const OPTION_ROM_GPA = 0xc_0000;
const HOST_BRIDGE = 'pci/00.0';
const VGA_FUNCTION = 'pci/02.0';

/**
 * A core of the machine that was saved: registers and memory as the processor sees it, physical
 * addresses throughout. Windows to device registers, and option ROMs behind base addresses, are not
 * in it.
 * @throws {SnapshotError} `MISMATCH` if it is no snapshot of a PC
 * @throws {RangeError} if it has RAM above 4 GiB, which the file cannot say
 */
export function coreImageOf(source: CoreSource): CoreImage {
  const regions = memoryMapOf(source);
  const registers = [registersOf(source)];
  const header = elfCoreHeader(regions, registers);
  let kernelRelease: string | undefined;
  let sizeBytes = header.length;
  const placed = regions.map((region) => {
    const fileOffset = sizeBytes;
    sizeBytes += region.sizeBytes;
    return { ...region, fileOffset };
  });
  async function* parts(options: CancelOptions = {}): AsyncGenerator<CorePart> {
    yield { fileOffset: 0, bytes: header };
    const kernels = new Map<string, Uint8Array>();
    for await (const { blockId, firstPage, bytes } of source.pages(options)) {
      const first = firstPage * PAGE_SIZE;
      if (blockId === RAM_ID) findKernels(bytes, kernels);
      // A block may show at several places.
      for (const region of placed) {
        if (region.blockId !== blockId) continue;
        const start = Math.max(first, region.offset);
        const end = Math.min(first + bytes.length, region.offset + region.sizeBytes);
        if (start >= end) continue;
        yield {
          fileOffset: region.fileOffset + start - region.offset,
          bytes: bytes.subarray(start - first, end - first),
        };
      }
    }
    // Memory of a kernel that ran before may be there still: nobody knows then which one runs.
    const [note] = kernels.values();
    if (note === undefined || kernels.size > 1) return;
    kernelRelease = releaseOf(note);
    yield { fileOffset: 0, bytes: elfCoreHeader(regions, registers, note) };
  }
  return {
    sizeBytes,
    regions,
    get kernelRelease() {
      return kernelRelease;
    },
    parts,
  };
}

/** What Linux kernels say of themselves in `bytes`, whole pages of RAM, each once. */
function findKernels(bytes: Uint8Array, found: Map<string, Uint8Array>): void {
  for (let start = 0; start < bytes.length; start += PAGE_SIZE) {
    const note = vmcoreinfoAt(bytes.subarray(start));
    if (note !== undefined) found.set(String.fromCharCode(...note), note);
  }
}

/**
 * What the processor sees where, ascending. The chips' own code reads their saved registers.
 * @throws {SnapshotError} `MISMATCH` if it is no snapshot of a PC
 */
export function memoryMapOf({ name, sections, pageIndex }: CoreSource): MappedRegion[] {
  const sizeOf = (id: string): number =>
    pageIndex.blocks.find((block) => block.id === id)?.sizeBytes ?? 0;
  const bridge = new HostBridge();
  restore(bridge.config, sectionOf(name, sections, HOST_BRIDGE));
  const ramBytes = sizeOf(RAM_ID);
  if (ramBytes < MIB) throw notPC(name, `block "${RAM_ID}"`);
  const regions: MappedRegion[] = [];
  const add = (blockId: string, gpa: number, offset: number, sizeBytes: number): void => {
    const last = regions.at(-1);
    const isNext =
      last?.blockId === blockId &&
      last.gpa + last.sizeBytes === gpa &&
      last.offset + last.sizeBytes === offset;
    if (isNext) regions.pop();
    const grown = isNext ? { ...last, sizeBytes: last.sizeBytes + sizeBytes } : undefined;
    regions.push(grown ?? { blockId, gpa, offset, sizeBytes });
  };
  const addRAM = (start: number, end: number): void => add(RAM_ID, start, start, end - start);
  const romId = ROM_IDS.find((id) => sizeOf(id) > 0);
  const romBytes = romId === undefined ? 0 : sizeOf(romId);
  const lowROMBytes = Math.min(romBytes, ROM_LOW_BYTES_MAX);
  addRAM(0, VGA_HOLE.start);
  if (bridge.isSMRAMOpen) addRAM(VGA_HOLE.start, VGA_HOLE.end);
  const { modes } = bridge;
  const segments = PAM_SEGMENTS.map((segment, i) => ({ ...segment, isRAM: (modes[i]! & 1) !== 0 }));
  for (const { start, sizeBytes, isRAM } of segments.sort((a, b) => a.start - b.start)) {
    const romOffset = romBytes - (MIB - start);
    if (isRAM) addRAM(start, start + sizeBytes);
    else if (start >= MIB - lowROMBytes) add(romId!, start, romOffset, sizeBytes);
    else if (start + sizeBytes <= OPTION_ROM_GPA + sizeOf(OPTION_ROM_ID))
      add(OPTION_ROM_ID, start, start - OPTION_ROM_GPA, sizeBytes);
  }
  const ramEnd = Math.min(ramBytes, RAM_BELOW_4G_END);
  if (ramEnd > MIB) addRAM(MIB, ramEnd);
  const vramGPA = framebufferOf(name, sections, sizeOf(VRAM_ID));
  if (vramGPA !== undefined && vramGPA >= ramEnd && vramGPA + sizeOf(VRAM_ID) <= GIB4 - romBytes)
    add(VRAM_ID, vramGPA, 0, sizeOf(VRAM_ID));
  if (romId !== undefined) add(romId, GIB4 - romBytes, 0, romBytes);
  if (ramBytes > RAM_BELOW_4G_END) add(RAM_ID, GIB4, RAM_BELOW_4G_END, ramBytes - RAM_BELOW_4G_END);
  let highGPA = GIB4;
  for (let index = 1; sizeOf(`${RAM_ID}.${index}`) > 0; index++) {
    add(`${RAM_ID}.${index}`, highGPA, 0, sizeOf(`${RAM_ID}.${index}`));
    highGPA += sizeOf(`${RAM_ID}.${index}`);
  }
  return regions;
}

/** Where the framebuffer is; undefined while it is not decoded, or there is none. */
function framebufferOf(
  name: string,
  sections: readonly LoadedSection[],
  vramBytes: number,
): number | undefined {
  const isThere = sections.some((section) => sectionKey(section) === VGA_FUNCTION);
  if (!isThere || vramBytes === 0) return undefined;
  const config = createVGAFunction(VGA_FUNCTION);
  config.declareBaseAddress(0, 'memory', vramBytes, true);
  restore(config, sectionOf(name, sections, VGA_FUNCTION));
  return config.addressOf(0);
}

function restore(config: PCIFunction, section: LoadedSection): void {
  try {
    config.restore(section as SavedSection);
  } catch (cause) {
    throw new SnapshotError('MISMATCH', (cause as Error).message, { subject: section.name, cause });
  }
}

function sectionOf(
  name: string,
  sections: readonly LoadedSection[],
  wanted: string,
): LoadedSection {
  const section = sections.find((each) => sectionKey(each) === wanted);
  if (section === undefined) throw notPC(name, `section "${wanted}"`);
  return section;
}

function notPC(name: string, what: string): SnapshotError {
  return new SnapshotError(
    'MISMATCH',
    `Cannot make a core of "${name}" as it must be a snapshot of a PC: it has no ${what}`,
    { subject: name },
  );
}

function registersOf({ name, sections }: CoreSource): CoreRegisters {
  const state = readProcessor(sectionOf(name, sections, PROCESSOR_SECTION));
  return {
    eax: state.reg32(0),
    ecx: state.reg32(1),
    edx: state.reg32(2),
    ebx: state.reg32(3),
    esp: state.reg32(4),
    ebp: state.reg32(5),
    esi: state.reg32(6),
    edi: state.reg32(7),
    eip: state.eip,
    eflags: state.eflags,
    cs: state.selector(CS),
    ss: state.selector(SS),
    ds: state.selector(DS),
    es: state.selector(ES),
    fs: state.selector(FS),
    gs: state.selector(GS),
  };
}
