// Both eras on stdin and stdout, one message a line.

import { createInterface } from 'node:readline';
import { PARSE_ERROR, RpcError } from './errors.mjs';
import { Session } from './legacy.mjs';
import * as modern from './modern.mjs';

const failed = (id, error) => ({ jsonrpc: '2.0', id, error: RpcError.from(error).toJSON() });

export class StdioServer {
  /** `era`: both, modern or legacy. */
  constructor(world, era) {
    this.world = world;
    this.era = era;
    // Modern requests that run, by id.
    this.running = new Map();
    this.session = undefined;
  }

  /** Serves until stdin ends. */
  async run() {
    for await (const line of createInterface({ input: process.stdin })) {
      if (line.trim() === '') continue;
      try {
        this.#take(JSON.parse(line));
      } catch {
        this.#send(failed(null, new RpcError(PARSE_ERROR, 'the line is no JSON')));
      }
    }
    this.session?.close();
  }

  #send(message) {
    process.stdout.write(`${JSON.stringify(message)}\n`);
  }

  #isModern(message) {
    if (this.era !== 'both') return this.era === 'modern';
    return modern.revisionOf(message) !== undefined || message.method === 'server/discover';
  }

  #take(message) {
    if (message.id === undefined || message.method === undefined) {
      if (message.method === 'notifications/cancelled') this.running.get(message.params?.requestId)?.abort();
      this.session?.take(message);
    } else if (this.#isModern(message)) {
      this.#modern(message);
    } else {
      this.#legacy(message);
    }
  }

  async #modern(message) {
    const abort = new AbortController();
    this.running.set(message.id, abort);
    const notify = (method, params) => this.#send({ jsonrpc: '2.0', method, params });
    try {
      const result = await modern.serve(this.world, message, { notify, signal: abort.signal });
      if (!abort.signal.aborted) this.#send({ jsonrpc: '2.0', id: message.id, result });
    } catch (error) {
      if (!abort.signal.aborted) this.#send(failed(message.id, error));
    }
    this.running.delete(message.id);
  }

  async #legacy(message) {
    if (message.method === 'initialize') {
      this.session?.close();
      this.session = new Session(this.world, message.params ?? {}, (own) => this.#send(own));
      this.#send({ jsonrpc: '2.0', id: message.id, result: this.session.greeting() });
      return;
    }
    // Before initialize there is nothing but the refusal of a method that nobody knows.
    const session = this.session ?? new Session(this.world, {}, () => {});
    try {
      const result = await session.serve(message, { send: (own) => this.#send(own), hangUp() {} });
      this.#send({ jsonrpc: '2.0', id: message.id, result });
    } catch (error) {
      this.#send(failed(message.id, error));
    }
    if (session !== this.session) session.close();
  }
}
