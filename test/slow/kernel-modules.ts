// Which modules of a kernel's package must be inserted, and in which order, for the ones wanted.

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** A module to insert, by its name, with parameters behind it: `virtio_pci force_legacy=1`. */
export type ModuleSpec = string;

/** A module as it is inserted. */
export interface KernelModule {
  /** Name of its file, such as `virtio-rng.ko`. */
  readonly name: string;
  /** Its file on the host. */
  readonly file: string;
  /** What stands behind it on insmod's command line. */
  readonly parameters: string;
}

/**
 * The modules of `specs`, each behind all that it depends on.
 * @param folder where the package was unpacked; its modules may lie at any depth
 * @throws {Error} if the package has no such module
 */
export function insertionOrder(specs: readonly ModuleSpec[], folder: string): KernelModule[] {
  const files = new Map<string, string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }))
    if (entry.name.endsWith('.ko'))
      files.set(plain(entry.name), join(entry.parentPath, entry.name));
  const parametersOf = new Map(
    specs.map((spec) => {
      const [name = '', ...parameters] = spec.split(' ');
      return [plain(name), parameters.join(' ')] as const;
    }),
  );
  const order = new Map<string, KernelModule>();
  const add = (name: string): void => {
    if (order.has(name)) return;
    const file = files.get(name);
    if (file === undefined) throw new Error(`The kernel's package has no module "${name}"`);
    for (const each of dependencies(file)) add(plain(each));
    order.set(name, { name: basename(file), file, parameters: parametersOf.get(name) ?? '' });
  };
  for (const name of parametersOf.keys()) add(name);
  return [...order.values()];
}

/** Files say `virtio-rng.ko` where the kernel says `virtio_rng`. */
function plain(name: string): string {
  return name.replace(/\.ko$/, '').replaceAll('-', '_');
}

/** What a module depends on, by the line "depends=a,b" of its .modinfo section. */
function dependencies(file: string): string[] {
  const text = readFileSync(file).toString('latin1');
  return (/\0depends=([^\0]*)\0/.exec(text)?.[1] ?? '').split(',').filter((each) => each !== '');
}
