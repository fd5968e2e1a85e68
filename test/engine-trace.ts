// What a machine's processor looks like at set instructions of a run whose time goes by
// instructions: two engines that mean the same give the same lines.

import { createHash } from 'node:crypto';
import type { VirtualTimer } from '../src/base/device.ts';
import {
  SEG_BASE,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
  X87,
  X87_DS,
} from '../src/cpu/state-layout.ts';
import type { Host } from '../src/machine/host.ts';
import type { Machine } from '../src/machine/machine.ts';

/** The host's yields, with a calendar that stands still: a guest that asks must see the same. */
export function timelessHost(host: Host): Host {
  return { ...host, epochMs: () => Date.UTC(2026, 0, 1) };
}

export interface TraceOptions {
  /** Virtual time of the first line, and between two, ns. */
  readonly firstNs: number;
  readonly stepNs: number;
  readonly lineCount: number;
  /** After so many lines, one has a digest of all RAM too; 0 for none. */
  readonly linesPerDigest: number;
  readonly onLine: (line: string, index: number) => void;
}

/** Runs the machine until all lines are there, or it ends by itself; then it is paused. */
export async function traceMachine(machine: Machine, options: TraceOptions): Promise<void> {
  let resolve = (): void => {};
  const done = new Promise<void>((settle) => {
    resolve = settle;
  });
  let index = 0;
  let timer: VirtualTimer;
  const onExpire = (): void => {
    const hasDigest = options.linesPerDigest > 0 && index % options.linesPerDigest === 0;
    options.onLine(
      hasDigest ? `${stateLine(machine)} ${digest(machine.pc.ram.bytes)}` : stateLine(machine),
      index++,
    );
    if (index === options.lineCount) resolve();
    else timer.arm(options.firstNs + index * options.stepNs);
  };
  timer = machine.clock.createTimer(onExpire);
  timer.arm(options.firstNs);
  machine.onEnd = () => resolve();
  machine.start();
  await done;
  timer.cancel();
  await machine.pause();
}

function stateLine({ vcpu }: Machine): string {
  const { state } = vcpu;
  const hex = (value: number): string => (value >>> 0).toString(16);
  const registers = Array.from({ length: 8 }, (_, number) => hex(state.reg32(number)));
  const segments = Array.from({ length: 6 }, (_, number) => {
    const at = SEGMENT + number * SEGMENT_BYTES;
    return `${hex(state.get32(at + SEG_SELECTOR))}@${hex(state.get32(at + SEG_BASE))}`;
  });
  const control = [state.cr0, state.cr2, state.cr3, state.cr4].map(hex);
  return [
    vcpu.instructionCount,
    hex(state.eip),
    hex(state.eflags),
    ...registers,
    ...segments,
    ...control,
    digest(new Uint8Array(state.u32.buffer, X87, X87_DS - X87)),
  ].join(' ');
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}
