/* A Thunderbird of tests for the add-on's driver: timers, a socket and accounts that do what a
 * test says. `play` runs a whole scene and returns what was seen. */

"use strict";

// What mailbelld answers to GetInfo, as far as it matters.
const INFO = '{"parameters":{"interfaces":["org.mailbell.Listener"]}}\0';

class TestWorld {
  constructor({ accounts = [], settings = {}, places = ["/s"], offline = false, answer = null }) {
    this.time = 0;
    this.clock = 1e12; // on the wall
    this.accounts = accounts;
    this.answer = answer; // what each new connection says at once
    this.timers = [];
    this.seen = [];
    this.pending = []; // fetches that have not ended
    this.statuses = [];
    this.socket = null;
    this.second = null; // the connection that asks whether mailbelld answers
    this.info = INFO; // what that is answered
    this.order = 0;
    this.driver = new Driver(this.functions(), readSettings(settings), places, offline);
  }

  functions() {
    return {
      now: () => this.time,
      wall: () => this.clock + this.time,
      random: () => 0.5,
      setTimeout: (act, wait) => this.setTimeout(act, wait),
      clearTimeout: timer => {
        this.timers = this.timers.filter(each => each !== timer);
      },
      connect: (path, listener) => this.connect(path, listener),
      listAccounts: () => {
        if (this.accounts === null) {
          throw new Error("no accounts now");
        }
        return this.accounts;
      },
      fetchAccount: (key, done) => {
        this.note("fetch", key);
        if (key == "broken") {
          throw new Error("broken\u001b[0m");
        }
        this.pending.push({ key, done });
      },
      log: line => this.note("log", line),
    };
  }

  note(what, value) {
    this.seen.push([this.time, what, value]);
  }

  setTimeout(act, wait) {
    const timer = { at: this.time + wait, order: this.order++, act };
    this.timers.push(timer);
    return timer;
  }

  connect(path, listener) {
    if (listener.call == "info") {
      return this.ask(path, listener);
    }
    this.note("connect", path);
    if (path.startsWith("/throw")) {
      throw new Error("no such thing");
    }
    const socket = {
      listener,
      close: () => {
        this.note("close", path);
        this.socket = null;
      },
    };
    this.socket = socket;
    if (this.answer !== null) {
      const { bytes = "", ended = null } = this.answer;
      this.setTimeout(() => {
        if (this.socket === socket) {
          this.bytes(bytes);
          if (ended) {
            this.ended(ended);
          }
        }
      }, 0);
    }
    return socket;
  }

  ask(path, listener) {
    this.note("ask", path);
    if (this.info == "throw") {
      throw new Error("no such thing");
    }
    const socket = {
      listener,
      close: () => {
        this.note("asked", path);
        this.second = null;
      },
    };
    this.second = socket;
    const info = typeof this.info == "object" ? (this.info?.[path] ?? null) : this.info;
    this.setTimeout(() => {
      if (this.second === socket && info !== null) {
        if (info.endsWith("\0")) {
          listener.received(info);
        } else {
          this.second = null;
          listener.ended(info, "because");
        }
      }
    }, 0);
    return socket;
  }

  /** Run the timer that is due first, if it is due by then; tell whether there was one. */
  step(end) {
    const [next] = this.timers.toSorted((a, b) => a.at - b.at || a.order - b.order);
    if (!next || next.at > end) {
      return false;
    }
    this.timers = this.timers.filter(each => each !== next);
    this.time = Math.max(this.time, next.at);
    next.act();
    return true;
  }

  advance(milliseconds) {
    const end = this.time + milliseconds;
    while (this.step(end)) {}
    this.time = end;
  }

  bytes(bytes) {
    this.socket?.listener.received(bytes);
  }

  ended(reason) {
    const { socket } = this;
    this.socket = null;
    socket?.listener.ended(reason, "because\u0007");
  }

  fetched(key, result) {
    const index = this.pending.findIndex(each => each.key == key);
    if (index >= 0) {
      this.pending.splice(index, 1)[0].done(result);
    }
  }

  play(operations) {
    for (const [name, ...values] of operations) {
      TestWorld.OPERATIONS[name](this, ...values);
    }
    return { seen: this.seen, status: this.driver.status(), statuses: this.statuses };
  }
}

TestWorld.OPERATIONS = {
  advance: (world, milliseconds) => world.advance(milliseconds),
  step: world => world.step(Infinity),
  bytes: (world, bytes) => world.bytes(bytes),
  ended: (world, reason) => world.ended(reason),
  fetched: (world, key, result) => world.fetched(key, result),
  clock: (world, milliseconds) => (world.clock += milliseconds),
  accounts: (world, accounts) => (world.accounts = accounts),
  answer: (world, answer) => (world.answer = answer),
  info: (world, info) => (world.info = info),
  offline: (world, offline) => world.driver.setOffline(offline),
  woke: world => world.driver.woke(),
  fetchNow: world => world.driver.fetchNow(),
  fetchFor: (world, key) => world.driver.fetchFor(key),
  configure: (world, settings, places) => world.driver.configure(readSettings(settings), places),
  watch: world => (world.unwatch = world.driver.watch(status => world.statuses.push(status))),
  unwatch: world => world.unwatch(),
  stop: world => world.driver.stop(),
};

function play(options, operations) {
  return new TestWorld(options).play(operations);
}
