/* The add-on's part that runs in Thunderbird's main process: no other part opens a Unix socket or fetches mail. */

"use strict";

this.mailbell = class extends ExtensionCommon.ExtensionAPI {
  onStartup() {}

  onShutdown() {}

  getAPI(context) {
    const status = {
      state: "connecting",
      reason: null,
      since: Date.now(),
      socket: "/run/mailbell/mailbell.sock",
      lastRing: null,
      lastRingName: null,
      rings: 0,
      offline: false,
      accounts: [
        { key: "server1", name: "work", type: "imap", state: "idle", lastFetch: null, names: null },
      ],
    };
    return {
      mailbell: {
        getStatus: async () => status,
        getSettings: async () => ({ socket: "", settle: 1000, gap: 10000, names: {}, locked: [] }),
        setSettings: async () => ({ problems: {} }),
        fetchNow: async () => {},
        onStatus: new ExtensionCommon.EventManager({
          context,
          name: "mailbell.onStatus",
          register: () => () => {},
        }).api(),
      },
    };
  }
};
