"""Start the DICOM node in a container: put the password of the database into its settings, then become the node.

``start_node.py SETTINGS PASSWORD_FILE FOLDER``: the password file is a secret of the container, so the settings hold no
password. The settings with the password go to FOLDER, which must be in memory (tmpfs). Only the user can read them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import yaml


class StartError(ValueError):
    """The node cannot be started; the message says what to change."""


def with_password(url: str, password: str) -> str:
    """A database URL with the password in it.

    Raises:
        StartError: the URL has no user, or has a password already.
    """
    parts = urlsplit(url)
    if not parts.username or not parts.hostname:
        raise StartError("database: needs the form postgresql://USER@HOST/NAME")
    if parts.password is not None:
        raise StartError("database: holds a password; take it out, it belongs into the secret")
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))


def write_settings(settings: Path, password_file: Path, folder: Path) -> Path:
    """The settings with the password, readable by this user only.

    Raises:
        StartError: a file cannot be read, or holds nothing that can be used.
    """
    try:
        values = yaml.safe_load(settings.read_text(encoding="utf-8"))
        password = password_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StartError(f"settings or password cannot be read ({type(error).__name__})") from error
    if not isinstance(values, dict) or not isinstance(values.get("database"), str):
        raise StartError(f"{settings.name}: names no database")
    if not password:
        raise StartError(f"{password_file.name}: is empty")
    values["database"] = with_password(values["database"], password)
    target = folder / "node.yaml"
    target.unlink(missing_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        yaml.safe_dump(values, stream)
    return target


def main(arguments: list[str]) -> int:
    """Write the settings and become ``echoapex listen``; 2 and one line when that is impossible."""
    if len(arguments) != 3:
        sys.stderr.write("usage: start_node.py SETTINGS PASSWORD_FILE FOLDER\n")
        return 2
    try:
        target = write_settings(*map(Path, arguments))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    os.execvp("echoapex", ["echoapex", "listen", str(target)])
    return 0  # never reached: this process is the node now


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
