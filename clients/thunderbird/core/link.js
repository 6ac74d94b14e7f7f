/* The connection to mailbelld: when to connect, when to give up, and what its failures mean.
 *
 * Pure: bytes and monotonic times come in, and names and steps go out. */

"use strict";

// Of several places, the failure that tells a person most; and the state that each means.
const STATES = new Map([
  ["bad_path", "bad_path"],
  ["forbidden", "forbidden"],
  ["too_long", "not_mailbelld"],
  ["not_json", "not_mailbelld"],
  ["no_reply", "not_mailbelld"],
  ["bad_name", "not_mailbelld"],
  ["ended", "not_mailbelld"],
  ["other_error", "not_mailbelld"],
  ["no_answer", "not_mailbelld"],
  ["unfinished", "not_mailbelld"],
  ["too_many_subscribers", "deaf"],
  ["too_fast", "deaf"],
  ["closed", "deaf"],
  ["refused", "deaf"],
  ["failed", "deaf"],
  ["missing", "missing"],
]);
const ORDER = [...STATES.keys()];

/**
 * One subscription that is connected again for ever.
 *
 * Call `step` when `due` has come. It returns "connect" (then connect to `path`), "hang_up"
 * (then close all connections), "check" (then connect to `checkPath` too, and ask), "drop" (then
 * close that second connection) or null. Report what happens by `received` and `ended`, and by
 * `checkReceived` and `checkEnded`.
 */
this.Link = class Link {
  /**
   * @param {string[]} places - where the socket may be, in the order of trial.
   * @param {number} now - milliseconds of a clock that never goes back.
   */
  constructor(places, now) {
    this._backoff = new Backoff();
    this.move(places, now);
  }

  /** Where to connect now. */
  get path() {
    return this._places[this._place];
  }

  /** Whether a connection is open or is being made. */
  get open() {
    return this._since !== null;
  }

  /** When `step` will have something to do, in milliseconds. */
  get due() {
    if (!this.open) {
      return this._retryAt;
    }
    if (!this._answered) {
      return this._since + PATIENCE;
    }
    const check = this._check.due;
    return this._replies.unfinished ? Math.min(this._replyBegun + PATIENCE, check) : check;
  }

  /** Look for the socket elsewhere, and connect at once. The caller closes what was open. */
  move(places, now) {
    this.state = "connecting";
    this.reason = null; // the last failure; null while connected
    this.shown = places[0]; // the place that is connected, or that failed for this reason
    this.lasted = true; // whether the last connection that was answered lasted
    this._places = places;
    this._restart(now);
  }

  /** Connect at once, or check the connection that is open. */
  hurry(now) {
    if (!this.open) {
      this._restart(now);
    }
    this._check?.hurry();
  }

  /** The place to ask whether mailbelld answers, on a second connection. */
  get checkPath() {
    return this._check.path;
  }

  /**
   * Return what to do now.
   *
   * @param {number} now - milliseconds.
   * @param {number} random - from 0 up to 1.
   */
  step(now, random) {
    if (now < this.due) {
      return null;
    }
    if (!this.open) {
      if (checkSocket(this.path) !== null) {
        this.ended(now, random, "bad_path");
        return null;
      }
      this._since = now;
      this._answered = false;
      this._replies = new Replies();
      return "connect";
    }
    if (!this._answered) {
      this.ended(now, random, "no_answer");
      return "hang_up";
    }
    if (this._replies.unfinished && now >= this._replyBegun + PATIENCE) {
      this.ended(now, random, "unfinished");
      return "hang_up";
    }
    const { act, verdict } = this._check.step(now);
    return this._judge(now, random, verdict) ? "hang_up" : act;
  }

  /** Take the verdict of a check; tell whether all connections must be closed. */
  _judge(now, random, verdict) {
    if (verdict === null) {
      return false;
    }
    if (verdict == "earlier") {
      this.state = "connecting";
      this.lasted = true;
      this._restart(now);
    } else {
      this.ended(now, random, verdict);
    }
    return true;
  }

  /**
   * Take bytes of the second connection.
   *
   * @returns {?string} "drop", "hang_up" or null, as `step`.
   */
  checkReceived(now, bytes, random) {
    const { over, verdict } = this._check.received(now, bytes);
    if (this._judge(now, random, verdict)) {
      return "hang_up";
    }
    return over ? "drop" : null;
  }

  /**
   * The second connection ended without an answer, or could not be made.
   *
   * @returns {?string} "hang_up" or null, as `step`.
   */
  checkEnded(now, reason, random) {
    return this._judge(now, random, this._check.ended(now, reason)) ? "hang_up" : null;
  }

  /**
   * Take bytes of the connection.
   *
   * @param {number} now - milliseconds.
   * @param {string} bytes - one character a byte.
   * @param {number} random - from 0 up to 1.
   * @returns {{connected: boolean, names: string[], hangUp: boolean}} whether the first answer was
   *     among them, the accounts that rang, and whether the connection must be closed.
   */
  received(now, bytes, random) {
    const wasUnfinished = this._replies.unfinished;
    const replies = this._replies.take(bytes);
    const connected = !this._answered && replies.length > 0;
    if (connected) {
      this._answered = true;
      this._check = new Check(this._places, this._place, now);
      this.state = "connected";
      this.reason = null;
      this.shown = this.path;
    }
    if (replies.length > 0 || !wasUnfinished) {
      this._replyBegun = now;
    }
    this._check?.heard(now);
    const { fault } = this._replies;
    if (fault !== null) {
      this.ended(now, random, fault);
    }
    return {
      connected,
      names: replies.filter(name => name !== null),
      hangUp: fault !== null,
    };
  }

  /**
   * The connection ended or could not be made.
   *
   * @param {number} now - milliseconds.
   * @param {number} random - from 0 up to 1.
   * @param {string} reason - why: a key of STATES.
   */
  ended(now, random, reason) {
    const answered = this._answered;
    const lived = answered ? now - this._since : 0;
    if (answered) {
      this.lasted = lived >= this._backoff.longest;
    }
    this._since = null;
    if (this._worst === null || ORDER.indexOf(reason) < ORDER.indexOf(this._worst.reason)) {
      this._worst = { reason, path: this.path };
    }
    if (!answered && this._place + 1 < this._places.length) {
      this._place += 1;
      this._retryAt = now;
      return;
    }
    this.reason = answered ? reason : this._worst.reason;
    this.shown = answered ? this.path : this._worst.path;
    this.state = STATES.get(this.reason);
    this._begin(now + this._backoff.next(lived, random));
  }

  _restart(now) {
    this._since = null;
    this._begin(now);
  }

  _begin(at) {
    this._place = 0;
    this._check = null; // of a connection that was answered
    this._worst = null; // the failure of this round that tells most
    this._retryAt = at;
  }
};
