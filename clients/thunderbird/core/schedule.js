/* All accounts of Thunderbird, each with a pace of its own: none holds up another.
 *
 * Pure: the time is an argument, in milliseconds of a clock that never goes back. */

"use strict";

/** Call `step` when `due` has come and after every other call. */
this.Schedule = class Schedule {
  /** @param {{settle: number, gap: number}} timing - see Pace. */
  constructor(timing) {
    this.timing = timing;
    this.offline = false;
    this._entries = new Map(); // by key of an account
    this._fetches = 0;
  }

  /**
   * Take the accounts that Thunderbird has now. What is known of the others is forgotten.
   *
   * @param {{key: string}[]} accounts - each of them.
   */
  update(accounts) {
    const before = this._entries;
    this._entries = new Map(
      accounts.map(({ key }) => [key, before.get(key) ?? this._entry()])
    );
  }

  _entry() {
    // `timing` is shared, so that a new setting counts for every account at once.
    return { pace: new Pace(this.timing), fetch: null, result: null, fetched: null };
  }

  /** When `step` will have something to do; null: only after another call. */
  get due() {
    let first = null;
    for (const { pace } of this._entries.values()) {
      const due = this._held(pace) ? null : pace.due;
      if (due !== null && (first === null || due < first)) {
        first = due;
      }
    }
    return first;
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
    const started = [];
    for (const [key, entry] of this._entries) {
      const step = this._held(entry.pace) ? null : entry.pace.step(now);
      if (step == "give_up") {
        entry.result = "failed";
        entry.fetch = null;
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
    const entry = this._entries.get(key) ?? this._entry();
    return { state: this._state(entry), lastFetch: entry.fetched };
  }

  _state({ pace, result }) {
    if (this.offline) {
      return "offline";
    }
    if (pace.fetching) {
      return "fetching";
    }
    if (result !== null && result != "ok") {
      return result;
    }
    return pace.wanted ? "waiting" : "idle";
  }
};
