// PCI interrupt router of the PIIX3: lines PIRQ A–D, each led to an ISA interrupt by a register of
// the ISA bridge. 82371SB (PIIX3) data sheet (290550), section 2.2.8 "PIRQRC[A:D]".

import { type IRQLine, NO_LINE } from '../base/device.ts';
import type { PCIFunction } from './pci-config.ts';

/** Offset of PIRQA's register in the ISA bridge's configuration space; the others follow. */
export const PIRQ_ROUTES = 0x60;
export const PIRQ_COUNT = 4;
export const PIRQ_OFF = 0x80;
const PIRQ_IRQ = 0x0f;
/** IRQ 0, 1, 2, 8 and 13 are reserved. */
const ROUTABLE_IRQS = 0xdef8;
const DEVICE_COUNT = 32;

/**
 * Which PIRQ (0–3) pin `pin` (0 for INTA#) of PCI device `device` is wired to on an i440FX board.
 */
export function pirqOf(device: number, pin: number): number {
  return (device - 1 + pin) & 3;
}

/**
 * The router. Its inputs belong to the devices, which drive them again when their state is
 * restored, and its registers to the bridge: it has no state of its own to save.
 */
export class PIRQRouter {
  // Wiring, set once by the machine.
  readonly #bridge: PCIFunction;
  /** ISA interrupts 0–15. */
  irqs: readonly IRQLine[] = new Array<IRQLine>(16).fill(NO_LINE);
  // Inputs: for each PIRQ a bit for each device and pin that pulls it.
  readonly #pulls = Array.from({ length: PIRQ_COUNT }, () => new Set<number>());
  #raisedIRQs = 0;

  constructor(bridge: PCIFunction) {
    this.#bridge = bridge;
  }

  /** The wire of pin `pin` (0–3 for INTA#–INTD#) of `device`; several may pull one PIRQ. */
  interruptLine(device: number, pin: number): IRQLine {
    const pulls = this.#pulls[pirqOf(device, pin)]!;
    const place = pin * DEVICE_COUNT + device;
    return {
      raise: () => {
        if (pulls.has(place)) return;
        pulls.add(place);
        this.update();
      },
      lower: () => {
        if (pulls.delete(place)) this.update();
      },
    };
  }

  /** The ISA interrupt that PIRQ `pirq` leads to, or -1. */
  irqOf(pirq: number): number {
    const route = this.#bridge.readByte(PIRQ_ROUTES + pirq);
    const irq = route & PIRQ_IRQ;
    return route & PIRQ_OFF || ((ROUTABLE_IRQS >> irq) & 1) === 0 ? -1 : irq;
  }

  /** Brings the ISA interrupts in accord with inputs and registers. */
  update(): void {
    let wanted = 0;
    for (let pirq = 0; pirq < PIRQ_COUNT; pirq++) {
      const irq = this.irqOf(pirq);
      if (irq >= 0 && this.#pulls[pirq]!.size > 0) wanted |= 1 << irq;
    }
    const changed = wanted ^ this.#raisedIRQs;
    this.#raisedIRQs = wanted;
    for (const [irq, line] of this.irqs.entries()) {
      if (((changed >> irq) & 1) === 0) continue;
      if ((wanted >> irq) & 1) line.raise();
      else line.lower();
    }
  }
}
