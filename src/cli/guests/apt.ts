// Packages of the distribution, by its own apt, for any user: without root, without a change to the
// system. apt checks each file against its signed index; the digest is checked here once more.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GuestError } from './guest-error.ts';

/** A package of the index: what `apt-cache show` says of one version. */
export interface PackageRecord {
  readonly name: string;
  readonly architecture: string;
  readonly version: string;
  /** Names in the field Depends, without versions and alternatives. */
  readonly depends: readonly string[];
  readonly sizeBytes: number;
  /** Digest from the signed index, lower-case hexadecimal. */
  readonly sha256: string;
}

/** Says what is going on, where a person looks on. */
export type Progress = (line: string) => void;

/** The first paragraph of what `apt-cache show` prints; undefined if it is not a package. */
export function parsePackage(text: string): PackageRecord | undefined {
  const paragraph = text.split(/\n\s*\n/)[0] ?? '';
  const field = (name: string) => new RegExp(`^${name}: *(.*)$`, 'm').exec(paragraph)?.[1];
  const [name, architecture, version] = [field('Package'), field('Architecture'), field('Version')];
  const sha256 = field('SHA256');
  if (!name || !architecture || !version || !sha256 || !/^[0-9a-f]{64}$/.test(sha256))
    return undefined;
  const depends = (field('Depends') ?? '')
    .split(',')
    .map((clause) => clause.trim().split(/[\s|(:]/)[0]!)
    .filter((each) => each !== '');
  return { name, architecture, version, depends, sha256, sizeBytes: Number(field('Size') ?? 0) };
}

/** Package lists, and downloads from them. */
export class APT {
  readonly #env: NodeJS.ProcessEnv;
  readonly #isPrivate: boolean;

  private constructor(env: NodeJS.ProcessEnv, isPrivate: boolean) {
    this.#env = { ...env, LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' };
    this.#isPrivate = isPrivate;
  }

  /** @throws {GuestError} if this system has no apt */
  static #requireTools(): void {
    for (const command of ['apt-get', 'apt-cache', 'apt-config', 'dpkg-deb', 'tar']) {
      if (spawnSync(command, ['--version']).error === undefined) continue;
      throw new GuestError(
        'NO_PACKAGES',
        `this system has no "${command}": guests are fetched with the tools of Debian or Ubuntu`,
      );
    }
  }

  /** The lists that the system has already: nothing is fetched. */
  static ofSystem(): APT {
    APT.#requireTools();
    return new APT(process.env, false);
  }

  /**
   * Lists of our own under `folder`, from the system's sources and with its keys, for one
   * architecture. This is what spares the user `dpkg --add-architecture` and root.
   */
  static createPrivate(folder: string, architecture: string): APT {
    APT.#requireTools();
    const root = join(folder, architecture);
    for (const name of ['lists/partial', 'cache/archives/partial'])
      mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, 'status'), '');
    // Hooks of the system (Post-Invoke and the like) must not run; its proxies must.
    const dump = spawnSync('apt-config', ['dump'], { encoding: 'utf8' }).stdout ?? '';
    const configuration = [
      ...dump.split('\n').filter((line) => line.startsWith('Acquire::')),
      'Dir::Etc::parts "/dev/null";',
      'Dir::Etc::main "/dev/null";',
      `Dir::State "${root}";`,
      `Dir::State::lists "${join(root, 'lists')}/";`,
      `Dir::State::status "${join(root, 'status')}";`,
      `Dir::Cache "${join(root, 'cache')}";`,
      'Dir::Cache::pkgcache "";',
      'Dir::Cache::srcpkgcache "";',
      `APT::Architecture "${architecture}";`,
      `APT::Architectures "${architecture}";`,
      'APT::Sandbox::User "root";',
      'Acquire::Languages "none";',
    ];
    const path = join(root, 'apt.conf');
    writeFileSync(path, `${configuration.join('\n')}\n`);
    return new APT({ ...process.env, APT_CONFIG: path }, true);
  }

  /** Brings private lists up to date; one source that fails does not matter if the others do. */
  async update(progress: Progress): Promise<void> {
    if (!this.#isPrivate) throw new TypeError('Cannot update lists that belong to the system');
    progress('Reading the package lists of this distribution');
    await this.#run('apt-get', ['-q', 'update'], undefined, progress);
  }

  /** What the lists know of `name` (with or without an architecture), or undefined. */
  find(name: string): PackageRecord | undefined {
    const args = ['--no-all-versions', 'show', name];
    const result = spawnSync('apt-cache', args, { encoding: 'utf8', env: this.#env });
    return result.status === 0 ? parsePackage(result.stdout) : undefined;
  }

  /**
   * Downloads into `folder` and returns the file's path.
   * @throws {GuestError} if it cannot be fetched, or is not what the index says
   */
  async download(record: PackageRecord, folder: string, progress: Progress): Promise<string> {
    mkdirSync(folder, { recursive: true });
    const { name, architecture, version, sizeBytes } = record;
    progress(`Fetching ${name} ${version}, ${(sizeBytes / 1e6).toFixed(1)} MB`);
    const before = new Set(readdirSync(folder));
    const wanted = `${name}:${architecture}=${version}`;
    const args = ['-q', '-o', 'APT::Sandbox::User=root', 'download', wanted];
    const log = await this.#run('apt-get', args, folder, progress);
    const file = readdirSync(folder).find((each) => each.endsWith('.deb') && !before.has(each));
    if (file === undefined)
      throw new GuestError('FETCH', `apt-get did not download "${wanted}": ${lastLines(log)}`);
    const path = join(folder, file);
    const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
    if (digest !== record.sha256)
      throw new GuestError('DIGEST', `"${file}" must have SHA-256 ${record.sha256}, got ${digest}`);
    return path;
  }

  /** Runs to the end and returns what was printed; a failure shows in what is missing after it. */
  #run(
    command: string,
    args: readonly string[],
    cwd: string | undefined,
    progress: Progress,
  ): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = spawn(command, args, {
        env: this.#env,
        stdio: ['ignore', 'pipe', 'pipe'],
        ...(cwd === undefined ? {} : { cwd }),
      });
      let log = '';
      const onData = (data: Buffer): void => {
        log += data.toString();
        const line = /^(?:Get:\d+|Hit:\d+) .*$/m.exec(data.toString());
        if (line !== null) progress(`  ${line[0]}`);
      };
      child.stdout.on('data', onData);
      child.stderr.on('data', onData);
      child.on('error', (error) =>
        reject(new GuestError('FETCH', `"${command}" does not run`, { cause: error })),
      );
      child.on('close', () => resolve(log));
    });
  }
}

function lastLines(log: string): string {
  const lines = log.split('\n').filter((line) => /^[EW]: /.test(line));
  return lines.slice(-3).join('; ') || 'no reason given';
}

/**
 * Takes the files that match one of `patterns` (such as `./boot/vmlinuz-*`) out of a package.
 * @throws {GuestError} if the package cannot be read
 */
export function unpack(deb: string, patterns: readonly string[], folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(new GuestError('UNPACK', `"${deb}": ${why}`));
    const reader = spawn('dpkg-deb', ['--fsys-tarfile', deb], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const args = ['-xf', '-', '-C', folder, '--no-same-owner', '--wildcards', ...patterns];
    const writer = spawn('tar', args, { stdio: ['pipe', 'ignore', 'ignore'] });
    reader.stdout.pipe(writer.stdin);
    writer.stdin.on('error', () => fail('tar stopped reading'));
    reader.on('error', (error) => fail(error.message));
    writer.on('error', (error) => fail(error.message));
    reader.on('close', (code) => {
      if (code !== 0) fail(`dpkg-deb ended with code ${code}`);
    });
    // tar also fails if one of several patterns matches nothing; who needs the file finds out.
    writer.on('close', () => resolve());
  });
}
