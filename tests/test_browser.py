"""The page to walk through, in a real browser: headless Chromium, driven by its
ChromeDriver.

Owns: what the page of `viz.explore` does with clicks, keys, the slider and small
windows.
Must not own: the data of the page (`test_explore.py`).
Read next: `../viz/page/page.js`.

Every test ends with a look at the browser's console, which must be empty.
"""

from __future__ import annotations

import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import viz
from microgradnd.nn import functional as F

webdriver = pytest.importorskip("selenium.webdriver", reason='a browser is driven: pip install "microgradnd[browser]"')
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="there is no Chromium with its ChromeDriver here"
)

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,800",
)
DESK = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
HOSTILE = "</script><img src=x onerror='window.hacked=1'>\"quotes\"\n🎉 " + "w" * 10_000


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=CHROMEDRIVER, log_output=os.devnull)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


class Page:
    """A page that is open in the browser."""

    def __init__(self, driver: Any, path: Path) -> None:
        self.driver = driver
        driver.get(path.as_uri())
        self.wait(lambda: driver.find_element(By.TAG_NAME, "body").get_attribute("data-ready") == "true")

    def wait(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.driver, 20, poll_frequency=0.02).until(lambda _: condition())

    def script(self, code: str, *args: Any) -> Any:
        return self.driver.execute_script(code, *args)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.script("return document.querySelector(arguments[0]).textContent", selector)

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def box(self, title: str) -> Any:
        """Return the box with this title."""
        found = [box for box in self.all(".box:not(.copy)") if self.title(box) == title]
        assert len(found) == 1, f"{len(found)} boxes are titled {title!r}"
        return found[0]

    def title(self, box: Any) -> str:
        return self.script("return arguments[0].querySelector('.title').textContent", box)

    def titles(self, selector: str = ".box:not(.copy)") -> list[str]:
        code = "return [...document.querySelectorAll(arguments[0])].map((b) => b.querySelector('.title').textContent)"
        return self.script(code, selector)

    def click(self, element: Any) -> None:
        ActionChains(self.driver, duration=0).move_to_element(element).click().perform()

    @property
    def panel(self) -> str:
        return self.find("#panel-content").text


Open = Callable[..., Page]


@pytest.fixture
def open_page(driver: Any, tmp_path: Path) -> Iterator[Open]:
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", DESK)
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    set_media(driver, "light")

    def open_(t: mg.Tensor, **options: Any) -> Page:
        return Page(driver, viz.explore(t, tmp_path / "graph.html", **options))

    yield open_
    assert driver.get_log("browser") == []


def set_media(driver: Any, scheme: str) -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # what moves can't be clicked
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def chain() -> mg.Tensor:
    """Return tanh(a * b) + a, which is small enough to follow by hand."""
    a, b = (mg.tensor(value, requires_grad=True, name=name) for value, name in ((0.5, "a"), (2.0, "b")))
    with mg.scope("", lines=True):
        return np.tanh(a * b) + a


def perceptron() -> mg.Tensor:
    rng = np.random.default_rng(0)
    x, y = mg.tensor(rng.normal(size=(20, 3)), name="x"), mg.tensor(rng.normal(size=(20, 1)), name="y")
    w = mg.tensor(rng.normal(size=(3, 16)), requires_grad=True, name="w")
    b = mg.tensor(rng.normal(size=(1, 16)), requires_grad=True, name="b")
    v = mg.tensor(rng.normal(size=(16, 1)), requires_grad=True, name="v")
    return np.sum((F.relu(x @ w + b) @ v - y) ** 2)


def stack(layers: int = 4) -> mg.Tensor:
    rng = np.random.default_rng(0)
    h: Any = rng.normal(size=(5, 8))
    for i in range(layers):
        with mg.scope(f"layer{i}"):
            w = mg.tensor(rng.normal(size=(8, 8)), requires_grad=True, name=f"layer{i}.w")
            with mg.scope("activation"):
                h = np.tanh(h @ w)
    with mg.scope("loss"):
        return np.mean(h**2)


def test_it_opens_and_loads_nothing(open_page: Open) -> None:
    page = open_page(perceptron(), title="A perceptron")
    assert page.driver.title.startswith("A perceptron")
    loaded = page.script("return performance.getEntriesByType('resource').map((e) => e.name.slice(0, 5))")
    assert set(loaded) <= {"data:"}
    assert sorted(page.titles()) == sorted(["x", "w", "@", "b", "+", "relu", "v", "@", "y", "−", "x²", "Σ", "result"])
    assert "6" not in page.text("#where")
    assert page.text("#where") == "Overview: press → to walk"
    assert "64 weights" not in page.panel
    assert "80 weights" in page.panel


