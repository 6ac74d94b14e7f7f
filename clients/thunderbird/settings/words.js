/* What the page says about a status, a setting or a problem: pure.
 *
 * Every function gets codes, numbers and texts, and returns a message: the key of a sentence in
 * _locales and the values for its placeholders. settings.js puts the sentences into the page. */

"use strict";

const NAMES = "names."; // before the key of an account: the field of its names
const ACCOUNT_NAME = /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$/; // as src/mailbell/core/account_name.py

const MAX_SHOWN = 512; // characters of a text from outside; a longer one is cut

/* Of each state of the connection: its sentence, advice for it, and whether all is well. */
const STATES = {
  connected: { headline: "stateConnected", since: "stateConnectedSince", tone: "good" },
  connecting: { headline: "stateConnecting", tone: "busy" },
  deaf: { headline: "stateDeaf", since: "stateDeafSince", advice: "adviceDeaf", tone: "bad" },
  forbidden: {
    headline: "stateForbidden",
    advice: "adviceForbidden",
    command: 'sudo usermod --append --groups mailbell "$USER"',
    tone: "bad",
  },
  missing: {
    headline: "stateMissing",
    advice: "adviceMissing",
    command: "sudo systemctl enable --now mailbelld",
    tone: "bad",
  },
  not_mailbelld: { headline: "stateNotMailbelld", advice: "adviceNotMailbelld", tone: "bad" },
  bad_path: { headline: "stateBadPath", advice: "adviceBadPath", tone: "bad" },
};
const UNKNOWN_STATE = { headline: "stateUnknown", tone: "bad" };

/* What the last failure was, where it says more than the state. */
const REASONS = {
  refused: "reasonRefused",
  failed: "reasonFailed",
  closed: "reasonClosed",
  too_many_subscribers: "reasonTooManySubscribers",
  too_fast: "reasonTooFast",
  no_answer: "reasonNoAnswer",
  unfinished: "reasonUnfinished",
  too_long: "reasonTooLong",
  not_json: "reasonNotVarlink",
  no_reply: "reasonNotVarlink",
  bad_name: "reasonNotVarlink",
  ended: "reasonNotVarlink",
  other_error: "reasonNotVarlink",
};
/* The state says it all. */
const SAID_BY_STATE = ["bad_path", "forbidden", "missing"];

const ACCOUNT_STATES = {
  idle: "accountIdle",
  waiting: "accountWaiting",
  fetching: "accountFetching",
  failed: "accountFailed",
  no_password: "accountNoPassword",
  offline: "accountOffline",
};

const PROBLEMS = {
  bad_path: "problemBadPath",
  too_long: "problemTooLong",
  not_a_number: "problemNotANumber",
  out_of_range: "problemOutOfRange",
  bad_name: "problemBadName",
  too_many: "problemTooMany",
  unknown: "problemUnknown",
  bad_names: "problemBadName",
  locked: "locked",
  not_stored: "problemNotStored",
};

const TYPES = { imap: "IMAP", pop3: "POP3", ews: "Exchange", graph: "Exchange" };

function message(key, ...values) {
  return { key, values: values.map(shown) };
}

/** Look a code up; a name that every object has, such as "constructor", is no code. */
function lookUp(table, code, otherwise) {
  return Object.hasOwn(table, code) ? table[code] : otherwise;
}

