import { expect, test } from 'vitest';
import { RecordLine } from '../../test/record-line.ts';
import { KeyboardController } from './keyboard-controller.ts';

function create() {
  const kbc = new KeyboardController();
  const irq1 = new RecordLine();
  const irq12 = new RecordLine();
  kbc.keyboardIRQ = irq1;
  kbc.auxIRQ = irq12;
  const command = (...bytes: number[]) => {
    kbc.write(4, bytes[0]!);
    for (const byte of bytes.slice(1)) kbc.write(0, byte);
  };
  /** Everything that waits. */
  const drain = () => {
    const out: number[] = [];
    while (kbc.read(4) & 1 && out.length < 300) out.push(kbc.read(0));
    return out;
  };
  return { kbc, irq1, irq12, command, drain };
}

test('self test and port tests pass; the system flag is set', () => {
  const { kbc, command, drain } = create();
  command(0xaa);
  expect(drain()).toEqual([0x55]);
  command(0xab);
  command(0xa9);
  expect(drain()).toEqual([0x00, 0x00]);
  expect(kbc.read(4) & 0x04).toBe(0x04);
});

test('the command byte is written and read back', () => {
  const { command, drain } = create();
  command(0x60, 0x47);
  command(0x20);
  expect(drain()).toEqual([0x47]);
  command(0x65, 0x12);
  command(0x25);
  expect(drain()).toEqual([0x12]);
});

test('the keyboard answers reset, identify, LEDs and echo', () => {
  const { kbc, drain } = create();
  kbc.write(0, 0xff);
  expect(drain()).toEqual([0xfa, 0xaa]);
  kbc.write(0, 0xf2);
  expect(drain()).toEqual([0xfa, 0xab, 0x83]);
  kbc.write(0, 0xed);
  kbc.write(0, 0x02);
  expect(drain()).toEqual([0xfa, 0xfa]);
  expect(kbc.keyboard.state.leds).toBe(2);
  kbc.write(0, 0xee);
  expect(drain()).toEqual([0xee]);
  kbc.write(0, 0xf0);
  kbc.write(0, 0x00);
  expect(drain()).toEqual([0xfa, 0xfa, 0x02]);
  kbc.write(0, 0x01);
  expect(drain()).toEqual([0xfe]);
});

test('translation turns set 2 into set 1, releases into bit 7', () => {
  const { kbc, command, drain } = create();
  command(0x60, 0x45);
  kbc.sendKeys([0x1c, 0xf0, 0x1c, 0xe0, 0x75, 0xe0, 0xf0, 0x75]);
  expect(drain()).toEqual([0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8]);
  kbc.write(0, 0xf2);
  expect(drain()).toEqual([0xfa, 0xab, 0x41]);
  command(0x60, 0x05);
  kbc.sendKeys([0x1c, 0xf0, 0x1c]);
  expect(drain()).toEqual([0x1c, 0xf0, 0x1c]);
});

test('IRQ 1 rises for each byte that is to be read', () => {
  const { kbc, irq1, irq12, command } = create();
  command(0x60, 0x03);
  kbc.sendKeys([0x1c, 0x1b]);
  expect(irq1.riseCount).toBe(1);
  kbc.read(0);
  expect(irq1.riseCount).toBe(2);
  kbc.read(0);
  expect(irq1.isHigh).toBe(false);
  expect(irq12.riseCount).toBe(0);
});

// Linux's i8042 driver: the loop test, then that the loop raises IRQ 12.
test('the auxiliary port answers, with its status bit and IRQ 12', () => {
  const { kbc, irq12, command, drain } = create();
  command(0xd3, 0x5a);
  expect(kbc.read(4) & 0x21).toBe(0x21);
  expect(drain()).toEqual([0x5a]);
  command(0x60, 0x03);
  command(0xd3, 0xa5);
  expect(irq12.isHigh).toBe(true);
  expect(drain()).toEqual([0xa5]);
  command(0xa7);
  command(0x20);
  expect(drain()[0]! & 0x20).toBe(0x20);
  command(0xa8);
  command(0x20);
  expect(drain()[0]! & 0x20).toBe(0);
});

test('the mouse answers reset, identify, status and every setting', () => {
  const { command, drain } = create();
  const mouse = (...bytes: number[]) => {
    for (const byte of bytes) command(0xd4, byte);
    return drain();
  };
  expect(mouse(0xff)).toEqual([0xfa, 0xaa, 0x00]);
  expect(mouse(0xf2)).toEqual([0xfa, 0x00]);
  expect(mouse(0xe8, 0x03)).toEqual([0xfa, 0xfa]);
  expect(mouse(0xf3, 0x50)).toEqual([0xfa, 0xfa]);
  expect(mouse(0xf4)).toEqual([0xfa]);
  expect(mouse(0xe7)).toEqual([0xfa]);
  expect(mouse(0xe9)).toEqual([0xfa, 0x30, 0x03, 0x50]);
  expect(mouse(0xeb)).toEqual([0xfa, 0x08, 0, 0]);
  expect(mouse(0xee, 0x12, 0xec)).toEqual([0xfa, 0x12, 0xfa]);
  expect(mouse(0x00)).toEqual([0xfe]);
});

test('A20 follows the output port and the short commands; the pulse resets', () => {
  const { kbc, command, drain } = create();
  const levels: boolean[] = [];
  let resetCount = 0;
  kbc.onA20 = (isEnabled) => levels.push(isEnabled);
  kbc.onReset = () => resetCount++;
  command(0xd1, 0xdd);
  command(0xd1, 0xdf);
  command(0xdd);
  command(0xdf);
  expect(levels).toEqual([false, true, false, true]);
  command(0xd0);
  expect(drain()[0]! & 0x03).toBe(0x03);
  command(0xff);
  expect(resetCount, 'no bit is pulsed').toBe(0);
  command(0xfe);
  command(0xd1, 0xde);
  expect(resetCount).toBe(2);
});

test('a guest that never reads cannot make the queue grow without end', () => {
  const { kbc, drain } = create();
  for (let i = 0; i < 10_000; i++) kbc.write(0, 0xf2);
  for (let i = 0; i < 10_000; i++) kbc.write(4, 0xaa);
  expect(kbc.state.queue.length).toBeLessThanOrEqual(256);
  expect(drain().length).toBeLessThanOrEqual(256);
});

test('keys are dropped while scanning is off', () => {
  const { kbc, drain } = create();
  kbc.write(0, 0xf5);
  drain();
  kbc.sendKeys([0x1c]);
  expect(drain()).toEqual([]);
  kbc.write(0, 0xf4);
  drain();
  kbc.sendKeys([0x1c]);
  expect(drain()).toEqual([0x1c]);
});