def test_the_arrow_keys_walk_forward_and_then_backward(open_page: Open) -> None:
    page = open_page(chain())
    seen = []
    for _ in range(7):
        page.press(Keys.ARROW_RIGHT)
        now = page.titles(".box.now:not(.copy)")
        seen.append((page.text("#where"), now))
    assert seen == [
        ("Forward 1 of 3: ×", ["×"]),
        ("Forward 2 of 3: tanh", ["tanh"]),
        ("Forward 3 of 3: +", ["+"]),
        ("Backward begins at result", ["result"]),
        ("Backward 1 of 3: +", ["+"]),
        ("Backward 2 of 3: tanh", ["tanh"]),
        ("Backward 3 of 3: ×", ["×"]),
    ]
    assert page.find("#next").get_attribute("disabled")
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert page.text("#where") == "Backward 2 of 3: tanh"
    page.press(Keys.HOME)
    assert page.text("#where") == "Overview: press → to walk"
    page.press(Keys.END)
    assert page.text("#where") == "Backward 3 of 3: ×"


def test_forward_what_is_not_computed_yet_is_pale(open_page: Open) -> None:
    page = open_page(chain())
    page.press(Keys.ARROW_RIGHT)
    assert set(page.titles(".box.pending")) == {"tanh", "+", "result"}
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.titles(".box.pending") == []
    assert not page.all(".line.back")


def test_backward_shows_the_gradient_the_rule_and_the_product(open_page: Open) -> None:
    page = open_page(chain())
    page.press(*[Keys.ARROW_RIGHT] * 6)
    assert "Incoming gradient g\n1" in page.panel
    assert "g * (1 - out**2)" in page.panel
    assert "out = the value = 0.7616" in page.panel
    slope = 1 - np.tanh(1.0) ** 2
    assert f"{slope:.6g}" in page.panel
    assert page.text(".line.now .rule text") == "g * (1 - out**2) = 0.42"
    assert page.titles(".box.touched") == ["a"]  # a part of its gradient is there
    page.press(Keys.ARROW_RIGHT)
    assert page.titles(".box.touched") == []
    page.click(page.box("a"))
    assert f"Gradient\n{1 + 2 * slope:.6g}" in page.panel
    assert "a sum of 2" in page.panel


def test_a_click_shows_all_that_is_known_of_a_node(open_page: Open) -> None:
    page = open_page(chain())
    page.click(page.box("tanh"))
    assert page.text(".box.selected .title") == "tanh"
    assert "tanh(x)" in page.panel
    assert "x = ×" in page.panel
    assert f"{np.tanh(1.0):.6g}" in page.panel
    assert "return np.tanh(a * b) + a" in page.panel
    assert re.search(r"test_browser\.py, line \d+", page.panel)
    assert "8 B" in page.panel
    page.press(Keys.ESCAPE)
    assert "Overview" in page.panel


def test_arrays_have_heat_maps_histograms_and_numbers(open_page: Open) -> None:
    page = open_page(perceptron())
    page.click(page.box("w"))
    cells = [float(cell.text) for cell in page.all("#panel .numbers td")]
    assert len(cells) == 2 * 48
    assert page.all(".box.parameter image")
    page.click(page.box("relu"))
    assert len(page.all("#panel img.heat")) == 3  # the value, what comes in, and what goes on
    assert page.script("return document.querySelector('#panel img.heat').naturalWidth") == 16
    assert page.find("#panel img.heat").get_attribute("alt").startswith("Heat map of 20 by 16 numbers, from 0 to")
    assert len(page.all("#panel .histogram")[0].find_elements(By.CSS_SELECTOR, ".bar")) == 24
    assert "zeros" in page.panel
    page.click(page.find("#panel .link"))
    assert page.text(".box.selected .title") == "+"


def test_memory_is_told_in_powers_of_a_thousand(open_page: Open) -> None:
    page = open_page(mg.tensor(np.ones(125), requires_grad=True) * 2.0)
    page.click(page.box("× 2"))
    assert "Memory\n1 kB" in page.panel


def test_a_picture_that_is_in_view_stays_where_it_is(open_page: Open) -> None:
    page = open_page(perceptron())
    transform = "return document.querySelector('#graph > g').getAttribute('transform')"
    before = page.script(transform)
    page.press(*[Keys.ARROW_RIGHT] * 15)
    assert page.script(transform) == before
    page.press(*["+"] * 5, Keys.HOME, Keys.ARROW_RIGHT)
    assert page.script(transform) != before
    box, stage = page.find(".box.now").rect, page.find("#stage").rect
    assert stage["y"] <= box["y"]
    assert box["y"] + box["height"] <= stage["y"] + stage["height"]


