// What takes minutes: real guests booted to their prompts. `npm run test:slow`.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/slow/**/*.test.ts'],
    maxWorkers: 1,
    testTimeout: 60 * 60_000,
    hookTimeout: 20 * 60_000,
  },
});
