// Against the registry server of the distribution, and against servers that misbehave.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  hasRegistry,
  type RegistryProcess,
  startRegistry,
} from '../../../test/registry-process.ts';
import { contentOf, loadRAM, saveFull, testRAM } from '../../../test/snapshot-fixture.ts';
import { readAttachment, writeAttachment } from '../../snapshot/attachment.ts';
import { MANIFEST_TYPE } from '../../snapshot/manifest.ts';
import { SnapshotReader } from '../../snapshot/snapshot-reader.ts';
import { encodeTouchOrder, TOUCH_ORDER_TYPE } from '../../snapshot/touch-order.ts';
import { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM, ZSTD } from './node-platform.ts';
import { pull, push } from './registry.ts';
import { parseReference } from './registry-reference.ts';

const RAM = testRAM({ ram: Array.from({ length: 600 }, (_, i) => i), rom: [1, 2] });
const closers: (() => unknown)[] = [];
let env: NodeJS.ProcessEnv = {};

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function newStore(): Promise<DirectoryStore> {
  const path = mkdtempSync(join(tmpdir(), 'quire-registry-store-'));
  closers.push(() => rmSync(path, { recursive: true, force: true }));
  const store = await DirectoryStore.open(join(path, 'store'));
  env = { ...process.env, DOCKER_CONFIG: join(path, 'docker') };
  mkdirSync(env.DOCKER_CONFIG!);
  return store;
}

function writeConfig(config: object): void {
  writeFileSync(join(env.DOCKER_CONFIG!, 'config.json'), JSON.stringify(config));
}

/** Whether some bytes of a large blob that is on its way are in a file. */
function hasStaged({ path }: DirectoryStore): boolean {
  const folder = join(path, '.quire', 'staging');
  return readdirSync(folder).some((name) => {
    return (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0) > 20_000;
  });
}

async function contentAt(store: DirectoryStore, tag: string): Promise<Record<string, string>> {
  return contentOf(await loadRAM(await SnapshotReader.open(store, NODE_PLATFORM, tag)));
}

/**
 * A server of our own in front of `behind`: `decide` may answer, drop, or let a request through.
 */
