// What is attached to a snapshot, to and from a registry: its referrers. OCI distribution
// specification 1.1, "Listing Referrers", "Pushing Manifests with Subject", and for registries that
// list no referrers "Referrers Tag Schema".

import { blobsOfAttachment, decodeAttachment } from '../../snapshot/attachment.ts';
import { checkDigest, type Digest } from '../../snapshot/digest.ts';
import { MANIFEST_BYTES_MAX } from '../../snapshot/limits.ts';
import {
  type Descriptor,
  decodeDescriptor,
  encodeJSONText,
  failure,
  INDEX_TYPE,
  MANIFEST_TYPE,
  parseJSON,
} from '../../snapshot/manifest.ts';
import type { SnapshotStoreWriter } from '../../snapshot/store.ts';
import { TOUCH_ORDER_TYPE } from '../../snapshot/touch-order.ts';
import type { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM } from './node-platform.ts';
import type { RegistryClient } from './registry-client.ts';
import { download } from './registry-download.ts';
import type { Upload } from './registry-upload.ts';

const REFERRERS_MAX = 1024;
/** What registries answer that know nothing of referrers. */
const NO_REFERRERS = [400, 404, 405];

/** Sends what is attached to `subject`, which the registry has. @throws {SnapshotError} */
export async function pushAttachments(
  store: DirectoryStore,
  upload: Upload,
  subject: Digest,
): Promise<void> {
  const manifest = await store.attachmentOf(subject, TOUCH_ORDER_TYPE);
  if (manifest === undefined) return;
  const bytes = await store.getBlob(manifest);
  const attachment = decodeAttachment(bytes, manifest.digest);
  for (const blob of blobsOfAttachment(attachment)) await upload.send(blob);
  const { client } = upload;
  const answer = await client.send({
    method: 'PUT',
    path: `manifests/${manifest.digest}`,
    headers: { 'content-type': MANIFEST_TYPE },
    body: bytes,
    expect: [201],
  });
  await answer.body?.cancel();
  if (answer.headers.has('oci-subject')) return; // It lists referrers by itself.
  const others = (await taggedReferrers(client, subject)).filter(
    ({ artifactType }) => artifactType !== TOUCH_ORDER_TYPE,
  );
  const { mediaType, digest, size } = manifest;
  const manifests = [...others, { mediaType, digest, size, artifactType: TOUCH_ORDER_TYPE }];
  const index = JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests });
  const tagged = await client.send({
    method: 'PUT',
    path: `manifests/${referrersTag(subject)}`,
    headers: { 'content-type': INDEX_TYPE },
    body: encodeJSONText(index),
    expect: [201],
  });
  await tagged.body?.cancel();
}

/**
 * Fetches what is attached to `subject`, which the store has; what was attached to it here stays.
 * @throws {SnapshotError}
 */
export async function pullAttachments(
  store: DirectoryStore,
  writer: SnapshotStoreWriter,
  client: RegistryClient,
  subject: Digest,
): Promise<void> {
  if ((await store.attachmentOf(subject, TOUCH_ORDER_TYPE)) !== undefined) return;
  const referrers = await listReferrers(client, subject);
  const manifest = referrers.find(({ artifactType }) => artifactType === TOUCH_ORDER_TYPE);
  if (manifest === undefined) return;
  const response = await client.send({
    method: 'GET',
    path: `manifests/${manifest.digest}`,
    headers: { accept: MANIFEST_TYPE },
    expect: [200],
  });
  const bytes = await client.body(response, MANIFEST_BYTES_MAX);
  await checkDigest(NODE_PLATFORM, manifest, bytes);
  const attachment = decodeAttachment(bytes, manifest.digest);
  if (attachment.subject.digest !== subject || attachment.artifactType !== TOUCH_ORDER_TYPE)
    failure(`attachment "${manifest.digest}"`, subject)('CORRUPT', 'it is of something else');
  for (const blob of blobsOfAttachment(attachment))
    await writer.putBlob(blob, download(client, blob));
  await writer.putAttachment(bytes);
}

async function listReferrers(client: RegistryClient, subject: Digest): Promise<Descriptor[]> {
  const query = new URLSearchParams({ artifactType: TOUCH_ORDER_TYPE });
  const response = await client.send({
    method: 'GET',
    path: `referrers/${subject}?${query}`,
    headers: { accept: INDEX_TYPE },
    expect: [200, ...NO_REFERRERS],
  });
  if (response.status === 200) return decodeReferrers(client, response);
  await response.body?.cancel();
  return taggedReferrers(client, subject);
}

/** Referrers as those without a list of them keep them: in an index under a tag. */
async function taggedReferrers(client: RegistryClient, subject: Digest): Promise<Descriptor[]> {
  const response = await client.send({
    method: 'GET',
    path: `manifests/${referrersTag(subject)}`,
    headers: { accept: INDEX_TYPE },
    expect: [200, 404],
  });
  if (response.status === 200) return decodeReferrers(client, response);
  await response.body?.cancel();
  return [];
}

function referrersTag(subject: Digest): string {
  return subject.replace(':', '-');
}

async function decodeReferrers(client: RegistryClient, response: Response): Promise<Descriptor[]> {
  const name = `${client.reference.repository}`;
  const fail = failure(`referrers of "${name}"`, name);
  const json = parseJSON(await client.body(response, MANIFEST_BYTES_MAX), MANIFEST_BYTES_MAX, fail);
  const { manifests = [] } = json;
  if (!Array.isArray(manifests) || manifests.length > REFERRERS_MAX)
    return fail('CORRUPT', `manifests must be a list of at most ${REFERRERS_MAX}`);
  return manifests.map((one: unknown, i) => {
    const descriptor = decodeDescriptor(one, `manifest ${i}`, Number.MAX_SAFE_INTEGER, fail);
    const { artifactType } = one as { artifactType?: unknown };
    return typeof artifactType === 'string' ? { ...descriptor, artifactType } : descriptor;
  });
}
