/* All accounts of Thunderbird, each with a pace of its own: none holds up another.
 *
 * Pure: the time is an argument, in milliseconds of a clock that never goes back. */

"use strict";

/** An account that is missing is forgotten after this time, in milliseconds. */
const FORGET = 600000;
/** What waits for an account that is missing is looked at again after this time. */
const LOOK_AGAIN = 30000;

/** Call `step` when `due` has come and after every other call. */
this.Schedule = class Schedule {
  /** @param {{settle: number, gap: number}} timing - see Pace. */
  constructor(timing) {
    this.timing = timing;
    this.offline = false;
    this._entries = new Map(); // by key of an account
    this._fetches = 0;
    this._looked = -Infinity; // the last call of `step`
  }

  /**
   * Take the accounts that Thunderbird has now.
   *
   * One that is missing is remembered for a while: Thunderbird may make its list anew.
   *
   * @param {number} now - milliseconds.
   * @param {{key: string, name: string, type: string}[]} accounts - each of them.
   */
  update(now, accounts) {
    const entries = new Map();
    for (const account of accounts) {
      const before = this._entries.get(account.key);
      const known = before?.account.type == account.type ? before : this._entry(account.type);
      entries.set(account.key, Object.assign(known, { account, seen: now, missing: false }));
    }
    for (const [key, entry] of this._entries) {
      if (!entries.has(key) && now - entry.seen < FORGET) {
        entries.set(key, Object.assign(entry, { missing: true }));
      }
    }
    this._entries = entries;
  }

  /** The accounts that there are, and those that were there a while ago. */
  get known() {
    return [...this._entries.values()].map(({ account }) => account);
  }

  _entry(type) {
    // `timing` is shared, so that a new setting counts for every account at once.
    return { pace: new Pace(this.timing, type), fetch: null, result: null, fetched: null };
  }

  /** When `step` will have something to do; null: only after another call. */
  get due() {
    let first = null;
    for (const entry of this._entries.values()) {
      const due = this._due(entry);
      if (due !== null && (first === null || due < first)) {
        first = due;
      }
    }
    return first;
  }

  _due({ pace, missing }) {
    if (this._held(pace)) {
      return null;
    }
    // Thunderbird does not tell when a list is whole again.
    return missing && pace.wanted ? this._looked + LOOK_AGAIN : pace.due;
  }

  /** While Thunderbird is offline, what rang waits. A fetch that runs may still be given up. */
  _held(pace) {
    return this.offline && !pace.fetching;
  }

  /** Note that fetches are wanted for these accounts. */
  ring(now, keys) {
    for (const key of keys) {
      this._entries.get(key)?.pace.ring(now);
    }
  }

  /**
   * Return the fetches to start now.
   *
   * @returns {{key: string, fetch: number}[]} an account, and a number that `ended` wants back.
   */
  step(now) {
    this._looked = now;
    const started = [];
    for (const [key, entry] of this._entries) {
      const held = this._held(entry.pace) || (entry.missing && !entry.pace.fetching);
      const step = held ? null : entry.pace.step(now);
      if (step == "give_up") {
        entry.result = "failed";
        entry.fetch = null;
      } else if (step == "overdue") {
        entry.result = "failed";
      } else if (step == "fetch") {
        entry.fetch = ++this._fetches;
        started.push({ key, fetch: entry.fetch });
      }
    }
    return started;
  }

  /**
   * Report the end of a fetch. The end of one that was given up is too late, and does nothing.
   *
   * @param {number} now - milliseconds.
   * @param {number} wall - what a clock on the wall shows, in milliseconds since 1970.
   * @param {string} key - the account.
   * @param {number} fetch - what `step` gave.
   * @param {string} result - ok, busy (another one is needed soon), failed or no_password.
   */
  ended(now, wall, key, fetch, result) {
    const entry = this._entries.get(key);
    if (!entry || entry.fetch !== fetch) {
      return;
    }
    entry.fetch = null;
    if (result == "busy") {
      entry.pace.interrupted(now);
      return;
    }
    entry.result = result;
    if (result == "no_password") {
      entry.pace.refused();
      return;
    }
    entry.pace.ended(now, result == "ok");
    if (result == "ok") {
      entry.fetched = wall;
    }
  }

  /**
   * Tell what a person is to see of an account.
   *
   * @returns {{state: string, lastFetch: ?number}} lastFetch: the end of the last that succeeded.
   */
  describe(key) {
    const entry = this._entries.get(key);
    return { state: this._state(entry), lastFetch: entry.fetched };
  }

  _state({ pace, result }) {
    if (this.offline) {
      return "offline";
    }
    if (pace.fetching && !pace.overdue) {
      return "fetching";
    }
    if (result !== null && result != "ok") {
      return result;
    }
    return pace.wanted ? "waiting" : "idle";
  }
};
