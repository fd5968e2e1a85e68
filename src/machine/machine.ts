// A machine: a PC, its processor and its time, and the loop that runs them.
//
//   created → running ⇄ paused → closed
//
// The loop gives the processor a slice, then fires timers, then lets the host's other work run.
// While the processor is halted it sleeps until the next timer or an input.

import type { CPUState } from '../cpu/state.ts';
import type { VCPU } from '../cpu/vcpu.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import { transaction } from '../memory/transaction.ts';
import { BootError, type BootImage, enterProtectedMode } from './boot/boot-target.ts';
import { firmwareSegments } from './boot/firmware-tables.ts';
import { loadImage } from './boot/load-image.ts';
import type { MachineClock } from './clock.ts';
import { firmwareExtraBytes } from './firmware.ts';
import type { Host, HostSleep } from './host.ts';
import { KeyTypist } from './key-typist.ts';
import { createMachineMemory, type PCMemory } from './machine-memory.ts';
import type {
  MachineEnd,
  MachineOptions,
  MachinePending,
  MachineState,
} from './machine-options.ts';
import { PC } from './pc.ts';
import { RunPace } from './run-pace.ts';
import type { Screen } from './screen.ts';
import { SerialStream } from './serial-stream.ts';

export type { MachineEnd, MachineOptions, MachinePending, MachineState };

/** The host's other work gets its turn at least so often, ms. */
const YIELD_MS = 8;
/** Whoever looks at the screen is told of changes no more often, ms. */
const SCREEN_MS = 33;
/** Longest sleep, ms: what a host's timers take. */
const SLEEP_MS_MAX = 60_000;
/** As long as QEMU's `sendkey`. */
const KEY_HOLD_MS = 100;
const ZERO_CHUNK_BYTES = 1 << 20;

/**
 * A PC with its processor, memory and devices: created, started, paused and started again, closed.
 *
 * It runs in slices between which the host's other work has its turn; virtual time stands still
 * while it is paused. A guest's disaster ends the run with a `MachineEnd`, never with an exception.
 */
export class Machine {
  readonly memory: PCMemory;
  readonly addressSpace: AddressSpace;
  readonly ports: AddressSpace;
  readonly pc: PC;
  readonly vcpu: VCPU;
  readonly clock: MachineClock;
  readonly memoryBytes: number;
  /**
   * Bytes that the guest sent on serial port `index`, 0 for COM1; the array is the receiver's to
   * keep.
   */
  onSerial: (bytes: Uint8Array, index: number) => void = () => {};
  /** Bytes written to the debug ports 0xe9 and 0x402. */
  onDebug: (value: number) => void = () => {};
  onReset: () => void = () => {};
  /** The machine stopped by itself; it is paused then. */
  onEnd: (end: MachineEnd) => void = () => {};

  readonly #options: MachineOptions;
  readonly #host: Host;
  readonly #image: BootImage | undefined;
  readonly #pace: RunPace;
  readonly #typist: KeyTypist;
  #state: MachineState = 'created';
  #end: MachineEnd | undefined;
  #loop: Promise<void> | undefined;
  #sleep: HostSleep | undefined;
  #isInSlice = false;
  #isResetWanted = false;
  #isPowerOffWanted = false;
  readonly #serials: readonly SerialStream[];
  /** Settled once whoever holds the machine still lets go. */
  #hold: Promise<void> | undefined;
  #isBlank: boolean;
  /** When the screen was last looked at, host ms. */
  #shownMs = Number.NEGATIVE_INFINITY;

  /**
   * A machine in state `created`, with its guest loaded.
   * @throws {RangeError} if the memory size is impossible or the host has not that much
   * @throws {BootError} if the guest's images are broken or do not fit
   */
  static create(options: MachineOptions): Machine {
    return new Machine(options);
  }

