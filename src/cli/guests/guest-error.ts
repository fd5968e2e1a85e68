/** Stable names of what can go wrong; the message is for people and may change. */
export type GuestErrorCode = 'UNKNOWN' | 'NO_PACKAGES' | 'FETCH' | 'DIGEST' | 'UNPACK' | 'CACHE';

const HINT =
  'Install the tools of a Debian system, or give a kernel with --kernel FILE ' +
  '(and --initrd FILE), or firmware with --bios FILE';

/** Errors after which another way to a guest helps. */
const HINTED: readonly GuestErrorCode[] = ['NO_PACKAGES', 'FETCH', 'DIGEST', 'UNPACK'];

/** A guest cannot be fetched; says what the user can do instead. */
export class GuestError extends Error {
  override readonly name = 'GuestError';
  readonly code: GuestErrorCode;

  constructor(code: GuestErrorCode, detail: string, options?: ErrorOptions) {
    super(`Cannot fetch the guest: ${detail}${HINTED.includes(code) ? `. ${HINT}` : ''}`, options);
    this.code = code;
  }
}
