/**
 * What can go wrong.
 *
 *     RealtimeError
 *     ├── ConnectionEnded       the stream is over, and coming back would not help: code, reason
 *     │   ├── RetriesExhausted  more failures in a row than `maxRetries`
 *     │   └── StreamClosed      closed by this program
 *     ├── ConnectionLost        one connection broke, or there is none at the moment
 *     ├── RequestRefused        the server's `error`: code, detail
 *     │   └── MessageTooBig     refused here already, for the server's limits
 *     ├── ReplyTimeout          no answer to a question in time
 *     ├── QueueFull             too much waits to be sent while offline
 *     ├── UnknownOutcome        it may or may not have been published: id
 *     ├── ArrayError            no `.npy` file, or none that can be read here
 *     └── ProtocolFault         the server broke the protocol; the stream comes back
 */

export class RealtimeError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

export class ConnectionEnded extends RealtimeError {
  /** @param {number | undefined} code of the close, where there was one @param {string} reason */
  constructor(code, reason) {
    super(`the stream has ended${code === undefined ? "" : ` with ${code}`}${reason && `: ${reason}`}`);
    this.code = code;
    this.reason = reason;
  }
}

export class RetriesExhausted extends ConnectionEnded {}

export class StreamClosed extends ConnectionEnded {
  constructor() {
    super(1000, "it was closed by this program");
  }
}

export class ConnectionLost extends RealtimeError {}

export class RequestRefused extends RealtimeError {
  /** @param {string} code as the protocol lists them @param {string} detail */
  constructor(code, detail) {
    super(`${code}: ${detail}`);
    this.code = code;
    this.detail = detail;
  }
}

export class MessageTooBig extends RequestRefused {
  /** @param {number} size @param {number} most both in bytes */
  constructor(size, most) {
    super("message_too_big", `${size} bytes; the server takes ${most}`);
  }
}

export class ReplyTimeout extends RealtimeError {}

export class QueueFull extends RealtimeError {}

export class UnknownOutcome extends RealtimeError {
  /** @param {string | undefined} id under which it was sent, if any @param {string} why */
  constructor(id, why) {
    super(`it may or may not have been published: ${why}`);
    this.id = id;
  }
}

export class ArrayError extends RealtimeError {}

export class ProtocolFault extends RealtimeError {}
