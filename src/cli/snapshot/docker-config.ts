// Credentials from the usual Docker config file: `config.json` in DOCKER_CONFIG or
// ~/.docker, and the helpers that it names. docker CLI documentation, "Credential
// stores" and "config.json properties".

import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';

/** Who we are for a registry. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
  /** Taken to the token server instead of a password. */
  readonly identityToken?: string;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, { auth?: string; identitytoken?: string }>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
}

const HELPER_NAME = /^[a-zA-Z0-9_-]+$/;
const HELPER_MS = 30_000;
/** A helper's user name for an identity token: docker-credential-helpers, "Protocol". */
const TOKEN_USER = '<token>';

/**
 * The credentials for a registry's host; undefined if there are none.
 * @throws {SnapshotError} `UNAUTHORIZED` if the file is broken, or its helper is missing or fails
 */
export async function findCredentials(
  host: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Credentials | undefined> {
  const path = join(env.DOCKER_CONFIG || join(homedir(), '.docker'), 'config.json');
  let config: DockerConfig;
  try {
    config = JSON.parse(await readFile(path, 'utf8')) as DockerConfig;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new SnapshotError('UNAUTHORIZED', `Cannot read credentials from "${path}"`, { cause });
  }
  const helper = config.credHelpers?.[host] ?? config.credsStore;
  const entry = Object.entries(config.auths ?? {}).find(([key]) => hostOf(key) === host)?.[1];
  if (entry?.auth) {
    const text = Buffer.from(entry.auth, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    if (colon > 0) {
      return {
        username: text.slice(0, colon),
        password: text.slice(colon + 1).replace(/\0+$/, ''),
        ...(entry.identitytoken ? { identityToken: entry.identitytoken } : {}),
      };
    }
  }
  return helper === undefined ? undefined : askHelper(helper, host, path, env);
}

/** Keys are hosts or, from old times, addresses. */
function hostOf(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
}

async function askHelper(
  name: string,
  host: string,
  path: string,
  env: NodeJS.ProcessEnv,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  const fail = (why: string): never => {
    throw new SnapshotError(
      'UNAUTHORIZED',
      `Cannot get credentials for "${host}" as helper "${program}" of "${path}" must answer: ` +
        why,
      { subject: host },
    );
  };
  if (!HELPER_NAME.test(name)) fail('its name is no name of a program');
  const child = spawn(program, ['get'], { env, timeout: HELPER_MS });
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  child.stdin.on('error', () => {}); // It need not read.
  const code = await new Promise<number | string>((resolve) => {
    child.on('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code === 'ENOENT' ? 'it is not installed' : error.message),
    );
    child.on('close', (status) => resolve(status ?? 'it was ended by a signal'));
    child.stdin.end(host);
  });
  if (typeof code === 'string') fail(code);
  if (code !== 0) {
    if (/credentials not found/i.test(output)) return undefined;
    fail(`it ended with code ${code}: ${output.trim().slice(0, 200)}`);
  }
  try {
    const { Username, Secret } = JSON.parse(output) as { Username: string; Secret: string };
    if (Username === TOKEN_USER) return { username: '', password: '', identityToken: Secret };
    return { username: String(Username), password: String(Secret) };
  } catch {
    return fail('it did not print JSON');
  }
}
