#!/usr/bin/env node
// The reference server of the conformance tests: all that the scenarios of the official suite ask for, in every revision
// from 2025-03-26 to 2026-07-28, without a dependency. See README.md.
//
//   --port N    listen on 127.0.0.1:N; 0, the default, takes a free port. The URL is the first line on stdout.
//   --stdio     speak on stdin and stdout instead
//   --era E     both (the default), modern or legacy

import { parseArgs } from 'node:util';
import { HttpServer } from './server/http.mjs';
import { StdioServer } from './server/stdio.mjs';
import { World } from './server/world.mjs';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    stdio: { type: 'boolean', default: false },
    era: { type: 'string', default: 'both' },
  },
});
if (!['both', 'modern', 'legacy'].includes(values.era)) throw new Error(`--era ${values.era}: both, modern or legacy`);

const world = new World();
if (values.stdio) {
  await new StdioServer(world, values.era).run();
  process.exit(0);
} else {
  console.log(await new HttpServer(world, values.era).listen(Number(values.port)));
}
