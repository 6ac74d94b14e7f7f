/* Tells when the machine wakes from sleep, and when Thunderbird goes offline and online. */

"use strict";

/**
 * Watch.
 *
 * @param {{woke: function(), offline: function(boolean)}} listener - what to call.
 * @returns {function()} ends the watch.
 */
this.watchWakeups = function ({ woke, offline }) {
  const observers = new Map([
    // Thunderbird hears of it from logind, on the system's bus.
    ["wake_notification", () => woke()],
    ["network:offline-status-changed", () => offline(Services.io.offline)],
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
