// The software processor: runs the interpreter's generated code, and between its runs does what is
// not ordinary: exceptions, interrupts, single steps, HLT, code that has not been seen yet.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { Decoder } from '../../cpu/decoder.ts';
import { DECODE_SHORT } from '../../cpu/decoder.ts';
import type { EngineHooks } from '../../cpu/engine-hooks.ts';
import { FLAG_IF } from '../../cpu/flags.ts';
import { Processor } from '../../cpu/processor.ts';
import { CPUState } from '../../cpu/state.ts';
import {
  ATTENTION,
  ATTENTION_EXCEPTION,
  ATTENTION_JUMP,
  CS,
  EFLAGS_REST,
  EIP_BIAS,
  FUEL,
  FUEL_HELD,
  HALTED,
  INSTRUCTION_COUNT,
  INTERRUPT_SHADOW,
  MODE,
  MODE_CODE32,
  NMI_BLOCKED,
  PAGE_EIP,
  PAGE_RECORDS,
  SEG_BASE,
  SEG_LIMIT,
  SEGMENT,
  SEGMENT_BYTES,
} from '../../cpu/state-layout.ts';
import type { CPUWiring, MachineMemory, RunExit, VCPU } from '../../cpu/vcpu.ts';
import type { AddressSpace } from '../../memory/address-space.ts';
import { CODE_CACHE_BYTES, CodeCache } from './code-cache.ts';
import type { HandlerLayout } from './interpreter-module.ts';
import { writePlainRAM } from './plain-ram.ts';
import {
  CODE_KEY,
  CODE_KEY_FLAT,
  CODE_KEY_MODE,
  CODE_KEY_STEP,
  CODE_MASK_BASE,
  CODE_ROW_BYTES,
  CODE_ROW_COUNT,
  CODE_ROWS,
  CODE_ROWS_FILLED,
  CODE_ROWS_LOG,
  CODE_ROWS_REPLACED,
  CODE_SLOTS_BASE,
  CODE_TAG_NONE,
  DIRTY_BASE,
  ENTRIES_BASE,
  FAR_AWAY,
  HEAT_BASE,
  HEAT_BYTES,
  HEAT_IS_HIGH,
  ISOLATED_RECORDS,
  RAM_BASE,
  RECORD_LENGTH,
  RECORD_SHIFT,
  TLB_COUNTS,
  TLB_LOG,
  TLB_ROW_STATES,
  TLB_STORE_MARKS,
  TLB_TABLES,
  WALKS_IN_TYPESCRIPT,
} from './record.ts';
import { RecordedPath } from './recorded-path.ts';
import type { SlowPaths } from './slow-paths.ts';
import { systemMethods } from './system-methods.ts';
import { Translator } from './translator.ts';
import { UnitEntries } from './unit-entries.ts';

const INSTRUCTION_BYTES_MAX = 15;
const VECTOR_GP = 13;
const CS_BASE = (SEGMENT + CS * SEGMENT_BYTES + SEG_BASE) >> 2;
const CS_LIMIT = (SEGMENT + CS * SEGMENT_BYTES + SEG_LIMIT) >> 2;
const BUDGET_MAX = 0x4000_0000;
/** Instructions between two samples of where the guest is; odd, lest it beat with loops. */
const SAMPLE_SLICE = 10_007;
/** Between two where all that was seen lately is translated. */
const SAMPLE_SLICE_MAX = 160_112;

/** A run of a slice adds far less than what is left of 32 bits. */
const CODE_KEY_MAX = 0xf000_0000;

const BUDGET: RunExit = { kind: 'budget' };
const HALT: RunExit = { kind: 'halted' };

/** Byte address of the code row of a linear address. */
function rowOf(linear: number): number {
  return CODE_ROWS + ((linear >>> 12) & (CODE_ROW_COUNT - 1)) * CODE_ROW_BYTES;
}

