// A snapshot's manifest: an OCI image manifest with an artifact type of ours,
// which lists every blob that the snapshot needs. OCI image specification 1.1,
// "Image Manifest" and "Content Descriptors".

import { decodeUTF8, encodeUTF8 } from './byte-reader.ts';
import { type Digest, isDigest } from './digest.ts';
import {
  BLOB_BYTES_MAX,
  CONFIG_BYTES_MAX,
  INDEX_BYTES_MAX,
  LAYERS_MAX,
  MANIFEST_BYTES_MAX,
  STATE_BYTES_MAX,
} from './limits.ts';
import { SnapshotError } from './snapshot-error.ts';

/** Media type of every manifest: OCI's. */
export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
/** What tells our manifests from others; the number is the version of the format. */
export const ARTIFACT_TYPE = 'application/vnd.quire.snapshot.v1';
/** Media types of a snapshot's blobs, without the suffix of their compression. */
export const CONFIG_TYPE = 'application/vnd.quire.machine-config.v1+json';
export const STATE_TYPE = 'application/vnd.quire.state.v1';
export const PAGE_INDEX_TYPE = 'application/vnd.quire.page-index.v1';
export const PAGES_TYPE = 'application/vnd.quire.pages.v1';
/** Annotations. The first two are OCI's. */
export const CREATED_ANNOTATION = 'org.opencontainers.image.created';
export const TAG_ANNOTATION = 'org.opencontainers.image.ref.name';
export const PARENT_ANNOTATION = 'io.quire.snapshot.parent';
/** Size of a compressed blob once it is not. */
export const RAW_SIZE_ANNOTATION = 'io.quire.raw-size';

const NEWER_ARTIFACT = /^application\/vnd\.quire\.snapshot\.v(\d{1,6})$/;
const SUFFIX = /^[a-z0-9]{1,16}$/;
const ANNOTATIONS_MAX = 64;

/** A blob as a manifest or an index names it. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes, as stored. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Of a manifest, where an index says it. */
  readonly artifactType?: string;
}

/** A blob of a snapshot, and how it is compressed. */
export interface LayerDescriptor extends Descriptor {
  /** `undefined` if it is stored as it is. */
  readonly compression: string | undefined;
  /** Bytes, once it is not compressed any more. */
  readonly rawSize: number;
}

/** What a manifest says. */
export interface SnapshotManifest {
  readonly config: Descriptor;
  readonly state: LayerDescriptor;
  readonly pageIndex: LayerDescriptor;
  /** In the order of the page index's blobs. */
  readonly pages: readonly LayerDescriptor[];
  /** When it was made, RFC 3339. */
  readonly created: string;
  /** Manifest of the snapshot that it was made from; it is not needed to load this one. */
  readonly parent?: Digest;
  /** The tag under which it was made; the store's index says under which it is found now. */
  readonly tag?: string;
}

type JSONObject = Readonly<Record<string, unknown>>;

/** The descriptor of a blob of ours. */
export function layerDescriptor(
  type: string,
  blob: { digest: Digest; size: number; rawSize: number; compression: string | undefined },
): LayerDescriptor {
  const { digest, size, rawSize, compression } = blob;
  return compression === undefined
    ? { mediaType: type, digest, size, rawSize, compression }
    : {
        mediaType: `${type}+${compression}`,
        digest,
        size,
        annotations: { [RAW_SIZE_ANNOTATION]: String(rawSize) },
        rawSize,
        compression,
      };
}

/** The bytes of a manifest. */
export function encodeManifest(manifest: SnapshotManifest): Uint8Array {
  const { config, state, pageIndex, pages, created, parent, tag } = manifest;
  const plain = ({ mediaType, digest, size, annotations }: Descriptor): Descriptor => ({
    mediaType,
    digest,
    size,
    ...(annotations === undefined ? {} : { annotations }),
  });
  const json = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    artifactType: ARTIFACT_TYPE,
    config: plain(config),
    layers: [plain(state), plain(pageIndex), ...pages.map(plain)],
    annotations: {
      [CREATED_ANNOTATION]: created,
      ...(parent === undefined ? {} : { [PARENT_ANNOTATION]: parent }),
      ...(tag === undefined ? {} : { [TAG_ANNOTATION]: tag }),
    },
  };
  return encodeJSONText(JSON.stringify(json));
}

