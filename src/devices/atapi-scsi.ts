// Numbers of the packet commands of a CD-ROM drive: SFF-8020i "ATA Packet Interface for CD-ROMs",
// MMC-3 (T10/1363-D) section 6 "Commands", SPC-2 (T10/1236-D) section 8.3.

/** Operation codes. */
export const OP_TEST_UNIT_READY = 0x00;
export const OP_REQUEST_SENSE = 0x03;
export const OP_INQUIRY = 0x12;
export const OP_START_STOP = 0x1b;
export const OP_PREVENT_ALLOW = 0x1e;
export const OP_READ_CAPACITY = 0x25;
export const OP_READ_10 = 0x28;
export const OP_SEEK_10 = 0x2b;
export const OP_SYNCHRONIZE_CACHE = 0x35;
export const OP_READ_TOC = 0x43;
export const OP_GET_CONFIGURATION = 0x46;
export const OP_GET_EVENT_STATUS = 0x4a;
export const OP_READ_DISC_INFORMATION = 0x51;
export const OP_READ_TRACK_INFORMATION = 0x52;
export const OP_MODE_SENSE_10 = 0x5a;
export const OP_READ_12 = 0xa8;
export const OP_SET_CD_SPEED = 0xbb;
export const OP_MECHANISM_STATUS = 0xbd;
export const OP_READ_CD = 0xbe;

/** Sense keys, SPC-2 table 107. */
export const SENSE_NONE = 0x0;
export const SENSE_NOT_READY = 0x2;
export const SENSE_MEDIUM_ERROR = 0x3;
export const SENSE_ILLEGAL_REQUEST = 0x5;
export const SENSE_UNIT_ATTENTION = 0x6;
/** Additional sense codes with their qualifiers, SPC-2 table 108. */
export const ASC_NONE = 0x0000;
export const ASC_UNRECOVERED_READ_ERROR = 0x1100;
export const ASC_INVALID_COMMAND = 0x2000;
export const ASC_LBA_OUT_OF_RANGE = 0x2100;
export const ASC_INVALID_FIELD = 0x2400;
export const ASC_MEDIUM_CHANGED = 0x2800;
export const ASC_POWER_ON = 0x2900;
export const ASC_NO_MEDIUM = 0x3a00;
export const ASC_REMOVAL_PREVENTED = 0x5302;

/** Bytes of a sector of data. */
export const CD_SECTOR_BYTES = 2048;
/** Frames of a second, and the two seconds before sector 0: MMC-3 section 4.2.3, "MSF". */
const FRAMES_PER_SECOND = 75;
const LEAD_IN_FRAMES = 150;

/** A reply: fields are written where the standard's tables have them. */
export class Reply {
  readonly bytes: Uint8Array;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  set(offset: number, ...values: readonly number[]): this {
    this.bytes.set(values, offset);
    return this;
  }

  set16(offset: number, value: number): this {
    return this.set(offset, (value >> 8) & 0xff, value & 0xff);
  }

  set32(offset: number, value: number): this {
    return this.set16(offset, value >>> 16).set16(offset + 2, value & 0xffff);
  }

  text(offset: number, sizeBytes: number, text: string): this {
    const padded = text.padEnd(sizeBytes);
    for (let i = 0; i < sizeBytes; i++) this.bytes[offset + i] = padded.charCodeAt(i);
    return this;
  }
}

/** An address as the reply has it: four bytes of LBA, or minute, second and frame. */
export function addressBytes(lba: number, isMSF: boolean): number[] {
  if (!isMSF) return [(lba >>> 24) & 0xff, (lba >>> 16) & 0xff, (lba >>> 8) & 0xff, lba & 0xff];
  const frames = lba + LEAD_IN_FRAMES;
  const seconds = Math.floor(frames / FRAMES_PER_SECOND);
  return [0, Math.floor(seconds / 60) & 0xff, seconds % 60, frames % FRAMES_PER_SECOND];
}

/** Fixed-format sense data, SPC-2 table 103. */
export function senseData(key: number, asc: number): Uint8Array {
  return new Reply(18).set(0, 0x70).set(2, key).set(7, 10).set16(12, asc).bytes;
}

export function inquiryData(): Uint8Array {
  // CD-ROM, removable, ATAPI's response format 2.1.
  return new Reply(36)
    .set(0, 0x05, 0x80, 0x00, 0x21, 31)
    .text(8, 8, 'QUIRE')
    .text(16, 16, 'QUIRE CD-ROM')
    .text(32, 4, '1.0').bytes;
}

/**
 * READ TOC/PMA/ATIP, MMC-3 section 6.26: one session with one data track, then the lead-out.
 * @returns undefined for a format or a track that is not there
 */
