// Calls that go on after their answer: the extension io.modelcontextprotocol/tasks (ext-tasks, specification/draft/tasks),
// and what 2025-11-25 (basic/utilities/tasks) calls tasks. One store, two forms on the wire.

import { randomUUID } from 'node:crypto';
import { Call } from './call.mjs';
import { INVALID_PARAMS, RpcError } from './errors.mjs';

export const EXTENSION = 'io.modelcontextprotocol/tasks';
export const RELATED_TASK = 'io.modelcontextprotocol/related-task';

const TTL_MS = 10 * 60 * 1000;
const POLL_INTERVAL_MS = 100;
const MAX_TASKS = 1000;
const ENDED = ['completed', 'failed', 'cancelled'];

export class Task {
  /** Makes a task and starts `tool` in it. */
  static create(world, tool, call, gathered) {
    if (world.tasks.size >= MAX_TASKS) world.tasks.delete(world.tasks.keys().next().value);
    const task = new Task(world);
    world.tasks.set(task.id, task);
    task.#run(tool, call, gathered);
    return task;
  }

  constructor(world) {
    this.world = world;
    this.id = randomUUID();
    this.status = 'working';
    this.createdAt = this.updatedAt = new Date().toISOString();
    // What the client has to answer: by key, {request, settle}.
    this.open = new Map();
    this.asked = 0;
    this.abort = new AbortController();
    this.ended = new Promise((done) => (this.end = done));
  }

  get isEnded() {
    return ENDED.includes(this.status);
  }

  async #run(tool, call, gathered) {
    const own = new Call({ ...call, signal: this.abort.signal, notify() {}, input: (requests) => this.#ask(requests) });
    try {
      const result = await tool.run(own, gathered);
      if (!this.isEnded) this.#become('completed', { result });
    } catch (error) {
      if (!this.isEnded) this.#become('failed', { error: RpcError.from(error).toJSON() });
    }
  }

  // A key is used once in the life of a task, so the tool's own keys get a number.
  async #ask(requests) {
    const answers = Object.entries(requests).map(([key, request]) => {
      this.asked += 1;
      return new Promise((settle) => this.open.set(`${key}-${this.asked}`, { request, settle })).then((value) => [key, value]);
    });
    this.#become('input_required');
    return Object.fromEntries(await Promise.all(answers));
  }

  /** Takes the answers that somebody waits for, and leaves the others. */
  answer(responses) {
    for (const [key, response] of Object.entries(responses)) {
      this.open.get(key)?.settle(response);
      this.open.delete(key);
    }
    if (this.status === 'input_required' && this.open.size === 0) this.#become('working');
  }

  cancel() {
    if (this.isEnded) return;
    this.#become('cancelled');
    this.abort.abort();
  }

  #become(status, outcome = {}) {
    Object.assign(this, { status, updatedAt: new Date().toISOString() }, outcome);
    if (this.isEnded) {
      this.open.clear();
      this.end();
    }
    this.world.changes.emit('task', this);
  }

  /** The handle: what answers tools/call. */
  handle() {
    const times = { createdAt: this.createdAt, lastUpdatedAt: this.updatedAt };
    return { taskId: this.id, status: this.status, ...times, ttlMs: TTL_MS, pollIntervalMs: POLL_INTERVAL_MS };
  }

  /** DetailedTask of the extension. */
  details() {
    const requests = () => Object.fromEntries([...this.open].map(([key, { request }]) => [key, request]));
    return {
      ...this.handle(),
      ...(this.status === 'input_required' ? { inputRequests: requests() } : {}),
      ...(this.status === 'completed' ? { result: this.result } : {}),
      ...(this.status === 'failed' ? { error: this.error } : {}),
    };
  }

  /** Task of 2025-11-25. */
  legacy() {
    const { ttlMs: ttl, pollIntervalMs: pollInterval, ...rest } = this.handle();
    return { ...rest, ttl, pollInterval };
  }
}

/** The task with this id, or an error. */
export function findTask(world, taskId) {
  const task = world.tasks.get(taskId);
  if (!task) throw new RpcError(INVALID_PARAMS, `there is no task ${JSON.stringify(taskId)}`);
  return task;
}
