// A machine's memory and processor as an ELF core file, which gdb and crash open.
// System V ABI, "ELF Header", "Program Header"; NT_PRSTATUS as i386 Linux lays it out (elf(5) and
// the kernel's uapi headers name its fields; offsets are those of 32-bit longs).

import { VMCOREINFO_BYTES_MAX } from './vmcoreinfo.ts';

/** A run of guest-physical memory. */
export interface CoreRegion {
  readonly gpa: number;
  readonly sizeBytes: number;
}

/** A processor's registers, 32 bits each. */
export interface CoreRegisters {
  readonly eax: number;
  readonly ecx: number;
  readonly edx: number;
  readonly ebx: number;
  readonly esp: number;
  readonly ebp: number;
  readonly esi: number;
  readonly edi: number;
  readonly eip: number;
  readonly eflags: number;
  readonly cs: number;
  readonly ss: number;
  readonly ds: number;
  readonly es: number;
  readonly fs: number;
  readonly gs: number;
}

const EHDR_BYTES = 52;
const PHDR_BYTES = 32;
const NOTE_NAME = [0x43, 0x4f, 0x52, 0x45, 0, 0, 0, 0]; // "CORE", padded to 4.
const NOTE_HEAD_BYTES = 12 + NOTE_NAME.length;
const PRSTATUS_BYTES = 144;
/** Within prstatus: the process id, and seventeen registers. */
const PRSTATUS_PID = 24;
const PRSTATUS_REGISTERS = 72;
const NT_PRSTATUS = 1;
const PT_LOAD = 1;
const PT_NOTE = 4;
const ET_CORE = 4;
const EM_386 = 3;
const PF_RWX = 7;
const PAGE_BYTES = 4096;
const PHDRS_MAX = 0xfffe;
const FILE_BYTES_MAX = 2 ** 32;

/** The order of an i386 `user_regs_struct`; the twelfth is orig_eax, −1 outside a system call. */
const REGISTER_ORDER = [
  'ebx',
  'ecx',
  'edx',
  'esi',
  'edi',
  'ebp',
  'eax',
  'ds',
  'es',
  'fs',
  'gs',
  undefined,
  'eip',
  'cs',
  'eflags',
  'esp',
  'ss',
] as const;

/**
 * Everything before the memory: ELF header, program headers and notes, to a whole number of pages.
 * The regions' bytes follow, in their order, nothing between them. Virtual addresses are physical.
 * @param vmcoreinfo the note of the kernel that runs, whole; there is room for one in any case, so
 *   that it may be found while memory is written
 * @throws {RangeError} if a region ends above 4 GiB, or there are too many
 */
export function elfCoreHeader(
  regions: readonly CoreRegion[],
  processors: readonly CoreRegisters[],
  vmcoreinfo: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const statusBytes = processors.length * (NOTE_HEAD_BYTES + PRSTATUS_BYTES);
  const noteBytes = statusBytes + vmcoreinfo.length;
  const notesOffset = EHDR_BYTES + (regions.length + 1) * PHDR_BYTES;
  const endMax = notesOffset + statusBytes + VMCOREINFO_BYTES_MAX;
  const headerBytes = Math.ceil(endMax / PAGE_BYTES) * PAGE_BYTES;
  const totalBytes = regions.reduce((sum, { sizeBytes }) => sum + sizeBytes, headerBytes);
  const high = regions.find(({ gpa, sizeBytes }) => gpa + sizeBytes > 2 ** 32);
  if (high !== undefined || totalBytes >= FILE_BYTES_MAX || regions.length > PHDRS_MAX)
    throw new RangeError(
      'Cannot write ELF core as all memory must be below 4 GiB and the file smaller: ' +
        `${regions.length} regions, ${totalBytes} bytes`,
    );
  const bytes = new Uint8Array(headerBytes);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]); // ELFCLASS32, ELFDATA2LSB, EV_CURRENT.
  view.setUint16(16, ET_CORE, true);
  view.setUint16(18, EM_386, true);
  view.setUint32(20, 1, true);
  view.setUint32(28, EHDR_BYTES, true);
  view.setUint16(40, EHDR_BYTES, true);
  view.setUint16(42, PHDR_BYTES, true);
  view.setUint16(44, regions.length + 1, true);
  const putProgram = (index: number, words: readonly number[]): void => {
    for (const [i, word] of words.entries())
      view.setUint32(EHDR_BYTES + index * PHDR_BYTES + i * 4, word, true);
  };
  putProgram(0, [PT_NOTE, notesOffset, 0, 0, noteBytes, 0, 0, 4]);
  let offset = headerBytes;
  for (const [i, { gpa, sizeBytes }] of regions.entries()) {
    // No alignment is stated: crash takes a core whose first segment is aligned to pages for one
    // piece of memory from address 0 on.
    putProgram(i + 1, [PT_LOAD, offset, gpa, gpa, sizeBytes, sizeBytes, PF_RWX, 0]);
    offset += sizeBytes;
  }
  for (const [i, registers] of processors.entries())
    putStatus(view, notesOffset + i * (NOTE_HEAD_BYTES + PRSTATUS_BYTES), i, registers);
  bytes.set(vmcoreinfo, notesOffset + statusBytes);
  return bytes;
}

function putStatus(view: DataView, start: number, index: number, registers: CoreRegisters): void {
  view.setUint32(start, 5, true); // Length of "CORE" with its zero.
  view.setUint32(start + 4, PRSTATUS_BYTES, true);
  view.setUint32(start + 8, NT_PRSTATUS, true);
  for (const [i, byte] of NOTE_NAME.entries()) view.setUint8(start + 12 + i, byte);
  const status = start + NOTE_HEAD_BYTES;
  view.setUint32(status + PRSTATUS_PID, index + 1, true);
  for (const [i, name] of REGISTER_ORDER.entries()) {
    const value = name === undefined ? 0xffff_ffff : registers[name];
    view.setUint32(status + PRSTATUS_REGISTERS + i * 4, value >>> 0, true);
  }
}
