#!/usr/bin/python3
"""The page of koine serve in headless Chromium, driven through its debugging protocol: check_chat_page.py KOINE MODEL [PICTURES]

A real server for what people do, and an endpoint of our own behind the same page for answers that a model cannot be made to give: markup, errors in the
middle, streams that break off. Needs Python alone. PICTURES: a folder for what the page looks like. Exit 77 without a browser."""
import http.client, http.server, json, os, re, shutil, subprocess, sys, tempfile, threading, time, base64

koine, model = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
pictures = sys.argv[3] if len(sys.argv) > 3 else None
LONG = 60  # seconds that anything may take


class Browser:
    """A page of Chromium, over its pipe: messages of JSON that end in a zero byte."""

    def __init__(self, program, folder):
        self.to, self.events, self.replies, self.next = None, [], {}, 1
        there, write = os.pipe()
        read, here = os.pipe()

        def hand_over():
            a, b = os.dup(there), os.dup(here)
            os.dup2(a, 3), os.dup2(b, 4)
        args = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--user-data-dir=" + folder, "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank"]
        self.process = subprocess.Popen(args, close_fds=False, preexec_fn=hand_over, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(there), os.close(here)
        self.write, self.lock = os.fdopen(write, "wb", 0), threading.Condition()
        threading.Thread(target=self.listen, args=(os.fdopen(read, "rb", 0),), daemon=True).start()
        pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self.to = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(domain + ".enable")

    def listen(self, pipe):
        rest = b""
        while got := pipe.read(1 << 16):
            *whole, rest = (rest + got).split(b"\0")
            with self.lock:
                for text in whole:
                    m = json.loads(text)
                    if "id" in m:
                        self.replies[m["id"]] = m
                    else:
                        self.events.append(m)
                self.lock.notify_all()

    def call(self, method, **params):
        m = {"id": self.next, "method": method, "params": params}
        self.next += 1
        if self.to:
            m["sessionId"] = self.to
        self.write.write(json.dumps(m).encode() + b"\0")
        with self.lock:
            if not self.lock.wait_for(lambda: m["id"] in self.replies, LONG):
                raise AssertionError("the browser does not answer " + method)
            r = self.replies.pop(m["id"])
        assert "error" not in r, (method, r.get("error"))
        return r["result"]

    def js(self, expression):
        r = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in r, (expression, r["exceptionDetails"])
        return r["result"].get("value")

    def until(self, expression, what=None):
        end = time.monotonic() + LONG
        while not self.js(f"!!({expression})"):
            assert time.monotonic() < end, f"{what or expression}: did not come; the page says: {self.js('document.body.innerText')}"
            time.sleep(0.02)

    def key(self, name, text=None, shift=False):
        codes = {"Enter": 13, "Escape": 27, "Tab": 9}
        common = dict(key=name, code=name, windowsVirtualKeyCode=codes[name], modifiers=8 if shift else 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, label, at=-1):
        """A click where the button is, as a hand does it."""
        at = self.js(f"""(() => {{ const all = [...document.querySelectorAll('button')].filter(b => (b.ariaLabel || b.textContent) === {json.dumps(label)} && b.offsetParent);
          const b = all.at({at}); if (!b) return null; b.scrollIntoView({{block: 'center'}}); const r = b.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()""")
        assert at, f"there is no button {label}: {self.js('document.body.innerText')}"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def look(self, scheme=None, width=1100, height=800):
        if scheme:
            self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def faults(self):
        """What was said in the console, and requests to others, since the last time."""
        with self.lock:
            seen, self.events = self.events, []
        out = []
        for e in seen:
            p = e["params"]
            if e["method"] == "Runtime.exceptionThrown":
                out.append(p["exceptionDetails"]["text"] + " " + p["exceptionDetails"].get("exception", {}).get("description", ""))
            elif e["method"] == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning", "assert"):
                out.append("console: " + str(p["args"]))
            elif e["method"] == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
                out.append(p["entry"]["text"] + " " + p["entry"].get("url", ""))
            elif e["method"] == "Network.requestWillBeSent" and not re.match(r"http://127\.0\.0\.1:\d+/|data:", p["request"]["url"]):
                out.append("asks " + p["request"]["url"])
        return out


# ---- a page of ours before answers of ours ----
class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    real = None      # the port of the server whose page this one shows
    script = []      # what is answered next: lists of pieces, (status, body), or functions of the handler
    asked = []       # bodies
    gone = threading.Event()

    def log_message(self, *_):
        pass

    def reply(self, status, headers, body):
        self.send_response(status)
        for k, v in headers:
            if k.lower() not in ("content-length", "connection", "date", "transfer-encoding"):
                self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        c = http.client.HTTPConnection("127.0.0.1", self.real)
        c.request("GET", self.path)
        r = c.getresponse()
        self.reply(r.status, r.getheaders(), r.read())

    def event(self, o):
        self.raw(b"data: " + (o if isinstance(o, bytes) else json.dumps(o).encode()) + b"\n\n")

    def raw(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def delta(self, **delta):
        self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    def do_POST(self):
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        what = self.script.pop(0)
        if isinstance(what, tuple):
            return self.reply(what[0], [("Content-Type", "application/json")], what[1])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            if callable(what):
                return what(self)
            for piece in what:
                self.delta(content=piece)
            self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(what), "prompt_tokens_details": {"cached_tokens": 3}},
                        "timings": {"predicted_per_second": 12.5, "prompt_n": 4, "prompt_per_second": 80}})
            self.event(b"[DONE]")
            self.raw(b"")
        except OSError:
            self.gone.set()


