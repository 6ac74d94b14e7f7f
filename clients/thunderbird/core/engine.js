/* All that the add-on decides: when to connect, for whom to fetch, and what a person is to see.
 *
 * Pure: events, bytes and times come in, and steps go out. `now` is in milliseconds of a clock
 * that never goes back. `wall` is in milliseconds since 1970; it is shown and decides nothing. */

"use strict";

function earliest(times) {
  const known = times.filter(time => time !== null);
  return known.length ? Math.min(...known) : null;
}

/** Call `step` when `due` has come and after every other call. */
this.Engine = class Engine {
  /**
   * @param {object} settings - as `readSettings` gives them.
   * @param {string[]} places - where the socket may be.
   */
  constructor(settings, places, now, wall) {
    this._timing = {};
    this._link = new Link(places, now);
    this._schedule = new Schedule(this._timing);
    this._catchUps = new CatchUps();
    this._accounts = [];
    this._owed = false; // there was no account to fetch for
    this._looked = -Infinity; // the last call of `step`
    this._since = wall;
    this._rings = 0;
    this._lastRing = null;
    this._lastRingName = null;
    this._take(settings, places);
  }

  _take(settings, places) {
    this._timing.settle = settings.settle;
    this._timing.gap = settings.gap;
    this._names = namesByAccount(settings.names);
    this._places = places;
  }

  /** When `step` will have something to do. */
  get due() {
    return Math.min(
      this._link.due,
      this._schedule.due ?? Infinity,
      this._catchUps.due(this._timing.gap) ?? Infinity,
      this._owed ? this._looked + LOOK_AGAIN : Infinity
    );
  }

  /**
   * Take new settings.
   *
   * @returns {boolean} whether the connection must be closed, because the socket is elsewhere.
   */
  configure(settings, places, now, wall) {
    const moved = places.join("\0") != this._places.join("\0");
    this._take(settings, places);
    if (!moved) {
      return false;
    }
    const wasOpen = this._link.open;
    this._watch(wall, () => this._link.move(places, now));
    return wasOpen;
  }

  /** Take the accounts that Thunderbird has now: {key, name, type} of each that can fetch. */
  update(now, accounts) {
    this._accounts = accounts;
    this._schedule.update(now, accounts);
    if (this._owed && accounts.length) {
      this._owed = false;
      this.fetchAll(now);
    }
  }

  /** Thunderbird went offline, or online again: then mail may have come meanwhile. */
  setOffline(now, offline) {
    const back = this._schedule.offline && !offline;
    this._schedule.offline = offline;
    if (back) {
      this.fetchAll(now);
    }
  }

  /** The machine woke from sleep. mailbelld may be there again, and mail may have come. */
  woke(now) {
    this._link.hurry(now);
    this.fetchAll(now);
  }

  /** Every account is to fetch, once. */
  fetchAll(now) {
    this._ring(now, null);
  }

  /** One account is to fetch, once. */
  fetchFor(now, key) {
    this._schedule.ring(now, [key]);
  }

  _ring(now, name) {
    // An account that is missing now may be the one that rang. Those that are there are chosen as
    // if it were gone.
    const chosen = [this._accounts, this._schedule.known].map(accounts =>
      chooseAccounts(name, accounts, this._names)
    );
    this._schedule.ring(now, new Set(chosen.flat()));
    this._owed ||= !this._accounts.length;
  }

  /**
   * Take bytes of the connection.
   *
   * @returns {boolean} whether the connection must be closed.
   */
  received(now, wall, bytes, random) {
    const { connected, names, hangUp } = this._link.received(now, bytes, random);
    if (connected) {
      this._since = wall;
      this._catchUps.ask(this._link.lasted);
    }
    for (const name of names) {
      this._rings += 1;
      this._lastRing = wall;
      this._lastRingName = name;
      this._ring(now, name);
    }
    if (hangUp) {
      this._since = wall;
    }
    return hangUp;
  }

  /** The connection ended or could not be made; `reason` is a key of Link's STATES. */
  ended(now, wall, reason, random) {
    this._watch(wall, () => this._link.ended(now, random, reason));
  }

  /** Take bytes of the second connection; see Link. */
  checkReceived(now, wall, bytes, random) {
    return this._watch(wall, () => this._link.checkReceived(now, bytes, random));
  }

  /** The second connection ended or could not be made; see Link. */
  checkEnded(now, wall, reason, random) {
    return this._watch(wall, () => this._link.checkEnded(now, reason, random));
  }

  /** A fetch ended; see Schedule. */
  fetched(now, wall, key, fetch, result) {
    this._schedule.ended(now, wall, key, fetch, result);
  }

  /**
   * Return what to do now.
   *
   * @returns {object} connect: the path to connect to, or null. hangUp: whether to close all
   *     connections. check: the path to ask on a second connection, or null. drop: whether to
   *     close that one. fetches: those to start, as Schedule gives them.
   */
  step(now, wall, random) {
    this._looked = now;
    if (this._catchUps.take(now, this._timing.gap)) {
      this.fetchAll(now);
    }
    const step = this._watch(wall, () => this._link.step(now, random));
    return {
      connect: step == "connect" ? this._link.path : null,
      hangUp: step == "hang_up",
      check: step == "check" ? this._link.checkPath : null,
      drop: step == "drop",
      fetches: this._schedule.step(now),
    };
  }

  /** Note the time if the connection is lost meanwhile. */
  _watch(wall, act) {
    const before = this._link.state;
    const result = act();
    if (before == "connected" && this._link.state != before) {
      this._since = wall;
    }
    return result;
  }

  /** Return what a person is to see: schema.json says what. */
  status() {
    return {
      state: this._link.state,
      reason: this._link.reason,
      since: this._since,
      socket: this._link.shown,
      lastRing: this._lastRing,
      lastRingName: this._lastRingName,
      rings: this._rings,
      offline: this._schedule.offline,
      accounts: this._accounts.map(({ key, name, type }) => ({
        key,
        name,
        type,
        ...this._schedule.describe(key),
        names: this._names.get(key) ?? null,
      })),
    };
  }
};
