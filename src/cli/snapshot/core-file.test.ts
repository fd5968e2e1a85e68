import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { saveFull, testRAM } from '../../../test/snapshot-fixture.ts';
import { blankMachine } from '../../../test/snapshot-guest.ts';
import { FLAG_CF, FLAG_IF, FLAGS_FIXED } from '../../cpu/flags.ts';
import { PAM0 } from '../../devices/i440fx.ts';
import { PCI_BASE_ADDRESS, PCI_COMMAND, PCI_COMMAND_MEMORY } from '../../devices/pci-config.ts';
import type { Machine } from '../../machine/machine.ts';
import { coreImageOf, type MappedRegion } from '../../snapshot/core-image.ts';
import { MachineSnapshots } from '../../snapshot/machine-snapshots.ts';
import { SnapshotReader } from '../../snapshot/snapshot-reader.ts';
import { writeCoreFile } from './core-file.ts';
import { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM, ZSTD } from './node-platform.ts';
import { snapshotCommand } from './snapshot-command.ts';

const FRAMEBUFFER_GPA = 0xfd00_0000;
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-core-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Other bytes everywhere in memory, one segment of each shadow mode, and a framebuffer. */
function patternMachine(): Machine {
  const bios = Uint8Array.from({ length: 0x4_0000 }, (_, i) => (i * 7 + (i >> 8) * 13 + 1) & 0xff);
  const machine = blankMachine({ firmware: { bios } });
  for (const [index, block] of machine.memory.ramList.blocks.entries()) {
    if (block.id === 'bios.bin') continue;
    for (let page = 0; page < block.sizeBytes; page += 0x1000)
      if (block === machine.pc.ram || page % 0x10_0000 === 0)
        block.bytes.fill(1 + (((page >> 12) * 31 + index * 57) % 255), page, page + 0x1000);
  }
  const { chipset, display } = machine.pc;
  chipset.hostBridge.config.writeByte(PAM0, 0x10);
  chipset.hostBridge.config.writeByte(PAM0 + 1, 0x30);
  chipset.hostBridge.config.writeByte(PAM0 + 4, 0x21);
  display.config.writeBytes(PCI_BASE_ADDRESS, 4, FRAMEBUFFER_GPA);
  display.config.writeByte(PCI_COMMAND, PCI_COMMAND_MEMORY);
  return machine;
}

async function saved(machine: Machine, tag = 'one'): Promise<SnapshotReader> {
  const store = await DirectoryStore.open(join(folder, 'store'));
  const options = { store, platform: NODE_PLATFORM, compression: ZSTD };
  await new MachineSnapshots(machine, options).save(tag);
  return SnapshotReader.open(store, NODE_PLATFORM, tag);
}

async function run(...args: string[]): Promise<string> {
  let out = '';
  const write = (text: string): void => {
    out += text;
  };
  await snapshotCommand.run([...args, '--store', join(folder, 'store')], {
    out: { write },
    err: { write: () => {} },
  });
  return out;
}

// Goal: the map that is derived from saved chips is the one that the machine has.
test('every page of a core is what the processor sees at its address', async () => {
  const machine = patternMachine();
  const image = coreImageOf(await saved(machine));
  const path = join(folder, 'core');
  await writeCoreFile(image, path);
  const core = readFileSync(path);
  expect(core.length).toBe(image.sizeBytes);
  let fileOffset = core.length - image.regions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const wrong: string[] = [];
  for (const { gpa, sizeBytes } of image.regions)
    for (let done = 0; done < sizeBytes; done += 0x1000, fileOffset += 0x1000)
      for (const at of [0, 0xffc])
        if (core.readUInt32LE(fileOffset + at) !== machine.addressSpace.read(gpa + done + at, 4))
          wrong.push((gpa + done + at).toString(16));
  expect(wrong).toEqual([]);
  const short = ({ blockId, gpa, sizeBytes }: MappedRegion) =>
    `${blockId} ${gpa.toString(16)} ${sizeBytes.toString(16)}`;
  expect(image.regions.map(short)).toEqual([
    'pc.ram 0 a0000',
    'pc.rom c0000 4000',
    'pc.ram c4000 4000',
    'pc.rom c8000 10000',
    'pc.ram d8000 4000',
    'pc.rom dc000 4000',
    'bios.bin e0000 10000',
    'pc.ram f0000 110000',
    'vga.vram fd000000 1000000',
    'bios.bin fffc0000 40000',
  ]);
});

