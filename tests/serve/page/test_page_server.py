"""The port of the page: it answers at once, and one that is taken is one line."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from echoapex.config import ConfigError
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.page_server import _address, _listen, run_page


def test_answers_do_not_wait_for_the_other_side(tmp_path: Path) -> None:
    """Asyncio turns Nagle's algorithm off only for sockets that name their protocol."""
    with _listen(PageConfig(state=tmp_path, port=0)) as place:
        assert place.proto == socket.IPPROTO_TCP
        assert _address(PageConfig(state=tmp_path, port=0), place).startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be used .*; choose another --port"):
            run_page(PageConfig(state=tmp_path, port=port), lambda address: None)
