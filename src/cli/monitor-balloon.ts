// The balloon in the monitor: `balloon` and `info balloon`, in QEMU's words.

import type { MonitorTarget } from './monitor.ts';

const MIB = 2 ** 20;

/** `balloon MIB`: how much of its RAM the guest should have left. */
export function setBalloon(target: MonitorTarget, [text = '']: readonly string[]): string {
  const mib = /^\d+$/.test(text) ? Number(text) : 0;
  if (mib === 0)
    throw new RangeError('How many MiB shall the guest have left? Such as: balloon 64');
  target.setBalloonTarget(mib * MIB);
  return '';
}

/** `info balloon`: what the guest has left, by its own word. */
export function formatBalloon({ balloon }: MonitorTarget): string {
  if (balloon === undefined)
    throw new RangeError('The machine has no balloon: start it with --device virtio-balloon-pci');
  return `balloon: actual=${Math.floor(balloon.actualBytes / MIB)}\n`;
}
