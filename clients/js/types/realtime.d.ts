/**
 * A client for the protocol `realtime.v1` that comes back: in browsers, and in Node 20 or newer.
 *
 * @import {Ack, ArrayInput, Binary, HistoryPage, Limits, Message, NumpyArray, Options, Roster} from "./types.js"
 * @import {State, StreamEvents, StreamTarget} from "./types.js"
 * @import {Encode} from "./outbox.js"
 */
import type { Ack, ArrayInput, HistoryPage, Limits, Message, NumpyArray, Options, Roster } from "./types.js";
import type { State, StreamTarget } from "./types.js";
export * from "./errors.js";
export { parseNpy, writeNpy } from "./npy.js";
declare const Target: StreamTarget;
/**
 * Open a stream on a topic; it connects by itself, now and whenever it has to.
 *
 * @param {string | URL} url such as "/ws/broadcast/lobby/" (in a page) or "wss://host/ws/arrays/cam/"
 * @param {Options} [options]
 */
export declare function connect(url: string | URL, options?: Options): Stream;
/** See `connect`; README.md lists its events. */
export declare class Stream extends Target {
    #private;
    /** @type {string | null} */
    user: string | null;
    /** @type {string | null} */
    session: string | null;
    /** @type {Limits | null} */
    limits: Limits | null;
    /** @param {string | URL} url @param {Options} options */
    constructor(url: string | URL, options: Options);
    /** @returns {State} */
    get state(): State;
    /**
     * Where the stream is; `connect` with this `position` resumes after it. While a loop reads the
     * stream, that of the message that the loop got last.
     */
    get position(): import("./types.js").Position | null;
    /**
     * Publish any JSON value. What is not confirmed when the connection breaks is repeated on the
     * next one under its `id`, and so published once.
     *
     * @param {any} data
     * @param {{id?: string}} [options] an `id` of your own, up to 64 characters
     * @returns {Promise<Ack>}
     */
    publish(data: any, { id }?: {
        id?: string;
    }): Promise<Ack>;
    /**
     * Publish bytes on a topic of kind binary. They are not copied: do not write to them until then.
     *
     * @param {ArrayBuffer | ArrayBufferView} data
     * @param {{format?: string, id?: string}} [options] `format`: a media type
     * @returns {Promise<Ack>}
     */
    publishBytes(data: ArrayBuffer | ArrayBufferView, { format, id }?: {
        format?: string;
        id?: string;
    }): Promise<Ack>;
    /**
     * Publish an array, as a `.npy` file.
     *
     * @param {ArrayInput} array
     * @param {{id?: string}} [options]
     */
    publishArray(array: ArrayInput, options?: {
        id?: string;
    }): Promise<Ack>;
    /**
     * Publish samples on a topic of kind stats; NaN is a missing one.
     *
     * @param {ArrayLike<number>} values
     * @param {ArrayLike<number>} [timestamps] seconds since the epoch
     * @param {{id?: string}} [options]
     */
    publishSamples(values: ArrayLike<number>, timestamps?: ArrayLike<number>, options?: {
        id?: string;
    }): Promise<Ack>;
    /**
     * Have an array made by a source of the server. One at a time: more wait for their turn.
     *
     * @param {{shape: number[], dtype?: string, source?: string}} request
     * @returns {Promise<NumpyArray>}
     */
    request({ shape, dtype, source }: {
        shape: number[];
        dtype?: string;
        source?: string;
    }): Promise<NumpyArray>;
    /** Who is on the topic. @returns {Promise<Roster>} */
    presence(): Promise<Roster>;
    /**
     * A page of what the server retains, ascending; there is more while the last offset < `top`.
     *
     * @param {{after?: number, limit?: number, epoch?: string}} [range]
     * @returns {Promise<HistoryPage>}
     */
    history({ after, limit, epoch }?: {
        after?: number;
        limit?: number;
        epoch?: string;
    }): Promise<HistoryPage>;
    /** The round trip to the server, in ms; ConnectionLost where there is none. */
    ping(): Promise<number>;
    /** Drop the connection, if there is one, and come back at once. */
    reconnect(): void;
    /** End the stream. What is not confirmed yet rejects: await it first. */
    close(): void;
    /**
     * The messages of the topic, in order, from now on. The loop ends with `close()`, and throws
     * ConnectionEnded where the server ended the stream for good. Where it falls `maxQueued` messages
     * or 64 MiB behind, the stream hangs up, and resumes when half of them are read.
     *
     * @returns {AsyncGenerator<Message, void, void>}
     */
    [Symbol.asyncIterator](): AsyncGenerator<Message, void, void>;
}
