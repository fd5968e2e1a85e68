// Which room may import which: the table of docs/architecture.md, "The rooms". An arrow that is not
// here fails `npm run check`.

import { cruise, type ICruiseResult, type IForbiddenRuleType } from 'dependency-cruiser';
import extractTSConfig from 'dependency-cruiser/config-utl/extract-ts-config';

/** Room → the rooms it may import besides itself. Paths are folders of the repository. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  'src/base': [],
  'src/memory': ['src/base'],
  'src/wasm': ['src/base'],
  // An instruction's meaning is emitted through the assembler; what runs it stays unknown.
  'src/cpu': ['src/base', 'src/memory', 'src/wasm'],
  'src/accel': ['src/base', 'src/memory', 'src/cpu', 'src/wasm'],
  // KVM is a host's: it needs Node, and its system calls through a foreign-function library.
  'src/accel/kvm': ['src/base', 'src/memory', 'src/cpu', 'node', 'koffi'],
  'src/devices': ['src/base', 'src/memory'],
  'src/machine': ['src/base', 'src/memory', 'src/cpu', 'src/devices'],
  // What chips save is declared in devices, what a processor's state area holds in cpu.
  'src/snapshot': ['src/base', 'src/memory', 'src/cpu', 'src/devices', 'src/machine'],
  'src/migration': ['src/base', 'src/memory', 'src/machine', 'src/snapshot'],
};

/** What a room imports that is no folder: as dependency-cruiser resolves it. */
const OUTSIDE: Readonly<Record<string, string>> = {
  node: '^(node:)?(fs|module)$',
  koffi: '^node_modules/koffi/',
};

/** Tests, and what stands outside src/, may look into every room. */
const FREE = ['\\.test\\.ts$', '^test/', '^bench/', '^scripts/', '^web/', '^[^/]+$'];

/** Rooms that lie in the folder of another one, and have arrows of their own. */
function roomsWithin(room: string): string[] {
  return Object.keys(ARROWS)
    .filter((other) => other.startsWith(`${room}/`))
    .map((other) => `^${other}/`);
}

function rules(): IForbiddenRuleType[] {
  const forbidden: IForbiddenRuleType[] = Object.entries(ARROWS).map(([room, allowed]) => ({
    name: `${room} imports only ${allowed.join(', ') || 'itself'}`,
    severity: 'error',
    from: { path: `^${room}/`, pathNot: [...FREE, ...roomsWithin(room)] },
    to: {
      // Test helpers and Node's own modules count too: the core has no platform.
      path: '.',
      pathNot: [room, ...allowed].map((name) => OUTSIDE[name] ?? `^${name}/`),
    },
  }));
  forbidden.push({
    name: 'nothing imports the command line',
    severity: 'error',
    from: { pathNot: ['^src/cli/', ...FREE] },
    to: { path: '^src/cli/' },
  });
  forbidden.push({
    name: 'no cycles',
    severity: 'error',
    from: {},
    // Types are erased before anything runs, and what is loaded later finds everything there.
    to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only', 'dynamic-import'] } },
  });
  return forbidden;
}

/** Every import that has no arrow, and every cycle, as lines for people. */
export async function forbiddenImports(): Promise<string[]> {
  const result = await cruise(
    ['src', 'test', 'bench', 'scripts'],
    {
      ruleSet: { forbidden: rules() },
      validate: true,
      tsPreCompilationDeps: true,
      doNotFollow: { path: 'node_modules' },
    },
    { extensions: ['.ts', '.js', '.mjs', '.json'] },
    { tsConfig: extractTSConfig('tsconfig.test.json') },
  );
  const { violations } = (result.output as ICruiseResult).summary;
  return violations.map((violation) => {
    const path = violation.cycle?.map((step) => step.name).join(' → ') ?? violation.to;
    return `${violation.from} → ${path}: ${violation.rule.name}`;
  });
}
