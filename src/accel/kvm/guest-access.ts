// The guest's accesses to ports and to memory that is not RAM, as KVM hands them over.

import type { AddressSpace } from '../../memory/address-space.ts';
import { KVM, KVM_COALESCED_MMIO, KVM_COALESCED_MMIO_RING, KVM_RUN } from './abi.ts';

const FLOAT_EXACT = 2 ** 53;

/** KVM_EXIT_IO: one access, or the elements of a string instruction, all to the same port. */
export function accessPort(ports: AddressSpace, run: DataView): void {
  const { at } = KVM_RUN;
  const sizeBytes = run.getUint8(at['io.size']);
  const port = run.getUint16(at['io.port'], true);
  const count = run.getUint32(at['io.count'], true);
  const start = Number(run.getBigUint64(at['io.data_offset'], true));
  const isOut = run.getUint8(at['io.direction']) === KVM.KVM_EXIT_IO_OUT;
  for (let index = 0; index < count; index++) {
    const data = start + index * sizeBytes;
    if (isOut) ports.write(port, sizeBytes, getValue(run, data, sizeBytes));
    else setValue(run, data, sizeBytes, ports.read(port, sizeBytes));
  }
}

/** KVM_EXIT_MMIO: 1 to 8 bytes. */
export function accessMemory(memory: AddressSpace, run: DataView): void {
  const { at } = KVM_RUN;
  const address = run.getBigUint64(at['mmio.phys_addr'], true);
  const sizeBytes = run.getUint32(at['mmio.len'], true);
  const isWrite = run.getUint8(at['mmio.is_write']) !== 0;
  if (isWrite) writeMemory(memory, address, run, at['mmio.data'], sizeBytes);
  else readMemory(memory, address, run, at['mmio.data'], sizeBytes);
}

/**
 * Writes that the kernel has gathered in its ring, in order.
 * @param entryCount how many entries the ring has
 */
export function drainRing(memory: AddressSpace, ring: DataView, entryCount: number): void {
  const { first, last, coalesced_mmio } = KVM_COALESCED_MMIO_RING.at;
  const { at, sizeBytes } = KVM_COALESCED_MMIO;
  let index = ring.getUint32(first, true);
  for (let left = entryCount; left > 0 && index !== ring.getUint32(last, true); left--) {
    const entry = coalesced_mmio + index * sizeBytes;
    const address = ring.getBigUint64(entry + at.phys_addr, true);
    writeMemory(memory, address, ring, entry + at.data, ring.getUint32(entry + at.len, true));
    index = (index + 1) % entryCount;
    ring.setUint32(first, index, true);
  }
}

function writeMemory(
  memory: AddressSpace,
  address: bigint,
  view: DataView,
  start: number,
  sizeBytes: number,
): void {
  const gpa = Number(address);
  if (gpa >= FLOAT_EXACT) return;
  if (sizeBytes === 8) {
    memory.write64(gpa, view.getBigUint64(start, true));
    return;
  }
  // A part of an access that crosses a page may have any size.
  for (let done = 0; done < sizeBytes; ) {
    const size = partBytes(sizeBytes - done);
    memory.write(gpa + done, size, getValue(view, start + done, size));
    done += size;
  }
}

function readMemory(
  memory: AddressSpace,
  address: bigint,
  view: DataView,
  start: number,
  sizeBytes: number,
): void {
  const gpa = Number(address);
  if (gpa >= FLOAT_EXACT) {
    for (let index = 0; index < sizeBytes; index++) view.setUint8(start + index, 0xff);
    return;
  }
  if (sizeBytes === 8) {
    view.setBigUint64(start, memory.read64(gpa), true);
    return;
  }
  for (let done = 0; done < sizeBytes; ) {
    const size = partBytes(sizeBytes - done);
    setValue(view, start + done, size, memory.read(gpa + done, size));
    done += size;
  }
}

function partBytes(restBytes: number): number {
  return restBytes >= 4 ? 4 : restBytes >= 2 ? 2 : 1;
}

function getValue(view: DataView, at: number, sizeBytes: number): number {
  if (sizeBytes === 1) return view.getUint8(at);
  return sizeBytes === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function setValue(view: DataView, at: number, sizeBytes: number, value: number): void {
  if (sizeBytes === 1) view.setUint8(at, value);
  else if (sizeBytes === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}
