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
export declare class RealtimeError extends Error {
    /** @param {string} message */
    constructor(message: string);
}
export declare class ConnectionEnded extends RealtimeError {
    code: number | undefined;
    reason: string;
    /** @param {number | undefined} code of the close, where there was one @param {string} reason */
    constructor(code: number | undefined, reason: string);
}
export declare class RetriesExhausted extends ConnectionEnded {
}
export declare class StreamClosed extends ConnectionEnded {
    constructor();
}
export declare class ConnectionLost extends RealtimeError {
}
export declare class RequestRefused extends RealtimeError {
    code: string;
    detail: string;
    /** @param {string} code as the protocol lists them @param {string} detail */
    constructor(code: string, detail: string);
}
export declare class MessageTooBig extends RequestRefused {
    /** @param {number} size @param {number} most both in bytes */
    constructor(size: number, most: number);
}
export declare class ReplyTimeout extends RealtimeError {
}
export declare class QueueFull extends RealtimeError {
}
export declare class UnknownOutcome extends RealtimeError {
    id: string | undefined;
    /** @param {string | undefined} id under which it was sent, if any @param {string} why */
    constructor(id: string | undefined, why: string);
}
export declare class ArrayError extends RealtimeError {
}
export declare class ProtocolFault extends RealtimeError {
}