def test_the_slider(open_page: Open) -> None:
    page = open_page(perceptron())
    slider = page.find("#slider")
    assert slider.get_attribute("max") == "15"
    code = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.script(code, slider, 9)
    assert page.text("#where") == "Backward 1 of 7: Σ"
    assert slider.get_attribute("aria-valuetext") == "Backward 1 of 7: Σ"
    page.script("arguments[0].focus()", slider)
    page.press(Keys.ARROW_RIGHT)
    assert page.text("#where") == "Backward 2 of 7: x²"
    page.click(page.find("#back"))
    page.click(page.find("#back"))
    assert page.text("#where") == "Backward begins at result"


def test_play_walks_by_itself(open_page: Open) -> None:
    page = open_page(chain())
    page.press(" ")
    assert page.find("#play").get_attribute("aria-pressed") == "true"
    page.wait(lambda: page.text("#where") == "Forward 2 of 3: tanh")
    page.click(page.find("#play"))
    assert page.find("#play").get_attribute("aria-pressed") == "false"


def test_play_has_speeds(open_page: Open) -> None:
    page = open_page(chain())
    page.script("""window.waits = [];
        const original = window.setInterval;
        window.setInterval = (action, wait) => { window.waits.push(wait); return original(action, 1); };""")
    choose = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))"
    page.script(choose, page.find("#speed"), "10")
    assert page.script("return window.waits") == []  # nothing plays yet
    page.click(page.find("#play"))
    page.wait(lambda: page.text("#where") == "Backward 3 of 3: ×")
    page.wait(lambda: page.find("#play").get_attribute("aria-pressed") == "false")
    page.script(choose, page.find("#speed"), "0.25")
    page.script("document.getElementById('play').click(); " + choose, page.find("#speed"), "2")  # while it plays
    assert page.script("return window.waits") == [100, 4000, 500]
    assert " ".join(option.get_attribute("value") for option in page.all("#speed option")) == "0.25 0.5 1 2 4 10"


def test_a_step_has_a_link(open_page: Open) -> None:
    page = open_page(chain())
    page.press(*[Keys.ARROW_RIGHT] * 5)
    assert page.driver.current_url.endswith("graph.html#step=5")
    page.driver.refresh()
    page.wait(lambda: page.script("return document.body.dataset.ready") == "true")
    assert page.text("#where") == "Backward 1 of 3: +"
    for hash, words in (("step=2", "Forward 2 of 3: tanh"), ("step=99", "Backward 3 of 3: ×"), ("step=x", "Overview")):
        page.script("location.hash = arguments[0]", hash)
        page.wait(lambda words=words: page.text("#where").startswith(words))
    page.script("location.hash = 'other'")
    assert page.text("#where").startswith("Overview")


def test_a_link_opens_the_scopes_that_were_open(open_page: Open) -> None:
    page = open_page(stack())
    page.press("f")
    page.click(next(box for box in page.all(".box.fold") if "layer1" in page.title(box)))
    page.press(*[Keys.ARROW_RIGHT] * 3)
    titles, words, url = page.titles(), page.text("#where"), page.driver.current_url
    assert "&open=" in url
    page.driver.get("about:blank")
    page.driver.get(url)
    page.wait(lambda: page.script("return document.body.dataset.ready") == "true")
    assert page.titles() == titles
    assert page.text("#where") == words


def test_a_link_leads_to_the_same_operation_whatever_is_folded(open_page: Open) -> None:
    page = open_page(rounds(50))
    page.press("u")
    assert "sin" in page.titles()
    page.script("location.hash = '#step=5'")
    page.wait(lambda: page.titles(".box.now") == ["+ 0.5"])
    page.press("f")
    page.script("location.hash = '#step=6'")
    page.wait(lambda: page.text("#where") == "Forward 1 of 2: (×, + 0.5, sin) ×50")
    page.press(Keys.ARROW_RIGHT)
    assert page.driver.current_url.endswith("#step=151")
    page.script("location.hash = '#step=300'")  # the loop's gradient began to arrive at step 154
    page.wait(lambda: page.text("#where") == "Backward 2 of 2: (×, + 0.5, sin) ×50")
    page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.driver.current_url.endswith("#step=152")


def test_operands_keep_their_order(open_page: Open) -> None:
    """The first operand arrives at the left, or above where the picture runs to the
    right: of a - b and b - a.
    """
    a, b, c = (mg.tensor(value, requires_grad=True, name=name) for value, name in ((1.0, "a"), (2.0, "b"), (3.0, "c")))
    page = open_page((a - b) * (c / np.exp(a)) + (b - a))
    code = """
        const places = {};
        for (const path of document.querySelectorAll(".line .stroke")) {
            const [end, before] = [path.getTotalLength(), path.getTotalLength() - 1];
            const { x, y } = path.getPointAtLength(end);
            for (const box of document.querySelectorAll(".box:not(.copy)")) {
                const [, left, top] = box.getAttribute("transform").match(/([-\\d.]+),([-\\d.]+)/).map(Number);
                const { width, height } = box.querySelector(".body").getBBox();
                const isAt = x >= left - 1 && x <= left + width + 1 && y >= top - 1 && y <= top + height + 1;
                if (isAt) (places[box.dataset.id] ??= []).push([path.parentNode.dataset.source, x, y]);
            }
        }
        return places;
    """
    wanted = {"n2": ["n0", "n1"], "n5": ["n4", "n3"], "n6": ["n2", "n5"], "n7": ["n1", "n0"], "n8": ["n6", "n7"]}
    for axis in (1, 2):
        if axis == 2:
            page.press("r")
        found = page.script(code)
        assert {id: [end[0] for end in sorted(found[id], key=lambda end: end[axis])] for id in wanted} == wanted


