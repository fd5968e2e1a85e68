// What is said of a snapshot and is no part of it, such as the order in which a run touched its
// memory: a small blob behind a manifest whose `subject` is the snapshot's. It comes, changes and
// goes, and the snapshot's digest stays. OCI image specification 1.1, "Guidelines for Artifact
// Usage"; distribution specification 1.1, "Listing Referrers".

import { type Digest, digestOf, type SnapshotPlatform } from './digest.ts';
import { ATTACHMENT_BYTES_MAX, MANIFEST_BYTES_MAX } from './limits.ts';
import {
  type Descriptor,
  decodeDescriptor,
  encodeJSONText,
  failure,
  MANIFEST_TYPE,
  parseJSON,
} from './manifest.ts';
import { SnapshotError } from './snapshot-error.ts';
import type { CancelOptions, SnapshotStore } from './store.ts';

/** On the descriptor of an attachment's manifest: whose it is, so that it need not be read. */
export const SUBJECT_ANNOTATION = 'io.quire.attachment.subject';
/** All attachments of ours have such an artifact type. */
const ATTACHMENT_TYPE = /^application\/vnd\.quire\.[a-z-]+\.v\d+$/;
const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json';
const EMPTY = encodeJSONText('{}');

/** What the manifest of an attachment says. */
export interface Attachment {
  readonly artifactType: string;
  readonly subject: Descriptor;
  /** OCI wants one, and has `{}` for those who need none. */
  readonly config: Descriptor;
  readonly content: Descriptor;
}

/** Every blob that an attachment needs, its manifest and its subject excepted. */
export function blobsOfAttachment({ config, content }: Attachment): readonly Descriptor[] {
  return [config, content];
}

function encodeAttachment({ artifactType, subject, config, content }: Attachment): Uint8Array {
  const { mediaType, digest, size } = subject;
  const json = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    artifactType,
    config,
    layers: [content],
    subject: { mediaType, digest, size },
  };
  return encodeJSONText(JSON.stringify(json));
}

/**
 * An attachment from the bytes of its manifest.
 * @throws {SnapshotError} `NOT_A_SNAPSHOT`, `CORRUPT`, `TOO_LARGE`
 */
export function decodeAttachment(bytes: Uint8Array, name: string): Attachment {
  const fail = failure(`attachment "${name}"`, name);
  const json = parseJSON(bytes, MANIFEST_BYTES_MAX, fail);
  const { artifactType, layers } = json;
  if (json.schemaVersion !== 2 || json.mediaType !== MANIFEST_TYPE)
    fail('NOT_A_SNAPSHOT', `it must be of type "${MANIFEST_TYPE}"`);
  if (typeof artifactType !== 'string' || !ATTACHMENT_TYPE.test(artifactType))
    return fail('NOT_A_SNAPSHOT', 'its artifact type must be one of Quire\u2019s');
  if (!Array.isArray(layers) || layers.length !== 1)
    return fail('CORRUPT', 'it must have one layer');
  const descriptor = (value: unknown, what: string, sizeMax: number): Descriptor => {
    return decodeDescriptor(value, what, sizeMax, fail);
  };
  return {
    artifactType,
    subject: descriptor(json.subject, 'subject', MANIFEST_BYTES_MAX),
    config: descriptor(json.config, 'config', ATTACHMENT_BYTES_MAX),
    content: descriptor(layers[0], 'layer 0', ATTACHMENT_BYTES_MAX),
  };
}

/** The descriptor of an attachment's manifest, as an index names it. */
function attachmentDescriptor(manifest: Descriptor, attachment: Attachment): Descriptor {
  return {
    ...manifest,
    artifactType: attachment.artifactType,
    annotations: { [SUBJECT_ANNOTATION]: attachment.subject.digest },
  };
}

/** Whose attachment a descriptor of an index names; undefined if it names something else. */
function subjectOf({ artifactType, annotations }: Descriptor): string | undefined {
  const isOurs = artifactType !== undefined && ATTACHMENT_TYPE.test(artifactType);
  return isOurs ? annotations?.[SUBJECT_ANNOTATION] : undefined;
}

/** What is attached to `subject`, among the manifests that an index names. */
export function findAttachment(
  manifests: readonly Descriptor[],
  subject: Digest,
  artifactType: string,
): Descriptor | undefined {
  return manifests.find((one) => subjectOf(one) === subject && one.artifactType === artifactType);
}

