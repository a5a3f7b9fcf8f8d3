// 2026-07-28: each request for itself, everything about its client in `_meta`.

import { findPrompt, findTool, listPrompts, listTools, SERVER_INFO } from './catalog.mjs';
import { Call } from './call.mjs';
import { INVALID_PARAMS, METHOD_NOT_FOUND, missingCapability, RpcError, UNSUPPORTED_PROTOCOL_VERSION } from './errors.mjs';
import { listen } from './listen.mjs';
import { complete } from './prompts.mjs';
import { listResources, listTemplates, readResource } from './resources.mjs';
import { digest, open, seal } from './seal.mjs';
import { EXTENSION, findTask, Task } from './tasks.mjs';

export const REVISION = '2026-07-28';
const META = 'io.modelcontextprotocol/';

const CAPABILITIES = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { subscribe: true },
  completions: {},
  logging: {},
  extensions: { [EXTENSION]: {} },
};
// The lists change at any moment (test_trigger_tool_change), and are the same for everybody.
const CACHING = { ttlMs: 0, cacheScope: 'public' };

/** The server needs the client's answers to go on. */
class InputRequired extends Error {
  constructor(inputRequests, requestState) {
    super('input required');
    this.result = { resultType: 'input_required', inputRequests, requestState };
  }
}

/** What a message says about its revision, if anything. */
export const revisionOf = (message) => message?.params?._meta?.[`${META}protocolVersion`];

/**
 * Answers one request with its result. `wire`: `notify(method, params)` sends on the request's own stream; `signal` is
 * aborted when the client has gone.
 */
export async function serve(world, { id, method, params = {} }, wire) {
  const client = readMeta(params);
  const run = METHODS[method];
  if (!run) throw new RpcError(METHOD_NOT_FOUND, `there is no method ${method}`);
  const result = await run({ world, id, method, params, client, wire }).catch((error) => {
    if (error instanceof InputRequired) return error.result;
    throw error;
  });
  const _meta = { ...result._meta, [`${META}serverInfo`]: SERVER_INFO };
  return { resultType: 'complete', ...result, _meta };
}

function readMeta({ _meta: meta }) {
  const bad = (what) => new RpcError(INVALID_PARAMS, `params._meta: ${what}`, { status: 400 });
  if (typeof meta !== 'object' || meta === null) throw bad('is missing');
  const requested = meta[`${META}protocolVersion`];
  if (typeof requested !== 'string') throw bad('protocolVersion is missing');
  if (requested !== REVISION) {
    throw new RpcError(UNSUPPORTED_PROTOCOL_VERSION, `the revision ${requested} is not spoken here`, {
      data: { supported: [REVISION], requested },
    });
  }
  const capabilities = meta[`${META}clientCapabilities`];
  if (typeof capabilities !== 'object' || capabilities === null) throw bad('clientCapabilities are missing');
  return { capabilities, level: meta[`${META}logLevel`], progressToken: meta.progressToken };
}

const METHODS = {
  'server/discover': async () => ({ supportedVersions: [REVISION], capabilities: CAPABILITIES, ...CACHING }),
  'tools/list': async ({ world }) => ({ ...listTools(world), ...CACHING }),
  'prompts/list': async ({ world }) => ({ ...listPrompts(world), ...CACHING }),
  'resources/list': async () => ({ ...listResources(), ...CACHING }),
  'resources/templates/list': async () => ({ ...listTemplates(), ...CACHING }),
  'completion/complete': async ({ params }) => complete(params),
  'resources/read': async ({ params: { uri } }) => {
    const read = readResource(uri);
    if (!read) throw new RpcError(INVALID_PARAMS, `there is no resource ${uri}`, { data: { uri } });
    return { ...read, ...CACHING };
  },
  'prompts/get': async (request) => findPrompt(request.world, request.params.name).get(callOf(request)),
  'tools/call': callTool,
  'tasks/get': async (request) => taskOf(request).details(),
  'tasks/update': async (request) => {
    taskOf(request).answer(readResponses(request.params));
    return {};
  },
  'tasks/cancel': async (request) => {
    taskOf(request).cancel();
    return {};
  },
  'subscriptions/listen': listen,
};

async function callTool(request) {
  const { world, params, client } = request;
  const tool = findTool(world, params.name);
  const takesTasks = client.capabilities.extensions?.[EXTENSION] !== undefined;
  if (tool.task === 'required' && !takesTasks) throw missingCapability({ extensions: { [EXTENSION]: {} } });
  const call = callOf(request);
  const gathered = await tool.prepare?.(call);
  if (!tool.task || !takesTasks) return tool.run(call, gathered);
  return { resultType: 'task', ...Task.create(world, tool, call, gathered).handle() };
}

function taskOf({ world, params, client }) {
  if (client.capabilities.extensions?.[EXTENSION] === undefined) {
    throw missingCapability({ extensions: { [EXTENSION]: {} } });
  }
  return findTask(world, params.taskId);
}

// The tool runs from its start each time; what was answered before travels in the sealed state.
function callOf({ world, method, params, client, wire }) {
  const request = digest([method, params.name, params.arguments ?? {}]);
  const before = params.requestState === undefined ? {} : open(params.requestState, request).answers;
  const answers = { ...before, ...readResponses(params) };
  const input = async (requests) => {
    const missing = Object.entries(requests).filter(([key]) => answers[key] === undefined);
    if (missing.length > 0) throw new InputRequired(Object.fromEntries(missing), seal({ request, answers }));
    return Object.fromEntries(Object.keys(requests).map((key) => [key, answers[key]]));
  };
  return new Call({ ...client, world, args: params.arguments ?? {}, signal: wire.signal, notify: wire.notify, input });
}

function readResponses({ inputResponses: responses }) {
  if (responses === undefined) return {};
  const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(responses) || !Object.values(responses).every(isObject)) {
    throw new RpcError(INVALID_PARAMS, 'inputResponses is no map of objects');
  }
  return responses;
}
