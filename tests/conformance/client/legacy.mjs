// A client of 2025-11-25 or before, with a session.

import { answer, post, resultOf } from './wire.mjs';

export class LegacyClient {
  constructor(url, revision) {
    this.url = url;
    this.revision = revision;
    this.nextId = 1;
    this.headers = {};
  }

  async open() {
    const { protocolVersion } = await this.request('initialize', {
      protocolVersion: this.revision,
      capabilities: { elicitation: {} },
      clientInfo: { name: 'spanwire-conformance-client', version: '1.0.0' },
    });
    this.headers['mcp-protocol-version'] = protocolVersion;
    await this.#send({ method: 'notifications/initialized' });
    this.tools = (await this.request('tools/list')).tools;
  }

  async close() {
    await fetch(this.url, { method: 'DELETE', headers: this.headers });
  }

  /** The result; what the server asks on the way is answered. */
  async request(method, params = {}) {
    const id = this.nextId++;
    for await (const incoming of await this.#send({ id, method, params })) {
      if (incoming.method !== undefined && incoming.id !== undefined) {
        await this.#send({ id: incoming.id, result: answer(incoming) });
      } else if (incoming.id === id) {
        return resultOf(incoming, method);
      }
    }
    return resultOf(undefined, method);
  }

  async #send(message) {
    const { headers, messages } = await post(this.url, this.headers, { jsonrpc: '2.0', ...message });
    const session = headers.get('mcp-session-id');
    if (session !== null) this.headers['mcp-session-id'] = session;
    return messages;
  }
}