/** `manifests` with one more attachment, in place of that subject's last one of its type. */
export function withAttachment(
  manifests: readonly Descriptor[],
  manifest: Descriptor,
  attachment: Attachment,
): Descriptor[] {
  const { subject, artifactType } = attachment;
  const last = findAttachment(manifests, subject.digest, artifactType);
  const others = manifests.filter((one) => one !== last);
  return [...others, attachmentDescriptor(manifest, attachment)];
}

/** `manifests` without attachments whose snapshot is among neither `tagged` nor the others. */
export function withoutOrphans(
  tagged: readonly Descriptor[],
  manifests: readonly Descriptor[],
): Descriptor[] {
  const others = manifests.filter((one) => subjectOf(one) === undefined);
  const known = new Set<string>([...tagged, ...others].map(({ digest }) => digest));
  return manifests.filter((one) => {
    const subject = subjectOf(one);
    return subject === undefined || known.has(subject);
  });
}

/** `manifests` without attachments that cannot be read: nobody misses those. */
export async function soundAttachments(
  store: Pick<SnapshotStore, 'getBlob'>,
  manifests: readonly Descriptor[],
): Promise<Descriptor[]> {
  const sound: Descriptor[] = [];
  for (const manifest of manifests) {
    const subject = subjectOf(manifest);
    const check = async (): Promise<boolean> => {
      const attachment = decodeAttachment(await store.getBlob(manifest), manifest.digest);
      for (const blob of blobsOfAttachment(attachment)) await store.getBlob(blob);
      return attachment.subject.digest === subject;
    };
    const isSound = subject === undefined || (await check().catch(isOther));
    if (isSound) sound.push(manifest);
  }
  return sound;
}

/** For what is wrong with an attachment: it is not sound. What the host refuses goes on. */
function isOther(error: unknown): false {
  if (error instanceof SnapshotError && error.code !== 'IO') return false;
  throw error;
}

/**
 * The content of a snapshot's attachment, or undefined if it has none.
 * @throws {SnapshotError} `CORRUPT`, `MISSING_BLOB`, `NOT_A_SNAPSHOT`, `TOO_LARGE`, `IO`
 */
export async function readAttachment(
  store: SnapshotStore,
  subject: Digest,
  artifactType: string,
  options: CancelOptions = {},
): Promise<Uint8Array | undefined> {
  const manifest = await store.attachmentOf(subject, artifactType);
  if (manifest === undefined) return undefined;
  const name = `${artifactType} of ${subject}`;
  const fail = failure(`attachment "${name}"`, name);
  if (manifest.size > MANIFEST_BYTES_MAX) fail('TOO_LARGE', 'its manifest is too large');
  const attachment = decodeAttachment(await store.getBlob(manifest, options), name);
  if (attachment.subject.digest !== subject || attachment.artifactType !== artifactType)
    fail('CORRUPT', 'its manifest must say the same');
  return store.getBlob(attachment.content, options);
}

/**
 * Keeps `content` with a snapshot, in place of what was attached of that type.
 * @returns whether it was kept: not if no tag names the snapshot any more
 * @throws {SnapshotError} `BUSY`, `IO`, `TOO_LARGE`
 */
export async function writeAttachment(
  store: SnapshotStore,
  platform: SnapshotPlatform,
  subject: Descriptor,
  artifactType: string,
  content: Uint8Array,
): Promise<boolean> {
  const name = `${artifactType} of ${subject.digest}`;
  if (content.length > ATTACHMENT_BYTES_MAX)
    failure(`attachment "${name}"`, name)('TOO_LARGE', `it has ${content.length} bytes`);
  const blob = async (mediaType: string, bytes: Uint8Array): Promise<Descriptor> => {
    return { mediaType, digest: await digestOf(platform, bytes), size: bytes.length };
  };
  const config = await blob(EMPTY_TYPE, EMPTY);
  const layer = await blob(artifactType, content);
  const writer = await store.openWriter();
  try {
    await writer.putBlob(config, EMPTY);
    await writer.putBlob(layer, content);
    const attachment = { artifactType, subject, config, content: layer };
    return (await writer.putAttachment(encodeAttachment(attachment))) !== undefined;
  } finally {
    await writer.close();
  }
}
