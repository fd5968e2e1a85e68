import { expect, test } from 'vitest';
import { ManualClock } from '../../test/manual-clock.ts';
import { RecordLine } from '../../test/record-line.ts';
import { UART16550 } from './uart16550.ts';

const [RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7] as const;

function create() {
  const clock = new ManualClock();
  const uart = new UART16550('serial0', clock);
  const irq = new RecordLine();
  uart.irq = irq;
  const sent: number[] = [];
  uart.onByte = (value) => sent.push(value);
  uart.write(MCR, 0x0b);
  return { clock, uart, irq, sent };
}

test('a byte written is sent at once, and the transmitter is empty again', () => {
  const { uart, sent } = create();
  uart.write(RBR, 0x41);
  expect(sent).toEqual([0x41]);
  expect(uart.read(LSR)).toBe(0x60);
});

test('enabling the THRE interrupt with an empty transmitter raises it; reading IIR ends it', () => {
  const { uart, irq } = create();
  uart.write(IER, 0x02);
  expect(irq.isHigh).toBe(true);
  expect(uart.read(IIR)).toBe(0x02);
  expect(irq.isHigh).toBe(false);
  expect(uart.read(IIR)).toBe(0x01);
  // Linux looks for UARTs that do not raise it again (UART_BUG_THRE).
  uart.write(IER, 0x00);
  uart.write(IER, 0x02);
  expect(uart.read(IIR)).toBe(0x02);
});

test('each byte written gives a THRE interrupt of its own', () => {
  const { uart, irq } = create();
  uart.write(IER, 0x02);
  uart.read(IIR);
  const before = irq.riseCount;
  uart.write(RBR, 1);
  expect(irq.riseCount).toBe(before + 1);
  uart.write(RBR, 2);
  expect(irq.riseCount, 'the write lowers the line first').toBe(before + 2);
});

test('reading IIR for another reason leaves the THRE interrupt', () => {
  const { uart } = create();
  uart.write(IER, 0x03);
  uart.receive(0x55);
  expect(uart.read(IIR)).toBe(0x04);
  expect(uart.read(RBR)).toBe(0x55);
  expect(uart.read(IIR)).toBe(0x02);
});

// failures.md 17: a snapshot between the write of THR and its interrupt.
test('a THRE interrupt that waits survives save and restore', () => {
  const { uart, clock } = create();
  uart.write(IER, 0x02);
  uart.read(IIR);
  uart.write(RBR, 0x41);
  const copy = new UART16550('serial0', clock);
  const irq = new RecordLine();
  copy.irq = irq;
  copy.restore(uart.save());
  expect(irq.isHigh).toBe(true);
  expect(copy.read(IIR)).toBe(0x02);
});

test('without FIFOs a second byte replaces the first and is an overrun', () => {
  const { uart } = create();
  uart.receive(1);
  expect(uart.receiveRoom).toBe(0);
  uart.receive(2);
  expect(uart.read(LSR) & 0x03).toBe(0x03);
  expect(uart.read(LSR) & 0x03, 'reading LSR clears errors').toBe(0x01);
  expect(uart.read(RBR)).toBe(2);
  expect(uart.read(RBR)).toBe(0);
});

test('with FIFOs the interrupt waits for the trigger level, and 16 bytes are kept', () => {
  const { uart, irq } = create();
  uart.write(IIR, 0x81); // Trigger at 8.
  uart.write(IER, 0x01);
  for (let i = 0; i < 7; i++) uart.receive(i);
  expect(irq.isHigh).toBe(false);
  uart.receive(7);
  expect(uart.read(IIR)).toBe(0xc4);
  for (let i = 8; i < 20; i++) uart.receive(i);
  expect(uart.read(LSR) & 0x02).toBe(0x02);
  expect(Array.from({ length: 16 }, () => uart.read(RBR))).toEqual(
    Array.from({ length: 16 }, (_, i) => i),
  );
  expect(uart.read(LSR) & 0x01).toBe(0);
});

test('bytes below the trigger level come by time-out after four characters', () => {
  const { uart, irq, clock } = create();
  uart.write(LCR, 0x83);
  uart.write(RBR, 1); // 115200 baud: 10 bits take 86.8 µs.
  uart.write(IER, 0);
  uart.write(LCR, 0x03);
  uart.write(IIR, 0xc1);
  uart.write(IER, 0x01);
  uart.receive(0x21);
  clock.advance(300_000);
  expect(irq.isHigh).toBe(false);
  clock.advance(50_000);
  expect(uart.read(IIR)).toBe(0xcc);
  uart.read(RBR);
  expect(irq.isHigh).toBe(false);
  expect(uart.read(IIR)).toBe(0xc1);
});

test('loopback: bytes come back, nothing leaves, modem outputs feed the inputs', () => {
  const { uart, sent } = create();
  uart.write(MCR, 0x1a); // RTS and OUT2.
  uart.write(RBR, 0x5a);
  expect(sent).toEqual([]);
  expect(uart.read(RBR)).toBe(0x5a);
  expect(uart.read(MSR) & 0xf0).toBe(0x90); // Linux's autoconfig looks for just that.
  uart.receive(1);
  expect(uart.read(LSR) & 1, 'the line is cut off').toBe(0);
  uart.write(MCR, 0x0b);
  expect(uart.read(MSR) & 0xf0).toBe(0xb0);
});

test('a change of modem inputs is a modem status interrupt, until MSR is read', () => {
  const { uart } = create();
  uart.read(MSR);
  uart.write(IER, 0x08);
  expect(uart.read(IIR)).toBe(0x01);
  uart.write(MCR, 0x1a); // Loopback without DTR: DSR falls.
  expect(uart.read(IIR)).toBe(0x00);
  expect(uart.read(MSR) & 0x0f).not.toBe(0);
  expect(uart.read(IIR)).toBe(0x01);
});

test('a break is a line status interrupt of highest priority', () => {
  const { uart } = create();
  uart.write(IER, 0x07);
  uart.receiveBreak();
  expect(uart.read(IIR)).toBe(0x06);
  expect(uart.read(LSR) & 0x11).toBe(0x11);
  expect(uart.read(IIR)).toBe(0x04);
});

test('OUT2 opens the interrupt line', () => {
  const { uart, irq } = create();
  uart.write(MCR, 0x03);
  uart.write(IER, 0x02);
  expect(irq.isHigh).toBe(false);
  uart.write(MCR, 0x0b);
  expect(irq.isHigh).toBe(true);
});

test('DLAB shows the divisor in place of data and IER; IER has four bits', () => {
  const { uart, sent } = create();
  uart.write(LCR, 0x83);
  uart.write(RBR, 0x34);
  uart.write(IER, 0x12);
  expect([uart.read(RBR), uart.read(IER)]).toEqual([0x34, 0x12]);
  uart.write(LCR, 0x03);
  expect(sent).toEqual([]);
  uart.write(IER, 0xff);
  expect(uart.read(IER)).toBe(0x0f);
  uart.write(SCR, 0xa5);
  expect(uart.read(SCR)).toBe(0xa5);
});

test('FCR without its enable bit turns the FIFOs off and empties them', () => {
  const { uart } = create();
  uart.write(IIR, 0x01);
  uart.receive(1);
  uart.write(IIR, 0xc6);
  expect(uart.read(IIR)).toBe(0x01);
  expect(uart.read(LSR) & 1).toBe(0);
});
