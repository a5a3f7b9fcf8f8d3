// A stream of server-sent events that can lose its connection and get another one (2025-11-25, basic/transports).

const MAX_KEPT = 256;
const RETRY_MS = 50;
const KEEP_ALIVE_MS = 15_000;

const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
};

export class EventStream {
  /** With a `name`, events have ids and are kept; `primed` begins with an empty event that has one. */
  constructor({ name, primed = false } = {}) {
    this.name = name;
    this.events = [];
    this.next = 0;
    this.ended = false;
    if (primed) this.#add(`retry: ${RETRY_MS}\ndata: \n`);
  }

  /** Writes to `response` what came after the event with this number, and all that follows. */
  attach(response, after = -1) {
    this.response?.end();
    this.response = response;
    response.writeHead(200, HEADERS);
    response.flushHeaders();
    const alive = setInterval(() => response.write(': keep-alive\n\n'), KEEP_ALIVE_MS);
    response.on('close', () => {
      clearInterval(alive);
      if (this.response === response) this.response = undefined;
    });
    for (const { number, text } of this.events) if (number > after) response.write(text);
    if (this.ended) response.end();
  }

  send(message) {
    this.#add(`data: ${JSON.stringify(message)}\n`);
  }

  /** Ends the connection; the stream goes on. */
  hangUp() {
    this.response?.end();
    this.response = undefined;
  }

  end() {
    this.ended = true;
    this.hangUp();
  }

  #add(lines) {
    const number = this.next++;
    const text = `${this.name === undefined ? '' : `id: ${this.name}-${number}\n`}${lines}\n`;
    if (this.name !== undefined || !this.response) this.events.push({ number, text });
    if (this.events.length > MAX_KEPT) this.events.shift();
    this.response?.write(text);
  }
}
