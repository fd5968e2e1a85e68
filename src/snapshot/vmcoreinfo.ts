// What a Linux kernel says of itself to those who read its dumps: an ELF note named VMCOREINFO in a
// page of its own, lines of KEY=VALUE. Linux documentation, "VMCOREINFO"; the note's address is in
// /sys/kernel/vmcoreinfo, which says that to the guest only, so memory is searched for it.

import { PAGE_SIZE } from '../base/pages.ts';

const NAME = 'VMCOREINFO\0';
const NOTE_HEAD_BYTES = 12;
const NAME_BYTES_PADDED = 12;
const TEXT_START = NOTE_HEAD_BYTES + NAME_BYTES_PADDED;
/** The first line, in every kernel. */
const FIRST_KEY = 'OSRELEASE=';
/** A kernel has a page for the text. */
export const VMCOREINFO_BYTES_MAX = TEXT_START + PAGE_SIZE;
const RELEASE_LENGTH_MAX = 64;

/** The note that starts `bytes`, if one does: header, name and text, padded to whole words. */
export function vmcoreinfoAt(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.length < TEXT_START || bytes[0] !== NAME.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const textBytes = view.getUint32(4, true);
  const noteBytes = TEXT_START + Math.ceil(textBytes / 4) * 4;
  const isNote =
    view.getUint32(0, true) === NAME.length &&
    view.getUint32(8, true) === 0 &&
    noteBytes <= Math.min(bytes.length, VMCOREINFO_BYTES_MAX) &&
    textOf(bytes, NOTE_HEAD_BYTES, NAME.length) === NAME &&
    textOf(bytes, TEXT_START, FIRST_KEY.length) === FIRST_KEY;
  return isNote ? bytes.slice(0, noteBytes) : undefined;
}

/** The kernel's release that a note states, such as `6.1.0-50-686`. */
export function releaseOf(note: Uint8Array): string {
  const text = textOf(note, TEXT_START + FIRST_KEY.length, RELEASE_LENGTH_MAX);
  return /^[\x21-\x7e]*/.exec(text)![0];
}

function textOf(bytes: Uint8Array, start: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}
