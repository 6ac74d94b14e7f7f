/* What the acting files of the add-on use of Thunderbird, as far as they use it. It notes what is
 * asked of it, and does what a test says. The real Thunderbird is in tests/mail_programs. */

"use strict";

globalThis.noted = [];
const note = (...what) => noted.push(what);

globalThis.Cr = {
  NS_OK: 0,
  NS_ERROR_ABORT: 0x80004004,
  NS_BASE_STREAM_CLOSED: 0x80470002,
  NS_ERROR_NET_RESET: 0x804b0014,
  NS_ERROR_NET_INTERRUPT: 0x804b0047,
  NS_ERROR_CONNECTION_REFUSED: 0x804b000d,
  NS_ERROR_FILE_ACCESS_DENIED: 0x80520015,
  NS_ERROR_FILE_NOT_FOUND: 0x80520012,
};
globalThis.Ci = {
  nsIAsyncInputStream: "nsIAsyncInputStream",
  nsIMsgFolderFlags: {},
  nsMsgAuthMethod: { none: 1, passwordCleartext: 3, GSSAPI: 5, NTLM: 6, External: 7, OAuth2: 10 },
  nsMsgFolderFlags: { Inbox: 0x1000 },
  nsIFolderListener: { added: 0x1, event: 0x80 },
};
globalThis.Components = { isSuccessCode: status => status < 0x80000000 };
globalThis.ChromeUtils = { generateQI: names => names };

/* The socket. `fail` and `bytes` say what reading finds. */

globalThis.wire = { fail: null, bytes: "", writable: true, waits: 0 };

const stream = {
  QueryInterface: () => stream,
  asyncWait: callback => {
    wire.waits += 1;
    wire.callback = callback;
  },
  available: () => {
    if (wire.fail !== null) {
      const error = new Error("stream");
      throw Object.assign(error, { name: "NS_ERROR", result: wire.fail });
    }
    return wire.bytes.length;
  },
};

const INSTANCES = {
  "@mozilla.org/file/local;1": () => ({
    initWithPath: path => note("path", path),
    isWritable: () => {
      if (wire.writable === null) {
        throw new Error("NS_ERROR_FILE_ACCESS_DENIED");
      }
      return wire.writable;
    },
  }),
  "@mozilla.org/scriptableinputstream;1": () => ({
    init: () => {},
    readBytes: count => {
      const read = wire.bytes.slice(0, count);
      wire.bytes = wire.bytes.slice(count);
      return read;
    },
  }),
  "@mozilla.org/network/socket-transport-service;1": () => ({
    createUnixDomainTransport: () => ({
      openOutputStream: () => ({ write: (text, length) => note("write", text, length) }),
      openInputStream: () => stream,
      close: status => note("close", status),
    }),
  }),
};
globalThis.Cc = new Proxy(
  {},
  {
    get: (target, name) => ({
      createInstance: () => INSTANCES[name](),
      getService: () => INSTANCES[name](),
    }),
  }
);

/* Preferences and events. */

globalThis.preferences = new Map();
globalThis.lockedPreferences = new Set();
globalThis.observers = new Map();

const PREFIX = "extensions.mailbell.";
globalThis.defaultTypes = new Map(); // of defaults that an administrator gave
function setPreference(name, given) {
  const field = name.slice(PREFIX.length);
  if ((defaultTypes.get(field) ?? typeof given) != typeof given) {
    throw new Error("NS_ERROR_UNEXPECTED");
  }
  preferences.set(field, given);
}
const value = name => preferences.get(name.slice(PREFIX.length));

globalThis.Services = {
  tm: { mainThread: "main" },
  logins: { isLoggedIn: true },
  io: { offline: false },
  env: { get: name => ({ MAILBELL_SOCKET: "", XDG_RUNTIME_DIR: "/run/user/7" })[name] },
  obs: {
    addObserver: (observer, topic) => observers.set(topic, observer),
    removeObserver: (observer, topic) =>
      observers.get(topic) === observer && observers.delete(topic),
  },
  prefs: {
    PREF_STRING: 32,
    PREF_INT: 64,
    PREF_BOOL: 128,
    getPrefType: name => ({ string: 32, number: 64, boolean: 128 })[typeof value(name)] ?? 0,
    getStringPref: value,
    getIntPref: value,
    getBoolPref: (name, other) => value(name) ?? other,
    setStringPref: setPreference,
    setIntPref: setPreference,
    setBoolPref: setPreference,
    clearUserPref: name => preferences.delete(name.slice(PREFIX.length)),
    prefHasUserValue: name => preferences.has(name.slice(PREFIX.length)),
    prefIsLocked: name => lockedPreferences.has(name.slice(PREFIX.length)),
    addObserver: (branch, observer) => observers.set(branch, observer),
    removeObserver: (branch, observer) =>
      observers.get(branch) === observer && observers.delete(branch),
  },
};

/* Accounts. */

globalThis.folderListeners = new Set();
globalThis.feedbackListeners = new Set();

function server(key, type, others = {}) {
  const getNewMessages = name => (window, listener) => {
    note("getNewMessages", name, window);
    globalThis.givenListener = listener;
  };
  const found = { name: `inbox of ${key}`, getNewMessages: getNewMessages(`inbox of ${key}`) };
  const inbox = others.inbox === undefined ? found : others.inbox;
  return {
    key,
    type,
    prettyName: `name of ${key}`,
    passwordPromptRequired: false,
    authMethod: 3,
    rootFolder: { key, getFolderWithFlags: flags => (flags === 0x1000 ? inbox : "wrong") },
    performBiff: window => note("performBiff", key, window),
    getNewMessages: (folder, ...others) => getNewMessages(folder.key)(...others),
    ...others,
  };
}

globalThis.MailServices = {
  accounts: { allServers: [] },
  mailSession: {
    AddFolderListener: (listener, flags) => [0x1, 0x80].includes(flags) && folderListeners.add(listener),
    RemoveFolderListener: listener => folderListeners.delete(listener),
    addUserFeedbackListener: listener => feedbackListeners.add(listener),
    removeUserFeedbackListener: listener => feedbackListeners.delete(listener),
  },
};
