"""The allocator setting."""

import platform

from echoapex.phantom.clip import keep_temporaries_on_the_heap


def test_glibc_takes_the_setting_and_others_go_without() -> None:
    assert keep_temporaries_on_the_heap() is (platform.libc_ver()[0] == "glibc")
