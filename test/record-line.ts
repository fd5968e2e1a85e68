// An interrupt line that remembers its level and how often it rose.

import type { IRQLine } from '../src/base/device.ts';

export class RecordLine implements IRQLine {
  isHigh = false;
  riseCount = 0;

  raise(): void {
    if (!this.isHigh) this.riseCount++;
    this.isHigh = true;
  }

  lower(): void {
    this.isHigh = false;
  }
}