export class SoftwareVCPU implements VCPU, EngineHooks {
  readonly state: CPUState;
  readonly interceptsWrites = true;
  readonly processor: Processor;
  readonly cache: CodeCache;
  readonly translator: Translator;
  #isTranslating = false;
  readonly #heatOffset: number;
  /** Translates whatever is about to run, for tests of the translator. */
  isTranslatingEagerly = false;
  readonly #wiring: CPUWiring;
  readonly #memory: AddressSpace;
  readonly #buffer: Uint8Array;
  readonly #ramBase: number;
  readonly #fetched = new Uint8Array(INSTRUCTION_BYTES_MAX);
  readonly #run: (fuel: number) => void;
  #instructionCount = 0;
  /** Instructions that generated code, which is running, may execute; else 0. */
  #slice = 0;
  /** Instructions to the next sample, and between two. */
  #untilSample = SAMPLE_SLICE;
  #sampleSlice = SAMPLE_SLICE;
  /** What is being recorded, and the mode whose code it is of: the low bits of CODE_KEY. */
  #path: RecordedPath | undefined;
  #pathMode = 0;
  #isStopRequested = false;
  isNMIPending = false;
  #isRunning = false;
  /** Why code could not be fetched, if it lies where none can run. */
  #badFetch: string | undefined;

