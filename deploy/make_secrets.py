"""Make the secrets of the compose file: random passwords in ``deploy/secrets``, which git and the image leave out.

Only the owner can enter the folder. The files in it can be read by all, because the users inside the containers are not
the owner. Existing files stay as they are.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "secrets"


def make_secrets(folder: Path) -> list[str]:
    """Write what is missing; returns the names of new files."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"admin": secrets.token_urlsafe(24)}}
    made = []
    for name, text in (("database_password", secrets.token_urlsafe(32)), ("orthanc_users.json", json.dumps(users))):
        path = folder / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            path.chmod(0o444)
            made.append(name)
    return made


if __name__ == "__main__":
    made = make_secrets(FOLDER)
    sys.stdout.write(f"made in deploy/secrets: {', '.join(made) or 'nothing, all are there'}\n")
