// Opens the images of drives, all or none.

import type { BlockDevice } from '../../devices/block/block-device.ts';
import { OverlayDevice } from '../../devices/block/overlay-device.ts';
import type { DriveConfig } from '../../machine/storage.ts';
import type { DriveSpec } from './drive-options.ts';
import { RawImage } from './raw-image.ts';

const CD_SECTOR_BYTES = 2048;

/**
 * The medium that a specification names; its path must be there.
 * @throws {Error} naming the image, if it cannot be opened or is in use
 */
export function openMedium(
  spec: Pick<DriveSpec, 'media' | 'isReadOnly' | 'isSnapshot'>,
  path: string,
  onWarning: (message: string) => void,
): BlockDevice {
  const { media, isReadOnly, isSnapshot } = spec;
  const image = RawImage.open(path, {
    isReadOnly: isReadOnly || isSnapshot,
    onWarning,
    ...(media === 'cdrom' ? { sectorBytes: CD_SECTOR_BYTES } : {}),
  });
  if (!isSnapshot || isReadOnly) return image;
  try {
    return new OverlayDevice(image, RawImage.temporary(image.sizeBytes));
  } catch (error) {
    image.close();
    throw error;
  }
}

/**
 * The drives of a machine; their images are open then, and the machine's to close.
 * @throws {Error} naming the image, if one cannot be opened; none is open then
 */
export function openDrives(
  specs: readonly DriveSpec[],
  onWarning: (message: string) => void,
): readonly DriveConfig[] {
  const drives: DriveConfig[] = [];
  try {
    for (const spec of specs) {
      const { interface: bus, media, index, path } = spec;
      const place = { interface: bus, media, index };
      drives.push(
        path === undefined ? place : { ...place, medium: openMedium(spec, path, onWarning) },
      );
    }
  } catch (error) {
    for (const { medium } of drives) medium?.close();
    throw error;
  }
  return drives;
}
