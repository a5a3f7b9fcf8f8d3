// What a request can fail with, and the HTTP status that goes with it.

export const PARSE_ERROR = -32700;
export const INVALID_REQUEST = -32600;
export const METHOD_NOT_FOUND = -32601;
export const INVALID_PARAMS = -32602;
export const INTERNAL_ERROR = -32603;
// Resource not found until 2025-11-25.
export const RESOURCE_NOT_FOUND = -32002;
// 2026-07-28, basic/index, "Error codes".
export const HEADER_MISMATCH = -32020;
export const MISSING_CLIENT_CAPABILITY = -32021;
export const UNSUPPORTED_PROTOCOL_VERSION = -32022;

/** A JSON-RPC error. `status` is the HTTP status of a 2026-07-28 answer that is nothing but this error. */
export class RpcError extends Error {
  constructor(code, message, { data, status = STATUS.get(code) ?? 200 } = {}) {
    super(message);
    this.code = code;
    this.data = data;
    this.status = status;
  }

  /** The member `error` of a response. */
  toJSON() {
    return { code: this.code, message: this.message, ...(this.data === undefined ? {} : { data: this.data }) };
  }

  /** What any exception looks like on the wire. */
  static from(error) {
    if (error instanceof RpcError) return error;
    return new RpcError(INTERNAL_ERROR, error instanceof Error ? error.message : String(error));
  }
}

// A bad argument of a tool is the caller's affair and travels with 200; a bad envelope says its 400 by itself.
const STATUS = new Map([
  [PARSE_ERROR, 400],
  [INVALID_REQUEST, 400],
  [METHOD_NOT_FOUND, 404],
  [HEADER_MISMATCH, 400],
  [MISSING_CLIENT_CAPABILITY, 400],
  [UNSUPPORTED_PROTOCOL_VERSION, 400],
]);

/** The client did not declare what the request needs; `required` is a piece of ClientCapabilities. */
export function missingCapability(required) {
  return new RpcError(MISSING_CLIENT_CAPABILITY, `the client did not declare ${JSON.stringify(required)}`, {
    data: { requiredCapabilities: required },
  });
}
