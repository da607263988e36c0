// Server-sent events over fetch, because EventSource cannot send a token. Comes back by itself, and says when it is cut
// off: an answer that ends, an error, or silence for longer than the server's heartbeat allows.

import { Problem, send } from "./api.js";

const QUIET_FACTOR = 2.5;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 3000;

/** Follow the stream for ever. `on(name, data)` gets every event, `onLink(up, why)` every change of the connection. */
export async function follow(path, on, onLink) {
  let wait = FIRST_RETRY_MS;
  for (;;) {
    const why = await once(path, (name, data) => {
      if (name === "hello") {
        wait = FIRST_RETRY_MS;
        onLink(true, "");
      }
      on(name, data);
    });
    onLink(false, why);
    await pause(wait);
    wait = Math.min(LAST_RETRY_MS, wait * 2);
  }
}

async function once(path, on) {
  const stop = new AbortController();
  let quietMs = 15_000;
  let watch = setTimeout(() => stop.abort(), quietMs);
  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(() => stop.abort(), quietMs);
  };
  try {
    const response = await send(path, { signal: stop.signal, headers: { accept: "text/event-stream" } });
    if (!response.ok) return `the server answered ${response.status}`;
    for await (const { name, data } of events(response.body, heard)) {
      if (name === "hello") quietMs = data.heartbeat_s * 1000 * QUIET_FACTOR;
      on(name, data);
    }
    return "the server ended the stream";
  } catch (error) {
    if (error instanceof Problem) return error.message;
    return stop.signal.aborted ? "nothing was heard" : `no connection (${error.message})`;
  } finally {
    clearTimeout(watch);
    stop.abort();
  }
}

async function* events(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = new Map(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      if (fields.has("data")) yield { name: fields.get("event"), data: JSON.parse(fields.get("data")) };
    }
  }
}

/** Wait, but not when the person comes back to the page or the machine back to the network. */
function pause(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      document.removeEventListener("visibilitychange", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    document.addEventListener("visibilitychange", done);
  });
}
