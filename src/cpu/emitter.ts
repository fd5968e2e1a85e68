// What an instruction's meaning is written against. An engine (interpreter, later translator)
// implements Emitter; the rows in cpu/instructions/ call it and so say each meaning once.
//
// Integers: operands of 1, 2 and 4 bytes are i32, zero-extended; of 8 bytes i64. What is written
// may have rubbish above the operand's size. MMX operands are i64, XMM operands v128.
//
// Faults: a memory access that faults ends the instruction at once, inside the generated code. So a
// row changes registers, flags and memory only after its last access that can fault. `modify` and
// `readForWrite` check that the write cannot fault before they give the old value.

import type { FunctionBuilder, Value } from '../wasm/index.ts';
import type { FlagEmitter } from './flag-emitter.ts';

/** One operand of the instruction being emitted. */
export interface Operand {
  /** Size in bytes: 1, 2, 4, 8, 10 or 16. */
  readonly size: number;
  /** Whether it is in memory (an E, M, Q, W, O, X or Y operand of a memory form). */
  readonly isMemory: boolean;
  /** The value now; pinned. Integers as above; 8 and 16 bytes of P/Q/N and V/W/U: i64 and v128. */
  read(): Value;
  /** Writes a register, or stores to memory. */
  write(value: Value): void;
  /** Reads, changes and writes back; a fault on the write comes before the read is used. */
  modify(change: (old: Value) => Value): void;
  /**
   * The first half of `modify`: the old value, with the write checked; then `write` cannot fault.
   */
  readForWrite(): Value;
  /** Effective address within the segment, i32 (LEA); memory operands only. */
  offset(): Value;
  /** Linear address, i32, with the segment checked for `sizeBytes` of the kind of access. */
  linear(sizeBytes: number, isWrite: boolean): Value;
  /** Linear address of any `offset` in this operand's segment, checked; X and Y operands (XLAT). */
  linearAt(offset: Value, sizeBytes: number, isWrite: boolean): Value;
  /**
   * Linear address of another `offset` (already truncated to the address size) in this operand's
   * segment, i32, checked for the access; memory operands only.
   */
  linearAt(offset: Value, sizeBytes: number, isWrite: boolean): Value;
  /**
   * How many bytes from `offset` on surely lie within the segment and the address size, i32; X and
   * Y operands. Zero where that cannot be said cheaply.
   */
  room(offset: Value, isWrite: boolean): Value;
  /** Segment number (ES … GS) of a memory operand, i32. */
  segment(): Value;
  /**
   * Register number of a register operand, or of the reg field, i32 (x87 stack index for ST(i)).
   */
  index(): Value;
  /** The immediate, for I, J and A operands: sign- or zero-extended as the kind says, i32. */
  immediate(): Value;
}

export interface Emitter {
  /** The function under construction: locals, branches, loops. */
  readonly f: FunctionBuilder;
  /** Lazy arithmetic flags. */
  readonly flags: FlagEmitter;
  /** Size in bytes of operands of width v: 2, 4 (or 8 in long mode). */
  readonly operandSize: 2 | 4 | 8;
  /** Size in bytes of addresses: 2 or 4 (or 8): the count and index registers of string rows. */
  readonly addressSize: 2 | 4 | 8;
  /** Evaluates now, for use more than once. */
  let(value: Value): Value;

  /** General register by number (EAX ECX EDX EBX ESP EBP ESI EDI) and size in bytes. */
  readRegister(index: number, size: number): Value;
  writeRegister(index: number, size: number, value: Value): void;
  /** Byte register in encoding order AL CL DL BL AH CH DH BH. */
  readByteRegister(index: number): Value;
  writeByteRegister(index: number, value: Value): void;

  /** A field of the state area (state-layout.ts), i32 or i64. */
  loadState32(offset: number): Value;
  storeState32(offset: number, value: Value): void;
  loadState64(offset: number): Value;
  storeState64(offset: number, value: Value): void;

  /**
   * Memory at a linear address (from `Operand.linear` or a flat computation): size 1, 2, 4, 8, 16.
   */
  loadLinear(linear: Value, size: number): Value;
  storeLinear(linear: Value, size: number, value: Value): void;
  /** As `storeLinear` will, but reads the old value; after it the store cannot fault. */
  loadLinearForWrite(linear: Value, size: number): Value;
  /** Linear address of `offset` in segment number `segment`, checked for the access. */
  segmentLinear(segment: number, offset: Value, size: number, isWrite: boolean): Value;

  /**
   * Copies up to `bytes` from one linear address to another as ascending elements of `size` would
   * be copied, if plain memory lies there. Cannot fault.
   * @returns how many bytes were copied: whole elements, possibly none; i32, pinned
   */
  copyRun(destination: Value, source: Value, bytes: Value, size: number): Value;
  /** The same for storing `value` again and again. */
  fillRun(destination: Value, value: Value, bytes: Value, size: number): Value;

  /** Pushes; ESP changes after the store. */
  push(value: Value, size: number): void;
  /** The value at the top of the stack at byte offset `displacement`; ESP does not change. */
  peekStack(size: number, displacement?: number): Value;
  /** Adds to ESP or SP, by the stack's address size. */
  addToStackPointer(bytes: Value | number): void;

  /** EIP of this instruction. */
  currentEip(): Value;
  /** EIP behind this instruction, truncated to the operand size where the row says so. */
  nextEip(): Value;
  /** Continues at `eip` (an absolute offset in CS); #GP(0) if it is beyond the limit. */
  jump(eip: Value): void;
  /**
   * #GP(0) if the target of a J operand is beyond the limit of CS: for a row that changes registers
   * or memory before `jumpRelative`, which then cannot fault.
   */
  requireRelative(target: Operand): void;
  /** Continues at the target of a J operand. */
  jumpRelative(target: Operand): void;
  /** Ends the instruction normally, inside a branch. */
  finish(): void;
  /** Repeats this instruction as a new one (REP: one step done, interrupts may come between). */
  repeat(): void;

  /** Faults with `vector`; nothing after it in this branch is executed. */
  raise(vector: number, errorCode?: number): void;
  raiseIf(condition: Value, vector: number, errorCode?: number): void;

  /**
   * Calls a method of Processor by name with i32 arguments and ends the instruction: the method may
   * fault, jump, or ask for attention.
   */
  system(method: string, ...args: Value[]): void;
  /** The same for a method that returns an i32 and after which the instruction goes on. */
  systemValue(method: string, ...args: Value[]): Value;

  /**
   * Calls a shared WebAssembly function, built once per module by `build` on its first use. For
   * pieces too large to be repeated in each handler (x87 arithmetic, division).
   * It cannot fault: it works on its arguments and on the state area. Returns its result, if any.
   */
  callShared(shared: SharedFunction, ...args: Value[]): Value;
}

/** A WebAssembly function that many handlers share. */
export interface SharedFunction {
  /** Unique in the module. */
  readonly name: string;
  readonly params: readonly ('i32' | 'i64' | 'f64' | 'v128')[];
  readonly result?: 'i32' | 'i64' | 'f64' | 'v128';
  build(f: FunctionBuilder, tools: SharedTools): void;
}

export interface SharedTools {
  /** Calls another shared function. */
  call(shared: SharedFunction, ...args: Value[]): Value;
  /**
   * Calls TypeScript: a method of Processor by name, i32 arguments, i32 result (0 for void). It
   * must not fault or jump; it reads and writes the state area.
   */
  callMethod(method: string, ...args: Value[]): Value;
}
