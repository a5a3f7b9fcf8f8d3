// What the headers of a request must say: where it comes from, and the same as its body.

import { findTool } from './catalog.mjs';
import { HEADER_MISMATCH, RpcError } from './errors.mjs';

const LOCAL = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Whether a browser on a foreign page could not have sent this. */
export function isLocal({ host, origin }) {
  const name = (url) => {
    try {
      return new URL(url).hostname;
    } catch {
      return undefined;
    }
  };
  return LOCAL.has(name(`http://${host}`)) && (origin === undefined || LOCAL.has(name(origin)));
}

const NAMED = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
  'tasks/get': 'taskId',
  'tasks/update': 'taskId',
  'tasks/cancel': 'taskId',
};

/** Refuses a 2026-07-28 request whose headers say something else than its body (basic/transports/streamable-http). */
export function compare(world, headers, { method, params = {} }) {
  same('Mcp-Method', headers['mcp-method'], method);
  const field = NAMED[method];
  if (field && params[field] !== undefined) same('Mcp-Name', decode('Mcp-Name', headers['mcp-name']), params[field]);
  if (method === 'tools/call') compareParameters(world, headers, params);
}

/** Likewise its revision, which is looked at before anything else. */
export function compareRevision(header, inBody) {
  if (inBody !== undefined) same('MCP-Protocol-Version', header, inBody);
}

function compareParameters(world, headers, { name, arguments: args = {} }) {
  const properties = findTool(world, name).definition.inputSchema.properties ?? {};
  for (const [key, { 'x-mcp-header': suffix }] of Object.entries(properties)) {
    if (suffix === undefined) continue;
    const header = `Mcp-Param-${suffix}`;
    const given = decode(header, headers[header.toLowerCase()]);
    const wanted = args[key] === undefined || args[key] === null ? undefined : String(args[key]);
    same(header, given, wanted);
  }
}

function same(header, given, wanted) {
  if (given?.trim() === wanted) return;
  const what = given === undefined ? 'is missing' : `is ${JSON.stringify(given)}`;
  throw new RpcError(HEADER_MISMATCH, `${header} ${what}, the body says ${JSON.stringify(wanted)}`);
}

function decode(header, value) {
  const [, encoded] = /^=\?base64\?(.*)\?=$/.exec(value?.trim() ?? '') ?? [];
  if (encoded === undefined) return value;
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) throw new RpcError(HEADER_MISMATCH, `${header} is no base64`);
  return bytes.toString();
}
