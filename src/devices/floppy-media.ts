// Geometry of floppy disks by the size of their image. 82077AA data sheet (290166), section 3.1
// "Data Rates"; drive types: Ralf Brown's list, CMOS.LST, 0x10.

import { SECTOR_BYTES } from './block/block-device.ts';

export interface FloppyGeometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
  /** Data rate, as CCR has it: 0 is 500 kb/s, 1 is 300, 2 is 250, 3 is 1000. */
  readonly rate: number;
  /** CMOS type of the drive that takes it: 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M. */
  readonly driveType: number;
}

/** Most sectors that a track has. */
export const TRACK_SECTORS_MAX = 36;
/** The type of a drive that began its life without a disk. */
export const DRIVE_TYPE_DEFAULT = 4;

function geometry(
  cylinders: number,
  heads: number,
  sectors: number,
  rate: number,
  driveType: number,
): FloppyGeometry {
  return { cylinders, heads, sectors, rate, driveType };
}

/** By size, smallest first. */
const GEOMETRIES: readonly FloppyGeometry[] = [
  geometry(40, 1, 8, 2, 1), // 160 KiB
  geometry(40, 1, 9, 2, 1), // 180 KiB
  geometry(40, 2, 8, 2, 1), // 320 KiB
  geometry(40, 2, 9, 2, 1), // 360 KiB
  geometry(80, 2, 9, 2, 4), // 720 KiB
  geometry(80, 2, 15, 0, 2), // 1.2 MB
  geometry(80, 2, 18, 0, 4), // 1.44 MB
  geometry(80, 2, 20, 0, 4),
  geometry(80, 2, 21, 0, 4), // Distribution media, 1.68 MB
  geometry(80, 2, TRACK_SECTORS_MAX, 3, 5), // 2.88 MB
];

export function sectorsOf({ cylinders, heads, sectors }: FloppyGeometry): number {
  return cylinders * heads * sectors;
}

/**
 * The smallest disk that holds an image; what the image lacks cannot be read.
 * @returns undefined for an image larger than any disk
 */
export function floppyGeometry(sizeBytes: number): FloppyGeometry | undefined {
  return GEOMETRIES.find((each) => sectorsOf(each) * SECTOR_BYTES >= sizeBytes);
}
