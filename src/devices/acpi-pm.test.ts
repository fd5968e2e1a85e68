import { expect, test } from 'vitest';
import { ManualClock } from '../../test/manual-clock.ts';
import { RecordLine } from '../../test/record-line.ts';
import { ACPIPM, PM_TIMER_HZ } from './acpi-pm.ts';
import { nsOfTicks } from './tick-rate.ts';

function create() {
  const clock = new ManualClock();
  const pm = new ACPIPM(clock);
  const sci = new RecordLine();
  pm.sci = sci;
  const sleeps: number[] = [];
  pm.onSleep = (type) => sleeps.push(type);
  const write16 = (offset: number, value: number) => {
    pm.write(offset, value & 0xff);
    pm.write(offset + 1, value >> 8);
  };
  const read16 = (offset: number) => pm.read(offset) | (pm.read(offset + 1) << 8);
  return { clock, pm, sci, sleeps, write16, read16 };
}

test('the PM timer runs at 3.579545 MHz in 24 bits', () => {
  const { clock, pm } = create();
  clock.advance(1_000_000_000);
  expect(pm.readTimer()).toBe(PM_TIMER_HZ);
  clock.advance(nsOfTicks(0x100_0000 - PM_TIMER_HZ + 5, PM_TIMER_HZ));
  expect(pm.readTimer()).toBeLessThan(10);
  expect(pm.read(0x0b)).toBe(0);
});

test('the command port turns ACPI on and off', () => {
  const { pm, read16 } = create();
  pm.writeCommand(0, 0xf1);
  expect(read16(0x04) & 1).toBe(1);
  pm.writeCommand(0, 0xf0);
  expect(read16(0x04) & 1).toBe(0);
  pm.writeCommand(1, 0x77);
  expect([pm.readCommand(0), pm.readCommand(1)]).toEqual([0xf0, 0x77]);
});

test('SLP_EN asks for the sleep state of SLP_TYP, and reads back as zero', () => {
  const { sleeps, write16, read16 } = create();
  write16(0x04, 0x2001);
  write16(0x04, 0x3401);
  expect(sleeps).toEqual([0, 5]);
  expect(read16(0x04) & 0x2000).toBe(0);
});

test('the timer interrupts when its top bit changes, until the status is cleared', () => {
  const { clock, pm, sci, write16, read16 } = create();
  pm.enableACPI();
  write16(0x02, 0x0001);
  const half = nsOfTicks(0x80_0000, PM_TIMER_HZ);
  clock.advance(half - 10);
  expect(sci.isHigh).toBe(false);
  clock.advance(10);
  expect(sci.isHigh).toBe(true);
  expect(read16(0x00)).toBe(0x0001);
  write16(0x00, 0x0001);
  expect(sci.isHigh).toBe(false);
  clock.advance(half + 10);
  expect(sci.riseCount).toBe(2);
});

test('the power button is a status bit, and an SCI if enabled', () => {
  const { pm, sci, write16, read16 } = create();
  pm.enableACPI();
  pm.pressPowerButton();
  expect(sci.isHigh).toBe(false);
  expect(read16(0x00)).toBe(0x0100);
  write16(0x02, 0x0100);
  expect(sci.isHigh).toBe(true);
  write16(0x00, 0x0100);
  expect(sci.isHigh).toBe(false);
});

test('without SCI_EN no interrupt comes', () => {
  const { pm, sci, write16 } = create();
  write16(0x02, 0x0100);
  pm.pressPowerButton();
  expect(sci.isHigh).toBe(false);
  pm.writeCommand(0, 0xf1);
  expect(sci.isHigh).toBe(true);
});

test('general-purpose events: enables are kept, statuses are cleared by ones', () => {
  const { pm, write16, read16 } = create();
  write16(0x0e, 0x1234);
  expect(read16(0x0e)).toBe(0x1234);
  pm.state.gpeStatus = 0x00ff;
  write16(0x0c, 0x000f);
  expect(read16(0x0c)).toBe(0x00f0);
});
