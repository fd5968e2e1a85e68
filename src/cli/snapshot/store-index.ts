// `oci-layout` and `index.json`: the two files that make a folder an OCI image layout, and the
// tags. OCI image specification 1.1, "Image Layout Specification".

import { MANIFEST_BYTES_MAX, TAGS_MAX } from '../../snapshot/limits.ts';
import {
  ARTIFACT_TYPE,
  type Descriptor,
  decodeDescriptor,
  encodeJSONText,
  failure,
  INDEX_TYPE,
  parseJSON,
  TAG_ANNOTATION,
} from '../../snapshot/manifest.ts';
import type { TagEntry } from '../../snapshot/store.ts';

/** What `oci-layout` must say. */
export const LAYOUT_VERSION = '1.0.0';
/** Of `oci-layout` and of `index.json`, bytes. */
export const LAYOUT_BYTES_MAX = 4096;
export const STORE_INDEX_BYTES_MAX = MANIFEST_BYTES_MAX;

/** An index: our tags, and whatever else another tool may have put there. */
export interface StoreIndex {
  readonly entries: readonly TagEntry[];
  /** Descriptors without a tag; kept, and `gc` spares what they reach. */
  readonly untagged: readonly Descriptor[];
}

/** The bytes of `oci-layout`. */
export function encodeLayout(): Uint8Array {
  return encodeJSONText(JSON.stringify({ imageLayoutVersion: LAYOUT_VERSION }));
}

/** @throws {SnapshotError} `NEWER_VERSION`, `CORRUPT` */
export function checkLayout(bytes: Uint8Array, path: string): void {
  const fail = failure(`"${path}"`, path);
  const { imageLayoutVersion: version } = parseJSON(bytes, LAYOUT_BYTES_MAX, fail);
  if (typeof version !== 'string') fail('CORRUPT', 'it must state a version');
  if (version !== LAYOUT_VERSION)
    fail('NEWER_VERSION', `version must be "${LAYOUT_VERSION}", it is "${String(version)}"`);
}

/** The bytes of `index.json`. */
export function encodeIndex({ entries, untagged }: StoreIndex): Uint8Array {
  const tagged = entries.map(({ tag, manifest }) => ({
    ...manifest,
    annotations: { ...manifest.annotations, [TAG_ANNOTATION]: tag },
  }));
  const json = { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [...tagged, ...untagged] };
  return encodeJSONText(`${JSON.stringify(json, undefined, 1)}\n`);
}

/**
 * The tags of `index.json`, by name.
 * @throws {SnapshotError} `CORRUPT`, `TOO_LARGE`
 */
export function decodeIndex(bytes: Uint8Array, path: string): StoreIndex {
  const fail = failure(`"${path}"`, path);
  const json = parseJSON(bytes, STORE_INDEX_BYTES_MAX, fail);
  if (json.schemaVersion !== 2) fail('CORRUPT', 'schemaVersion must be 2');
  const { manifests } = json;
  if (!Array.isArray(manifests)) return fail('CORRUPT', 'manifests must be a list');
  if (manifests.length > TAGS_MAX)
    fail('TOO_LARGE', `it must name at most ${TAGS_MAX} manifests, got ${manifests.length}`);
  const entries = new Map<string, TagEntry>();
  const untagged: Descriptor[] = [];
  for (const [i, one] of manifests.entries()) {
    const what = `manifest ${i}`;
    const descriptor = decodeDescriptor(one, what, Number.MAX_SAFE_INTEGER, fail);
    const tag = descriptor.annotations?.[TAG_ANNOTATION];
    const { artifactType } = one as { artifactType?: unknown };
    const kept = typeof artifactType === 'string' ? { ...descriptor, artifactType } : descriptor;
    if (tag === undefined) {
      untagged.push(kept);
      continue;
    }
    if (entries.has(tag)) fail('CORRUPT', `tag "${tag}" is there twice`);
    entries.set(tag, { tag, manifest: kept });
  }
  const sorted = [...entries.values()].sort((a, b) => (a.tag < b.tag ? -1 : 1));
  return { entries: sorted, untagged };
}

/** The descriptor of a manifest of ours, as the index names it. */
export function manifestDescriptor(manifest: Descriptor): Descriptor {
  return { ...manifest, artifactType: ARTIFACT_TYPE } as Descriptor;
}
