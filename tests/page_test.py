"""Uses the built-in page in headless Chromium, as a visitor would.

Usage: page_test.py URL [--key KEY] [--screenshots DIR]
With --key the server asks for one: the page must ask the visitor for it. Exits with 1 and a sentence on failure.
"""
import argparse
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

WAIT = 30  # seconds for anything to happen
GAUGES = (
    'nv_gpu_utilization{gpu_uuid="a"} 0.5\nnv_gpu_memory_used_bytes{gpu_uuid="a"} 1e9\n'
    'nv_gpu_temperature_celsius{gpu_uuid="a"} 61\nnv_gpu_power_usage{gpu_uuid="a"} 250\n'
)
# Appends gauges of a GPU to what the page reads of /metrics.
WITH_GPU = """
const realFetch = window.fetch;
window.fetch = async (path, options) => {
  const response = await realFetch(path, options);
  if (path !== 'metrics' || !response.ok) return response;
  return new Response(await response.text() + %s);
};
""" % json.dumps(GAUGES)


class Browser:
    """Chromium and its DevTools protocol over two pipes; one page."""

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(prefix="sluice_page.", ignore_cleanup_errors=True)
        commands, self.commands = os.pipe()
        self.replies, replies = os.pipe()
        # The ends that Chromium takes as 3 and 4, first out of the way.
        commands, replies = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (commands, replies))

        def take_pipes():
            os.dup2(commands, 3)
            os.dup2(replies, 4)

        arguments = ["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu",
                     "--disable-background-networking", "--disable-dev-shm-usage",
                     f"--user-data-dir={self.profile.name}"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # its sandbox refuses to run as root
        self.process = subprocess.Popen([program, *arguments], preexec_fn=take_pipes, close_fds=False,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(replies)
        self.pending, self.last_id, self.session, self.complaints = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def close(self):
        self.session = None
        try:
            self.call("Browser.close")
            self.process.wait(WAIT)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()

    def receive(self):
        deadline = time.monotonic() + WAIT
        while b"\0" not in self.pending:
            if not select.select([self.replies], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError("Chromium does not answer")
            piece = os.read(self.replies, 1 << 16)
            if not piece:
                raise AssertionError("Chromium has ended")
            self.pending += piece
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self.receive()
            if reply.get("id") == self.last_id:
                if "error" in reply:
                    raise AssertionError(f"{method}: {reply['error']['message']}")
                return reply["result"]
            self.note(reply)

    def note(self, event):
        """Keeps what the console would show in red: (source, text)."""
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(("exception", json.dumps(params["exceptionDetails"])))
        if event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(("console", json.dumps(params["args"])))
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append((params["entry"]["source"], params["entry"]["text"]))

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, expression):
        deadline = time.monotonic() + WAIT
        while not self.value(expression):
            if time.monotonic() > deadline:
                body = self.value("document.body.innerText")
                raise AssertionError(f"never came true: {expression}\n{self.complaints}\n{body}")
            time.sleep(0.05)

    def press(self, key, code, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      text=text if kind == "keyDown" else "")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def look(self, width, height, scheme, path):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for extent, room in (("scrollWidth", "innerWidth"), ("scrollHeight", "innerHeight")):
            overflow = self.value(f"document.documentElement.{extent} - {room}")
            assert overflow <= 0, f"{extent} is {overflow} pixels too much at {width} x {height}"
        if path:
            image = self.call("Page.captureScreenshot", format="png")["data"]
            with open(path, "wb") as file:
                file.write(base64.b64decode(image))


def check_names(browser, expected):
    """Whatever can be operated, and every plot, says to a screen reader what it is."""
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    spoken = 0
    for node in nodes:
        role = node.get("role", {}).get("value")
        if node["ignored"] or role not in ("button", "textbox", "spinbutton", "combobox", "image", "img", "link"):
            continue
        assert node.get("name", {}).get("value"), f"a {role} without a name: {node}"
        spoken += 1
    assert spoken >= expected, f"of {expected} controls and plots only {spoken} are there"


def use(browser, url, key, screenshots):
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=WITH_GPU)
    browser.call("Emulation.setDeviceMetricsOverride", width=1280, height=800, deviceScaleFactor=1, mobile=False)
    browser.call("Page.navigate", url=url)
    browser.wait_for("document.getElementById('state')?.textContent === 'ready'")
    browser.wait_for("document.activeElement.id === 'prompt'")
    assert browser.value("document.getElementById('model').textContent") == "tiny"

    answers = "document.querySelectorAll('.turn.assistant .facts').length"
    browser.type("hello <b>there</b>")
    browser.press("Enter", 13, "\r")
    if key:
        browser.wait_for("document.getElementById('settings').open")
        assert "API key" in browser.value("document.getElementById('complaint').textContent")
        browser.value("document.getElementById('key').focus()")
        browser.type(key)
        browser.press("Enter", 13, "\r")
        browser.wait_for("!document.getElementById('settings').open")
        assert browser.value("document.getElementById('prompt').value") == "hello <b>there</b>", "the message is lost"
        browser.value("document.getElementById('prompt').focus()")
        browser.press("Enter", 13, "\r")
    browser.wait_for(f"{answers} === 1")
    assert browser.value("document.querySelector('.turn.user .text').textContent") == "hello <b>there</b>"
    assert browser.value("[...document.querySelectorAll('.turn.assistant .text')].at(-1).textContent") != ""
    assert "tokens" in browser.value("document.querySelector('.turn.assistant .facts').textContent")
    assert browser.value("document.getElementById('announcer').textContent") != "Answering."

    # The counters of that answer reach the plots, and new readings move them.
    plot = "[...document.querySelectorAll('.plot')].find((f) => f.textContent.startsWith('{}'))"
    written = f"{plot.format('Tokens/s')}.querySelector('path.s0:not(.area)').getAttribute('d')"
    browser.wait_for(f"/between 0 and [1-9]/.test({plot.format('Tokens/s')}.querySelector('svg').ariaLabel)")
    before = browser.value(written)
    browser.wait_for(f"{written} !== {json.dumps(before)}")
    for title in ("Time to first", "Time between", "Requests", "KV", "GPU util", "GPU mem", "GPU temp", "GPU power"):
        browser.wait_for(f"{plot.format(title)}.querySelector('path.s0:not(.area)').getAttribute('d') !== ''")
    assert "61 °C" in browser.value(f"{plot.format('GPU temp')}.textContent")

    check_names(browser, 3 + 2 + 9 + 1)  # the header's buttons, the composer, the plots, the link to /metrics
    for width, height, name in ((1280, 800, "wide"), (390, 800, "narrow")):
        for scheme in ("light", "dark"):
            browser.look(width, height, scheme, screenshots and f"{screenshots}/{name}-{scheme}.png")
    # Where there is no room for both, the plots wait to be asked for and then take the chat's place.
    visible = "getComputedStyle(document.getElementById('{}')).display !== 'none'"
    browser.wait_for(f"{visible.format('chat')} && !({visible.format('panel')})")
    browser.value("document.getElementById('toggle').click()")
    browser.wait_for(f"{visible.format('panel')} && !({visible.format('chat')})")
    browser.look(390, 800, "light", screenshots and f"{screenshots}/narrow-plots.png")
    browser.value("document.getElementById('configure').click()")
    browser.look(390, 800, "dark", screenshots and f"{screenshots}/settings.png")
    check_names(browser, 6)
    # A refusal that was asked for is the one thing that may stand in the console.
    allowed = ("network",) if key else ()
    complaints = [c for c in browser.complaints if c[0] not in allowed]
    assert not complaints, f"in the console: {complaints}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--key")
    parser.add_argument("--screenshots")
    options = parser.parse_args()
    browser = Browser(shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome"))
    try:
        use(browser, options.url, options.key, options.screenshots)
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        browser.close()
    return 0


sys.exit(main())
