#!/usr/bin/env node
// `quire`: the command line, from the few files of the bundle if it is up to date.

import { readyBundle } from './bundle.ts';

const bundle = readyBundle();
await (bundle === undefined ? import('./command-line.ts') : import(bundle));