test('gdb opens what export wrote: registers and words of memory', async (context) => {
  if (spawnSync('gdb', ['--version']).status !== 0) return context.skip('gdb is not installed');
  const machine = patternMachine();
  const { state } = machine.vcpu;
  const names = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];
  for (const index of names.keys()) state.setReg32(index, 0x1111_1111 * (index + 1));
  state.eip = 0xc123_4567;
  state.eflags = FLAGS_FIXED | FLAG_CF | FLAG_IF;
  machine.addressSpace.write(0x12_3454, 4, 0xdead_beef);
  await saved(machine);
  const path = join(folder, 'machine.core');
  expect(await run('export', '--elf', 'one', path)).toMatch(
    /^Wrote one to .*machine\.core: 18\.\d MiB, 10 regions of memory\n$/,
  );
  const commands = ['info registers', 'x/1xw 0x123454', 'x/2xb 0xfffc0000', 'x/1xb 0xfd000000'];
  const { stdout } = spawnSync(
    'gdb',
    ['-nx', '-batch', '-c', path, ...commands.flatMap((command) => ['-ex', command])],
    { encoding: 'utf8', timeout: 60_000 },
  );
  for (const [index, name] of names.entries())
    expect(stdout).toMatch(
      new RegExp(`^${name} +0x${(0x1111_1111 * (index + 1)).toString(16)}\\b`, 'm'),
    );
  expect(stdout).toMatch(/^eip +0xc1234567\b/m);
  expect(stdout).toMatch(/^eflags +0x203\b/m);
  expect(stdout).toContain('0x123454:\t0xdeadbeef');
  expect(stdout).toContain('0xfffc0000:\t0x01\t0x08');
  expect(stdout).toMatch(/0xfd000000:\t0x(?!00)/);
});

/** A page that starts with a kernel's note. */
function kernelPage(release: string): Uint8Array {
  const text = `OSRELEASE=${release}\nPAGESIZE=4096\n`;
  const page = Buffer.alloc(4096);
  page.writeUInt32LE(11, 0);
  page.writeUInt32LE(text.length, 4);
  page.write('VMCOREINFO\0', 12, 'latin1');
  page.write(text, 24, 'latin1');
  return page;
}

test('a Linux kernel in memory gives the core its VMCOREINFO, two of them none', async () => {
  const machine = blankMachine();
  machine.addressSpace.loadBytes(0x5_0000, kernelPage('1.2.3-quire'));
  // A copy of the same, and what is not at the start of a page or is cut, are no other kernel.
  machine.addressSpace.loadBytes(0x8_0000, kernelPage('1.2.3-quire'));
  machine.addressSpace.loadBytes(0x9_0800, kernelPage('9.9.9').subarray(0, 0x800));
  const liar = kernelPage('8.8.8');
  new DataView(liar.buffer, liar.byteOffset).setUint32(4, 0xffff_fff0, true);
  machine.addressSpace.loadBytes(0x7_0000, liar);
  await saved(machine);
  const path = join(folder, 'core');
  expect(await run('export', '--elf', 'one', path)).toContain(', VMCOREINFO of Linux 1.2.3-quire');
  const { status, stdout } = spawnSync('readelf', ['-n', path], { encoding: 'utf8' });
  if (status === 0) expect(stdout).toMatch(/CORE.*NT_PRSTATUS.*VMCOREINFO/s);
  expect(readFileSync(path).subarray(0, 0x1000).toString('latin1')).toContain(
    'OSRELEASE=1.2.3-quire\nPAGESIZE=4096\n',
  );
  machine.addressSpace.loadBytes(0x6_0000, kernelPage('1.2.4-quire'));
  await saved(machine, 'two');
  expect(await run('export', '--elf', 'two', path)).not.toContain('VMCOREINFO');
  expect(readFileSync(path).subarray(0, 0x1000).toString('latin1')).not.toContain('OSRELEASE');
});

test('zeros are holes, and a blob that is lost leaves the file that was there', async () => {
  const path = join(folder, 'core');
  const reader = await saved(blankMachine());
  await writeCoreFile(coreImageOf(reader), path);
  expect(statSync(path).blocks * 512).toBeLessThan(0x10_0000);
  expect(statSync(path).size).toBeGreaterThan(0x10_0000);
  writeFileSync(path, 'mine');
  const blobs = join(folder, 'store', 'blobs', 'sha256');
  const second = await saved(patternMachine(), 'two');
  for (const { digest } of second.manifest.pages) rmSync(join(blobs, digest.slice(7)));
  await expect(writeCoreFile(coreImageOf(second), path)).rejects.toThrow('Cannot find blob');
  expect(readFileSync(path, 'utf8')).toBe('mine');
  expect(readdirSync(folder).sort()).toEqual(['core', 'store']);
});

test('what is no PC is refused, and so is another format', async () => {
  const store = await DirectoryStore.open(join(folder, 'store'));
  await saveFull(store, NODE_PLATFORM, 'other', testRAM({ ram: [1] }));
  const path = join(folder, 'core');
  await expect(run('export', '--elf', 'other', path)).rejects.toThrow(
    'must be a snapshot of a PC: it has no section "pci/00.0"',
  );
  await expect(run('export', 'other', path)).rejects.toThrow('Which format?');
  expect(readdirSync(folder)).toEqual(['store']);
});
