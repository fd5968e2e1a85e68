// Names of snapshots in registries: `HOST[:PORT]/NAME[:TAG]` or `…@DIGEST`.
// OCI distribution specification 1.1, "Pulling manifests".

import { type Digest, isDigest } from '../../snapshot/digest.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import { checkTag } from '../../snapshot/store.ts';

/** A place in a registry. */
export interface RegistryReference {
  /** Host and port. */
  readonly host: string;
  /** `https`, or `http` on this machine and where the caller asks for it. */
  readonly origin: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const NAME_LENGTH_MAX = 255;
const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const HOST = /^(?:[a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/;

/**
 * Takes a reference apart. The tag is `latest` if neither tag nor digest is given.
 * @param isPlain whether to speak HTTP without TLS; a loopback address always does
 * @throws {SnapshotError} `REGISTRY` if it is not one
 */
export function parseReference(text: string, isPlain = false): RegistryReference {
  const fail = (why: string): never => {
    throw new SnapshotError(
      'REGISTRY',
      `Cannot use registry reference "${text}" as it must be HOST/NAME[:TAG]: ${why}`,
      { subject: text },
    );
  };
  const slash = text.indexOf('/');
  if (slash < 1) fail('there is no host');
  const host = text.slice(0, slash);
  if (!HOST.test(host)) fail(`"${host}" is no host`);
  let rest = text.slice(slash + 1);
  let digest: Digest | undefined;
  const at = rest.indexOf('@');
  if (at >= 0) {
    const found = rest.slice(at + 1);
    digest = isDigest(found) ? found : fail(`"${found}" is no digest`);
    rest = rest.slice(0, at);
  }
  const colon = rest.indexOf(':');
  const repository = colon < 0 ? rest : rest.slice(0, colon);
  if (!NAME.test(repository) || repository.length > NAME_LENGTH_MAX)
    fail(`"${repository}" is no name of a repository`);
  const tag = colon < 0 ? (digest === undefined ? 'latest' : undefined) : rest.slice(colon + 1);
  if (tag !== undefined) checkTag(tag);
  const scheme = isPlain || LOOPBACK.test(host) ? 'http' : 'https';
  return {
    host,
    origin: `${scheme}://${host}`,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}
