/** The shapes of options, messages and answers, for editors and `tsc`. */

export interface Position {
  epoch: string;
  offset: number;
}

/** In ms, but for `factor`: a delay is uniform in [0, min(cap, base × factor^attempt)). */
export interface Backoff {
  base: number;
  factor: number;
  cap: number;
}

export type Token = string | null | undefined;
/** `renew`: the last token has expired, or is about to. */
export type TokenRequest = { renew: boolean };

export interface Options {
  /** An access token, or a function that gives a fresh one; none = anonymous. */
  token?: Token | ((request: TokenRequest) => Token | Promise<Token>);
  /** Resume after it: what `stream.position` was. */
  position?: Position | null;
  /** Start with the last so many publications. */
  history?: number;
  /** Kind stats: "100" (samples), "60s", "5m", "1h". */
  window?: string;
  /** Kind stats: more fields, such as "median" or "p95". */
  fields?: string | string[];
  /** Kinds stats and binary: seconds between two pushes, at least. */
  interval?: number;
  /** False = publish only. */
  subscribe?: boolean;
  /** The class to use; by default the global one. */
  WebSocket?: any;
  /** By default {base: 1000, factor: 1.5, cap: 60000}. */
  backoff?: Partial<Backoff>;
  /** Uniform in [0, 1); by default Math.random. */
  random?: () => number;
  /** How often in a row to try again before giving up; by default without end. What the browser spoiled does not count. */
  maxRetries?: number;
  /** ms of being live after which the backoff starts afresh; 10000. */
  stableAfter?: number;
  /** ms from opening a socket until it has to be live; 20000. */
  connectTimeout?: number;
  /** ms that a silent server has to answer a ping; 10000. */
  pongTimeout?: number;
  /** ms until a question (all but publishing) fails with ReplyTimeout; 30000. */
  replyTimeout?: number;
  /** How many messages may wait: for a connection, and for a loop over the stream; 1000. */
  maxQueued?: number;
}

export type State = "connecting" | "live" | "waiting" | "closed";

export interface StateChange {
  state: State;
  previous: State;
  /** Why the last connection ended: the server's close code, 1006 where there was none. */
  code?: number | undefined;
  reason?: string;
  /** While waiting: when the next attempt is due, in ms as Date.now(). None without a network. */
  retryAt?: number;
}

export interface Limits {
  max_text_bytes: number;
  max_binary_bytes: number;
  max_frame_bytes: number;
}

export interface Subscribed {
  type: "subscribed";
  topic: string;
  epoch: string | null;
  offset: number | null;
  next: number | null;
  recovered: boolean | null;
}

export interface Publication {
  type: "publication";
  topic: string;
  offset: number | null;
  data: any;
  user: string | null;
  server_time: string;
  skipped?: number;
}

export interface Stats {
  type: "stats";
  topic: string;
  offset: number | null;
  window: string;
  value: number | null;
  count: number;
  mean: number | null;
  std: number | null;
  min: number | null;
  max: number | null;
  sum?: number;
  var?: number | null;
  median?: number | null;
  p90?: number | null;
  p95?: number | null;
  p99?: number | null;
  first?: number | null;
  rate?: number | null;
  nan_count?: number;
  server_time: string;
  skipped?: number;
}

export interface BinaryHeader {
  type: "binary";
  topic: string;
  offset: number | null;
  /** "npy" or a media type. */
  format: string;
  dtype?: string;
  shape?: number[];
  bytes: number;
  chunks: number;
  user: string | null;
  server_time: string;
  ref: string | number | null;
  skipped?: number;
}

export interface Binary {
  type: "binary";
  header: BinaryHeader;
  data: ArrayBuffer;
  /** Where the format is npy. */
  array?: NumpyArray;
}

export interface Gap {
  type: "gap";
  topic: string;
  epoch: string;
  after: number;
  next: number;
  reason: "history_trimmed" | "history_lost" | "slow_consumer";
}

export interface Presence {
  type: "join" | "leave";
  topic: string;
  user: string | null;
  session: string;
}

/** `code` is one of the protocol's, or `protocol_fault`, `invalid_array`, `no_token` of this side. */
export interface ErrorMessage {
  type: "error";
  ref: string | number | null;
  code: string;
  detail: string;
}

export interface Refreshed {
  type: "refreshed";
  ref: string | number | null;
  expires_at: string;
}

/** What a loop over a stream gets. */
export type Message = Subscribed | Publication | Stats | Binary | Gap | Presence;

export interface Ack {
  offset: number | null;
  epoch: string | null;
  duplicate: boolean;
}

export interface Member {
  session: string;
  user: string | null;
  since: string;
}

export interface Roster {
  topic: string;
  sessions: Member[];
  count: number;
}

export interface HistoryPage {
  topic: string;
  epoch: string | null;
  top: number;
  publications: (Publication | BinaryHeader)[];
  complete: boolean;
}

/**
 * Complex numbers are (real, imaginary) pairs, bool is one byte each, and float16 is a
 * Float16Array where the engine has one, else the bits in a Uint16Array.
 */
export type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

export interface NumpyArray {
  shape: number[];
  dtype: string;
  /** In C order. */
  data: NumberArray;
}

/**
 * Without a `dtype`, that of the typed array (float64 for a plain one); without a `shape`, flat.
 * float16 may always be given as bits, in a Uint16Array.
 */
export interface ArrayInput {
  shape?: number[];
  dtype?: string;
  data: NumberArray | number[];
}

export interface StreamEvents {
  state: StateChange;
  subscribed: Subscribed;
  publication: Publication;
  stats: Stats;
  binary: Binary;
  gap: Gap;
  join: Presence;
  leave: Presence;
  error: ErrorMessage;
  refreshed: Refreshed;
}

/** As the DOM has it; Node's types do not know it. */
export interface ListenOptions {
  capture?: boolean;
  once?: boolean;
  passive?: boolean;
  signal?: AbortSignal;
}

type Listen = <K extends keyof StreamEvents>(
  type: K,
  listener: (event: CustomEvent<StreamEvents[K]>) => void,
  options?: boolean | ListenOptions,
) => void;

/** EventTarget, with these events. */
export type StreamTarget = new () => {
  addEventListener: Listen;
  removeEventListener: Listen;
  dispatchEvent(event: Event): boolean;
};
