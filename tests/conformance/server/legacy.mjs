// 2025-11-25 and before: a session, with requests in both directions.

import { findPrompt, findTool, listPrompts, listTools, SERVER_INFO } from './catalog.mjs';
import { Call } from './call.mjs';
import { INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND, RpcError } from './errors.mjs';
import { complete } from './prompts.mjs';
import { listResources, listTemplates, readResource } from './resources.mjs';
import { findTask, RELATED_TASK, Task } from './tasks.mjs';

export const WITH_TASKS = '2025-11-25';
export const REVISIONS = ['2025-11-25', '2025-06-18', '2025-03-26'];

const CAPABILITIES = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { subscribe: true },
  completions: {},
  logging: {},
};
const TASKS = { tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } };

/**
 * One session. A `channel` is where the messages of one request go: `send(message)`, `hangUp()`. `send(message)` of the
 * session itself is for what belongs to no request.
 */
export class Session {
  constructor(world, { protocolVersion, capabilities }, send) {
    this.world = world;
    this.revision = REVISIONS.includes(protocolVersion) ? protocolVersion : REVISIONS[0];
    this.capabilities = capabilities ?? {};
    this.send = send;
    this.subscriptions = new Set();
    // Requests of ours that the client has to answer, and requests of the client that run, both by id.
    this.asked = new Map();
    this.running = new Map();
    this.nextId = 1;
    this.handlers = {
      list: (kind) => this.#push(`notifications/${kind}/list_changed`),
      resource: (uri) => this.subscriptions.has(uri) && this.#push('notifications/resources/updated', { uri }),
    };
    for (const [event, handler] of Object.entries(this.handlers)) world.changes.on(event, handler);
  }

  close() {
    for (const [event, handler] of Object.entries(this.handlers)) this.world.changes.off(event, handler);
    for (const abort of this.running.values()) abort.abort();
  }

  get hasTasks() {
    return this.revision === WITH_TASKS;
  }

  /** The result of initialize. */
  greeting() {
    const capabilities = { ...CAPABILITIES, ...(this.hasTasks ? TASKS : {}) };
    return { protocolVersion: this.revision, capabilities, serverInfo: SERVER_INFO };
  }

  /** Takes a notification or a response. */
  take(message) {
    if (message.method === 'notifications/cancelled') this.running.get(message.params?.requestId)?.abort();
    if (message.method !== undefined) return;
    const waiting = this.asked.get(message.id);
    this.asked.delete(message.id);
    if (message.error) waiting?.refuse(new RpcError(message.error.code, message.error.message, { data: message.error.data }));
    else waiting?.settle(message.result);
  }

  /** Answers a request with its result. */
  async serve({ id, method, params = {} }, channel) {
    const run = METHODS[method] ?? (this.hasTasks ? TASK_METHODS[method] : undefined);
    if (!run) throw new RpcError(METHOD_NOT_FOUND, `there is no method ${method}`);
    const abort = new AbortController();
    this.running.set(id, abort);
    try {
      return await run(this, params, channel, abort.signal);
    } finally {
      this.running.delete(id);
    }
  }

  /** Sends a request to the client and waits for its answer. */
  request(channel, method, params) {
    const id = `server-${this.nextId++}`;
    const answer = new Promise((settle, refuse) => this.asked.set(id, { settle, refuse }));
    channel.send({ jsonrpc: '2.0', id, method, params });
    return answer;
  }

