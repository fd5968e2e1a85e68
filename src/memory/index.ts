// The memory system as a library of its own: `quire/memory`.

export * from './address-space.ts';
export * from './code-pages.ts';
export * from './dirty-memory.ts';
export * from './dma-mapping.ts';
export * from './errors.ts';
export * from './flat-view.ts';
export * from './guest-memory.ts';
export * from './info.ts';
export * from './io-memory-table.ts';
export * from './io-ops.ts';
export * from './memory-listener.ts';
export * from './memory-region.ts';
export * from './missing-pages.ts';
export * from './page-run.ts';
export * from './phys-offset.ts';
export * from './phys-page-map.ts';
export * from './ram-backing.ts';
export * from './ram-block.ts';
export * from './ram-list.ts';
export * from './ram-writes.ts';
export * from './soft-tlb.ts';
export { transaction } from './transaction.ts';
