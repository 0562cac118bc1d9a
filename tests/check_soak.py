"""Mixed load on koine serve for a time, and what the server holds meanwhile: memory, descriptors and threads have to stay flat.
check_soak.py KOINE MODEL SECONDS [SERVE OPTION...]. Starts the server, asks in all protocols from several clients at once (streams, tools,
structure, conversations that go on, clients that leave in a prompt or an answer, bodies that are refused), looks at the server every second,
ends it with SIGTERM. What is wrong: an answer that none of these requests may get, growth, an exit status, which a sanitizer's report changes."""
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

CLIENTS = 6
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 7}}, "required": ["city", "days"]}
WORDS = "It is a truth universally acknowledged that a single man in possession of a good fortune must be in want of a wife".split()
OFF = {"reasoning_effort": "none"}


def words(rng, least, most):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(least, most)))


def ask(text):
    return [{"role": "user", "content": text}]


class Client(threading.Thread):
    """One client's requests, drawn from TURNS by their weights until the time is over."""

    def __init__(self, port, seed, until):
        super().__init__()
        self.port, self.rng, self.until, self.wrong, self.counts, self.talk = port, random.Random(seed), until, None, {}, []

    def open(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def post(self, path, body, leave_after=None):
        """The answer's status and text; with leave_after the client goes after so many bytes of it, 0: before it has begun."""
        connection = self.open()
        try:
            connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), {"Content-Type": "application/json"})
            if leave_after == 0:
                time.sleep(self.rng.random() / 4)
                return None, ""
            answer = connection.getresponse()
            return answer.status, answer.read(leave_after).decode("utf-8", "replace")
        finally:
            connection.close()

    def whole(self, path, body):
        status, text = self.post(path, body)
        assert status in (200, 429), (path, status, text[:300])
        return json.loads(text) if status == 200 else None

    def chat(self):
        made = self.whole("/v1/chat/completions", {"messages": ask(words(self.rng, 2, 60)), "max_tokens": self.rng.randint(1, 40), **OFF})
        assert made is None or made["choices"][0]["finish_reason"] in ("length", "stop"), made

    def turns(self):
        """A conversation that goes on: what was answered is sent again."""
        if len(self.talk) > 6:
            self.talk = []
        self.talk += ask(words(self.rng, 2, 40))
        made = self.whole("/v1/chat/completions", {"messages": self.talk, "max_tokens": 12, **OFF})
        self.talk = self.talk + [{"role": "assistant", "content": made["choices"][0]["message"]["content"]}] if made else []

    def streams(self):
        path, body = self.rng.choice((
            ("/v1/chat/completions", {"messages": ask(words(self.rng, 2, 30)), "max_tokens": 20, "stream": True, "reasoning_effort": "high"}),
            ("/v1/messages", {"messages": ask(words(self.rng, 2, 30)), "max_tokens": 20, "stream": True}),
            ("/v1/responses", {"input": words(self.rng, 2, 30), "max_output_tokens": 20, "stream": True}),
            ("/v1/completions", {"prompt": words(self.rng, 2, 30), "max_tokens": 20, "n": 2, "stream": True})))
        status, text = self.post(path, body)
        last = {"/v1/messages": "message_stop", "/v1/responses": "response."}.get(path, "[DONE]")
        assert status == 429 or status == 200 and last in text[-2500:], (path, status, text[-300:])

    def tools(self):
        tool = {"name": "weather", "description": "How it will be", "input_schema": SCHEMA}
        made = self.whole("/v1/messages", {"messages": ask(words(self.rng, 2, 20)), "max_tokens": 200, "tools": [tool], "tool_choice": {"type": "tool", "name": "weather"}})
        assert made is None or made["stop_reason"] in ("tool_use", "max_tokens"), made

    def structure(self):
        form = {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA}}
        made = self.whole("/v1/chat/completions", {"messages": ask(words(self.rng, 2, 20)), "max_tokens": 200, "response_format": form, **OFF})
        if made and made["choices"][0]["finish_reason"] == "stop":
            assert 1 <= json.loads(made["choices"][0]["message"]["content"])["days"] <= 7, made

    def leaves(self):
        body = {"messages": ask(words(self.rng, 2, self.rng.choice((20, 900)))), "max_tokens": 400, "stream": True, **OFF}
        self.post("/v1/chat/completions", body, self.rng.choice((0, 0, 1, 300)))

    def refused(self):
        body = self.rng.choice((b"", b"{", b'{"messages": 7}', b"\xff\xfe", b"[" * 5000, json.dumps({"messages": ask("x"), "temperature": "hot"}).encode(),
                                json.dumps({"messages": ask(words(self.rng, 9000, 9000))}).encode()))
        status, text = self.post(self.rng.choice(("/v1/chat/completions", "/v1/messages")), body)
        assert status == 400 and "error" in json.loads(text), (status, text[:300])

    def looks(self):
        connection = self.open()
        for path in ("/health", "/v1/models", "/metrics", "/plan", "/", "/nothing"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == (404 if path == "/nothing" else 200), (path, answer.status)
        connection.close()

    def idles(self):
        connection = self.open()
        connection.connect()
        connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        time.sleep(self.rng.random())
        connection.close()

    TURNS = ((chat, 4), (turns, 4), (streams, 4), (tools, 1), (structure, 1), (leaves, 3), (refused, 2), (looks, 1), (idles, 1))

    def run(self):
        kinds, weights = zip(*self.TURNS)
        while time.monotonic() < self.until and not self.wrong:
            kind = self.rng.choices(kinds, weights)[0]
            try:
                kind(self)
            except Exception as e:  # whatever it is ends the run, with its kind
                self.wrong = f"{kind.__name__}: {e!r}"
            self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1


def held(pid):
    """What the process holds now: resident KiB, descriptors, threads."""
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    return int(status["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])


def grown(seen):
    """What is higher in the last quarter of the time than it was in the second one, beyond what one more conversation takes, or a connection of each client."""
    n = len(seen) // 4
    for name, at, more in (("resident KiB", 0, lambda x: x // 20 + 16384), ("descriptors", 1, lambda x: CLIENTS), ("threads", 2, lambda x: CLIENTS)):
        before, after = (max(s[at] for s in part) for part in (seen[n:2 * n], seen[-n:]))
        print(f"{name}: at most {before} in the second quarter, {after} in the last")
        if after > before + more(before):
            yield f"{name} grew from {before} to {after}"


def main():
    koine, model, seconds, options = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]
    server = subprocess.Popen([koine, "serve", "-m", model, "--port", "0", *options], stderr=subprocess.PIPE, text=True)
    said = []
    while not said or "listening on" not in said[-1]:
        said.append(server.stderr.readline())
        assert said[-1], "".join(said)
    port = int(said[-1].strip().rsplit(":", 1)[1])
    reader = threading.Thread(target=lambda: said.extend(server.stderr))
    reader.start()
    until, seen = time.monotonic() + seconds, []
    clients = [Client(port, seed, until) for seed in range(CLIENTS)]
    for c in clients:
        c.start()
    while any(c.is_alive() for c in clients):
        time.sleep(1)
        if server.poll() is not None:
            break
        seen.append(held(server.pid))
    for c in clients:
        c.join()
    server.send_signal(signal.SIGTERM)
    status = server.wait(120)
    reader.join()
    counts = {}
    for c in clients:
        for kind, n in c.counts.items():
            counts[kind] = counts.get(kind, 0) + n
    print("requests:", ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    wrong = [c.wrong for c in clients if c.wrong] + list(grown(seen)) + ([f"exit status {status}"] if status else [])
    for w in wrong:
        print("WRONG", w)
    if wrong:
        print("".join(said[-60:]))
    print(f"{len(seen)} seconds, {sum(counts.values())} requests, {len(wrong)} wrong")
    return bool(wrong)


sys.exit(main())
