/* Fetches the mail of one account, as Thunderbird's own polling does, and learns of the end.
 *
 * No fetch has a window, and an account without a password is left out: so no dialog asks for one.
 * After a wrong POP3 password Thunderbird asks all the same. */

"use strict";

// Local folders, chat, feeds and news have no mail that a mail server tells of.
const WITHOUT_MAIL = new Set(["none", "im", "rss", "nntp"]);

/** List the accounts that can fetch: {key, name, type} of each. */
this.listAccounts = function () {
  return MailServices.accounts.allServers
    .filter(server => !WITHOUT_MAIL.has(server.type))
    .map(server => ({ key: server.key, name: server.prettyName, type: server.type }));
};

/** Make a listener that calls `done` with whether all went well. */
function urlListener(done, onStart = () => {}) {
  return {
    QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
    OnStartRunningUrl: onStart,
    OnStopRunningUrl: (url, status) => done(Components.isSuccessCode(status) ? "ok" : "failed"),
  };
}

function inboxOf(server) {
  return server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
}

/** IMAP. performBiff would do the same, but tells no one of its end. */
function fetchImap(server, done) {
  const inbox = inboxOf(server);
  if (!inbox) {
    server.performBiff(null);
    done("failed"); // the folders of a new account are not known yet
    return;
  }
  server.performingBiff = true; // polling says so too: it decides about the alert for new mail
  // While Thunderbird looks into the inbox already, it starts nothing, and tells of the end of
  // that look. It may have been too early for the mail that rang. And when it finds out which
  // folders a new account has, it makes the inbox anew: what was fetched into the old one is lost.
  let started = false;
  const ended = result => done(started && inboxOf(server) == inbox ? result : "busy");
  inbox.getNewMessages(null, urlListener(ended, () => (started = true)));
}

// What removes the listener of each account whose fetch has not ended, by key.
const waiting = new Map();

function stopWaiting(key) {
  const remove = waiting.get(key);
  waiting.delete(key);
  remove?.();
}

/** POP3. performBiff only counts unless "Automatically download new messages" is set. */
function fetchPop3(server, done) {
  stopWaiting(server.key); // the fetch before was given up
  // If the server refuses connections, Thunderbird 153 would open a dialog at each attempt,
  // although no window belongs to this fetch.
  const { mailSession } = MailServices;
  const listener = {
    QueryInterface: ChromeUtils.generateQI(["nsIMsgUserFeedbackListener"]),
    onAlert: (message, url) => url?.server?.key == server.key,
    onCertError: () => false,
  };
  waiting.set(server.key, () => mailSession.removeUserFeedbackListener(listener));
  mailSession.addUserFeedbackListener(listener);
  const ended = result => {
    stopWaiting(server.key);
    done(result);
  };
  server.getNewMessages(server.rootFolder, null, urlListener(ended));
}

/** EWS and what else there may be. The event FolderLoaded of the inbox is the end. */
function fetchOther(server, done) {
  const inbox = inboxOf(server);
  if (!inbox) {
    server.performBiff(null);
    done("failed");
    return;
  }
  stopWaiting(server.key); // the fetch before was given up
  const listener = {
    QueryInterface: ChromeUtils.generateQI(["nsIFolderListener"]),
    onFolderEvent(folder, event) {
      if (folder == inbox && event == "FolderLoaded") {
        stopWaiting(server.key);
        done("ok");
      }
    },
  };
  waiting.set(server.key, () => MailServices.mailSession.RemoveFolderListener(listener));
  MailServices.mailSession.AddFolderListener(listener, Ci.nsIFolderListener.event);
  server.performBiff(null);
}

/** Forget the fetches that have not ended: the add-on ends. */
this.forgetFetches = function () {
  [...waiting.keys()].forEach(stopWaiting);
};

const WAYS = new Map([
  ["imap", fetchImap],
  ["pop3", fetchPop3],
]);

/** Tell whether a password is missing. Thunderbird says so too of accounts that need none. */
function needsPassword(server) {
  const { External, GSSAPI, none } = Ci.nsMsgAuthMethod;
  return server.passwordPromptRequired && ![External, GSSAPI, none].includes(server.authMethod);
}

/**
 * Fetch the mail of an account.
 *
 * @param {string} key - the account's server.
 * @param {function(string)} done - called once at the end with ok, busy, failed or no_password,
 *     perhaps before this returns; perhaps never.
 */
this.fetchAccount = function (key, done) {
  let told = false;
  const once = result => {
    if (!told) {
      told = true;
      done(result);
    }
  };
  const server = MailServices.accounts.allServers.find(each => each.key == key);
  if (!server) {
    once("failed");
  } else if (!Services.logins.isLoggedIn || needsPassword(server)) {
    // Asked for a password, Thunderbird would open the dialog for the primary password at each
    // ring, until it is entered.
    once("no_password");
  } else {
    (WAYS.get(server.type) ?? fetchOther)(server, once);
  }
};