def saved(page: Page, folder: Path, button: str) -> bytes:
    """Press a button that saves a file, and return its bytes."""
    options = {"behavior": "allow", "downloadPath": str(folder)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", options)
    page.press("s")
    page.click(page.find(button))
    page.wait(lambda: any(path.suffix in (".svg", ".png") for path in folder.iterdir()))
    (path,) = folder.iterdir()
    page.wait(lambda: path.stat().st_size)
    return path.read_bytes()


def test_the_picture_is_saved_as_svg(open_page: Open, tmp_path: Path) -> None:
    page = open_page(perceptron(), title="A net: <1>")
    page.press(*[Keys.ARROW_RIGHT] * 9)
    (folder := tmp_path / "svg").mkdir()
    text = saved(page, folder, "#save-svg").decode()
    assert next(folder.iterdir()).name == "A-net-1--9.svg"
    root = ElementTree.fromstring(text)
    assert "relu" in text
    assert "var(--" not in text
    left, top, wide, tall = (float(number) for number in root.attrib["viewBox"].split())
    assert wide > 200
    assert float(root.attrib["width"]) == wide
    page.driver.get("about:blank")
    (tmp_path / "alone.svg").write_text(text, encoding="utf-8")
    page.driver.get((tmp_path / "alone.svg").as_uri())
    box = page.script("const b = document.querySelector('svg > g').getBBox(); return [b.x, b.y, b.width, b.height]")
    assert left < box[0]
    assert top < box[1]
    assert box[0] + box[2] < left + wide
    assert box[1] + box[3] < top + tall
    fill = "return getComputedStyle(document.querySelector('text')).fill"
    assert page.script(fill) != "rgb(0, 0, 0)"  # the colours come along


def test_the_picture_is_saved_as_png(open_page: Open, tmp_path: Path) -> None:
    page = open_page(chain())
    (folder := tmp_path / "png").mkdir()
    data = saved(page, folder, "#save-png")
    assert data.startswith(b"\x89PNG")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    box = page.script("const b = document.querySelector('#graph > g').getBBox(); return [b.width + 24, b.height + 24]")
    assert [width, height] == pytest.approx([2 * box[0], 2 * box[1]], abs=2)
    page.press("s")
    page.click(page.find("#saving-close"))
    assert not page.find("#saving").is_displayed()


def test_on_paper_the_picture_is_whole_and_light(open_page: Open) -> None:
    page = open_page(stack())
    page.press("t")
    page.press(*["+"] * 6)  # far too large for the window
    dark = page.script("return getComputedStyle(document.body).backgroundColor")
    transform = page.script("return document.querySelector('#graph > g').getAttribute('transform')")
    page.script("dispatchEvent(new Event('beforeprint'))")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    inside = """const s = document.getElementById('stage').getBoundingClientRect();
        return [...document.querySelectorAll('.box')].every((box) => { const r = box.getBoundingClientRect();
            return r.left >= s.left && r.right <= s.right && r.top >= s.top && r.bottom <= s.bottom; })"""
    assert page.script(inside)
    assert page.script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.find("#stepper").is_displayed()
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.script("dispatchEvent(new Event('afterprint'))")
    assert page.script("return getComputedStyle(document.body).backgroundColor") == dark
    assert page.script("return document.querySelector('#graph > g').getAttribute('transform')") == transform


def test_the_page_within_a_notebook(open_page: Open, tmp_path: Path) -> None:
    page = open_page(chain())
    html = (chain()._repr_html_() or "").replace("<details>", "<details open>")
    (tmp_path / "notebook.html").write_text(f"<!doctype html><meta charset=utf-8>{html}", encoding="utf-8")
    page.driver.get((tmp_path / "notebook.html").as_uri())
    page.driver.switch_to.frame(page.find("iframe"))
    page.wait(lambda: page.script("return document.body.dataset.ready") == "true")
    page.click(page.find("#next"))
    assert page.text("#where") == "Forward 1 of 3: ×"
    page.driver.switch_to.default_content()


@pytest.mark.parametrize("make", [perceptron, stack, lambda: stack(12), lambda: rounds(50)], ids="nsls")
def test_everything_is_in_view_and_can_be_read(open_page: Open, make: Any) -> None:
    page = open_page(make())
    code = """const s = document.getElementById('stage').getBoundingClientRect();
        const boxes = [...document.querySelectorAll('.box')].map((box) => box.getBoundingClientRect());
        const scale = document.querySelector('#graph > g').getCTM().a;
        return [boxes.length, scale, boxes.every((r) => r.left >= s.left && r.right <= s.right && r.top >= s.top
            && r.bottom <= s.bottom)]"""
    for width, height in ((1280, 800), (1920, 1080), (390, 844)):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        page.driver.refresh()
        page.wait(lambda: page.script("return document.body.dataset.ready") == "true")
        count, scale, is_inside = page.script(code)
        assert is_inside
        assert count >= 4
        assert 13 * scale >= (7.5 if width < 500 else 9)  # pixels, of a title


def test_many_arrays_that_go_into_one_operation_are_one_box(open_page: Open) -> None:
    page = open_page(np.sum(np.concatenate([mg.tensor([i], requires_grad=True, name=f"x{i}") for i in np.ones(200)])))
    assert page.titles() == ["▸ x1.0 … x1.0", "concatenate", "Σ", "result"]
    assert "200 arrays" in page.text(".box.fold")
    page.press(Keys.ARROW_RIGHT)
    assert page.text("#where") == "Forward 1 of 2: concatenate axis=0"
    page.click(page.box("▸ x1.0 … x1.0"))
    assert len(page.titles()) > 200


def rounds(count: int) -> mg.Tensor:
    """Return the end of a loop without scopes."""
    w = mg.tensor(0.5, requires_grad=True, name="w")
    h: Any = mg.tensor(0.1, name="h")
    for _ in range(count):
        h = np.sin(w * h + 0.5)
    return h**2


def test_a_loop_is_one_box_until_it_is_opened(open_page: Open) -> None:
    page = open_page(rounds(50))
    assert page.titles() == ["h", "▸ (×, + 0.5, sin) ×50", "x²", "result"]
    page.press(*[Keys.ARROW_RIGHT] * 2)
    assert page.text("#where") == "Forward 2 of 2: x²"
    page.click(page.box("▸ (×, + 0.5, sin) ×50"))
    assert "w" in page.titles()
    assert "▸ iterations 49 to 50" in page.titles()
    page.click(page.box("▸ iterations 49 to 50"))
    page.click(page.box("▸ iteration 50"))
    assert "sin" in page.titles()


def test_scopes_fold_and_unfold(open_page: Open) -> None:
    page = open_page(stack())
    count = len(page.titles())
    assert len(page.all(".frame")) == 5
    page.press("f")
    assert not page.all(".frame")
    assert len(page.titles()) < count
    folded = next(box for box in page.all(".box.fold") if "loss" in page.title(box))
    page.click(folded)
    assert len(page.all(".frame")) == 1
    assert "mean" in page.titles()
    page.click(page.find(".frame .head"))
    assert not page.all(".frame")
    page.press(Keys.ENTER)
    assert len(page.all(".frame")) == 1
    page.press("u")
    assert len(page.titles()) == 16
    assert len(page.all(".frame")) == 9


def test_a_folded_scope_is_one_step(open_page: Open) -> None:
    page = open_page(stack())
    all_steps = int(page.find("#slider").get_attribute("max"))
    page.press("f", Keys.ARROW_RIGHT)
    assert int(page.find("#slider").get_attribute("max")) < all_steps
    assert "▸" in page.titles(".box.now")[0]
    assert page.text("#where").startswith("Forward 1 of ")
    assert "Comes out" in page.panel
    page.press(Keys.END)
    assert "Gradient that comes in" in page.panel


def test_the_step_stays_where_it_is_when_a_scope_is_unfolded_and_folded(open_page: Open) -> None:
    page = open_page(stack())
    page.press("f", *[Keys.ARROW_RIGHT] * 2)
    assert page.titles(".box.now") == ["▸ layer1"]
    page.press(Keys.ENTER)
    page.click(next(box for box in page.all(".box.fold") if "activation" in page.title(box)))
    assert page.titles(".box.now") == ["tanh"]
    page.click(page.all(".frame .head")[0])
    assert page.titles(".box.now") == ["▸ layer1"]


def test_search_finds_what_is_folded(open_page: Open) -> None:
    page = open_page(stack())

    def look_for(words: str) -> list[str]:
        """Type into the search, and return what is found."""
        page.press("/")
        page.wait(lambda: page.script("return document.activeElement.id") == "search")
        page.script("document.getElementById('search').value = ''")
        page.press(*words)
        page.wait(lambda: page.script("return document.getElementById('search').value") == words)
        page.wait(lambda: not page.script("return document.getElementById('found').hidden"))
        return page.script("return [...document.querySelectorAll('#found li')].map((item) => item.textContent)")

    def is_selected(title: str) -> bool:
        return page.titles(".box.selected") == [title]

    page.press("f")
    [found] = look_for("layer2.w")
    assert "parameter" in found
    assert "layer2.w" in found
    page.press(Keys.ENTER)
    page.wait(lambda: is_selected("layer2.w"))
    assert page.all(".frame")
    assert "layer2.w" in page.panel
    assert len(look_for("tanh")) > 2
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    page.wait(lambda: is_selected("tanh"))
    assert look_for("nowhere") == ["Nothing found"]
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.find("#found").is_displayed())


