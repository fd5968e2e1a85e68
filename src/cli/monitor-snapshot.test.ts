import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { countedMemory, countedPart, countingMachine, countOf } from '../../test/snapshot-guest.ts';
import { runSnapshotLine } from './monitor-snapshot.ts';
import { MachineStore, savedMachine } from './snapshot/machine-store.ts';
import { storeFolder } from './snapshot/store-location.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-monitor-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('savevm, info snapshots, loadvm and delvm', async () => {
  const machine = countingMachine();
  const target = { snapshots: new MachineStore(machine, join(folder, 'a')) };
  const fractions: number[] = [];
  const run = (line: string) => runSnapshotLine(target, line, (part) => fractions.push(part));
  expect(await run('info snapshots')).toMatch(/^No snapshots in /);
  machine.vcpu.run(1_000);
  const count = countOf(machine);
  expect(await run('savevm one')).toMatch(/^Saved "one": all of RAM, .* written, pause .* ms\n$/);
  machine.vcpu.run(1_000);
  expect(await run(' savevm  two ')).toMatch(/^Saved "two": \d+ pages that changed/);
  expect(await run('info snapshots')).toMatch(/ {2}one .*\n\* two .* MiB\n/);
  expect(await run('loadvm one')).toBe('Loaded "one"\n');
  expect(countOf(machine)).toBe(count);
  expect(
    Buffer.from(countedPart(machine).buffer).equals(Buffer.from(countedMemory(count).buffer)),
  ).toBe(true);
  expect(await run('delvm two')).toMatch(/^Deleted "two"/);
  expect(await run('info snapshots')).not.toContain('two');
  expect(fractions.every((part) => part >= 0 && part <= 1)).toBe(true);
  expect(await savedMachine(join(folder, 'a'), 'one')).toEqual({
    memoryBytes: machine.memoryBytes,
    devices: [],
  });
});

test.each([
  ['savevm', 'Which one?'],
  ['savevm a b', 'Which one?'],
  ['savevm -x', 'Cannot use tag "-x"'],
  ['loadvm nothing', 'Cannot find snapshot "nothing"'],
  ['delvm nothing', 'Cannot find snapshot "nothing"'],
])('"%s" is an error, and no more: %s', async (line, message) => {
  const target = { snapshots: new MachineStore(countingMachine(), join(folder, 'b')) };
  expect(await runSnapshotLine(target, line)).toMatch(`Error: ${message}`);
});

test('other lines are not about snapshots', () => {
  const target = { snapshots: new MachineStore(countingMachine(), join(folder, 'c')) };
  for (const line of ['', 'info', 'info mem', 'stop'])
    expect(runSnapshotLine(target, line)).toBeUndefined();
});

test('the folder is the user\u2019s data folder, unless the environment says otherwise', () => {
  expect(storeFolder({ QUIRE_STORE: '/s' })).toBe('/s');
  expect(storeFolder({ XDG_DATA_HOME: '/d' })).toBe('/d/quire/snapshots');
  expect(storeFolder({})).toMatch(/\.local\/share\/quire\/snapshots$/);
});
