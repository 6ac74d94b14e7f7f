/* What the settings may be. The same rules judge what a page sends and what is stored.
 *
 * Pure: values come in, and settings or codes go out. */

"use strict";

this.DEFAULTS = Object.freeze({ socket: "", settle: 1000, gap: 10000, names: Object.freeze({}) });

const SOCKET_MOST = 107; // bytes, unix(7): sun_path has 108 with its NUL
const KEY = /^[A-Za-z0-9_]{1,32}$/; // Thunderbird's keys are server1, server2 and so on
const ACCOUNTS_MOST = 256;
const NAMES_MOST = 64; // for each account

function number(least, most) {
  return value => {
    if (!Number.isInteger(value)) {
      return "not_a_number";
    }
    return value < least || value > most ? "out_of_range" : null;
  };
}

/** Count the bytes of a text in UTF-8. */
function byteLength(text) {
  return encodeURIComponent(text.toWellFormed()).replace(/%../g, "x").length;
}

this.checkSocket = function (value) {
  if (value === "") {
    return null;
  }
  if (typeof value != "string" || !value.startsWith("/") || value.includes("\0")) {
    return "bad_path";
  }
  // A path of more characters than bytes permitted needs no counting.
  return value.length > SOCKET_MOST || byteLength(value) > SOCKET_MOST ? "too_long" : null;
};

function checkNames(value) {
  if (typeof value != "object" || value === null || Array.isArray(value)) {
    return "bad_names";
  }
  const entries = Object.entries(value);
  if (entries.length > ACCOUNTS_MOST) {
    return "too_many";
  }
  for (const [key, names] of entries) {
    if (!KEY.test(key) || !Array.isArray(names)) {
      return "bad_names";
    }
    if (names.length > NAMES_MOST) {
      return "too_many";
    }
    if (!names.every(isAccountName)) {
      return "bad_name";
    }
  }
  return null;
}

const CHECKS = new Map([
  ["socket", checkSocket],
  ["settle", number(0, 60000)],
  ["gap", number(1000, 3600000)],
  ["names", checkNames],
]);

/** The fields of the settings. */
this.FIELDS = [...CHECKS.keys()];

/**
 * Find what is wrong with settings.
 *
 * @param {object} settings - some or all fields.
 * @param {string[]} locked - the fields that an administrator fixed.
 * @returns {Object<string, string>} a code for each field that is wrong; empty: all are right.
 */
this.findProblems = function (settings, locked) {
  const problems = {};
  for (const [field, value] of Object.entries(settings)) {
    const check = CHECKS.get(field);
    let code = check ? check(value) : "unknown";
    if (locked.includes(field)) {
      code = "locked";
    }
    if (code !== null) {
      problems[check ? field : "unknown"] = code;
    }
  }
  return problems;
};

/**
 * Make settings of what is stored. What is missing or wrong gets its default.
 *
 * @param {object} stored - some or all fields.
 * @returns {{socket: string, settle: number, gap: number, names: Object<string, string[]>}} all
 *     fields. A socket that is wrong stays as it is: it is never replaced by another one.
 */
this.readSettings = function (stored) {
  const settings = { ...DEFAULTS };
  for (const field of FIELDS) {
    const value = stored[field];
    if (value !== undefined && (field == "socket" || CHECKS.get(field)(value) === null)) {
      settings[field] = value;
    }
  }
  return settings;
};

/**
 * Make the map of names for `chooseAccounts`. An empty list is left out: such an account is rung
 * by its own name.
 *
 * @param {Object<string, string[]>} names - as in the settings.
 * @returns {Map<string, string[]>} the lists that have a name.
 */
this.namesByAccount = function (names) {
  return new Map(Object.entries(names).filter(([, list]) => list.length));
};

/**
 * List the places where the socket may be, as mailbell's client/_path.py does.
 *
 * @param {string} own - the setting; empty: the usual places.
 * @param {{MAILBELL_SOCKET: string, XDG_RUNTIME_DIR: string}} environment - "" where unset.
 * @returns {string[]} at least one path. They are not judged.
 */
this.listPlaces = function (own, { MAILBELL_SOCKET, XDG_RUNTIME_DIR }) {
  if (own || MAILBELL_SOCKET) {
    return [own || MAILBELL_SOCKET];
  }
  const places = ["/run/mailbell/mailbell.sock"];
  if (XDG_RUNTIME_DIR.startsWith("/")) {
    places.push(`${XDG_RUNTIME_DIR.replace(/\/+$/, "")}/mailbell/mailbell.sock`);
  }
  return places;
};
