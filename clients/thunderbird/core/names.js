/* The names of mailbelld's accounts, and which accounts of Thunderbird each of them rings.
 *
 * Pure: a name and lists come in, and keys of accounts go out. */

"use strict";

// The rule of mailbell's core/account_name.py: no name has a meaning in a log or a path.
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$/;

/**
 * Tell whether a value may be the name of an account of mailbelld.
 *
 * @param {*} value - what came from outside.
 * @returns {boolean} whether it is a string of the right form.
 */
this.isAccountName = function (value) {
  return typeof value == "string" && NAME.test(value);
};

/** Write the capital letters of ASCII small. Other letters stay: they are in no name. */
function small(text) {
  return text.replace(/[A-Z]/g, letter => letter.toLowerCase());
}

/**
 * Choose the accounts of Thunderbird for which to fetch.
 *
 * An account is rung by the names that the settings list for it. An account that the settings
 * do not mention is rung by its own name. A name that rings none of them rings all, because
 * mail has come and no one knows for which.
 *
 * @param {?string} name - the name that rang; null: everything.
 * @param {{key: string, name: string}[]} accounts - the accounts of Thunderbird.
 * @param {Map<string, string[]>} names - the settings: names of mailbelld by account key.
 * @returns {string[]} keys of accounts.
 */
this.chooseAccounts = function (name, accounts, names) {
  const everything = accounts.map(account => account.key);
  if (name === null) {
    return everything;
  }
  const rung = small(name);
  const chosen = accounts.filter(account =>
    (names.get(account.key) ?? [account.name]).some(each => small(each) == rung)
  );
  return chosen.length ? chosen.map(account => account.key) : everything;
};
