// The HTTP API. A token, if the server wants one, is asked for once and kept in this tab only.

const KEY = "xds-server-token";

export const WANTED = "the server wants a token";

/** An answer that is an error, in the server's own words (problem details). */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `the server answered ${status}`);
    this.status = status;
    this.refusals = body.refusals ?? [];
    this.body = body;
  }
}

let askForToken = async () => null;
let declined = false;

/** Say how to ask the person for a token; it resolves to null if they will not give one. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** Ask again, although the person would not give one: they have changed their mind. */
export function askAgain() {
  declined = false;
}

export function authorised() {
  const token = sessionStorage.getItem(KEY);
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Send a request; on 401 ask for a token and try again. Returns the response, whatever its status but 401. */
export async function send(path, options = {}) {
  for (;;) {
    const used = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...authorised() };
    const response = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
    if (response.status !== 401) return response;
    if (sessionStorage.getItem(KEY) !== used) continue; // somebody else has asked meanwhile
    if (declined || !(await asked(used))) throw new Problem(401, { detail: WANTED });
  }
}

let asking = null;

async function asked(refused) {
  asking ??= askForToken(refused !== null).finally(() => { asking = null; });
  const token = await asking;
  if (token) sessionStorage.setItem(KEY, token);
  declined = !token;
  return token;
}

export async function get(path) {
  return answer(await send(path));
}

export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return answer(await send(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}
