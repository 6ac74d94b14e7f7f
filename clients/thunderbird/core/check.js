/* Asks from time to time whether mailbelld still answers, on a second connection.
 *
 * A daemon that hangs keeps its connections, and its silence is that of a daemon without mail. And
 * while the socket of a later place is connected, the daemon of an earlier one may be there again.
 *
 * Pure: bytes and monotonic times come in, and verdicts go out. */

"use strict";

/** How long mailbelld may take for its first answer, and for all of a reply, in milliseconds. */
this.PATIENCE = 10000;

/** A connection is checked after this time without a byte, in milliseconds. */
const CHECK = 300000;
/** The earlier places are looked at this often. */
const CHECK_EARLIER = 60000;

// These ends say nothing against the connection: mailbelld answers, or nothing could be asked.
const NOTHING_LEARNED = new Set(["too_fast", "too_many_subscribers", "forbidden", "failed"]);

/** Reads the reply to org.varlink.service.GetInfo, which must name the interface. */
class InfoReplies extends Replies {
  _readParameters({ parameters }) {
    const interfaces = parameters?.interfaces;
    if (!Array.isArray(interfaces) || !interfaces.includes("org.mailbell.Listener")) {
      this._fail("no_reply");
    }
    return null;
  }
}

/**
 * The checks of one connection.
 *
 * Call `step` when `due` has come. Report what happens on the second connection by `received` and
 * `ended`. A verdict is null (the connection stays), "earlier" (an earlier place answers) or the
 * reason why the connection counts as lost, a key of Link's STATES.
 */
this.Check = class Check {
  /**
   * @param {string[]} places - where the socket may be.
   * @param {number} own - the index of the place that is connected.
   * @param {number} now - milliseconds of a clock that never goes back.
   */
  constructor(places, own, now) {
    this._places = places;
    this._own = own;
    this._alive = now; // the last sign of life
    this._looked = now; // the start of the last round
    this._place = null; // the place that is asked, or is to be asked next
    this._since = null; // since when it is asked
  }

  /** Which place to ask, or is asked. */
  get path() {
    return this._places[this._place];
  }

  /** When `step` will have something to do. */
  get due() {
    if (this._since !== null) {
      return this._since + PATIENCE;
    }
    if (this._place !== null) {
      return -Infinity;
    }
    const look = this._own > 0 ? this._looked + CHECK_EARLIER : Infinity;
    return Math.min(this._alive + CHECK, look);
  }

  /** mailbelld said something on the connection itself. */
  heard(now) {
    this._alive = now;
  }

  /** Check the connection at once. */
  hurry() {
    this._alive = -Infinity;
  }

  /**
   * Return what to do now.
   *
   * @returns {{act: ?string, verdict: ?string}} act: "check" (connect to `path`, and ask), "drop"
   *     (close that connection) or null.
   */
  step(now) {
    if (now < this.due) {
      return { act: null, verdict: null };
    }
    if (this._since !== null) {
      return { act: "drop", verdict: this.ended(now, "no_answer") };
    }
    if (this._place === null) {
      this._looked = now;
      this._place = 0;
    }
    this._since = now;
    this._replies = new InfoReplies();
    return { act: "check", verdict: null };
  }

  /**
   * Take bytes of the second connection.
   *
   * @returns {{over: boolean, verdict: ?string}} over: the second connection is to be closed.
   */
  received(now, bytes) {
    const answered = this._replies.take(bytes).length > 0;
    const { fault } = this._replies;
    if (!answered && fault === null) {
      return { over: false, verdict: null };
    }
    return { over: true, verdict: answered ? this._answered(now) : this.ended(now, fault) };
  }

  /** The place answered. */
  _answered(now) {
    if (this._place < this._own) {
      return "earlier";
    }
    return this._rest(now);
  }

  /** The second connection ended without an answer, or could not be made. */
  ended(now, reason) {
    this._since = null;
    if (this._place < this._own) {
      this._place += 1;
      // The connected place itself is asked only after a time of silence.
      if (this._place == this._own && now < this._alive + CHECK) {
        this._place = null;
      }
      return null;
    }
    return NOTHING_LEARNED.has(reason) ? this._rest(now) : reason;
  }

  _rest(now) {
    this._since = this._place = null;
    this._alive = now;
    return null;
  }
};
