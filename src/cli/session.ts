// One run of a machine at a terminal: who gets the keys, where serial output goes, and which of the
// things that can end it came first.

import { closeSync, openSync, writeSync } from 'node:fs';
import type { MachineEnd } from '../machine/machine.ts';
import type { Screen } from '../machine/screen.ts';
import { writePicture } from './display/picture.ts';
import { TerminalDisplay } from './display/terminal-display.ts';
import { ESCAPE_HELP, type EscapeAction, EscapeFilter } from './escape.ts';
import { EXIT_ERROR, EXIT_GUEST_DISASTER, EXIT_OK, EXIT_TIMEOUT } from './exit-code.ts';
import type { MonitorTarget } from './monitor.ts';
import { MonitorConsole } from './monitor-console.ts';
import { PatternWatch } from './pattern-watch.ts';
import type { RunConfig } from './run-options.ts';
import type { SerialTarget } from './serial-options.ts';
import { Terminal } from './terminal.ts';

/** How soon input that the guest had no room for is offered again, ms. */
const SERIAL_RETRY_MS = 20;

/** A machine as a session needs it. */
export interface SessionMachine {
  /** What the monitor sees of it. */
  monitorTarget(quit: () => void): MonitorTarget;
  /** Runs it from now on, and calls back; at most one end. */
  start(
    onSerial: (bytes: Uint8Array, index: number) => void,
    onDebug: (value: number) => void,
    onEnd: (end: MachineEnd) => void,
  ): void;
  /** What is typed, for serial port `index`; returns how many bytes there was room for. */
  sendSerial(bytes: Uint8Array, index: number): number;
  readonly screen: Pick<Screen, 'text' | 'textScreen' | 'frame' | 'onChange'>;
  /** What is typed on its keyboard; false if there is no room. */
  typeKeys(keys: readonly string[], holdMs?: number): boolean;
  /** Closes it at once; resolves when all that is kept of it is on the disk. Never rejects. */
  close(): Promise<void>;
}

/** The host's side of a session. */
export interface SessionHost {
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
  readonly err: { write(text: string): unknown };
}

/** @throws {Error} naming the option, if the file cannot be written */
function openOutput(option: string, path: string): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    const why = (error as Error).message;
    throw new Error(`Cannot write ${option} "${path}": ${why}`, { cause: error });
  }
}

/** Takes bytes of the guest. */
interface Sink {
  write(bytes: Uint8Array): void;
  close(): void;
}

/** Opens what `--serial` and its like name. */
function openSink(option: string, target: SerialTarget, output: NodeJS.WriteStream): Sink {
  switch (target.kind) {
    case 'none':
      return { write() {}, close() {} };
    case 'stdio':
      return { write: (bytes) => void output.write(bytes), close() {} };
    case 'file': {
      const file = openOutput(option, target.path);
      return { write: (bytes) => void writeSync(file, bytes), close: () => closeSync(file) };
    }
  }
}

/** Serial ports, and the debug console last; all or none are open then. */
function openSinks(config: RunConfig, output: NodeJS.WriteStream): readonly Sink[] {
  const sinks: Sink[] = [];
  try {
    for (const target of config.serials) sinks.push(openSink('--serial', target, output));
    sinks.push(openSink('--debugcon', config.debugConsole, output));
    return sinks;
  } catch (error) {
    for (const sink of sinks) sink.close();
    throw error;
  }
}

/**
 * Runs until the guest, the user, a pattern, a timeout or an error ends it; returns the code.
 * @throws {Error} if serial output has nowhere to go
 */
