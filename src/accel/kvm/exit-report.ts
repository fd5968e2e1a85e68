// What KVM says when it cannot go on, as text for people.

import { KVM, KVM_RUN } from './abi.ts';

const DATA_WORDS_MAX = 16;

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(KVM)
    .filter(([name]) => name.startsWith('KVM_EXIT_') && name !== 'KVM_EXIT_IO_OUT')
    .map(([name, value]) => [value, name]),
);

/** Name of an exit reason, such as `KVM_EXIT_HLT`. */
export function exitName(reason: number): string {
  return NAMES.get(reason) ?? `KVM exit ${reason}`;
}

const SUBERRORS = [
  'KVM_INTERNAL_ERROR_0',
  'KVM_INTERNAL_ERROR_EMULATION',
  'KVM_INTERNAL_ERROR_SIMUL_EX',
  'KVM_INTERNAL_ERROR_DELIVERY_EV',
  'KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON',
];

function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

/** Details of an exit that a machine cannot go on after, in one line. */
export function describeExit(run: DataView): string {
  const { at } = KVM_RUN;
  const reason = run.getUint32(at.exit_reason, true);
  if (reason === KVM.KVM_EXIT_FAIL_ENTRY) {
    const code = run.getBigUint64(at['fail_entry.hardware_entry_failure_reason'], true);
    return `the processor cannot enter the guest: hardware reason ${hex(code)}`;
  }
  if (reason === KVM.KVM_EXIT_INTERNAL_ERROR) return describeInternal(run);
  const code = run.getBigUint64(at['hw.hardware_exit_reason'], true);
  return `${exitName(reason)}, hardware reason ${hex(code)}`;
}

function describeInternal(run: DataView): string {
  const { at } = KVM_RUN;
  const suberror = run.getUint32(at['internal.suberror'], true);
  const count = Math.min(run.getUint32(at['internal.ndata'], true), DATA_WORDS_MAX);
  const name = SUBERRORS[suberror] ?? `suberror ${suberror}`;
  const flags = run.getUint32(at['emulation_failure.flags'], true);
  const hasBytes = flags & KVM.KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
  if (suberror === KVM.KVM_INTERNAL_ERROR_EMULATION && count >= 3 && hasBytes) {
    const size = Math.min(run.getUint8(at['emulation_failure.insn_size']), 15);
    const bytes = Array.from({ length: size }, (_, index) =>
      run
        .getUint8(at['emulation_failure.insn_bytes'] + index)
        .toString(16)
        .padStart(2, '0'),
    );
    return `${name}: KVM cannot emulate the instruction ${bytes.join(' ')}`;
  }
  const words = Array.from({ length: count }, (_, index) =>
    hex(run.getBigUint64(at['internal.data'] + index * 8, true)),
  );
  return words.length === 0 ? name : `${name}: ${words.join(' ')}`;
}
