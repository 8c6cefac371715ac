"""MkDocs' hooks: add computed tables, notebooks, pictures and linked files to the site.

Owns: the hooks; links; formulas as MathML; the check of all links.
Must not own: the contents of a notebook or a table.
Read next: `notebooks.py`, then `reference.py`.
"""

from __future__ import annotations

import concurrent.futures
import posixpath
import re
from html import unescape
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from docs.site import notebooks, reference

ROOT = Path(__file__).parents[2]
CHAPTERS = "learn/"
SOURCE = "source/"  # the folder of pages that show files from outside docs/
FUNCTION = r"<mi>(?:sin|cos|tanh|log|exp)</mi>"
THIN_SPACE = '<mspace width="0.17em"/>'
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)")  # not those with a scheme, such as https:


def on_files(files: Any, config: Any) -> Any:
    """Add chapters' notebooks and pictures, and linked files from outside docs/."""
    chapters = {f.src_uri: f.content_string for f in files.documentation_pages() if is_chapter(f.src_uri)}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for uri, notebook, pictures in pool.map(notebooks.executed, chapters.keys(), chapters.values()):
            files.append(File.generated(config, uri.replace(".md", ".ipynb"), content=notebook))
            for name, content in pictures.items():
                files.append(File.generated(config, CHAPTERS + name, content=content))
    waiting = [ROOT / "docs" / f.src_uri for f in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for target in (outside(page, link) for link in LINK.findall(prose(page))):
            if target and files.get_file_from_path(uri := source_uri(target)) is None:
                files.append(File.generated(config, uri, content=source_page(target)))
                waiting += [target] if target.suffix == ".md" else []
    return files


def is_chapter(uri: str) -> bool:
    return uri.startswith(CHAPTERS) and not uri.endswith("index.md")


def prose(path: Path) -> str:
    """Return a page without its code, whose brackets aren't links."""
    return re.sub(r"^(`{3,}).*?^\1$|`[^`\n]*`", "", path.read_text(), flags=re.M | re.S)


def outside(page: Path, link: str) -> Path | None:
    """Return the file outside docs/ that a link on a page leads to, if any."""
    target = (page.parent / link).resolve()
    leaves = target.is_relative_to(ROOT) and not target.is_relative_to(ROOT / "docs")
    return target if leaves and target.exists() else None


def source_uri(path: Path) -> str:
    return f"{SOURCE}{path.relative_to(ROOT)}{'' if path.suffix == '.md' else '.md'}"


def source_page(path: Path) -> str:
    """Return a page that shows a file, or lists a folder."""
    head = f"---\nsearch: {{exclude: true}}\ntitle: {path.relative_to(ROOT)}\n---\n\n"
    if path.suffix == ".md":
        return head + path.read_text()
    if path.is_dir():
        return f"{head}# {path.relative_to(ROOT)}\n\n" + "\n".join(f"- `{p.name}`" for p in sorted(path.iterdir()))
    return f"{head}# {path.relative_to(ROOT)}\n\n``````python\n{path.read_text()}\n``````\n"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Redirect links out of docs/, fill in tables, and link a chapter's notebook."""
    uri = page.file.src_uri
    at = ROOT / uri.removeprefix(SOURCE) if uri.startswith(SOURCE) else ROOT / "docs" / uri

    def moved(match: re.Match[str]) -> str:
        target = outside(at, match[0])
        if target is None and uri.startswith(SOURCE):
            inside = (at.parent / match[0]).resolve().relative_to(ROOT / "docs")
            return posixpath.relpath(str(inside), posixpath.dirname(uri))
        return posixpath.relpath(source_uri(target), posixpath.dirname(uri)) if target else match[0]

    if not uri.endswith(".py.md"):
        markdown = LINK.sub(moved, markdown)
    markdown = reference.filled(markdown, uri)
    if is_chapter(uri):
        name = posixpath.basename(uri).replace(".md", ".ipynb")
        markdown = re.sub(r"\A(# .*\n)", rf"\1\n[This chapter as a notebook]({name}){{ .notebook }}\n", markdown)
    return re.sub(r"^```python\n(?=>>>)", "```pycon\n", markdown, flags=re.M)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Write formulas in MathML, which browsers draw without a script, and link
    drawings to their files, so that they can be enlarged.
    """

    def formula(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        mathml = latex2mathml.converter.convert(unescape(match[2]).strip()[2:-2], display=display)
        if re.search(r">[&\\]\w*<", mathml):
            raise PluginError(f"{page.file.src_uri}: no MathML for {match[2]}")
        mathml = re.sub(rf"(</m[in]>)({FUNCTION})", rf"\1{THIN_SPACE}\2", mathml)
        return re.sub(rf"({FUNCTION})(?!<mo|<mspace)", rf"\1{THIN_SPACE}", mathml)

    html = re.sub(r'(<img [^>]*?src="([^"]+\.svg)"[^>]*>)', r'<a href="\2">\1</a>', html)
    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', formula, html, flags=re.S)


def on_post_build(config: Any) -> None:
    """Check that every link leads somewhere, and that no page loads from elsewhere."""
    site = Path(config.site_dir)
    pages = {
        path: path.read_text() for path in site.rglob("*.html") if path.name != "404.html"
    }  # its links are absolute
    names = {path: set(re.findall(r"""\s(?:id|name)=["']?([^"'\s>]+)""", text)) for path, text in pages.items()}
    broken = []
    for path, text in pages.items():
        body = re.sub(r"(<(script|code)\b[^>]*>).*?</\2>", r"\1", text, flags=re.S)
        for tag, link in re.findall(r"""<(\w+)\s[^>]*?\b(?:href|src)=["']?([^"'\s>]+)""", body):
            link, _, anchor = unescape(link).partition("#")
            if "://" in link:
                is_loaded = tag != "a" and not (config.site_url and link.startswith(config.site_url))
                broken += [f"{path.relative_to(site)} loads {link}"] if is_loaded else []
                continue
            target = (path.parent / link).resolve() if link else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (anchor and anchor not in names.get(target, {anchor})):
                broken.append(f"{path.relative_to(site)}: {link}#{anchor}")
    if broken:
        raise PluginError("links that lead nowhere:\n" + "\n".join(sorted(set(broken))))
