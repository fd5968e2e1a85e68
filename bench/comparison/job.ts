// What one process of a comparison is to do, as the processes of Quire and v86 get it: JSON in the
// first argument. They answer on file descriptor 3, one JSON object a line.

import type { Mark, Plan } from './plan.ts';

/** A guest and what to wait for. Paths are absolute. */
export interface Job {
  readonly format: 'linux' | 'multiboot';
  readonly kernelPath: string;
  readonly initrdPath?: string;
  readonly commandLine: string;
  readonly memoryBytes: number;
  readonly plan: Plan;
  /** QEMU's name of the processor to show; the other systems have one only. */
  readonly qemuCPU: string;
  /** The process ends by itself then, so that a profile of it is written. */
  readonly limitSeconds?: number;
}

/** What the process of Quire needs besides. */
export interface QuireJob extends Job {
  readonly isTranslating: boolean;
}

/** What the process of v86 needs besides. */
export interface V86Job extends Job {
  readonly biosPath: string;
  readonly vgaBIOSPath: string;
  readonly isJITEnabled: boolean;
}

/** A line on file descriptor 3. */
export type Report =
  | { readonly kind: 'mark'; readonly mark: Mark }
  | { readonly kind: 'done' }
  /** The guest stopped before the plan was through. */
  | { readonly kind: 'end'; readonly reason: string };
