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
    this._short = 0; // connections in a row that did not last
  }

  /**
   * A connection began.
   *
   * @param {boolean} lasted - whether the one before it lasted, or there was none.
   */
  ask(lasted) {
    this._short = lasted ? 0 : this._short + 1;
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
    if (this._last === null || this._short == 0) {
      return -Infinity;
    }
    return this._last + Math.max(gap, Math.min(gap * 2 ** Math.min(this._short, 20), CATCH_UP_MOST));
  }

  /** Tell whether to fetch everything now; each catch-up once. */
  take(now, gap) {
    const due = this.due(gap);
    if (due === null || now < due) {
      return false;
    }
    this._wanted = false;
    this._last = now;
    return true;
  }
};
