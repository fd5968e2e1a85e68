// What every virtio device has, whatever bus it is on: status, features, queues, and the two
// reasons to interrupt. VIRTIO Version 1.2, sections 2 "Basic Facilities of a Virtio Device" and 3
// "General Initialization And Device Operation".

import type { AddressSpace } from '../../memory/address-space.ts';
import { defineState, type Savable, type SavedSection, SavedStateError } from '../saved-state.ts';
import {
  FEATURE_EVENT_INDEX,
  FEATURE_HIGH_VERSION_1,
  FEATURE_INDIRECT,
  ISR_CONFIG,
  ISR_QUEUE,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  STATUS_NEEDS_RESET,
} from './virtio-registers.ts';
import { Virtqueue, type VirtqueueChain } from './virtqueue.ts';

const FEATURES_COMMON = FEATURE_INDIRECT | FEATURE_EVENT_INDEX;

/** What a type of device adds to what all have. */
export interface VirtioModel {
  /** Such as 2 for a block device. */
  readonly type: number;
  /** Feature bits 0–23 of its type, and ANY_LAYOUT. */
  readonly features: number;
  /** Most descriptors of each queue. */
  readonly queueSizes: readonly number[];
  /** Size of the device configuration, bytes. */
  readonly configBytes: number;
  /** Whatever else has state. */
  readonly savables: readonly Savable[];
  /** The device it is in. Called once. */
  attach(device: VirtioDevice): void;
  /** Byte `offset` of the device configuration, which exists. */
  readConfig(offset: number): number;
  writeConfig(offset: number, value: number): void;
  /** The driver says that queue `index` has something. */
  onNotify(index: number): void;
  reset(): void;
  /** Everything is as it was saved: go on with the chains that are in flight. */
  onRestored(): void;
}

function powerOnState() {
  return {
    status: 0,
    isr: 0,
    configGeneration: 0,
    /** What the driver asks for: features 0–31 and 32–63. */
    driverFeatures: [0, 0],
    deviceFeaturesSelect: 0,
    driverFeaturesSelect: 0,
    queueSelect: 0,
  };
}

type VirtioState = ReturnType<typeof powerOnState>;

export class VirtioDevice implements Savable {
  readonly name: string;
  readonly model: VirtioModel;
  readonly queues: readonly Virtqueue[];
  readonly space: AddressSpace;
  /** Features 0–31 and 32–63 that it offers. */
  readonly deviceFeatures: readonly [number, number];
  readonly #schema;
  // Wiring, set once by the transport.
  /** The ISR changed: the interrupt line follows it. */
  onInterrupt: () => void = () => {};
  /** Whether the bus lets it reach memory. */
  isBusMaster: () => boolean = () => true;
  /** Why it needs a reset, for people; the last reason. Not part of the machine's state. */
  brokenReason: string | undefined;
  // State, all of it saved.
  readonly state: VirtioState = powerOnState();