def start(*more):
    p = subprocess.Popen([koine, "serve", "-m", model, "--device", os.environ.get("KOINE_TEST_DEVICE", "portable"), "-ub", "64", "--port", "0", "--think", "off", *more],
                         stderr=subprocess.PIPE, text=True)
    for line in p.stderr:
        if m := re.search(r"listening on http.*:(\d+)", line):
            threading.Thread(target=lambda: [0 for _ in p.stderr], daemon=True).start()
            return p, int(m[1])
    raise AssertionError("the server did not start")


def metric(port, name):
    c = http.client.HTTPConnection("127.0.0.1", port)
    c.request("GET", "/metrics")
    return float(re.search(name + r"\{[^}]*\} (\S+)", c.getresponse().read().decode())[1])


def same(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


COUNT = "document.querySelectorAll('#log article').length"
LAST = "document.querySelector('#log article:last-of-type .text:not(details .text)').textContent"
IDLE = "document.getElementById('stop').hidden"


def picture(name, data):
    if pictures:
        with open(os.path.join(pictures, name + ".png"), "wb") as f:
            f.write(data)
    return data


# ---- on the real server ----
def set_value(b, name, value):
    b.js(f"(() => {{ const f = document.getElementById('{name}'); f.value = {json.dumps(value)}; f.dispatchEvent(new Event('change', {{bubbles: true}})); }})()")


def conversation(b, port):
    b.open(f"http://127.0.0.1:{port}/")
    b.until("document.getElementById('model').textContent.includes('austen')")
    b.press("Settings")
    b.until("document.querySelector('#devices tbody td')")
    assert "layers 0 to" in b.js("document.getElementById('devices').innerText"), "the page does not say where the layers are"
    assert b.js("document.querySelectorAll('#devices .bar span').length") >= 1
    for name, value in (("max_tokens", "24"), ("seed", "3"), ("system", "You are polite."), ("temperature", "0.7")):
        set_value(b, name, value)
    b.js("document.getElementById('input').focus()")
    b.type("How is")
    b.key("Enter", "\r", shift=True)
    b.type("your sister?")
    same(b.js("document.getElementById('input').value"), "How is\nyour sister?", "Shift-Enter begins a line")
    b.key("Enter", "\r")
    b.until(f"{COUNT} === 2 && {IDLE} && {LAST}.length > 8", "an answer")
    same(b.js("document.getElementById('input').value"), "", "the field after sending")
    first = b.js(LAST)
    stats = b.js("document.querySelector('#log article:last-of-type .stats').textContent")
    assert re.search(r"24 tokens, [\d.]+ a second; prompt \d+.*ended by the limit of tokens", stats), stats
    assert b.js("document.querySelector('#log').ariaBusy") == "false"
    set_value(b, "seed", "4")
    b.press("Make this answer anew")
    b.until(f"{COUNT} === 2 && {IDLE} && {LAST}.length > 8 && {LAST} !== {json.dumps(first)}", "another answer")
    set_value(b, "seed", "3")
    b.press("Make this answer anew")
    b.until(f"{COUNT} === 2 && {IDLE} && {LAST} === {json.dumps(first)}", "the first answer with its seed again")
    b.type("Pray go on.")
    b.key("Enter", "\r")
    b.until(f"{COUNT} === 4 && {IDLE}")
    assert re.search(r"of which \d+ were held", b.js("document.querySelector('#log article:last-of-type .stats').textContent"))
    b.press("Edit this message", at=0)
    b.until("document.activeElement.ariaLabel === 'Edit the message'")
    b.js("document.activeElement.select()")
    b.type("Where do you live?")
    b.key("Enter", "\r")
    b.until(f"{COUNT} === 2 && {IDLE} && {LAST}.length > 8", "an answer to the edited message")
    same(b.js("document.querySelector('#log article.user .text:not(details .text)').textContent"), "Where do you live?", "the edited message")
    return first


def kept(b, port):
    whole = b.js("document.getElementById('log').innerText")
    b.open("about:blank")
    b.open(f"http://127.0.0.1:{port}/")
    same(b.js("document.getElementById('log').innerText"), whole, "the conversation after the page was closed")
    same(b.js("document.getElementById('system').value"), "You are polite.", "the system prompt after the page was closed")


def stopped(b, port):
    before = metric(port, "koine_answers_aborted_total")
    set_value(b, "max_tokens", "1500")
    b.type("Tell me everything.")
    b.key("Enter", "\r")
    b.until(f"{LAST}.length > 4 && !{IDLE}", "a beginning")
    size = b.js(LAST + ".length")
    b.until(f"{LAST}.length > {size}", "more of it: it streams")
    b.key("Escape")
    b.until(f"{IDLE} && document.getElementById('status').textContent === 'Stopped.'")
    end = time.monotonic() + LONG
    while metric(port, "koine_answers_aborted_total") <= before:
        assert time.monotonic() < end, "the server goes on"
        time.sleep(0.05)
    b.press("Make this answer anew")
    b.until(f"{LAST}.length > 4 && !{IDLE}", "a beginning")
    b.press("Stop")
    b.until(IDLE)


def looks(b):
    b.js("document.getElementById('scroll').scrollTop = 0")
    light, dark = picture("light", b.look("light")), picture("dark", b.look("dark"))
    assert light != dark and min(len(light), len(dark)) > 15000, "light and dark look the same, or nothing was drawn"
    if b.js("document.getElementById('side').hidden"):
        b.press("Settings")
    picture("dark-settings", b.look("dark"))
    picture("phone-settings", b.look("light", 390, 780))
    b.press("Settings")
    picture("phone", b.look("light", 390, 780))
    assert b.js("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"
    b.look("light")


def named(b):
    """What a screen reader calls each control."""
    b.press("Settings")
    for n in b.call("Accessibility.getFullAXTree")["nodes"]:
        role = n.get("role", {}).get("value")
        if role in ("button", "textbox", "combobox", "spinbutton", "link") and not n.get("ignored"):
            assert n.get("name", {}).get("value"), f"a {role} without a name"
    b.key("Escape")
    assert b.js("document.getElementById('side').hidden && document.activeElement.id === 'settings'"), "Escape does not close the settings"
    b.key("Tab")
    assert b.js("getComputedStyle(document.activeElement).outlineStyle !== 'none'"), "the focus cannot be seen"


# ---- on the endpoint of our own ----
HOSTILE = ["<script>window.ran = 1</script><img src=x onerror='window.ran = 2'>\n\n", "A `code` word.\n\n```html\n<b onclick=1>bold</b>\n", "```\n\n[a](javascript:ran=3)\n"]


def markup(b):
    Endpoint.script.append(HOSTILE)
    b.type("<img src=x onerror='window.ran = 4'>")
    b.key("Enter", "\r")
    b.until(f"{COUNT} === 2 && {IDLE}")
    same(b.js("window.ran"), None, "what a script of an answer left")
    same(b.js("document.querySelectorAll('#log script, #log img, #log a, #log b').length"), 0, "elements that an answer made")
    assert b.js(LAST).startswith("<script>window.ran = 1</script>"), b.js(LAST)
    same(b.js("document.querySelector('#log pre code').textContent"), "<b onclick=1>bold</b>", "the block of code")
    same(b.js("document.querySelector('#log article:last-of-type p code').textContent"), "code", "code in a line")
    same(b.js("document.querySelector('#log article:last-of-type .stats').textContent"),
         "3 tokens, 12.5 a second; prompt 7, of which 3 were held; 80.0 prompt tokens a second", "what is told of an answer")
    same(b.js("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 5'; document.body.append(s); return window.ran; })()"), None,
         "a script that the policy should keep from running")
    assert any("Content Security Policy" in f for f in b.faults()), "the policy was not asked"


def reasoning(b):
    def think(e):
        e.delta(reasoning_content="Let me ")
        e.raw(b": waiting\n\n")
        e.raw(b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"reasoning_content": "think."}}]}).encode()[:20])  # in two pieces
        e.raw(json.dumps({"choices": [{"index": 0, "delta": {"reasoning_content": "think."}}]}).encode()[20:] + b"\r\n\r\n")
        e.delta(content="Yes\u2026 \u00e9\U0001f600")
        e.event(b"[DONE]")
        e.raw(b"")
    Endpoint.script.append(think)
    b.type("Think.")
    b.key("Enter", "\r")
    b.until(f"{COUNT} === 4 && {IDLE}")
    same(b.js(LAST), "Yes\u2026 \u00e9\U0001f600", "the answer behind its reasoning")
    same(b.js("document.querySelector('#log article:last-of-type details .text').textContent"), "Let me think.", "the reasoning")
    assert not b.js("document.querySelector('#log article:last-of-type details').open"), "the reasoning is not folded"
    Endpoint.script.append(["Well."])
    b.type("And?")
    b.key("Enter", "\r")
    b.until(f"{COUNT} === 6 && {IDLE}")
    same(Endpoint.asked[-1]["messages"][3], {"role": "assistant", "content": "Yes\u2026 \u00e9\U0001f600", "reasoning_content": "Let me think."}, "reasoning sent back")


