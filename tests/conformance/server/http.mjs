// Streamable HTTP for both eras on one endpoint.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { INVALID_REQUEST, PARSE_ERROR, RpcError } from './errors.mjs';
import { compare, compareRevision, isLocal } from './headers.mjs';
import { REVISIONS, Session, WITH_TASKS } from './legacy.mjs';
import * as modern from './modern.mjs';
import { EventStream } from './sse.mjs';

const PATH = '/mcp';
const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_SESSIONS = 1000;

/** The answer to one POST: JSON, unless something must be said before the result is there. */
class Reply {
  /** `open` makes the stream when it is needed, which is at once if the client prefers one. */
  constructor(response, open, prefersStream = false) {
    this.response = response;
    this.open = open;
    if (prefersStream) this.#start();
  }

  send(message) {
    this.#start().send(message);
  }

  hangUp() {
    this.#start().hangUp();
  }

  finish(message, status = 200) {
    if (this.stream) {
      this.stream.send(message);
      this.stream.end();
    } else {
      json(this.response, status, message);
    }
  }

  #start() {
    if (!this.stream) {
      this.stream = this.open();
      this.stream.attach(this.response);
    }
    return this.stream;
  }
}

export class HttpServer {
  /** `era`: both, modern or legacy. */
  constructor(world, era) {
    this.world = world;
    this.era = era;
    this.sessions = new Map();
    this.server = createServer((request, response) => {
      this.#handle(request, response).catch((error) => {
        const failure = RpcError.from(error);
        if (!response.headersSent) json(response, failure.status === 200 ? 500 : failure.status, failed(null, failure));
      });
    });
  }

  /** Listens on loopback and returns the URL. */
  async listen(port) {
    await new Promise((done) => this.server.listen(port, '127.0.0.1', done));
    return `http://127.0.0.1:${this.server.address().port}${PATH}`;
  }

  async #handle(request, response) {
    if (!isLocal(request.headers)) return void response.writeHead(403).end();
    if (new URL(request.url, 'http://local').pathname !== PATH) return void response.writeHead(404).end();
    if (request.method === 'POST') return this.#post(request, response);
    if (this.era === 'modern' || !['GET', 'DELETE'].includes(request.method)) {
      return void response.writeHead(405, { allow: 'POST' }).end();
    }
    const session = this.#session(request, response);
    if (!session) return undefined;
    return request.method === 'GET' ? this.#get(session, request, response) : this.#delete(session, response);
  }

  async #post(request, response) {
    const message = await readBody(request);
    if (typeof message !== 'object' || message === null || Array.isArray(message) || message.jsonrpc !== '2.0') {
      throw new RpcError(INVALID_REQUEST, 'the body is no JSON-RPC message');
    }
    return this.#isModern(request.headers, message)
      ? this.#postModern(request, response, message)
      : this.#postLegacy(request, response, message);
  }

  #isModern(headers, message) {
    if (this.era !== 'both') return this.era === 'modern';
    const header = headers['mcp-protocol-version'];
    return modern.revisionOf(message) !== undefined || message.method === 'server/discover' ||
      (header !== undefined && !REVISIONS.includes(header));
  }

  async #postModern(request, response, message) {
    if (message.id === undefined || message.method === undefined) return void response.writeHead(202).end();
    const abort = new AbortController();
    response.on('close', () => abort.abort());
    const reply = new Reply(response, () => new EventStream());
    const notify = (method, params) => reply.send({ jsonrpc: '2.0', method, params });
    try {
      compareRevision(request.headers['mcp-protocol-version'], modern.revisionOf(message));
      if (modern.revisionOf(message) === modern.REVISION) compare(this.world, request.headers, message);
      const result = await modern.serve(this.world, message, { notify, signal: abort.signal });
      reply.finish({ jsonrpc: '2.0', id: message.id, result });
    } catch (error) {
      const failure = RpcError.from(error);
      reply.finish(failed(message.id, failure), failure.status);
    }
  }

  async #postLegacy(request, response, message) {
    if (message.method === 'initialize' && message.id !== undefined) return this.#initialize(response, message);
    const session = this.#session(request, response);
    if (!session) return undefined;
    if (message.id === undefined || message.method === undefined) {
      session.take(message);
      return void response.writeHead(202).end();
    }
    // Whoever names the stream first gets one.
    const prefersStream = request.headers.accept?.trim().startsWith('text/event-stream') ?? false;
    const reply = new Reply(response, () => this.#stream(session), prefersStream);
    try {
      reply.finish({ jsonrpc: '2.0', id: message.id, result: await session.serve(message, reply) });
    } catch (error) {
      reply.finish(failed(message.id, RpcError.from(error)));
    }
    return undefined;
  }

  #initialize(response, { id, params }) {
    if (this.sessions.size >= MAX_SESSIONS) this.#end(this.sessions.values().next().value);
    const key = randomUUID();
    const session = new Session(this.world, params ?? {}, (message) => session.own?.send(message));
    Object.assign(session, { key, streams: new Map() });
    this.sessions.set(key, session);
    json(response, 200, { jsonrpc: '2.0', id, result: session.greeting() }, { 'mcp-session-id': key });
  }

  /** The session that the request names; undefined when it was refused. */
  #session({ headers }, response) {
    const revision = headers['mcp-protocol-version'];
    if (revision !== undefined && !REVISIONS.includes(revision)) {
      json(response, 400, failed(null, new RpcError(INVALID_REQUEST, `the revision ${revision} is not spoken here`)));
      return undefined;
    }
    const key = headers['mcp-session-id'];
    const session = this.sessions.get(key);
    if (session) return session;
    const error = new RpcError(INVALID_REQUEST, key === undefined ? 'Mcp-Session-Id is missing' : 'there is no such session');
    json(response, key === undefined ? 400 : 404, failed(null, error));
    return undefined;
  }

  #stream(session) {
    const name = `s${session.streams.size + 1}`;
    const stream = new EventStream({ name, primed: session.revision === WITH_TASKS });
    session.streams.set(name, stream);
    return stream;
  }

  #get(session, request, response) {
    const last = request.headers['last-event-id'];
    if (last !== undefined) {
      const [name, number] = last.split('-');
      const stream = session.streams.get(name);
      if (!stream) return void response.writeHead(404).end();
      return stream.attach(response, Number(number));
    }
    if (session.own?.response) return void response.writeHead(409).end();
    session.own ??= this.#stream(session);
    return session.own.attach(response);
  }

  #delete(session, response) {
    this.#end(session);
    response.writeHead(204).end();
  }

  #end(session) {
    this.sessions.delete(session.key);
    session.close();
    for (const stream of session.streams.values()) stream.end();
  }
}

const failed = (id, error) => ({ jsonrpc: '2.0', id, error: error.toJSON() });

function json(response, status, message, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(message));
}

async function readBody(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY_BYTES) throw new RpcError(INVALID_REQUEST, 'the body is too large', { status: 413 });
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    throw new RpcError(PARSE_ERROR, 'the body is no JSON');
  }
}
