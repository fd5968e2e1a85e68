import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { ManualClock } from '../../test/manual-clock.ts';
import { RecordLine } from '../../test/record-line.ts';
import { PIT_HZ, PIT8254 } from './pit8254.ts';
import { SystemControlB } from './system-control-b.ts';
import { nsOfTicks, ticksOfNs } from './tick-rate.ts';

function create() {
  const clock = new ManualClock();
  const pit = new PIT8254(clock);
  const irq = new RecordLine();
  pit.irq = irq;
  let tick = 0;
  /** Moves on by whole ticks. */
  const ticks = (count: number) => {
    tick += count;
    clock.advance(nsOfTicks(tick, PIT_HZ) - clock.nowNs());
  };
  const program = (index: number, mode: number, count: number, isBCD = false) => {
    pit.write(3, (index << 6) | 0x30 | (mode << 1) | (isBCD ? 1 : 0));
    pit.write(index, count & 0xff);
    pit.write(index, count >> 8);
  };
  const count = (index: number) => {
    pit.write(3, index << 6);
    return pit.read(index) | (pit.read(index) << 8);
  };
  const status = (index: number) => {
    pit.write(3, 0xe0 | (2 << index));
    return pit.read(index);
  };
  return { clock, pit, irq, ticks, program, count, status };
}

test('mode 0: OUT rises N + 1 clocks after the count was written, once', () => {
  const { pit, irq, ticks, program, count } = create();
  program(0, 0, 10);
  expect(pit.out(0)).toBe(false);
  ticks(10);
  expect(pit.out(0)).toBe(false);
  ticks(1);
  expect(pit.out(0)).toBe(true);
  expect(irq.riseCount).toBe(1);
  ticks(1);
  expect(count(0), 'the counter wraps').toBe(0xffff);
  ticks(200_000);
  expect(irq.riseCount).toBe(1);
});

test('mode 0: the gate holds the count; the first byte of a new count stops it', () => {
  const { pit, ticks, program, count } = create();
  pit.setGate(2, true);
  program(2, 0, 100);
  ticks(41);
  expect(count(2)).toBe(60);
  pit.setGate(2, false);
  ticks(50);
  expect(count(2)).toBe(60);
  pit.setGate(2, true);
  ticks(10);
  expect(count(2)).toBe(50);
  pit.write(2, 0x08);
  expect(pit.out(2)).toBe(false);
  ticks(500);
  expect(pit.out(2)).toBe(false);
  pit.write(2, 0x00);
  ticks(9);
  expect(pit.out(2)).toBe(true);
});

test('mode 1: each trigger gives a low pulse of N clocks, and restarts one under way', () => {
  const { pit, ticks, program } = create();
  program(2, 1, 20);
  ticks(5);
  expect(pit.out(2)).toBe(true);
  pit.setGate(2, true);
  ticks(1);
  expect(pit.out(2)).toBe(false);
  ticks(10);
  pit.setGate(2, false);
  pit.setGate(2, true);
  ticks(20);
  expect(pit.out(2)).toBe(false);
  ticks(1);
  expect(pit.out(2)).toBe(true);
});

test('mode 2: OUT is low in the last clock of each period, and IRQ 0 comes once in each', () => {
  const { pit, irq, ticks, program, count } = create();
  program(0, 2, 100);
  const before = irq.riseCount;
  ticks(1);
  expect(count(0)).toBe(100);
  ticks(98);
  expect(pit.out(0)).toBe(true);
  ticks(1);
  expect(pit.out(0)).toBe(false);
  expect(count(0)).toBe(1);
  ticks(1);
  expect(pit.out(0)).toBe(true);
  expect(irq.riseCount - before).toBe(1);
  ticks(1000);
  expect(irq.riseCount - before).toBe(11);
});

test('mode 2: a new count takes effect at the end of the period', () => {
  const { irq, ticks, program, pit, count, status } = create();
  program(0, 2, 100);
  ticks(51);
  const before = irq.riseCount;
  pit.write(0, 10);
  pit.write(0, 0);
  expect(status(0) & 0x40, 'null count').toBe(0x40);
  ticks(49);
  expect(count(0)).toBe(1);
  ticks(1);
  expect(irq.riseCount - before).toBe(1);
  expect(status(0) & 0x40).toBe(0);
  ticks(10);
  expect(irq.riseCount - before).toBe(2);
});

test('mode 3: a square wave; odd counts are high one clock longer; the count falls by two', () => {
  const { pit, ticks, program, count } = create();
  pit.setGate(2, true);
  program(2, 3, 7);
  ticks(1);
  const wave = Array.from({ length: 14 }, () => {
    const level = pit.out(2);
    ticks(1);
    return level ? 1 : 0;
  });
  expect(wave).toEqual([1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]);
  program(2, 3, 100);
  ticks(1);
  expect(count(2)).toBe(100);
  ticks(10);
  expect(count(2)).toBe(80);
  pit.setGate(2, false);
  expect(pit.out(2)).toBe(true);
});

