// What the architectural processor asks of the engine that runs ordinary instructions.

/** Injected by the engine: its caches of linear addresses must not outlive a mapping. */
export interface EngineHooks {
  /** Mode, mapping or permissions changed: every linear → code look-up must be forgotten. */
  flushCode(): void;
  /** One linear page was remapped (INVLPG): forget look-ups of code in the page of `linear`. */
  flushCodePage(linear: number): void;
}

/** For a processor without an engine: tests, tools. */
export const NO_HOOKS: EngineHooks = { flushCode() {}, flushCodePage() {} };
