// A WebAssembly assembler: expressions and statements in TypeScript, types checked while building.

export { ByteWriter } from './byte-writer.ts';
export {
  FunctionBuilder,
  type FunctionReference,
  type Label,
  Local,
  type Signature,
} from './function-builder.ts';
export { type FunctionType, ModuleBuilder } from './module-builder.ts';
export { allOperations, type LoadName, type StoreName, type ValueType } from './operations.ts';
export { constantOf, f64, i32, i64, laneOp, load, op, select, Value, v128 } from './value.ts';
