/* Does what the engine decides, through functions that it is given.
 *
 * Pure: everything that acts is an argument, so that a test can be the world. */

"use strict";

/**
 * @typedef {object} World
 * @property {function(): number} now - milliseconds of a clock that never goes back.
 * @property {function(): number} wall - milliseconds since 1970.
 * @property {function(): number} random - from 0 up to 1.
 * @property {function} setTimeout - as in a page.
 * @property {function} clearTimeout - as in a page.
 * @property {function(string, object)} connect - see Connection.
 * @property {function(): object[]} listAccounts - see fetch.js.
 * @property {function(string, function)} fetchAccount - see fetch.js.
 * @property {function(string)} log - gets a line of printable ASCII.
 */

const STATUS_PAUSE = 250; // milliseconds between two calls of those who watch the status

this.Driver = class Driver {
  /**
   * Begin. Nothing is thrown, whatever the settings are.
   *
   * @param {World} world - the functions.
   * @param {object} settings - as `readSettings` gives them.
   * @param {string[]} places - where the socket may be.
   * @param {boolean} offline - whether Thunderbird is offline.
   */
  constructor(world, settings, places, offline) {
    this._world = world;
    this._watchers = new Map(); // what each of them saw last
    this._connection = null;
    this._second = null; // the connection that asks whether mailbelld answers
    this._timer = null;
    this._statusTimer = null;
    this._stopped = false;
    this._engine = new Engine(settings, places, world.now(), world.wall());
    this._engine.setOffline(world.now(), offline);
    this._go();
  }

  stop() {
    this._stopped = true;
    this._world.clearTimeout(this._timer);
    this._world.clearTimeout(this._statusTimer);
    this._hangUp();
  }

  configure(settings, places) {
    this._log(`settings: settle ${settings.settle}, gap ${settings.gap}, ${places.join(", ")}`);
    const { now, wall } = this._world;
    if (this._engine.configure(settings, places, now(), wall())) {
      this._hangUp();
    }
    this._go();
  }

  setOffline(offline) {
    this._log(offline ? "offline" : "online");
    this._updated().setOffline(this._world.now(), offline);
    this._go();
  }

  woke() {
    this._log("woke");
    this._updated().woke(this._world.now());
    this._go();
  }

  fetchNow() {
    this._log("fetch now");
    this._updated().fetchAll(this._world.now());
    this._go();
  }

  /** One account is to fetch, once. */
  fetchFor(key) {
    this._log(`fetch for ${key}`);
    this._updated().fetchFor(this._world.now(), key);
    this._go();
  }

  status() {
    return this._updated().status();
  }

  /**
   * Call a function with the status after each change.
   *
   * @returns {function()} ends that.
   */
  watch(watcher) {
    this._watchers.set(watcher, JSON.stringify(this.status()));
    return () => this._watchers.delete(watcher);
  }

  /** The engine, which knows the accounts that there are now. */
  _updated() {
    try {
      this._engine.update(this._world.now(), this._world.listAccounts());
    } catch (error) {
      this._log(`accounts: ${error}`);
    }
    return this._engine;
  }

  _go() {
    if (this._stopped) {
      return;
    }
    const { now, wall, random } = this._world;
    const before = this._engine.status();
    const step = this._updated().step(now(), wall(), random());
    const { connect, hangUp, check, drop, fetches } = step;
    this._note(before);
    if (hangUp) {
      this._hangUp();
    }
    if (drop) {
      this._drop();
    }
    if (connect !== null) {
      this._connect(connect);
    }
    if (check !== null) {
      this._check(check);
    }
    fetches.forEach(({ key, fetch }) => this._fetch(key, fetch));
    this._arm();
    this._tell();
  }

  _arm() {
    this._world.clearTimeout(this._timer);
    const wait = Math.max(0, Math.ceil(this._engine.due - this._world.now()));
    this._timer = this._world.setTimeout(() => this._go(), wait);
  }

  _connect(path) {
    try {
      this._connection = this._world.connect(path, {
        call: "subscribe",
        received: bytes => this._received(bytes),
        ended: (reason, error) => {
          this._connection = null;
          this._drop();
          this._ended(reason, error);
        },
      });
    } catch (error) {
      this._ended("failed", error.name);
    }
  }

  /** Ask on a second connection whether mailbelld answers. */
  _check(path) {
    this._log(`check ${path}`);
    const take = act => {
      const before = this._engine.status();
      const { now, wall, random } = this._world;
      const step = act(now(), wall(), random());
      if (step == "hang_up") {
        this._hangUp();
      }
      if (step == "drop") {
        this._drop();
      }
      this._note(before);
      this._go();
    };
    const ended = reason => {
      this._second = null;
      take((now, wall, random) => this._updated().checkEnded(now, wall, reason, random));
    };
    const received = bytes =>
      take((now, wall, random) => this._updated().checkReceived(now, wall, bytes, random));
    try {
      this._second = this._world.connect(path, { call: "info", received, ended });
    } catch {
      ended("failed");
    }
  }

  _received(bytes) {
    const { now, wall, random } = this._world;
    const before = this._engine.status();
    if (this._updated().received(now(), wall(), bytes, random())) {
      this._hangUp();
    }
    this._note(before);
    this._go();
  }

  _note(before) {
    const after = this._engine.status();
    if (after.state != before.state || after.reason != before.reason) {
      this._log([after.state, after.reason ?? "", after.socket].filter(Boolean).join(" "));
    }
    if (after.rings > before.rings) {
      this._log(`rung ${after.rings - before.rings} times, at last ${after.lastRingName}`);
    }
  }

  _ended(reason, error) {
    const { now, wall, random } = this._world;
    const before = this._engine.status();
    this._engine.ended(now(), wall(), reason, random());
    this._log(`connection ended: ${reason}: ${error}`);
    this._note(before);
    this._go();
  }

  _hangUp() {
    this._connection?.close();
    this._connection = null;
    this._drop();
  }

  _drop() {
    this._second?.close();
    this._second = null;
  }

  _fetch(key, fetch) {
    const done = result => {
      this._log(`fetched ${key}: ${result}`);
      this._engine.fetched(this._world.now(), this._world.wall(), key, fetch, result);
      this._go();
    };
    this._log(`fetch ${key}`);
    // In a turn of its own: the end may come at once, and `_go` is not entered twice.
    this._world.setTimeout(() => {
      if (this._stopped) {
        return;
      }
      try {
        this._world.fetchAccount(key, done);
      } catch (error) {
        this._log(`fetch ${key}: ${error}`);
        done("failed");
      }
    }, 0);
  }

  _log(text) {
    this._world.log(escapeText(text));
  }

  _tell() {
    if (this._statusTimer === null && this._watchers.size) {
      this._statusTimer = this._world.setTimeout(() => {
        this._statusTimer = null;
        const status = this.status();
        const text = JSON.stringify(status);
        for (const [watcher, told] of this._watchers) {
          if (text != told) {
            this._watchers.set(watcher, text);
            watcher(status);
          }
        }
      }, STATUS_PAUSE);
    }
  }
};
