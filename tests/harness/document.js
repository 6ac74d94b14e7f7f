/* A document as far as the add-on's page uses it, its `browser.mailbell`, and timers that a test
 * runs. The real page is in tests/mail_programs. */

"use strict";

class FakeElement {
  constructor(tag) {
    Object.assign(this, { tag, children: [], dataset: {}, own: "", value: "", hidden: false });
    this.attributes = {};
    this.heard = {};
    this.classList = { toggle() {} };
  }
  get firstElementChild() {
    return this.children[0];
  }
  get tBodies() {
    return this.children.filter(each => each.tag == "tbody");
  }
  get textContent() {
    return this.own + this.children.map(each => each.textContent ?? each).join("");
  }
  set textContent(text) {
    this.own = text;
    this.children = [];
  }
  get ariaInvalid() {
    return this.attributes["aria-invalid"];
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
    if (name == "id") {
      this.id = value;
    }
  }
  append(...others) {
    this.children.push(...others);
    others.forEach(each => each instanceof FakeElement && (each.parentNode = this));
  }
  replaceChildren(...others) {
    this.children = [];
    this.append(...others);
  }
  remove() {
    this.parentNode.children = this.parentNode.children.filter(each => each != this);
  }
  addEventListener(name, listener) {
    this.heard[name] = listener;
  }
  focus() {
    document.focused = this.id;
  }
  all() {
    return [this, ...this.children.flatMap(each => (each.all ? each.all() : []))];
  }
}

/** Make the elements of a page of nested [tag, attributes, children]. */
function makeElement([tag, attributes, children]) {
  const made = new FakeElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
    if (name.startsWith("data-")) {
      made.dataset[name.slice(5)] = value;
    }
  }
  made.hidden = "hidden" in attributes;
  made.append(...children.map(makeElement));
  return made;
}

globalThis.document = {
  createElement: tag => new FakeElement(tag),
  getElementById: id => document.documentElement.all().find(each => each.id == id),
  querySelectorAll: selector =>
    document.documentElement
      .all()
      .filter(({ attributes }) =>
        selector == ".field" ? attributes.class == "field" : "data-text" in attributes
      ),
};

globalThis.sent = [];
globalThis.answers = { problems: {}, fail: null };
globalThis.faults = [];
globalThis.console = { error: error => faults.push(String(error)) };
globalThis.ticking = [];
globalThis.setInterval = act => ticking.push(act);
globalThis.setTimeout = () => 0;
globalThis.statusListener = null;

const answer = value => {
  if (answers.fail) {
    throw new Error(answers.fail);
  }
  return JSON.parse(JSON.stringify(value));
};
globalThis.browser = {
  i18n: {
    getUILanguage: () => "en",
    getMessage: (key, values = []) => [key, ...values].join(" "),
  },
  mailbell: {
    getStatus: async () => answer(currentStatus),
    getSettings: async () => answer(currentSettings),
    setSettings: async settings => {
      answer(sent.push(settings));
      return { problems: answers.problems };
    },
    fetchNow: async () => answer(sent.push("fetch")),
    onStatus: { addListener: listener => (globalThis.statusListener = listener) },
  },
};