export function tocData(
  format: number,
  track: number,
  sectorCount: number,
  isMSF: boolean,
): Uint8Array | undefined {
  const DATA_TRACK = 0x14;
  const LEAD_OUT = 0xaa;
  if (format === 0) {
    if (track > 1 && track !== LEAD_OUT) return undefined;
    const tracks = track <= 1 ? [1, LEAD_OUT] : [LEAD_OUT];
    const reply = new Reply(4 + 8 * tracks.length).set16(0, 2 + 8 * tracks.length).set(2, 1, 1);
    for (const [i, number] of tracks.entries())
      reply
        .set(4 + 8 * i, 0, DATA_TRACK, number, 0)
        .set(8 + 8 * i, ...addressBytes(number === 1 ? 0 : sectorCount, isMSF));
    return reply.bytes;
  }
  // Session information: the first session's first track.
  if (format === 1)
    return new Reply(12)
      .set16(0, 10)
      .set(2, 1, 1)
      .set(4, 0, DATA_TRACK, 1, 0)
      .set(8, ...addressBytes(0, isMSF)).bytes;
  if (format !== 2) return undefined;
  // Full TOC: first track, last track, lead-out, track 1; always minutes, seconds, frames.
  const points: readonly (readonly [number, number[]])[] = [
    [0xa0, [0, 1, 0, 0]],
    [0xa1, [0, 1, 0, 0]],
    [0xa2, addressBytes(sectorCount, true)],
    [0x01, addressBytes(0, true)],
  ];
  const reply = new Reply(4 + 11 * points.length).set16(0, 2 + 11 * points.length).set(2, 1, 1);
  for (const [i, [point, address]] of points.entries())
    reply.set(4 + 11 * i, 1, DATA_TRACK, 0, point, 0, 0, 0, ...address);
  return reply.bytes;
}

/** GET CONFIGURATION, MMC-3 section 6.6: a CD-ROM drive's features, from `first` on. */
export function configurationData(first: number, only: boolean, hasMedium: boolean): Uint8Array {
  const PROFILE_CDROM = 0x0008;
  const features: readonly (readonly [number, readonly number[]])[] = [
    [0x0000, [0x03, 4, 0x00, PROFILE_CDROM, hasMedium ? 1 : 0, 0]], // Profile list.
    [0x0001, [0x0b, 8, 0, 0, 0, 2, 1, 0, 0, 0]], // Core: ATAPI, device-busy events.
    [0x0002, [0x07, 4, 0x02, 0, 0, 0]], // Morphing: operational change, asynchronous off.
    [0x0003, [0x03, 4, 0x29, 0, 0, 0]], // Removable medium: tray, eject, lock.
    [0x0010, hasMedium ? [0x01, 8, 0, 0, 8, 0, 0, 1, 0, 0] : [0x00, 8, 0, 0, 8, 0, 0, 1, 0, 0]],
    [0x001e, [hasMedium ? 0x01 : 0x00, 4, 0, 0, 0, 0]], // CD read.
  ];
  const chosen = features.filter(([code]) => (only ? code === first : code >= first));
  const body = chosen.flatMap(([code, bytes]) => [code >> 8, code & 0xff, ...bytes]);
  return new Reply(8 + body.length)
    .set32(0, 4 + body.length)
    .set16(6, hasMedium ? PROFILE_CDROM : 0)
    .set(8, ...body).bytes;
}

/** READ DISC INFORMATION, MMC-3 section 6.22: a complete CD-ROM with one session. */
export function discInformation(): Uint8Array {
  const reply = new Reply(34).set16(0, 32).set(2, 0x0e, 1, 1, 1, 1, 0x20);
  // No lead-in of a further session, no last possible lead-out.
  return reply.set(16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff).bytes;
}

/** READ TRACK INFORMATION, MMC-3 section 6.27, of the only track. */
export function trackInformation(sectorCount: number): Uint8Array {
  return new Reply(28).set16(0, 26).set(2, 1, 1).set(5, 0x04, 0x01).set32(24, sectorCount).bytes;
}

/** MODE SENSE (10), SFF-8020i section 10.8.6; undefined for a page that is not there. */
export function modeSenseData(page: number, isLocked: boolean): Uint8Array | undefined {
  const errorRecovery = [0x01, 6, 0x00, 5, 0, 0, 0, 0];
  const capabilities = [
    ...[0x2a, 18, 0x03, 0x00, 0x61, 0x60, 0x29 | (isLocked ? 0x02 : 0), 0x00],
    ...[0x16, 0x00, 0, 2, 2, 0, 0x16, 0x00, 0, 0, 0, 0], // 32 × 176 kB/s, 512 KiB of cache.
  ];
  const pages = new Map([
    [0x01, errorRecovery],
    [0x2a, capabilities],
    [0x3f, [...errorRecovery, ...capabilities]],
  ]);
  const body = pages.get(page);
  if (body === undefined) return undefined;
  return new Reply(8 + body.length)
    .set16(0, 6 + body.length)
    .set(2, 0x01)
    .set(8, ...body).bytes;
}
