// The system calls that KVM needs, through the FFI library `koffi`, an optional dependency. Numbers
// in, numbers out: addresses are below 2^47 and fit a double.

import { createRequire } from 'node:module';
import { KVMError } from './kvm-vm.ts';

type Koffi = typeof import('koffi');

const O_RDWR = 2;
const O_CLOEXEC = 0o2000000;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;

/** Memory of the host at an address that stays: what an ioctl takes. */
export interface HostBytes {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Bytes of the host as a structure, zero-filled. */
export interface LinuxCalls {
  /** A file descriptor, or −1. */
  open(path: string): number;
  close(fd: number): number;
  ioctl(fd: number, request: number, argument: number): number;
  /** Shares bytes of `fd`'s object, from `offset` on; undefined if refused. */
  map(fd: number, sizeBytes: number, offset?: number): HostBytes | undefined;
  unmap(mapped: HostBytes): void;
  /** An address, or −1; `protection` is readable and writable. */
  mmap(address: number, sizeBytes: number, flags: number, fd: number, offset: number): number;
  munmap(address: number, sizeBytes: number): number;
  madvise(address: number, sizeBytes: number, advice: number): number;
  /** The bytes at an address, at most 4 GiB; they stay mapped as long as the caller says. */
  view(address: number, sizeBytes: number): ArrayBuffer;
  /** Host address of the first byte of `bytes`. */
  addressOf(bytes: Uint8Array): number;
  /** Zero-filled bytes of our own. */
  allocate(sizeBytes: number): HostBytes;
  /** Name of the error of the last call, such as `EINTR`. */
  errno(): string;
  gettid(): number;
  /** Of `pthread_sigmask`, `timer_create` and the like: addresses of structures. */
  pthreadSigmask(how: number, set: number, old: number): number;
  sigtimedwait(set: number, info: number, timeout: number): number;
  timerCreate(clock: number, event: number, id: number): number;
  timerSettime(id: number, flags: number, value: number, old: number): number;
  timerDelete(id: number): number;
}

function hostBytes(buffer: ArrayBuffer, address: number): HostBytes {
  return { address, bytes: new Uint8Array(buffer), view: new DataView(buffer) };
}

function bind(koffi: Koffi): LinuxCalls {
  // The process itself: whichever C library runs Node.
  const libc = koffi.load(null);
  const names = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));
  const open = libc.func('int open(const char *path, int flags)');
  const close = libc.func('int close(int fd)');
  const ioctl = libc.func('int ioctl(int fd, unsigned long request, uintptr_t argument)');
  const mmap = libc.func(
    'intptr_t mmap(uintptr_t address, size_t size, int protection, int flags, int fd, long offset)',
  );
  const munmap = libc.func('int munmap(uintptr_t address, size_t size)');
  const madvise = libc.func('int madvise(uintptr_t address, size_t size, int advice)');
  const gettid = libc.func('int gettid()');
  const pthreadSigmask = libc.func('int pthread_sigmask(int how, uintptr_t set, uintptr_t old)');
  const sigtimedwait = libc.func('int sigtimedwait(uintptr_t set, uintptr_t info, uintptr_t time)');
  const timerCreate = libc.func('int timer_create(int clock, uintptr_t event, uintptr_t id)');
  const timerSettime = libc.func(
    'int timer_settime(uintptr_t id, int flags, uintptr_t value, uintptr_t old)',
  );
  const timerDelete = libc.func('int timer_delete(uintptr_t id)');
  const addressOf = (bytes: Uint8Array) => Number(koffi.address(bytes));
  return {
    open: (path) => open(path, O_RDWR | O_CLOEXEC),
    close: (fd) => close(fd),
    ioctl: (fd, request, argument) => ioctl(fd, request, argument),
    map(fd, sizeBytes, offset = 0) {
      const address = mmap(0, sizeBytes, PROT_READ_WRITE, MAP_SHARED, fd, offset);
      if (address === -1) return undefined;
      return hostBytes(koffi.view(address, sizeBytes), address);
    },
    unmap: ({ address, bytes }) => void munmap(address, bytes.length),
    mmap: (address, sizeBytes, flags, fd, offset) =>
      mmap(address, sizeBytes, PROT_READ_WRITE, flags, fd, offset),
    munmap: (address, sizeBytes) => munmap(address, sizeBytes),
    madvise: (address, sizeBytes, advice) => madvise(address, sizeBytes, advice),
    view: (address, sizeBytes) => koffi.view(address, sizeBytes),
    addressOf,
    allocate(sizeBytes) {
      const buffer = new ArrayBuffer(sizeBytes);
      return hostBytes(buffer, addressOf(new Uint8Array(buffer)));
    },
    errno: () => names.get(koffi.errno()) ?? `errno ${koffi.errno()}`,
    gettid: () => gettid(),
    pthreadSigmask: (how, set, old) => pthreadSigmask(how, set, old),
    sigtimedwait: (set, info, timeout) => sigtimedwait(set, info, timeout),
    timerCreate: (clock, event, id) => timerCreate(clock, event, id),
    timerSettime: (id, flags, value, old) => timerSettime(id, flags, value, old),
    timerDelete: (id) => timerDelete(id),
  };
}

let calls: LinuxCalls | undefined;

/**
 * The host's system calls.
 * @throws {KVMError} `ENOSYS` on another platform than Linux on x86-64; `ENOENT` without `koffi`
 */
export function linuxCalls(
  platform: string = `${process.platform}-${process.arch}`,
  load?: (name: string) => unknown,
): LinuxCalls {
  if (platform !== 'linux-x64')
    throw new KVMError(
      'ENOSYS',
      `Cannot use KVM as the host must be Linux on x86-64: it is ${platform}`,
    );
  if (calls !== undefined && load === undefined) return calls;
  let koffi: Koffi;
  try {
    koffi = (load ?? createRequire(import.meta.url))('koffi') as Koffi;
  } catch (cause) {
    throw new KVMError(
      'ENOENT',
      'Cannot use KVM as the optional package "koffi" must be installed (npm install koffi): ' +
        'it cannot be loaded',
      { cause },
    );
  }
  calls = bind(koffi);
  return calls;
}
