// The page: one session, autosaved while one types, run on demand, its output followed live.
// Paths are relative, so that it works behind a proxy that adds a prefix as well.

const SAVE_AFTER_MS = 600;
const INDENT = "    ";
const CREDENTIAL = "livecode-credential";

const at = (id) => document.getElementById(id);
const [language, source, stdin, run, cancel, output, message] = [
  "language", "source", "stdin", "run", "cancel", "output", "message",
].map(at);

let languages = [];
let session = null; // the session's id
let execution = null; // the id of the execution that is being followed
let following = null; // what ends following it
let saveTimer = null;
let saving = Promise.resolve(); // saves go out one after the other

/** Asks as whoever has signed in; throws the server's sentence where it refuses. */
async function ask(path, options) {
  const credential = sessionStorage.getItem(CREDENTIAL);
  const headers = { ...options.headers, ...(credential && { Authorization: `Bearer ${credential}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("the server can't be reached");
  }
  if (!response.ok) {
    const { detail } = await response.json().catch(() => ({}));
    at("sign-in").hidden = ![401, 403].includes(response.status);
    throw Object.assign(new Error(detail ?? `the server answered ${response.status}`), { status: response.status });
  }
  return response;
}

/** Asks the API. */
async function api(method, path, body) {
  const json = body !== undefined && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return (await ask(path, { method, ...json })).json();
}

// Only in this tab, and only as long as it's open.
at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(CREDENTIAL, at("credential").value.trim());
  at("credential").value = "";
  at("sign-in").hidden = true;
  say("");
  if (!session) open().catch((error) => say(error.message));
});

function say(text) {
  message.textContent = text;
  message.hidden = !text;
}

const chosen = () => languages.find(({ name }) => name === language.value);

function showFile() {
  at("file").textContent = chosen()?.file_name ?? "Source";
}

// Sessions and saving. The session's id stands in the address, so that a reload comes back to it.

async function open() {
  languages = await api("GET", "languages");
  language.replaceChildren(...languages.map(({ name, version, available, unavailable_reason }) => {
    const option = new Option(version ? `${name} (${version})` : name, name);
    option.disabled = available === false;
    option.title = unavailable_reason ?? "";
    return option;
  }));
  const wanted = location.hash.slice(1);
  const known = wanted && await api("GET", `code-sessions/${encodeURIComponent(wanted)}`).catch(() => null);
  if (known?.status === "ACTIVE") {
    session = known.session_id;
    language.value = known.language;
    source.value = known.source_code;
  } else {
    const usable = languages.filter(({ available }) => available !== false);
    const first = usable.find(({ name }) => name === "python") ?? usable[0] ?? languages[0];
    language.value = first.name;
    source.value = first.template;
    await begin();
  }
  showFile();
  language.disabled = run.disabled = false;
  source.focus();
}

async function begin() {
  const made = await api("POST", "code-sessions", { language: language.value, source_code: source.value });
  session = made.session_id;
  history.replaceState(null, "", `#${session}`);
}

/** Asks about the session; in a new one where somebody closed it or the server has forgotten it. */
async function inSession(method, path, body) {
  try {
    return await api(method, `code-sessions/${session}${path}`, body);
  } catch (error) {
    if (![404, 409].includes(error.status)) throw error;
    await begin();
    return api(method, `code-sessions/${session}${path}`, body);
  }
}

function edited() {
  at("saved").textContent = "…";
  clearTimeout(saveTimer);
  saveTimer = setTimeout(save, SAVE_AFTER_MS);
}

function save() {
  clearTimeout(saveTimer);
  saving = saving.then(async () => {
    try {
      const saved = await inSession("PATCH", "", { language: language.value, source_code: source.value });
      at("saved").textContent = `saved, revision ${saved.revision}`;
    } catch (error) {
      at("saved").textContent = `not saved: ${error.message}`;
    }
  });
  return saving;
}

language.addEventListener("change", () => {
  // What was written stays; an untouched template makes room for the next one.
  if (languages.some(({ template }) => template === source.value)) source.value = chosen().template;
  showFile();
  edited();
});
source.addEventListener("input", edited);

// The editor's keys.

let leaving = false; // Escape was the last key: Tab moves on
source.addEventListener("keydown", (event) => {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.isComposing;
  if (event.key === "Tab" && plain && !event.shiftKey && !leaving) {
    event.preventDefault();
    insert(INDENT);
  } else if (event.key === "Enter" && plain && !event.shiftKey) {
    const line = source.value.slice(0, source.selectionStart).split("\n").pop();
    event.preventDefault();
    insert("\n" + line.match(/^[ \t]*/)[0]);
  }
  leaving = event.key === "Escape";
});

/** As if typed, so that undo knows it. */
function insert(text) {
  if (!document.execCommand("insertText", false, text)) {
    source.setRangeText(text, source.selectionStart, source.selectionEnd, "end");
    edited();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run.click();
  }
});

// Running and following.

run.addEventListener("click", async () => {
  run.disabled = true;
  clear();
  show("QUEUED");
  clearTimeout(saveTimer);
  try {
    await saving;
    const wish = { language: language.value, source_code: source.value, stdin: stdin.value };
    const accepted = await inSession("POST", "/run", wish);
    at("saved").textContent = `saved, revision ${accepted.revision}`;
    follow(accepted.execution_id);
  } catch (error) {
    show("not run");
    say(error.message);
    run.disabled = false;
  }
});

cancel.addEventListener("click", async () => {
  cancel.disabled = true;
  try {
    await api("POST", `executions/${execution}/cancel`);
  } catch (error) {
    say(error.message);
    cancel.disabled = false;
  }
});

async function follow(id) {
  execution = id;
  cancel.disabled = false;
  following?.abort();
  const { signal } = (following = new AbortController());
  let [attempt, last, wait] = [1, "0", 1000];
  const hear = {
    status(data) {
      const status = JSON.parse(data);
      // Another attempt begins anew: what the one before wrote is void.
      if (status.attempt > attempt) {
        attempt = status.attempt;
        output.replaceChildren();
      }
      show(status.cancel_requested ? "CANCELLING" : status.status);
    },
    stdout: (data) => write("stdout", text(JSON.parse(data))),
    stderr: (data) => write("stderr", text(JSON.parse(data))),
    end: (data) => finish(JSON.parse(data)),
  };
  for (;;) {
    try {
      const response = await ask(`executions/${id}/events`, { headers: { "Last-Event-ID": last }, signal });
      // Nothing more comes here: the record knows what became of it.
      if (response.status === 204) return finish(await api("GET", `executions/${id}`));
      say("");
      for await (const message of messages(response)) {
        wait = Number(message.retry ?? wait);
        hear[message.event]?.(message.data);
        last = message.id ?? last;
        if (message.event === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) {
        say(error.message);
        run.disabled = false;
        cancel.disabled = true;
        return;
      }
    }
    say("the connection is lost, trying again");
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (signal.aborted) return;
  }
}

/** Server-sent events, each of which has its data on one line here. The browser's own reader of them can't sign in. */
async function* messages(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n\n");
    rest = whole.pop();
    for (const message of whole) {
      // By hand: what a program wrote may have what regular expressions take for the end of a line.
      const lines = message.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 1).trimStart()]);
      yield Object.fromEntries(lines);
    }
  }
}