export async function runSession(
  machine: SessionMachine,
  config: RunConfig,
  host: SessionHost,
): Promise<number> {
  const sinks = openSinks(config, host.output);
  const inputIndex = config.serials.findIndex(({ kind }) => kind === 'stdio');
  const hasSerialInput = inputIndex >= 0;
  const { kind: displayKind, screenshotPath, exitOn: screenExitOn } = config.display;
  const display =
    displayKind === 'terminal' ? new TerminalDisplay(machine, host.output) : undefined;
  const watch = config.exitOn === undefined ? undefined : new PatternWatch(config.exitOn);
  return new Promise((resolve) => {
    let isOver = false;
    let timer: NodeJS.Timeout | undefined;
    let retryTimer: NodeJS.Timeout | undefined;
    let unsent = Buffer.alloc(0);

    const finish = (code: number, message?: string): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      clearTimeout(retryTimer);
      machine.screen.onChange = undefined;
      monitor?.close();
      display?.hide();
      terminal.close();
      const problem = saveScreenshot(machine, screenshotPath);
      const closed = machine.close();
      for (const sink of sinks) sink.close();
      for (const text of [message, problem])
        if (text !== undefined) host.err.write(`\nquire: ${text}\n`);
      const result = problem === undefined || code !== EXIT_OK ? code : EXIT_ERROR;
      void closed.then(() => resolve(result));
    };

    const monitor = config.hasMonitor
      ? new MonitorConsole(
          machine.monitorTarget(() => finish(EXIT_OK)),
          host.output,
          host.input.isTTY === true && host.output.isTTY === true,
        )
      : undefined;

    const onAction = (action: EscapeAction): void => {
      if (action === 'exit') finish(EXIT_OK);
      else if (action === 'help') host.output.write(ESCAPE_HELP);
      else if (monitor !== undefined && (hasSerialInput || display !== undefined)) {
        const isActive = !monitor.isActive;
        if (isActive) display?.hide();
        host.output.write('\n');
        monitor.setActive(isActive);
        if (!isActive) display?.show();
      }
    };
    // A file on standard input may be larger than what the guest has read so far.
    const sendSerial = (bytes: Uint8Array): void => {
      const rest = Buffer.concat([unsent, bytes]);
      unsent = rest.subarray(machine.sendSerial(rest, inputIndex));
      terminal.setFlowing(unsent.length === 0);
      if (unsent.length === 0 || isOver) return;
      clearTimeout(retryTimer);
      retryTimer = setTimeout(() => sendSerial(new Uint8Array(0)), SERIAL_RETRY_MS);
    };
    const onBytes = (bytes: Uint8Array): void => {
      if (isOver) return;
      if (monitor?.isActive === true) monitor.feed(bytes);
      else if (display !== undefined) display.type(bytes);
      else if (hasSerialInput) sendSerial(bytes);
    };
    const filter = new EscapeFilter();
    const terminal = new Terminal((data) => filter.feed(data, onBytes, onAction), host.input);

    const writeTo = (sink: Sink, bytes: Uint8Array): void => {
      if (isOver) return;
      try {
        sink.write(bytes);
      } catch (error) {
        finish(EXIT_ERROR, `Cannot write serial output: ${(error as Error).message}`);
        return;
      }
      if (watch?.feed(bytes) === true) finish(EXIT_OK);
    };
    const onSerial = (bytes: Uint8Array, index: number): void => writeTo(sinks[index]!, bytes);
    const onDebug = (value: number): void => {
      if (config.debugConsole.kind !== 'none') writeTo(sinks.at(-1)!, Uint8Array.of(value));
    };
    const onEnd = (end: MachineEnd): void => {
      if (end.kind === 'disaster')
        finish(
          EXIT_GUEST_DISASTER,
          `The guest has stopped: ${end.reason}\n${end.report.trimEnd()}`,
        );
      else if (end.kind === 'failure') finish(EXIT_ERROR, describeFailure(end.error));
      else if (watch !== undefined)
        finish(EXIT_ERROR, `The guest powered off before its output matched ${config.exitOn}`);
      else if (screenExitOn !== undefined)
        finish(EXIT_ERROR, `The guest powered off before its screen matched ${screenExitOn}`);
      else finish(EXIT_OK);
    };

    terminal.open();
    if (config.timeoutSeconds !== undefined) {
      const { timeoutSeconds } = config;
      timer = setTimeout(
        () => finish(EXIT_TIMEOUT, `Time is up after ${timeoutSeconds} s`),
        timeoutSeconds * 1000,
      );
    }
    const onScreen = (): void => {
      if (isOver) return;
      display?.paint();
      if (screenExitOn?.test(machine.screen.text().join('\n')) === true) finish(EXIT_OK);
    };
    if (display !== undefined || screenExitOn !== undefined) machine.screen.onChange = onScreen;
    display?.show();
    // Without a guest on the terminal, the monitor has it from the start.
    if (!hasSerialInput && display === undefined) monitor?.setActive(true);
    machine.start(onSerial, onDebug, onEnd);
  });
}

/** Writes the screen where `--screenshot` says; why it could not, if it could not. */
function saveScreenshot(machine: SessionMachine, path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    writePicture(path, machine.screen.frame());
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function describeFailure(error: unknown): string {
  return `Quire has failed: ${error instanceof Error ? (error.stack ?? error.message) : error}`;
}
