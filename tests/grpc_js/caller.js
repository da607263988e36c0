// A gRPC client without a proxy: the same as tests/grpc_clients/caller.py, with grpc-js.
//
// Reads a number a line on standard input, makes that many calls of `/demo.Where/Ask`, a few at a time, and writes one
// line of JSON when a tenth of them is over and one with the counts at the end.
"use strict";

const readline = require("node:readline");
const grpc = require("@grpc/grpc-js");
require("@grpc/grpc-js-xds").register();

const AT_ONCE = 4;
const DEADLINE_MS = 15000;

const [target] = process.argv.slice(2);
// What docs/grpc.md says finds a backend that hangs.
const options = { "grpc.keepalive_time_ms": 1000, "grpc.keepalive_timeout_ms": 500 };
const client = new grpc.Client(target, grpc.credentials.createInsecure(), options);
const asIs = (bytes) => bytes;

function call() {
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + DEADLINE_MS };
    client.makeUnaryRequest("/demo.Where/Ask", asIs, asIs, Buffer.from(""), new grpc.Metadata(), options, (error, answer) =>
      resolve(error ? { failed: `${grpc.status[error.code]}: ${error.details}` } : { served: answer.toString() }),
    );
  });
}

async function run(total) {
  const counts = { served: {}, failed: {} };
  let begun = 0;
  let over = 0;
  async function worker() {
    while (begun < total) {
      begun += 1;
      for (const [kind, name] of Object.entries(await call())) counts[kind][name] = (counts[kind][name] ?? 0) + 1;
      over += 1;
      if (over === Math.ceil(total / 10)) process.stdout.write('{"begun": true}\n');
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  process.stdout.write(`${JSON.stringify(counts)}\n`);
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) await run(Number(line));
  client.close();
  process.exit(0);
}

main();
