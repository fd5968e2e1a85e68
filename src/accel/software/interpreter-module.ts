// Builds the interpreter: one WebAssembly handler for every row of the instruction table, operand
// size and way of addressing, and the table from row and variant to handler. It depends on the rows
// only, so one module serves every machine of a process, and may be built before there is one.

import { assert } from '../../base/errors.ts';
import { PAGE_SIZE } from '../../base/pages.ts';
import type { Row } from '../../cpu/instruction-table.ts';
import type { CompiledRow, OpcodeMap } from '../../cpu/opcode-map.ts';
import { allowedForms, dependsOnOperandSize, needsModRM } from '../../cpu/operand-kind.ts';
import { EIP, EIP_BIAS, PAGE_EIP, PAGE_RECORDS } from '../../cpu/state-layout.ts';
import { i32, load } from '../../wasm/index.ts';
import { isCodeAt } from './code-rows.ts';
import { CROSSING_OWNER, CROSSING_REST } from './crossings.ts';
import { EngineEmitter, type Variant } from './engine-emitter.ts';
import { dispatch, InterpreterContext } from './interpreter-context.ts';
import { InterpreterSite } from './interpreter-site.ts';
import {
  CALL_DEPTH,
  FAR_AWAY,
  HANDLER_RELOAD,
  KIND_COUNT,
  KIND_FAR_BRANCH,
  KIND_FLAT,
  KIND_FLAT_INDEX,
  KIND_PAGE_BRANCH,
  KIND_REGISTER,
  KIND_SEGMENTED,
  KIND_SEGMENTED16,
  RECORD_DISPLACEMENT,
  RECORD_HANDLER,
  RECORD_IMMEDIATE,
  RECORD_LENGTH,
  RECORD_SCALE,
  RECORD_SHIFT,
  RELOADS_OFTEN,
  RELOADS_ONE,
  SLOT_PAGE,
} from './record.ts';
import { isReturned, returnedEip, returnedFuel } from './run-result.ts';
import { eipOf, loadState, storeState } from './state-access.ts';
import { packedAux } from './unit-flags.ts';

const VECTOR_UD = 6;
const VECTOR_GP = 13;
/** How many `addSpecialHandlers` adds: they come first. */
const SPECIAL_HANDLERS = HANDLER_RELOAD + 1;
const VARIANTS_PER_ROW = 2 * 2 * KIND_COUNT;

/** Where in `handlers` the variant of a row stands. */
export function variantIndex(
  rowIndex: number,
  operandSize: number,
  kind: number,
  isStackFlat: boolean,
): number {
  const size = operandSize === 4 ? 1 : 0;
  return rowIndex * VARIANTS_PER_ROW + ((isStackFlat ? 2 : 0) + size) * KIND_COUNT + kind;
}

/** Which handler does what; the module's function table holds them in this order. */
export interface HandlerLayout {
  /** Function table index by `variantIndex`; 0 where there is no such variant. */
  readonly handlers: Uint16Array;
  readonly handlerCount: number;
  /** What each function table index stands for; undefined where it is no instruction. */
  readonly meanings: readonly (HandlerMeaning | undefined)[];
}

/** The interpreter: a layout, and the bytes of its module. */
export interface InterpreterModule extends HandlerLayout {
  readonly bytes: Uint8Array;
}

export interface HandlerMeaning {
  readonly compiled: CompiledRow;
  readonly variant: Variant;
}

/** Every way in which a row's operands can be addressed. */
export function kindsOf({ kinds, row, pattern, isBranch }: CompiledRow): number[] {
  const places = kinds.map(({ place }) => place);
  if (isBranch) {
    const branches = [KIND_FAR_BRANCH, KIND_PAGE_BRANCH];
    return row.options.usesAddressSize ? [...branches, KIND_SEGMENTED16] : branches;
  }
  if (places.some((place) => 'OXY'.includes(place))) {
    return [KIND_FLAT, KIND_SEGMENTED, KIND_SEGMENTED16];
  }
  const memory = [KIND_FLAT, KIND_FLAT_INDEX, KIND_SEGMENTED, KIND_SEGMENTED16];
  if (pattern.fixedModRM < 0 && kinds.some((kind) => 'EMQW'.includes(kind.place))) {
    return kinds.some((kind) => needsModRM(kind) && allowedForms(kind) === 'memory')
      ? memory
      : [KIND_REGISTER, ...memory];
  }
  return row.options.usesAddressSize ? [KIND_REGISTER, KIND_SEGMENTED16] : [KIND_REGISTER];
}

