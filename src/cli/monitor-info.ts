// The `info` commands of the monitor.

import { formatRegisters } from '../cpu/report.ts';
import {
  formatDirty,
  formatFlatView,
  formatRAMBlocks,
  formatTLB,
  formatTree,
} from '../memory/info.ts';
import type { MonitorCommand, MonitorTarget } from './monitor.ts';
import { formatBalloon } from './monitor-balloon.ts';
import { formatDrives } from './monitor-block.ts';
import { formatJITOf } from './monitor-jit.ts';
import { formatPCI } from './monitor-pci.ts';
import { formatSlotsOf } from './monitor-slots.ts';
import { SNAPSHOTS_INFO } from './monitor-snapshot.ts';

const PAGE_BYTES = 4096;
const LINEAR_PAGES = 2 ** 20;
/** Runs that `info mem` prints at most; a guest may map every other page. */
const MEM_LINES_MAX = 10_000;

function mtree(target: MonitorTarget, args: readonly string[]): string {
  const spaces = [target.memory, target.ports];
  if (args.length === 0) return formatTree(spaces);
  if (args.length === 1 && args[0] === '-f') return formatFlatView(spaces);
  throw new RangeError(`The only flag is -f, got "${args.join(' ')}"`);
}

/** Runs of mapped linear pages with equal rights: start, end, size, and `urw` as QEMU prints it. */
function mem(target: MonitorTarget): string {
  if (!target.isPaging) return 'PG disabled\n';
  const lines: string[] = [];
  const hex = (value: number) => value.toString(16).padStart(16, '0');
  let start = 0;
  let rights = '';
  for (let page = 0; page <= LINEAR_PAGES && lines.length < MEM_LINES_MAX; page++) {
    const here = page === LINEAR_PAGES ? '' : target.rightsOf(page * PAGE_BYTES);
    if (here === rights) continue;
    const end = page * PAGE_BYTES;
    if (rights !== '') lines.push(`${hex(start)}-${hex(end)} ${hex(end - start)} ${rights}`);
    start = end;
    rights = here;
  }
  return lines.map((line) => `${line}\n`).join('');
}

export const INFO_COMMANDS: readonly MonitorCommand[] = [
  {
    name: 'status',
    args: '',
    summary: 'Whether the machine runs',
    run: ({ status }) => `VM status: ${status}\n`,
  },
  {
    name: 'registers',
    args: '',
    summary: 'The processor',
    run: ({ state }) => `CPU#0\n${formatRegisters(state)}`,
  },
  { name: 'mtree', args: '[-f]', summary: 'Memory regions; -f: as the processor sees', run: mtree },
  {
    name: 'ramblock',
    args: '',
    summary: 'Blocks of guest RAM',
    run: ({ ramList }) => formatRAMBlocks(ramList),
  },
  {
    name: 'jit',
    args: '[address]',
    summary: 'Translated code; with a linear address: the units there',
    run: formatJITOf,
  },
  {
    name: 'slots',
    args: '',
    summary: 'Memory slots of the accelerator',
    run: ({ slots }) => formatSlotsOf(slots),
  },
  {
    name: 'tlb',
    args: '',
    summary: 'Rows of the software TLB',
    run: ({ tlb }) => formatTLB(tlb),
  },
  {
    name: 'dirty',
    args: '',
    summary: 'Dirty pages by block and client',
    run: ({ ramList, dirty }) => formatDirty(ramList, dirty),
  },
  {
    name: 'block',
    args: '',
    summary: 'Drives and their media',
    run: ({ drives }) => formatDrives(drives),
  },
  { name: 'balloon', args: '', summary: 'RAM that the guest has left', run: formatBalloon },
  SNAPSHOTS_INFO,
  {
    name: 'pci',
    args: '',
    summary: 'Functions on the PCI bus',
    run: ({ pci }) => formatPCI(pci),
  },
  { name: 'mem', args: '', summary: 'Linear memory that page tables map', run: mem },
];
