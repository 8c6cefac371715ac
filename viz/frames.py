"""A sequence of pictures in one file: GIF, MP4, or a page with a slider.

Owns: the formats, the programs that they need, and the advice if one is missing.
Must not own: the pictures (`animate.py`, `films.py`).
Read next: `animate.py`.
"""

from __future__ import annotations

import base64
import html
import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microgradnd.saving import as_path

INSTALL = 'pip install "microgradnd[viz]"'
FORMATS = (".gif", ".mp4", ".html")
RATE = 10  # pictures a second in an MP4, which repeats a picture that stays

PAGE = Path(__file__).parent / "page" / "frames.html"


def film_path(path: Any, who: str) -> Path:
    """Return the path of a film, or raise if its format can't be written here.

    Examples
    --------
    >>> from microgradnd.viz.frames import film_path
    >>> film_path("film.avi", "viz.animate")
    Traceback (most recent call last):
    ValueError: viz.animate: a film can't be saved as 'film.avi': ...
    """
    path = as_path(who, path)
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise ValueError(f"{who}: a film can't be saved as {path.name!r}: the path must end in one of {known}")
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise FileNotFoundError(
            f"{who}: {path.name!r} needs the program ffmpeg (https://ffmpeg.org), which isn't on the PATH; install it, "
            f"or write a .gif or an .html, which need no program"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_film(path: Path, pictures: Sequence[bytes], seconds: Sequence[float], captions: Sequence[str]) -> None:
    """Write pictures to a file, in the format of its suffix.

    Parameters
    ----------
    path : Path
        As `film_path` returned it.
    pictures : sequence of bytes
        PNGs of one size.
    seconds : sequence of float
        How long each stays; on a page, the reader decides.
    captions : sequence of str
        The text below each on a page.
    """
    format = path.suffix.lower()
    if format == ".html":
        sources = (f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in pictures)
        images = (f'<img class="step" src="{source}" alt="" hidden>' for source in sources)
        write_page(path, "".join(images), captions)
    elif format == ".mp4":
        _mp4(path, pictures, seconds)
    else:
        _gif(path, pictures, seconds)


def write_page(path: Path, content: str, captions: Sequence[str], title: str = "") -> None:
    """Write a page with a slider and a caption for each step.

    Parameters
    ----------
    path : Path
    content : str
        HTML: elements of class `step`, shown one at a time; or an SVG whose classes
        name steps: `from-3` (when an element appears), `back-7` (when its gradient
        appears), `at-3` (when it is highlighted).
    captions : sequence of str
        One for each step.
    title : str, optional
        The title of the page; by default the file's name.
    """
    page = PAGE.read_text(encoding="utf-8").replace("{title}", html.escape(title or path.stem))
    said = json.dumps(list(captions)).replace("<", "\\u003c")
    path.write_text(page.replace("{captions}", said).replace("{content}", content), encoding="utf-8")


def _gif(path: Path, pictures: Sequence[bytes], seconds: Sequence[float]) -> None:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"a .gif needs the package pillow: {INSTALL}; an .html needs nothing") from error
    first, *others = (Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures)
    first.save(path, save_all=True, append_images=others, duration=[round(1000 * s) for s in seconds], loop=0)


def _mp4(path: Path, pictures: Sequence[bytes], seconds: Sequence[float]) -> None:
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white"  # the codec needs even sizes
    reading = ["-f", "image2pipe", "-framerate", str(RATE), "-c:v", "png", "-i", "-"]
    command = ["ffmpeg", "-y", "-loglevel", "error", *reading, "-vf", even, "-pix_fmt", "yuv420p", str(path)]
    film = b"".join(picture * max(1, round(s * RATE)) for picture, s in zip(pictures, seconds, strict=True))
    done = subprocess.run(command, input=film, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[-500:]
        raise RuntimeError(f"ffmpeg couldn't write {path.name!r} ({reason}); a .gif or an .html needs no ffmpeg")
