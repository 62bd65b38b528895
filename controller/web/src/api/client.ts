// The one way to the API: sends the session's CSRF token or an API token, and turns every refusal into an ApiError.
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Problem = Schemas["Problem"];

/** A refusal: what happened, what to try, and the field that is wrong, as the API says them. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
    this.name = "ApiError";
  }
  get status() {
    return this.problem.status;
  }
}

const kept = "devflow-token";
let csrf = "";

/** Credentials of this tab. A session lies in a cookie that no script reads; an API token is kept until the tab is closed. */
export const credentials = {
  setCSRF(token: string) {
    csrf = token;
  },
  token(): string {
    try {
      return sessionStorage.getItem(kept) ?? "";
    } catch {
      return "";
    }
  },
  setToken(token: string) {
    try {
      if (token) sessionStorage.setItem(kept, token);
      else sessionStorage.removeItem(kept);
    } catch {
      /* a browser that keeps nothing asks again */
    }
  },
};

export const base = "/api/v1";

/** Headers that show who asks. */
export function identify(headers: Headers, write: boolean) {
  const token = credentials.token();
  if (token) headers.set("Authorization", `Bearer ${token}`);
  else if (write && csrf) headers.set("DevFlow-CSRF", csrf);
}

function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

const identity: Middleware = {
  onRequest({ request }) {
    const write = request.method !== "GET" && request.method !== "HEAD";
    identify(request.headers, write);
    // One key for each click: what the browser sends twice is carried out once.
    if (request.method === "POST" && !request.headers.has("Idempotency-Key")) request.headers.set("Idempotency-Key", randomKey());
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: base });
api.use(identity);

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** The answer of a call, or an ApiError. */
export async function take<T>(call: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await call;
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError(unreachable());
  }
  if (answer.response.ok) return answer.data as T;
  throw new ApiError(problemOf(answer.error, answer.response));
}

/** A thing and its version, which an edit names in If-Match. */
export type Versioned<T> = { value: T; etag: string };

/** The answer of a call with the version of what it shows. */
export async function takeVersion<T>(call: Promise<Answer<T>>): Promise<Versioned<T>> {
  let etag = "";
  const value = await take(call.then((a) => ((etag = a.response.headers.get("ETag") ?? ""), a)));
  return { value, etag };
}

/** The header of an edit that is made only while the thing is still that version. */
export const ifMatch = (etag: string) => ({ "If-Match": etag || undefined });

function unreachable(): Problem {
  return {
    type: "about:blank", title: "Unreachable", status: 0, code: "unreachable", request_id: "",
    detail: "The controller did not answer.", hint: "Look whether it runs and whether this browser reaches it; the page tries again by itself.",
  };
}

function problemOf(error: unknown, response: Response): Problem {
  if (error && typeof error === "object" && "detail" in error) return error as Problem;
  return {
    type: "about:blank", title: response.statusText, status: response.status, code: "unknown", request_id: response.headers.get("X-Request-ID") ?? "",
    detail: `The controller answered ${response.status}${response.statusText ? ` ${response.statusText}` : ""}.`, hint: "Something between this browser and the controller may have answered in its place.",
  };
}