  constructor(options: {
    readonly wiring: CPUWiring;
    readonly memory: MachineMemory;
    readonly decoder: Decoder;
    readonly interpreter: HandlerLayout;
    /** Instantiates the interpreter with its imports and returns its exports. */
    readonly instantiate: (imports: Record<string, object>) => Readonly<Record<string, unknown>>;
  }) {
    const { wiring, memory } = options;
    this.#wiring = wiring;
    this.#memory = wiring.memory;
    this.#buffer = new Uint8Array(memory.buffer);
    this.#ramBase = memory.ramList.baseOffset;
    this.state = new CPUState(memory.buffer);
    this.processor = new Processor(this.state, wiring, memory, this);
    this.#heatOffset = memory.reservedOffset + CODE_CACHE_BYTES;
    this.cache = new CodeCache({
      decoder: options.decoder,
      handlers: options.interpreter.handlers,
      buffer: memory.buffer,
      ramBase: this.#ramBase,
      reservedOffset: memory.reservedOffset,
      codePages: memory.codePages,
    });
    this.#tellWhere(memory);
    this.cache.onEvict = () => this.flushCode();
    wiring.memory.addListener({
      commit: () => {
        writePlainRAM(this.state.u32, wiring.memory.view.sections, this.#ramBase);
        this.flushCode();
      },
    });
    const { handlerCount } = options.interpreter;
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: handlerCount });
    const env = { memory: memory.wasmMemory, table };
    const slow = this.#slowPaths();
    const engine = options.instantiate({ env, slow, system: systemMethods(this.processor) });
    this.#run = engine.run as (fuel: number) => void;
    this.translator = new Translator({
      state: this.state,
      buffer: memory.buffer,
      cache: this.cache,
      codePages: memory.codePages,
      interpreter: options.interpreter,
      entries: new UnitEntries({
        table,
        buffer: memory.buffer,
        handlerCount,
        offset: this.#heatOffset + HEAT_BYTES,
        enterUnit: engine.enterUnit,
      }),
      imports: { env: { memory: memory.wasmMemory }, engine },
      onEntriesChange: () => this.#nextCodeKey(),
    });
    this.state.u32.fill(CODE_TAG_NONE, CODE_ROWS >> 2, CODE_ROWS_FILLED >> 2);
    this.reset();
  }

  /** Whether hot code is translated; the interpreter alone runs everything as well. */
  get isTranslating(): boolean {
    return this.#isTranslating;
  }

  set isTranslating(value: boolean) {
    this.#isTranslating = value;
    this.state.set32(HEAT_BASE, value ? this.#heatOffset : 0);
  }

  /** Tells generated code where the parts of the machine's memory lie. */
  #tellWhere({ dirty, codePages, tlb }: MachineMemory): void {
    const { state } = this;
    state.set32(DIRTY_BASE, dirty.offset);
    state.set32(CODE_MASK_BASE, codePages.offset);
    state.set32(CODE_SLOTS_BASE, codePages.notes.byteOffset);
    state.set32(RAM_BASE, this.#ramBase);
    state.set32(ENTRIES_BASE, this.#heatOffset + HEAT_BYTES);
    state.set32(TLB_TABLES, tlb.offset);
    state.set32(TLB_LOG, tlb.logOffset);
    state.set32(TLB_COUNTS, tlb.countsOffset);
    state.set32(TLB_ROW_STATES, tlb.rowStatesOffset);
    state.set32(TLB_STORE_MARKS, tlb.storePagesOffset);
  }

  get instructionCount(): number {
    // Inside a call from generated code, which has noted how many may follow its instruction.
    const left = this.state.i32[FUEL >> 2]! + this.state.i32[FUEL_HELD >> 2]! + 1;
    return this.#instructionCount + (this.#slice === 0 ? 0 : this.#slice - left);
  }

  get isWaitingForHost(): boolean {
    return this.translator.isCompiling;
  }

  run(instructionBudget: number): RunExit {
    this.#isStopRequested = false;
    this.#isRunning = true;
    const isAllThere = this.#memory.ramList?.missing === undefined;
    this.state.u32[WALKS_IN_TYPESCRIPT >> 2] = isAllThere ? 0 : 1;
    try {
      return this.#runAll(Math.min(instructionBudget, BUDGET_MAX));
    } finally {
      this.#isRunning = false;
      this.#slice = 0;
      this.state.u64[INSTRUCTION_COUNT >> 3] = BigInt(this.#instructionCount);
    }
  }

  requestEvent(): void {
    this.state.requestEvent();
  }

  requestStop(): void {
    this.#isStopRequested = true;
    this.state.requestEvent();
  }

  reset(): void {
    this.processor.reset();
    this.isNMIPending = false;
    this.#badFetch = undefined;
    this.flushCode();
  }

  raiseNMI(): void {
    this.isNMIPending = true;
    this.state.requestEvent();
  }

  setA20(isEnabled: boolean): void {
    this.processor.setA20(isEnabled);
  }

  synchronize(keepsCode = false): void {
    this.#instructionCount = Number(this.state.u64[INSTRUCTION_COUNT >> 3]);
    this.#badFetch = undefined;
    this.processor.synchronize();
    if (!keepsCode) this.cache.clear();
    this.flushCode();
  }

  /** Forgets which records belong to which linear page; asks running code to look again. */
  flushCode(): void {
    const { u32 } = this.state;
    // What was filled is all that must go: guests reload CR3 often, and fill few rows between.
    const count = u32[CODE_ROWS_FILLED >> 2]!;
    const first = CODE_ROWS_LOG >> 2;
    for (let index = first; index < first + count; index++) u32[u32[index]! >> 2] = CODE_TAG_NONE;
    u32[CODE_ROWS_FILLED >> 2] = 0;
    u32[CODE_ROWS_REPLACED >> 2] = 0;
    this.#nextCodeKey();
    if (this.#isRunning) this.state.requestEvent();
  }

  /** Begins a new time of code look-ups: those of before count no more. */
  #nextCodeKey(): void {
    const { u32 } = this.state;
    u32[CODE_KEY >> 2] = u32[CODE_KEY >> 2]! + CODE_KEY_STEP;
    if (u32[CODE_KEY >> 2]! < CODE_KEY_MAX) return;
    // Before keys repeat, everything that was noted under one goes.
    u32[CODE_KEY >> 2] = CODE_KEY_STEP;
    this.translator.forgetKeys();
  }

  /** Brings the code key up to date with mode and CS, which nothing changes while code runs. */
  #setCodeKey(): void {
    const { u32 } = this.state;
    const isFlat = u32[CS_BASE] === 0 && u32[CS_LIMIT] === 0xffff_ffff;
    // Where the base may be any, look-ups of before mean nothing. Generated code does not look
    // whether keys come to an end.
    if (!isFlat || u32[CODE_KEY >> 2]! >= CODE_KEY_MAX) this.#nextCodeKey();
    const time = u32[CODE_KEY >> 2]! & ~(CODE_KEY_FLAT | CODE_KEY_MODE);
    u32[CODE_KEY >> 2] = time | (isFlat ? CODE_KEY_FLAT : 0) | u32[MODE >> 2]!;
  }

  /** As `flushCode`, if code was looked up in a page of 4 KiB. */
  flushCodePage(linear: number): void {
    const { u32 } = this.state;
    const tag = u32[rowOf(linear) >> 2]!;
    const wasLookedUp = tag !== CODE_TAG_NONE && ((tag ^ linear) & ~(PAGE_SIZE - 1)) === 0;
    // Guests forget their pages of data one by one when they change hands: that is no reason to
    // forget all code.
    if (wasLookedUp || u32[CODE_ROWS_REPLACED >> 2] !== 0) this.flushCode();
  }

  #runAll(budget: number): RunExit {
    const { state, processor } = this;
    const { debug } = processor;
    let left = budget;
    for (;;) {
      if (this.#badFetch !== undefined) return this.#shutdown(this.#badFetch);
      if (state.hasException) {
        if (processor.deliverPendingException() === 'shutdown') {
          return this.#shutdown(processor.shutdownReason || 'triple fault');
        }
        // A delivery counts as work: a handler whose first instruction faults must not hold us.
        left--;
      }
      state.u32[ATTENTION >> 2] = 0;
      if (left <= 0 || this.#isStopRequested) return BUDGET;
      if (this.#takeInterrupt()) {
        left--;
        if (state.hasException || left <= 0) continue;
        // The run begins at the new EIP. An instruction that found this set would leave there.
        state.u32[ATTENTION >> 2] = state.u32[ATTENTION >> 2]! & ~ATTENTION_JUMP;
      } else if (state.u32[HALTED >> 2] !== 0) return HALT;
      const shadow = state.u32[INTERRUPT_SHADOW >> 2]!;
      const isStepping = shadow !== 0 || debug.needsStepping;
      if (debug.needsStepping && !debug.beforeInstruction(this.#linearEip())) continue;
      state.u32[INTERRUPT_SHADOW >> 2] = 0;
      this.#setCodeKey();
      const isSingle = isStepping || this.#path !== undefined;
      const slice = isSingle ? 1 : Math.min(left, this.#untilSample);
      if (this.#path) this.#recordPath(this.#path);
      state.i32[FUEL_HELD >> 2] = 0;
      if (this.isTranslatingEagerly) this.#translateHere();
      this.#slice = slice;
      this.#run(slice);
      this.#slice = 0;
      const used = slice - state.i32[FUEL >> 2]!;
      left -= used;
      this.#instructionCount += used;
      this.#untilSample -= used;
      if (this.#untilSample <= 0) this.#sample();
      if (state.u32[HEAT_IS_HIGH >> 2] !== 0) {
        state.u32[HEAT_IS_HIGH >> 2] = 0;
        this.translator.want();
      }
      if ((state.u32[ATTENTION >> 2]! & ATTENTION_EXCEPTION) === 0) debug.afterInstruction();
    }
  }

  /** Notes that the instruction at EIP is next; the last one has its path translated. */
  #recordPath(path: RecordedPath): void {
    const { u32 } = this.state;
    if (u32[CODE_KEY >> 2]! % CODE_KEY_STEP !== this.#pathMode) path.interrupt();
    else path.note(this.#linearEip());
    if (!path.isOver) return;
    this.#path = undefined;
    if (path.isFull) this.translator.addPath(path);
  }

  #sample(): void {
    const isCold = this.isTranslating && !this.translator.sample(this.#sampleSlice);
    this.#sampleSlice = isCold ? SAMPLE_SLICE : Math.min(this.#sampleSlice * 2, SAMPLE_SLICE_MAX);
    this.#untilSample = this.#sampleSlice;
    if (!this.translator.wantsPath) return;
    this.translator.wantsPath = false;
    this.#pathMode = this.state.u32[CODE_KEY >> 2]! % CODE_KEY_STEP;
    if (this.#pathMode & CODE_KEY_FLAT) this.#path = new RecordedPath();
  }

  /** Delivers an NMI or an external interrupt if one waits and may come; leaves HLT for it. */
  #takeInterrupt(): boolean {
    const { state, processor } = this;
    if (state.u32[INTERRUPT_SHADOW >> 2] !== 0) return false;
    if (this.isNMIPending && state.u32[NMI_BLOCKED >> 2] === 0) {
      this.isNMIPending = false;
      state.u32[HALTED >> 2] = 0;
      processor.deliverNMI();
      return true;
    }
    if ((state.u32[EFLAGS_REST >> 2]! & FLAG_IF) === 0) return false;
    const { interrupts } = this.#wiring;
    if (!interrupts.hasInterrupt()) return false;
    state.u32[HALTED >> 2] = 0;
    processor.deliverInterrupt(interrupts.acknowledge());
    return true;
  }

  #shutdown(reason: string): RunExit {
    return { kind: 'shutdown', reason, report: this.processor.report() };
  }

  #linearEip(): number {
    return (this.state.eip + this.state.u32[CS_BASE]!) >>> 0;
  }

  #slowPaths(): SlowPaths {
    const { mmu, segmentation } = this.processor;
    return {
      load: (linear, size) => mmu.loadAs(linear >>> 0, size as 1 | 2 | 4, this.state.cpl === 3),
      loadForStore: (linear, size) => mmu.loadForStore(linear >>> 0, size as 1 | 2 | 4),
      store: (linear, value, size) =>
        void mmu.storeAs(linear >>> 0, size as 1 | 2 | 4, value, this.state.cpl === 3),
      loadWide: (linear, size) => void mmu.loadBlock(linear >>> 0, size),
      loadWideForStore: (linear, size) => void mmu.loadBlockForStore(linear >>> 0, size),
      storeWide: (linear, size) => void mmu.storeBlock(linear >>> 0, size),
      checkAccess: (segment, offset, size, isWrite) =>
        segmentation.checkAccess(segment, offset >>> 0, size, Boolean(isWrite)),
      decode: (record) => this.cache.decodeAt(record >>> 0),
      findCode: () => this.#findCode(),
      findCrossing: (record) => this.#findCrossing(record >>> 0),
    };
  }

  #translateHere(): void {
    if (this.#findCode() !== 0) return;
    const linear = this.#linearEip();
    const row = rowOf(linear) >> 2;
    this.translator.translateAt(this.state.u32[row + 1]!, linear & (PAGE_SIZE - 1));
  }

  /** See SlowPaths: makes the code at EIP runnable. */
  #findCode(): number {
    const { state } = this;
    const eip = state.eip;
    if (eip > state.u32[CS_LIMIT]!) {
      state.raiseException(VECTOR_GP, 0);
      return 1;
    }
    const linear = this.#linearEip();
    const gpa = this.processor.mmu.translateForFetch(linear);
    if (gpa < 0) return 1;
    const pageGPA = gpa - (gpa % PAGE_SIZE);
    const ramOffset = this.#memory.ramOffsetOf(pageGPA);
    if (!this.#isWholePage(eip, linear, pageGPA, ramOffset)) return this.#isolate(eip, linear);
    const mode = state.u32[MODE >> 2]!;
    const records = this.cache.recordsOf(ramOffset / PAGE_SIZE, mode);
    const row = rowOf(linear) >> 2;
    if (state.u32[row] === CODE_TAG_NONE) {
      const count = state.u32[CODE_ROWS_FILLED >> 2]!++;
      state.u32[(CODE_ROWS_LOG >> 2) + count] = row << 2;
    } else state.u32[CODE_ROWS_REPLACED >> 2] = 1;
    state.u32[row] = ((linear & ~(PAGE_SIZE - 1)) | mode) >>> 0;
    state.u32[row + 1] = records;
    return 0;
  }

  /** Whether all of the page is RAM or ROM, within the limit, and EIP does not wrap in it. */
  #isWholePage(eip: number, linear: number, pageGPA: number, ramOffset: number): boolean {
    if (ramOffset < 0 || ramOffset % PAGE_SIZE !== 0) return false;
    const last = PAGE_SIZE - 1;
    if (this.#memory.ramOffsetOf(pageGPA + last) !== ramOffset + last) return false;
    const pageEip = (eip - (linear & last)) >>> 0;
    if ((pageEip + last) >>> 0 > this.state.u32[CS_LIMIT]!) return false;
    return !(pageEip > eip && (this.state.u32[MODE >> 2]! & MODE_CODE32) !== 0);
  }

  #findCrossing(record: number): number {
    const { state } = this;
    const eip = ((record >>> RECORD_SHIFT) + state.u32[EIP_BIAS >> 2]!) >>> 0;
    state.eip = eip;
    const linear = (eip + state.u32[CS_BASE]!) >>> 0;
    const found = this.#isolate(eip, linear);
    if (found === ISOLATED_RECORDS) this.#keepCrossing(record, eip, linear);
    return found;
  }

  /** Keeps what was just isolated at `record`, if it ends in a page that is code like others. */
  #keepCrossing(record: number, eip: number, linear: number): void {
    const inFirst = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
    const sizeBytes = (this.#buffer[ISOLATED_RECORDS + RECORD_LENGTH]! >>> RECORD_SHIFT) - inFirst;
    if (sizeBytes <= 0) return;
    const next = (linear + inFirst) >>> 0;
    const gpa = this.processor.mmu.translateForFetch(next);
    const ramOffset = gpa < 0 ? -1 : this.#memory.ramOffsetOf(gpa);
    if (!this.#isWholePage((eip + inFirst) >>> 0, next, gpa, ramOffset)) return;
    const mode = this.state.u32[MODE >> 2]!;
    this.cache.keepCrossing(record, ramOffset / PAGE_SIZE, mode, sizeBytes);
  }

  /** Decodes one instruction byte by byte: it crosses a page, or its page is not plain memory. */
  #isolate(eip: number, linear: number): number {
    const { state, cache } = this;
    const mode = state.u32[MODE >> 2]!;
    const toPageEnd = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
    let size = Math.min(INSTRUCTION_BYTES_MAX, toPageEnd);
    let available = this.#fetch(eip, linear, 0, size);
    if (available < 0) return 1;
    let status = cache.decodeIsolated(this.#fetched, available, mode, ISOLATED_RECORDS);
    if (status === DECODE_SHORT && available === size && size < INSTRUCTION_BYTES_MAX) {
      size = INSTRUCTION_BYTES_MAX - available;
      const more = this.#fetch(eip + available, (linear + available) >>> 0, available, size);
      if (more < 0) return 1;
      available += more;
      status = cache.decodeIsolated(this.#fetched, available, mode, ISOLATED_RECORDS);
    }
    if (status === DECODE_SHORT) {
      // The code segment ends within the instruction.
      state.raiseException(VECTOR_GP, 0);
      return 1;
    }
    state.u32[PAGE_RECORDS >> 2] = ISOLATED_RECORDS;
    state.u32[PAGE_EIP >> 2] = eip + FAR_AWAY;
    state.u32[EIP_BIAS >> 2] = eip - (ISOLATED_RECORDS >>> RECORD_SHIFT);
    return ISOLATED_RECORDS;
  }

  /**
   * Reads instruction bytes of one page, as far as the limit allows, to `#fetched` at `position`.
   * @returns how many, or -1 with a fault recorded or a bad fetch noted
   */
  #fetch(eip: number, linear: number, position: number, size: number): number {
    const allowed = Math.min(size, this.state.u32[CS_LIMIT]! - eip + 1);
    if (allowed <= 0) return 0;
    const gpa = this.processor.mmu.translateForFetch(linear);
    if (gpa < 0) return -1;
    for (let index = 0; index < allowed; index++) {
      const ramOffset = this.#memory.ramOffsetOf(gpa + index);
      if (ramOffset < 0) {
        if (index > 0) return index;
        this.#badFetch = `code at 0x${(gpa + index).toString(16)}, where there is no memory`;
        this.state.requestEvent();
        return -1;
      }
      this.#fetched[position + index] = this.#buffer[this.#ramBase + ramOffset]!;
    }
    return allowed;
  }
}
