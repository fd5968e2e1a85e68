// From a command line to a machine, and the machine as a session and its monitor see it.

import { ACCESS_READ, PageWalk } from '../cpu/page-walk.ts';
import type { FirmwareConfig } from '../machine/firmware.ts';
import { Machine } from '../machine/machine.ts';
import { openAccelerator } from './accelerators.ts';
import { openDrives, openMedium } from './block/open-drives.ts';
import type { BootConfig } from './boot-options.ts';
import { writePicture } from './display/picture.ts';
import { type FlashFile, openFlash } from './flash-file.ts';
import type { MonitorTarget } from './monitor.ts';
import { jitOf } from './monitor-jit.ts';
import { slotsOf } from './monitor-slots.ts';
import { nodeHost } from './node-host.ts';
import type { RunConfig } from './run-options.ts';
import type { SessionMachine } from './session.ts';
import { MachineStore, type OnFraction } from './snapshot/machine-store.ts';

/** Images of firmware. */
export interface FirmwareImages {
  readonly bios?: Uint8Array;
  readonly vgaBIOS?: Uint8Array;
}

/** What a machine boots, in memory. */
export interface BootFiles {
  readonly firmware?: FirmwareImages;
  readonly kernel?: Uint8Array;
  readonly initrd?: Uint8Array;
}

const CR0_PG = 0x8000_0000;

function monitorTarget(
  machine: Machine,
  config: RunConfig,
  snapshots: MachineStore,
  onWarning: (message: string) => void,
  quit: () => void,
): MonitorTarget {
  const { memory, addressSpace, ports } = machine;
  const walker = new PageWalk(machine.cpuState, addressSpace);
  const walk = (linear: number): number => {
    // Only whoever asks for the state gets that of now.
    void machine.cpuState;
    return walker.walk(linear, ACCESS_READ, false, true);
  };
  return {
    memory: addressSpace,
    ports,
    get state() {
      return machine.cpuState;
    },
    ramList: memory.ramList,
    tlb: memory.tlb,
    dirty: memory.dirty,
    slots: slotsOf(machine.vcpu),
    jit: jitOf(machine.vcpu),
    get status() {
      return machine.state;
    },
    get isPaging() {
      return (machine.cpuState.cr0 & CR0_PG) !== 0;
    },
    translate: walk,
    rightsOf(linear) {
      if (walk(linear) < 0) return '';
      return `${walker.isUserPage ? 'u' : '-'}r${walker.isWritable ? 'w' : '-'}`;
    },
    typeKeys: (keys, holdMs) => machine.typeKeys(keys, holdMs),
    balloon: machine.pc.virtio.balloon,
    setBalloonTarget: (bytes) => machine.setBalloonTarget(bytes),
    saveScreen: (path) => writePicture(path, machine.screen.frame()),
    moveMouse: (dx, dy, dz, buttons) => machine.moveMouse(dx, dy, dz, buttons),
    get pci() {
      return machine.pc.chipset.bus.config.places;
    },
    powerDown: () => machine.pressPowerButton(),
    stop: () => void machine.pause(),
    cont: () => machine.start(),
    reset: () => machine.reset(),
    drives: machine.pc.storage.drives,
    openMedium: (drive, path) => {
      const media = drive.media === 'cdrom' ? 'cdrom' : 'disk';
      const isReadOnly = media === 'cdrom';
      return openMedium({ media, isReadOnly, isSnapshot: config.isSnapshot }, path, onWarning);
    },
    snapshots,
    quit,
  };
}

function withBoot(
  images: FirmwareImages,
  { order, hasMenu }: BootConfig,
  flash: FlashFile | undefined,
): FirmwareConfig {
  const config = { ...images, bootOrder: order, hasBootMenu: hasMenu };
  return flash === undefined ? config : { ...config, flash };
}

/** A machine for a session, which may go on from a snapshot before it starts. */
export interface OpenedMachine extends SessionMachine {
  /** @throws {SnapshotError} why it cannot; the machine must be closed then */
  loadSnapshot(tag: string, onFraction: OnFraction): Promise<void>;
}

/**
 * Creates the machine that `config` describes, with its guest loaded.
 * @throws {RangeError} if the host has not that much memory
 * @throws {BootError} if the kernel is broken or does not fit
 * @throws {KVMError} why there is no KVM, if nothing else may run it
 * @throws {Error} naming the image of a drive, if it cannot be opened or is in use
 */
export function openMachine(
  config: RunConfig,
  files: BootFiles,
  onWarning: (message: string) => void,
): OpenedMachine {
  const { firmware, ...rest } = files;
  const drives = openDrives(config.drives, onWarning);
  const { pflashPath } = config.firmware ?? {};
  const { instructionTiming } = config;
  let flash: FlashFile | undefined;
  let machine: Machine;
  try {
    if (pflashPath !== undefined) flash = openFlash(pflashPath, onWarning);
    machine = Machine.create({
      memoryBytes: config.memoryBytes,
      accelerator: openAccelerator(config.accelerator, onWarning),
      host: nodeHost,
      commandLine: config.append,
      drives,
      serialCount: config.serials.length,
      devices: config.devices,
      isBlank: config.snapshots.loadTag !== undefined,
      ...rest,
      ...(instructionTiming === undefined ? {} : { instructionTiming }),
      ...(firmware === undefined ? {} : { firmware: withBoot(firmware, config.boot, flash) }),
    });
  } catch (error) {
    for (const { medium } of drives) medium?.close();
    flash?.close();
    throw error;
  }
  const snapshots = new MachineStore(machine, config.snapshots.folder);
  return {
    monitorTarget: (quit) => monitorTarget(machine, config, snapshots, onWarning, quit),
    loadSnapshot: async (tag, onFraction) =>
      void (await snapshots.load(tag, onFraction, config.snapshots.isLazy, onWarning)),
    start(onSerial, onDebug, onEnd) {
      machine.onSerial = onSerial;
      machine.onDebug = onDebug;
      machine.onEnd = onEnd;
      machine.start();
    },
    sendSerial: (bytes, index) => machine.sendSerial(bytes, index),
    screen: machine.screen,
    typeKeys: (keys, holdMs) => machine.typeKeys(keys, holdMs),
    close() {
      machine.close();
      flash?.close();
      return snapshots.close();
    },
  };
}
