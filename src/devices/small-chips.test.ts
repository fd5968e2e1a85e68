import { expect, test } from 'vitest';
import { DebugConsole } from './debug-ports.ts';
import { DMA8237, DMAPageRegisters } from './dma8237.ts';
import { Port92 } from './port92.ts';
import { ResetControl } from './reset-control.ts';

test('port 92 opens A20 with bit 1 and resets with the rising edge of bit 0', () => {
  const port = new Port92();
  const log: (boolean | string)[] = [];
  port.onA20 = (isEnabled) => log.push(isEnabled);
  port.onReset = () => log.push('reset');
  port.write(0x02);
  port.write(0x02);
  port.write(0x03);
  port.write(0x01);
  expect(log).toEqual([true, 'reset', false]);
  expect(port.read()).toBe(0x01);
});

test('port 0xcf9 resets with the rising edge of bit 2, hard or soft', () => {
  const control = new ResetControl();
  const log: boolean[] = [];
  control.onReset = (isHard) => log.push(isHard);
  control.write(0x02);
  control.write(0x06);
  control.write(0x06);
  control.write(0x00);
  control.write(0x04);
  expect(log).toEqual([true, false]);
  expect(control.read()).toBe(0x04);
});

test('the debug console passes bytes on and says that it is there', () => {
  const debug = new DebugConsole();
  const log: number[] = [];
  debug.onByte = (value) => log.push(value);
  debug.write(0x141);
  expect(log).toEqual([0x41]);
  expect(debug.read()).toBe(0xe9);
});

test('DMA addresses and counts go through the flip-flop, low byte first', () => {
  const dma = new DMA8237('dma0');
  dma.write(12, 0);
  dma.write(4, 0x34);
  dma.write(4, 0x12);
  dma.write(5, 0xff);
  dma.write(5, 0x03);
  expect([dma.read(4), dma.read(4), dma.read(5), dma.read(5)]).toEqual([0x34, 0x12, 0xff, 0x03]);
  expect(dma.state.baseCount[2]).toBe(0x3ff);
  dma.write(10, 0x02);
  expect(dma.read(15)).toBe(0xfb);
  dma.write(15, 0x05);
  expect(dma.state.mask).toBe(5);
  dma.write(14, 0);
  expect(dma.state.mask).toBe(0);
  dma.write(9, 0x07);
  expect(dma.read(8)).toBe(0x80);
  dma.write(11, 0x46);
  expect(dma.state.mode[2]).toBe(0x44);
  dma.write(13, 0);
  expect(dma.state.mask).toBe(0x0f);
});

test('page registers are kept, and the first one is where POST codes go', () => {
  const pages = new DMAPageRegisters();
  const codes: number[] = [];
  pages.onPOSTCode = (code) => codes.push(code);
  pages.write(0, 0x55);
  pages.write(7, 0x12);
  expect(pages.read(7)).toBe(0x12);
  expect(codes).toEqual([0x55]);
});