function text({ text, base64 }) {
  if (text !== undefined) return text;
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
}

function write(stream, text) {
  const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
  const last = output.lastElementChild;
  if (last?.className === stream) {
    last.append(text);
  } else {
    const span = document.createElement("span");
    span.className = stream;
    span.append(text);
    output.append(span);
  }
  if (atEnd) output.scrollTop = output.scrollHeight;
}

function clear() {
  output.replaceChildren();
  say("");
  for (const id of ["exit", "time", "memory"]) at(id).textContent = "";
}

function show(status) {
  at("status").textContent = status;
  at("status").className = { COMPLETED: "good", FAILED: "bad", TIMEOUT: "bad" }[status] ?? "";
}

function finish(record) {
  show(record.status);
  if (record.compile_output) write("stderr", record.compile_output);
  const cut = ["stdout", "stderr"].filter((stream) => record[`${stream}_truncated`]);
  const notes = [
    record.status === "COMPLETED" ? null : record.error_message,
    cut.length ? `${cut.join(" and ")} went on beyond the limit and was cut there` : null,
    record.unprotected?.length ? `run without: ${record.unprotected.join("; ")}` : null,
  ];
  say(notes.filter(Boolean).join("\n"));
  at("exit").textContent = record.exit_code ?? (record.signal ? `signal ${record.signal}` : "");
  at("time").textContent = record.execution_time_ms === null ? "" : `${record.execution_time_ms} ms`;
  at("memory").textContent = record.memory_peak_bytes === null ? "" : `${(record.memory_peak_bytes / 2 ** 20).toFixed(1)} MiB`;
  run.disabled = false;
  cancel.disabled = true;
}

open().catch((error) => say(error.message));
