// The state of the floppy disk controller, all of it saved.

import { SECTOR_BYTES } from './block/block-device.ts';
import { TRACK_SECTORS_MAX } from './floppy-media.ts';
import * as fdc from './floppy-registers.ts';
import { defineState } from './saved-state.ts';

const DRIVE_COUNT = 4;
/** A track of the largest disk. */
export const FLOPPY_BUFFER_BYTES = TRACK_SECTORS_MAX * SECTOR_BYTES;

/** What the medium was asked for. */
export const IO_NONE = 0;
export const IO_READ = 1;
export const IO_WRITE = 2;

/** What a controller holds after power-on. */
export function powerOnState() {
  return {
    dor: 0,
    tapeDrive: 0,
    ccr: 0,
    phase: fdc.PHASE_COMMAND,
    /** Bytes of the command so far, and of the result that are still to be read. */
    command: [] as number[],
    result: [] as number[],
    /** ST0 values for SENSE INTERRUPT STATUS. */
    senses: [] as number[],
    isInterrupting: false,
    /** Cylinder that each drive's head is on, and what the controller takes it for. */
    tracks: [0, 0, 0, 0],
    isChanged: [1, 1, 1, 1],
    specify: [0, 0],
    configure: fdc.CONFIGURE_DEFAULT,
    precompensation: 0,
    perpendicular: 0,
    isLocked: false,
    /** Sector of the command that is next. */
    cylinder: 0,
    head: 0,
    sector: 0,
    buffer: new Uint8Array(FLOPPY_BUFFER_BYTES),
    transferBytes: 0,
    position: 0,
    isTerminal: false,
    /** The request to the medium that has not come back; asked again after a restore. */
    io: IO_NONE,
    ioSector: 0,
    ioBytes: 0,
  };
}

export type FloppyState = ReturnType<typeof powerOnState>;

export const FLOPPY_SCHEMA = defineState<FloppyState>('floppy', 1, {
  dor: { id: 1, type: 'u8', since: 1 },
  tapeDrive: { id: 2, type: 'u8', since: 1 },
  ccr: { id: 3, type: 'u8', since: 1 },
  phase: { id: 4, type: 'u8', since: 1 },
  command: { id: 5, type: 'u8', since: 1, maxLength: 9 },
  result: { id: 6, type: 'u8', since: 1, maxLength: 10 },
  senses: { id: 7, type: 'u8', since: 1, maxLength: 8 },
  isInterrupting: { id: 8, type: 'boolean', since: 1 },
  tracks: { id: 9, type: 'u8', since: 1, length: DRIVE_COUNT },
  isChanged: { id: 10, type: 'u8', since: 1, length: DRIVE_COUNT },
  specify: { id: 11, type: 'u8', since: 1, length: 2 },
  configure: { id: 12, type: 'u8', since: 1 },
  precompensation: { id: 13, type: 'u8', since: 1 },
  perpendicular: { id: 14, type: 'u8', since: 1 },
  isLocked: { id: 15, type: 'boolean', since: 1 },
  cylinder: { id: 16, type: 'u8', since: 1 },
  head: { id: 17, type: 'u8', since: 1 },
  sector: { id: 18, type: 'u8', since: 1 },
  buffer: { id: 19, type: 'u8', since: 1, maxLength: FLOPPY_BUFFER_BYTES },
  transferBytes: { id: 20, type: 'u16', since: 1 },
  position: { id: 21, type: 'u16', since: 1 },
  isTerminal: { id: 22, type: 'boolean', since: 1 },
  io: { id: 23, type: 'u8', since: 1 },
  ioSector: { id: 24, type: 'u32', since: 1 },
  ioBytes: { id: 25, type: 'u16', since: 1 },
});

/** Whether a state of the right fields is one that a controller can have. */
export function isFloppyStateSound(s: FloppyState): boolean {
  const operation = (s.command[0] ?? 0) & fdc.COMMAND_MASK;
  return (
    s.transferBytes <= FLOPPY_BUFFER_BYTES &&
    s.position <= s.transferBytes &&
    s.ioBytes <= FLOPPY_BUFFER_BYTES &&
    s.ioBytes % SECTOR_BYTES === 0 &&
    (s.phase !== fdc.PHASE_EXECUTION || s.command.length === fdc.COMMAND_BYTES.get(operation)) &&
    (s.phase === fdc.PHASE_EXECUTION || s.io === IO_NONE)
  );
}