/** Cut a text to what a page can show, and take out what would break the line. */
function shown(text) {
  const line = String(text ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, "\ufffd");
  return line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN)}\u2026` : line;
}

/** Turn a time into text: of today the hour and minute, of another day the day too.
 *
 * @param {number} time - in ms since the epoch, as is `now`.
 * @param {string} language - a BCP 47 tag.
 * @param {string} [zone] - a time zone; without it, that of the person.
 */
function timeText(time, now, language, zone) {
  const day = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: zone });
  const hour = new Intl.DateTimeFormat(language, { timeStyle: "short", timeZone: zone });
  const at = hour.format(time);
  return day.format(time) == day.format(now) ? at : `${day.format(time)}, ${at}`;
}

/** Say what the status means.
 *
 * @param {object} status - what browser.mailbell.getStatus() returns.
 * @param {function(number): string} when - turns a time into text.
 */
function statusWords(status, when) {
  const state = lookUp(STATES, status.state, UNKNOWN_STATE);
  const dated = state.since && status.since !== null;
  return {
    tone: state.tone,
    headline: dated ? message(state.since, when(status.since)) : message(state.headline),
    advice: state.advice ? message(state.advice, status.socket) : null,
    reason: reasonWords(status.reason),
    command: state.command ?? null,
    offline: Boolean(status.offline),
    lastRing: ringWords(status, when),
    rings: shown(status.rings),
    socket: shown(status.socket),
    accounts: status.accounts.map(account => accountWords(account, when)),
  };
}

function reasonWords(reason) {
  return reason === null || SAID_BY_STATE.includes(reason)
    ? null
    : message(lookUp(REASONS, reason, "reasonUnknown"));
}

function ringWords({ lastRing, lastRingName }, when) {
  if (lastRing === null) {
    return message("ringNever");
  }
  return lastRingName === null
    ? message("ringOfAll", when(lastRing))
    : message("ringOfAccount", when(lastRing), lastRingName);
}

function accountWords({ key, name, type, state, lastFetch }, when) {
  return {
    key,
    name: shown(name),
    type: typeText(type),
    ownName: ACCOUNT_NAME.test(name) ? name : null,
    troubled: ["failed", "no_password"].includes(state),
    state: message(lookUp(ACCOUNT_STATES, state, "accountUnknown")),
    fetched: lastFetch === null ? null : when(lastFetch),
  };
}

function typeText(type) {
  return lookUp(TYPES, type, shown(type).toUpperCase());
}

/** Say what is wrong with a field; `null` if nothing is. */
function problemWords(code) {
  return code ? message(lookUp(PROBLEMS, code, "problemUnknown")) : null;
}

/** Tell whether an administrator has fixed a field, or all of the kind. */
function isLocked(field, locked) {
  return locked.includes(field) || locked.includes(field.split(".")[0]);
}

/** Say what stands in a field.
 *
 * @param {string} field - socket, settle, gap, or "names." and the key of an account.
 * @param {object} settings - what browser.mailbell.getSettings() returns.
 */
function fieldText(field, settings, language) {
  if (field.startsWith(NAMES)) {
    return lookUp(settings.names, field.slice(NAMES.length), []).join(", ");
  }
  return field == "socket" ? settings.socket : secondsText(settings[field], language);
}

/** Read the fields.
 *
 * @param {string[][]} texts - a field that was changed and what stands in it.
 * @param {Object<string, string[]>} names - of all accounts; those whose field was not changed
 *   keep theirs.
 * @returns {object} settings for browser.mailbell.setSettings(), and a problem for each field
 *   that cannot be read. Thunderbird's side looks at all of them once more.
 */
function readFields(texts, names) {
  const settings = {};
  const problems = {};
  for (const [field, text] of texts) {
    if (field.startsWith(NAMES)) {
      const own = parseNames(text);
      settings.names ??= { ...names };
      delete settings.names[field.slice(NAMES.length)];
      if (own.length) {
        settings.names[field.slice(NAMES.length)] = own;
      }
      if (!own.every(name => ACCOUNT_NAME.test(name))) {
        problems[field] = "bad_name";
      }
    } else if (field == "socket") {
      settings.socket = text.trim();
    } else {
      settings[field] = parseSeconds(text);
      if (settings[field] === null) {
        problems[field] = "not_a_number";
      }
    }
  }
  return { settings, problems };
}

/** Split names: between them are commas, semicolons or spaces. */
function parseNames(text) {
  return text.split(/[\s,;]+/).filter(Boolean);
}

/** Read a number of seconds, with a point or a comma, as ms; `null` if it is none. */
function parseSeconds(text) {
  const seconds = text.trim().replace(",", ".");
  return /^\d{1,9}(\.\d{1,3})?$/.test(seconds) ? Math.round(Number(seconds) * 1000) : null;
}

/** Write a number of ms as seconds, as a person of this language writes it. */
function secondsText(ms, language) {
  return new Intl.NumberFormat(language, {
    maximumFractionDigits: 3,
    useGrouping: false,
  }).format(ms / 1000);
}
