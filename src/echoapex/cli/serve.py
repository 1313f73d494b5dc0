"""``echoapex serve``: a local page to review a study, correct it with clicks, sign it off and export it."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from echoapex.cli.console import ERRORS, ExitCode, PipedConsole, complain, examples
from echoapex.config import ConfigError
from echoapex.domain.results import DISCLAIMER

app = App(
    name="serve",
    help="Open a local page to review studies, correct them with clicks, sign them off and export them.\n\n"
    f"{DISCLAIMER}",
    help_epilogue=examples("echoapex serve --studies studies/ --open", "echoapex serve user anna --tokens users.json"),
)
_NEEDED = ("fastapi", "uvicorn", "multipart", "sqlalchemy", "alembic", "pynetdicom", "dicomweb_client", "reportlab")
_MISSING = "the page needs more packages: pip install 'echoapex[page]'"
_STATE = Path("~/.local/share/echoapex")


@Parameter(name="*")
@dataclass(frozen=True)
class Access:
    """Who may reach the page.

    Attributes:
        host: address to listen on; any but this machine alone needs --tokens, --tls-cert and --tls-key.
        port: port to listen on; 0 takes a free one.
        name: a further host name under which the page is reached; may be repeated.
        tokens: file of the users, made by `echoapex serve user`; without it, whoever uses this machine is admin.
        tls_cert: certificate in PEM format.
        tls_key: its key.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    name: tuple[str, ...] = ()
    tokens: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class PageAnalysis:
    """How new studies are analysed.

    Attributes:
        bundle: name or folder of the set of weights; `echoapex models list` shows them.
        device: where the models run.
        precision: of the encoder; auto is bf16 where the machine is fast at it, else fp32.
        contours: draw contours over the whole cycle, or at end-diastole and end-systole only, which is faster.
    """

    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    contours: Literal["cycle", "ed_es"] = "cycle"


@app.default
def serve(
    *,
    studies: str = "",
    state: Path = _STATE,
    access: Access | None = None,
    analysis: PageAnalysis | None = None,
    peers: Path | None = None,
    open_browser: Annotated[bool, Parameter(name="--open", negative=())] = False,
) -> int:
    """Serve the page until it is told to stop (Ctrl-C or SIGTERM); its address is printed once.

    Nothing leaves this machine, unless you send a study to a peer. The page listens on this machine alone. Without
    --tokens whoever uses this machine is admin; requests of other sites are refused all the same.

    Args:
        studies: folder with studies and with results of `echoapex analyze`, or a study at a DICOMweb server, as
            dicomweb://HOST/PREFIX/studies/UID.
        state: folder for uploads, results, corrections and the database; it holds patient data.
        access: who may reach the page.
        analysis: how new studies are analysed.
        peers: settings of a DICOM node (`echoapex listen`), whose peers studies can be sent to.
        open_browser: open the page in the browser.
    """
    access, analysis = access or Access(), analysis or PageAnalysis()
    with _one_line_errors() as failures:
        from echoapex.config import build_config
        from echoapex.serve.page.page_config import PageConfig

        values = {
            "state": state.expanduser(), "studies": studies, "peers": peers,
            "bundle": analysis.bundle, "device": analysis.device,
            "precision": analysis.precision, "contours": analysis.contours,
            "host": access.host, "port": access.port, "names": access.name, "tokens": access.tokens,
            "tls_certificate": access.tls_cert, "tls_key": access.tls_key,
        }  # fmt: skip
        config = build_config(PageConfig, values, "settings")
        _check_studies(studies)
        from echoapex.serve.page.page_server import run_page  # the models load slowly
        from echoapex.serve.worker import log_to_standard_error

        log_to_standard_error()

        def tell(address: str) -> None:
            ERRORS.print(f"the page is at {address} (stop it with Ctrl-C)", markup=False)
            if open_browser:
                webbrowser.open(address)

        run_page(config, tell)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="user")
def give_token(name: str, *, tokens: Path, role: Literal["reader", "reviewer", "admin"] = "reviewer") -> int:
    """Give a user a token to log in with, and print it; only its digest is kept.

    Args:
        name: of the user; a known one gets a new token and role, and the earlier token ends.
        tokens: file of the users; it is made where it is missing.
        role: reader looks, reviewer corrects and signs, admin also deletes and takes signatures back.
    """
    with _one_line_errors() as failures:
        from echoapex.serve.page.schemas import Role
        from echoapex.serve.page.sessions import add_user

        token = add_user(tokens, name, Role(role))
        PipedConsole(soft_wrap=True, highlight=False).print(token, markup=False)
        ERRORS.print("give it to the user; it cannot be shown again", markup=False)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


def _check_studies(place: str) -> None:
    if not place:
        return
    from echoapex.serve.dicomweb import parse_study_address

    if parse_study_address(place) is None and not Path(place).is_dir():
        raise ConfigError(f"{place}: is neither a folder nor an address that ends with /studies/UID; check --studies")


@contextmanager
def _one_line_errors() -> Iterator[list[str]]:
    """Say in one line each what is wrong; the list is filled then."""
    failures: list[str] = []
    if any(find_spec(name) is None for name in _NEEDED):
        complain("serve", _MISSING)
        raise SystemExit(int(ExitCode.USAGE))
    from echoapex.models.bundle import BundleError
    from echoapex.models.precision import DeviceError
    from echoapex.serve.database import DatabaseError

    try:
        yield failures
    except (ConfigError, DatabaseError, BundleError, DeviceError) as error:
        for line in str(error).splitlines():
            complain("serve", line)
            failures.append(line)
