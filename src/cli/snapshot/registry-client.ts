// HTTP with one repository of a registry: authorization, retries, bounded answers.
// OCI distribution specification 1.1; Docker registry token authentication specification; RFC 7235.

import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import { type Credentials, findCredentials } from './docker-config.ts';
import type { RegistryReference } from './registry-reference.ts';

/** How a registry is spoken to. */
export interface RegistryOptions {
  readonly signal?: AbortSignal;
  readonly env?: NodeJS.ProcessEnv;
  /** Waiting time before the second try, ms; doubled for each one after. */
  readonly retryMs?: number;
}

/** A request to the repository. */
export interface RegistryRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  /** Behind `/v2/NAME/`, or a whole address that the registry gave. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Statuses that are an answer; any other is an error. */
  readonly expect: readonly number[];
}

const TRIES_MAX = 4;
const RETRY_MS = 250;
/** A server that wants us to wait longer than this is not waited for, s. */
const RETRY_AFTER_MAX_S = 30;
const RETRIED_STATUS = new Set([408, 429, 500, 502, 503, 504]);
const ERROR_BYTES_MAX = 16 * 1024;
const TOKEN_BYTES_MAX = 256 * 1024;

export class RegistryClient {
  readonly reference: RegistryReference;
  readonly #options: RegistryOptions;
  #authorization: string | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;
  /** Other repositories of this registry that a mount reads from. */
  readonly #scopes: Set<string>;

  constructor(reference: RegistryReference, options: RegistryOptions = {}) {
    this.reference = reference;
    this.#options = options;
    this.#scopes = new Set([`repository:${reference.repository}:pull,push`]);
  }

  /** Asks for the right to read another repository, too. */
  alsoRead(repository: string): void {
    this.#scopes.add(`repository:${repository}:pull`);
    this.#authorization = undefined;
  }

  /** Sends a request, again if the network or the server hiccups. @throws {SnapshotError} */
  async send(request: RegistryRequest): Promise<Response> {
    const { signal } = this.#options;
    for (let attempt = 1; ; attempt++) {
      signal?.throwIfAborted();
      let response: Response;
      try {
        response = await this.#sendAuthorized(request);
      } catch (cause) {
        if (signal?.aborted || cause instanceof SnapshotError) throw cause;
        if (attempt < TRIES_MAX) {
          await this.#wait(attempt);
          continue;
        }
        const why = (cause as { cause?: Error }).cause?.message ?? (cause as Error).message;
        throw this.#error(request, `the registry cannot be reached: ${why}`, cause);
      }
      if (request.expect.includes(response.status)) return response;
      if (RETRIED_STATUS.has(response.status) && attempt < TRIES_MAX) {
        const seconds = Number(response.headers.get('retry-after') ?? 0);
        await response.body?.cancel();
        if (!(seconds > RETRY_AFTER_MAX_S)) {
          await this.#wait(attempt, seconds * 1000);
          continue;
        }
      }
      throw await this.#refusal(request, response);
    }
  }

