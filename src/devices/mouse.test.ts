import { expect, test } from 'vitest';
import { KeyboardController } from './keyboard-controller.ts';
import { PS2Mouse } from './mouse.ts';

/** A mouse that reports, behind its controller. */
function create() {
  const controller = new KeyboardController();
  const read = () => {
    const bytes: number[] = [];
    while (controller.read(4) & 1) bytes.push(controller.read(0));
    return bytes;
  };
  const send = (...bytes: number[]) => {
    for (const byte of bytes) {
      controller.write(4, 0xd4);
      controller.write(0, byte);
    }
    return read();
  };
  controller.write(4, 0xa8);
  send(0xf4);
  return { controller, read, send };
}

test('movement becomes a report: right and up are positive, buttons in bits 0 to 2', () => {
  const { controller, read } = create();
  controller.moveMouse(5, 3, 0, 0);
  expect(read()).toEqual([0x28, 5, 0xfd]);
  controller.moveMouse(-2, -4, 0, 1);
  expect(read()).toEqual([0x19, 0xfe, 4]);
  controller.moveMouse(0, 0, 0, 6);
  expect(read()).toEqual([0x0e, 0, 0]);
});

test('what does not fit a report, or is not read in time, comes with the next ones', () => {
  const { controller, read } = create();
  controller.moveMouse(600, 0, 0, 0);
  controller.moveMouse(10, 1, 0, 2);
  // The first report was made before the second movement.
  expect(read()).toEqual([0x08, 255, 0, 0x2a, 255, 0xff, 0x0a, 100, 0]);
  for (let i = 0; i < 1000; i++) controller.moveMouse(1, 0, 0, 0);
  expect(read().length).toBeLessThanOrEqual(18);
});

test('a mouse that is not asked, or whose port is off, says nothing', () => {
  const { controller, read, send } = create();
  expect(send(0xf5)).toEqual([0xfa]);
  controller.moveMouse(5, 5, 0, 1);
  expect(read()).toEqual([]);
  expect(send(0xf4, 0xe9)).toEqual([0xfa, 0xfa, 0x24, 2, 100]);
  controller.write(4, 0xa7);
  controller.moveMouse(5, 5, 0, 0);
  expect(read()).toEqual([]);
  controller.write(4, 0xa8);
  expect(read()).toEqual([0x28, 5, 0xfb]);
});

test('remote mode tells when it is asked', () => {
  const { controller, read, send } = create();
  send(0xf0);
  controller.moveMouse(7, 0, 0, 0);
  expect(read()).toEqual([]);
  expect(send(0xeb)).toEqual([0xfa, 0x08, 7, 0]);
});

test('the wheel is there after its knock, and goes with a reset', () => {
  const { controller, read, send } = create();
  expect(send(0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2).at(-1)).toBe(3);
  controller.moveMouse(0, 0, -2, 0);
  expect(read()).toEqual([0x08, 0, 0, 0xfe]);
  expect(send(0xff)).toEqual([0xfa, 0xaa, 0]);
  expect(send(0xf2)).toEqual([0xfa, 0]);
});

test('2:1 scaling follows the table', () => {
  const { controller, read, send } = create();
  send(0xe7);
  const outputs = [1, 2, 3, 4, 5, 6, -3].map((dx) => {
    controller.moveMouse(dx, 0, 0, 0);
    return read()[1];
  });
  expect(outputs).toEqual([1, 1, 3, 6, 9, 12, 0xfd]);
});

test('a saved mouse keeps movement that it has not told', () => {
  const mouse = new PS2Mouse();
  mouse.receive(0xf4);
  mouse.move(300, 0, 0, 1);
  const other = new PS2Mouse();
  other.restore(mouse.save());
  expect([...other.takeReport(), ...other.takeReport()]).toEqual([9, 255, 0, 9, 45, 0]);
  expect(other.hasReport).toBe(false);
});