def errors(b):
    def middle(e):
        e.delta(content="Half")
        e.event({"error": {"message": "the <device> failed", "type": "server_error"}, "choices": []})
        e.event(b"[DONE]")
        e.raw(b"")

    def broken(e):
        e.delta(content="Half")
        e.close_connection = True
        e.raw(b"")
    cases = [((400, b'{"error":{"message":"temperature: expected 0 to 2"}}'), "temperature: expected 0 to 2"), ((502, b"a <b>proxy</b>"), "a <b>proxy</b>"),
             ((503, b""), "The server answered with status 503."), (middle, "the <device> failed"), (broken, "The connection ended before the answer did.")]
    for said, want in cases:
        Endpoint.script.append(said)
        b.press("Make this answer anew")
        b.until(f"{IDLE} && document.querySelector('#log article:last-of-type .error').textContent === {json.dumps(want)}", want)
    same(b.js(LAST), "Half", "what came before the stream broke off")
    Endpoint.script.append(["Good."])
    b.press("Make this answer anew")
    b.until(f"{IDLE} && {LAST} === 'Good.'", "an answer after errors")


def slow(b):
    """A stream that goes on until the page goes away: Escape in the middle."""
    def forever(e):
        while True:
            e.delta(content="word ")
            time.sleep(0.02)
    Endpoint.gone.clear()
    Endpoint.script.append(forever)
    b.press("Make this answer anew")
    b.until(f"{LAST}.length > 20")
    b.key("Escape")
    b.until(f"{IDLE} && {LAST}.length > 20")
    assert Endpoint.gone.wait(LONG), "the stream was not closed"
    stats = b.js("document.querySelector('#log article:last-of-type .stats').textContent")
    assert re.match(r"stopped after about \d+ tokens", stats), stats