test('mode 3: a new count takes effect at the end of the half period', () => {
  const { pit, ticks, program } = create();
  pit.setGate(2, true);
  program(2, 3, 7);
  ticks(2);
  pit.write(2, 4);
  pit.write(2, 0);
  const wave = Array.from({ length: 12 }, () => {
    const level = pit.out(2);
    ticks(1);
    return level ? 1 : 0;
  });
  // Three more of the four high clocks, then low and high halves of two.
  expect(wave).toEqual([1, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0]);
});

test('mode 4: one low clock when the count is over, and one interrupt behind it', () => {
  const { pit, irq, ticks, program } = create();
  program(0, 4, 10);
  const before = irq.riseCount;
  ticks(10);
  expect(pit.out(0)).toBe(true);
  ticks(1);
  expect(pit.out(0)).toBe(false);
  ticks(1);
  expect(pit.out(0)).toBe(true);
  expect(irq.riseCount - before).toBe(1);
  ticks(100_000);
  expect(irq.riseCount - before).toBe(1);
});

test('mode 5: as mode 4, from each trigger on', () => {
  const { pit, ticks, program } = create();
  program(2, 5, 10);
  ticks(50);
  expect(pit.out(2)).toBe(true);
  pit.setGate(2, true);
  ticks(11);
  expect(pit.out(2)).toBe(false);
  ticks(1);
  expect(pit.out(2)).toBe(true);
});

test('a latched count stays until both its bytes are read', () => {
  const { pit, ticks, program } = create();
  program(0, 2, 0x1234);
  ticks(1);
  pit.write(3, 0x00);
  ticks(100);
  pit.write(3, 0x00);
  expect(pit.read(0)).toBe(0x34);
  ticks(100);
  expect(pit.read(0)).toBe(0x12);
  expect(pit.read(0)).not.toBe(0x34);
});

test('read-back latches status and count of several counters; status is read first', () => {
  const { pit, ticks, program } = create();
  program(0, 2, 50);
  program(2, 3, 60);
  ticks(1);
  pit.write(3, 0xc0 | 0x02 | 0x08);
  expect(pit.read(0)).toBe(0x80 | 0x30 | (2 << 1));
  expect(pit.read(0) | (pit.read(0) << 8)).toBe(50);
  expect(pit.read(2)).toBe(0x80 | 0x30 | (3 << 1));
});

test('BCD counts in decimal, and zero is ten thousand', () => {
  const { program, ticks, count } = create();
  program(0, 2, 0x1000, true);
  ticks(2);
  expect(count(0)).toBe(0x0999);
  program(0, 0, 0x0000, true);
  ticks(2);
  expect(count(0)).toBe(0x9999);
});

test('modes 6 and 7 are 2 and 3; the control register reads as all ones', () => {
  const { pit } = create();
  pit.write(3, 0x3c);
  expect(pit.state.mode[0]).toBe(2);
  pit.write(3, 0x3e);
  expect(pit.state.mode[0]).toBe(3);
  expect(pit.read(3)).toBe(0xff);
});

test('a count of one does not keep the host busy', () => {
  const { clock, program, irq } = create();
  program(0, 2, 1);
  clock.advance(1_000_000, 10_000);
  expect(irq.riseCount).toBeLessThan(2000);
});

test('port 0x61 gates counter 2, shows its output, and toggles with refresh', () => {
  const { clock, pit, ticks, program } = create();
  const port = new SystemControlB(clock, pit);
  program(2, 0, 1000);
  ticks(2000);
  expect(port.read() & 0x20).toBe(0);
  port.write(0x01);
  ticks(1001);
  expect(port.read() & 0x21).toBe(0x21);
  const before = port.read() & 0x10;
  clock.advance(15_085);
  expect(port.read() & 0x10).toBe(before ^ 0x10);
});

test('saved in the middle of a period and restored elsewhere, the PIT goes on as before', () => {
  const { clock, pit, ticks, program, irq } = create();
  program(0, 2, 1000);
  ticks(301);
  const copy = new PIT8254(clock);
  const line = new RecordLine();
  copy.irq = line;
  copy.restore(pit.save());
  const before = [irq.riseCount, line.riseCount];
  ticks(10_000);
  expect(irq.riseCount - before[0]!).toBe(10);
  expect(line.riseCount - before[1]!).toBe(10);
  expect(copy.save()).toEqual(pit.save());
});

test('ticks of a time and the time of a tick are inverse', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 2 ** 38 }),
      fc.constantFrom(PIT_HZ, 32_768, 3_579_545),
      (tick, hz) => {
        const ns = nsOfTicks(tick, hz);
        expect(ticksOfNs(ns, hz)).toBe(tick);
        if (ns > 0) expect(ticksOfNs(ns - 1, hz)).toBeLessThan(tick);
      },
    ),
    fuzzOptions(500),
  );
});
