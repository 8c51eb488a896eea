"""Time from a key press to the new picture, in a real browser, for every control of every panel.

    python benchmarks/panel_latency.py [--presses 40] [--panel QuantizerPanel]

It starts the students' JupyterLab and a headless Chromium (as the browser tests do), focuses each control in turn and
presses a key: an arrow on a slider's handle and on its number box, an arrow on a drop-down list, the space bar on a
button that turns a bit, Enter on the reset button. The browser's own clock runs from the key's event to the first frame
after the picture has loaded. Needs a quiet computer: the table ends with the load.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
BUDGET_MS = 100
PAUSE_MS = 120  # between presses: what is timed is one step, not a drag

# Keeps the delay from the last key press to the frame that shows the picture it caused.
STOPWATCH = """
(image) => {
  window.delays = []; window.pressed = null;
  addEventListener("keydown", (event) => { window.pressed = event.timeStamp; }, true);
  image.addEventListener("load", () => requestAnimationFrame((frame) => {
    if (window.pressed !== null) { window.delays.push(performance.now() - window.pressed); window.pressed = null; }
  }));
}
"""


def in_test_environment():
    """Run again in the environment that has Playwright, unless this is it."""
    sys.path.insert(0, str(ROOT))
    import course

    python = course.python_of(course.VENV_TEST)
    if Path(sys.prefix).resolve() != Path(course.VENV_TEST).resolve():
        course.set_up_tests()
        sys.exit(subprocess.call([str(python), __file__, *sys.argv[1:]], env=course.child_env()))


def browser_tests():
    """The browser tests' own way to start JupyterLab and to find the parts of a panel."""
    spec = importlib.util.spec_from_file_location("browser_tests", ROOT / "tests" / "browser" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def panels():
    """{class: short name} of every panel of the course."""
    from course_lib import panels as room

    classes = {name: getattr(room, name) for name in room.__all__}
    return {name: one.name for name, one in classes.items()
            if isinstance(one, type) and issubclass(one, room.Panel) and one is not room.Panel}  # fmt: skip


def time_presses(panel, element, keys):
    """Delays in ms of each key in turn, pressed on ``element``; every key must change the picture."""
    element.focus()
    panel.page.evaluate("window.delays = []; window.pressed = null")
    for count, key in enumerate(keys, start=1):
        panel.page.wait_for_timeout(PAUSE_MS)
        panel.page.keyboard.press(key)
        panel.page.wait_for_function(f"window.delays.length == {count}", polling=10, timeout=20_000)
    return panel.page.evaluate("window.delays")


def to_and_fro(there, back, presses, span=6):
    """``presses`` keys that walk ``span`` steps there and back."""
    walk = [there] * span + [back] * span
    return [walk[place % len(walk)] for place in range(presses)]


def time_controls(panel, presses):
    """{name of a control: delays in ms}"""
    found = {}
    sliders = [label for label in panel.labels("input") if panel.control(label).get_attribute("min") is not None]
    for label in sliders:
        panel.reset()
        keys = inward(panel, label, "ArrowRight", "ArrowLeft", presses)
        found[f"{label}, handle"] = time_presses(panel, panel.handle(label), keys)
        panel.reset()
        keys = inward(panel, label, "ArrowUp", "ArrowDown", presses)
        found[f"{label}, box"] = time_presses(panel, panel.control(label), keys)
    for label in panel.labels("select"):
        panel.reset()
        control = panel.control(label)
        options, now = control.evaluate("e => [e.options.length, e.selectedIndex]")
        below = options - 1 - now
        keys = ("ArrowDown", "ArrowUp") if below >= now else ("ArrowUp", "ArrowDown")
        found[label] = time_presses(panel, control, to_and_fro(*keys, presses, span=max(below, now)))
    bits = panel.root.locator(".cl-bits .widget-toggle-button:visible")
    if bits.count():
        panel.reset()
        found["a bit"] = time_presses(panel, bits.first, ["Space"] * presses)
    found["reset"] = []
    for _ in range(presses // 4):
        if sliders:
            (key,) = inward(panel, sliders[0], "ArrowRight", "ArrowLeft", 1)
            panel.changes(lambda: panel.press(sliders[0], key), sliders[0])  # noqa: B023  called at once
        else:
            panel.changes(bits.first.click, "a bit")
        found["reset"] += time_presses(panel, panel.root.get_by_role("button", name="Reset"), ["Enter"])
    return found


def inward(panel, label, up, down, presses):
    """Keys that start from the control's value and stay clear of its ends."""
    box = panel.control(label)
    low, high = (float(box.get_attribute(end)) for end in ("min", "max"))
    room_up, room_down = high - panel.value(label), panel.value(label) - low
    keys, room = ((up, down), room_up) if room_up > room_down else ((down, up), room_down)
    return to_and_fro(*keys, presses, span=max(1, min(6, int(room) - 1)))


def table(found):
    lines = [f"{'control':24} {'median':>8} {'95 %':>8}   presses", "-" * 54]
    for name, delays in found.items():
        tail = quantiles(delays, n=20)[-1]
        verdict = "" if tail <= BUDGET_MS else f"   over {BUDGET_MS} ms"
        lines.append(f"{name:24} {median(delays):5.0f} ms {tail:5.0f} ms   {len(delays)}{verdict}")
    return "\n".join(lines)


def load():
    """How many programs want the processor, on average over a minute; ``None`` where the system does not say."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def main():
    in_test_environment()
    parser = argparse.ArgumentParser(description=__doc__ and __doc__.split("\n")[0])
    parser.add_argument("--presses", type=int, default=40, help="key presses for each control")
    parser.add_argument("--panel", choices=panels(), help="this one alone")
    arguments = parser.parse_args()
    tests = browser_tests()
    before = load()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as aside:
        with tests.start_browser() as browser, tests.start_server(Path(folder), Path(aside)) as address:
            lab = tests.Lab(browser, address, Path(folder))
            for name, short in panels().items():
                if arguments.panel in (None, name):
                    panel = lab.panel(f"cl.panels.{name}()", short)
                    panel.root.locator(".widget-image").evaluate(STOPWATCH)
                    found = time_controls(panel, arguments.presses)
                    print(f"{name}: from key press to picture, against {BUDGET_MS} ms\n{table(found)}\n", flush=True)
                    panel.page.close()
    print(f"load before {before}, after {load()} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
