// requestState that a client can carry but not change: JSON and an HMAC over it.
// 2026-07-28, basic/patterns/mrtr, "Security considerations".

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { INVALID_PARAMS, RpcError } from './errors.mjs';

const KEY = randomBytes(32);
const LIFETIME_MS = 10 * 60 * 1000;

const sign = (text) => createHmac('sha256', KEY).update(text).digest('base64url');

/** A short name for what the state belongs to, so that it is of no use for another request. */
export function digest(value) {
  return createHash('sha256').update(JSON.stringify(value)).digest('base64url');
}

/** `value` as text for the client to bring back. */
export function seal(value) {
  const text = Buffer.from(JSON.stringify({ ...value, until: Date.now() + LIFETIME_MS })).toString('base64url');
  return `${text}.${sign(text)}`;
}

/** The value of a state that was sealed here for the same request, or an error. */
export function open(state, request) {
  const refuse = (why) => new RpcError(INVALID_PARAMS, `requestState ${why}`);
  if (typeof state !== 'string') throw refuse('is no string');
  const [text, mark, ...rest] = state.split('.');
  const expected = Buffer.from(sign(text));
  const given = Buffer.from(mark ?? '');
  if (rest.length > 0 || given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw refuse('was changed');
  }
  const value = JSON.parse(Buffer.from(text, 'base64url').toString());
  if (value.until < Date.now()) throw refuse('has expired');
  if (value.request !== request) throw refuse('belongs to another request');
  return value;
}
