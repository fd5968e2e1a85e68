// Puts functions, imports, a table and exports together into a WebAssembly module.
// WebAssembly Core Specification, section 5.5 "Modules".

import { ByteWriter } from './byte-writer.ts';
import {
  FunctionBuilder,
  type FunctionReference,
  type Signature,
  TYPE_CODES,
} from './function-builder.ts';

const MAGIC_AND_VERSION = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const SECTION = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  export: 7,
  element: 9,
  code: 10,
} as const;
const FUNCREF = 0x70;

/** A signature with its place in a module's type section, as indirect calls name it. */
export interface FunctionType {
  readonly index: number;
  readonly signature: Signature;
}

interface MemoryImport {
  readonly module: string;
  readonly name: string;
  readonly pagesMin: number;
}

/**
 * A module under construction: types, imports, functions, a table and exports. Imported functions
 * come before defined ones in WebAssembly's numbering, so they are declared first.
 */
export class ModuleBuilder {
  readonly #types: Signature[] = [];
  readonly #imports: { module: string; name: string; typeIndex: number }[] = [];
  readonly #functions: { reference: FunctionReference; body: Uint8Array | undefined }[] = [];
  readonly #exports: { name: string; kind: number; index: number }[] = [];
  readonly #elements: FunctionReference[] = [];
  #memory: MemoryImport | undefined;
  #tableImport: { module: string; name: string; sizeMin: number } | undefined;
  #hasTable = false;

  /** The index of a function type, added if it is new. */
  type(signature: Signature): FunctionType {
    const key = keyOf(signature);
    let index = this.#types.findIndex((known) => keyOf(known) === key);
    if (index < 0) index = this.#types.push(signature) - 1;
    return { index, signature };
  }

  /** Memory 0. */
  importMemory(module: string, name: string, pagesMin: number): void {
    this.#memory = { module, name, pagesMin };
  }

  /** Table 0, given from outside. */
  importTable(module: string, name: string, sizeMin: number): void {
    this.#tableImport = { module, name, sizeMin };
  }

  /** @throws {Error} if a function was declared already: imports come first in the index space */
  importFunction(module: string, name: string, signature: Signature): FunctionReference {
    if (this.#functions.length > 0) {
      throw new Error(`Cannot import "${name}" as imports must come before functions`);
    }
    const typeIndex = this.type(signature).index;
    const index = this.#imports.push({ module, name, typeIndex }) - 1;
    return { name, index, typeIndex, signature };
  }

  /** Reserves a function, so that others may call it before it is defined. */
  declare(name: string, signature: Signature): FunctionReference {
    const typeIndex = this.type(signature).index;
    const index = this.#imports.length + this.#functions.length;
    const reference = { name, index, typeIndex, signature };
    this.#functions.push({ reference, body: undefined });
    return reference;
  }

  define(reference: FunctionReference, build: (f: FunctionBuilder) => void): FunctionReference {
    const builder = new FunctionBuilder(reference.signature);
    try {
      build(builder);
    } catch (error) {
      throw new TypeError(`Cannot build function "${reference.name}": ${String(error)}`, {
        cause: error,
      });
    }
    this.#functions[reference.index - this.#imports.length]!.body = builder.finish();
    return reference;
  }

  function(
    name: string,
    signature: Signature,
    build: (f: FunctionBuilder) => void,
  ): FunctionReference {
    return this.define(this.declare(name, signature), build);
  }

  /** Adds a function whose body was built beforehand, so that its calls could add imports. */
  append(name: string, body: FunctionBuilder): FunctionReference {
    const reference = this.declare(name, body.signature);
    this.#functions[reference.index - this.#imports.length]!.body = body.finish();
    return reference;
  }

  exportFunction(name: string, reference: FunctionReference): void {
    this.#exports.push({ name, kind: 0, index: reference.index });
  }

  /** Appends to table 0 and gives the index there. */
  addElement(reference: FunctionReference): number {
    this.#hasTable = true;
    return this.#elements.push(reference) - 1;
  }

  /** @throws {Error} if a declared function was never defined */
  toBytes(): Uint8Array {
    const module = new ByteWriter();
    for (const byte of MAGIC_AND_VERSION) module.u8(byte);
    section(module, SECTION.type, (out) => this.#writeTypes(out));
    section(module, SECTION.import, (out) => this.#writeImports(out));
    section(module, SECTION.function, (out) => {
      out.u32(this.#functions.length);
      for (const { reference } of this.#functions) out.u32(reference.typeIndex);
    });
    if (this.#hasTable && !this.#tableImport) {
      section(module, SECTION.table, (out) => {
        out.u32(1);
        out.u8(FUNCREF);
        out.u8(0);
        out.u32(this.#elements.length);
      });
    }
    section(module, SECTION.export, (out) => {
      out.u32(this.#exports.length);
      for (const { name, kind, index } of this.#exports) {
        out.name(name);
        out.u8(kind);
        out.u32(index);
      }
    });
    if (this.#hasTable) section(module, SECTION.element, (out) => this.#writeElements(out));
    section(module, SECTION.code, (out) => {
      out.u32(this.#functions.length);
      for (const { reference, body } of this.#functions) {
        if (!body) throw new Error(`Cannot finish the module: "${reference.name}" has no body`);
        out.sized(body);
      }
    });
    section(module, SECTION.custom, (out) => this.#writeNames(out));
    return module.bytes.slice();
  }

  #writeTypes(out: ByteWriter): void {
    out.u32(this.#types.length);
    for (const { params, results } of this.#types) {
      out.u8(0x60);
      for (const list of [params, results]) {
        out.u32(list.length);
        for (const type of list) out.u8(TYPE_CODES[type]);
      }
    }
  }

  #writeImports(out: ByteWriter): void {
    const memory = this.#memory;
    const table = this.#tableImport;
    out.u32(this.#imports.length + (memory ? 1 : 0) + (table ? 1 : 0));
    for (const { module, name, typeIndex } of this.#imports) {
      out.name(module);
      out.name(name);
      out.u8(0);
      out.u32(typeIndex);
    }
    if (table) {
      out.name(table.module);
      out.name(table.name);
      out.u8(1);
      out.u8(FUNCREF);
      out.u8(0);
      out.u32(table.sizeMin);
    }
    if (memory) {
      out.name(memory.module);
      out.name(memory.name);
      out.u8(2);
      out.u8(0);
      out.u32(memory.pagesMin);
    }
  }

  #writeElements(out: ByteWriter): void {
    out.u32(1);
    out.u32(0);
    out.u8(0x41);
    out.s32(0);
    out.u8(0x0b);
    out.u32(this.#elements.length);
    for (const reference of this.#elements) out.u32(reference.index);
  }

  /** Function names, for profiles and stack traces. */
  #writeNames(out: ByteWriter): void {
    out.name('name');
    const names = new ByteWriter();
    names.u32(this.#functions.length);
    for (const { reference } of this.#functions) {
      names.u32(reference.index);
      names.name(reference.name);
    }
    out.u8(1);
    out.sized(names.bytes);
  }
}

function keyOf({ params, results }: Signature): string {
  return `${params.join()}>${results.join()}`;
}

function section(module: ByteWriter, id: number, write: (out: ByteWriter) => void): void {
  const content = new ByteWriter();
  write(content);
  module.u8(id);
  module.sized(content.bytes);
}
