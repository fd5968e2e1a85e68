// A Debian guest whose work proves that nothing of it was lost: it writes memory all the time, and
// says after each round a digest that only the right digests before it lead to.

import { createHash } from 'node:crypto';
import type { GuestProcess } from '../guest-process.ts';

const PROMPT = /quire:\S*# /;
/** A round takes a fraction of a second, or several where two machines are emulated. */
const ROUND_SECONDS = 240;
const BOOT_SECONDS = 600;

/** Digest number n of the chain is that of digest n − 1 and a newline; number 0 is empty. */
export class Chain {
  readonly #digests = [''];

  at(round: number): string {
    for (let n = this.#digests.length; n <= round; n++) {
      const line = `${this.#digests[n - 1]}\n`;
      this.#digests.push(createHash('md5').update(line).digest('hex'));
    }
    return this.#digests[round]!;
  }
}

/**
 * The workload: each round copies a file, compares the copy's digest with the one taken when the
 * file was made, and goes on with the chain. Lines are split so that the echo of what was typed is
 * not mistaken for what is said.
 */
const WORKLOAD = [
  'cd /tmp; dd if=/dev/urandom of=a bs=64k count=16 2>/dev/null; s=$(md5sum < a)',
  'work() { n=0; c=; while [ "$(cp a b; md5sum < b)" = "$s" ]; do',
  'n=$((n+1)); c=$(echo "$c" | md5sum | cut -c1-32); echo "ro""und $n $c."; done; echo BRO""KEN; }',
  'work &',
].join('\n');

/** Waits for the guest's prompt. */
export async function expectPrompt(guest: GuestProcess): Promise<void> {
  await guest.expect(PROMPT, BOOT_SECONDS);
}

/** Begins the work, from the prompt. */
export function startWork(guest: GuestProcess): void {
  guest.type(`${WORKLOAD}\n`);
}

/**
 * Waits for `count` rounds and holds them against the chain.
 * @returns the number of the last one
 * @throws {Error} if a digest is wrong or a round is left out
 */
export async function expectRounds(
  guest: GuestProcess,
  chain: Chain,
  count: number,
  after?: number,
): Promise<number> {
  let last = after;
  for (let seen = 0; seen < count; seen++) {
    const line = await guest.expect(/round \d+ [0-9a-f]{32}\.|BROKEN/, ROUND_SECONDS);
    const [, number, digest] = /round (\d+) (\w+)/.exec(line) ?? [];
    const round = Number(number);
    if (digest !== chain.at(round) || (last !== undefined && round !== last + 1))
      throw new Error(
        `After round ${last ?? '(none)'} the guest must go on with the chain, which has ` +
          `"${chain.at((last ?? 0) + 1)}" next: it said "${line}"`,
      );
    last = round;
  }
  return last!;
}

/** Saves from the monitor, while the guest goes on with its work. */
export async function save(guest: GuestProcess, tag: string): Promise<void> {
  guest.type(`\x01csavevm ${tag}\n`);
  await guest.expect(new RegExp(`Saved "${tag}"`), 600);
  guest.type('\x01c');
}