/**
 * A manifest from its bytes.
 * @param subject what it is of, for messages: a tag or a digest
 * @throws {SnapshotError} `NOT_A_SNAPSHOT`, `NEWER_VERSION`, `CORRUPT`, `TOO_LARGE`
 */
export function decodeManifest(bytes: Uint8Array, subject: string): SnapshotManifest {
  const fail = failure(`manifest of "${subject}"`, subject);
  const json = parseJSON(bytes, MANIFEST_BYTES_MAX, fail);
  if (json.schemaVersion !== 2 || json.mediaType !== MANIFEST_TYPE)
    fail('NOT_A_SNAPSHOT', `it must be of type "${MANIFEST_TYPE}", got ${quote(json.mediaType)}`);
  checkArtifactType(json.artifactType, fail);
  const config = decodeDescriptor(json.config, 'config', CONFIG_BYTES_MAX, fail);
  if (config.mediaType !== CONFIG_TYPE)
    fail('NOT_A_SNAPSHOT', `config must be of type "${CONFIG_TYPE}", got "${config.mediaType}"`);
  const { layers } = json;
  if (!Array.isArray(layers) || layers.length < 2)
    return fail('CORRUPT', 'layers must be state, page index and pages');
  if (layers.length > LAYERS_MAX)
    fail('TOO_LARGE', `it must have at most ${LAYERS_MAX} layers, got ${layers.length}`);
  const state = decodeLayer(layers[0], 'layer 0', STATE_TYPE, STATE_BYTES_MAX, fail);
  const pageIndex = decodeLayer(layers[1], 'layer 1', PAGE_INDEX_TYPE, INDEX_BYTES_MAX, fail);
  const pages = layers
    .slice(2)
    .map((one, i) => decodeLayer(one, `layer ${i + 2}`, PAGES_TYPE, BLOB_BYTES_MAX, fail));
  const annotations = decodeAnnotations(json.annotations, 'manifest', fail);
  const created = annotations[CREATED_ANNOTATION];
  if (created === undefined || Number.isNaN(Date.parse(created)))
    return fail('CORRUPT', `annotation "${CREATED_ANNOTATION}" must be a time`);
  const parent = annotations[PARENT_ANNOTATION];
  if (parent !== undefined && !isDigest(parent))
    return fail('CORRUPT', `annotation "${PARENT_ANNOTATION}" must be a digest`);
  const tag = annotations[TAG_ANNOTATION];
  return {
    config,
    state,
    pageIndex,
    pages,
    created,
    ...(parent === undefined ? {} : { parent }),
    ...(tag === undefined ? {} : { tag }),
  };
}

/** Every blob that a manifest names, each once; the manifest itself is not among them. */
export function blobsOf(manifest: SnapshotManifest): Descriptor[] {
  const all = [manifest.config, manifest.state, manifest.pageIndex, ...manifest.pages];
  return [...new Map(all.map((one) => [one.digest, one])).values()];
}

/**
 * Every blob that any OCI manifest or index names, for `gc`, which must spare
 * what others put there.
 * @throws {SnapshotError} `CORRUPT` if that cannot be told
 */
export function namedBlobs(bytes: Uint8Array, subject: string): Descriptor[] {
  const fail = failure(`manifest of "${subject}"`, subject);
  const json = parseJSON(bytes, MANIFEST_BYTES_MAX, fail);
  const named: Descriptor[] = [];
  for (const key of ['config', 'subject'])
    if (json[key] !== undefined)
      named.push(decodeDescriptor(json[key], key, Number.MAX_SAFE_INTEGER, fail));
  for (const key of ['layers', 'manifests']) {
    const list = json[key];
    if (list === undefined) continue;
    if (!Array.isArray(list) || list.length > LAYERS_MAX)
      return fail('CORRUPT', `${key} must be a list of at most ${LAYERS_MAX}`);
    for (const [i, one] of list.entries())
      named.push(decodeDescriptor(one, `${key} ${i}`, Number.MAX_SAFE_INTEGER, fail));
  }
  if (json.layers === undefined && json.manifests === undefined)
    fail('CORRUPT', 'it must have layers or manifests');
  return named;
}

/** Stops with a `SnapshotError`. */
export type Fail = (code: SnapshotError['code'], detail: string) => never;

