import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import type { MachineEnd } from '../machine/machine.ts';
import { EXIT_ERROR, EXIT_GUEST_DISASTER, EXIT_OK, EXIT_TIMEOUT } from './exit-code.ts';
import type { MonitorTarget } from './monitor.ts';
import { parseRunConfig } from './run-options.ts';
import { runSession, type SessionMachine } from './session.ts';

/** A machine that says and does what the test wants. */
class FakeMachine implements SessionMachine {
  say: (text: string, index?: number) => void = () => {};
  log: (text: string) => void = () => {};
  end: (end: MachineEnd) => void = () => {};
  typed = '';
  isClosed = false;
  lines: string[] = [];
  chords: string[] = [];
  readonly screen: SessionMachine['screen'] = {
    onChange: undefined,
    text: () => this.lines,
    textScreen: () => undefined,
    frame: () => ({ width: 2, height: 2, rgba: new Uint8ClampedArray(16).fill(0x40) }),
  };

  typeKeys(keys: readonly string[]): boolean {
    this.chords.push(keys.join('-'));
    return true;
  }
  monitorTarget(quit: () => void): MonitorTarget {
    return { status: 'running', quit } as unknown as MonitorTarget;
  }
  start(
    onSerial: (bytes: Uint8Array, index: number) => void,
    onDebug: (value: number) => void,
    onEnd: (end: MachineEnd) => void,
  ): void {
    this.say = (text, index = 0) => onSerial(Buffer.from(text), index);
    this.log = (text) => [...Buffer.from(text)].forEach(onDebug);
    this.end = onEnd;
  }
  room = Number.POSITIVE_INFINITY;
  sendSerial(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, this.room);
    this.typed += Buffer.from(taken).toString();
    return taken.length;
  }
  async close(): Promise<void> {
    expect(this.isClosed).toBe(false);
    this.isClosed = true;
  }
}

interface Session {
  readonly machine: FakeMachine;
  readonly code: Promise<number>;
  /** Types, and waits until it has arrived. */
  type(text: string): Promise<void>;
  /** The guest's text screen is this from now on. */
  show(text: string): void;
  output(): string;
  errors(): string;
}

function start(...options: string[]): Session {
  const machine = new FakeMachine();
  const input = new PassThrough();
  const output = new PassThrough();
  let [shown, errors] = ['', ''];
  output.on('data', (data: Buffer) => {
    shown += data.toString();
  });
  const code = runSession(machine, parseRunConfig(['--kernel', 'k', ...options]), {
    input: input as unknown as NodeJS.ReadStream,
    output: output as unknown as NodeJS.WriteStream,
    err: {
      write(text) {
        errors += text;
      },
    },
  });
  return {
    machine,
    code,
    show(text) {
      machine.lines = text.split('\n');
      machine.screen.onChange?.();
    },
    async type(text) {
      input.write(text);
      await new Promise((resolve) => setTimeout(resolve, 10));
    },
    output: () => shown,
    errors: () => errors,
  };
}

test('typed text reaches the guest, what it says is shown, and power-off ends with 0', async () => {
  const session = start();
  await session.type('ls\r');
  session.machine.say('login: ');
  session.machine.end({ kind: 'power-off' });
  expect(await session.code).toBe(EXIT_OK);
  expect(session.machine.typed).toBe('ls\r');
  expect(session.output()).toBe('login: ');
  expect(session.machine.isClosed).toBe(true);
});

test('input that the guest has no room for comes later, in order', async () => {
  const session = start();
  session.machine.room = 2;
  await session.type('abcdefg');
  await session.type('hi\x01x');
  while (session.machine.typed.length < 6) await session.type('');
  expect('abcdefghi'.startsWith(session.machine.typed)).toBe(true);
  session.machine.room = 100;
  while (session.machine.typed.length < 9) await session.type('');
  expect(await session.code).toBe(EXIT_OK);
  expect(session.machine.typed).toBe('abcdefghi');
});

test('Ctrl-A x leaves, and what was typed behind it goes nowhere', async () => {
  const session = start();
  await session.type('a\x01xb');
  expect(await session.code).toBe(EXIT_OK);
  expect(session.machine.typed).toBe('a');
});

test('Ctrl-A c gives the keys to the monitor and back', async () => {
  const session = start();
  await session.type('a\x01cinfo status\n');
  expect(session.output()).toContain('(quire) ');
  expect(session.output()).toContain('VM status: running\n');
  await session.type('\x01cb');
  expect(session.machine.typed).toBe('ab');
  await session.type('\x01cquit\n');
  expect(await session.code).toBe(EXIT_OK);
});

test('without a monitor Ctrl-A c does nothing', async () => {
  const session = start('--monitor', 'none');
  await session.type('\x01cquit\n\x01x');
  expect(await session.code).toBe(EXIT_OK);
  expect(session.machine.typed).toBe('quit\n');
});