def with_key(b, folder):
    with open(os.path.join(folder, "keys"), "w") as f:
        f.write("# keys\nsesame\n")
    server, port = start("--api-key-file", os.path.join(folder, "keys"))
    try:
        b.open(f"http://127.0.0.1:{port}/")
        b.until("!document.getElementById('key-part').hidden && document.activeElement.id === 'key'", "the field of the key")
        b.type("wrong")
        b.key("Enter", "\r")
        b.until("document.activeElement.id === 'key' && document.getElementById('status').textContent.includes('expected a key')", "the server's words")
        assert len([f for f in b.faults() if "401" not in f]) == 0
        b.js("document.getElementById('key').select()")
        b.type("sesame")
        b.key("Enter", "\r")
        b.until("document.querySelector('#devices tbody td') && document.getElementById('key-part').hidden", "the devices behind the key")
        set_value(b, "max_tokens", "4")
        b.type("Good day.")
        b.key("Enter", "\r")
        b.until(f"{COUNT} === 2 && {IDLE} && {LAST}.length > 1", "an answer behind the key")
        assert "sesame" not in b.js("JSON.stringify(localStorage)"), "the key is kept"
    finally:
        server.terminate()
        server.wait()


def main():
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if not program:
        print("no chromium")
        return 77
    folder = tempfile.mkdtemp()
    server, port = start()
    b = Browser(program, os.path.join(folder, "user"))
    try:
        conversation(b, port), kept(b, port), stopped(b, port), looks(b), named(b)
        same(b.faults(), [], "errors and requests elsewhere")
        Endpoint.real = port
        own = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        own.daemon_threads = True
        threading.Thread(target=own.serve_forever, daemon=True).start()
        b.open(f"http://127.0.0.1:{own.server_port}/")
        markup(b), reasoning(b)
        same(b.faults(), [], "errors and requests elsewhere")
        errors(b), slow(b)
        assert not [f for f in b.faults() if not re.search("status of (400|502|503)|ERR_", f)]
        with_key(b, folder)
        same([f for f in b.faults() if "401" not in f], [], "errors and requests elsewhere")
    finally:
        b.process.terminate()
        b.process.wait()
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
    print("the page sends, streams, stops, makes anew, edits, keeps, and runs nothing but its own script")
    return 0


sys.exit(main())
