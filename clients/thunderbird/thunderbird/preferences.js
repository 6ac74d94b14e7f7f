/* The settings in Thunderbird's preferences extensions.mailbell.*, where an administrator can
 * fix them. */

"use strict";

const BRANCH = "extensions.mailbell.";

/** Read a preference; undefined: it is not set, or has another type. */
function stored(field) {
  try {
    switch (Services.prefs.getPrefType(BRANCH + field)) {
      case Services.prefs.PREF_STRING:
        return Services.prefs.getStringPref(BRANCH + field);
      case Services.prefs.PREF_INT:
        return Services.prefs.getIntPref(BRANCH + field);
      default:
        return undefined;
    }
  } catch {
    return undefined;
  }
}

function storedNames() {
  const text = stored("names");
  // The length is judged first: a preference may come from another program.
  if (typeof text != "string" || text.length > 1024 * 1024) {
    return undefined;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

this.Preferences = {
  /** Whether to write a log to standard output. */
  get log() {
    return Services.prefs.getBoolPref(`${BRANCH}log`, false);
  },

  /** The fields that an administrator fixed. */
  locked() {
    return FIELDS.filter(field => Services.prefs.prefIsLocked(BRANCH + field));
  },

  /** Return all settings; what is missing or wrong has its default. */
  read() {
    return readSettings({
      socket: stored("socket"),
      settle: stored("settle"),
      gap: stored("gap"),
      names: storedNames(),
    });
  },

  /** Store some fields, which `findProblems` found right. */
  write(settings) {
    for (const [field, value] of Object.entries(settings)) {
      if (typeof value == "number") {
        Services.prefs.setIntPref(BRANCH + field, value);
      } else {
        const text = typeof value == "string" ? value : JSON.stringify(value);
        Services.prefs.setStringPref(BRANCH + field, text);
      }
    }
  },

  /** Call `changed` after each change, until the function that this returns is called. */
  watch(changed) {
    Services.prefs.addObserver(BRANCH, changed);
    return () => Services.prefs.removeObserver(BRANCH, changed);
  },

  /** Where the socket may be, with these settings. */
  places(settings) {
    return listPlaces(settings.socket, {
      MAILBELL_SOCKET: Services.env.get("MAILBELL_SOCKET"),
      XDG_RUNTIME_DIR: Services.env.get("XDG_RUNTIME_DIR"),
    });
  },
};
