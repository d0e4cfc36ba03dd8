"""What a process loads at its start costs it nothing later."""

import gc

import pytest

from services.core.loading import loading


def test_what_was_loaded_is_left_alone_and_the_collector_works_again():
    before = gc.get_freeze_count()
    with loading():
        assert not gc.isenabled()
        made = [[] for _ in range(1_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()
