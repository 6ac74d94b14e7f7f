/* When to fetch everything after a connection began: something may have been missed before.
 *
 * Pure: the time is an argument, in milliseconds of a clock that never goes back. */

"use strict";

/** The longest time between two catch-ups of a daemon that does not stay. */
const CATCH_UP_MOST = 600000;

/**
 * Catch-ups, each of which may be put off but is never lost.
 *
 * After connections that did not last, they come further and further apart. Otherwise a daemon
 * that answers and dies would have everything fetched all the time.
 */
this.CatchUps = class CatchUps {
  constructor() {
    this._wanted = false;
    this._last = null;
    this._taken = 0; // since the last connection that lasted
  }

  /**
   * A connection began.
   *
   * @param {boolean} lasted - whether the one before it lasted, or there was none.
   */
  ask(lasted) {
    if (lasted) {
      this._taken = 0;
    }
    this._wanted = true;
  }

  /**
   * Tell when the catch-up comes; null: none is wanted.
   *
   * @param {number} gap - the least time between two fetches, in milliseconds.
   */
  due(gap) {
    if (!this._wanted) {
      return null;
    }
    if (this._taken == 0) {
      return -Infinity;
    }
    const wait = Math.min(gap * 2 ** this._taken, CATCH_UP_MOST);
    return this._last + Math.max(gap, wait);
  }

  /** Tell whether to fetch everything now; each catch-up once. */
  take(now, gap) {
    const due = this.due(gap);
    if (due === null || now < due) {
      return false;
    }
    this._wanted = false;
    this._last = now;
    this._taken += 1;
    return true;
  }
};
