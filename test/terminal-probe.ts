// Run by cli-terminal.test.ts on a terminal of its own: takes it over, then
// leaves by the way named.

import { Terminal } from '../src/cli/terminal.ts';

const [way] = process.argv.slice(2);
const terminal = new Terminal(() => {});
terminal.open();
process.stdout.write(`raw: ${process.stdin.isRaw}\n`);

switch (way) {
  case 'close':
    terminal.close();
    break;
  case 'exit':
    process.exit(0);
    break;
  case 'throw':
    setTimeout(() => {
      throw new Error('thrown');
    });
    break;
  case 'reject':
    void Promise.reject(new Error('rejected'));
    break;
  default:
    process.kill(process.pid, way as NodeJS.Signals);
}
