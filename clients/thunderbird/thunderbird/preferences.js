/* The settings in Thunderbird's preferences extensions.mailbell.*, where an administrator can
 * fix them. */

"use strict";

const BRANCH = "extensions.mailbell.";

const UNREADABLE = "?"; // no path: it is not replaced by the usual places

/** Read a preference. undefined: it is not set. It throws if Thunderbird cannot read it. */
function stored(field) {
  const { prefs } = Services;
  switch (prefs.getPrefType(BRANCH + field)) {
    case prefs.PREF_STRING:
      return prefs.getStringPref(BRANCH + field);
    case prefs.PREF_INT:
      return prefs.getIntPref(BRANCH + field);
    case prefs.PREF_BOOL:
      return prefs.getBoolPref(BRANCH + field);
    default:
      return undefined;
  }
}

/** Store a preference. undefined: unset it. It throws if a default has another type. */
function store(field, value) {
  const { prefs } = Services;
  switch (typeof value) {
    case "undefined":
      prefs.clearUserPref(BRANCH + field);
      break;
    case "number":
      prefs.setIntPref(BRANCH + field, value);
      break;
    case "boolean":
      prefs.setBoolPref(BRANCH + field, value);
      break;
    default:
      prefs.setStringPref(BRANCH + field, value);
  }
}

/** Read a preference that may be replaced by its default. */
function storedOr(field, other) {
  try {
    return stored(field);
  } catch {
    return other;
  }
}

/** Who has set a socket must not get another one, also where what was set is no text. */
function storedSocket() {
  const value = storedOr("socket", UNREADABLE);
  return value === undefined ? value : String(value);
}

function storedNames() {
  const text = storedOr("names");
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
      socket: storedSocket(),
      settle: storedOr("settle"),
      gap: storedOr("gap"),
      names: storedNames(),
    });
  },

  /**
   * Store some fields, which `findProblems` found right: all of them, or none.
   *
   * @returns {Object<string, string>} the code not_stored for the field that Thunderbird refused.
   *     It does so if an administrator gave the preference a default of another type.
   */
  write(settings) {
    const before = [];
    for (const [field, value] of Object.entries(settings)) {
      try {
        const own = Services.prefs.prefHasUserValue(BRANCH + field) ? stored(field) : undefined;
        store(field, typeof value == "object" ? JSON.stringify(value) : value);
        before.push([field, own]);
      } catch {
        before.reverse().forEach(([changed, old]) => store(changed, old));
        return { [field]: "not_stored" };
      }
    }
    return {};
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
