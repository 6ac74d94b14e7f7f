/* Tells when the machine wakes from sleep, when Thunderbird goes offline and online, and when the
 * primary password was entered. */

"use strict";

/**
 * Watch.
 *
 * @param {{woke: function, offline: function(boolean), unlocked: function}} listener - is told.
 * @returns {function()} ends the watch.
 */
this.watchWakeups = function ({ woke, offline, unlocked }) {
  const observers = new Map([
    // Thunderbird hears of it from logind, on the system's bus.
    ["wake_notification", () => woke()],
    ["network:offline-status-changed", () => offline(Services.io.offline)],
    ["passwordmgr-crypto-login", () => unlocked()],
  ]);
  for (const [topic, observer] of observers) {
    Services.obs.addObserver(observer, topic);
  }
  return () => {
    for (const [topic, observer] of observers) {
      Services.obs.removeObserver(observer, topic);
    }
  };
};
