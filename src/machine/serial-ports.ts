// Where the serial ports of a PC are: IBM PC AT Technical Reference, "Serial/Parallel Adapter".

/** COM1 to COM4. */
export const SERIAL_PORTS = [
  { port: 0x3f8, irq: 4 },
  { port: 0x2f8, irq: 3 },
  { port: 0x3e8, irq: 4 },
  { port: 0x2e8, irq: 3 },
] as const;
export const SERIAL_COUNT_MAX = SERIAL_PORTS.length;
