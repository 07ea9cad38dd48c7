// TimescaleDB (with the argument plain: PostgreSQL without it) in this process behind a port of 127.0.0.1, which is
// printed as one line once it answers.
// There is one backend, which takes whole messages one at a time: it is lent to one connection from its first message
// until it is outside of a transaction again. Statements prepared by name, settings and temporary tables are shared.
import net from "node:net";
import { PGlite } from "@electric-sql/pglite";
import { timescaledb } from "@electric-sql/pglite/timescaledb";

const STARTUP = 196608;
const READY = "Z".charCodeAt(0);
const QUIT = "X".charCodeAt(0);
const IDLE = "I".charCodeAt(0);
const ROLLBACK = Buffer.from("Q\0\0\0\rROLLBACK\0");

const database = await PGlite.create(process.argv[2] === "plain" ? {} : { extensions: { timescaledb } });
await database.exec("SET client_min_messages = warning; SET log_min_messages = warning");
const version = (await database.query("SHOW server_version")).rows[0].server_version;

function text(type, ...parts) {
  const body = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part + "\0") : part)));
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const WELCOME = Buffer.concat([
  text("R", Buffer.alloc(4)),
  ...Object.entries({
    server_version: version,
    server_encoding: "UTF8",
    client_encoding: "UTF8",
    DateStyle: "ISO, MDY",
    TimeZone: "UTC",
    integer_datetimes: "on",
    standard_conforming_strings: "on",
  }).map(([name, value]) => text("S", name, value)),
  text("K", Buffer.alloc(8)),
  text("Z", Buffer.from("I")),
]);

/** The state after the last ReadyForQuery in an answer, or null when there is none. */
function stateAfter(answer) {
  let state = null;
  for (let at = 0; at + 5 <= answer.length; at += 1 + answer.readInt32BE(at + 1)) {
    if (answer[at] === READY) state = answer[at + 5];
  }
  return state;
}

let lentTo = null;
let running = false;
const waiting = [];

async function serve() {
  if (running) return;
  running = true;
  for (let index; (index = waiting.findIndex(([from]) => lentTo === null || from === lentTo)) >= 0; ) {
    const [from, message] = waiting.splice(index, 1)[0];
    lentTo = from;
    try {
      const answer = Buffer.from(await database.execProtocolRaw(message));
      if (!from.destroyed) from.write(answer);
      const state = stateAfter(answer);
      if (from.destroyed ? message === ROLLBACK : state === IDLE) lentTo = null;
      if (from.destroyed && lentTo === from) waiting.unshift([from, ROLLBACK]);
    } catch (reason) {
      // The module is broken for good: whoever is connected is to see a lost connection.
      console.error(reason);
      process.exit(1);
    }
  }
  running = false;
}

net
  .createServer((socket) => {
    let received = Buffer.alloc(0);
    let started = false;
    socket.setNoDelay();
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      for (let index = waiting.length - 1; index >= 0; index--) {
        if (waiting[index][0] === socket) waiting.splice(index, 1);
      }
      if (lentTo === socket) waiting.unshift([socket, ROLLBACK]);
      serve();
    });
    socket.on("data", (data) => {
      received = Buffer.concat([received, data]);
      for (;;) {
        const head = started ? 1 : 0;
        if (received.length < head + 4) return;
        const length = head + received.readInt32BE(head);
        if (received.length < length) return;
        const message = received.subarray(0, length);
        received = received.subarray(length);
        if (!started) {
          started = message.readInt32BE(4) === STARTUP;
          socket.write(started ? WELCOME : "N");
        } else if (message[0] === QUIT) {
          socket.end();
        } else {
          waiting.push([socket, Buffer.from(message)]);
          serve();
        }
      }
    });
  })
  .listen(0, "127.0.0.1", function () {
    console.log(this.address().port);
  });

// Whoever started it holds its standard input open.
process.stdin.on("end", () => process.exit(0)).resume();
