import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(`src/${path}`, import.meta.url));

export default defineConfig({
  resolve: {
    // Examples in README and docs/ run as they stand, on the source.
    alias: [
      { find: /^quire$/, replacement: source('index.ts') },
      { find: /^quire\/memory$/, replacement: source('memory/index.ts') },
      { find: /^quire\/node$/, replacement: source('cli/node-host.ts') },
    ],
  },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    exclude: ['test/slow/**'],
    maxWorkers: 2,
    testTimeout: 30_000,
  },
});
