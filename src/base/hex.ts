// Numbers as people read them in messages and listings: hexadecimal addresses, sizes with units.

/** `value` as `0x…`, in lower case; a negative value keeps its sign: `-0x10`. */
export function hex(value: number): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** `value` without a prefix, at least `digitCount` digits; for columns of addresses. */
export function hexDigits(value: number, digitCount = 16): string {
  return value.toString(16).padStart(digitCount, '0');
}

const SIZE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** A size in the largest unit that divides it: 4096 is `4 KiB`, 4097 is `4097 B`. */
export function formatSize(sizeBytes: number): string {
  let value = sizeBytes;
  let unitIndex = 0;
  while (value >= 1024 && value % 1024 === 0 && unitIndex < SIZE_UNITS.length - 1) {
    value /= 1024;
    unitIndex++;
  }
  return `${value} ${SIZE_UNITS[unitIndex]}`;
}
