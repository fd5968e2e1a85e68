// A blob out of a registry. OCI distribution specification 1.1, "Pulling blobs".

import type { Descriptor } from '../../snapshot/manifest.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import type { RegistryClient } from './registry-client.ts';

const PULL_TRIES = 4;

/** A blob's bytes; a connection that drops is taken up at the byte where it did. */
export async function* download(
  client: RegistryClient,
  blob: Descriptor,
): AsyncGenerator<Uint8Array> {
  const { digest, size } = blob;
  let received = 0;
  for (let attempt = 1; ; attempt++) {
    const response = await client.send({
      method: 'GET',
      path: `blobs/${digest}`,
      headers: received === 0 ? {} : { range: `bytes=${received}-` },
      expect: [200, 206],
    });
    // Not every registry does ranges: what we have is skipped then.
    let skip = response.status === 200 ? received : 0;
    try {
      for await (const part of response.body ?? []) {
        const piece = (part as Uint8Array).subarray(Math.min(skip, (part as Uint8Array).length));
        skip -= (part as Uint8Array).length - piece.length;
        if (piece.length === 0) continue;
        received += piece.length;
        yield piece;
        if (received > size) return; // The store says that it is too long.
      }
    } catch (cause) {
      if (attempt >= PULL_TRIES || (cause as Error).name === 'AbortError')
        throw new SnapshotError('REGISTRY', `Cannot pull blob "${digest}": the connection broke`, {
          subject: digest,
          cause,
        });
      continue;
    }
    if (received >= size || attempt >= PULL_TRIES) return;
  }
}
