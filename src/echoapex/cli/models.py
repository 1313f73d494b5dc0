"""``echoapex models``: list, check, import, convert and export the weights that EchoApex uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.markup import escape
from rich.table import Table

from echoapex.cli.console import ExitCode, PipedConsole, examples
from echoapex.models.adapter_merge import merge_adapter, split_adapter, stack_adapters
from echoapex.models.bundle import WEIGHTS_FILE, BundleError, Card, read_card
from echoapex.models.registry import DEFAULT_SET, ENCODER, TASKS, SetPaths, find_set, import_set, list_sets, verify_set

app = App(
    name="models",
    help="List, show, verify, import, merge and export the weights that EchoApex uses.",
    help_epilogue=examples("echoapex models list", "echoapex models card phantom/segmentation"),
)


@app.default
@app.command(name="list")
def show_sets() -> int:
    """List the sets of bundles that can be used by name."""
    table = Table("set", "bundles", "size", "licence", "directory", title=None, box=None, pad_edge=False)
    with _one_line_errors() as failures:
        for paths in list_sets():
            cards = [read_card(directory) for directory in paths.bundles.values()]
            licences = sorted({_licence_of(card) for card in cards})
            table.add_row(
                escape(paths.name + (" (default)" if paths.name == find_set().name else "")),
                escape(", ".join(paths.bundles)),
                f"{_size_of(paths) / 1e6:.1f} MB",
                escape("; ".join(licences)),
                escape(str(paths.directory)),
            )
        PipedConsole().print(table if table.row_count else "no bundles; `echoapex models import PATH` adds some")
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="card")
def show_card(name: str = DEFAULT_SET, *, as_json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """Show the cards of a set.

    Args:
        name: a set (``phantom``, or its directory), or one bundle of it (``phantom/segmentation``).
        as_json: print the cards as one JSON object by bundle.
    """
    with _one_line_errors() as failures:
        set_name, _, bundle = name.rpartition("/")
        if bundle not in (ENCODER, *TASKS) or not set_name:
            set_name, bundle = name, ""
        bundles = find_set(set_name).bundles
        if bundle and bundle not in bundles:
            raise BundleError(f"{name}: the set {set_name!r} holds {', '.join(bundles)} only")
        cards = {key: read_card(path) for key, path in bundles.items() if bundle in ("", key)}
        if as_json:
            content = {key: card.model_dump(mode="json") for key, card in cards.items()}
            PipedConsole(soft_wrap=True).print(json.dumps(content, indent=2), markup=False, highlight=False)
        else:
            for key, card in cards.items():
                PipedConsole().print(_card_table(key, card))
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="verify")
def verify(name: str | None = None) -> int:
    """Check every digest of one set, or of all.

    Args:
        name: a set or its directory; all known sets when left out.
    """
    console = PipedConsole()
    sound = True
    with _one_line_errors() as failures:
        for paths in [find_set(name)] if name else list_sets():
            for check in verify_set(paths):
                verdict = f"[red]{escape(check.problem)}[/red]" if check.problem else "[green]sound[/green]"
                console.print(f"{escape(paths.name)}/{check.name}: {verdict}", soft_wrap=True)
                sound = sound and not check.problem
    if failures:
        return ExitCode.USAGE
    return ExitCode.ALL_GOOD if sound else ExitCode.SOME_FILES_FAILED


@app.command(name="import")
def bring_in(path: Path, *, name: str | None = None, replace: bool = False) -> int:
    """Import a set of bundles from a directory or a .zip file, offline; every digest is verified first.

    Args:
        path: the directory or .zip file.
        name: what the set is called from now on; by default as the directory or file.
        replace: replace a set of that name.
    """
    with _one_line_errors() as failures:
        paths = import_set(path, name, replace=replace)
        PipedConsole().print(
            f"imported {escape(paths.name)} ({', '.join(paths.bundles)}); use it with --bundle {escape(paths.name)}",
            soft_wrap=True,
        )
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="merge")
def merge(name: str, *, out: Path) -> int:
    """Merge the adapter (lora, bitfit) of a set into its encoder, and write the result as a new set.

    Args:
        name: a set or its directory.
        out: directory of the new set.
    """
    with _one_line_errors() as failures:
        paths = merge_adapter(find_set(name), out)
        PipedConsole().print(f"merged {escape(name)} into {escape(str(paths.directory))}", soft_wrap=True)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="stack")
def stack(first: str, second: str, *, out: Path) -> int:
    """Combine two adapters (lora) that were trained one after the other, and write them beside the first encoder.

    Args:
        first: a set or its directory.
        second: a set that was trained on what ``echoapex models merge`` made of the first.
        out: directory of the new set.
    """
    with _one_line_errors() as failures:
        paths = stack_adapters(find_set(first), find_set(second), out)
        PipedConsole().print(f"stacked into {escape(str(paths.directory))}", soft_wrap=True)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="split")
def split(name: str, *, base: Path, rank: int, out: Path) -> int:
    """Split a set into an encoder that other sets share and an adapter (lora) that holds the difference.

    Args:
        name: a set without adapters, or its directory.
        base: bundle of the encoder that the set was trained from.
        rank: rank of the adapter; the sum of the ranks of all merged adapters gives an exact result.
        out: directory of the new set.
    """
    with _one_line_errors() as failures:
        paths = split_adapter(find_set(name), base, rank, out)
        PipedConsole().print(f"split into {escape(str(paths.directory))}", soft_wrap=True)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="export")
def export(name: str = DEFAULT_SET, *, onnx: Path, part: Literal["decoder", "encoder"] = "decoder") -> int:
    """Write the segmentation of a set as an ONNX file with a card (JSON) beside it, for programs without Python.

    Args:
        name: a set or its directory.
        onnx: the file to write, such as ``decoder.onnx``; the card is then ``decoder.json``.
        part: the promptable decoder, which answers clicks on an encoded frame, or the encoder, which makes its input.
    """
    from echoapex.infer.review.onnx_files import export_frame_encoder, export_promptable_decoder
    from echoapex.infer.review.review_clip import ReviewModels
    from echoapex.models.onnx_graph import OnnxExportError

    with _one_line_errors(OnnxExportError) as failures:
        if onnx.suffix != ".onnx":
            raise BundleError(f"{onnx.name}: an ONNX file ends with .onnx; give another --onnx")
        models = ReviewModels.load(name, "cpu", "fp32")
        card = (export_promptable_decoder if part == "decoder" else export_frame_encoder)(models, onnx)
        size = f"{card.size_bytes / 1e6:.1f} MB, opset {card.opset}, input {card.input_size} x {card.input_size}"
        PipedConsole().print(f"wrote {escape(str(onnx))} and its card ({size})", soft_wrap=True)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@contextmanager
def _one_line_errors(*more: type[ValueError]) -> Iterator[list[str]]:
    """Show an error of a bundle, or of another kind, as a line on standard error, and let the caller see it."""
    failures: list[str] = []
    kinds: tuple[type[ValueError], ...] = (BundleError, *more)
    try:
        yield failures
    except kinds as error:
        failures.append(str(error))
        PipedConsole(stderr=True).print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)


def _licence_of(card: Card) -> str:
    return card.licence + (" (non-commercial)" if card.non_commercial else "")


def _size_of(paths: SetPaths) -> int:
    files = (directory / WEIGHTS_FILE for directory in paths.bundles.values())
    return sum(file.stat().st_size for file in files if file.is_file())


def _card_table(key: str, card: Card) -> Table:
    """A card for people; what is empty is left out."""
    table = Table(title=f"{key}: {card.name} {card.version}", title_justify="left", show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    content = card.model_dump(mode="json", exclude={"name", "version", "card_version", "card_sha256"})
    for field, value in content.items():
        if value not in (None, "", [], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            table.add_row(field.replace("_", " "), escape(text))
    return table
