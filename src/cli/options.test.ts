import { expect, test } from 'vitest';
import { UsageError } from './command.ts';
import { parseRunConfig, RUN_OPTIONS } from './run-options.ts';
import { suggestion } from './suggestion.ts';
import { parseMemorySize, parsePattern, parseSeconds } from './values.ts';

const MIB = 2 ** 20;
const KERNEL = ['--kernel', 'k'];

test('one and two dashes, long and short names, a space and an equals sign say the same', () => {
  const spellings = [
    ['-m', '64'],
    ['-m', '64M'],
    ['--m', '64M'],
    ['-memory', '65536K'],
    ['--memory=64m'],
    ['-m', 'size=64M'],
  ];
  for (const spelling of spellings)
    expect(parseRunConfig([...spelling, '-kernel', 'k'])).toMatchObject({
      memoryBytes: 64 * MIB,
      kernelPath: 'k',
    });
});

test('a whole command line in the words of QEMU is understood', () => {
  const line =
    '-m 128M -kernel vmlinuz -initrd i -append console=ttyS0 -serial stdio -accel software';
  expect(parseRunConfig(line.split(' '))).toMatchObject({
    memoryBytes: 128 * MIB,
    kernelPath: 'vmlinuz',
    initrdPath: 'i',
    append: 'console=ttyS0',
    serials: [{ kind: 'stdio' }],
    hasMonitor: true,
    accelerator: 'software',
  });
});

test('a guest brings memory and a command line, and options go before them', () => {
  expect(parseRunConfig(['--guest', 'debian-686'])).toMatchObject({
    memoryBytes: 128 * MIB,
    append: 'console=ttyS0,115200 cryptomgr.notests',
  });
  const changed = parseRunConfig(['--guest', 'debian-686', '-m', '40', '--append', 'quiet']);
  expect(changed).toMatchObject({ memoryBytes: 40 * MIB, append: 'quiet' });
});

test('serial, monitor, pattern and timeout are understood', () => {
  const args = '--serial file:a:b --monitor none --exit-on login:\\s --timeout 1.5'.split(' ');
  const config = parseRunConfig([...KERNEL, ...args]);
  expect(config.serials).toEqual([{ kind: 'file', path: 'a:b' }]);
  expect(config.hasMonitor).toBe(false);
  expect(config.exitOn).toEqual(/login:\s/m);
  expect(config.timeoutSeconds).toBe(1.5);
});

test.each([
  [['--kernal', 'k'], 'Unknown option "--kernal"; did you mean "--kernel"'],
  [['-kernal', 'k'], 'Unknown option "-kernal"; did you mean "--kernel"'],
  [['--frobnicate'], 'Unknown option "--frobnicate"'],
  [['--kernel'], 'Option "--kernel" needs a value: FILE'],
  [['--kernel', 'a', '-kernel', 'b'], 'Option "-kernel" is given twice'],
  [['k'], 'Unexpected "k": a kernel is given with --kernel FILE'],
  [[], 'What is to run: give --kernel FILE, --cdrom, --hda or --fda FILE, or --guest NAME'],
  [
    ['--guest', 'debian-868'],
    'Option "--guest" must be one that "quire guests" lists, got "debian-868"' +
      '; did you mean "debian-686"',
  ],
  [
    ['--guest', 'debian-686', '--kernel', 'k'],
    'Option "--guest" brings its own kernel: leave out "--kernel"',
  ],
  [[...KERNEL, '--serial', 'tcp:1'], 'must be stdio, file:PATH or none, got "tcp:1"'],
  [[...KERNEL, '--serial', 'file:'], 'must be stdio, file:PATH or none, got "file:"'],
  [[...KERNEL, '--monitor', 'tcp'], 'Option "--monitor" must be stdio or none, got "tcp"'],
  [
    [...KERNEL, '--accel', 'hax'],
    'Option "--accel" must be software or software,translator=off or kvm or kvm:software, ' +
      'got "hax"',
  ],
  [[...KERNEL, '--icount', '3', '--accel', 'kvm'], 'which "kvm" does not'],
  [[...KERNEL, '--icount', 'auto'], 'must be a number from 0 to 20, got "auto"'],
  [[...KERNEL, '--icount', 'sleep=off'], 'must be a number from 0 to 20, got ""'],
  [[...KERNEL, '--icount', 'shift=21'], 'must be a number from 0 to 20, got "21"'],
  [[...KERNEL, '--icount', 'align=on'], 'must be shift=N or sleep=on|off, got "align=on"'],
  [[...KERNEL, '--exit-on', '('], 'Option "--exit-on" must be a regular expression'],
  [[...KERNEL, '--timeout', '-1'], 'Option "--timeout" must be a number of seconds, got "-1"'],
  [[...KERNEL, '-m', '12Q'], 'Option "--memory" must be a size such as 128M or 1G'],
])('%j is refused: %s', (args, message) => {
  expect(() => parseRunConfig(args)).toThrow(UsageError);
  expect(() => parseRunConfig(args)).toThrow(message);
});