def test_the_list_of_a_search_stays_open_when_it_is_gone_back_to_at_once(open_page: Open) -> None:
    """It closes a moment after the search is left, so that a click into it is still
    one: not if that is over.
    """
    page = open_page(stack())
    code = """
        const [done] = [arguments[arguments.length - 1]], field = document.getElementById("search");
        field.focus(); field.blur(); field.focus();
        field.value = "tanh"; field.dispatchEvent(new Event("input"));
        setTimeout(() => done(document.getElementById("found").hidden), 300);
    """
    assert page.driver.execute_async_script(code) is False


def test_up_and_down_follow_the_lines(open_page: Open) -> None:
    page = open_page(chain())
    page.click(page.box("tanh"))
    page.press(Keys.ARROW_DOWN)
    assert page.text(".box.selected .title") == "+"
    page.press(Keys.ARROW_UP, Keys.ARROW_UP)
    assert page.text(".box.selected .title") == "×"
    focused = page.script("return document.activeElement.getAttribute('aria-label')")
    assert focused == "× 1 grad 0.42, operation multiply"
    page.press("n")
    assert page.text(".box.selected .title") != "×"


def test_zoom_and_pan(open_page: Open) -> None:
    page = open_page(perceptron())

    def transform() -> str:
        return page.find("#graph > g").get_attribute("transform")

    states = [transform()]
    for act in (
        lambda: page.click(page.find("#zoom-in")),
        lambda: (
            ActionChains(page.driver, duration=0)
            .scroll_from_origin(ScrollOrigin.from_element(page.find("#graph")), 0, 300)
            .perform()
        ),
        lambda: (
            ActionChains(page.driver, duration=0)
            .move_to_element_with_offset(page.find("#graph"), -400, -200)
            .click_and_hold()
            .move_by_offset(60, 40)
            .release()
            .perform()
        ),
    ):
        act()
        page.wait(lambda: transform() != states[-1])
        states.append(transform())
    page.press("0")
    page.wait(lambda: transform() != states[-1])
    inside = """const all = document.getElementById('stage').getBoundingClientRect();
        return [...document.querySelectorAll('.box')].every((b) => { const r = b.getBoundingClientRect();
        return r.left >= all.left && r.right <= all.right && r.top >= all.top && r.bottom <= all.bottom; })"""
    assert page.script(inside)