  /** All of an answer's body. @throws {SnapshotError} if it is longer than `bytesMax` */
  async body(response: Response, bytesMax: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of response.body ?? []) {
      length += (piece as Uint8Array).length;
      if (length > bytesMax)
        throw new SnapshotError(
          'TOO_LARGE',
          `Cannot read answer of "${this.reference.host}" as it must have at most ` +
            `${bytesMax} bytes`,
        );
      pieces.push(piece as Uint8Array);
    }
    const bytes = new Uint8Array(length);
    let offset = 0;
    for (const piece of pieces) {
      bytes.set(piece, offset);
      offset += piece.length;
    }
    return bytes;
  }

  /** Waits as before try `attempt + 1`. */
  async #wait(attempt: number, atLeastMs = 0): Promise<void> {
    const ms = Math.max(atLeastMs, (this.#options.retryMs ?? RETRY_MS) * 2 ** (attempt - 1));
    await new Promise((resolve) => setTimeout(resolve, ms));
  }

  async #sendAuthorized(request: RegistryRequest): Promise<Response> {
    const first = await this.#fetch(request);
    if (first.status !== 401) return first;
    const challenge = first.headers.get('www-authenticate') ?? '';
    await first.body?.cancel();
    this.#authorization = await this.#authorize(challenge);
    const second = await this.#fetch(request);
    if (second.status !== 401) return second;
    this.#authorization = undefined;
    throw await this.#refusal(request, second);
  }

  #fetch({ method, path, headers, body }: RegistryRequest): Promise<Response> {
    const { origin, repository } = this.reference;
    const url = new URL(/^https?:/.test(path) ? path : `/v2/${repository}/${path}`, origin);
    const { signal } = this.#options;
    // What the registry names elsewhere, such as a storage service, gets no credentials of ours.
    const isOurs = url.origin === new URL(origin).origin;
    const authorization =
      isOurs && this.#authorization !== undefined ? { authorization: this.#authorization } : {};
    return fetch(url, {
      method,
      headers: { ...headers, ...authorization },
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  async #authorize(challenge: string): Promise<string> {
    const { host } = this.reference;
    this.#credentials ??= findCredentials(host, this.#options.env);
    const credentials = await this.#credentials;
    const [, scheme = '', rest = ''] = /^\s*(\w+)\s*(.*)$/.exec(challenge) ?? [];
    if (scheme.toLowerCase() === 'basic') {
      if (credentials === undefined)
        throw new SnapshotError(
          'UNAUTHORIZED',
          `Cannot use registry "${host}" as it wants credentials: "docker login ${host}" or a ` +
            'config.json in DOCKER_CONFIG gives them',
          { subject: host },
        );
      return basic(credentials);
    }
    if (scheme.toLowerCase() !== 'bearer')
      throw new SnapshotError(
        'UNAUTHORIZED',
        `Cannot use registry "${host}" as it must ask for Basic or Bearer: "${scheme}"`,
        { subject: host },
      );
    return this.#fetchToken(parameters(rest), credentials);
  }

  async #fetchToken(
    challenge: ReadonlyMap<string, string>,
    credentials: Credentials | undefined,
  ): Promise<string> {
    const { host, origin } = this.reference;
    const fail = (why: string): never => {
      throw new SnapshotError('UNAUTHORIZED', `Cannot get a token for registry "${host}": ${why}`, {
        subject: host,
      });
    };
    let realm: URL;
    try {
      realm = new URL(challenge.get('realm') ?? '');
    } catch {
      return fail('it names no token server');
    }
    // A password goes over TLS, unless the registry itself is spoken to without.
    if (realm.protocol !== 'https:' && !(realm.protocol === 'http:' && origin.startsWith('http:')))
      fail(`its token server "${realm.origin}" must be spoken to over TLS`);
    const service = challenge.get('service') ?? '';
    const scopes = [...this.#scopes];
    const { signal } = this.#options;
    let response: Response;
    if (credentials?.identityToken !== undefined) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: credentials.identityToken,
        client_id: 'quire',
        service,
        scope: scopes.join(' '),
      });
      response = await fetch(realm, {
        method: 'POST',
        body: form,
        ...(signal === undefined ? {} : { signal }),
      });
    } else {
      if (service !== '') realm.searchParams.set('service', service);
      for (const scope of scopes) realm.searchParams.append('scope', scope);
      response = await fetch(realm, {
        headers: credentials === undefined ? {} : { authorization: basic(credentials) },
        ...(signal === undefined ? {} : { signal }),
      });
    }
    if (response.status !== 200) {
      await response.body?.cancel();
      const who =
        credentials === undefined ? 'without credentials' : `for "${credentials.username}"`;
      fail(`"${realm.host}" answered ${response.status} ${who}`);
    }
    const text = new TextDecoder().decode(await this.body(response, TOKEN_BYTES_MAX));
    try {
      const answer = JSON.parse(text) as { token?: unknown; access_token?: unknown };
      const token = answer.token ?? answer.access_token;
      if (typeof token === 'string' && token !== '') return `Bearer ${token}`;
    } catch {
      // Below.
    }
    return fail(`"${realm.host}" gave none`);
  }

  async #refusal(request: RegistryRequest, response: Response): Promise<SnapshotError> {
    let detail = '';
    try {
      const text = new TextDecoder().decode(await this.body(response, ERROR_BYTES_MAX));
      const { errors } = JSON.parse(text) as { errors?: { code?: string; message?: string }[] };
      detail = (errors ?? []).map(({ code, message }) => `: ${message ?? code}`).join('');
    } catch {
      // Not every answer is JSON.
    }
    const { status } = response;
    const isAuthorization = status === 401 || status === 403;
    return this.#error(
      request,
      `"${this.reference.host}" answered ${status}${detail}`,
      undefined,
      isAuthorization ? 'UNAUTHORIZED' : 'REGISTRY',
    );
  }

  #error(
    { method, path }: RegistryRequest,
    why: string,
    cause?: unknown,
    code: 'REGISTRY' | 'UNAUTHORIZED' = 'REGISTRY',
  ): SnapshotError {
    const place = /^https?:/.test(path) ? new URL(path).pathname : path;
    return new SnapshotError(
      code,
      `Cannot ${method} "${place}" of repository "${this.reference.repository}": ${why}`,
      { subject: this.reference.repository, cause },
    );
  }
}

function basic({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** `key="value"` pairs of a challenge: RFC 7235, section 2.1. */
function parameters(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, key, quoted, plain] of text.matchAll(/(\w+)=(?:"([^"]*)"|([^\s,]+))/g))
    found.set(key!.toLowerCase(), quoted ?? plain!);
  return found;
}
