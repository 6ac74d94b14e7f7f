/* The add-on's part that runs in Thunderbird's main process. It only puts the parts together: no
 * other part of an add-on may open a local socket or fetch mail. */

"use strict";

const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { clearTimeout, setTimeout } = ChromeUtils.importESModule(
  "resource://gre/modules/Timer.sys.mjs"
);

const PARTS = [
  "core/text.js",
  "core/names.js",
  "core/settings.js",
  "core/backoff.js",
  "core/replies.js",
  "core/check.js",
  "core/link.js",
  "core/pace.js",
  "core/schedule.js",
  "core/catchups.js",
  "core/engine.js",
  "core/driver.js",
  "thunderbird/preferences.js",
  "thunderbird/socket.js",
  "thunderbird/fetch.js",
  "thunderbird/wakeups.js",
];

/** Load the parts; each puts what it gives to the others into one object. */
function load(extension) {
  const target = { MailServices };
  for (const part of PARTS) {
    // From 153.2 on, Thunderbird loads no script of an add-on's file without this option. The
    // file is the one that this script is from.
    Services.scriptloader.loadSubScriptWithOptions(extension.rootURI.resolve(part), {
      target,
      allowUnsafeURL: true,
      ignoreCache: true, // an add-on that was replaced is loaded anew
    });
  }
  return target;
}

function makeWorld(parts) {
  return {
    // Thunderbird 140 has Cu.now, 153 has ChromeUtils.now. Neither follows the setting of a clock.
    now: () => (ChromeUtils.now ? ChromeUtils.now() : Cu.now()),
    wall: () => Date.now(),
    random: Math.random,
    setTimeout,
    clearTimeout,
    connect: (path, listener) =>
      new parts.Connection(path, listener, { setTimeout, clearTimeout }),
    listAccounts: parts.listAccounts,
    fetchAccount: parts.fetchAccount,
    log: line => {
      if (parts.Preferences.log) {
        dump(`mailbell: ${new Date().toISOString()} ${line}\n`);
      }
    },
  };
}

this.mailbell = class extends ExtensionCommon.ExtensionAPI {
  onStartup() {
    try {
      this.begin();
    } catch (error) {
      console.error("mailbell did not start", error);
    }
  }

  begin() {
    const parts = (this.parts = load(this.extension));
    const { Driver, Preferences, watchInboxes, watchWakeups } = parts;
    const settings = Preferences.read();
    const places = Preferences.places(settings);
    this.driver = new Driver(makeWorld(this.parts), settings, places, Services.io.offline);
    this.unwatch = [
      Preferences.watch(() => {
        const changed = Preferences.read();
        this.driver.configure(changed, Preferences.places(changed));
      }),
      watchInboxes(key => this.driver.fetchFor(key)),
      watchWakeups({
        woke: () => this.driver.woke(),
        offline: offline => this.driver.setOffline(offline),
        unlocked: () => this.driver.fetchNow(),
      }),
    ];
  }

  onShutdown() {
    this.unwatch?.forEach(unwatch => unwatch());
    this.driver?.stop();
    this.parts?.forgetFetches();
  }

  getAPI(context) {
    return {
      mailbell: {
        getStatus: async () => this.driver.status(),
        getSettings: async () => {
          const { Preferences } = this.parts;
          return { ...Preferences.read(), locked: Preferences.locked() };
        },
        setSettings: async settings => {
          const { findProblems, Preferences } = this.parts;
          const problems = findProblems(settings, Preferences.locked());
          const wrong = Object.keys(problems).length;
          return { problems: wrong ? problems : Preferences.write(settings) };
        },
        fetchNow: async () => this.driver.fetchNow(),
        onStatus: new ExtensionCommon.EventManager({
          context,
          name: "mailbell.onStatus",
          register: fire => this.driver.watch(status => fire.async(status)),
        }).api(),
      },
    };
  }
};