test('--icount as QEMU spells it', () => {
  const timing = (text: string) => parseRunConfig([...KERNEL, '--icount', text]).instructionTiming;
  expect(timing('3')).toEqual({ nsPerInstruction: 8, sleeps: true });
  expect(timing('shift=0,sleep=off')).toEqual({ nsPerInstruction: 1, sleeps: false });
});

test.each([
  ['1', MIB],
  ['1.5G', 1536 * MIB],
  ['3G', 3072 * MIB],
  ['4100K', 4100 * 1024],
  ['16777216B', 16 * MIB],
])('memory of %s is %d bytes', (text, bytes) => {
  expect(parseMemorySize('-m', text)).toBe(bytes);
});

test.each(['', 'x', '-5', '1e3', '0x10', '128MM', 'NaN', 'Infinity', '1 G', '٣'])(
  'memory of "%s" is no size',
  (text) => {
    expect(() => parseMemorySize('-m', text)).toThrow(/must be a size/);
  },
);

test.each(['0', '0.5', '1023K', '3681', '64G', '999999999999999999999T'])(
  'memory of %s is more or less than a machine can have',
  (text) => {
    expect(() => parseMemorySize('-m', text)).toThrow(/must be from 1M to 3680M/);
  },
);

test.each(['2097153B', '4097K', '3.0000001M'])('memory of %s is not whole pages', (text) => {
  expect(() => parseMemorySize('-m', text)).toThrow(/must be a multiple of 4K/);
});

test('seconds must be positive, and fit the timer of the host', () => {
  expect(parseSeconds('--timeout', '0.25')).toBe(0.25);
  for (const text of ['0', 'x', '', '1h', '2147484', '1e2'])
    expect(() => parseSeconds('--timeout', text)).toThrow(UsageError);
});

test('^ and $ of a pattern stand for lines', () => {
  expect(parsePattern('--exit-on', '^login: $').test('a\nlogin: \nb')).toBe(true);
});

test('a near miss is suggested, a far one is not', () => {
  expect(suggestion('rnu', ['run', 'guests'])).toBe('; did you mean "run"');
  expect(suggestion('guest', ['run', 'guests'])).toBe('; did you mean "guests"');
  expect(suggestion('zz', ['m'])).toBe('');
  expect(suggestion('snapshot', ['run', 'guests'])).toBe('');
});

test('every option of the table is known by every name', () => {
  for (const option of RUN_OPTIONS)
    for (const name of option.names)
      expect(() => parseRunConfig([`--${name}`])).toThrow(
        option.argument === undefined ? /What is to run/ : /needs a value/,
      );
});

test('media need firmware, and get it; a kernel does without', () => {
  expect(parseRunConfig(['--cdrom', 'a.iso']).firmware).toEqual({});
  expect(parseRunConfig(['--bios', 'b', '--vgabios', 'none']).firmware).toEqual({
    biosPath: 'b',
    vgaBIOSPath: 'none',
  });
  expect(parseRunConfig(['--kernel', 'k', '--cdrom', 'a.iso']).firmware).toBeUndefined();
  expect(parseRunConfig(['--guest', 'ipxe']).firmware).toEqual({});
  for (const [args, message] of [
    [['--kernel', 'k', '--bios', 'b'], 'Option "--bios" is for machines that start from media'],
    [['--bios', 'b', '--pflash', 'f'], 'are for the same place: give one'],
    [['--cdrom', 'a.iso', '--append', 'x'], 'are for a kernel'],
    [['--bios', 'b', '--debugcon', 'x'], 'Option "--debugcon" must be stdio, file:PATH or none'],
  ] as const)
    expect(() => parseRunConfig(args)).toThrow(message);
});

test('--serial may be given for each of four ports, one of them the terminal', () => {
  const serials = (...texts: string[]) =>
    parseRunConfig(['-kernel', 'k', ...texts.flatMap((text) => ['--serial', text])]).serials;
  expect(serials()).toEqual([{ kind: 'stdio' }]);
  expect(serials('none', 'stdio', 'file:x')).toEqual([
    { kind: 'none' },
    { kind: 'stdio' },
    { kind: 'file', path: 'x' },
  ]);
  expect(() => serials('stdio', 'stdio')).toThrow('stdio for one port only');
  expect(() => serials('none', 'none', 'none', 'none', 'none')).toThrow('may be given 4 times');
});
