#!/usr/bin/env node
// The broker as the client under test. The suite starts this with the URL of a scenario's server as the last argument; it
// starts a node with that server behind it and does, as the node's own client, what the scenario waits for. The scenario and
// the revision come in MCP_CONFORMANCE_SCENARIO and MCP_CONFORMANCE_PROTOCOL_VERSION.
//
//   --program P   the binary `spanwire`
//   --client E    the era of the node's client: modern or legacy; the default is that of the scenario

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { LegacyClient } from './client/legacy.mjs';
import { ModernClient } from './client/modern.mjs';
import { SCENARIOS } from './client/scenarios.mjs';

const VIEW = 'server';
// Below what the suite gives it, so that the node is always stopped from here.
const TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 5000;

const { values, positionals } = parseArgs({
  options: { program: { type: 'string' }, client: { type: 'string' } },
  allowPositionals: true,
});
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const revision = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION;
const era = values.client ?? (revision === '2026-07-28' ? 'modern' : 'legacy');
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');

const folder = mkdtempSync(join(tmpdir(), 'spanwire-conformance-'));
const node = spawn(values.program, ['up', '--config', configuration(positionals.at(-1)), '--json'], {
  cwd: folder,
  stdio: ['ignore', 'pipe', 'pipe'],
});
const log = [];
node.stderr.on('data', (text) => log.push(text));

let failure;
let timer;
const deadline = new Promise((_, refuse) => {
  timer = setTimeout(() => refuse(new Error(`${scenario} took longer than ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
});
try {
  await Promise.race([play(), deadline]);
} catch (error) {
  failure = error;
}
clearTimeout(timer);
await stop();
if (failure) {
  console.error(log.join(''));
  console.error(`client: ${failure.message}`);
}
process.exit(failure ? 1 : 0);

async function play() {
  const url = await serving();
  const client = era === 'modern' ? new ModernClient(url) : new LegacyClient(url, '2025-11-25');
  await client.open();
  await SCENARIOS[scenario](client, context);
  await client.close();
}

function configuration(url) {
  const path = join(folder, 'spanwire.toml');
  const quoted = JSON.stringify;
  writeFileSync(path, `
[node]
id = "client"
data_dir = ${quoted(join(folder, 'data'))}
[listen]
http = "127.0.0.1:0"
grpc = "127.0.0.1:0"
[servers.${VIEW}]
url = ${quoted(url)}
`);
  return path;
}

/** The URL of the server's own view, when the server behind it is there. The node says both on stdout. */
async function serving() {
  let url;
  let last = '';
  for await (const line of createInterface({ input: node.stdout })) {
    last = line;
    const { event, urls, id, state } = JSON.parse(line);
    if (event === 'listening') url = `${urls.mcp}/${VIEW}`;
    if (event === 'server' && id === VIEW && state === 'ready') {
      node.stdout.resume();
      return url;
    }
  }
  throw new Error(`the scenario's server did not become ready: ${last}`);
}

async function stop() {
  if (node.exitCode === null && node.signalCode === null) {
    const ended = once(node, 'exit');
    node.kill('SIGTERM');
    const kill = setTimeout(() => node.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(kill);
  }
  rmSync(folder, { recursive: true, force: true });
}
