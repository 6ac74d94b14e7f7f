/* One connection to a local socket: makes one call, and hands over what comes in small pieces. */

"use strict";

// What is written to a socket. It is constant.
const CALLS = new Map([
  ["subscribe", '{"method":"org.mailbell.Listener.Subscribe","more":true,"parameters":{}}\0'],
  ["info", '{"method":"org.varlink.service.GetInfo","parameters":{}}\0'],
]);
const PIECE = 16 * 1024; // bytes read at a time
// Thunderbird's window runs in the same thread. So a daemon that sends without an end is read at
// no more than a piece each time; what it sends meanwhile waits in its own queue.
const PAUSE = 50; // milliseconds

const REASONS = new Map([
  [Cr.NS_OK, "closed"],
  [Cr.NS_BASE_STREAM_CLOSED, "closed"],
  [Cr.NS_ERROR_NET_RESET, "closed"],
  [Cr.NS_ERROR_NET_INTERRUPT, "closed"],
  [Cr.NS_ERROR_CONNECTION_REFUSED, "refused"],
  [Cr.NS_ERROR_FILE_ACCESS_DENIED, "forbidden"],
  [Cr.NS_ERROR_FILE_NOT_FOUND, "missing"],
]);

this.Connection = class Connection {
  /**
   * Connect.
   *
   * @param {string} path - an absolute path.
   * @param {{call: string, received: function(string), ended: function(string)}} listener - call:
   *     a key of CALLS. The functions get bytes, one character each, and at last the reason why
   *     the connection ended. Neither is called before this returns, or after `close`.
   * @param {{setTimeout: function, clearTimeout: function}} timers - of Thunderbird.
   */
  constructor(path, listener, timers) {
    this._listener = listener;
    this._timers = timers;
    this._file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
    this._file.initWithPath(path);
    this._transport = Cc["@mozilla.org/network/socket-transport-service;1"]
      .getService(Ci.nsISocketTransportService)
      .createUnixDomainTransport(this._file);
    const output = this._transport.openOutputStream(0, 0, 0);
    const call = CALLS.get(listener.call);
    output.write(call, call.length);
    this._input = this._transport
      .openInputStream(0, 0, 0)
      .QueryInterface(Ci.nsIAsyncInputStream);
    this._reader = Cc["@mozilla.org/scriptableinputstream;1"].createInstance(
      Ci.nsIScriptableInputStream
    );
    this._reader.init(this._input);
    this._wait();
  }

  /** End the connection. */
  close() {
    this._listener = null;
    this._timers.clearTimeout(this._timer);
    this._transport.close(Cr.NS_ERROR_ABORT);
  }

  _wait() {
    this._input.asyncWait(this, 0, 0, Services.tm.mainThread);
  }

  /** nsIInputStreamCallback: there are bytes, or the stream ended. */
  onInputStreamReady() {
    if (!this._listener) {
      return;
    }
    let bytes;
    try {
      bytes = this._reader.readBytes(Math.min(this._input.available(), PIECE));
    } catch (error) {
      const listener = this._listener;
      this.close();
      listener.ended(this._reason(error.result), error.name);
      return;
    }
    this._timer = this._timers.setTimeout(() => this._wait(), PAUSE);
    this._listener.received(bytes);
  }

  _reason(result) {
    const reason = REASONS.get(result) ?? "failed";
    // Thunderbird says "refused" too where the kernel says EACCES.
    return reason == "refused" && !this._isWritable() ? "forbidden" : reason;
  }

  _isWritable() {
    try {
      return this._file.isWritable();
    } catch {
      return false; // a folder on the way is closed
    }
  }
};

Connection.prototype.QueryInterface = ChromeUtils.generateQI(["nsIInputStreamCallback"]);
