// Which boot protocol an image asks for.

import { BootError, type BootImage } from './boot-target.ts';
import { isLinuxImage, loadLinux } from './linux.ts';
import { findMultibootHeader, loadMultiboot } from './multiboot.ts';

export interface LoadOptions {
  readonly memoryBytes: number;
  readonly initrd?: Uint8Array;
  readonly modules?: readonly { readonly bytes: Uint8Array; readonly commandLine?: string }[];
  readonly commandLine?: string;
  /** Fills its argument with random bytes, for a kernel that takes a seed. */
  readonly fillRandom?: (bytes: Uint8Array) => void;
}

/**
 * Lays a kernel out for its protocol: Linux, or multiboot 1.
 * @throws {BootError} if it is neither, broken, or does not fit
 */
export function loadImage(options: LoadOptions, kernel: Uint8Array): BootImage {
  const { initrd, modules = [], commandLine = '', memoryBytes, fillRandom } = options;
  if (isLinuxImage(kernel)) {
    if (modules.length > 0)
      throw new BootError('Linux kernel', 'modules are for multiboot kernels, it takes an initrd');
    return loadLinux({
      kernel,
      commandLine,
      memoryBytes,
      ...(initrd === undefined ? {} : { initrd }),
      ...(fillRandom === undefined ? {} : { fillRandom }),
    });
  }
  if (findMultibootHeader(kernel) !== undefined) {
    // As other machines do: an initrd becomes the first module.
    const all = initrd === undefined ? modules : [{ bytes: initrd }, ...modules];
    return loadMultiboot({ kernel, modules: all, commandLine, memoryBytes });
  }
  throw new BootError(
    'kernel',
    `the image must be a Linux bzImage or a multiboot image, got ${kernel.length} other bytes`,
  );
}
