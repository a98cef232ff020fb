/** What a browser does to its page, and says of it. In Node nothing of this is there. */

/** No network is there, says the browser; where it says that there is one, it may be mistaken. */
export const isOffline = () => globalThis.navigator?.onLine === false;

/**
 * @typedef {object} PageHooks
 * @property {() => void} leave from now on sockets may be cut, and timers stand still
 * @property {() => void} restore the page comes out of the back/forward cache: its sockets are gone
 * @property {() => void} wake it runs again, is looked at, or the network is back
 * @property {() => void} doubt the network is gone, or is another one
 */

/** @param {PageHooks} hooks @param {AbortSignal} signal ends it */
export function watchPage({ leave, restore, wake, doubt }, signal) {
  const { document, addEventListener } = globalThis;
  addEventListener?.("online", wake, { signal });
  addEventListener?.("offline", doubt, { signal });
  addEventListener?.("pagehide", leave, { signal });
  addEventListener?.("pageshow", ({ persisted }) => persisted && restore(), { signal });
  document?.addEventListener("freeze", leave, { signal });
  document?.addEventListener("resume", wake, { signal });
  document?.addEventListener(
    "visibilitychange",
    () => {
      if (document.visibilityState === "visible") wake();
    },
    { signal },
  );
}
