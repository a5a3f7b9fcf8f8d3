// Everything that is offered, by name.

import { ASKING } from './asking.mjs';
import { INVALID_PARAMS, RpcError } from './errors.mjs';
import { JOBS } from './jobs.mjs';
import { EXTRA as EXTRA_PROMPT, PROMPTS } from './prompts.mjs';
import { ANSWERING, EXTRA as EXTRA_TOOL } from './tools.mjs';

export const SERVER_INFO = { name: 'spanwire-conformance', version: '1.0.0' };

const TOOLS = [...ANSWERING, ...ASKING, ...JOBS];

const tools = (world) => (world.extraTool ? [...TOOLS, EXTRA_TOOL] : TOOLS);
const prompts = (world) => (world.extraPrompt ? [...PROMPTS, EXTRA_PROMPT] : PROMPTS);

/** The result of tools/list; `withExecution` adds the task support of 2025-11-25. */
export function listTools(world, { withExecution = false } = {}) {
  const shown = ({ definition, task }) =>
    withExecution && task ? { ...definition, execution: { taskSupport: task } } : definition;
  return { tools: tools(world).map(shown) };
}

export function listPrompts(world) {
  return { prompts: prompts(world).map(({ definition }) => definition) };
}

export function findTool(world, name) {
  return found(tools(world), 'tool', name);
}

export function findPrompt(world, name) {
  return found(prompts(world), 'prompt', name);
}

function found(list, kind, name) {
  const entry = list.find(({ definition }) => definition.name === name);
  if (!entry) throw new RpcError(INVALID_PARAMS, `there is no ${kind} ${JSON.stringify(name)}`);
  return entry;
}