  call(params, channel, signal) {
    const notify = (method, more) => channel.send({ jsonrpc: '2.0', method, params: more });
    const input = async (requests, optional) => {
      const answers = Object.entries(requests).map(async ([key, { method, params: more }]) => {
        const answer = this.request(channel, method, this.#asWritten(method, more));
        return [key, await (optional ? answer.catch(() => undefined) : answer)];
      });
      return Object.fromEntries((await Promise.all(answers)).filter(([, answer]) => answer !== undefined));
    };
    return new Call({
      world: this.world,
      args: params.arguments ?? {},
      capabilities: this.capabilities,
      // Nobody asked for a level: the server decides.
      level: this.level ?? 'info',
      progressToken: params._meta?.progressToken,
      signal,
      notify,
      input,
      hangUp: () => channel.hangUp(),
    });
  }

  // `mode` came with 2025-11-25.
  #asWritten(method, { mode, ...rest }) {
    return method === 'elicitation/create' && this.revision === WITH_TASKS ? { mode, ...rest } : rest;
  }

  #push(method, params) {
    this.send({ jsonrpc: '2.0', method, ...(params ? { params } : {}) });
  }
}

const METHODS = {
  ping: async () => ({}),
  'logging/setLevel': async (session, { level }) => {
    session.level = level;
    return {};
  },
  'tools/list': async (session) => listTools(session.world, { withExecution: session.hasTasks }),
  'prompts/list': async (session) => listPrompts(session.world),
  'resources/list': async () => listResources(),
  'resources/templates/list': async () => listTemplates(),
  'resources/subscribe': async (session, { uri }) => {
    session.subscriptions.add(uri);
    return {};
  },
  'resources/unsubscribe': async (session, { uri }) => {
    session.subscriptions.delete(uri);
    return {};
  },
  'resources/read': async (_, { uri }) => {
    const read = readResource(uri);
    if (!read) throw new RpcError(RESOURCE_NOT_FOUND, `there is no resource ${uri}`, { data: { uri } });
    return read;
  },
  'completion/complete': async (_, params) => complete(params),
  'prompts/get': async (session, params, channel, signal) =>
    findPrompt(session.world, params.name).get(session.call(params, channel, signal)),
  'tools/call': async (session, params, channel, signal) => {
    const tool = findTool(session.world, params.name);
    const call = session.call(params, channel, signal);
    const asTask = session.hasTasks && params.task !== undefined;
    if (session.hasTasks && (tool.task === 'required') && !asTask) {
      throw new RpcError(METHOD_NOT_FOUND, `${params.name} must be called as a task`);
    }
    if (asTask && !tool.task) throw new RpcError(METHOD_NOT_FOUND, `${params.name} cannot be called as a task`);
    // A task asks by itself, so everything that the tool does is in it.
    const all = async (own) => tool.run(own, await tool.prepare?.(own));
    return asTask ? { task: Task.create(session.world, { run: all }, call).legacy() } : all(call);
  },
};

const TASK_METHODS = {
  'tasks/get': async (session, { taskId }) => findTask(session.world, taskId).legacy(),
  'tasks/list': async (session) => ({ tasks: [...session.world.tasks.values()].map((task) => task.legacy()) }),
  'tasks/cancel': async (session, { taskId }) => {
    const task = findTask(session.world, taskId);
    if (task.isEnded) throw new RpcError(INVALID_PARAMS, `the task ${taskId} has ended`);
    task.cancel();
    return task.legacy();
  },
  'tasks/result': async (session, { taskId }, channel) => {
    const task = findTask(session.world, taskId);
    const related = { [RELATED_TASK]: { taskId } };
    const sent = new Set();
    // What the task asks goes out on this stream, once.
    const ask = () => {
      for (const [key, { request }] of task.open) {
        if (sent.has(key)) continue;
        sent.add(key);
        const params = { ...request.params, _meta: related };
        const answer = session.request(channel, request.method, params);
        answer.then((value) => task.answer({ [key]: value }), () => task.cancel());
      }
    };
    const listener = (changed) => changed === task && ask();
    session.world.changes.on('task', listener);
    ask();
    await task.ended;
    session.world.changes.off('task', listener);
    if (task.status === 'completed') return { ...task.result, _meta: related };
    const { code, message } = task.error ?? { code: INVALID_PARAMS, message: `the task ${taskId} was cancelled` };
    throw new RpcError(code, message);
  },
};