function variantsOf(compiled: CompiledRow): Variant[] {
  const { kinds, row } = compiled;
  const hasSizes = kinds.some(dependsOnOperandSize) || row.options.usesOperandSize;
  const variants: Variant[] = [];
  for (const operandSize of hasSizes ? ([2, 4] as const) : ([4] as const)) {
    for (const kind of kindsOf(compiled)) {
      variants.push({ operandSize, kind, isStackFlat: false });
      if (row.options.usesStack) variants.push({ operandSize, kind, isStackFlat: true });
    }
  }
  return variants;
}

/** Numbers the handlers, without building them. */
export function layOutHandlers(map: OpcodeMap): HandlerLayout {
  const handlers = new Uint16Array(map.rows.length * VARIANTS_PER_ROW);
  const meanings: (HandlerMeaning | undefined)[] = new Array(SPECIAL_HANDLERS).fill(undefined);
  for (const compiled of map.rows) {
    for (const variant of variantsOf(compiled)) {
      const index = meanings.push({ compiled, variant }) - 1;
      fillVariant(handlers, compiled, variant, index);
    }
  }
  return { handlers, handlerCount: meanings.length, meanings };
}

/**
 * @param methods names and argument counts of the system methods that rows may call
 * @throws {TypeError} if a row's meaning does not type-check
 */
export function buildInterpreter(
  map: OpcodeMap,
  methods: ReadonlyMap<string, number>,
): InterpreterModule {
  const layout = layOutHandlers(map);
  const context = new InterpreterContext(methods, layout.handlerCount);
  addSpecialHandlers(context);
  for (const [index, meaning] of layout.meanings.entries()) {
    if (meaning === undefined) continue;
    const { compiled, variant } = meaning;
    const at = context.module.addElement(emitHandler(context, compiled, variant));
    assert(at === index, 'handlers stand in the table where the layout has them');
  }
  addRunFunction(context);
  context.shared(packedAux); // Units call it.
  return { ...layout, bytes: context.module.toBytes() };
}

/** A row without a variant by size or by stack answers for every size and stack. */
function fillVariant(
  handlers: Uint16Array,
  compiled: CompiledRow,
  variant: Variant,
  handler: number,
): void {
  const { row, kinds, index } = compiled;
  const hasSizes = kinds.some(dependsOnOperandSize) || row.options.usesOperandSize;
  for (const size of hasSizes ? [variant.operandSize] : [2, 4]) {
    for (const isFlat of row.options.usesStack ? [variant.isStackFlat] : [false, true]) {
      handlers[variantIndex(index, size, variant.kind, isFlat)] = handler;
    }
  }
}

function emitHandler(context: InterpreterContext, compiled: CompiledRow, variant: Variant) {
  const { row } = compiled;
  const name = handlerName(row, variant);
  // Shared functions are declared while the body is built, so the body comes first.
  const reference = context.module.declare(name, context.handlerType.signature);
  return context.module.define(reference, (f) => {
    const usesSegment = variant.kind === KIND_SEGMENTED || variant.kind === KIND_SEGMENTED16;
    const site = new InterpreterSite(context, f, compiled, usesSegment);
    const e = new EngineEmitter(site, compiled, variant);
    row.meaning(e, ...e.operands);
    e.finish();
  });
}

function handlerName(row: Row, { operandSize, kind, isStackFlat }: Variant): string {
  const variant = `${operandSize * 8} k${kind}${isStackFlat ? 's' : ''}`;
  return `${row.mnemonic} ${row.operands.join()} ${variant}`;
}

