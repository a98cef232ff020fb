/** All that `realtime-client` exports; the files beside this one are made by `npm run types`. */

export * from "./realtime.js";
export type * from "./types.js";
