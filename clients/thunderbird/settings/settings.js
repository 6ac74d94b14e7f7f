/* The page of settings and status. It draws what words.js says, always as text. */

"use strict";

const { i18n, mailbell } = browser;
const language = i18n.getUILanguage();
const REFRESH = 60000; // ms; a time of yesterday is shown with its day
const ANNOUNCED = 5000; // ms that the answer to a button stays

const byId = id => document.getElementById(id);
const sentence = ({ key, values }) => i18n.getMessage(key, values);

/** Make an element with text and attributes. */
function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  return made;
}

/** Show a text, and hide the element without one. A text that stays is not announced again. */
function say(id, text) {
  const place = byId(id);
  place.hidden = !text;
  if (place.textContent != text) {
    place.textContent = text;
  }
}

/** Make the parts of an account's name, which may run from right to left. */
function nameParts(name, type) {
  return [element("bdi", name), " ", element("span", type, { class: "type" })];
}

/** Say something beside a button. The place stays: a screen reader listens to it. */
function announce(id, text) {
  byId(id).textContent = text;
}

/* Status */

function showStatus(status) {
  const words = statusWords(status, time => timeText(time, Date.now(), language));
  byId("now").dataset.tone = words.tone;
  say("headline", sentence(words.headline));
  say("reason", words.reason ? sentence(words.reason) : "");
  say("advice", words.advice ? sentence(words.advice) : "");
  byId("command").hidden = !words.command;
  byId("command").firstElementChild.textContent = words.command ?? "";
  byId("offline").hidden = !words.offline;
  say("last-ring", sentence(words.lastRing));
  say("rings", words.rings);
  say("socket-used", words.socket);
  showAccounts(words.accounts);
  fields.get("socket").input.placeholder = stored.socket ? "" : words.socket;
  makeNameFields(words.accounts);
}

/** Draw the table anew if it changed: a person may be reading or copying it. */
function showAccounts(accounts) {
  const table = byId("accounts");
  const drawn = JSON.stringify(accounts);
  if (table.dataset.drawn != drawn) {
    table.dataset.drawn = drawn;
    table.tBodies[0].replaceChildren(...accounts.map(accountRow));
    table.hidden = !accounts.length;
    byId("no-accounts").hidden = Boolean(accounts.length);
    byId("names-group").hidden = !accounts.length;
    byId("fetch").disabled = !accounts.length;
  }
}

function accountRow(account) {
  const row = element("tr");
  const name = element("th", "", { scope: "row" });
  name.append(...nameParts(account.name, account.type));
  const state = element("td", sentence(account.state));
  state.classList.toggle("troubled", account.troubled);
  const fetched = account.fetched ?? i18n.getMessage("fetchNever");
  row.append(name, state, element("td", fetched));
  return row;
}

/* Settings */

const fields = new Map(); // name -> Field
let stored = null; // what getSettings() returned

/** A text field with its label, help, lock and problem, all of which a screen reader reads. */
class Field {
  constructor(place, name, label, help = "") {
    const id = `field-${name}`;
    this.input = element("input", "", { id, type: "text", spellcheck: "false" });
    this.notes = {
      lock: element("p", i18n.getMessage("locked"), { id: `${id}-lock`, class: "lock" }),
      problem: element("p", "", { id: `${id}-problem`, class: "problem" }),
      help: element("p", help, { id: `${id}-help`, class: "help" }),
    };
    this.label = element("label", "", { for: id });
    this.label.append(...label);
    place.replaceChildren(this.label, this.input, ...Object.values(this.notes));
    this.show("", false);
  }

  /** Whether a person wrote something else than what was shown. */
  get changed() {
    return this.input.value != this.shown;
  }

  show(text, locked) {
    this.input.value = this.shown = text;
    this.input.readOnly = locked;
    this.notes.lock.hidden = !locked;
    this.complain(null);
  }

  complain(problem) {
    const { lock, ...others } = this.notes;
    others.problem.textContent = problem ? sentence(problem) : "";
    for (const note of Object.values(others)) {
      note.hidden = !note.textContent;
    }
    const shown = [lock, ...Object.values(others)].filter(note => !note.hidden);
    this.input.setAttribute("aria-describedby", shown.map(note => note.id).join(" "));
    this.input.setAttribute("aria-invalid", String(Boolean(problem)));
  }
}

