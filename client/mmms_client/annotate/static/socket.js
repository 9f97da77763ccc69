/**
 * The connection to the app: numbered requests with replies, messages, and coming back after a loss.
 *
 * Text frames are JSON. A binary frame is a uint32 (little endian) length, a JSON head of that length, and bytes; the head says
 * whether they are deflated.
 */

/** @typedef {{type: string, [key: string]: any}} Message */
/** @typedef {Message & {bytes: Uint8Array<ArrayBuffer>}} BinaryMessage */

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 4000;

/** What the app refused, in its own words. */
export class RefusedError extends Error {}
/** The app cannot be reached: it ended, or the connection broke. */
export class GoneError extends Error {}

export class AppSocket {
  /**
   * @param {URL} url of the socket
   * @param {{message: (m: Message | BinaryMessage) => void, state: (open: boolean) => void}} on messages are given
   *     one after the other: the next waits until the bytes of the one before are inflated
   */
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.isOpen = false;
    this.seq = 0;
    /** @type {Map<number, {resolve: (m: Message) => void, reject: (e: Error) => void}>} */
    this.waiting = new Map();
    this.queue = Promise.resolve();
    this.waitMs = FIRST_WAIT_MS;
    this.socket = this.connect();
  }

  connect() {
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      this.isOpen = true;
      this.waitMs = FIRST_WAIT_MS;
      this.on.state(true);
    });
    socket.addEventListener("message", (event) => {
      const receivedAt = performance.now();
      this.queue = this.queue.then(() => this.receive(event.data, receivedAt)).catch((error) => console.error(error));
    });
    socket.addEventListener("close", () => this.lost());
    return socket;
  }

  lost() {
    const wasOpen = this.isOpen;
    this.isOpen = false;
    for (const { reject } of this.waiting.values()) reject(new GoneError("The app is gone; this page reconnects by itself."));
    this.waiting.clear();
    if (wasOpen) this.on.state(false);
    setTimeout(() => (this.socket = this.connect()), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  /** @param {string | ArrayBuffer} data @param {number} receivedAt by performance.now(), before anything was unpacked */
  async receive(data, receivedAt) {
    const message = typeof data === "string" ? JSON.parse(data) : await parseBinary(data);
    message.receivedAt = receivedAt;
    if (message.type !== "reply") return this.on.message(message);
    const request = this.waiting.get(message.re);
    this.waiting.delete(message.re);
    if (message.ok) request?.resolve(message);
    else request?.reject(new RefusedError(message.error));
  }

  /**
   * Send one operation.
   * @param {string} op
   * @param {object} [fields]
   * @returns {Promise<Message>} the reply; rejects with RefusedError or GoneError
   */
  request(op, fields = {}) {
    if (!this.isOpen) return Promise.reject(new GoneError("The app is gone; nothing was done. Wait until it is back."));
    const seq = ++this.seq;
    return new Promise((resolve, reject) => {
      this.waiting.set(seq, { resolve, reject });
      this.socket.send(JSON.stringify({ seq, op, ...fields }));
    });
  }
}

/**
 * @param {ArrayBuffer} data
 * @returns {Promise<BinaryMessage>}
 */
async function parseBinary(data) {
  const length = new DataView(data).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const body = new Uint8Array(data.slice(4 + length)); // from 0 on, as an array of 16 bits needs it
  return { ...head, bytes: head.coding === "deflate" ? await inflate(body) : body };
}

/**
 * Undo zlib's deflate.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
