// Frames as files: PNG, or PPM as QEMU's screendump writes it. Netpbm's "ppm" manual page: P6.

import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname } from 'node:path';
import type { Frame } from '../../machine/screen.ts';

/** Loaded when a picture is wanted: it would be a tenth of each start. */
function loadPNG(): typeof import('fast-png') {
  return createRequire(import.meta.url)('fast-png');
}

function encodePPM({ width, height, rgba }: Frame): Uint8Array {
  const head = Buffer.from(`P6\n${width} ${height}\n255\n`, 'latin1');
  const out = Buffer.alloc(head.length + width * height * 3);
  head.copy(out);
  for (let from = 0, to = head.length; from < rgba.length; from += 4) {
    out[to++] = rgba[from]!;
    out[to++] = rgba[from + 1]!;
    out[to++] = rgba[from + 2]!;
  }
  return out;
}

function encodePNG({ width, height, rgba }: Frame): Uint8Array {
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    data[to++] = rgba[from]!;
    data[to++] = rgba[from + 1]!;
    data[to++] = rgba[from + 2]!;
  }
  return loadPNG().encode({ width, height, data, channels: 3, depth: 8 });
}

/**
 * Writes `frame` to a file whose name ends in .png or .ppm.
 * @throws {RangeError} if it ends in neither, or cannot be written
 */
export function writePicture(path: string, frame: Frame): void {
  const format = extname(path).toLowerCase();
  if (format !== '.png' && format !== '.ppm')
    throw new RangeError(`Cannot write picture "${path}": its name must end in .png or .ppm`);
  try {
    writeFileSync(path, format === '.png' ? encodePNG(frame) : encodePPM(frame));
  } catch (error) {
    throw new RangeError(`Cannot write picture "${path}": ${(error as Error).message}`, {
      cause: error,
    });
  }
}
