// An archive in the "newc" form of cpio, which is what Linux unpacks as its first root file system.
// Linux documentation, "initramfs buffer format". Needs neither root nor a cpio program.
//
// Entry: 110 bytes of ASCII (magic "070701" and thirteen numbers of eight hexadecimal
// digits: inode, mode, uid, gid, links, mtime, size, device major and minor, rdev
// major and minor, length of the name with its zero, checksum), the name, zeros to a
// multiple of four, the body, zeros again.

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
const TYPE_DIRECTORY = 0o040000;
const TYPE_FILE = 0o100000;
const TYPE_LINK = 0o120000;
const TYPE_CHARACTER_DEVICE = 0o020000;
const SIZE_MAX = 0xffff_ffff;

/** One thing in the archive; `path` is from the root of the file system, without a leading `/`. */
export type CPIOEntry =
  | { readonly type: 'directory'; readonly path: string; readonly mode?: number }
  | {
      readonly type: 'file';
      readonly path: string;
      readonly body: Uint8Array;
      readonly mode?: number;
    }
  | { readonly type: 'link'; readonly path: string; readonly target: string }
  | {
      readonly type: 'device';
      readonly path: string;
      readonly major: number;
      readonly minor: number;
    };

/**
 * The archive's bytes. Everything belongs to root and has the time 0, so that equal entries make
 * equal archives. A directory must stand before what is in it.
 *
 * @throws {RangeError} if a path is empty, absolute or given twice, or its folder is missing
 */
export function writeCPIO(entries: readonly CPIOEntry[]): Uint8Array {
  const folders = new Set<string>(['']);
  const seen = new Set<string>();
  const parts: Uint8Array[] = [];
  let inode = 1;
  for (const entry of entries) {
    const { path } = entry;
    const folder = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
    if (path === '' || path.startsWith('/') || path.endsWith('/'))
      throw new RangeError(`Cannot archive "${path}" as a path must be relative and not empty`);
    if (seen.has(path)) throw new RangeError(`Cannot archive "${path}" as it is there already`);
    if (!folders.has(folder))
      throw new RangeError(`Cannot archive "${path}" as "${folder}" must stand before it`);
    seen.add(path);
    if (entry.type === 'directory') folders.add(path);
    parts.push(...encode(inode++, entry));
  }
  parts.push(...encode(inode, { type: 'file', path: TRAILER, body: new Uint8Array(0), mode: 0 }));
  return new Uint8Array(Buffer.concat(parts));
}

function encode(inode: number, entry: CPIOEntry): Uint8Array[] {
  const [mode, body, major, minor] = contentOf(entry);
  if (body.length > SIZE_MAX)
    throw new RangeError(`Cannot archive "${entry.path}" as it must be smaller than 4 GiB`);
  const name = Buffer.from(`${entry.path}\0`);
  const linkCount = entry.type === 'directory' ? 2 : 1;
  const numbers = [inode, mode, 0, 0, linkCount, 0, body.length, 0, 0, major, minor];
  const header = [...numbers, name.length, 0].map((n) => n.toString(16).padStart(8, '0'));
  const head = Buffer.concat([Buffer.from(MAGIC + header.join('')), name]);
  return [head, padding(head.length), body, padding(body.length)];
}

function contentOf(entry: CPIOEntry): [mode: number, Uint8Array, major: number, minor: number] {
  const nothing = new Uint8Array(0);
  switch (entry.type) {
    case 'directory':
      return [TYPE_DIRECTORY | (entry.mode ?? 0o755), nothing, 0, 0];
    case 'file':
      return [TYPE_FILE | (entry.mode ?? 0o644), entry.body, 0, 0];
    case 'link':
      return [TYPE_LINK | 0o777, Buffer.from(entry.target), 0, 0];
    case 'device':
      return [TYPE_CHARACTER_DEVICE | 0o600, nothing, entry.major, entry.minor];
  }
}

function padding(length: number): Uint8Array {
  return new Uint8Array(-length & 3);
}