  /** @param name its name in a saved state, such as `virtio-blk/virtio0` */
  constructor(name: string, model: VirtioModel, space: AddressSpace) {
    this.name = name;
    this.model = model;
    this.space = space;
    this.deviceFeatures = [(model.features | FEATURES_COMMON) >>> 0, FEATURE_HIGH_VERSION_1];
    const u8 = (id: number) => ({ id, type: 'u8', since: 1 }) as const;
    const u32 = (id: number) => ({ id, type: 'u32', since: 1 }) as const;
    this.#schema = defineState<VirtioState>(name, 1, {
      status: u8(1),
      isr: u8(2),
      configGeneration: u8(3),
      driverFeatures: { ...u32(4), length: 2 },
      deviceFeaturesSelect: u32(5),
      driverFeaturesSelect: u32(6),
      queueSelect: { id: 7, type: 'u16', since: 1 },
    });
    this.queues = model.queueSizes.map(
      (size, index) =>
        new Virtqueue(`${name}/queue${index}`, size, {
          space,
          features: () => this.state.driverFeatures[0]!,
          mayTake: () => this.#mayTake,
          onBroken: (reason) => this.break(`queue ${index}: ${reason}`),
        }),
    );
    model.attach(this);
  }

  get schema() {
    return this.#schema;
  }

  /**
   * In the order in which they must be restored; call {@link VirtioDevice.onRestored} at the end.
   */
  get savables(): readonly Savable[] {
    return [this, ...this.queues, ...this.model.savables];
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    const next = powerOnState();
    this.#schema.restore(section, next);
    const [low, high] = next.driverFeatures as [number, number];
    if (low & ~this.deviceFeatures[0] || high & ~this.deviceFeatures[1])
      throw new SavedStateError('BAD_FIELD', section.name, 'features must be offered here');
    Object.assign(this.state, next);
    this.brokenReason = undefined;
    this.onInterrupt();
  }

  /** What the machine restored is whole: requests that were in flight are begun again. */
  onRestored(): void {
    if (!this.isBroken) this.model.onRestored();
  }

  reset(): void {
    Object.assign(this.state, powerOnState());
    this.brokenReason = undefined;
    for (const queue of this.queues) queue.reset();
    this.model.reset();
    this.onInterrupt();
  }

  /** Whether the driver is one of version 1 and not a legacy one. */
  get isModern(): boolean {
    return (this.state.driverFeatures[1]! & FEATURE_HIGH_VERSION_1) !== 0;
  }

  /** Whether it does nothing more until the driver resets it. */
  get isBroken(): boolean {
    return (this.state.status & STATUS_NEEDS_RESET) !== 0;
  }

  /** Whether the driver took feature bit 0–31 of `mask`. */
  hasFeature(mask: number): boolean {
    return (this.state.driverFeatures[0]! & mask) !== 0;
  }

  /** Word 0 or 1 of the driver's choice; what is not offered stays off. */
  setDriverFeatures(word: number, value: number): void {
    const s = this.state;
    if (word > 1 || s.status & STATUS_FEATURES_OK) return;
    s.driverFeatures[word] = (value & this.deviceFeatures[word]!) >>> 0;
  }

  /** A write of the status register; 0 resets. */
  setStatus(value: number): void {
    const s = this.state;
    if (value === 0) {
      this.reset();
      return;
    }
    let next = (value & 0xff & ~STATUS_NEEDS_RESET) | (s.status & STATUS_NEEDS_RESET);
    // Section 3.1.1: the driver reads back whether its choice is good.
    const isChoice = (next & ~s.status & STATUS_FEATURES_OK) !== 0;
    if (isChoice && !this.isModern) next &= ~STATUS_FEATURES_OK;
    const isStart = (next & ~s.status & STATUS_DRIVER_OK) !== 0;
    s.status = next;
    if (isStart) this.notifyAll();
  }

  /** The driver says that a queue has something; one that is not there is ignored. */
  notify(index: number): void {
    if (this.queues[index]?.state.isReady && this.#mayTake) this.model.onNotify(index);
  }

  /** Looks into all queues: when the driver or the bus begins to allow it. */
  notifyAll(): void {
    for (const index of this.queues.keys()) this.notify(index);
  }

  /**
   * Gives a chain of queue `index` back, of whose writable buffers the first `writtenBytes` were
   * written, and interrupts if the driver wants that. A broken device gives nothing back.
   */
  complete(index: number, chain: VirtqueueChain, writtenBytes: number): void {
    const queue = this.queues[index]!;
    if (this.isBroken) return;
    queue.push(chain.head, writtenBytes);
    if (queue.takeSignal()) this.#interrupt(ISR_QUEUE);
  }

  /**
   * Takes chains of queue `index` and hands each to `onChain`, no more than the queue has entries:
   * a driver that has the device write its own ring cannot keep it busy for ever.
   */
  drain(index: number, onChain: (chain: VirtqueueChain) => void): void {
    const queue = this.queues[index]!;
    for (let left = queue.state.size; left > 0; left--) {
      const chain = queue.pop();
      if (chain === undefined) return;
      onChain(chain);
    }
  }

  /** The chains of queue `index` that were taken and not given back, oldest first. */
  chainsInFlight(index: number): VirtqueueChain[] {
    const queue = this.queues[index]!;
    const chains: VirtqueueChain[] = [];
    for (const head of queue.state.inFlight) {
      const chain = queue.readChain(head);
      if (chain === undefined) break; // Broken, which is said by now.
      chains.push(chain);
    }
    return chains;
  }

  /** The device configuration changed by itself. */
  noteConfigChange(): void {
    const s = this.state;
    s.configGeneration = (s.configGeneration + 1) & 0xff;
    if (s.status & STATUS_DRIVER_OK) this.#interrupt(ISR_CONFIG);
  }

  /** The driver broke the rules: it is asked for a reset (section 2.1.1). */
  break(reason: string): void {
    this.brokenReason = reason;
    if (this.isBroken) return;
    this.state.status |= STATUS_NEEDS_RESET;
    if (this.state.status & STATUS_DRIVER_OK) this.#interrupt(ISR_CONFIG);
  }

  /** The ISR, which a read clears (section 4.1.4.5). */
  takeISR(): number {
    const { isr } = this.state;
    this.state.isr = 0;
    this.onInterrupt();
    return isr;
  }

  /** Legacy drivers may use queues before they say that they are ready (section 3.1.2). */
  get #mayTake(): boolean {
    const isStarted = !this.isModern || (this.state.status & STATUS_DRIVER_OK) !== 0;
    return isStarted && !this.isBroken && this.isBusMaster();
  }

  #interrupt(bit: number): void {
    this.state.isr |= bit;
    this.onInterrupt();
  }
}
