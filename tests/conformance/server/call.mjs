// What a tool or a prompt sees of the request that it serves, in the same way in every era.

import { missingCapability } from './errors.mjs';

const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];

/** What a request of the server needs of the client: a piece of ClientCapabilities. */
const NEEDS = {
  'elicitation/create': { elicitation: {} },
  'sampling/createMessage': { sampling: {} },
  'roots/list': { roots: {} },
};

export class Call {
  /**
   * - `args`: the arguments of the tool or the prompt
   * - `capabilities`: what the client declared
   * - `level`: the lowest level of log messages that it wants; none without one
   * - `progressToken`, `signal`
   * - `notify(method, params)`: sends a notification on the request's own stream
   * - `input(requests, optional)`: asks the client; a promise of the answers under the same keys, without those that an
   *   optional question was refused
   * - `hangUp()`: ends the stream of the response, which the client then picks up again
   */
  constructor(parts) {
    Object.assign(this, { args: {}, capabilities: {}, notify() {}, hangUp() {}, ...parts });
  }

  log(level, data, logger = 'conformance') {
    if (this.level === undefined || LEVELS.indexOf(level) < LEVELS.indexOf(this.level)) return;
    this.notify('notifications/message', { level, logger, data });
  }

  progress(progress, total) {
    if (this.progressToken === undefined) return;
    this.notify('notifications/progress', { progressToken: this.progressToken, progress, total });
  }

  /** The client's answers to `{key: {method, params}}`. */
  async ask(requests) {
    for (const { method } of Object.values(requests)) {
      if (!this.#offers(method)) throw missingCapability(NEEDS[method]);
    }
    return this.input(requests, false);
  }

  /** The same for what the client can be asked; a question that it cannot be, or refuses, has no answer. */
  async askWhatIsPossible(requests) {
    const possible = Object.entries(requests).filter(([, { method }]) => this.#offers(method));
    return this.input(Object.fromEntries(possible), true);
  }

  #offers(method) {
    return Object.keys(NEEDS[method]).every((name) => this.capabilities[name] !== undefined);
  }

  /** Waits, and no longer than the client does. */
  async sleep(ms) {
    await new Promise((done, abort) => {
      const timer = setTimeout(done, ms);
      const stop = () => {
        clearTimeout(timer);
        abort(new Error('cancelled'));
      };
      if (this.signal?.aborted) stop();
      this.signal?.addEventListener('abort', stop, { once: true });
    });
  }
}

/** The three requests a server can make. */
export const elicit = (message, requestedSchema) => ({
  method: 'elicitation/create',
  params: { mode: 'form', message, requestedSchema },
});
export const sample = (question, maxTokens) => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: { type: 'text', text: question } }], maxTokens },
});
export const roots = () => ({ method: 'roots/list', params: {} });

/** A form with fields, all of them required. */
export const form = (properties) => ({ type: 'object', properties, required: Object.keys(properties) });