def test_the_picture_can_be_turned(open_page: Open) -> None:
    page = open_page(perceptron())

    def is_wide() -> bool:
        box = page.script("const b = document.querySelector('#graph > g').getBBox(); return [b.width, b.height]")
        return box[0] > box[1]

    before = is_wide()
    page.press("r")
    assert is_wide() != before


def test_boxes_do_not_overlap(open_page: Open) -> None:
    page = open_page(stack(3))
    code = "return [...document.querySelectorAll('.box .body')].map((b) => { const r = b.getBoundingClientRect();"
    boxes = page.script(code + " return [r.left, r.top, r.right, r.bottom]; })")
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_labels_are_text_whatever_they_hold(open_page: Open) -> None:
    w = mg.tensor(np.arange(6.0), requires_grad=True, name=HOSTILE)
    with mg.scope(HOSTILE):
        loss = np.sum(w * w)
    page = open_page(loss, title=HOSTILE)
    page.press(*[Keys.ARROW_RIGHT] * 3)
    page.press("f", "u", "/")
    page.press(*"</script", Keys.ENTER)
    assert page.script("return window.hacked") is None
    assert not page.all("img:not(.heat)")
    assert page.text("#title").startswith("</script><img src=x")
    assert page.script("return document.documentElement.scrollWidth <= innerWidth")


def test_what_is_not_finite_is_marked(open_page: Open) -> None:
    w = mg.tensor([1.0, 0.0, -1.0, 2.0, 3.0], requires_grad=True, name="w")
    with np.errstate(all="ignore"):
        loss = np.sum(np.log(w))
    page = open_page(loss)
    assert "first: log" in page.panel
    assert set(page.titles(".box.alarming")) >= {"log", "Σ", "result"}
    page.click(page.box("log"))
    assert "1 NaN, 1 Inf of 5" in page.panel


def test_after_backward_the_page_says_what_is_gone(open_page: Open) -> None:
    loss = perceptron()
    loss.backward()
    page = open_page(loss)
    page.click(page.box("relu"))
    assert "backward() has freed this array" in page.panel
    page.press(Keys.END)
    page.click(page.box("w"))
    assert page.all("#panel .numbers td")


