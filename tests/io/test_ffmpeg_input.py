"""A file's name or content never opens the network or standard input: FFmpeg is given bytes and an allow-list."""

import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from avi_files import write_avi

from echoapex.io.clip_source import ReadError
from echoapex.io.pictures import open_video_writer
from echoapex.io.video import open_media, open_video


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback that notes what it is sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(64))

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)


def _frames() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (4, 32, 48)).astype(np.uint8)


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in a file name")
@pytest.mark.parametrize(
    "name", ["http:127.0.0.1:{port}?a.mp4", "tcp:127.0.0.1:{port}", "Echo: 2024.mp4", "pipe:0", "concat:a|b.avi", "%d"]
)
def test_a_relative_name_that_looks_like_an_address_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: tuple[int, list[bytes]], name: str
) -> None:
    port, heard = listener
    monkeypatch.chdir(tmp_path)
    named = Path(name.format(port=port))
    write_avi(tmp_path / "clip.avi", _frames()).rename(tmp_path / named)

    source = open_video(named)

    assert source.header.frame_count == 4
    assert len(list(source.frames())) == 4
    assert not heard


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in a file name")
def test_a_file_called_like_standard_input_does_not_wait_for_it(tmp_path: Path) -> None:
    write_avi(tmp_path / "clip.avi", _frames()).rename(tmp_path / "pipe:0")
    code = "from pathlib import Path; from echoapex.io.video import open_video; open_video(Path('pipe:0'))"

    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.wait(timeout=120) == 0  # its standard input stays open and empty


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in a file name")
def test_a_video_is_written_to_a_folder_that_looks_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: tuple[int, list[bytes]]
) -> None:
    port, heard = listener
    monkeypatch.chdir(tmp_path)
    folder = Path(f"tcp:127.0.0.1:{port}")

    with open_video_writer(folder / "clip.mp4", (32, 48), 25.0) as write:
        write(np.zeros((32, 48, 3), np.uint8))

    assert (tmp_path / folder / "clip.mp4").stat().st_size > 0
    assert not heard


@pytest.mark.parametrize("suffix", ["mp4", "avi", "m3u8", "ffconcat"])
def test_a_playlist_of_addresses_is_refused(tmp_path: Path, listener: tuple[int, list[bytes]], suffix: str) -> None:
    port, heard = listener
    url = f"http://127.0.0.1:{port}/a.ts"
    playlists = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{url}'\n",
    )
    for content in playlists:
        path = tmp_path / f"list.{suffix}"
        path.write_text(content)
        with pytest.raises(ReadError):
            open_video(path)
        for formats in (["mov", "avi"], ["hls"], ["concat"]):
            with path.open("rb") as stream, pytest.raises((av.FFmpegError, OSError)), open_media(stream, formats):
                pass
    assert not heard


def test_only_listed_formats_are_tried() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="wav") as output:
        track = output.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        frame.sample_rate = 8000
        output.mux(track.encode(frame))
    buffer.seek(0)

    with pytest.raises(av.FFmpegError), open_media(buffer, ["avi", "mov"]):
        pass
