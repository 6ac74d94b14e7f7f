/* How long to wait before the next attempt to connect.
 *
 * Pure: times and randomness are arguments. */

"use strict";

/**
 * Waits that double, and begin anew only after a connection that lasted.
 *
 * A daemon that answers and hangs up at once would otherwise be called without a pause.
 */
this.Backoff = class Backoff {
  /**
   * @param {number} shortest - the first wait, in milliseconds.
   * @param {number} longest - the longest wait, and how long a connection must last.
   */
  constructor(shortest = 100, longest = 10000) {
    this.shortest = shortest;
    this.longest = longest;
    this._next = shortest;
  }

  /**
   * Compute the wait after a connection that ended, or that could not be made.
   *
   * @param {number} lived - how long the connection lasted, in milliseconds.
   * @param {number} random - from 0 up to 1. It spreads the attempts of many users of a machine.
   * @returns {number} milliseconds: three quarters of the wait at least, and all of it at most.
   */
  next(lived, random) {
    if (lived >= this.longest) {
      this._next = this.shortest;
    }
    const wait = this._next;
    this._next = Math.min(2 * wait, this.longest);
    return wait * (0.75 + 0.25 * random);
  }
};
