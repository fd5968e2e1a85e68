// The few packets of the GDB remote protocol that lockstep needs: break, continue, monitor
// commands. GDB manual, appendix "GDB Remote Serial Protocol", sections "Overview" and "Packets".

import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const CONNECT_ATTEMPTS = 100;
const CONNECT_PAUSE_MS = 50;

export class GDBClient {
  readonly #socket: Socket;
  #buffer = '';
  #wake: () => void = () => {};
  #isClosed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      this.#buffer += chunk.toString('latin1');
      this.#wake();
    });
    socket.on('close', () => {
      this.#isClosed = true;
      this.#wake();
    });
    socket.on('error', () => {});
  }

  /** Connects to a stub on the loopback interface, waiting some seconds for it to come up. */
  static async connect(port: number): Promise<GDBClient> {
    for (let attempt = 1; ; attempt++) {
      const socket = connect(port, '127.0.0.1');
      const isOpen = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true));
        socket.once('error', () => resolve(false));
      });
      if (isOpen) return new GDBClient(socket.setNoDelay(true));
      if (attempt === CONNECT_ATTEMPTS)
        throw new Error(`QEMU's gdbstub does not answer on port ${port}`);
      await sleep(CONNECT_PAUSE_MS);
    }
  }

  send(payload: string): void {
    let sum = 0;
    for (const char of payload) sum = (sum + char.charCodeAt(0)) & 0xff;
    this.#socket.write(`$${payload}#${sum.toString(16).padStart(2, '0')}`);
  }

  /** The next packet from the stub. */
  async receive(): Promise<string> {
    for (;;) {
      const match = /^[+-]*\$([^#]*)#[0-9a-f]{2}/.exec(this.#buffer);
      if (match) {
        this.#buffer = this.#buffer.slice(match[0].length);
        this.#socket.write('+');
        return match[1]!;
      }
      if (this.#isClosed) throw new Error('QEMU closed the gdbstub connection');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async ask(payload: string): Promise<string> {
    this.send(payload);
    return this.receive();
  }

  /** Runs a monitor command and returns what it prints. */
  async monitor(command: string): Promise<string> {
    this.send(`qRcmd,${Buffer.from(command).toString('hex')}`);
    let text = '';
    for (;;) {
      const reply = await this.receive();
      if (reply === 'OK') return text;
      if (reply.startsWith('E')) throw new Error(`QEMU refuses monitor command "${command}"`);
      text += Buffer.from(reply.startsWith('O') ? reply.slice(1) : reply, 'hex').toString('latin1');
    }
  }

  /** Continues until a breakpoint at linear address `address` has been hit `hits` times. */
  async runTo(address: number, hits: number): Promise<void> {
    const place = `${address.toString(16)},1`;
    const set = await this.ask(`Z1,${place}`);
    if (set !== 'OK')
      throw new Error(`QEMU refuses a breakpoint at 0x${address.toString(16)}: ${set}`);
    for (let i = 0; i < hits; i++) {
      const stop = await this.ask('c');
      if (!/^[TS]05/.test(stop)) throw new Error(`QEMU stopped for another reason: ${stop}`);
    }
    await this.ask(`z1,${place}`);
  }

  close(): void {
    this.#socket.destroy();
  }
}
