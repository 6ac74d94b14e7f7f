/* Escapes text from outside, so that it cannot write a line of its own or command a terminal.
 *
 * Pure: a text comes in, and printable ASCII goes out. */

"use strict";

/**
 * Escape a text for one line of a log.
 *
 * @param {*} value - what is to be shown; it becomes a string.
 * @param {number} most - how many characters of it are shown.
 * @returns {string} printable ASCII; each other character, and the backslash, as \xNN or \uNNNN.
 */
this.escapeText = function (value, most = 200) {
  const text = String(value);
  const shown = text.slice(0, most).replace(/[^ -~]|\\/g, found => {
    const code = found.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
  return text.length > most ? `${shown}...` : shown;
};