/** The decoding handler, then HANDLER_LEAVE to HANDLER_RELOAD, in the order of record.ts. */
function addSpecialHandlers(context: InterpreterContext): void {
  const { module, handlerType, slow } = context;
  const add = (name: string, build: Parameters<typeof module.function>[2]) =>
    module.addElement(module.function(name, handlerType.signature, build));
  add('decode', (f) => {
    f.call(slow.decode, f.param(0));
    const handler = load('i32_16u', f.param(0), RECORD_HANDLER);
    f.returnCallIndirect(handlerType, handler, f.param(0), f.param(1));
  });
  add('leave', (f) => f.returnCall(context.lookUp, eipOf(f.param(0)), f.param(1).add(1)));
  add('cross', (f) => {
    const [first, fuel] = [f.param(0), f.param(1)];
    const entry = f.let(load('i32', first, RECORD_DISPLACEMENT));
    f.if(entry, () => {
      const rest = load('i32', entry, CROSSING_REST);
      const next = loadState(PAGE_EIP).add(PAGE_SIZE);
      const isOwner = load('i32', entry, CROSSING_OWNER).eq(first);
      f.if(isOwner, () => {
        f.if(f.call(context.shared(isCodeAt), next, rest), () => {
          const eip = f.let(eipOf(first));
          storeState(f, PAGE_RECORDS, entry);
          storeState(f, PAGE_EIP, eip.add(FAR_AWAY));
          storeState(f, EIP_BIAS, eip.sub(entry.shrU(RECORD_SHIFT)));
          dispatch(context, f, entry, fuel.add(1));
        });
      });
    });
    const record = f.call(slow.findCrossing, f.param(0));
    f.if(record.eq(1), () => f.returnCall(context.fault, f.param(0), f.param(1)));
    dispatch(context, f, record, f.param(1).add(1));
  });
  add('undefined', (f) => raise(context, f, VECTOR_UD, -1));
  add('too-long', (f) => raise(context, f, VECTOR_GP, 0));
  add('reload', (f) => {
    const record = f.param(0);
    const records = f.let(loadState(PAGE_RECORDS));
    const length = load('i32_8u', record, RECORD_LENGTH);
    const next = record.add(length).sub(records).shrU(RECORD_SHIFT);
    const handler = f.let(load('i32', record, RECORD_IMMEDIATE));
    const immediate = load('i32', next.add(load('i32', records, SLOT_PAGE)).sub(4));
    f.store('i32', record, immediate, RECORD_IMMEDIATE);
    const scale = f.let(load('i32_8u', record, RECORD_SCALE));
    f.if(scale.and(RELOADS_OFTEN).ne(RELOADS_OFTEN), () =>
      f.store('i32_8', record, scale.add(RELOADS_ONE), RECORD_SCALE),
    );
    f.store('i32_16', record, handler, RECORD_HANDLER);
    f.returnCallIndirect(handlerType, handler, record, f.param(1));
  });
}

function raise(
  context: InterpreterContext,
  f: Parameters<typeof dispatch>[1],
  vector: number,
  error: number,
): void {
  const record = f.param(0);
  f.returnCall(context.raise, i32(vector), i32(error), record, f.param(1));
}

function addRunFunction(context: InterpreterContext): void {
  const run = context.module.function('run', { params: ['i32'], results: [] }, (f) => {
    const result = f.local('i64');
    storeState(f, CALL_DEPTH, i32(0));
    f.set(result, f.call(context.lookUp, loadState(EIP), f.param(0)));
    f.loop((again) => {
      // A RET whose CALL was not one of WebAssembly, or not of this run.
      f.if(isReturned(result), () => {
        storeState(f, CALL_DEPTH, i32(0));
        f.set(result, f.call(context.go, returnedEip(result), returnedFuel(result)));
        f.br(again);
      });
    });
  });
  context.module.exportFunction('run', run);
}
