import threading

import pytest

from gmvae_cli.system.ahead import ahead


def test_items_come_in_order_from_another_thread():
    def items():
        for number in range(50):
            yield number, threading.get_ident()

    found = list(ahead(items()))
    assert [number for number, _ in found] == list(range(50))
    assert threading.get_ident() not in {thread for _, thread in found}
    assert list(ahead([])) == []


def test_what_goes_wrong_comes_up_where_the_item_is_wanted():
    def items():
        yield 1
        raise OSError("no more")

    source = ahead(items())
    assert next(source) == 1
    with pytest.raises(OSError, match="no more"):
        next(source)


def test_at_most_one_item_is_made_ahead():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    source = ahead(items())
    assert next(source) == 0
    source.close()
    assert len(made) <= 2
