// Ports that only people look at: POST codes (0x80), and the debug consoles 0xe9 (Bochs; reads as
// 0xe9) and 0x402 (SeaBIOS; reads as 0xe9 as well). Bochs user manual, "port_e9_hack"; SeaBIOS
// documentation, "Debugging".

const PRESENT = 0xe9;

export class DebugConsole {
  // Wiring, set once by the machine.
  onByte: (value: number) => void = () => {};

  read(): number {
    return PRESENT;
  }

  write(value: number): void {
    this.onByte(value & 0xff);
  }
}
