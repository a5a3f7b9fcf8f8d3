// A client of 2026-07-28.

import { answer, post, resultOf } from './wire.mjs';

const REVISION = '2026-07-28';
const META = 'io.modelcontextprotocol/';
const MAX_ROUNDS = 8;
const NAMED = { 'tools/call': 'name', 'prompts/get': 'name', 'resources/read': 'uri' };

export class ModernClient {
  constructor(url) {
    this.url = url;
    this.nextId = 1;
  }

  async open() {
    this.tools = (await this.request('tools/list')).tools;
  }

  async close() {}

  /** The result, after as many rounds of input as the server wants. */
  async request(method, params = {}) {
    let answers = {};
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const result = await this.#once(method, { ...params, ...answers });
      if (result.resultType !== 'input_required') return result;
      const given = Object.entries(result.inputRequests ?? {}).map(([key, request]) => [key, answer(request)]);
      const state = result.requestState === undefined ? {} : { requestState: result.requestState };
      answers = { inputResponses: Object.fromEntries(given), ...state };
    }
    throw new Error(`${method}: more than ${MAX_ROUNDS} rounds`);
  }

  async #once(method, params) {
    const id = this.nextId++;
    const _meta = {
      [`${META}protocolVersion`]: REVISION,
      [`${META}clientInfo`]: { name: 'spanwire-conformance-client', version: '1.0.0' },
      [`${META}clientCapabilities`]: { elicitation: { form: {} } },
    };
    const message = { jsonrpc: '2.0', id, method, params: { ...params, _meta } };
    const { messages } = await post(this.url, this.#headers(method, params), message);
    for await (const incoming of messages) if (incoming.id === id) return resultOf(incoming, method);
    return resultOf(undefined, method);
  }

  #headers(method, params) {
    const headers = { 'mcp-protocol-version': REVISION, 'mcp-method': method };
    const name = params[NAMED[method]];
    if (name !== undefined) headers['mcp-name'] = encoded(name);
    if (method !== 'tools/call') return headers;
    const properties = this.tools?.find((tool) => tool.name === name)?.inputSchema.properties ?? {};
    for (const [key, { 'x-mcp-header': suffix }] of Object.entries(properties)) {
      const value = params.arguments?.[key];
      if (suffix && value !== undefined && value !== null) headers[`mcp-param-${suffix}`] = encoded(String(value));
    }
    return headers;
  }
}

/** A header value as it must be written (basic/transports/streamable-http, "Value Encoding"). */
function encoded(value) {
  const isPlain = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value) || value === '';
  return isPlain && !/^=\?base64\?.*\?=$/.test(value) ? value : `=?base64?${Buffer.from(value).toString('base64')}?=`;
}
