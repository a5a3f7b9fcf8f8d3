// One POST to the node, and the messages that come back: one of JSON, or many of an event stream.

const HEADERS = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

/** Sends `message`; `{status, headers, messages}`, where `messages` is an async iterator. */
export async function post(url, headers, message) {
  const response = await fetch(url, { method: 'POST', headers: { ...HEADERS, ...headers }, body: JSON.stringify(message) });
  return { status: response.status, headers: response.headers, messages: messages(response) };
}

async function* messages(response) {
  if (!response.headers.get('content-type')?.includes('text/event-stream')) {
    const text = await response.text();
    if (text !== '') yield JSON.parse(text);
    return;
  }
  let rest = '';
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      const data = line.startsWith('data:') ? line.slice('data:'.length).trim() : '';
      if (data !== '') yield JSON.parse(data);
    }
  }
}

/** The result of a response; throws its error. */
export function resultOf(response, method) {
  if (response?.error) throw new Error(`${method}: ${response.error.code} ${response.error.message}`);
  if (response?.result === undefined) throw new Error(`${method}: no response`);
  return response.result;
}

/**
 * What a user of the broker says to a request of the server: the defaults of the form (SEP-1034), and consent where a field
 * has none.
 */
export function answer({ method, params }) {
  if (method !== 'elicitation/create') throw new Error(`nobody answers ${method}`);
  const fields = Object.entries(params.requestedSchema?.properties ?? {});
  const value = ({ type, default: given }) => given ?? (type === 'boolean' ? true : undefined);
  const content = fields.map(([name, schema]) => [name, value(schema)]).filter(([, given]) => given !== undefined);
  return { action: 'accept', content: Object.fromEntries(content) };
}
