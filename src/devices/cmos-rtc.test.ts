import { expect, test } from 'vitest';
import { ManualClock } from '../../test/manual-clock.ts';
import { RecordLine } from '../../test/record-line.ts';
import { CMOSRTC } from './cmos-rtc.ts';

const SECOND = 1_000_000_000;
const EPOCH = Date.UTC(2026, 10, 23, 15, 59, 58);

function create(epochMs = EPOCH) {
  const clock = new ManualClock();
  const rtc = new CMOSRTC(clock, epochMs);
  const irq = new RecordLine();
  rtc.irq = irq;
  const read = (index: number) => {
    rtc.write(0, index);
    return rtc.read(1);
  };
  const write = (index: number, value: number) => {
    rtc.write(0, index);
    rtc.write(1, value);
  };
  const calendar = () => [0x32, 0x09, 0x08, 0x07, 0x04, 0x02, 0x00].map(read);
  return { clock, rtc, irq, read, write, calendar };
}

test('the calendar shows the epoch in BCD, and follows virtual time', () => {
  const { clock, calendar, read } = create();
  expect(calendar()).toEqual([0x20, 0x26, 0x11, 0x23, 0x15, 0x59, 0x58]);
  expect(read(0x06), 'a Monday').toBe(2);
  clock.advance(2 * SECOND);
  expect(calendar()).toEqual([0x20, 0x26, 0x11, 0x23, 0x16, 0x00, 0x00]);
});

test('register B chooses binary and 12-hour formats', () => {
  const { write, read } = create();
  write(0x0b, 0x06);
  expect([read(0x04), read(0x00)]).toEqual([15, 58]);
  write(0x0b, 0x00);
  expect(read(0x04), '3 pm').toBe(0x83);
});

test('while SET is on the calendar stands; what was written counts from its end', () => {
  const { clock, write, calendar } = create();
  write(0x0b, 0x82);
  write(0x32, 0x19);
  write(0x09, 0x99);
  write(0x08, 0x12);
  write(0x07, 0x31);
  write(0x04, 0x23);
  write(0x02, 0x59);
  write(0x00, 0x59);
  clock.advance(10 * SECOND);
  expect(calendar()).toEqual([0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59]);
  write(0x0b, 0x02);
  clock.advance(SECOND);
  expect(calendar()).toEqual([0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]);
});

test('UIP is up for 2.2 ms before the seconds change, and not while SET is on', () => {
  const { clock, read, write } = create();
  expect(read(0x0a) & 0x80).toBe(0);
  clock.advance(SECOND - 2_000_000);
  expect(read(0x0a) & 0x80).toBe(0x80);
  expect(read(0x00)).toBe(0x58);
  clock.advance(2_000_000);
  expect(read(0x0a) & 0x80).toBe(0);
  expect(read(0x00)).toBe(0x59);
  write(0x0b, 0x82);
  clock.advance(SECOND - 1_000_000);
  expect(read(0x0a) & 0x80).toBe(0);
});

test('the update interrupt comes once a second, until register C is read', () => {
  const { clock, irq, read, write } = create();
  write(0x0b, 0x12);
  read(0x0c);
  clock.advance(SECOND);
  expect(irq.isHigh).toBe(true);
  expect(read(0x0c) & 0xb0).toBe(0x90);
  expect(irq.isHigh).toBe(false);
  expect(read(0x0c)).toBe(0);
  for (let i = 0; i < 3; i++) {
    clock.advance(SECOND);
    expect(read(0x0c) & 0x10).toBe(0x10);
  }
  expect(irq.riseCount).toBe(4);
});

test('the periodic interrupt comes at the rate of register A', () => {
  const { clock, irq, read, write } = create();
  write(0x0a, 0x26);
  write(0x0b, 0x42);
  read(0x0c);
  for (let i = 0; i < 1024; i++) {
    clock.advance(976_563); // A period is 976562.5 ns.
    expect(read(0x0c) & 0xc0).toBe(0xc0);
  }
  expect(irq.riseCount).toBe(1024);
});

test('the alarm comes at its time, and bytes of 0xc0 or more match any', () => {
  const { clock, irq, read, write } = create();
  write(0x01, 0x05);
  write(0x03, 0x00);
  write(0x05, 0xff);
  write(0x0b, 0x22);
  read(0x0c);
  clock.advance(6 * SECOND);
  expect(irq.isHigh).toBe(false);
  clock.advance(SECOND);
  expect(read(0x00)).toBe(0x05);
  expect(read(0x0c) & 0xa0).toBe(0xa0);
});

test('flags that no interrupt asks for are still there to be polled', () => {
  const { clock, irq, read } = create();
  read(0x0c);
  clock.advance(SECOND);
  expect(read(0x0c) & 0x50).toBe(0x50);
  expect(irq.riseCount).toBe(0);
});

test('RAM is valid, bytes are kept, the index is write-only, its top bit masks NMI', () => {
  const { rtc, read, write } = create();
  expect(read(0x0d)).toBe(0x80);
  write(0x50, 0xab);
  expect(read(0xd0)).toBe(0xab);
  expect(rtc.state.isNMIMasked).toBe(true);
  expect(rtc.read(0)).toBe(0xff);
});

test('a calendar of nonsense is taken as some time, and no harm is done', () => {
  const { write, calendar, clock } = create();
  write(0x0b, 0x82);
  for (const index of [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32]) write(index, 0xff);
  write(0x0b, 0x02);
  clock.advance(5 * SECOND);
  for (const value of calendar()) expect(value).toBeGreaterThanOrEqual(0);
});

test('clocks beyond what four digits of year show do no harm', () => {
  for (const epochMs of [-1e15, 1e17, Number.NaN]) {
    const { calendar, rtc } = create(epochMs);
    for (const value of calendar()) expect(value).toBeLessThan(0x9a);
    expect(() => rtc.restore(rtc.save())).not.toThrow();
  }
});