function makeFields() {
  for (const place of document.querySelectorAll(".field")) {
    const { field, label, help } = place.dataset;
    fields.set(field, new Field(place, field, [i18n.getMessage(label)], i18n.getMessage(help)));
  }
}

/** Make a field for the names of each account, unless it is there; what is typed stays. */
function makeNameFields(accounts) {
  const wanted = new Set(accounts.map(({ key }) => NAMES + key));
  for (const [name, { input }] of [...fields]) {
    if (name.startsWith(NAMES) && !wanted.has(name)) {
      input.parentNode.remove();
      fields.delete(name);
    }
  }
  for (const { key, name, type, ownName } of accounts) {
    if (!fields.has(NAMES + key)) {
      const place = element("div", "", { class: "field" });
      byId("names").append(place);
      fields.set(NAMES + key, new Field(place, NAMES + key, []));
      showField(NAMES + key);
    }
    const field = fields.get(NAMES + key);
    field.label.replaceChildren(...nameParts(name, type));
    field.input.placeholder = ownName ?? i18n.getMessage("namesNone");
  }
}

function showField(name) {
  const locked = isLocked(name, stored.locked);
  fields.get(name).show(fieldText(name, stored, language), locked);
}

async function showSettings() {
  stored = await mailbell.getSettings();
  [...fields.keys()].forEach(showField);
  say("names-problem", "");
}

async function save(event) {
  event.preventDefault();
  try {
    announce("saved", i18n.getMessage((await storeChanges()) ? "saved" : "notSaved"));
  } catch (error) {
    console.error(error);
    announce("saved", i18n.getMessage("saveFailed"));
  }
}

/**
 * Store the fields that a person changed; or say beside each what is wrong with it. A field that
 * nobody changed is not stored: it would hide the default that an administrator gives later.
 */
async function storeChanges() {
  const texts = [...fields]
    .filter(([, field]) => field.changed)
    .map(([name, { input }]) => [name, input.value]);
  const { names } = await mailbell.getSettings();
  const read = readFields(texts, names);
  let problems = read.problems;
  if (texts.length && !Object.keys(problems).length) {
    ({ problems } = await mailbell.setSettings(read.settings));
  }
  if (Object.keys(problems).length) {
    complain(problems);
    return false;
  }
  await showSettings();
  return true;
}

function complain(problems) {
  for (const [name, field] of fields) {
    field.complain(problemWords(problems[name]));
  }
  say("names-problem", problems.names ? sentence(problemWords(problems.names)) : "");
  const wrong = [...fields.values()].find(({ input }) => input.ariaInvalid == "true");
  wrong?.input.focus();
}

/* The page */

async function fetchNow() {
  let said = byId("offline").hidden ? "fetchAsked" : "accountOffline";
  try {
    await mailbell.fetchNow();
  } catch (error) {
    console.error(error);
    said = "fetchFailed";
  }
  announce("asked", i18n.getMessage(said));
  setTimeout(() => announce("asked", ""), ANNOUNCED);
}

async function refresh() {
  try {
    showStatus(await mailbell.getStatus());
  } catch (error) {
    showFault(error);
  }
}

/** The add-on does not answer: what it said before is true no more. */
function showFault(error) {
  console.error(error);
  byId("now").dataset.tone = UNKNOWN_STATE.tone;
  say("headline", i18n.getMessage(UNKNOWN_STATE.headline));
  say("reason", "");
  say("advice", "");
  byId("command").hidden = true;
}

async function start() {
  document.documentElement.lang = i18n.getMessage("language");
  for (const place of document.querySelectorAll("[data-text]")) {
    place.textContent = i18n.getMessage(place.dataset.text);
  }
  makeFields();
  byId("settings").addEventListener("submit", save);
  byId("settings").addEventListener("input", () => announce("saved", ""));
  byId("fetch").addEventListener("click", fetchNow);
  await showSettings();
  showStatus(await mailbell.getStatus());
  mailbell.onStatus.addListener(showStatus);
  setInterval(refresh, REFRESH);
}

start().catch(showFault);
