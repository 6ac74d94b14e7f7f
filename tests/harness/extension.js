/* What mailbell.js uses of Thunderbird, beside that of stubs.js, and a driver that only notes what
 * is asked of it. The real Thunderbird is in tests/mail_programs. */

"use strict";

globalThis.clocks = { steady: 5000, wall: 1_700_000_000_000 };
globalThis.Date = class {
  static now() {
    return clocks.wall;
  }
  toISOString() {
    return `ISO ${clocks.wall}`;
  }
};
Math.random = () => 0.5;
globalThis.printed = [];
globalThis.dump = text => printed.push(text);
globalThis.console = { error: (...what) => note("error", ...what.map(String)) };

globalThis.pending = new Map();
const timers = {
  setTimeout: (act, wait) => {
    pending.set(pending.size + 1, { act, wait });
    return pending.size;
  },
  clearTimeout: number => pending.delete(number),
};
const MODULES = new Map([
  ["resource:///modules/MailServices.sys.mjs", { MailServices: globalThis.MailServices }],
  ["resource://gre/modules/Timer.sys.mjs", timers],
]);
globalThis.ChromeUtils.importESModule = name => MODULES.get(name);
globalThis.ChromeUtils.now = () => clocks.steady;

// The parts are loaded beforehand, into the global object.
globalThis.asked = [];
globalThis.Services.scriptloader = {
  loadSubScriptWithOptions: (address, { target, ...options }) => {
    asked.push([address, options]);
    Object.setPrototypeOf(target, globalThis);
  },
};

globalThis.ExtensionCommon = {
  ExtensionAPI: class {
    constructor(extension) {
      this.extension = extension;
    }
  },
  EventManager: class {
    constructor({ name, register }) {
      note("event", name);
      globalThis.register = register;
    }
    api() {
      return "the event";
    }
  },
};

globalThis.begun = null; // what the driver got
globalThis.NotingDriver = class {
  constructor(world, settings, places, offline) {
    globalThis.begun = { world, settings, places, offline };
    globalThis.watcher = null;
  }
  watch(watcher) {
    globalThis.watcher = watcher;
    return () => (globalThis.watcher = null);
  }
  status() {
    return "the status";
  }
};
for (const name of ["stop", "configure", "setOffline", "woke", "fetchNow", "fetchFor"]) {
  NotingDriver.prototype[name] = (...what) => note(name, ...what);
}