async function proxy(
  behind: string,
  decide: (request: IncomingMessage, response: ServerResponse, body: Buffer) => boolean,
): Promise<string> {
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const body = Buffer.concat(pieces);
    if (decide(request, response, body)) return;
    const headers = { ...request.headers, host: request.headers.host! } as unknown as Record<
      string,
      string
    >;
    for (const name of ['connection', 'transfer-encoding', 'content-length', 'authorization'])
      delete headers[name];
    const answer = await fetch(`http://${behind}${request.url}`, {
      method: request.method!,
      headers,
      ...(body.length > 0 ? { body } : {}),
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    const { host } = request.headers;
    const out: Record<string, string> = {};
    for (const [name, value] of answer.headers) out[name] = value.replaceAll(behind, host!);
    delete out['transfer-encoding'];
    response.writeHead(answer.status, out);
    response.end(request.method === 'HEAD' ? undefined : bytes);
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('references are taken apart as registries write them', () => {
  expect(parseReference('localhost:5000/a/b:v1')).toEqual({
    host: 'localhost:5000',
    origin: 'http://localhost:5000',
    repository: 'a/b',
    tag: 'v1',
  });
  expect(parseReference('r.example/vm')).toMatchObject({
    origin: 'https://r.example',
    tag: 'latest',
  });
  const digest = `sha256:${'0'.repeat(64)}`;
  expect(parseReference(`r.example/vm@${digest}`)).toMatchObject({ digest });
  expect(parseReference(`r.example/vm@${digest}`).tag).toBeUndefined();
  for (const bad of [
    'vm',
    '/vm',
    'r.example/VM',
    'r.example/vm:',
    'r.example/vm@sha256:12',
    'a b/c',
  ])
    expect(() => parseReference(bad), bad).toThrow(/^Cannot use/);
});

describe.skipIf(!hasRegistry())('with docker-registry (skipped where it is not installed)', () => {
  let registry: RegistryProcess;
  beforeAll(async () => {
    registry = await startRegistry();
  });
  afterAll(() => registry?.stop());

  test('a snapshot goes to a registry and comes back; what is there is not resent', async () => {
    const store = await newStore();
    await saveFull(store, NODE_PLATFORM, 'a', RAM, ZSTD);
    const to = parseReference(`${registry.host}/vm/one:v1`);
    const first = await push(store, 'a', to, { env });
    expect(first.movedBlobs).toBe(first.presentBlobs === 0 ? 7 : -1);
    expect(await push(store, 'a', to, { env })).toMatchObject({ movedBlobs: 0, presentBlobs: 7 });
    const other = await newStore();
    let last = 0;
    const onProgress = ({ doneBlobs }: { doneBlobs: number }) => {
      last = doneBlobs;
    };
    const pulled = await pull(other, 'b', to, { env, onProgress });
    expect(last).toBe(7);
    expect(pulled.manifest.digest).toBe(first.manifest.digest);
    expect(await contentAt(other, 'b')).toEqual(contentOf(RAM));
    // A blob that was damaged since is fetched again.
    const { pages } = (await SnapshotReader.open(other, NODE_PLATFORM, 'b')).manifest;
    const file = join(other.path, 'blobs', 'sha256', pages[0]!.digest.slice(7));
    writeFileSync(file, Buffer.alloc(pages[0]!.size, 7));
    const later = await DirectoryStore.open(other.path);
    expect(await pull(later, 'b', to, { env })).toMatchObject({ movedBlobs: 1 });
    expect(await contentAt(later, 'b')).toEqual(contentOf(RAM));
    const byDigest = parseReference(`${registry.host}/vm/one@${first.manifest.digest}`);
    expect(await pull(other, 'c', byDigest, { env })).toMatchObject({ movedBlobs: 0 });
  });

  // Goal: where the registry lists referrers (answers OCI-Subject), and where it does not.
  test.each([false, true])('what is attached comes along, listed: %s', async (isListed) => {
    const store = await newStore();
    await saveFull(store, NODE_PLATFORM, 'a', RAM);
    const { manifest } = await push(store, 'a', parseReference(`${registry.host}/x/y`), { env });
    const { blocks } = (await SnapshotReader.open(store, NODE_PLATFORM, 'a')).pageIndex;
    const order = encodeTouchOrder(blocks, [{ blockIndex: 0, page: 300 }]);
    await writeAttachment(store, NODE_PLATFORM, manifest, TOUCH_ORDER_TYPE, order);
    let listed = '';
    const host = await proxy(registry.host, (request, response, body) => {
      const { method, url = '' } = request;
      if (!isListed) return false;
      if (method === 'PUT' && body.includes('"subject"')) {
        const digest = url.split('/').at(-1);
        listed = `{"mediaType":"${MANIFEST_TYPE}","digest":"${digest}","size":${body.length},
          "artifactType":"${TOUCH_ORDER_TYPE}"}`;
        void fetch(`http://${registry.host}${url}`, {
          method,
          body,
          headers: { 'content-type': request.headers['content-type']! },
        }).then(() => response.writeHead(201, { 'oci-subject': manifest.digest }).end());
        return true;
      }
      if (url.includes('/manifests/sha256-')) response.writeHead(500).end();
      else if (url.includes('/referrers/')) response.end(`{"manifests":[${listed}]}`);
      else return false;
      return true;
    });
    const to = parseReference(`${host}/vm/attached-${isListed}:v1`);
    expect((await push(store, 'a', to, { env })).note).toBeUndefined();
    expect((await push(store, 'a', to, { env })).note).toBeUndefined();
    const other = await newStore();
    expect((await pull(other, 'b', to, { env })).note).toBeUndefined();
    expect(await readAttachment(other, manifest.digest, TOUCH_ORDER_TYPE)).toEqual(order);
    // One that is damaged stays behind, and the snapshot comes.
    const blob = (await store.attachmentOf(manifest.digest, TOUCH_ORDER_TYPE))!.digest.slice(7);
    writeFileSync(join(store.path, 'blobs', 'sha256', blob), 'x');
    const report = await push(store, 'a', to, { env });
    expect(report.note).toMatch(/did not come along: Cannot use blob/);
    expect(report.presentBlobs).toBe(7);
  });

  test('large blobs go in chunks', async () => {
    const store = await newStore();
    await saveFull(store, NODE_PLATFORM, 'a', RAM);
    const to = parseReference(`${registry.host}/vm/chunks:v1`);
    await push(store, 'a', to, { env, chunkBytes: 300_000 });
    const other = await newStore();
    await pull(other, 'a', to, { env });
    expect(await contentAt(other, 'a')).toEqual(contentOf(RAM));
    expect(readdirSync(join(store.path, '.quire', 'uploads'))).toEqual([]);
  });

  test('a push that was cut off goes on inside the blob that was on its way', async () => {
    const store = await newStore();
    await saveFull(store, NODE_PLATFORM, 'a', RAM);
    let patches = 0;
    let isCut = false;
    const resumedAt: string[] = [];
    const host = await proxy(registry.host, (request, response) => {
      if (request.method !== 'PATCH') return false;
      if (isCut) {
        resumedAt.push(request.headers['content-range'] ?? '');
        return false;
      }
      // The third chunk and all later ones find nobody: as if this side had been killed.
      if (++patches <= 4) return false;
      response.destroy();
      return true;
    });
    const to = parseReference(`${host}/vm/cut:v1`);
    const options = { env, chunkBytes: 200_000, retryMs: 1 };
    await expect(push(store, 'a', to, options)).rejects.toMatchObject({ code: 'REGISTRY' });
    isCut = true;
    await push(store, 'a', to, options);
    // Every blob that is sent in chunks goes on behind what the registry has.
    const starts = resumedAt.filter((range) => range.startsWith('0-'));
    expect(resumedAt.length).toBeGreaterThan(3);
    expect(starts.length).toBeLessThan(3);
    const other = await newStore();
    await pull(other, 'a', parseReference(`${registry.host}/vm/cut:v1`), { env });
    expect(await contentAt(other, 'a')).toEqual(contentOf(RAM));
  });

  test('blobs of another repository are mounted and not sent', async () => {
    const store = await newStore();
    await saveFull(store, NODE_PLATFORM, 'a', RAM);
    await push(store, 'a', parseReference(`${registry.host}/vm/from:v1`), { env });
    const to = parseReference(`${registry.host}/vm/to:v1`);
    const moved = await push(store, 'a', to, { env, mountFrom: ['vm/from'] });
    expect(moved).toMatchObject({ movedBlobs: 0, movedBytes: 0 });
  });

  test('a connection that drops in a download is taken up where it did', async () => {
    const store = await newStore();
    const ram = testRAM({ ram: Array.from({ length: 200 }, (_, page) => page) }); // One large blob.
    await saveFull(store, NODE_PLATFORM, 'a', ram);
    await push(store, 'a', parseReference(`${registry.host}/vm/drop:v1`), { env });
    const reader = await SnapshotReader.open(store, NODE_PLATFORM, 'a');
    const big = reader.manifest.pages[0]!;
    const bytes = await store.getBlob(big);
    const ranges: (string | undefined)[] = [];
    const other = await newStore();
    const host = await proxy(registry.host, (request, response) => {
      if (!request.url!.includes(big.digest)) return false;
      ranges.push(request.headers.range);
      if (ranges.length > 1) return false;
      response.writeHead(200, { 'content-length': String(big.size) });
      response.write(bytes.subarray(0, 400_000));
      // Once some of it is on the other side's disk: what only the network has is sent again.
      const timer = setInterval(() => {
        if (!hasStaged(other) && ranges.length === 1) return;
        clearInterval(timer);
        response.destroy();
      }, 5);
      return true;
    });
    await pull(other, 'a', parseReference(`${host}/vm/drop:v1`), { env });
    expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
    expect(await contentAt(other, 'a')).toEqual(contentOf(ram));
  });

  test('a registry that sends other bytes is refused, and nothing is kept', async () => {
    const store = await newStore();
    await saveFull(store, NODE_PLATFORM, 'a', RAM);
    await push(store, 'a', parseReference(`${registry.host}/vm/lies:v1`), { env });
    const { pages } = (await SnapshotReader.open(store, NODE_PLATFORM, 'a')).manifest;
    const host = await proxy(registry.host, (request, response) => {
      if (!request.url!.includes(pages[0]!.digest)) return false;
      response.end(Buffer.alloc(pages[0]!.size, 7));
      return true;
    });
    const other = await newStore();
    const pulling = pull(other, 'a', parseReference(`${host}/vm/lies:v1`), { env });
    await expect(pulling).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(await other.list()).toEqual([]);
    expect(await other.has(pages[0]!)).toBe(false);
  });

  test('a token is fetched from where the challenge says, by its credentials', async () => {
    const store = await newStore();
    await saveFull(store, NODE_PLATFORM, 'a', RAM);
    const asked: string[] = [];
    const host = await proxy(registry.host, (request, response) => {
      const { authorization, host: here } = request.headers;
      if (request.url!.startsWith('/token')) {
        asked.push(`${request.url} ${authorization}`);
        response.end(JSON.stringify({ token: 'let-me-in' }));
        return true;
      }
      if (authorization === 'Bearer let-me-in') return false;
      const challenge = `Bearer realm="http://${here}/token",service="test",scope="x"`;
      response.writeHead(401, { 'www-authenticate': challenge }).end();
      return true;
    });
    const auth = Buffer.from('alice:open sesame').toString('base64');
    writeConfig({ auths: { [host]: { auth } } });
    await push(store, 'a', parseReference(`${host}/vm/token:v1`), { env });
    expect(asked[0]).toBe(
      `/token?service=test&scope=repository%3Avm%2Ftoken%3Apull%2Cpush Basic ${auth}`,
    );
  });

  test('a transfer is cancelled by its signal', async () => {
    const store = await newStore();
    await saveFull(store, NODE_PLATFORM, 'a', RAM);
    const to = parseReference(`${registry.host}/vm/cancel:v1`);
    const signal = AbortSignal.abort();
    await expect(push(store, 'a', to, { env, signal })).rejects.toThrow(/abort/i);
  });

  test('a tag that the registry does not have is named', async () => {
    const store = await newStore();
    const from = parseReference(`${registry.host}/vm/none:v1`);
    await expect(pull(store, 'a', from, { env })).rejects.toThrow(/"manifests\/v1".*answered 404/);
  });

  test('Basic credentials come from the Docker config, or it says what to do', async () => {
    const secured = await startRegistry(HTPASSWD);
    try {
      const store = await newStore();
      await saveFull(store, NODE_PLATFORM, 'a', testRAM({ ram: [1] }));
      const to = parseReference(`${secured.host}/vm:v1`);
      await expect(push(store, 'a', to, { env })).rejects.toThrow(/"docker login/);
      const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
      writeConfig({ auths: { [secured.host]: auth('alice:wrong') } });
      await expect(push(store, 'a', to, { env })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
      writeConfig({ auths: { [`http://${secured.host}/v1/`]: auth('alice:open sesame') } });
      await push(store, 'a', to, { env });
      writeConfig({ credsStore: 'not-there' });
      await expect(push(store, 'a', to, { env })).rejects.toThrow(
        /"docker-credential-not-there" of ".*" must answer: it is not installed/,
      );
    } finally {
      await secured.stop();
    }
  });
});

test('a registry that cannot be reached is said so, after some tries', async () => {
  const store = await newStore();
  const from = parseReference('127.0.0.1:1/vm:v1');
  await expect(pull(store, 'a', from, { env, retryMs: 1 })).rejects.toThrow(/cannot be reached/);
});

test('an answer without end, and a manifest of something else, are refused', async () => {
  const store = await newStore();
  let answer = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}';
  const host = await proxy('127.0.0.1:1', (_request, response) => {
    response.end(answer);
    return true;
  });
  const from = parseReference(`${host}/vm:v1`);
  await expect(pull(store, 'a', from, { env })).rejects.toMatchObject({ code: 'NOT_A_SNAPSHOT' });
  answer = ' '.repeat(5 << 20);
  await expect(pull(store, 'a', from, { env })).rejects.toMatchObject({ code: 'TOO_LARGE' });
});

/** alice, "open sesame": bcrypt, as the server wants it. */
const HTPASSWD = 'alice:$2y$04$whTuD.ZZiyXtfmvSjC0/N.LyzWutc4qWxicZ/EJIwtOH/Nic/yCWy';
