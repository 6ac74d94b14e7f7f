/* Decides when one account of Thunderbird fetches: soon after a ring, never twice at once.
 *
 * A ring says that there is mail, and not how much; one fetch gets all of it. So an account needs
 * no queue. It only needs to know whether a fetch is wanted.
 *
 * Pure: the time is an argument, in milliseconds of a clock that never goes back. */

"use strict";

/**
 * How fetches of an account end. giveUp: one that has not reported its end after this time counts
 * as failed. queued: Thunderbird does it all the same, at last, so no other may start before.
 */
const ENDS = new Map([
  ["imap", { giveUp: 300000, queued: false }],
  // Thunderbird puts one after the other into a queue without a bound.
  ["pop3", { giveUp: 300000, queued: true }],
]);
// Of the other kinds, a failure is never reported. So a longer time would only hold up rings.
const OTHER_ENDS = { giveUp: 30000, queued: false };
/** A fetch starts at the latest this time after the first ring, however many follow it. */
const SETTLE_MOST = 10000;
/** The wait after a failed fetch; it doubles, up to the second number. */
const RETRY = 60000;
const RETRY_MOST = 3600000;

/** Call `step` when `due` has come and after every other call. */
this.Pace = class Pace {
  /**
   * @param {{settle: number, gap: number}} timing - settle: a fetch starts when no ring came for
   *     this time. gap: the least time from the start of one fetch to the start of the next.
   * @param {string} type - of the account, as Thunderbird calls it.
   */
  constructor(timing, type) {
    this.timing = timing;
    this.ends = ENDS.get(type) ?? OTHER_ENDS;
    this.overdue = false; // the fetch that runs was given up
    this.failures = 0;
    this._first = null; // the first ring that no fetch has answered
    this._last = null;
    this._retryAt = null;
    this._started = null; // the start of the last fetch
    this._running = false;
  }

  get fetching() {
    return this._running;
  }

  /** Whether a fetch will come. */
  get wanted() {
    return this._first !== null || this._retryAt !== null;
  }

  /** When `step` will have something to do; null: only after another call. */
  get due() {
    if (this._running) {
      return this.overdue ? null : this._started + this.ends.giveUp;
    }
    if (!this.wanted) {
      return null;
    }
    const { settle, gap } = this.timing;
    const rung =
      this._first === null
        ? Infinity
        : Math.min(this._last + settle, this._first + Math.max(settle, SETTLE_MOST));
    const wish = Math.min(rung, this._retryAt ?? Infinity);
    return this._started === null ? wish : Math.max(wish, this._started + gap);
  }

  /** Note that a fetch is wanted. */
  ring(now) {
    this._first ??= now;
    this._last = now;
  }

  /**
   * Return what to do now: "fetch", "give_up" (the fetch counts as failed, and its end as too
   * late), "overdue" (it counts as failed, and its end is waited for) or null.
   */
  step(now) {
    const due = this.due;
    if (due === null || now < due) {
      return null;
    }
    if (this._running) {
      if (this.ends.queued) {
        this.overdue = true;
        return "overdue";
      }
      this.ended(now, false);
      return "give_up";
    }
    this._first = this._last = this._retryAt = null;
    this._started = now;
    this._running = true;
    return "fetch";
  }

  /**
   * Report the end of the fetch.
   *
   * @param {number} now - milliseconds.
   * @param {boolean} ok - whether it succeeded. If not, another is tried later without a ring.
   */
  ended(now, ok) {
    this._running = this.overdue = false;
    if (ok) {
      this.failures = 0;
      return;
    }
    this._retryAt = now + Math.min(RETRY * 2 ** this.failures, RETRY_MOST);
    this.failures += 1;
  }

  /** Report that the fetch did not take place: another is wanted. That is no failure. */
  interrupted(now) {
    this._running = this.overdue = false;
    this.ring(now);
  }

  /** Report that no fetch was possible without a person, who alone can change that. */
  refused() {
    this._running = this.overdue = false;
  }
};