test('with serial output elsewhere the monitor has the keys from the start', async () => {
  const session = start('--serial', 'none');
  await session.type('quit\n');
  expect(await session.code).toBe(EXIT_OK);
  expect(session.machine.typed).toBe('');
});

test('a pattern ends it with 0, though it comes byte by byte', async () => {
  const session = start('--exit-on', '^quire:\\S*# $');
  for (const byte of 'Linux\nquire:/root# ') session.machine.say(byte);
  expect(await session.code).toBe(EXIT_OK);
  expect(session.output()).toBe('Linux\nquire:/root# ');
});

test('power-off before the pattern came is an error', async () => {
  const session = start('--exit-on', 'never');
  session.machine.end({ kind: 'power-off' });
  expect(await session.code).toBe(EXIT_ERROR);
  expect(session.errors()).toContain('before its output matched /never/m');
});

test('a timeout ends it with 3', async () => {
  const session = start('--timeout', '0.02');
  expect(await session.code).toBe(EXIT_TIMEOUT);
  expect(session.errors()).toContain('Time is up after 0.02 s');
});

test("the guest's own disaster ends it with 4 and shows the processor", async () => {
  const session = start();
  session.machine.end({ kind: 'disaster', reason: 'triple fault', report: 'EIP=00000007\n' });
  expect(await session.code).toBe(EXIT_GUEST_DISASTER);
  expect(session.errors()).toBe('\nquire: The guest has stopped: triple fault\nEIP=00000007\n');
});

test('a failure of ours ends it with 1', async () => {
  const session = start();
  session.machine.end({ kind: 'failure', error: new Error('broken') });
  expect(await session.code).toBe(EXIT_ERROR);
  expect(session.errors()).toContain('Quire has failed: Error: broken');
});

test("with a display the keys are the keyboard's, and the screen is drawn", async () => {
  const session = start('--display', 'terminal');
  await session.type('aB\x1b[A');
  expect(session.machine.chords).toEqual(['a', 'shift-b', 'up']);
  expect(session.machine.typed).toBe('');
  expect(session.output()).toContain('\x1b[?1049h');
  expect(session.output()).toContain('▀');
  await session.type('\x01c');
  expect(session.output()).toContain('\x1b[?1049l');
  expect(session.output()).toContain('(quire) ');
  await session.type('\x01cb\x01x');
  expect(await session.code).toBe(EXIT_OK);
  expect(session.machine.chords).toEqual(['a', 'shift-b', 'up', 'b']);
  expect(session.output().endsWith('\x1b[0m\x1b[?25h\x1b[?1049l')).toBe(true);
});

test('a pattern on the text screen ends it with 0', async () => {
  const session = start('--screen-exit-on', '^boot: $');
  session.show('SeaBIOS\n');
  session.show('SeaBIOS\nboot: ');
  expect(await session.code).toBe(EXIT_OK);
});

test('power-off before the screen matched is an error', async () => {
  const session = start('--screen-exit-on', 'never');
  session.machine.end({ kind: 'power-off' });
  expect(await session.code).toBe(EXIT_ERROR);
  expect(session.errors()).toContain('before its screen matched /never/m');
});

test('the screen is saved at the end, whatever ended it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'quire-test-'));
  try {
    const path = join(folder, 'screen.ppm');
    expect(await start('--screenshot', path, '--timeout', '0.02').code).toBe(EXIT_TIMEOUT);
    expect(readFileSync(path, 'latin1')).toBe(`P6\n2 2\n255\n${'@'.repeat(12)}`);
    const nowhere = start('--screenshot', join(folder, 'none', 'screen.png'));
    nowhere.machine.end({ kind: 'power-off' });
    expect(await nowhere.code).toBe(EXIT_ERROR);
    expect(nowhere.errors()).toContain('Cannot write picture');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('serial output goes to a file, byte for byte', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'quire-test-'));
  try {
    const path = join(folder, 'serial');
    const session = start('--serial', `file:${path}`, '--exit-on', 'two');
    session.machine.say('one\r\n');
    session.machine.say('two');
    expect(await session.code).toBe(EXIT_OK);
    expect(readFileSync(path, 'latin1')).toBe('one\r\ntwo');
    expect(session.output()).not.toContain('one');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('each serial port has its target, and the debug console one of its own', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'quire-test-'));
  try {
    const paths = ['com2', 'log'].map((name) => join(folder, name));
    const session = start(
      ...['--serial', 'stdio', '--serial', `file:${paths[0]}`, '--debugcon', `file:${paths[1]}`],
      ...['--exit-on', 'the end'],
    );
    session.machine.say('to COM1');
    session.machine.say('to COM2', 1);
    session.machine.log('a log: the end');
    expect(await session.code).toBe(EXIT_OK);
    expect(session.output()).toBe('to COM1');
    expect(readFileSync(paths[0]!, 'utf8')).toBe('to COM2');
    expect(readFileSync(paths[1]!, 'utf8')).toBe('a log: the end');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
