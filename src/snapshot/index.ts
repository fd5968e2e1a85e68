// `quire/snapshot`: what a program needs to save, load, compare and keep snapshots.

export { cloneMachine, type MachineClone } from './clone.ts';
export { type CoreImage, type CorePart, coreImageOf, type MappedRegion } from './core-image.ts';
export { type BlockDifference, compareSnapshots, type SnapshotDifference } from './difference.ts';
export type { Compression, Digest, SnapshotPlatform } from './digest.ts';
export { type CoreRegion, type CoreRegisters, elfCoreHeader } from './elf-core.ts';
export type { LazyPages } from './lazy-pages.ts';
export {
  type LoadOptions,
  type MachineSaved,
  MachineSnapshots,
  type MachineSnapshotsOptions,
  type SaveOptions,
} from './machine-snapshots.ts';
export { blobsOf, type Descriptor, type SnapshotManifest } from './manifest.ts';
export { MemoryStore } from './memory-store.ts';
export type { IndexedBlock, PageIndex, PageRun } from './page-index.ts';
export { ResetPoint } from './reset-point.ts';
export type { LoadedSection, SectionValue, StateSection } from './sections.ts';
export {
  SnapshotBuilder,
  type SnapshotBuilderOptions,
  type SnapshotProgress,
  type SnapshotSaved,
} from './snapshot-builder.ts';
export { SnapshotError, type SnapshotErrorCode } from './snapshot-error.ts';
export { type PagePlace, type PagesRead, SnapshotReader } from './snapshot-reader.ts';
export type {
  BlobKey,
  CancelSignal,
  GCReport,
  SnapshotStore,
  SnapshotStoreWriter,
  TagEntry,
} from './store.ts';
export { type VerifyReport, verifySnapshot } from './verify.ts';
