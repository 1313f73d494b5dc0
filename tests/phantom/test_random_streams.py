"""Independent draws for independent purposes."""

from echoapex.phantom.patient import Stream, random_stream


def test_a_stream_repeats_itself() -> None:
    assert random_stream(3, Stream.POSE, 1).random() == random_stream(3, Stream.POSE, 1).random()


def test_purposes_seeds_and_keys_differ() -> None:
    draws = {random_stream(seed, stream, key).random() for seed in (0, 1) for stream in Stream for key in (0, 1)}
    assert len(draws) == 2 * len(Stream) * 2
