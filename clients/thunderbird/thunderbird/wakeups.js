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

/**
 * Watch for inboxes that appear: those of new accounts, and those that Thunderbird makes anew when
 * it finds out which folders an account has. What was fetched into the old one is lost.
 *
 * @param {function(string)} appeared - gets the key of the account.
 * @returns {function()} ends the watch.
 */
this.watchInboxes = function (appeared) {
  const listener = {
    QueryInterface: ChromeUtils.generateQI(["nsIFolderListener"]),
    onFolderAdded(parent, folder) {
      if (folder.getFlag(Ci.nsMsgFolderFlags.Inbox) && folder.server) {
        appeared(folder.server.key);
      }
    },
  };
  MailServices.mailSession.AddFolderListener(listener, Ci.nsIFolderListener.added);
  return () => MailServices.mailSession.RemoveFolderListener(listener);
};
