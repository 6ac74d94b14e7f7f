/* Reads the replies to one subscription, and keeps nothing of them but names of accounts.
 *
 * Another program than mailbelld may answer at the socket's path. So a reply is measured before
 * it is parsed, and the first wrong one ends the reading.
 *
 * Pure: bytes come in, and names go out. */

"use strict";

const ERRORS = new Map([
  ["org.mailbell.Listener.TooManySubscribers", "too_many_subscribers"],
  ["org.mailbell.Listener.TooFast", "too_fast"],
]);

function isObject(value) {
  return typeof value == "object" && value !== null && !Array.isArray(value);
}

/**
 * The reader of one connection.
 *
 * `fault` is null, or says why reading ended: too_long, not_json, no_reply, bad_name, ended
 * (mailbelld ended the subscription), too_many_subscribers, too_fast, other_error.
 */
this.Replies = class Replies {
  /**
   * @param {number} limit - the most bytes of one reply, without its NUL; as STREAM_LIMIT of
   *     mailbell's interfaces/reply.py. mailbelld's own replies have about 250.
   */
  constructor(limit = 16 * 1024) {
    this.limit = limit;
    this.fault = null;
    this._pending = "";
  }

  /** Whether a reply has begun and not ended. */
  get unfinished() {
    return this._pending != "";
  }

  /**
   * Take bytes as they came.
   *
   * @param {string} bytes - one character a byte.
   * @returns {(?string)[]} for each reply that is now whole: the account's name, or null where it
   *     has no notification. Nothing after a fault.
   */
  take(bytes) {
    const found = [];
    let start = 0;
    while (this.fault === null) {
      const end = bytes.indexOf("\0", start);
      const stop = end < 0 ? bytes.length : end;
      if (this._pending.length + stop - start > this.limit) {
        this._fail("too_long");
        break;
      }
      this._pending += bytes.slice(start, stop);
      if (end < 0) {
        break;
      }
      const reply = this._pending;
      this._pending = "";
      start = end + 1;
      const name = this._read(reply);
      if (this.fault === null) {
        found.push(name);
      }
    }
    return found;
  }

  _fail(code) {
    this.fault = code;
    this._pending = "";
    return null;
  }

  _read(text) {
    let reply;
    try {
      reply = JSON.parse(text);
    } catch {
      return this._fail("not_json");
    }
    if (!isObject(reply)) {
      return this._fail("no_reply");
    }
    if (reply.error !== undefined) {
      return this._fail(ERRORS.get(reply.error) ?? "other_error");
    }
    return this._readParameters(reply);
  }

  _readParameters({ parameters, continues }) {
    if (!isObject(parameters) || !isObject(parameters.cursor)) {
      return this._fail("no_reply");
    }
    if (continues !== true) {
      return this._fail("ended");
    }
    const notification = parameters.notification ?? null;
    if (notification === null) {
      return null;
    }
    if (!isObject(notification) || !isAccountName(notification.account)) {
      return this._fail("bad_name");
    }
    return notification.account;
  }
};