  private constructor(options: MachineOptions) {
    const { accelerator, host, memoryBytes } = options;
    this.#options = options;
    this.#host = host;
    this.memoryBytes = memoryBytes;
    const { firmware } = options;
    if (firmware !== undefined && options.kernel !== undefined)
      throw new BootError('kernel', 'a machine has firmware or a kernel, not both');
    this.memory = createMachineMemory({
      memoryBytes,
      reservedBytes: accelerator.reservedBytes,
      extraBytes: firmware === undefined ? 0 : firmwareExtraBytes(firmware),
      ...(accelerator.createRAM === undefined
        ? {}
        : { createRAM: (capacityBytes) => accelerator.createRAM!(capacityBytes) }),
    });
    // Before the processor is made: a broken image costs no more than a message.
    // Whoever gives the guest the host's randomness wants it to have some from the start.
    const source = options.devices?.find((device) => 'fillRandom' in device);
    const seeded = source === undefined ? options : { ...options, fillRandom: source.fillRandom };
    this.#image = options.kernel === undefined ? undefined : loadImage(seeded, options.kernel);
    this.addressSpace = this.memory.guest.addressSpace;
    const executed = () => this.vcpu?.instructionCount ?? 0;
    this.#pace = new RunPace(host, options.instructionTiming, executed);
    this.clock = this.#pace.clock;
    this.clock.onEarlier = () => {
      const isSooner = this.clock.nextDeadlineNs < this.#pace.sliceEndNs;
      if (this.#isInSlice && isSooner) this.vcpu.requestStop();
    };
    this.#serials = Array.from(
      { length: options.serialCount ?? 1 },
      (_, index) =>
        new SerialStream(
          () => this.pc.serials[index]!,
          (bytes) => this.onSerial(bytes, index),
        ),
    );
    // The map is rendered once, not after each chip.
    this.pc = transaction(() => this.#createPC());
    this.ports = this.pc.ports;
    this.#typist = new KeyTypist(this.clock, (bytes) => this.pc.keyboard.sendKeys(bytes));
    this.vcpu = accelerator.createVCPU(
      {
        memory: this.addressSpace,
        ports: this.ports,
        interrupts: this.pc,
        readTSC: () => this.clock.tsc(),
        readAPICBase: () => this.pc.apic.readBase(),
        writeAPICBase: (value) => this.pc.apic.writeBase(value),
        readTPR: () => this.pc.apic.readTaskPriority(),
        writeTPR: (value) => this.pc.apic.writeTaskPriority(value),
      },
      this.memory,
    );
    this.#isBlank = options.isBlank === true;
    if (this.#isBlank) this.vcpu.synchronize();
    else this.#powerOn();
  }

  get state(): MachineState {
    return this.#state;
  }

  /** What the display shows. */
  get screen(): Screen {
    return this.pc.display.screen;
  }

  /** Why it stopped by itself, until it is reset. */
  get end(): MachineEnd | undefined {
    return this.#end;
  }

  /** Registers; meaningful while paused or between two slices. */
  get cpuState(): CPUState {
    return this.vcpu.state;
  }

  /**
   * Begins to run, or goes on after a pause. Does nothing while it runs.
   * @throws {TypeError} if it is closed, or ended and was not reset since
   */
  start(): void {
    if (this.#state === 'running') return;
    this.#checkOpen('start');
    if (this.#end !== undefined)
      throw new TypeError(
        `Cannot start machine as it must be reset after it ended: it ended by ${this.#end.kind}`,
      );
    this.#isBlank = false;
    this.#state = 'running';
    if (this.#hold === undefined) this.clock.start();
    const previous = this.#loop ?? Promise.resolve();
    this.#loop = previous.then(() => this.#run());
  }

  /** Stands still; resolves when no guest instruction runs any more. */
  async pause(): Promise<void> {
    if (this.#state === 'running') {
      this.#state = 'paused';
      this.clock.stop();
      this.vcpu.requestStop();
    }
    this.#wake();
    await this.#loop;
  }

  /** Runs until the machine ends by itself or is paused or closed; the end, if there is one. */
  async run(): Promise<MachineEnd | undefined> {
    this.start();
    while (this.#state === 'running') await this.#loop;
    return this.#end;
  }

  /** Power-on state of all chips and the processor, and the guest loaded anew. */
  reset(): void {
    this.#checkOpen('reset');
    this.#end = undefined;
    if (this.#state === 'running') {
      this.#isResetWanted = true;
      this.vcpu.requestStop();
      this.#wake();
    } else {
      this.#reset();
    }
  }

  /** Presses the power button; an operating system that listens shuts down. */
  pressPowerButton(): void {
    this.#checkOpen('press the power button of');
    this.pc.chipset.acpi.pressPowerButton();
    this.#wake();
  }

  /**
   * Asks the guest to have `bytes` of its RAM left; its balloon driver does that when it can.
   * @throws {RangeError} if the machine has no balloon
   */
  setBalloonTarget(bytes: number): void {
    this.#checkOpen('set the balloon of');
    const { balloon } = this.pc.virtio;
    if (balloon === undefined)
      throw new RangeError('Cannot set balloon as the machine must have one: it has none');
    balloon.setTargetBytes(bytes);
    this.#wake();
  }

  /** Stops for ever. The loop ends soon after. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.clock.stop();
    this.vcpu.requestStop();
    this.vcpu.close?.();
    this.pc.storage.close();
    this.#wake();
  }

  /**
   * Sends bytes to a serial port of the guest, as fast as it takes them.
   * @returns how many were taken: fewer if 1 MiB waits already
   * @throws {RangeError} if the machine has no serial port `index`
   */
  sendSerial(bytes: Uint8Array, index = 0): number {
    const stream = this.#serials[index];
    if (stream === undefined)
      throw new RangeError(
        `Cannot send to serial port ${index} as there are ${this.#serials.length}`,
      );
    const count = stream.send(bytes);
    this.#wake();
    return count;
  }

  /**
   * Types a chord, such as `['ctrl', 'alt', 'delete']`, in QEMU's names of keys, after all that was
   * typed before.
   * @param holdMs how long it is held, ms of virtual time
   * @returns false if too much waits already
   * @throws {RangeError} if a key does not exist, or the time is not 0 to 60000 ms
   */
  typeKeys(keys: readonly string[], holdMs = KEY_HOLD_MS): boolean {
    const hasRoom = this.#typist.type(keys, holdMs);
    this.#wake();
    return hasRoom;
  }

  /**
   * Runs `work` between two instructions, with virtual time standing still: for those who save and
   * restore state. Others who ask wait for their turn. The machine's `state` does not change.
   * @throws {TypeError} if it is closed; whatever `work` throws
   */
  async standStill<T>(work: () => T | Promise<T>): Promise<T> {
    while (this.#hold !== undefined) await this.#hold;
    this.#checkOpen('hold');
    let release = (): void => {};
    this.#hold = new Promise((resolve) => {
      release = resolve;
    });
    try {
      // A caller may be inside a slice; nobody who was waited for is.
      await undefined;
      this.clock.stop();
      // What was due has happened: a chip whose state is restored must not guess.
      this.clock.fireDue();
      this.#flushSerial();
      return await work();
    } finally {
      this.#hold = undefined;
      if (this.#state === 'running') this.clock.start();
      release();
      this.#wake();
    }
  }

  /** Lets the guest and the host's other work run on. */
  giveTurn(): Promise<void> {
    return this.#host.yield();
  }

  /** Whether guest RAM is all zeros still: it was made blank, and nothing has happened since. */
  get isBlank(): boolean {
    return this.#isBlank;
  }

  /**
   * What the machine is made of, as plain data: two machines of equal ones take each other's state.
   */
  get configuration(): Readonly<Record<string, unknown>> {
    const { drives = [], devices = [], serialCount = 1, firmware } = this.#options;
    return {
      version: 1,
      memoryBytes: this.memoryBytes,
      serialCount,
      hasFirmware: firmware !== undefined,
      drives: drives.map(({ interface: bus, media, index, medium }) => ({
        interface: bus,
        media,
        index,
        // A drive that takes other media may hold another one by now.
        ...(bus === 'floppy' || media === 'cdrom' ? {} : { sizeBytes: medium?.sizeBytes ?? 0 }),
      })),
      devices: devices.map(({ kind }) => kind),
    };
  }

  /** What is pending in the machine itself. Call it inside `standStill`. */
  savePending(): MachinePending {
    const end = this.#end;
    if (end?.kind === 'failure')
      throw new TypeError('Cannot save machine as it must not have failed: its state is not sound');
    return {
      isResetWanted: this.#isResetWanted,
      isPowerOffWanted: this.#isPowerOffWanted,
      end,
      serialInput: this.#serials.map((stream) => stream.save()),
      typist: this.#typist.save(),
    };
  }

  /**
   * Restores what is pending, after everything else was restored. A machine that runs is paused if
   * its state is that of one that ended.
   * @throws {RangeError} if it is not this machine's; nothing has changed then
   */
  restorePending(pending: MachinePending): void {
    if (pending.serialInput.length !== this.#serials.length)
      throw new RangeError(
        `Cannot restore machine as it must have ${pending.serialInput.length} serial ports: ` +
          `it has ${this.#serials.length}`,
      );
    this.#isBlank = false;
    this.#typist.restore(pending.typist);
    for (const [index, stream] of this.#serials.entries())
      stream.restore(pending.serialInput[index]!);
    this.#isResetWanted = pending.isResetWanted;
    this.#isPowerOffWanted = pending.isPowerOffWanted;
    this.#end = pending.end;
    if (pending.end !== undefined && this.#state === 'running') this.#state = 'paused';
    this.screen.notify();
  }

  /**
   * Moves the mouse, right and down, turns its wheel down, and sets which buttons are pressed:
   * 1 left, 2 right, 4 middle.
   */
  moveMouse(dx: number, dy: number, dz = 0, buttons = 0): void {
    this.pc.keyboard.moveMouse(dx, dy, dz, buttons);
    this.#wake();
  }

  #createPC(): PC {
    return new PC({
      memory: this.memory,
      memoryBytes: this.memoryBytes,
      clock: this.clock,
      epochMs: this.#host.epochMs(),
      drives: this.#options.drives ?? [],
      devices: this.#options.devices ?? [],
      ...(this.#options.firmware === undefined ? {} : { firmware: this.#options.firmware }),
      serialCount: this.#options.serialCount ?? 1,
      events: {
        // The chips come to life before the processor does.
        onInterrupt: () => (this.vcpu as VCPU | undefined)?.requestEvent(),
        onNMI: () => (this.vcpu as VCPU | undefined)?.raiseNMI(),
        onA20: (isEnabled) => (this.vcpu as VCPU | undefined)?.setA20(isEnabled),
        onReset: () => {
          this.#isResetWanted = true;
          this.vcpu.requestStop();
        },
        onPowerOff: () => {
          this.#isPowerOffWanted = true;
          this.vcpu.requestStop();
        },
        onSerialByte: (value, index) => this.#serials[index]!.put(value),
        onSerialRoom: (index) => {
          if ((this.pc as PC | undefined) !== undefined) this.#serials[index]!.feed();
        },
        onDebugByte: (value) => this.onDebug(value),
        // The host works on it while the guest is not running, so the slice should be short.
        onDriveRequest: () => {
          if (this.#isInSlice) this.vcpu.requestStop();
        },
        onDriveEnd: () => this.#wake(),
      },
    });
  }

  /** Processor and memory as a boot loader leaves them. */
  #powerOn(): void {
    this.#isBlank = false;
    this.vcpu.reset();
    this.vcpu.setA20(this.pc.isA20Enabled);
    if (this.#options.firmware === undefined)
      for (const segment of firmwareSegments(this.pc.board))
        this.addressSpace.loadBytes(segment.gpa, segment.bytes);
    if (this.#image !== undefined) {
      for (const { gpa, bytes, zeroBytes } of this.#image.segments) {
        this.addressSpace.loadBytes(gpa, bytes);
        this.#zero(gpa + bytes.length, zeroBytes ?? 0);
      }
      enterProtectedMode(this.vcpu.state, this.#image.entry);
    }
    this.vcpu.synchronize();
  }

  #zero(gpa: number, sizeBytes: number): void {
    const zeros = new Uint8Array(Math.min(sizeBytes, ZERO_CHUNK_BYTES));
    for (let done = 0; done < sizeBytes; done += zeros.length)
      this.addressSpace.loadBytes(gpa + done, zeros.subarray(0, sizeBytes - done));
  }

  #reset(): void {
    this.pc.reset();
    this.#powerOn();
    this.onReset();
  }

  #checkOpen(action: string): void {
    if (this.#state === 'closed')
      throw new TypeError(`Cannot ${action} machine as it must not be closed: it is`);
  }

  #wake(): void {
    this.#sleep?.wake();
  }

  async #run(): Promise<void> {
    let yieldedMs = this.#host.nowMs();
    try {
      while (this.#state === 'running') {
        if (this.#hold !== undefined) {
          await this.#hold;
          continue;
        }
        const isHalted = this.#runSlice();
        this.#flushSerial();
        this.#showScreen();
        if (this.#state !== 'running') return;
        if (isHalted) {
          await this.#idle();
          yieldedMs = this.#host.nowMs();
        } else if (this.#isHostWanted || this.#host.nowMs() - yieldedMs >= YIELD_MS) {
          await this.#host.yield();
          yieldedMs = this.#host.nowMs();
        }
      }
    } catch (error) {
      this.#finish({ kind: 'failure', error });
    }
  }

  /** Whether something of the host's is under way that ends in a turn of its event loop. */
  get #isHostWanted(): boolean {
    return this.pc.storage.isBusy || this.vcpu.isWaitingForHost === true;
  }

  /** One slice and what it asked for; whether the processor is halted. */
  #runSlice(): boolean {
    this.clock.fireDue();
    const budget = this.#pace.beginSlice();
    const before = this.vcpu.instructionCount;
    this.#isInSlice = true;
    const exit = this.vcpu.run(budget, this.#pace.sliceNs);
    this.#isInSlice = false;
    this.#pace.endSlice(this.vcpu.instructionCount - before);
    if (this.#isPowerOffWanted) {
      this.#isPowerOffWanted = false;
      this.#finish({ kind: 'power-off' });
      return false;
    }
    if (this.#isResetWanted) {
      this.#takeReset();
      return false;
    }
    if (exit.kind === 'shutdown') {
      if (this.#options.onTripleFault === 'reset') this.#takeReset();
      else this.#finish({ kind: 'disaster', reason: exit.reason, report: exit.report });
      return false;
    }
    return exit.kind === 'halted';
  }

  #takeReset(): void {
    this.#isResetWanted = false;
    if (this.#options.onGuestReset === 'stop') this.#finish({ kind: 'reset' });
    else this.#reset();
  }

  /** Waits for the next timer or an input. */
  async #idle(): Promise<void> {
    const startMs = this.#host.nowMs();
    const waitMs = this.#pace.idleMs();
    const longestMs = this.screen.onChange === undefined ? SLEEP_MS_MAX : SCREEN_MS;
    if (waitMs === 0) await this.#host.yield();
    else {
      this.#sleep = this.#host.sleep(Math.min(longestMs, waitMs));
      await this.#sleep.done;
      this.#sleep = undefined;
    }
    const elapsedMs = this.#host.nowMs() - startMs;
    this.#pace.idled(elapsedMs, elapsedMs < waitMs);
  }

  #finish(end: MachineEnd): void {
    if (this.#state === 'closed') return;
    this.#state = 'paused';
    this.clock.stop();
    this.#flushSerial();
    this.screen.notify();
    this.#end = end;
    this.onEnd(end);
  }

  /** Tells whoever looks at the screen, if it is time. */
  #showScreen(): void {
    if (this.screen.onChange === undefined) return;
    const nowMs = this.#host.nowMs();
    if (nowMs - this.#shownMs < SCREEN_MS) return;
    this.#shownMs = nowMs;
    this.screen.notify();
  }

  #flushSerial(): void {
    for (const stream of this.#serials) stream.flush();
  }
}
