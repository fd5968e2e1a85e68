// The registry server of the distribution, on a loopback port, for tests.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAM = 'docker-registry';
const START_MS_MAX = 15_000;

/** Whether the server is installed here. */
export function hasRegistry(): boolean {
  return spawnSync(PROGRAM, ['--version']).status === 0;
}

/** A server that runs. */
export interface RegistryProcess {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts a server with storage of its own. @param htpasswd if it wants Basic credentials */
export async function startRegistry(htpasswd?: string): Promise<RegistryProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'quire-registry-'));
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const lines = [
    'version: 0.1',
    'log: { level: error }',
    'storage:',
    `  filesystem: { rootdirectory: ${join(folder, 'storage')} }`,
    '  delete: { enabled: true }',
    `http: { addr: "${host}" }`,
  ];
  if (htpasswd !== undefined) {
    writeFileSync(join(folder, 'htpasswd'), `${htpasswd}\n`);
    lines.push(`auth: { htpasswd: { realm: test, path: ${join(folder, 'htpasswd')} } }`);
  }
  const config = join(folder, 'config.yml');
  writeFileSync(config, `${lines.join('\n')}\n`);
  const child: ChildProcess = spawn(PROGRAM, ['serve', config], {
    stdio: 'ignore',
    env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
  });
  const exit = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exit;
    rmSync(folder, { recursive: true, force: true });
  };
  for (const startMs = Date.now(); ; ) {
    const answer = await fetch(`http://${host}/v2/`).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.status === 200 || answer?.status === 401) return { host, stop };
    if (Date.now() - startMs > START_MS_MAX || child.exitCode !== null) {
      await stop();
      throw new Error(`Cannot start ${PROGRAM}: exit code ${child.exitCode}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
