// How many bytes a zstd frame says it comes to. RFC 8878, section 3.1.1.1 "Frame_Header".

const MAGIC = 0xfd2f_b528;
/** Bytes of Frame_Content_Size by its flag; with flag 0 it is one byte in a single segment only. */
const SIZE_BYTES = [0, 2, 4, 8] as const;
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;
const SINGLE_SEGMENT = 0x20;
/** Two bytes of size leave out what one byte can say. */
const SIZE_BIAS = 256;

/** The stated size in bytes; undefined if it is no frame, or does not state one. */
export function frameContentSize(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 6 || view.getUint32(0, true) !== MAGIC) return undefined;
  const descriptor = bytes[4]!;
  const isSingle = (descriptor & SINGLE_SEGMENT) !== 0;
  const flag = descriptor >> 6;
  const start = 5 + (isSingle ? 0 : 1) + DICTIONARY_BYTES[descriptor & 3]!;
  const sizeBytes = flag === 0 && isSingle ? 1 : SIZE_BYTES[flag]!;
  if (sizeBytes === 0 || bytes.length < start + sizeBytes) return undefined;
  if (sizeBytes === 1) return bytes[start];
  if (sizeBytes === 2) return view.getUint16(start, true) + SIZE_BIAS;
  if (sizeBytes === 4) return view.getUint32(start, true);
  const size = view.getBigUint64(start, true);
  return size > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(size);
}
