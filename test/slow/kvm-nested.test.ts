// KVM in full, on any host: a guest that QEMU emulates has a real /dev/kvm, and Quire runs there on
// the host's own Node (docs/testing.md, "KVM without hardware").

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cacheFolder } from '../../src/cli/guests/store.ts';
import { buildGuest, missingTool, selfCheckingGuests } from '../guests/run-guest.ts';
import { fetchReason, GuestProcess } from './guest-process.ts';
import { Chain, expectPrompt, expectRounds, save, startWork } from './nested/chain-guest.ts';
import { type NestedResult, NestedRig } from './nested/nested-rig.ts';

const MINUTE = 60;
const INNER_FILES = [
  'test/guests/run-guest.ts',
  'test/oracle/bare-machine.ts',
  'test/slow/guest-process.ts',
  'test/slow/nested/chain-guest.ts',
  'test/slow/nested/inner-boot.ts',
  'test/slow/nested/inner-high-memory.ts',
  'test/slow/nested/inner-programs.ts',
  'test/slow/nested/inner-snapshots.ts',
];

let rig: NestedRig | undefined;
let reason: string | undefined;

beforeAll(async () => {
  const made = await NestedRig.createOrReason();
  reason = typeof made === 'string' ? made : fetchReason('debian-686');
  if (typeof made === 'string') return;
  rig = made;
  // What runs in there is what the package holds: Node has to start fast where it is emulated.
  const build = spawnSync('npm', ['run', 'build'], { encoding: 'utf8' });
  expect(build.status, build.stdout + build.stderr).toBe(0);
  writeFileSync(join(rig.workFolder, 'package.json'), '{"type":"module"}');
  for (const file of INNER_FILES) writeInner(file, rig.workFolder);
});

afterAll(() => rig?.remove());

/** A test's file as JavaScript, all of them in one folder; the source is what was built of it. */
function writeInner(file: string, folder: string): void {
  const { outputText } = ts.transpileModule(readFileSync(file, 'utf8'), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
  });
  const text = outputText
    .replace(/(from ')[./]+\/src\/([\w/-]+)\.ts'/g, `$1${resolve('dist')}/$2.js'`)
    .replace(/(from ')[./]+\/(?:[\w-]+\/)*([\w-]+)\.ts'/g, "$1./$2.js'");
  writeFileSync(join(folder, basename(file).replace(/\.ts$/, '.js')), text);
}

function run(command: string, seconds: number, cpu?: string): Promise<NestedResult> {
  const script = `
export QUIRE_CACHE='${cacheFolder()}' QUIRE_TEST_CLI='${resolve('dist/cli/main.js')}'
${command}
`;
  return rig!.run(script, { timeoutSeconds: seconds, ...(cpu === undefined ? {} : { cpu }) });
}

function linesOf({ output }: NestedResult): string {
  return output
    .split(/\r?\n/)
    .filter((line) => !line.startsWith('qemu-system'))
    .join('\n');
}

test('the rig has a /dev/kvm that Node opens through koffi', async ({ skip }) => {
  skip(reason !== undefined, reason);
  const module = resolve('dist/accel/kvm/kvm-host.js');
  const probe = `import { KVMHost } from '${module}';
const host = KVMHost.open();
console.log('API', host.calls.ioctl(host.fd, 0xae00, 0));
console.log('nested paging follows mappings:', host.checkExtension(16));
`;
  writeFileSync(join(rig!.workFolder, 'probe.js'), probe);
  const result = await run('node probe.js', 3 * MINUTE);
  expect(linesOf(result)).toMatch(/API 12$/m);
  expect(linesOf(result)).toMatch(/^nested paging follows mappings: 1$/m);
  expect(result.exitCode).toBe(0);
});

for (const cpu of ['EPYC', 'EPYC,-npt'])
  test(`Debian boots on KVM to its prompt and powers off, on ${cpu}`, async ({ skip }) => {
    skip(reason !== undefined, reason);
    const result = await run('node inner-boot.js', 20 * MINUTE, cpu);
    console.log(`${cpu}: ${/prompt after.*/.exec(result.output)?.[0]}`);
    expect(linesOf(result)).toMatch(/power off after [\d.]+ s, exit code 0/);
    expect(result.exitCode).toBe(0);
  });

test('guest programs find on KVM what the manuals say', async ({ skip }) => {
  const noCompiler = missingTool('gcc');
  skip((reason ?? noCompiler) !== undefined, reason ?? noCompiler);
  const names = selfCheckingGuests();
  const programs = names.map((name) => `'${buildGuest(name)}'`).join(' ');
  const result = await run(`node inner-programs.js ${programs}`, 10 * MINUTE);
  expect(result.exitCode, linesOf(result)).toBe(0);
  const parts = linesOf(result)
    .split(/^.*program (?=[\w-]+\.elf$)/m)
    .slice(1);
  for (const [index, name] of names.entries()) {
    const source = readFileSync(`test/guests/${name}.S`, 'utf8');
    // The processor is QEMU's here.
    const exceptions = [...source.matchAll(/# QEMU differs: (.*?) \(/g)].map(([, start]) => start!);
    const failures = (parts[index] ?? '')
      .split('\n')
      .filter((line) => line.includes('FAIL'))
      .filter((line) => !exceptions.some((start) => line.startsWith(start)));
    expect(failures, name).toEqual([]);
    expect(parts[index], name).toMatch(/^DONE$/m);
  }
});

test('a guest of 6 GiB reads and writes all of it through PAE paging', async ({ skip }) => {
  const noCompiler = missingTool('gcc');
  skip((reason ?? noCompiler) !== undefined, reason ?? noCompiler);
  const program = buildGuest('high-memory');
  const result = await run(`node inner-high-memory.js '${program}'`, 10 * MINUTE, 'EPYC,-npt');
  expect(linesOf(result)).toMatch(/across 6 GiB is 00035a00 +OK/);
  expect(linesOf(result)).toMatch(/high memory: 0 errors/);
  expect(result.exitCode).toBe(0);
});

test('from software to KVM, to KVM in another process, and back, while the guest writes', async ({
  skip,
}) => {
  skip(reason !== undefined, reason);
  const folder = join(rig!.workFolder, 'snapshots');
  const options = ['--guest', 'debian-686', '--snapshots', folder];
  const chain = new Chain();
  const before = new GuestProcess(...options);
  let round: number;
  try {
    await expectPrompt(before);
    startWork(before);
    round = await expectRounds(before, chain, 3);
    await save(before, 'one');
  } finally {
    await before.close('SIGKILL');
  }

  const tags = ['one', 'two', 'three'];
  const result = await run(`node inner-snapshots.js ./snapshots ${tags.join(' ')}`, 20 * MINUTE);
  console.log(result.output.match(/^(?:from|saved) .*$/gm)?.join('\n'));
  expect(linesOf(result)).toMatch(/saved as "three"/);
  expect(result.exitCode).toBe(0);

  const after = new GuestProcess(...options, '--loadvm', 'three');
  try {
    const last = await expectRounds(after, chain, 3);
    expect(last).toBeGreaterThan(round);
  } finally {
    await after.close();
  }
});