/** A `Fail` for messages about `what`. */
export function failure(what: string, subject: string): Fail {
  return (code, detail) => {
    throw new SnapshotError(code, `Cannot read ${what}: ${detail}`, { subject });
  };
}

/** A JSON object of bounded size. */
export function parseJSON(bytes: Uint8Array, bytesMax: number, fail: Fail): JSONObject {
  if (bytes.length > bytesMax)
    fail('TOO_LARGE', `it must have at most ${bytesMax} bytes, got ${bytes.length}`);
  let value: unknown;
  try {
    value = JSON.parse(decodeUTF8(bytes) ?? '');
  } catch {
    fail('CORRUPT', 'it must be JSON');
  }
  return isObject(value) ? value : fail('CORRUPT', 'it must be a JSON object');
}

/** A descriptor out of JSON. */
export function decodeDescriptor(
  value: unknown,
  what: string,
  sizeMax: number,
  fail: Fail,
): Descriptor {
  if (!isObject(value)) return fail('CORRUPT', `${what} must be a descriptor`);
  const { mediaType, digest, size } = value;
  if (typeof mediaType !== 'string' || mediaType.length > 255)
    return fail('CORRUPT', `${what} must have a media type`);
  if (!isDigest(digest)) return fail('CORRUPT', `${what} must have a SHA-256 digest`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    return fail('CORRUPT', `${what} must have a size`);
  if (size > sizeMax)
    fail('TOO_LARGE', `${what} must have at most ${sizeMax} bytes, it states ${size}`);
  const annotations = decodeAnnotations(value.annotations, what, fail);
  return Object.keys(annotations).length === 0
    ? { mediaType, digest, size }
    : { mediaType, digest, size, annotations };
}

function decodeLayer(
  value: unknown,
  what: string,
  type: string,
  sizeMax: number,
  fail: Fail,
): LayerDescriptor {
  const descriptor = decodeDescriptor(value, what, sizeMax, fail);
  const { mediaType, size, annotations } = descriptor;
  if (mediaType === type) return { ...descriptor, compression: undefined, rawSize: size };
  const compression = mediaType.slice(type.length + 1);
  if (!mediaType.startsWith(`${type}+`) || !SUFFIX.test(compression))
    fail('NOT_A_SNAPSHOT', `${what} must be of type "${type}", got "${mediaType}"`);
  const rawSize = Number(annotations?.[RAW_SIZE_ANNOTATION]);
  if (!Number.isSafeInteger(rawSize) || rawSize < 0)
    fail('CORRUPT', `${what} must have annotation "${RAW_SIZE_ANNOTATION}"`);
  if (rawSize > sizeMax)
    fail('TOO_LARGE', `${what} must come to at most ${sizeMax} bytes, it states ${rawSize}`);
  return { ...descriptor, compression, rawSize };
}

function checkArtifactType(type: unknown, fail: Fail): void {
  if (type === ARTIFACT_TYPE) return;
  const newer = typeof type === 'string' ? NEWER_ARTIFACT.exec(type)?.[1] : undefined;
  if (newer !== undefined)
    fail('NEWER_VERSION', `format must be at most version 1, it is version ${newer}`);
  fail('NOT_A_SNAPSHOT', `artifact type must be "${ARTIFACT_TYPE}", got ${quote(type)}`);
}

function decodeAnnotations(value: unknown, what: string, fail: Fail): Record<string, string> {
  if (value === undefined) return {};
  const entries = isObject(value) ? Object.entries(value) : fail('CORRUPT', `${what}: annotations`);
  if (entries.length > ANNOTATIONS_MAX)
    fail('TOO_LARGE', `${what} must have at most ${ANNOTATIONS_MAX} annotations`);
  const annotations: Record<string, string> = {};
  for (const [key, text] of entries) {
    if (typeof text !== 'string') return fail('CORRUPT', `${what}: "${key}" must be text`);
    annotations[key] = text;
  }
  return annotations;
}

/** JSON of ours is ASCII but for names that people chose; the slow way is for those only. */
export function encodeJSONText(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return encodeUTF8(text);
    bytes[i] = code;
  }
  return bytes;
}

function isObject(value: unknown): value is JSONObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function quote(value: unknown): string {
  return typeof value === 'string' ? `"${value.slice(0, 80)}"` : 'none';
}
