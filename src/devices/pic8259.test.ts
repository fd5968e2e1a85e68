import { expect, test } from 'vitest';
import { RecordLine } from '../../test/record-line.ts';
import { PIC8259, PIC8259Pair } from './pic8259.ts';

function initialize(pic: PIC8259, base: number, icw4 = 0x01): void {
  pic.write(0, 0x11);
  for (const word of [base, 0x04, icw4]) pic.write(1, word);
}

function pair(icw4 = 0x01): PIC8259Pair {
  const pics = new PIC8259Pair();
  initialize(pics.master, 0x20, icw4);
  initialize(pics.slave, 0x28, icw4 & ~0x10);
  return pics;
}

const EOI = 0x20;

test('requests are taken by priority, and lower ones wait for the EOI', () => {
  const pics = pair();
  pics.setIRQ(4, true);
  pics.setIRQ(1, true);
  expect(pics.acknowledge()).toBe(0x21);
  expect(pics.hasInterrupt).toBe(false);
  pics.master.write(0, EOI);
  expect(pics.acknowledge()).toBe(0x24);
  pics.setIRQ(0, true);
  expect(pics.acknowledge()).toBe(0x20);
  pics.master.write(0, 0x0b);
  expect(pics.master.read(0)).toBe(0x11);
});

test('an edge is one request; a level is a request for as long as it is high', () => {
  const pics = pair();
  pics.setIRQ(3, true);
  pics.acknowledge();
  pics.master.write(0, EOI);
  expect(pics.hasInterrupt).toBe(false);
  pics.master.writeELCR(0x20);
  pics.setIRQ(5, true);
  expect(pics.acknowledge()).toBe(0x25);
  pics.master.write(0, EOI);
  expect(pics.hasInterrupt).toBe(true);
  pics.setIRQ(5, false);
  expect(pics.hasInterrupt).toBe(false);
});

test('a request gone before its acknowledge is the spurious input 7, not in service', () => {
  const pics = pair();
  pics.setIRQ(3, true);
  pics.setIRQ(3, false);
  expect(pics.acknowledge()).toBe(0x27);
  expect(pics.master.state.isr).toBe(0);
});

test('the slave reaches the master at input 2, and both need an EOI', () => {
  const pics = pair();
  pics.setIRQ(12, true);
  expect(pics.acknowledge()).toBe(0x2c);
  expect(pics.master.state.isr).toBe(0x04);
  expect(pics.slave.state.isr).toBe(0x10);
  pics.setIRQ(8, true);
  expect(pics.hasInterrupt, 'the cascade input is in service').toBe(false);
  pics.slave.write(0, EOI);
  pics.master.write(0, EOI);
  expect(pics.acknowledge()).toBe(0x28);
});

test('in special fully nested mode the slave interrupts the slave', () => {
  const pics = pair(0x11);
  pics.setIRQ(12, true);
  pics.acknowledge();
  pics.setIRQ(8, true);
  expect(pics.acknowledge()).toBe(0x28);
});

test('automatic EOI leaves nothing in service, and rotates when told to', () => {
  const pic = new PIC8259('pic', true);
  initialize(pic, 0x20, 0x03);
  pic.write(0, 0x80);
  pic.setInput(0, true);
  expect(pic.acknowledge()).toBe(0x20);
  expect(pic.state.isr).toBe(0);
  pic.setInput(0, false);
  pic.setInput(0, true);
  pic.setInput(1, true);
  expect(pic.acknowledge(), 'input 0 has the lowest priority now').toBe(0x21);
});

test('specific EOI, rotation and set priority change the order as OCW2 says', () => {
  const pic = new PIC8259('pic', true);
  initialize(pic, 0x40);
  pic.write(0, 0xc0 | 3); // Input 3 lowest, so 4 highest.
  pic.setInput(0, true);
  pic.setInput(4, true);
  expect(pic.acknowledge()).toBe(0x44);
  pic.write(0, 0x60 | 4);
  expect(pic.state.isr).toBe(0);
  expect(pic.acknowledge()).toBe(0x40);
  pic.write(0, 0xa0); // Rotate on non-specific EOI.
  expect(pic.state.isr).toBe(0);
  expect(pic.state.lowestInput).toBe(0);
  pic.setInput(2, true);
  pic.acknowledge();
  pic.write(0, 0xe0 | 2);
  expect(pic.state.lowestInput).toBe(2);
});

test('special mask mode lets lower priorities through', () => {
  const pic = new PIC8259('pic', true);
  initialize(pic, 0x20);
  pic.setInput(1, true);
  pic.acknowledge();
  pic.setInput(6, true);
  expect(pic.hasInterrupt).toBe(false);
  pic.write(1, 0x02);
  pic.write(0, 0x68);
  expect(pic.acknowledge()).toBe(0x26);
  pic.write(0, 0x48);
  expect(pic.state.isSpecialMask).toBe(false);
});

test('a poll acknowledges and gives the input, or zero', () => {
  const pic = new PIC8259('pic', true);
  initialize(pic, 0x20);
  pic.write(0, 0x0c);
  expect(pic.read(0)).toBe(0);
  pic.setInput(5, true);
  pic.write(0, 0x0c);
  expect(pic.read(0)).toBe(0x85);
  expect(pic.state.isr).toBe(0x20);
  pic.write(1, 0xaa);
  expect(pic.read(1)).toBe(0xaa);
});

test('initialization takes three or four words, and asks for none in single mode', () => {
  const pic = new PIC8259('pic', true);
  pic.write(0, 0x13); // Single, with ICW4.
  pic.write(1, 0x58);
  pic.write(1, 0x01);
  pic.write(1, 0xfb);
  expect(pic.read(1)).toBe(0xfb);
  pic.write(0, 0x10); // Cascaded, without ICW4.
  pic.write(1, 0x60);
  pic.write(1, 0x04);
  pic.write(1, 0x0f);
  expect(pic.read(1)).toBe(0x0f);
});

test('INT follows requests, masks and EOI', () => {
  const pic = new PIC8259('pic', true);
  const int = new RecordLine();
  pic.int = int;
  initialize(pic, 0x20);
  pic.setInput(4, true);
  expect(int.isHigh).toBe(true);
  pic.write(1, 0x10);
  expect(int.isHigh).toBe(false);
  pic.write(1, 0x00);
  expect(int.isHigh).toBe(true);
  pic.acknowledge();
  expect(int.isHigh).toBe(false);
});

test('ELCR keeps the inputs that are edge-triggered for ever', () => {
  const pics = pair();
  pics.master.writeELCR(0xff);
  pics.slave.writeELCR(0xff);
  expect(pics.master.readELCR()).toBe(0xf8);
  expect(pics.slave.readELCR()).toBe(0xde);
});
