"""The front end in the package is the build of the sources in web/, and asks for nothing that its policy forbids."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "web"
BUILD = ROOT / "src" / "echoapex" / "serve" / "page" / "web"
TOP = ("index.html", "package-lock.json", "package.json", "svelte.config.js", "tsconfig.json", "vite.config.ts")
REMEDY = "run make web and commit what it builds"


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _seal() -> dict[str, object]:
    seal: dict[str, object] = json.loads((BUILD / "build.json").read_text())
    return seal


def test_build_belongs_to_its_sources() -> None:
    folders = [path for name in ("public", "src") for path in (SOURCES / name).rglob("*") if path.is_file()]
    names = sorted([*TOP, *(path.relative_to(SOURCES).as_posix() for path in folders)])
    lines = "".join(f"{_digest(SOURCES / name)}  {name}\n" for name in names)
    assert _seal()["sources_sha256"] == sha256(lines.encode()).hexdigest(), REMEDY


def test_build_is_as_it_was_made() -> None:
    files = {
        path.relative_to(BUILD).as_posix(): _digest(path)
        for path in BUILD.rglob("*")
        if path.is_file() and path.name != "build.json"
    }
    assert _seal()["files"] == files, REMEDY


def test_first_page_has_no_inline_script_or_style_and_no_other_site() -> None:
    page = (BUILD / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=", page) == []
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    assert [address for address in addresses if not address.startswith("./")] == []
    assert all((BUILD / address).is_file() for address in addresses)


def test_scripts_load_nothing_from_another_site_and_stay_small() -> None:
    scripts = sorted(BUILD.glob("assets/*.js"))
    assert scripts
    for script in scripts:
        loaded = re.findall(r"""(?:import|fetch|Worker|importScripts)\(\s*["'](https?:)?//""", script.read_text())
        assert loaded == [], script.name
    assert sum(path.stat().st_size for path in BUILD.rglob("*") if path.is_file()) < 6_000_000


def test_packages_are_pinned_exactly() -> None:
    package = json.loads((SOURCES / "package.json").read_text())
    versions = {**package["dependencies"], **package["devDependencies"]}
    assert [name for name, version in versions.items() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
