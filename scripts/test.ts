// `npm test`: the house checks, then the unit and property tests. `--slow`: the tests that take
// minutes, alone. Other arguments are file filters for vitest. The last line is
// `N passed, N failed, N skipped`, over checks and tests together.

import { startVitest, type TestModule } from 'vitest/node';
import { runChecks } from './check.ts';

const args = process.argv.slice(2);
const isSlow = args.includes('--slow');
const filters = args.filter((arg) => arg !== '--slow');

const counts = { passed: 0, failed: 0, skipped: 0 };

function count(module: TestModule): void {
  let hasFailure = false;
  for (const test of module.children.allTests()) {
    const { state } = test.result();
    if (state === 'passed') counts.passed++;
    else if (state === 'skipped') counts.skipped++;
    else {
      counts.failed++;
      hasFailure = true;
    }
  }
  // A file that does not load, or a hook that fails, is a failure though no test of it ran.
  if (module.state() === 'failed' && !hasFailure) counts.failed++;
}

if (!isSlow) {
  const checked = await runChecks();
  counts.passed += checked.passed;
  counts.failed += checked.failed;
}

const config = isSlow ? 'vitest.slow.config.ts' : 'vitest.config.ts';
const vitest = await startVitest('test', filters, { run: true, watch: false, config });
for (const module of vitest.state.getTestModules()) count(module);
counts.failed += vitest.state.getUnhandledErrors().length;
await vitest.close();

const { passed, failed, skipped } = counts;
if (failed > 0 || passed === 0) process.exitCode = 1;
process.stdout.write(
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`,
);