def test_the_gradient_is_that_of_this_computation(open_page: Open) -> None:
    x = mg.tensor(3.0, requires_grad=True, name="x")
    (x * 5.0).backward()
    page = open_page(x * 2.0)
    page.click(page.box("x"))
    assert "Gradient\n2" in page.panel
    assert re.search(r"Accumulated in \.grad, by other computations too\n5", page.panel)


def test_a_leaf_alone(open_page: Open) -> None:
    page = open_page(mg.tensor(np.eye(3), requires_grad=True, name="w"))
    assert page.titles() == ["w"]
    assert page.text("#where") == "Nothing was computed"
    page.press(Keys.ARROW_RIGHT, Keys.END, " ", Keys.ARROW_DOWN)
    assert not page.find("#fold").is_displayed()


def test_light_and_dark(open_page: Open) -> None:
    def background() -> str:
        return page.script("return getComputedStyle(document.body).backgroundColor")

    page = open_page(perceptron())
    light = background()
    page.press("t")
    dark = background()
    assert dark != light
    set_media(page.driver, "dark")
    page.driver.refresh()
    assert background() == dark
    page.click(page.find("#theme"))
    assert background() == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(open_page: Open, scheme: str) -> None:
    page = open_page(chain())
    set_media(page.driver, scheme)
    code = """const style = getComputedStyle(document.documentElement);
        const probe = document.body.appendChild(document.createElement('i'));
        const rgb = (name) => { probe.style.color = style.getPropertyValue(name);
            return getComputedStyle(probe).color.match(/\\d+/g).map(Number); };
        return arguments[0].map((pair) => pair.map(rgb));"""
    pairs = [
        *(("--ink", f"--{fill}-fill") for fill in ("parameter", "operation", "input", "result", "fold")),
        *(
            (f"--{ink}", ground)
            for ink in ("ink", "quiet", "accent", "back", "alarm")
            for ground in ("--page", "--panel")
        ),
        *(("--quiet", f"--{fill}-fill") for fill in ("parameter", "operation", "result", "fold")),
        *(("--back", f"--{fill}-fill") for fill in ("parameter", "operation", "result")),
    ]

    def luminance(rgb: list[int]) -> float:
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for names, (ink, ground) in zip(pairs, page.script(code, pairs), strict=True):
        low, high = sorted((luminance(ink), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, names  # WCAG 2.2, 1.4.3


def test_a_phone(open_page: Open) -> None:
    page = open_page(stack())
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page.driver.refresh()
    page.wait(lambda: page.script("return document.body.dataset.ready") == "true")
    assert page.script("return document.documentElement.scrollWidth") == 390
    stage, panel, stepper = (page.find(id).rect for id in ("#stage", "#panel", "#stepper"))
    assert stage["height"] > 200
    assert stage["y"] + stage["height"] <= panel["y"] + 20
    assert panel["y"] + panel["height"] <= stepper["y"] + 1
    assert stepper["y"] + stepper["height"] < 845
    for button in page.all("button"):
        if button.is_displayed() and "link" not in button.get_attribute("class") and button.rect["height"]:
            assert min(button.rect["height"], button.rect["width"]) >= 24, button.get_attribute("id")
    for id in ("#back", "#play", "#next", "#zoom-in"):
        assert min(page.find(id).rect["height"], page.find(id).rect["width"]) >= 40
    page.click(page.find("#next"))
    assert page.text("#where").startswith("Forward 1 of")
    page.click(page.find("#panel-close"))
    assert not page.find("#panel-content").is_displayed()
    assert page.find("#stage").rect["height"] > stage["height"] + 100
    page.click(page.find("#panel-close"))
    assert page.find("#panel-content").is_displayed()


def test_fingers(open_page: Open) -> None:
    page = open_page(stack())
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page.driver.refresh()
    page.wait(lambda: page.script("return document.body.dataset.ready") == "true")
    assert "tap ▶" in page.text("#where")
    assert "press" not in page.panel.lower() + page.text("#where").lower()
    page.click(page.find("#help-open"))
    assert page.find("#help .fingers").is_displayed()
    assert not page.find("#help dl").is_displayed()
    page.click(page.find("#help-close"))
    page.press("f")

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def transform() -> list[float]:
        return [float(n) for n in re.findall(r"-?[\d.]+", page.find("#graph > g").get_attribute("transform"))]

    box = page.all(".box.fold")[0].rect
    touch("touchStart", (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
    touch("touchEnd")
    page.wait(lambda: page.all(".frame"))
    x, y, scale = transform()
    touch("touchStart", (300, 300), (400, 300))
    for i in range(5):
        touch("touchMove", (300 - 10 * i, 300), (400 + 10 * i, 300))
    touch("touchEnd")
    page.wait(lambda: transform()[2] > 1.2 * scale)
    x, y, scale = transform()
    touch("touchStart", (300, 300))
    for i in range(5):
        touch("touchMove", (300 + 10 * i, 300))
    touch("touchEnd")
    page.wait(lambda: transform()[0] > x + 20)
    assert transform()[1:] == [y, scale]


def test_everything_has_a_name_and_is_reached_by_keys(open_page: Open) -> None:
    page = open_page(stack())
    nameless = """return [...document.querySelectorAll('button, input, [role=button], [role=img], svg[role]')]
        .filter((e) => !e.getAttribute('aria-label') && !e.textContent.trim() && !e.querySelector('title'))
        .map((e) => e.outerHTML.slice(0, 80))"""
    assert page.script(nameless) == []
    assert page.script("return document.documentElement.lang") == "en"
    reached = []
    for _ in range(30):
        page.press(Keys.TAB)
        reached.append(page.script("return document.activeElement.id"))
    for id in ("search", "fold", "theme", "help-open", "graph", "zoom-in", "panel-content", "next", "play", "slider"):
        assert id in reached
    page.press("?")
    assert page.find("#help").is_displayed()
    assert "Mike Bostock" in page.text("#licences")
    page.press(Keys.ESCAPE)
    assert not page.find("#help").is_displayed()
    page.press("f")
    assert page.text("#said") == "All scopes folded"


def test_a_recurrent_network_of_thousands_of_operations(open_page: Open) -> None:
    rng = np.random.default_rng(0)
    w, u = (mg.tensor(rng.normal(size=(4, 4)) / 4, requires_grad=True, name=name) for name in "wu")
    h: Any = mg.tensor(np.zeros((1, 4)))
    for x in rng.normal(size=(800, 1, 4)):
        h = np.tanh(h @ w + x @ u)
    page = open_page(np.sum(h**2))
    assert "3,202 operations" in page.panel
    assert page.titles() == ["constant", "▸ (@, @, +, …) ×800", "x²", "Σ", "result"]
    page.click(page.box("▸ (@, @, +, …) ×800"))
    page.click(page.box("▸ iterations 1 to 90"))
    page.click(page.box("▸ iterations 11 to 20"))
    page.click(page.box("▸ iteration 12"))
    assert len(page.all(".frame")) == 4
    assert "constant" in page.titles()
    page.press("f")
    assert not page.all(".frame")
    page.press("u")
    assert len(page.all(".box")) < 1_200
    page.press("/")
    page.press(*"n3000", Keys.ENTER)
    assert page.all(".box.selected")
    assert len(page.titles()) <= 320
    page.press(Keys.END)
    assert page.text("#where").startswith("Backward")


def test_a_part_that_was_folded_before_says_so(open_page: Open) -> None:
    loss = stack()
    loss.backward()
    page = open_page(loss, max_nodes=6)
    page.click(page.all(".box.fold")[0])
    assert "It is folded because the computation is too large" in page.panel
    assert "Gradients of its parameters" in page.panel


def test_too_large_a_graph_is_told_in_part(open_page: Open) -> None:
    y = mg.tensor(np.ones(3), requires_grad=True, name="w")
    for _ in range(3_000):
        y = y * 1.0
    page = open_page(np.sum(y), max_nodes=100)
    assert "3,001 operations" in page.panel
    page.press(Keys.END, Keys.HOME)


def test_no_line_leads_back_whatever_is_put_together(open_page: Open) -> None:
    w = mg.tensor(np.ones((3, 3)), requires_grad=True, name="w")
    h: Any = mg.tensor(np.ones((2, 3)), name="h")
    for i in range(4):
        with mg.scope(f"step {i}"):
            h = np.tanh(h @ w) * mg.tensor(np.full((2, 3), 2.0), name=f"gate {i}")
    page = open_page(np.sum(np.sqrt(h**2 + 1)))
    code = """return [...document.querySelectorAll('.line .stroke')].every((line) =>
        line.getPointAtLength(0).y < line.getPointAtLength(line.getTotalLength()).y)"""
    for height in (844, 700, 600):
        metrics = {"width": 390, "height": height, "deviceScaleFactor": 1, "mobile": True}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        page.driver.refresh()
        page.wait(lambda: page.script("return document.body.dataset.ready") == "true")
        assert page.all(".box.fold")
        assert page.script(code), height


def test_the_title_of_a_frame_stays_within_it(open_page: Open) -> None:
    with mg.scope("W" * 300):
        loss = np.sum(mg.tensor([1.0, 2.0], requires_grad=True) ** 2)
    page = open_page(loss)
    code = """const [title, frame] = [...arguments].map((part) => part.getBoundingClientRect().right);
        return title < frame"""
    assert page.script(code, page.find(".frame .head text"), page.find(".frame .outline"))
